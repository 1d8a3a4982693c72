//! Which of the waiting jobs a free lane takes: as many as go in one line. Pure.
//!
//! - First in, first out: a line holds the jobs that wait longest, without gaps. One that cannot
//!   share a line ends it, and goes alone in the next.
//! - Lanes that are free at the same time share what waits evenly, so that none idles while
//!   another works through a long line.
//! - A line is no longer than [`ConnectionSettings::line_bytes_max`], and takes no more time than
//!   [`ConnectionSettings::in_time`] allows.

use std::time::Duration;

use super::jobs::{Job, Queue};
use super::sessions::{Language, Line};
use super::settings::ConnectionSettings;

/// What one lane does in one exec.
#[derive(Debug)]
pub struct Work {
    /// The jobs, as many as the line has tags.
    pub jobs: Vec<Job>,
    /// Their line.
    pub line: Line,
    /// How long it may take.
    pub within: Duration,
}

impl Work {
    /// One job in a line of its own.
    pub fn alone(job: Job, language: &Language, settings: &ConnectionSettings) -> Self {
        let line = language.alone(&job.command);
        let within = settings.deadline([&job.command]);
        Self { jobs: vec![job], line, within }
    }
}

/// The next work for one of `free` lanes; `shared` says whether jobs may share a line.
pub fn next(
    queue: &mut Queue,
    free: usize,
    shared: bool,
    language: &Language,
    settings: &ConnectionSettings,
) -> Option<Work> {
    let mut commands = queue.commands();
    commands.truncate(commands.len().div_ceil(free.max(1)));
    let first = *commands.first()?;
    commands.truncate(settings.in_time(&commands));
    let together = match shared && commands.len() > 1 {
        true => language.together(&commands, settings.line_bytes_max),
        false => None,
    };
    let line = together.unwrap_or_else(|| language.alone(first));
    let jobs = queue.take(line.tags.len());
    let within = settings.deadline(jobs.iter().map(|job| &job.command));
    Some(Work { jobs, line, within })
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::rds::{Command, NewDisk, reply};
    use crate::volume::{Slot, VolumePath};
    use proptest::prelude::*;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    fn show(at: usize) -> Command {
        Command::Show(Slot::parse(&format!("v{at}")).unwrap())
    }

    fn create(gib: u64) -> Command {
        let slot = Slot::parse("new").unwrap();
        let image = VolumePath::parse("pool").unwrap().image(&slot);
        Command::Create(NewDisk { slot, image, bytes: gib << 30, comment: "c".into() })
    }

    /// A queue of these, whose callers all wait.
    fn queue(commands: &[Command]) -> (Queue, Vec<impl Sized + use<>>) {
        let (mut queue, mut callers) = (Queue::default(), Vec::new());
        for command in commands {
            let (answer, caller) = oneshot::channel();
            let (command, expires) = (command.clone(), Instant::now());
            queue.push(Job { command, turn: None, answer, expires });
            callers.push(caller);
        }
        (queue, callers)
    }

    /// How many jobs each work holds when `free` lanes take all.
    fn taken(commands: &[Command], free: usize, shared: bool) -> Vec<usize> {
        let (mut queue, _callers) = queue(commands);
        let (language, settings) = (Language::default(), ConnectionSettings::default());
        let mut lanes = (1..=free).rev().chain(std::iter::repeat(1));
        let next = || {
            let free = lanes.next().unwrap_or(1);
            super::next(&mut queue, free, shared, &language, &settings)
        };
        std::iter::from_fn(next).map(|work| work.jobs.len()).collect()
    }

    #[test]
    fn free_lanes_share_what_waits() {
        let shows = |count| (0..count).map(show).collect::<Vec<_>>();
        assert_eq!(taken(&shows(1), 3, true), [1]);
        assert_eq!(taken(&shows(3), 3, true), [1, 1, 1]);
        assert_eq!(taken(&shows(7), 3, true), [3, 2, 2]);
        assert_eq!(taken(&shows(64), 3, true), [22, 21, 21]);
        assert_eq!(taken(&shows(64), 1, true), [64]);
        assert_eq!(taken(&shows(4), 1, false), [1, 1, 1, 1]);
        assert_eq!(taken(&[], 3, true), [0; 0]);
    }

    #[test]
    fn what_cannot_share_a_line_goes_alone_in_its_turn() {
        let commands = [show(0), show(1), Command::Table, show(2), show(3), show(4)];
        assert_eq!(taken(&commands, 1, true), [2, 1, 3]);
    }

    #[test]
    fn what_makes_many_bytes_makes_few_others_wait() {
        let commands = [show(0), create(100), show(1), create(20), create(20), create(5)];
        assert_eq!(taken(&commands, 1, true), [1, 1, 2, 2]);
    }

    proptest! {
        /// Whatever waits goes out once, in its order, in lines within their bound.
        #[test]
        fn everything_goes_out_once_and_in_order(
            kinds in prop::collection::vec(0u64..40, 0..60), free in 0usize..5, bytes in 0usize..9000,
        ) {
            let commands: Vec<_> = kinds.iter().enumerate().map(|(at, kind)| match kind {
                0 => Command::Table,
                1..30 => show(at),
                gib => create(*gib),
            }).collect();
            let (mut queue, _callers) = queue(&commands);
            let language = Language { read: reply::read, ..Language::default() };
            let settings = ConnectionSettings { line_bytes_max: bytes, ..Default::default() };
            let mut went = Vec::new();
            while let Some(work) = next(&mut queue, free, true, &language, &settings) {
                prop_assert_eq!(work.jobs.len(), work.line.tags.len());
                prop_assert!(work.jobs.len() == 1 || work.line.text.len() <= bytes);
                let twice = settings.command_deadline * 2;
                prop_assert!(work.jobs.len() == 1 || work.within <= twice);
                went.extend(work.jobs.into_iter().map(|job| job.command));
            }
            prop_assert_eq!(went, commands);
        }
    }
}
