//! What the controller is told of a drill, where it looks for it.

use async_trait::async_trait;

use crate::cluster::drills::{DrillResult, Drills, now, text};
use crate::doctor::row::{Row, State};
use crate::volume::BackendName;

use super::rows::{CHECKS, RECORD};

/// Who keeps the results.
#[async_trait]
pub trait Memory: Send + Sync {
    /// Writes down the newest result of a box.
    async fn keep(&self, backend: &BackendName, result: &DrillResult) -> Result<(), String>;
    /// Where, as `namespace/name` of a ConfigMap.
    fn place(&self) -> String;
}

#[async_trait]
impl Memory for Drills {
    async fn keep(&self, backend: &BackendName, result: &DrillResult) -> Result<(), String> {
        Drills::keep(self, backend, result).await.map_err(|error| error.to_string())
    }

    fn place(&self) -> String {
        self.what()
    }
}

/// The steps that judge the box. The others say whether this node can be used for a drill at all, and
/// whether something is left of it.
const JUDGING: &[&str] = &[
    "drill writes",
    "drill fence",
    "drill silence",
    "drill retries",
    "drill data",
    "drill takeover",
    "drill old name",
    "drill other host",
    "drill return",
    "drill repair",
];

/// What the rows of a drill come to. `None`: it showed nothing wrong with the box, and was not carried
/// to its end.
pub fn result(rows: &[Row], address: &str, routeros: &str) -> Option<DrillResult> {
    let of = |check: &str| rows.iter().find(|row| row.check == check);
    let is_fault = |check: &&&str| of(check).is_some_and(|row| row.state == State::Fault);
    let faults: Vec<String> =
        JUDGING.iter().filter(is_fault).map(|check| (*check).to_owned()).collect();
    let mut steps = CHECKS.iter().filter(|check| **check != RECORD);
    let is_whole = steps
        .all(|check| of(check).is_some_and(|row| matches!(row.state, State::Ok | State::Warning)));
    if !is_whole && faults.is_empty() {
        return None;
    }
    Some(DrillResult {
        address: address.to_owned(),
        routeros: routeros.to_owned(),
        passed: is_whole,
        faults,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        when: now(),
    })
}

/// Tells it, and says so in a row. `elsewhere` is where the ConfigMap would be.
pub async fn tell(
    memory: &Result<std::sync::Arc<dyn Memory>, String>,
    elsewhere: &str,
    backend: &BackendName,
    result: Option<&DrillResult>,
) -> Row {
    let Some(result) = result else {
        return Row::not_checked(
            RECORD,
            "the drill proved nothing: what was known of the box stays",
        );
    };
    let (place, kept) = match memory {
        Ok(memory) => (memory.place(), memory.keep(backend, result).await),
        Err(why) => (elsewhere.to_owned(), Err(why.clone())),
    };
    row(&place, backend, result, kept)
}

fn row(place: &str, backend: &BackendName, result: &DrillResult, kept: Result<(), String>) -> Row {
    let word = if result.passed { "passed" } else { "failed" };
    let (namespace, name) = place.split_once('/').unwrap_or(("default", place));
    match kept {
        Ok(()) => Row::ok(
            RECORD,
            format!(
                "{word} on RouterOS {}: written to ConfigMap {place} for the controller",
                result.routeros
            ),
        ),
        Err(why) => {
            let entry = text(result).unwrap_or_default();
            let patch = serde_json::json!({"data": {backend.as_str(): entry}}).to_string();
            Row::warning(RECORD, format!("{word}, and the controller is not told: {why}"))
                .mend(format!("kubectl --namespace {namespace} create configmap {name}"))
                .mend(format!(
                    "kubectl --namespace {namespace} patch configmap {name} --type merge --patch \
                     '{patch}'"
                ))
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::doctor::row::test::expect;

    fn rows(change: impl Fn(&'static str) -> Option<Row>) -> Vec<Row> {
        let steps = CHECKS.iter().filter(|check| **check != RECORD);
        steps.filter_map(|check| change(check)).collect()
    }

    #[test]
    fn only_a_drill_that_was_carried_to_its_end_passes() {
        let good = |check| Some(Row::ok(check, "good"));
        let judged = |rows: Vec<Row>| result(&rows, "a:22", "7.24");
        assert!(judged(rows(good)).unwrap().passed);
        let warned = |check| match check {
            "drill writes" => Some(Row::warning(check, "no counters")),
            _ => good(check),
        };
        assert!(judged(rows(warned)).unwrap().passed);

        let until = |check| (check != "drill repair").then(|| good(check)).flatten();
        assert_eq!(judged(rows(until)), None, "nothing wrong, and not to its end");
        let interrupted = |check| match check {
            "drill repair" => Some(Row::not_checked(check, "interrupted")),
            _ => good(check),
        };
        assert_eq!(judged(rows(interrupted)), None);
        for wrong in CHECKS.iter().copied().filter(|check| *check != RECORD) {
            let failed = |check| match check == wrong {
                true => Some(Row::fault(check, "bad")),
                false => good(check),
            };
            let told = judged(rows(failed)).map(|told| (told.passed, told.faults));
            // A node that cannot connect, or what is left in the end, says nothing of the box.
            let judges = !["node", "disk", "path", "connection", "removal"]
                .contains(&wrong.trim_start_matches("drill "));
            assert_eq!(told, judges.then(|| (false, vec![wrong.to_owned()])), "{wrong}");
        }
    }

    #[test]
    fn where_the_controller_cannot_be_told_the_command_does() {
        let good = rows(|check| Some(Row::ok(check, "good")));
        let passed = result(&good, "a:22", "7.24").unwrap();
        let main = BackendName::parse("main").unwrap();
        let told = row("ns/rel-drills", &main, &passed, Ok(()));
        expect(&told, State::Ok, "passed on RouterOS 7.24: written to ConfigMap ns/rel-drills", "");
        let untold = row("ns/rel-drills", &main, &passed, Err("no cluster".into()));
        let patch = "kubectl --namespace ns patch configmap rel-drills";
        expect(&untold, State::Warning, "no cluster", patch);
        assert!(untold.repairs[1].contains(r#"{"data":{"main":"{\"address\":\"a:22\""#));
    }
}
