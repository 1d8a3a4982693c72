//! What hangs in the kernel, by the place that it was asked of.
//!
//! A thread or a program in the kernel's state D cannot be ended; one can only not wait for it. As
//! long as one hangs at a place nobody else is sent there: else every retry would leave another one
//! behind, and a single dead volume would use up the process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Error, Kind};

/// The places where something of ours hangs. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Stuck(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    running: HashMap<u64, Running>,
}

#[derive(Debug)]
struct Running {
    place: PathBuf,
    what: String,
    since: Instant,
    hangs: bool,
}

/// Something of ours that is in the kernel; forgotten when this is dropped.
#[derive(Debug)]
pub struct Visit {
    id: u64,
    stuck: Stuck,
}

impl Stuck {
    /// Begins `what` at a place, unless something hangs there, or `most` are in the kernel already.
    ///
    /// # Errors
    /// [`Kind::Stuck`], naming what hangs and since when.
    pub fn enter(&self, place: &Path, what: &str, most: usize) -> Result<Visit, Error> {
        let mut places = self.places();
        if let Some(other) = places.running.values().find(|it| it.hangs && it.place == place) {
            let seconds = other.since.elapsed().as_secs();
            let why = format!(
                "{what} was not tried: {} hangs in the kernel for {seconds} s now",
                other.what
            );
            return Err(Error::new(Kind::Stuck, why));
        }
        if places.running.len() >= most {
            let why = format!("{what} was not tried: {most} calls are in the kernel already");
            return Err(Error::new(Kind::Stuck, why));
        }
        let id = places.next;
        places.next += 1;
        let (place, what) = (place.to_owned(), what.to_owned());
        places.running.insert(id, Running { place, what, since: Instant::now(), hangs: false });
        Ok(Visit { id, stuck: self.clone() })
    }

    /// Remembers that a visit has lasted too long. Nothing happens when it is over.
    pub fn hangs(&self, id: u64) {
        if let Some(running) = self.places().running.get_mut(&id) {
            running.hangs = true;
        }
    }

    /// What hangs now, for a person.
    pub fn list(&self) -> Vec<String> {
        let places = self.places();
        let mut hanging: Vec<&Running> = places.running.values().filter(|it| it.hangs).collect();
        hanging.sort_by_key(|it| it.since);
        hanging.iter().map(|it| it.what.clone()).collect()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Its number, for [`Stuck::hangs`].
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.stuck.places().running.remove(&self.id);
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_place_where_something_hangs_is_left_alone_until_it_comes_back() {
        let stuck = Stuck::default();
        let place = Path::new("/dev/nvme0n1");
        let visit = stuck.enter(place, "reading /dev/nvme0n1", 8).unwrap();
        drop(stuck.enter(place, "reading it again", 8).unwrap());
        stuck.hangs(visit.id());
        let refused = stuck.enter(place, "mounting it", 8).unwrap_err();
        assert_eq!(refused.kind, Kind::Stuck);
        assert!(refused.what.contains("mounting it"), "{refused}");
        assert!(refused.what.contains("reading /dev/nvme0n1 hangs"), "{refused}");
        assert_eq!(stuck.list(), ["reading /dev/nvme0n1"]);
        drop(stuck.enter(Path::new("/dev/nvme1n1"), "another volume", 8).unwrap());
        drop(visit);
        stuck.enter(place, "mounting it", 8).unwrap();
    }

    #[test]
    fn a_visit_that_is_over_cannot_hang() {
        let stuck = Stuck::default();
        let id = stuck.enter(Path::new("/a"), "a", 8).unwrap().id();
        stuck.hangs(id);
        assert_eq!(stuck.list(), [""; 0]);
    }

    #[test]
    fn the_number_of_calls_in_the_kernel_is_bounded() {
        let stuck = Stuck::default();
        let _first = stuck.enter(Path::new("/a"), "a", 2).unwrap();
        let second = stuck.enter(Path::new("/b"), "b", 2).unwrap();
        let refused = stuck.enter(Path::new("/c"), "c", 2).unwrap_err();
        assert_eq!(refused.kind, Kind::Stuck);
        drop(second);
        stuck.enter(Path::new("/c"), "c", 2).unwrap();
    }
}
