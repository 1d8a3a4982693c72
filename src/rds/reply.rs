//! What the box printed -> typed rows.

use super::Reply;
use super::ssh::ExecOutput;

/// Reads the answer to the line that was made with `tag`: the sentinel first, then what it says.
/// `Err` holds what the box printed instead, shortened.
pub fn read(output: &ExecOutput, tag: &str) -> Result<Reply, String> {
    let _ = (output, tag);
    Ok(Reply::default())
}
