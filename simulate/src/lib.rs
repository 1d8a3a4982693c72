//! Deterministic simulation: the whole controller between both doubles, in memory, on one thread,
//! under paused time, from one seed.
//!
//! ```text
//!   schedule ──▶ sidecars ──RPC──▶ controller ──┬── gate, line ──▶ rds-sim ◀── hosts
//!      │                            (killed,    └── gate, kube ──▶ API double
//!      └──▶ faults, nodes, crashes   started anew)        │
//!                                                         ▼
//!            ledger of what was promised ◀──── hosts::look (always), quiet::unsettled (in the end)
//! ```
//!
//! What must hold at every moment: never two hosts that may write to a volume of one node, nobody
//! let in under a name that was withdrawn, no write that follows one of a later generation, no
//! image lost or changed. And once nothing goes wrong any more: every attachment can be used, record
//! and copy agree, no image is without an owner and no PV without its image.
//!
//! The same seed gives the same run, to the last command: `run` twice has one hash.

pub mod bug;
pub mod controller;
pub mod dice;
pub mod gate;
pub mod hosts;
pub mod kube;
pub mod ledger;
pub mod line;
pub mod logged;
pub mod network;
mod quiet;
pub mod run;
mod schedule;
pub mod sidecars;
pub mod temper;
pub mod trace;
pub mod world;
