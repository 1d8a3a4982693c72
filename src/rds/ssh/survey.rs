//! Looks at a box from outside, before any login: can it be reached, what does it offer?
//!
//! For diagnosis; sessions are opened by [`super::connector`], which decides by the same rules.
//! Sets no deadlines: the caller drops the future.

use super::ConnectError;
use super::offers::{Choice, RUSSH, THRUSSH, choose, read_offer};
use super::socket::dial;

/// Which of the two session implementations can talk to the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// The first one, and with it both.
    First,
    /// Only the second one.
    Second,
    /// None.
    Neither,
}

/// What a box offers to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// How it introduces itself.
    pub banner: String,
    /// Names of key exchanges.
    pub kex: Vec<String>,
    /// Names of host key types.
    pub host_key: Vec<String>,
    /// Names of ciphers.
    pub ciphers: Vec<String>,
    /// Names of MACs.
    pub macs: Vec<String>,
    /// The offer in one line, for a person.
    pub summary: String,
    /// Who can use it.
    pub serves: Serves,
    /// What the first implementation misses; empty where it can talk to the box.
    pub first_lacks: String,
    /// What the second one misses; empty likewise.
    pub second_lacks: String,
    /// What may help whoever cannot, RouterOS commands in backquotes.
    pub helps: Vec<&'static str>,
}

/// Opens a TCP connection and closes it.
///
/// # Errors
/// [`ConnectError::Unreachable`].
pub async fn reach(address: &str) -> Result<(), ConnectError> {
    dial(address).await.map(drop)
}

/// Reads what the box at `address` (`host:port`) offers, without logging in.
///
/// # Errors
/// [`ConnectError::Unreachable`], or [`ConnectError::Handshake`] where no SSH server answers.
pub async fn survey(address: &str) -> Result<Survey, ConnectError> {
    let offer = read_offer(address).await?;
    let (serves, helps) = match choose(&offer) {
        Choice::First => (Serves::First, Vec::new()),
        Choice::Second => (Serves::Second, THRUSSH.helps(&offer)),
        Choice::Neither => (Serves::Neither, RUSSH.helps(&offer)),
    };
    Ok(Survey {
        summary: offer.to_string(),
        serves,
        first_lacks: THRUSSH.lacks(&offer),
        second_lacks: RUSSH.lacks(&offer),
        helps,
        banner: offer.banner,
        kex: offer.kex,
        host_key: offer.host_key,
        ciphers: offer.ciphers,
        macs: offer.macs,
    })
}
