//! A pass over many attachments of which none is stale.

pub mod core;

use rds_csi::rds::ssh::ExecOutput;
use rds_csi::rds::{Command, reply, script};

use crate::clock::{Failure, processor_time};
use crate::domain::{Domain, Pace, new_box, new_cluster};
use crate::figure::{Figure, Goal};
use crate::fleet::Fleet;

const MANY: usize = 10_000;
const NODES: usize = 1_000;

/// What a pass costs others, and what it costs us.
///
/// # Errors
/// When there is no pass, or something was stale.
pub async fn measure() -> Result<Vec<Figure>, Failure> {
    let (os, api) = (new_box()?, new_cluster([])?);
    let identity = Domain::over(os.clone(), api.clone(), Pace::default()).await?.identity;
    let fleet = Fleet::new(&identity, MANY, NODES)?;
    fleet.furnish(&os)?;
    fleet.populate(&api)?;
    let domain = Domain::over(os, api, Pace::default()).await?;
    // The first pass tells that it was the first.
    domain.reconciler.pass().await?;
    domain.api.forget_requests();
    let before = domain.os.exec_count();
    let report = domain.reconciler.pass().await?;
    if !(report.done.is_empty() && report.failed.is_empty() && report.blind.is_empty()) {
        return Err(format!("something was stale: {report:?}").into());
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = |count: u64| count as f64;
    let writes = count(domain.api.writes().len() as u64);
    let execs = count(domain.os.exec_count() - before);
    let named = |what: &str| format!("pass over 10,000, none stale: {what}");
    let mut figures = vec![
        Figure::new(named("API writes"), writes, "writes").goal(Goal::AtMost(0.0)),
        Figure::new(named("execs"), execs, "execs").goal(Goal::AtMost(1.0)),
    ];
    figures.push(parse(&domain)?);
    let snapshot = processor_time(1000, || domain.operations.cluster.view())?;
    figures.push(Figure::new("caches of 10,000: snapshot", snapshot * 1e6, "ns"));
    Ok(figures)
}

/// What the box printed, read.
fn parse(domain: &Domain) -> Result<Figure, Failure> {
    let said = domain.os.exec(&script::line(&Command::Table, "t1"));
    let output = ExecOutput { stdout: said.stdout, stderr: said.stderr, exit_status: None };
    let rows = reply::read(&output, "t1")?.disks.len();
    if rows != MANY {
        return Err(format!("{rows} rows").into());
    }
    let took = processor_time(30, || reply::read(&output, "t1"))?;
    Ok(Figure::new("table of 10,000 rows: parse", took, "ms"))
}
