//! rds-csi: the CSI driver for the MikroTik ROSE Data Server.

pub mod actors;
pub mod agent;
pub mod app;
pub mod attachment;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod doctor;
pub mod grpc;
pub mod host;
pub mod http;
pub mod logging;
pub mod mandate;
pub mod metrics;
pub mod node;
pub mod node_plugin;
pub mod operations;
pub mod page;
pub mod process;
pub mod rds;
pub mod registration;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod volume;
