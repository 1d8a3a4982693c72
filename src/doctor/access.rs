//! The way to the box: key file, address, algorithms, host key, login. Pure: what was seen -> rows.

use std::time::Duration;

use crate::config::{BackendConfig, SecondSession};
use crate::rds::ssh::ConnectError;
use crate::rds::ssh::survey::{Serves, Survey};

use super::row::Row;

/// What came of something that had a deadline.
#[derive(Debug)]
pub enum Came<T> {
    /// It ended.
    Ended(T),
    /// It did not within this time.
    Late(Duration),
}

const SSH_SERVICE: &str = "/ip/service/print detail where name=ssh";

/// The private key; `Err` says what is wrong with it and what helps, as the key's own error does.
pub fn key_file(path: &str, outcome: Result<String, String>) -> Row {
    match outcome {
        Ok(kind) => Row::ok("key file", format!("{path} holds an unencrypted {kind}")),
        Err(why) => {
            let row = Row::fault("key file", format!("{path} {why}"));
            if why.contains("lets others read it") {
                return row.mend(format!("chmod o-rwx {path}"));
            }
            row.mend(format!("ssh-keygen -t ed25519 -N '' -f {path}"))
        }
    }
}

/// Whether a TCP connection can be opened.
pub fn address(address: &str, came: &Came<Result<(), ConnectError>>) -> Row {
    let mend = |row: Row| {
        row.mend("/ip/service/enable ssh").mend(SSH_SERVICE).mend("address in the configuration")
    };
    match came {
        Came::Ended(Ok(())) => Row::ok("address", format!("{address} takes TCP connections")),
        Came::Ended(Err(error)) => mend(Row::fault("address", error.to_string())),
        Came::Late(after) => {
            let found = format!("{address} does not answer within {} s", after.as_secs_f64());
            mend(Row::fault("address", found))
        }
    }
}

/// Whether one of the two session implementations can talk to the box, and may.
pub fn algorithms(came: &Came<Result<Survey, ConnectError>>, allowed: SecondSession) -> Row {
    const CHECK: &str = "algorithms";
    let survey = match came {
        Came::Ended(Ok(survey)) => survey,
        Came::Ended(Err(error)) => {
            return Row::fault(CHECK, error.to_string()).mend(SSH_SERVICE);
        }
        Came::Late(after) => {
            let found = format!(
                "TCP connects, but no SSH server answers within {} s: the box hangs, or something \
                 else listens there",
                after.as_secs_f64()
            );
            return Row::fault(CHECK, found).mend(SSH_SERVICE).mend("/system/reboot");
        }
    };
    let helps = |row: Row| survey.helps.iter().fold(row, |row, help| row.mend(bare(help)));
    let summary = &survey.summary;
    let second_serves = survey.second_lacks.is_empty();
    match (survey.serves, allowed) {
        (Serves::Neither, _) => helps(Row::fault(
            CHECK,
            format!("{summary}; neither session can use that: missing {}", survey.second_lacks),
        )),
        (_, SecondSession::Force) if !second_serves => Row::fault(
            CHECK,
            format!("{summary}; the forced second session misses {}", survey.second_lacks),
        )
        .mend("second_session = \"auto\" in the configuration"),
        (Serves::First, _) => {
            Row::ok(CHECK, format!("{} and the first session share algorithms", survey.banner))
        }
        (Serves::Second, SecondSession::Forbid) => helps(Row::fault(
            CHECK,
            format!(
                "{summary}; the first session misses {}, and the second one is forbidden",
                survey.first_lacks
            ),
        ))
        .mend("second_session = \"auto\" in the configuration"),
        (Serves::Second, _) => helps(Row::warning(
            CHECK,
            format!(
                "{summary}; the first session misses {}, the second one serves",
                survey.first_lacks
            ),
        )),
    }
}

/// A repair without the backquotes that it has in sentences.
fn bare(help: &str) -> String {
    help.replace('`', "")
}

/// Host key and login, from the attempt to open a session.
pub fn login(config: &BackendConfig, came: &Came<Result<(), ConnectError>>) -> Vec<Row> {
    let user = &config.user;
    let pinned = || Row::ok("host key", "the box shows a pinned key");
    let service =
        |row: Row| row.mend(SSH_SERVICE).mend(format!("/user/print detail where name=\"{user}\""));
    let error = match came {
        Came::Ended(Ok(())) => {
            return vec![pinned(), Row::ok("login", format!("{user} is let in with its key"))];
        }
        Came::Late(after) => {
            let found = format!("no session within {} s", after.as_secs_f64());
            return vec![service(Row::fault("login", found))];
        }
        Came::Ended(Err(error)) => error,
    };
    match error {
        ConnectError::HostKey { offered, pinned, .. } => vec![
            Row::fault("host key", format!("the box shows {offered}, pinned is {pinned}")).mend(
                format!(
                    "host_key = [\"{offered}\"] in the configuration, once you have compared it on \
                     the box's own console"
                ),
            ),
            Row::not_checked("login", "the key is not offered to a box that is not the pinned one"),
        ],
        ConnectError::Refused { .. } => vec![
            pinned(),
            Row::fault("login", format!("the box refuses the key of user {user}"))
                .mend(format!("/user/ssh-keys/import user={user} public-key-file=<file>.pub"))
                .mend(format!(
                    "/user/print detail where name=\"{user}\" (its group needs the policy ssh)"
                )),
        ],
        ConnectError::Algorithms { .. } | ConnectError::Key { .. } => Vec::new(),
        ConnectError::Unreachable { .. } | ConnectError::Handshake { .. } => {
            vec![service(Row::fault("login", error.to_string()))]
        }
    }
}

#[cfg(test)]
mod test;
