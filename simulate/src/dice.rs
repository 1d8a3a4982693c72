//! Chance with a seed: a stream of its own for everybody who draws, so that one more draw here
//! does not change what is drawn there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// One stream. Clones share it.
#[derive(Clone)]
pub struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    /// The stream called `name` of this seed.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(derived(seed, name)))))
    }

    fn generator(&self) -> MutexGuard<'_, StdRng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&self, end: usize) -> usize {
        self.generator().random_range(0..end)
    }

    /// True in so many of 100 cases.
    pub fn percent(&self, share: u32) -> bool {
        self.generator().random_range(0..100) < share
    }

    /// So many milliseconds at least, fewer than `to`.
    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.generator().random_range(from..to))
    }

    /// One of them; none of none.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }
}

/// A seed for the stream `name`: FNV-1a over both.
pub fn derived(seed: u64, name: &str) -> u64 {
    let mut hash = Fnv::default();
    hash.add(&seed.to_be_bytes());
    hash.add(name.as_bytes());
    hash.0
}

/// FNV-1a: the same on every machine and in every run, unlike the standard hasher.
#[derive(Debug, Clone, Copy)]
pub struct Fnv(pub u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
