//! The machines of the nodes, as the box knows them: hosts that connect and write, whatever stands
//! between Kubernetes and the box.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rds_sim::routeros::{Connection, RouterOs};

/// Their connections to the box, by node and NQN.
#[derive(Default)]
pub struct Machines {
    connections: Mutex<BTreeMap<(String, String), Connection>>,
}

impl Machines {
    /// A node's machine connects with what a publish context says, and writes.
    ///
    /// # Errors
    /// What the context lacks, or what the box says.
    pub fn connect_and_write(
        &self,
        rds: &RouterOs,
        node: &str,
        context: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let get = |key: &str| context.get(key).cloned().ok_or(format!("no {key} in the context"));
        let (host, nqn) = (get("hostNqn")?, get("nqn")?);
        let port = get("nvmePort")?.parse().map_err(|_| "nvmePort is no port")?;
        let connection =
            rds.connect_host(&host, &nqn, port).map_err(|refusal| refusal.to_string())?;
        connection.write(4096).map_err(|cut| cut.to_string())?;
        self.connections().insert((node.to_owned(), nqn), connection);
        Ok(())
    }

    /// A node's machine writes through the connection that it made for this context.
    ///
    /// # Errors
    /// Where it has none, or was cut off.
    pub fn write_on(&self, node: &str, context: &BTreeMap<String, String>) -> Result<(), String> {
        let nqn = context.get("nqn").cloned().unwrap_or_default();
        let connection = self.connections().get(&(node.to_owned(), nqn)).cloned();
        connection.ok_or("no connection")?.write(4096).map_err(|cut| cut.to_string())
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<(String, String), Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
