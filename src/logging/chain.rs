//! An error with all its causes on one line.

use std::error::Error;
use std::fmt;

/// Displays an error with all its causes, separated by ": ". Our errors' own `Display` never
/// repeats its source.
///
/// `error!(log, "reconcile pass failed"; "error" => %Chain(&error))`
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
