//! The publish context that ControllerPublishVolume wrote (`operations/publish.rs`) and the timing
//! in the volume context (keys of the first driver), as what the kernel is asked for.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::host::{Connect, Timing};
use crate::volume::{Nqn, Refused};

/// What a node was told about an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Where to connect, as whom, and how patiently.
    pub connect: Connect,
    /// Of the attachment; absent for volumes whose NQN never changes.
    pub generation: Option<u64>,
    /// Does the ledger say that the volume has never been formatted?
    pub may_format: bool,
    /// The least size of the device, where the controller told it. Volumes never shrink.
    pub bytes: Option<u64>,
}

/// Reads both. `usual` is the configured timing, which a StorageClass may override.
///
/// # Errors
/// Naming field, value and way out.
pub fn read(
    publish: &BTreeMap<String, String>,
    volume: &BTreeMap<String, String>,
    usual: &Timing,
) -> Result<Context, Refused> {
    let get = |key: &str| {
        publish.get(key).map(String::as_str).ok_or_else(|| {
            Refused(format!(
                "publish_context[{key}]: is missing; ControllerPublishVolume gives it, so the \
                 CSIDriver object must say attachRequired"
            ))
        })
    };
    let about = |key: &str, why: &dyn Display| Refused(format!("publish_context[{key}]: {why}"));
    let nqn = Nqn::exported(get("nqn")?).map_err(|why| about("nqn", &why))?;
    let address = get("nvmeAddress")?;
    if address.is_empty() || address.contains(|c: char| c == ',' || c.is_whitespace()) {
        let why = Refused::value(address, "is neither an IP address nor a host name");
        return Err(about("nvmeAddress", &why));
    }
    let port = number::<u16>(get("nvmePort")?, 1..=u16::MAX).map_err(|e| about("nvmePort", &e))?;
    let host_nqn = Nqn::parse(get("hostNqn")?).map_err(|why| about("hostNqn", &why))?;
    let host_id = get("hostId")?;
    if !is_uuid(host_id) {
        return Err(about("hostId", &Refused::value(host_id, "is no UUID")));
    }
    let optional = |key: &str| match publish.get(key) {
        None => Ok(None),
        Some(text) => number(text, 0..=u64::MAX).map(Some).map_err(|why| about(key, &why)),
    };
    let may_format = match publish.get("format").map(String::as_str) {
        None => false,
        Some("allowed") => true,
        Some(other) => {
            let why = Refused::value(other, "is not known; it is \"allowed\" or absent");
            return Err(about("format", &why));
        }
    };
    Ok(Context {
        connect: Connect {
            nqn,
            address: address.to_owned(),
            port,
            host_nqn,
            host_id: host_id.to_owned(),
            timing: timing(volume, usual)?,
        },
        generation: optional("generation")?,
        may_format,
        bytes: optional("bytes")?,
    })
}

/// The configured timing, or what the StorageClass says: of `ctrlLossTmo` -1 is "for ever", of
/// `keepAliveTmo` 0 is "as configured".
fn timing(volume: &BTreeMap<String, String>, usual: &Timing) -> Result<Timing, Refused> {
    let seconds = |key: &str, range: RangeInclusive<i64>| match volume.get(key) {
        None => Ok(None),
        Some(text) => number(text, range)
            .map(Some)
            .map_err(|why| Refused(format!("volume_context[{key}]: {why}"))),
    };
    let duration = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    let mut timing = usual.clone();
    match seconds("ctrlLossTmo", -1..=31_536_000)? {
        None => {}
        Some(-1) => timing.ctrl_loss = None,
        Some(given) => timing.ctrl_loss = Some(duration(given)),
    }
    if let Some(given) = seconds("reconnectDelay", 1..=3_600)? {
        timing.reconnect_delay = duration(given);
    }
    if let Some(given) = seconds("keepAliveTmo", 0..=3_600)?.filter(|given| *given > 0) {
        timing.keep_alive = duration(given);
    }
    Ok(timing)
}

fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, Refused>
where
    T: std::str::FromStr + PartialOrd + Display,
{
    match text.parse::<T>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let what = format!("is no whole number from {} to {}", range.start(), range.end());
            Err(Refused::value(text, what))
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod test {
    use super::*;

    const HOST: &str = "01234567-89ab-8def-8123-456789abcdef";

    fn usual() -> Timing {
        Timing {
            ctrl_loss: None,
            reconnect_delay: Duration::from_secs(10),
            keep_alive: Duration::from_secs(5),
            fast_io_fail: None,
            io_queues: None,
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn publish() -> BTreeMap<String, String> {
        let host_nqn = format!("nqn.2014-08.org.nvmexpress:uuid:{HOST}");
        map(&[
            ("nqn", "nqn.2000-02.com.mikrotik:pvc-1.g3-0123456789ab"),
            ("nvmeAddress", "10.0.0.1"),
            ("nvmePort", "4420"),
            ("hostNqn", &host_nqn),
            ("hostId", HOST),
            ("generation", "3"),
            ("format", "allowed"),
        ])
    }

    #[test]
    fn what_the_controller_publishes_is_what_the_kernel_is_asked_for() {
        let context = read(&publish(), &BTreeMap::new(), &usual()).unwrap();
        assert_eq!(context.connect.nqn.as_str(), "nqn.2000-02.com.mikrotik:pvc-1.g3-0123456789ab");
        assert_eq!((context.connect.address.as_str(), context.connect.port), ("10.0.0.1", 4420));
        assert_eq!(context.connect.host_id, HOST);
        assert_eq!((context.generation, context.may_format, context.bytes), (Some(3), true, None));
        assert_eq!(context.connect.timing, usual());
    }

    #[test]
    fn a_volume_whose_name_comes_back_needs_neither_generation_nor_a_proper_nqn() {
        let mut old = publish();
        for key in ["generation", "format"] {
            old.remove(key);
        }
        for nqn in ["pvc-1", "nqn.2000-02.com.mikrotik:pvc-1"] {
            old.insert("nqn".into(), nqn.into());
            let context = read(&old, &BTreeMap::new(), &usual()).unwrap();
            assert_eq!(context.connect.nqn.as_str(), nqn);
            assert_eq!((context.generation, context.may_format), (None, false));
        }
    }

    #[test]
    fn a_storage_class_overrides_the_configured_timing() {
        let class = [("ctrlLossTmo", "60"), ("reconnectDelay", "3"), ("keepAliveTmo", "7")];
        let timing = read(&publish(), &map(&class), &usual()).unwrap().connect.timing;
        assert_eq!(timing.ctrl_loss, Some(Duration::from_secs(60)));
        assert_eq!(timing.reconnect_delay, Duration::from_secs(3));
        assert_eq!(timing.keep_alive, Duration::from_secs(7));
        let defaults = [("ctrlLossTmo", "-1"), ("keepAliveTmo", "0")];
        let some = Timing { ctrl_loss: Some(Duration::from_secs(9)), ..usual() };
        let timing = read(&publish(), &map(&defaults), &some).unwrap().connect.timing;
        assert_eq!(timing, usual());
    }

    #[test]
    fn every_bad_value_is_refused_by_its_name() {
        for (key, bad) in [
            ("nqn", "nqn.x,hostnqn=y"),
            ("nqn", ""),
            ("nvmeAddress", "10.0.0.1,trsvcid=1"),
            ("nvmePort", "0"),
            ("nvmePort", "65536"),
            ("hostNqn", "me"),
            ("hostId", "me"),
            ("generation", "-1"),
            ("format", "please"),
            ("bytes", "1G"),
        ] {
            let mut publish = publish();
            publish.insert(key.into(), bad.into());
            let why = read(&publish, &BTreeMap::new(), &usual()).unwrap_err().to_string();
            assert!(why.starts_with(&format!("publish_context[{key}]: \"{bad}\"")), "{why}");
        }
        for key in ["nqn", "nvmeAddress", "nvmePort", "hostNqn", "hostId"] {
            let mut publish = publish();
            publish.remove(key);
            let why = read(&publish, &BTreeMap::new(), &usual()).unwrap_err().to_string();
            assert!(why.starts_with(&format!("publish_context[{key}]: is missing")), "{why}");
        }
        for (key, bad) in [("ctrlLossTmo", "-2"), ("reconnectDelay", "0"), ("keepAliveTmo", "x")] {
            let why = read(&publish(), &map(&[(key, bad)]), &usual()).unwrap_err().to_string();
            assert!(why.starts_with(&format!("volume_context[{key}]: \"{bad}\"")), "{why}");
        }
    }
}
