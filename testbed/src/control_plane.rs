//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
//!
//! They listen on the cluster's own address, so their ports are always the same. Clients of the
//! testbed are `admin`; the driver and its sidecars never are.

mod flags;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::process::Process;
use crate::{Trouble, parts, wait};

/// Longest wait until the API server is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The token of the administrator. Nobody but this namespace can reach the API server.
const TOKEN: &str = "testbed-administrator";

/// The running control plane.
pub struct ControlPlane {
    address: Ipv4Addr,
    folder: PathBuf,
    etcd: Process,
    apiserver: Process,
    controllers: Process,
    scheduler: Process,
}

impl ControlPlane {
    /// Starts all four; their data, keys and logs lie in `folder`. Returns once the API server is
    /// ready.
    ///
    /// # Errors
    /// When a part is missing or does not become ready.
    pub async fn start(address: Ipv4Addr, folder: &Path) -> Result<Self, Trouble> {
        prepare(address, folder)?;
        let start = |name: &str| start(name, address, folder);
        let (mut etcd, mut apiserver) = (start("etcd")?, start("kube-apiserver")?);
        ready(folder, &mut etcd, &mut apiserver).await?;
        // They read the certificate that the API server has made when it started for the first time.
        let controllers = start("kube-controller-manager")?;
        let scheduler = start("kube-scheduler")?;
        let folder = folder.to_owned();
        Ok(Self { address, folder, etcd, apiserver, controllers, scheduler })
    }

    /// Do all four run?
    ///
    /// # Errors
    /// When one has ended, with the end of its log.
    pub fn check(&mut self) -> Result<(), Trouble> {
        for part in
            [&mut self.etcd, &mut self.apiserver, &mut self.controllers, &mut self.scheduler]
        {
            part.check()?;
        }
        Ok(())
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<kube::Client, Trouble> {
        client(&self.folder).await
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.folder)
    }

    /// Host of the API server, as pods are told.
    pub fn host(&self) -> Ipv4Addr {
        self.address
    }

    /// Where every request of a service account of the watched namespaces is written down.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// The API server ends, at once.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop_api_server(&mut self) -> Result<(), Trouble> {
        self.apiserver.kill().await
    }

    /// Controller-manager and scheduler start anew, as they do where they elect and could not renew
    /// their Leases for a while.
    ///
    /// # Errors
    /// When they do not.
    pub async fn restart_controllers(&mut self) -> Result<(), Trouble> {
        for part in [&mut self.controllers, &mut self.scheduler] {
            part.kill().await?;
        }
        self.controllers = start("kube-controller-manager", self.address, &self.folder)?;
        self.scheduler = start("kube-scheduler", self.address, &self.folder)?;
        Ok(())
    }

    /// etcd forgets its history up to now: who watches from before is told 410.
    ///
    /// # Errors
    /// When etcd refuses.
    pub async fn compact(&self) -> Result<(), Trouble> {
        let all = json!({"key": "AA==", "range_end": "AA==", "count_only": true});
        let answer = etcd(self.address, "/v3/kv/range", &all).await?;
        let revision = answer.split("\"revision\":\"").nth(1).and_then(|r| r.split('"').next());
        let revision = revision.ok_or_else(|| format!("etcd names no revision: {answer}"))?;
        let compact = json!({"revision": revision, "physical": true});
        etcd(self.address, "/v3/kv/compaction", &compact).await?;
        Ok(())
    }

    /// The API server starts again. Returns once it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<(), Trouble> {
        self.apiserver = start("kube-apiserver", self.address, &self.folder)?;
        ready(&self.folder, &mut self.etcd, &mut self.apiserver).await
    }
}

fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join("admin.kubeconfig")
}

async fn client(folder: &Path) -> Result<kube::Client, Trouble> {
    let file = Kubeconfig::read_from(kubeconfig(folder))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

async fn ready(folder: &Path, etcd: &mut Process, apiserver: &mut Process) -> Result<(), Trouble> {
    let certificate = folder.join("apiserver.crt");
    wait::until("the API server has a certificate", READY_WITHIN, || {
        let ended = apiserver.check().err();
        let why = || ended.map_or("none".to_owned(), |error| error.to_string());
        std::future::ready(if certificate.is_file() { Ok(()) } else { Err(why()) })
    })
    .await?;
    wait::until("the API server is ready", READY_WITHIN, || {
        let runs = etcd.check().and_then(|()| apiserver.check()).map_err(|error| error.to_string());
        async move {
            runs?;
            // Anew each time: a certificate that was half written when it was read stays so in a client.
            let client = client(folder).await.map_err(|error| error.to_string())?;
            client.request_text(http_get("/readyz")?).await.map_err(|error| error.to_string())
        }
    })
    .await?;
    Ok(())
}

/// Asks etcd over its JSON gateway.
async fn etcd(address: Ipv4Addr, path: &str, body: &serde_json::Value) -> Result<String, Trouble> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let body = body.to_string();
    let mut stream = tokio::net::TcpStream::connect((address, 2379)).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(format!("etcd: {answer}").into());
    }
    Ok(answer)
}

/// The port of the API server.
pub const PORT: u16 = 6443;

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>, String> {
    http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())
}

fn start(name: &str, address: Ipv4Addr, folder: &Path) -> Result<Process, Trouble> {
    let (program, flags) = flags::of(name, address, folder)?;
    Process::start(name, folder, &parts::program(program)?, &flags)
}

/// Writes what the parts read when they start.
fn prepare(address: Ipv4Addr, folder: &Path) -> Result<(), Trouble> {
    let key = openssl::rsa::Rsa::generate(2048)?.private_key_to_pem()?;
    std::fs::write(folder.join("service-accounts.pem"), key)?;
    let admin = format!("{TOKEN},admin,admin,\"system:masters\"\n");
    std::fs::write(folder.join("tokens.csv"), admin)?;
    std::fs::write(folder.join("audit-policy.json"), audit_policy().to_string())?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "admin",
        "clusters": [{"name": "testbed", "cluster": {
            "server": format!("https://{address}:{PORT}"),
            "certificate-authority": folder.join("apiserver.crt"),
        }}],
        "contexts": [{"name": "admin", "context": {"cluster": "testbed", "user": "admin"}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
    });
    std::fs::write(folder.join("admin.kubeconfig"), kubeconfig.to_string())?;
    Ok(())
}

/// Requests of service accounts, answered ones; nothing of anybody else.
fn audit_policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    })
}
