//! The attachment domain: who may write to a volume. No async, no actix, no kube, no ssh.

pub mod ledger;
