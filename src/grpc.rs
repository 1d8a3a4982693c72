//! grpc
pub mod codec;
pub mod status;

/// The wire contract, generated from `proto/csi.proto`.
#[allow(missing_docs, reason = "generated from the contract")]
pub mod csi {
    tonic::include_proto!("csi.v1");
    include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
}
