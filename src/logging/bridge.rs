//! Records of libraries: `tracing` (kube, tonic, hyper) and `log` (actix, thrussh, russh).
//!
//! `tracing` has its feature `log`, so its events become `log` records as long as nobody installs a
//! subscriber; slog-stdlog turns those into slog records, and slog-scope holds the logger that they
//! go to. Without a live [`Bridge`] they vanish without a word.

use slog::{Drain, FnValue, Level, Logger, OwnedKVList, Record, o};

/// Libraries that log packets or headers below `info`. What they would say there may hold key
/// material or tokens, so it is never logged, whatever the configured level.
/// `mio` and `tracing` (spans without fields) only say that somebody is still there.
const TALKATIVE: [&str; 8] =
    ["russh", "thrussh", "h2", "hyper", "rustls", "openssl", "mio", "tracing"];

/// Ends the bridge when it is dropped.
pub struct Bridge(());

impl Bridge {
    /// Sends records of libraries to `log`, each with its `library` (the record's target). There
    /// is one bridge in a process.
    pub fn install(log: &Logger) -> Self {
        let library = FnValue(|record: &Record<'_>| record.tag().to_owned());
        send_to(Logger::root(Capped(log.new(o!("library" => library))), o!()));
        // Fails when it was installed before, which is as good.
        let _ = slog_stdlog::init();
        Self(())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        send_to(Logger::root(slog::Discard, o!()));
    }
}

/// The guard of slog-scope is not kept: dropping it would make every later record of a library
/// panic ("no logger set"), and libraries log to the very end.
fn send_to(log: Logger) {
    slog_scope::set_global_logger(log).cancel_reset();
}

struct Capped(Logger);

impl Drain for Capped {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        if record.level().is_at_least(Level::Info) || !is_talkative(record.tag()) {
            Drain::log(&self.0, record, values)?;
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        Drain::is_enabled(&self.0, level)
    }
}

fn is_talkative(target: &str) -> bool {
    let krate = target.split("::").next().unwrap_or(target);
    let family = krate.split(['_', '-']).next().unwrap_or(krate);
    TALKATIVE.contains(&family)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_talkative_library_is_known_by_its_target() {
        for target in
            ["russh::client", "thrussh", "thrussh_keys::agent", "tracing::span", "mio::poll"]
        {
            assert!(is_talkative(target), "{target}");
        }
        for target in ["kube_client::client", "tonic::transport", "actix::mailbox", "h2o"] {
            assert!(!is_talkative(target), "{target}");
        }
    }
}
