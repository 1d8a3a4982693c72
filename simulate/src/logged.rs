//! The driver's log, into the trace.

use std::fmt::Write as _;
use std::sync::Arc;

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, o};

use crate::trace::Trace;

/// A logger whose records become remarks of the trace; one that drops them where nobody will look.
pub fn logger(trace: &Arc<Trace>, wanted: bool) -> Logger {
    match wanted {
        true => Logger::root(Into(Arc::clone(trace)).fuse(), o!()),
        false => Logger::root(slog::Discard, o!()),
    }
}

struct Into(Arc<Trace>);

impl Drain for Into {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        if record.level().is_at_least(Level::Info) {
            let mut text = Text(format!("{}", record.msg()));
            // Only a writer that fails makes this fail.
            let _ = record.kv().serialize(record, &mut text);
            self.0.remark(&text.0);
        }
        Ok(())
    }
}

struct Text(String);

impl slog::Serializer for Text {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}
