//! What we ask of a box.
pub mod ssh;
