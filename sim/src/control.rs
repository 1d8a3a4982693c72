//! Faults of the whole box, ordered over a unix socket: each line is answered with `done`, or with why it was `refused`.
//!
//! For whoever runs the box as a program; in a test of one process, [`RouterOs`] has them as methods.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::routeros::{Fault, Reboot, RouterOs, Target};

/// The longest line.
const LIMIT: usize = 4096;

/// What can be ordered.
pub const HELP: &str = "reboot DURATION [lose-unsaved] | power off | power on [lose-unsaved] | save | \
    target serving|bare|closed | console refuse|accept|freeze|thaw|cut | \
    arm drop-before|drop-after|stall|stall-after|half-open [PART OF A LINE] | disarm | \
    reset-configuration DURATION | lose-disk SLOT | switch NAME | \
    exec LINE OF THE CONSOLE (what it prints comes before done)";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Reboot(Duration, Reboot),
    PowerOff,
    PowerOn(Reboot),
    Save,
    Target(Target),
    Refuse(bool),
    Freeze(bool),
    Cut,
    Arm(Fault, Option<String>),
    Disarm,
    Reset(Duration),
    LoseDisk(String),
    Switch(String),
    Exec(String),
}

/// Listens at `path` and obeys for ever.
///
/// # Errors
/// When it cannot listen there.
pub async fn serve(os: RouterOs, path: &Path) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(listen(os.clone(), stream));
    }
}

async fn listen(os: RouterOs, stream: UnixStream) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = tokio::io::AsyncReadExt::take(BufReader::new(from), 0);
    loop {
        let mut line = String::new();
        from.set_limit(LIMIT as u64);
        if from.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match parse(&line).and_then(|order| obey(&os, order)) {
            Ok(printed) => format!("{printed}done\n"),
            Err(why) => format!("refused: {why}\n"),
        };
        to.write_all(answer.as_bytes()).await?;
    }
}

/// What was printed, line by line.
fn obey(os: &RouterOs, order: Order) -> Result<String, String> {
    match order {
        Order::Reboot(downtime, what) => os.reboot(what, downtime),
        Order::PowerOff => os.power_off(),
        Order::PowerOn(what) => os.power_on(what),
        Order::Save => os.mark_saved(),
        Order::Target(target) => os.set_target(target)?,
        Order::Refuse(on) => os.set_refusing(on),
        Order::Freeze(on) => os.set_half_open(on),
        Order::Cut => os.drop_connections(),
        Order::Arm(fault, Some(part)) => os.arm_on(&part, fault),
        Order::Arm(fault, None) => os.arm(fault),
        Order::Disarm => os.disarm(),
        Order::Reset(downtime) => os.reset_configuration(downtime),
        Order::LoseDisk(slot) => {
            os.lose_disk(&slot).then_some(()).ok_or(format!("no disk in slot {slot}"))?;
        }
        Order::Switch(name) => {
            let mut known = false;
            os.change_quirks(|quirks| known = quirks.turn_on(&name));
            known.then_some(()).ok_or(format!("no switch is called {name:?}"))?;
        }
        Order::Exec(line) => return Ok(os.exec(&line).text().replace("\r\n", "\n")),
    }
    Ok(String::new())
}

fn parse(line: &str) -> Result<Order, String> {
    let line = line.trim();
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let duration = || humantime::parse_duration(word).map_err(|e| format!("{word:?}: {e}"));
    let unknown = || format!("unknown order {line:?}; there are: {HELP}");
    let reboot = |text: &str| match text {
        "" => Ok(Reboot::KeepEverything),
        "lose-unsaved" => Ok(Reboot::LoseUnsaved),
        _ => Err(unknown()),
    };
    Ok(match (verb, word) {
        ("reboot", _) => Order::Reboot(duration()?, reboot(tail)?),
        ("power", "off") => Order::PowerOff,
        ("power", "on") => Order::PowerOn(reboot(tail)?),
        ("save", "") => Order::Save,
        ("target", "serving") => Order::Target(Target::Serving),
        ("target", "bare") => Order::Target(Target::Bare),
        ("target", "closed") => Order::Target(Target::Closed),
        ("console", "refuse") => Order::Refuse(true),
        ("console", "accept") => Order::Refuse(false),
        ("console", "freeze") => Order::Freeze(true),
        ("console", "thaw") => Order::Freeze(false),
        ("console", "cut") => Order::Cut,
        ("arm", _) => {
            let fault = match word {
                "drop-before" => Fault::DropBefore,
                "drop-after" => Fault::DropAfter,
                "stall" => Fault::Stall,
                "stall-after" => Fault::StallAfter,
                "half-open" => Fault::HalfOpen,
                _ => return Err(unknown()),
            };
            Order::Arm(fault, Some(tail.to_owned()).filter(|part| !part.is_empty()))
        }
        ("disarm", "") => Order::Disarm,
        ("reset-configuration", _) => Order::Reset(duration()?),
        ("lose-disk", slot) if !slot.is_empty() => Order::LoseDisk(slot.to_owned()),
        ("exec", _) if !rest.is_empty() => Order::Exec(rest.to_owned()),
        ("switch", name) if !name.is_empty() => Order::Switch(name.to_owned()),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn orders_are_read_word_by_word_and_others_are_refused_with_a_list() {
        let seconds = Duration::from_secs;
        let part = Some("nvme-tcp-export=no one".to_owned());
        for (line, order) in [
            ("reboot 5s", Order::Reboot(seconds(5), Reboot::KeepEverything)),
            ("power on lose-unsaved", Order::PowerOn(Reboot::LoseUnsaved)),
            ("target bare\n", Order::Target(Target::Bare)),
            ("console freeze", Order::Freeze(true)),
            ("arm drop-after nvme-tcp-export=no one", Order::Arm(Fault::DropAfter, part)),
            ("arm stall", Order::Arm(Fault::Stall, None)),
            ("lose-disk a", Order::LoseDisk("a".into())),
        ] {
            assert_eq!(parse(line), Ok(order), "{line}");
        }
        for line in ["", "explode", "reboot soon", "target", "power on fire", "lose-disk"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("explode").unwrap_err().contains("reboot DURATION"));
    }

    #[tokio::test]
    async fn whoever_connects_orders_and_hears_what_became_of_it() {
        let folder = std::env::temp_dir().join(format!("rds-sim-control-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let os = RouterOs::with(crate::routeros::Setup::default());
        let served = os.clone();
        let at = path.clone();
        tokio::spawn(async move { serve(served, &at).await });
        let mut stream = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => break BufReader::new(stream),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let mut says = async |order: &str| {
            stream.write_all(format!("{order}\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_line(&mut answer).await.unwrap();
            answer
        };
        assert_eq!(says("arm stall").await, "done\n");
        assert_eq!(os.armed(), 1);
        assert_eq!(says("lose-disk none").await, "refused: no disk in slot none\n");
        assert_eq!(says("exec :put \"one two\"").await, "one two\n");
        assert_eq!(says("exec :nothing").await, "done\n");
        assert_eq!(says("switch sparse-images").await, "done\n");
        assert!(os.quirks().sparse_images);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
