//! What the word of a node's agent, or its silence, means for one volume.

use super::ledger::{Formatted, Record};
use crate::agent::{Formatting, Proven};

/// What is known of a host through its node's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// Nothing: it has never answered. Silence of a source that never spoke proves nothing.
    NeverAnswered,
    /// Nothing: it has answered before, and is silent now.
    Silent,
    /// That its kernel is alive, and nothing of the volume.
    Alive,
    /// The host has no controller of the volume.
    ControllerGone,
    /// The host was started anew since it was last heard, and its agent cannot see its kernel. That it
    /// has not connected again since is not shown.
    NewBoot,
    /// The host has a controller of the volume.
    ControllerLive,
}

/// What came of asking.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// Nothing came back, or nobody was asked.
    Nothing,
    /// Somebody answered or refused, and it is no agent's word.
    Sign,
    /// The agent's word.
    Word(&'a Proven),
}

/// What of it concerns a volume, which is known by these names without generation. `boot_then`: the
/// start of the host's kernel when it held the volume, where that is known.
pub fn agent(heard: Heard<'_>, spoke: bool, names: &[String], boot_then: Option<&str>) -> Agent {
    let said = match heard {
        _ if !spoke && !matches!(heard, Heard::Word(_)) => return Agent::NeverAnswered,
        Heard::Nothing => return Agent::Silent,
        Heard::Sign => return Agent::Alive,
        Heard::Word(said) => said,
    };
    let is_new = boot_then.is_some_and(|then| then != said.boot_id());
    // A controller counts whatever the boot: under a name that comes back it is one that waits.
    match names.iter().any(|name| said.has_controller_of(name)) {
        true => Agent::ControllerLive,
        false if said.sees() => Agent::ControllerGone,
        false if is_new => Agent::NewBoot,
        false => Agent::Alive,
    }
}

impl Agent {
    /// May the host have the volume again from which it was fenced? Its old VolumeAttachment is
    /// gone. Where no agent ever answered, that decides alone.
    pub fn lets_in(self) -> bool {
        matches!(self, Self::NeverAnswered | Self::ControllerGone | Self::NewBoot)
    }

    /// Has the host let go of the volume, although nobody else says so?
    pub fn has_let_go(self) -> bool {
        self == Self::ControllerGone
    }

    /// For a person, after "the agent of node x".
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NeverAnswered => "has never answered",
            Self::Silent => "is silent, and has answered before",
            Self::Alive => "gives no word, though its kernel is alive",
            Self::ControllerGone => "shows no controller of the volume",
            Self::NewBoot => "shows that its host was started anew",
            Self::ControllerLive => "shows a controller of the volume",
        }
    }
}

/// What the agents of those who held a volume say of making a file system on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Not enough: one of them did not say, or has begun.
    Nothing,
    /// None of them has begun.
    Unformatted,
    /// There is a file system.
    Formatted,
}

/// What the agent of a node that lets go of `nqn` says. It tells of every volume on which it has
/// begun to make a file system, so of others it has not.
pub fn said(word: Option<&Proven>, nqn: &str) -> Said {
    let Some(word) = word.filter(|word| word.sees()) else { return Said::Nothing };
    match word.seen(nqn) {
        None => Said::Unformatted,
        Some(seen) => match (seen.formatting, seen.connection) {
            (Formatting::Done, _) => Said::Formatted,
            // What is noted is being staged, or is staged: it may begin at any moment.
            _ => Said::Nothing,
        },
    }
}

/// What several say together.
pub fn together(all: impl IntoIterator<Item = Said>) -> Said {
    let all: Vec<Said> = all.into_iter().collect();
    if all.contains(&Said::Formatted) {
        return Said::Formatted;
    }
    let none = !all.is_empty() && all.iter().all(|said| *said == Said::Unformatted);
    if none { Said::Unformatted } else { Said::Nothing }
}

/// What the ledger says of a volume once its holders have let go.
pub fn formatted_after(record: &Record, said: Said) -> Formatted {
    match (record.formatted, said) {
        (Formatted::Yes, _) | (_, Said::Formatted) => Formatted::Yes,
        (Formatted::Never, Said::Unformatted) => Formatted::Never,
        // What was not known before is not known now: somebody else may have made it.
        (Formatted::Never | Formatted::Maybe, _) => Formatted::Maybe,
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::agent::{Asked, Challenge, Connection, Keys, Report, VolumeWord, open, seal};
    use crate::attachment::ledger::ClusterTag;
    use crate::volume::NodeName;

    const NQN: &str = "nqn.x:v.g3-0a1b2c3d4e5f";

    fn word(nqn: &str, connection: Connection, formatting: Formatting) -> VolumeWord {
        let (nqn, file_system, uuid) = (nqn.into(), None, None);
        VolumeWord { nqn, connection, mounts: 0, file_system, uuid, formatting }
    }

    fn proven(volumes: Option<Vec<VolumeWord>>) -> Proven {
        let keys = Keys::of(b"one cluster's secret of 32 bytes").unwrap();
        let (node, challenge) = (NodeName::parse("n1").unwrap(), Challenge::random());
        let (driver, boot_id) = ("d".into(), "boot-1".into());
        let report = Report { driver, node: node.clone(), boot_id, volumes };
        let answer = seal(&report, &keys, &challenge).unwrap();
        open(&answer, &keys, Asked { driver: "d", node: &node, challenge }).unwrap()
    }

    #[test]
    fn a_host_is_clean_only_by_a_word_that_shows_no_controller_of_any_generation() {
        use Agent::{Alive, ControllerGone, ControllerLive, NeverAnswered, NewBoot, Silent};
        let names = ["nqn.x:v".to_owned(), "v".to_owned()];
        let of =
            |nqn: &str| proven(Some(vec![word(nqn, Connection::Connecting, Formatting::None)]));
        let (ours, fixed, other) = (of(NQN), of("v"), of("nqn.x:w.g3-0a1b2c3d4e5f"));
        let (none, blind) = (proven(Some(Vec::new())), proven(None));
        let table = [
            // heard, has it spoken before, the boot then, what it means
            (Heard::Nothing, false, None, NeverAnswered),
            (Heard::Sign, false, None, NeverAnswered),
            (Heard::Nothing, true, None, Silent),
            (Heard::Sign, true, None, Alive),
            (Heard::Word(&none), false, None, ControllerGone),
            (Heard::Word(&none), true, Some("boot-1"), ControllerGone),
            (Heard::Word(&none), true, Some("boot-0"), ControllerGone),
            (Heard::Word(&other), true, None, ControllerGone),
            (Heard::Word(&ours), true, None, ControllerLive),
            (Heard::Word(&ours), false, None, ControllerLive),
            (Heard::Word(&fixed), true, None, ControllerLive),
            (Heard::Word(&ours), true, Some("boot-0"), ControllerLive),
            (Heard::Word(&blind), true, None, Alive),
            (Heard::Word(&blind), true, Some("boot-0"), NewBoot),
        ];
        for (heard, spoke, boot, expected) in table {
            assert_eq!(agent(heard, spoke, &names, boot), expected, "{heard:?} {spoke} {boot:?}");
        }
    }

    #[test]
    fn silence_lets_nobody_in_who_has_spoken_and_lets_nobody_leave() {
        let table = [
            (Agent::NeverAnswered, true, false),
            (Agent::Silent, false, false),
            (Agent::Alive, false, false),
            (Agent::ControllerGone, true, true),
            (Agent::NewBoot, true, false),
            (Agent::ControllerLive, false, false),
        ];
        for (agent, lets_in, has_let_go) in table {
            assert_eq!((agent.lets_in(), agent.has_let_go()), (lets_in, has_let_go), "{agent:?}");
        }
    }

    #[test]
    fn a_volume_stays_unformatted_only_by_the_word_of_a_host_that_has_let_go() {
        use Connection::{Connecting, Gone, Live};
        let one = |connection, formatting| proven(Some(vec![word(NQN, connection, formatting)]));
        let table = [
            (Some(one(Gone, Formatting::None)), Said::Nothing),
            (Some(one(Live, Formatting::None)), Said::Nothing),
            (Some(one(Connecting, Formatting::None)), Said::Nothing),
            (Some(one(Gone, Formatting::Begun)), Said::Nothing),
            (Some(one(Gone, Formatting::Done)), Said::Formatted),
            (Some(one(Live, Formatting::Done)), Said::Formatted),
            (Some(proven(Some(Vec::new()))), Said::Unformatted),
            (Some(proven(None)), Said::Nothing),
            (None, Said::Nothing),
        ];
        for (word, expected) in table {
            assert_eq!(said(word.as_ref(), NQN), expected, "{word:?}");
        }
    }

    #[test]
    fn of_several_one_that_formatted_is_enough_and_one_that_is_silent_too_much() {
        use Said::{Formatted, Nothing, Unformatted};
        for (all, expected) in [
            (vec![], Nothing),
            (vec![Unformatted, Unformatted], Unformatted),
            (vec![Unformatted, Nothing], Nothing),
            (vec![Nothing, Formatted], Formatted),
        ] {
            assert_eq!(together(all.clone()), expected, "{all:?}");
        }
    }

    #[test]
    fn the_ledger_forgets_no_file_system_and_takes_no_silence_for_never() {
        use Formatted::{Maybe, Never, Yes};
        let created = Record::created(ClusterTag::of("c"));
        for (before, said, after) in [
            (Never, Said::Nothing, Maybe),
            (Never, Said::Unformatted, Never),
            (Never, Said::Formatted, Yes),
            (Maybe, Said::Nothing, Maybe),
            (Maybe, Said::Unformatted, Maybe),
            (Maybe, Said::Formatted, Yes),
            (Yes, Said::Nothing, Yes),
            (Yes, Said::Unformatted, Yes),
            (Yes, Said::Formatted, Yes),
        ] {
            let record = Record { formatted: before, ..created.clone() };
            assert_eq!(formatted_after(&record, said), after, "{before:?} {said:?}");
        }
    }
}
