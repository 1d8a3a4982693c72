//! The program that init starts in every virtual machine of the testbed: without arguments it takes
//! commands; `write` and `read` are the two halves of the oracle.

use std::path::Path;
use std::process::ExitCode;

use rds_csi_testbed::Trouble;
use rds_csi_testbed::vm::{guest, oracle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "rds-vm-guest: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Result<(), Trouble> {
    match words {
        [] => guest::serve().await,
        ["write", device, writer, from, count] => {
            oracle::write(Path::new(device), writer, from.parse()?, count.parse()?)
        }
        ["read", image] => oracle::read(Path::new(image)),
        _ => Err("give nothing, write DEVICE NAME FROM COUNT, or read IMAGE".into()),
    }
}
