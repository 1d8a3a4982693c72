//! Where the NQN of an export cannot change: RouterOS below 7.21, and volumes of the first driver.
//!
//! There a host that was shut out waits for a name that comes back with the next attachment, and
//! would write what it has queued. Whether the box's list of hosts keeps it out is not proven (a
//! changed list alone does not end a connection on Linux). So the name is used again only when
//! somebody vouches for every old host.

use super::agent_word::Agent;

/// Whether a box can be told under which NQN it exports a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It can: every attachment has an NQN of its own, and nothing of this module applies.
    Usual,
    /// It cannot: the slot is the name, for ever.
    Static,
}

impl Mode {
    /// For logs and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Static => "static",
        }
    }
}

/// What an operator ordered for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    None,
    /// It carries the taint out-of-service.
    OutOfService,
    /// Its Node object was deleted; one of that name that came later is another node.
    Deleted,
}

/// What is known of a host that was shut out of a volume under a name that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldHost {
    /// What its node's agent says.
    pub agent: Agent,
    /// What an operator ordered.
    pub order: Order,
    /// Is it the one who is to be let in, and has nobody else held the volume since? Then what it
    /// has queued belongs on the volume.
    pub returns: bool,
    /// Has a drill shown that this box's list of hosts keeps an old host out?
    pub list_is_proven: bool,
}

/// Why an old host is nothing to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// An operator said that the node is off.
    Order(Order),
    /// The agent shows that its controller is gone.
    Agent,
    /// The list of hosts keeps it out.
    HostList,
    /// It is the one who is let in.
    Returns,
}

impl Vouched {
    /// For logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Order(Order::OutOfService) => "out_of_service",
            Self::Order(_) => "node_deleted",
            Self::Agent => "agent",
            Self::HostList => "host_list",
            Self::Returns => "returns",
        }
    }
}

/// May the name be exported again, although this host knows it? `None`: not yet. A controller that
/// is seen to live outweighs what an operator believes.
pub fn vouched(old: OldHost) -> Option<Vouched> {
    match (old.agent, old.order) {
        _ if old.list_is_proven => Some(Vouched::HostList),
        _ if old.returns => Some(Vouched::Returns),
        (Agent::ControllerGone, _) => Some(Vouched::Agent),
        (Agent::ControllerLive, _) => None,
        // A new boot alone: it may have connected again since.
        (_, Order::None) => None,
        (_, order) => Some(Vouched::Order(order)),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_name_comes_back_only_when_somebody_vouches_for_the_old_host() {
        use Agent::{Alive, ControllerGone, ControllerLive, NeverAnswered, NewBoot, Silent};
        use Order::{Deleted, OutOfService};
        let table = [
            // agent, order, returns, list proven
            (NeverAnswered, Order::None, false, false, None),
            (NeverAnswered, OutOfService, false, false, Some(Vouched::Order(OutOfService))),
            (NeverAnswered, Deleted, false, false, Some(Vouched::Order(Deleted))),
            (Silent, Order::None, false, false, None),
            (Silent, OutOfService, false, false, Some(Vouched::Order(OutOfService))),
            (Alive, Order::None, false, false, None),
            (Alive, Deleted, false, false, Some(Vouched::Order(Deleted))),
            (ControllerGone, Order::None, false, false, Some(Vouched::Agent)),
            (NewBoot, Order::None, false, false, None),
            (NewBoot, Deleted, false, false, Some(Vouched::Order(Deleted))),
            (ControllerLive, Order::None, false, false, None),
            (ControllerLive, OutOfService, false, false, None),
            (ControllerLive, Deleted, false, false, None),
            (NeverAnswered, Order::None, true, false, Some(Vouched::Returns)),
            (ControllerLive, Order::None, true, false, Some(Vouched::Returns)),
            (NeverAnswered, Order::None, false, true, Some(Vouched::HostList)),
            (ControllerLive, Order::None, false, true, Some(Vouched::HostList)),
        ];
        for (agent, order, returns, list_is_proven, expected) in table {
            let old = OldHost { agent, order, returns, list_is_proven };
            assert_eq!(vouched(old), expected, "{old:?}");
        }
    }
}
