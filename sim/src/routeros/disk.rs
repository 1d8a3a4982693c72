//! The `/disk` menu: add, set, unset, remove, and the rows that print.
//!
//! Every change is checked whole before anything of it is applied.

mod change;
mod row;

pub use change::{add, remove, set};
pub use row::Shown;
