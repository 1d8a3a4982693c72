//! The network of a cluster: a bridge, and a network namespace for every pod.
//!
//! All of it lies in the network namespace of this process, which must be one of its own
//! (`unshare --net`): nothing here ever touches an interface of the machine.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::Trouble;

/// Networks of this process so far: each has a third byte of its own.
static NETWORKS: AtomicU16 = AtomicU16::new(0);

/// A bridge on which the control plane and the box listen, and pods stand.
pub struct Network {
    number: u8,
    pods: AtomicU16,
}

/// The network namespace of one pod. Dropping it ends it.
pub struct PodNetwork {
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    link: String,
    holder: Child,
    id: u32,
}

impl Network {
    /// Makes the bridge, with the address [`Network::gateway`].
    ///
    /// # Errors
    /// When this process is in the network namespace of the machine, or `ip` fails.
    pub async fn start() -> Result<Self, Trouble> {
        own_namespace(&std::fs::read_to_string("/proc/self/net/dev")?)?;
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let number = u8::try_from(number).map_err(|_| "256 clusters are enough")?;
        let network = Self { number, pods: AtomicU16::new(2) };
        let (bridge, gateway) = (network.bridge(), network.gateway());
        ip(&[
            "link set lo up".into(),
            format!("link add {bridge} type bridge"),
            format!("address add {gateway}/24 dev {bridge}"),
            format!("link set {bridge} up"),
        ])
        .await?;
        Ok(network)
    }

    /// The address at which the control plane and the box are.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// One more address of the machine on which everything runs.
    pub(crate) async fn answer_at(&self, address: Ipv4Addr) -> Result<(), Trouble> {
        ip(&[format!("address add {address}/32 dev {}", self.bridge())]).await
    }

    fn bridge(&self) -> String {
        format!("rds{}", self.number)
    }

    /// Makes the network of a pod.
    ///
    /// # Errors
    /// When 250 were made, or the system refuses one.
    pub async fn pod(&self) -> Result<PodNetwork, Trouble> {
        let last = self.pods.fetch_add(1, Ordering::Relaxed);
        let last = u8::try_from(last).map_err(|_| "a network has room for 250 pods")?;
        let address = Ipv4Addr::new(10, 77, self.number, last);
        let (mut holder, id) = hold().await?;
        let link = format!("pod{}-{last}", self.number);
        let joined = async {
            ip(&[
                format!("link add {link} type veth peer name eth0 netns {id}"),
                format!("link set {link} master {} up", self.bridge()),
            ])
            .await?;
            inside(
                id,
                &[
                    "link set lo up".into(),
                    format!("address add {address}/24 dev eth0"),
                    "link set eth0 up".into(),
                    format!("route add default via {}", self.gateway()),
                ],
            )
            .await
        };
        if let Err(trouble) = joined.await {
            let _ = holder.start_kill();
            return Err(trouble);
        }
        Ok(PodNetwork { address, link, holder, id })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; the namespace goes with the process anyway.
        let bridge = self.bridge();
        drop(
            Command::new("ip")
                .args(["link", "delete", &bridge])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn(),
        );
    }
}

impl PodNetwork {
    /// What nsenter takes to run a program in it.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.id)
    }

    /// Pulls the plug, or puts it in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub async fn plug(&self, on: bool) -> Result<(), Trouble> {
        let state = if on { "up" } else { "down" };
        ip(&[format!("link set {} {state}", self.link)]).await
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        let _ = self.holder.start_kill();
    }
}

/// A process that does nothing but hold a network namespace. Returns once it has it.
async fn hold() -> Result<(Child, u32), Trouble> {
    let mut holder = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--"])
        .args(["sh", "-c", "echo ready; exec sleep infinity"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let said = holder.stdout.take().ok_or("no pipe")?;
    let first = BufReader::new(said).lines().next_line().await?;
    if first.as_deref() != Some("ready") {
        return Err("no network namespace for a pod: unshare --net failed".into());
    }
    let id = holder.id().ok_or("the holder of a network namespace has ended")?;
    Ok((holder, id))
}

pub(crate) async fn ip(lines: &[String]) -> Result<(), Trouble> {
    run(Command::new("ip"), lines).await
}

async fn inside(id: u32, lines: &[String]) -> Result<(), Trouble> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{id}/ns/net")).args(["--", "ip"]);
    run(command, lines).await
}

/// Runs lines of `ip -batch`.
async fn run(mut command: Command, lines: &[String]) -> Result<(), Trouble> {
    use tokio::io::AsyncWriteExt as _;

    command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| format!("ip: {error}"))?;
    let mut input = child.stdin.take().ok_or("no pipe")?;
    input.write_all(format!("{}\n", lines.join("\n")).as_bytes()).await?;
    drop(input);
    let ended = child.wait_with_output().await?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(format!("ip {}: {said}", lines.join("; ")).into());
    }
    Ok(())
}

/// Is there nothing but a loopback, and what we made ourselves?
pub(crate) fn own_namespace(devices: &str) -> Result<(), Trouble> {
    let names = devices.lines().skip(2).filter_map(|line| line.split(':').next());
    let foreign = names
        .map(str::trim)
        .find(|name| !(*name == "lo" || name.starts_with("rds") || name.starts_with("pod")));
    match foreign {
        None => Ok(()),
        Some(name) => Err(format!(
            "this is the machine's own network (it has {name}); run it in one of its own: \
             `unshare --net`, as `make e2e` does"
        )
        .into()),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const HEADS: &str = "Inter-| Receive\n face |bytes\n";

    #[test]
    fn the_network_of_the_machine_is_refused_by_the_name_of_its_interface() {
        assert!(own_namespace(&format!("{HEADS}    lo:  0 0\n  rds0: 1 1\n")).is_ok());
        let error = own_namespace(&format!("{HEADS}    lo: 0\n  eth0: 5 5\n")).unwrap_err();
        assert!(error.to_string().contains("eth0"), "{error}");
    }
}
