//! The attachment domain: who may write to a volume. No async, no actix, no kube, no ssh.
//!
//! - [`agent_word`]: what the word of a node's agent means for a volume.
//! - [`ledger`]: the record in the disk's comment, and its copy beside the PV.
//! - [`standing`]: record against copy: current, ahead, or gone back in time.
//! - [`export`]: how a disk must be exported for a record, and the names of the hosts.
//! - [`publish`], [`unpublish`]: what an RPC may change.
//! - [`leftover`]: what an interrupted CreateVolume left behind, and whose that is.
//! - [`static_form`]: where the NQN of an export cannot change, so that an old host may come back.
//! - [`first_driver`]: volumes of the first driver, which have no record.
//! - [`usage`]: for what use a node has a volume, and whether it asks for another.
//! - [`verdict`]: what a pass does with one volume, first match wins.
//! - [`storm`]: too many nodes at once look like our own blindness.
//! - [`sweep`]: what a node has attached: is it still its own?

pub mod agent_word;
pub mod export;
pub mod first_driver;
pub mod ledger;
pub mod leftover;
pub mod publish;
pub mod standing;
pub mod static_form;
pub mod storm;
pub mod sweep;
pub mod unpublish;
pub mod usage;
pub mod verdict;
