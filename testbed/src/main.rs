//! `rds-csi-testbed`: builds the parts that the testbed runs. `make parts` calls it.

use std::io::Write as _;
use std::process::ExitCode;

use rds_csi_testbed::parts::build::{self, Built};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let built = build::all(|group, built| {
        let what = match built {
            Built::Cached => "is there".to_owned(),
            Built::After(seconds) => format!("built in {seconds} s"),
        };
        let _ = writeln!(std::io::stdout(), "{} {what}", group.name);
    });
    match built.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            let _ = writeln!(std::io::stderr(), "rds-csi-testbed: {trouble}");
            ExitCode::FAILURE
        }
    }
}
