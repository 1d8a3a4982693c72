//! Chance: everything that the driver leaves to it, but the cluster Secret, which only the
//! operating system's generator makes.
//!
//! Whoever needs it asks a function, because a nonce is taken deep in the operations and a handle
//! would have to travel through every one of them for the sake of one test. The feature
//! `simulation` puts a generator with a seed (`seed`), or any other (`draw_from`), in the place of
//! the thread's own, for the thread that asks for it; without the feature there is no such
//! function, nor any state.

use rand::Rng as _;

/// So many random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    drawn(|generator| {
        let mut bytes = [0; N];
        generator.fill_bytes(&mut bytes);
        bytes
    })
}

/// A number from 0 to `end`, without `end` itself; 0 where that is 0.
pub fn below(end: usize) -> usize {
    drawn(|generator| generator.random_range(0..end.max(1)))
}

/// A share from 0 to 1, without 1 itself.
pub fn share() -> f64 {
    drawn(|generator| generator.random())
}

#[cfg(not(feature = "simulation"))]
fn drawn<T>(draw: impl FnOnce(&mut dyn rand::RngCore) -> T) -> T {
    draw(&mut rand::rng())
}

#[cfg(feature = "simulation")]
use self::seeded::drawn;
#[cfg(feature = "simulation")]
pub use self::seeded::{draw_from, seed};

#[cfg(feature = "simulation")]
mod seeded {
    use std::cell::RefCell;

    use rand::rngs::StdRng;
    use rand::{RngCore, SeedableRng as _};

    thread_local! {
        static GENERATOR: RefCell<Option<Box<dyn RngCore>>> = const { RefCell::new(None) };
    }

    /// From now on everything random on this thread follows from `seed`.
    pub fn seed(seed: u64) {
        draw_from(StdRng::seed_from_u64(seed));
    }

    /// From now on everything random on this thread is what this generator makes.
    pub fn draw_from(source: impl RngCore + 'static) {
        GENERATOR.with_borrow_mut(|generator| *generator = Some(Box::new(source)));
    }

    pub(super) fn drawn<T>(draw: impl FnOnce(&mut dyn RngCore) -> T) -> T {
        GENERATOR.with_borrow_mut(|generator| match generator {
            Some(generator) => draw(generator),
            None => draw(&mut rand::rng()),
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn numbers_stay_below_their_end_and_bytes_differ() {
        assert!((0..1000).all(|_| below(3) < 3));
        assert_eq!(below(0), 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&share())));
        assert_ne!(bytes::<16>(), bytes::<16>());
    }

    #[cfg(feature = "simulation")]
    #[test]
    fn a_seed_decides_everything_that_follows() {
        let drawn = || {
            seed(7);
            (bytes::<6>(), below(1000), bytes::<6>())
        };
        assert_eq!(drawn(), drawn());
    }
}
