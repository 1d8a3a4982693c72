//! The program that init starts in every virtual machine of the testbed.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match rds_csi_testbed::vm::guest::serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "rds-vm-guest: {error}");
            ExitCode::FAILURE
        }
    }
}
