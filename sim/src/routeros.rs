//! The simulated box.
