//! What happens to the cluster's own objects while stories are told: where nodes are, how they are,
//! and what is said of volumes.

use std::net::Ipv4Addr;

use k8s_openapi::ByteString;
use rds_sim::apiserver::world::{remove_taint, set_ready, set_taint};
use serde_json::json;

use super::driver::{Driver, NAMESPACE, failed};
use super::volume::Volume;
use crate::Trouble;

/// The order of an operator: what this node had is to be had elsewhere.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

impl Driver {
    /// A node's address in the cluster, at which its agent is asked.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn place(&self, node: &str, address: Ipv4Addr) -> Result<(), Trouble> {
        let addresses = json!([{"type": "InternalIP", "address": address.to_string()}]);
        let placed = self
            .api
            .modify("nodes", node, move |object| object["status"]["addresses"] = addresses.clone());
        placed.map(drop).map_err(|failure| failed(failure).into())
    }

    /// What kubelet, or its silence, says of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn set_ready(&self, node: &str, ready: bool) -> Result<(), Trouble> {
        let status = if ready { "True" } else { "Unknown" };
        let set = self.api.modify("nodes", node, |object| set_ready(object, status));
        set.map(drop).map_err(|failure| failed(failure).into())
    }

    /// An operator takes a node out of service, or puts it back.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn set_out_of_service(&self, node: &str, out: bool) -> Result<(), Trouble> {
        let set = self.api.modify("nodes", node, |object| match out {
            true => set_taint(object, OUT_OF_SERVICE, "NoExecute"),
            false => remove_taint(object, OUT_OF_SERVICE),
        });
        set.map(drop).map_err(|failure| failed(failure).into())
    }

    /// The key that the controller and the nodes share.
    ///
    /// # Errors
    /// While the controller has not made it.
    pub fn secret(&self) -> Result<Vec<u8>, Trouble> {
        let name = format!("{NAMESPACE}/rds-csi-cluster");
        let object = self.api.get("secrets", &name).ok_or("there is no cluster Secret yet")?;
        let ByteString(key) = serde_json::from_value(object["data"]["key"].clone())?;
        Ok(key)
    }

    /// What events of this reason say of a volume, the oldest first.
    pub fn events(&self, volume: &Volume, reason: &str) -> Vec<String> {
        let claim = volume.name.trim_start_matches("pvc-");
        let all = self.api.list("events").into_iter().filter(|event| {
            let about = &event["involvedObject"]["name"];
            event["reason"] == reason && (about == claim || *about == volume.name.as_str())
        });
        all.filter_map(|event| event["message"].as_str().map(str::to_owned)).collect()
    }
}
