//! The story on every kind of box: once per fact about RouterOS that nobody has proven, turned into
//! its opposite, with short intervals.
//!
//! What a box of that kind is expected to do otherwise is its [`Nature`](super::world::Nature); no
//! switch is left out.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rds_sim::routeros::{Quirks, Switch, Version};
use slog::{Logger, o};
use tokio::time::Instant;

use super::incident::incident;
use super::narrator::{Narrator, Tally};
use super::simulated::{Plan, Simulated};
use super::world::Trouble;
use crate::page::Page;
use crate::process::system;

/// One kind of box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The name of its switch, or of its release.
    pub name: String,
    /// What is different on it.
    pub doc: String,
    /// Its release.
    pub version: Version,
    /// Its facts.
    pub quirks: Quirks,
}

impl Kind {
    /// A box of that release with one switch on.
    pub fn with(version: Version, switch: &Switch) -> Self {
        let mut quirks = Quirks::default();
        (switch.turn_on)(&mut quirks);
        Self { name: switch.name.into(), doc: switch.doc.into(), version, quirks }
    }

    /// A box of that release, as it most likely is.
    pub fn release(version: Version) -> Self {
        let doc = match version.has_server_nqn() {
            true => "every attachment has an NQN of its own",
            false => "the box cannot name an export: its list of hosts decides",
        };
        let name = format!("RouterOS {version}");
        Self { name, doc: doc.into(), version, quirks: Quirks::default() }
    }

    /// The kind that `--switch` names, or what a person may write there.
    ///
    /// # Errors
    /// The text that lists every name.
    pub fn named(version: Version, name: &str) -> Result<Self, String> {
        let all = Quirks::all_switches();
        let found = all.iter().find(|switch| switch.name == name);
        found.map(|switch| Self::with(version, switch)).ok_or_else(|| {
            let names = all.iter().map(|switch| format!("\n  {:25} {}", switch.name, switch.doc));
            format!("{name:?} is no switch; these are:{}", names.collect::<String>())
        })
    }

    /// A box of that release as it most likely is, then with every switch, one at a time.
    pub fn all(version: Version) -> Vec<Self> {
        let switches = Quirks::all_switches().iter().map(|switch| Self::with(version, switch));
        std::iter::once(Self::release(version)).chain(switches).collect()
    }

    /// The world of its story: short intervals.
    pub fn plan(&self) -> Plan {
        let (version, quirks) = (self.version, self.quirks.clone());
        Plan { version, quirks, ..Plan::default() }.quick()
    }
}

/// What became of a story.
#[derive(Debug, Clone)]
pub struct Told {
    /// The kind of box.
    pub kind: Kind,
    /// What held.
    pub tally: Tally,
    /// Why the story did not come to its end.
    pub trouble: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// Its words.
    pub text: String,
}

impl Told {
    /// Did everything hold?
    pub fn all_held(&self) -> bool {
        self.trouble.is_none() && self.tally.all_held()
    }
}

/// Tells the story on a box of this kind; blocks this thread, which becomes an actix System.
pub fn tell(kind: Kind, log: &Logger) -> Told {
    let page = Page::default();
    let narrator = Narrator::new(Box::new(page.clone()), false);
    let start = Instant::now();
    let story = story(&kind, &narrator, &log.new(o!("switch" => kind.name.clone())));
    let tally = narrator.end();
    let trouble = story.err().map(|trouble| trouble.to_string());
    Told { kind, tally, trouble, took: start.elapsed(), text: page.text() }
}

fn story(kind: &Kind, narrator: &Narrator, log: &Logger) -> Result<(), Trouble> {
    let scratch = tempfile::tempdir()?;
    system(log)?.block_on(async {
        let world = Simulated::start(kind.plan(), scratch.path(), log.clone()).await?;
        let story = incident(&world, narrator).await;
        world.stop().await;
        story
    })
}

/// Tells the story on all these boxes, `abreast` at a time, and a line for each as it ends; in full
/// only what did not hold. Says what became of them, in the order in which they ended.
///
/// # Errors
/// When the system gives no threads.
pub fn tell_all(
    kinds: Vec<Kind>,
    abreast: usize,
    log: &Logger,
    out: &mut (dyn Write + Send),
) -> Result<Vec<Told>, std::io::Error> {
    let (count, start) = (kinds.len(), Instant::now());
    let waiting = Mutex::new(VecDeque::from(kinds));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    // Whoever watches sees a line as soon as a story ends, whichever that is.
    let shared = Mutex::new((out, Vec::new()));
    let work = || {
        while let Some(kind) = next() {
            let told = tell(kind, log);
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            report(&mut shared.0, &told);
            shared.1.push(told);
        }
    };
    thread::scope(|scope| {
        for number in 0..abreast.clamp(1, count.max(1)) {
            let name = format!("story-{number}");
            thread::Builder::new().name(name).spawn_scoped(scope, work)?;
        }
        Ok::<_, std::io::Error>(())
    })?;
    let (out, told) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    let held = told.iter().filter(|told| told.all_held()).count();
    let took = start.elapsed().as_secs_f64();
    // Nobody may be reading any more; the answer is the return value.
    let _ = writeln!(out, "sandbox: {held} of {count} boxes held every expectation, {took:.1} s");
    Ok(told)
}

fn report(out: &mut (dyn Write + Send), told: &Told) {
    let Tally { held, broken } = &told.tally;
    let all = held + broken.len();
    let mark = if told.all_held() { "held  " } else { "BROKEN" };
    let (name, seconds) = (&told.kind.name, told.took.as_secs_f64());
    let _ =
        writeln!(out, "{mark} {held:2} of {all:2}  {seconds:5.1} s  {name:25} {}", told.kind.doc);
    if !told.all_held() {
        let trouble = told.trouble.as_deref().unwrap_or("the story came to its end");
        let _ = writeln!(out, "{}\n{trouble}\n", told.text);
    }
    let _ = out.flush();
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_name_that_is_no_switch_is_answered_with_all_of_them() {
        let refused = Kind::named(Version::V7_24_4, "no-such-thing").unwrap_err();
        assert!(refused.contains("reboot-renumbers") && refused.contains("\"no-such-thing\""));
        let kind = Kind::named(Version::V7_24_4, "no-counters").unwrap();
        assert!(kind.quirks.no_counters);
    }

    #[test]
    fn all_kinds_are_the_release_and_all_switches() {
        let names: Vec<_> = Kind::all(Version::V7_24_4).into_iter().map(|kind| kind.name).collect();
        let switches = Quirks::all_switches().iter().map(|switch| switch.name);
        assert!(names.iter().eq(std::iter::once("RouterOS 7.24.4").chain(switches)));
    }
}
