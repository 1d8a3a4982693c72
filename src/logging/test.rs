use std::io::Write;

use slog::{debug, info};

use super::*;
use crate::config::log::Level;
use crate::page::Page;

/// Where a test's logger writes to.
#[derive(Clone, Default)]
struct Records(Page);

impl Records {
    fn lines(&self) -> Vec<serde_json::Value> {
        self.0.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only record whose message contains `text`.
    fn record(&self, text: &str) -> serde_json::Value {
        let found: Vec<_> = self
            .lines()
            .into_iter()
            .filter(|line| line["msg"].as_str().unwrap().contains(text))
            .collect();
        assert_eq!(found.len(), 1, "{text}: {:?}", self.lines());
        found.into_iter().next().unwrap()
    }
}

fn config(level: Level) -> LogConfig {
    LogConfig { level, format: Format::Json }
}

#[test]
fn no_record_is_dropped_under_load() {
    let page = Records::default();
    let logging = Logging::json(&config(Level::Info), page.0.clone());
    let count = 3 * RECORDS_WAITING_MAX;
    for number in 0..count {
        info!(logging.log, "counting"; "number" => number);
    }
    drop(logging);
    let numbers: Vec<_> = page.lines().iter().map(|l| l["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..count as u64).collect::<Vec<_>>());
}

#[test]
fn the_level_changes_at_run_time() {
    let page = Records::default();
    let logging = Logging::json(&config(Level::Info), page.0.clone());
    let derived = logging.log.new(o!("component" => "test"));
    debug!(derived, "unheard");
    logging.level.set(slog::Level::Debug);
    debug!(derived, "heard");
    logging.level.set(slog::Level::Error);
    info!(derived, "unheard again");
    assert_eq!(logging.level.get(), slog::Level::Error);
    drop((logging, derived));
    assert_eq!(page.lines().len(), 1);
    assert_eq!(page.record("heard")["component"], "test");
}

#[test]
fn records_of_libraries_arrive_while_the_bridge_lives() {
    let page = Records::default();
    let mut logging = Logging::json(&config(Level::Debug), page.0.clone());
    tracing::warn!(target: "kube_client::client", "before the bridge");
    logging._bridge = Some(bridge::Bridge::install(&logging.log));
    tracing::warn!(target: "kube_client::client", node = "n1", "watch failed");
    tracing::debug!(target: "kube_client::client", "resumed");
    tracing::debug!(target: "russh::client", "packet with a key");
    tracing::info!(target: "russh::client", "session opened");
    drop(logging);
    tracing::warn!(target: "kube_client::client", "after the bridge");
    let record = page.record("watch failed");
    assert_eq!(record["level"], "WARN");
    assert_eq!(record["library"], "kube_client::client");
    assert!(record["msg"].as_str().unwrap().contains("node=\"n1\""), "{record}");
    page.record("resumed");
    page.record("session opened");
    let all = format!("{:?}", page.lines());
    assert!(!all.contains("packet with a key") && !all.contains("the bridge"), "{all}");
}

#[test]
fn a_panic_is_logged_with_its_place() {
    let page = Records::default();
    let logging = Logging::json(&config(Level::Info), page.0.clone());
    let log = logging.log.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| log_panic(&log, info)));
    let thread = std::thread::Builder::new().name("doomed".into());
    let ended = thread.spawn(|| panic!("number {}", 7)).unwrap().join();
    std::panic::set_hook(before);
    assert!(ended.is_err());
    drop(logging);
    let lines = page.lines();
    let record = lines.iter().find(|line| line["thread"] == "doomed").unwrap();
    assert_eq!(record["panic"], "number 7");
    assert_eq!(record["level"], "CRIT");
    assert!(record["at"].as_str().unwrap().contains("logging/test.rs"), "{record}");
}

#[test]
fn a_writer_that_fails_harms_nobody() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for logging in
        [Logging::json(&config(Level::Info), Closed), Logging::plain(&config(Level::Info), Closed)]
    {
        for _ in 0..100 {
            info!(logging.log, "into the void");
        }
    }
}

#[test]
fn auto_means_terminal_on_a_terminal_and_json_elsewhere() {
    assert_eq!(format(Format::Auto, true), Format::Terminal);
    assert_eq!(format(Format::Auto, false), Format::Json);
    assert_eq!(format(Format::Json, true), Format::Json);
    assert_eq!(format(Format::Terminal, false), Format::Terminal);
}

#[test]
fn a_chain_names_every_cause_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Door(#[source] Key);
    #[derive(Debug, thiserror::Error)]
    #[error("no key")]
    struct Key(#[source] std::fmt::Error);
    let error = Door(Key(std::fmt::Error));
    let last = std::fmt::Error.to_string();
    assert_eq!(Chain(&error).to_string(), format!("cannot open the door: no key: {last}"));
}
