//! The root logger: JSON or terminal, a level that changes at run time, no record ever dropped.
//!
//! ```text
//! our loggers ───────────────▶ LevelSwitch ─▶ slog_async (blocks when full) ─▶ JSON | terminal
//! kube, tonic, actix ─▶ log ─▶ Bridge ─┘
//! ```
//!
//! `main` owns [`Logging`] and drops it last: dropping ends the bridge, then waits until the last
//! record is written. Constructors elsewhere take a `Logger` and derive their own with
//! `o!("component" => …)`. Nothing here knows what is logged.

pub mod bridge;
mod chain;
mod level;

use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;

use slog::{Drain, Logger, crit, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};

pub use self::chain::Chain;
pub use self::level::LevelSwitch;
use crate::config::LogConfig;
use crate::config::log::Format;

/// Records that may wait to be written. Beyond it, whoever logs waits: a pass logs tens of records,
/// so only a blocked standard error gets that far.
const RECORDS_WAITING_MAX: usize = 1024;

/// The root logger and what keeps it alive.
pub struct Logging {
    /// The root, without a component.
    pub log: Logger,
    /// Changes the level of all loggers.
    pub level: LevelSwitch,
    // Fields are dropped in this order: first no more foreign records, then the last is written.
    _bridge: Option<bridge::Bridge>,
    _writer: AsyncGuard,
}

impl Logging {
    /// The root logger of the process on standard error, with the bridge for records of libraries
    /// and with panics logged.
    pub fn start(config: &LogConfig) -> Self {
        let terminal = io::stderr().is_terminal();
        let mut logging = if format(config.format, terminal) == Format::Json {
            Self::json(config, io::stderr())
        } else {
            // Colour only where it is a terminal; slog-term decides by itself.
            let decorator = slog_term::TermDecorator::new().stderr().build();
            Self::with(config, slog_term::FullFormat::new(decorator).build())
        };
        logging._bridge = Some(bridge::Bridge::install(&logging.log));
        log_panics(&logging.log);
        logging
    }

    /// A logger that writes JSON lines to `writer`; without bridge and panic hook.
    pub fn json(config: &LogConfig, writer: impl io::Write + Send + 'static) -> Self {
        Self::with(config, slog_json::Json::default(writer))
    }

    /// A logger that writes plain text to `writer`; without bridge and panic hook.
    pub fn plain(config: &LogConfig, writer: impl io::Write + Send + 'static) -> Self {
        let decorator = slog_term::PlainDecorator::new(writer);
        Self::with(config, slog_term::FullFormat::new(decorator).build())
    }

    fn with<D>(config: &LogConfig, drain: D) -> Self
    where
        D: Drain + Send + 'static,
    {
        // A writer that fails (standard error closed) must not bring the process down: results
        // are ignored where slog's own `fuse` would panic.
        let (drain, writer) = Async::new(drain.ignore_res())
            .chan_size(RECORDS_WAITING_MAX)
            .overflow_strategy(OverflowStrategy::Block)
            .thread_name("log".into())
            .build_with_guard();
        let level = LevelSwitch::new(config.level.into());
        let drain = level.in_front_of(drain.ignore_res());
        Self { log: Logger::root(drain, o!()), level, _bridge: None, _writer: writer }
    }
}

/// What `auto` means where standard error is a terminal, or is not.
fn format(configured: Format, terminal: bool) -> Format {
    match (configured, terminal) {
        (Format::Auto, true) => Format::Terminal,
        (Format::Auto, false) => Format::Json,
        (given, _) => given,
    }
}

/// Logs every panic instead of printing it. A guarded future turns it into a restart; this says
/// where it came from.
pub fn log_panics(log: &Logger) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |info| log_panic(&log, info)));
}

fn log_panic(log: &Logger, info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let said = text.unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    // Empty unless RUST_BACKTRACE asks for it.
    let backtrace = std::backtrace::Backtrace::capture();
    let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    let backtrace = if captured { backtrace.to_string() } else { String::new() };
    crit!(log, "panic"; "panic" => said, "at" => place, "thread" => thread, "backtrace" => backtrace);
}

#[cfg(test)]
mod test;
