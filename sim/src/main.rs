//! The simulated box as a program.
fn main() {}
