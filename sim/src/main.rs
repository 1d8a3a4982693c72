//! The simulated box as a program: `cargo run -p rds-sim`.
//!
//! Starts one box behind SSH on loopback, says how to log in, and runs until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rds_sim::nvmet::{CONFIGFS, Losetup, Nvmet};
use rds_sim::routeros::{
    AuthorizedKeys, HostKey, Quirks, Recording, RouterOs, Server, ServerSetup, Setup, Version,
};

/// A simulated MikroTik ROSE Data Server: RouterOS with a pool, disks, files and an SSH console.
///
/// Nothing is stored: when it ends, everything is gone. Log in with the ssh command that it prints
/// and type, for example:
///
///   /disk print
///   /file/add name=storage-pool/test type=directory
///   /disk/add type=file slot=a file-path=storage-pool/test/a.img file-size=1G nvme-tcp-export=yes
///   /disk print detail where slot=a
///
/// Switches turn facts about RouterOS that nobody has proven into their opposite; --list-switches
/// explains them.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:2222", value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// RouterOS release, 7.17 or later; 7.20.8, 7.21.5 and 7.24.4 are the ones people run
    #[arg(long, default_value = "7.24.4", value_name = "VERSION")]
    routeros: Version,
    /// Public key that may log in, a file as ssh-keygen writes it; may be repeated
    #[arg(long = "authorized-key", value_name = "FILE")]
    authorized_keys: Vec<PathBuf>,
    /// Let every RSA or Ed25519 key in
    #[arg(long, conflicts_with = "authorized_keys")]
    no_key: bool,
    /// Private host key; without it a new RSA key of 2048 bits is made at every start
    #[arg(long, value_name = "FILE")]
    host_key: Option<PathBuf>,
    /// Make an Ed25519 host key instead of RSA
    #[arg(long, conflicts_with = "host_key")]
    ed25519: bool,
    /// Turn a switch on; may be repeated
    #[arg(long = "switch", value_name = "NAME")]
    switches: Vec<String>,
    /// List the switches and end
    #[arg(long)]
    list_switches: bool,
    /// Answer from a capture of `rds-csi doctor --capture` instead of running anything
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Declare a user and the policies of its group, such as rds-csi=ssh,read,write,test; names
    /// that are not declared have every right
    #[arg(long = "user", value_name = "NAME=POLICIES")]
    users: Vec<String>,
    /// Milliseconds that one command takes
    #[arg(long, default_value_t = 60, value_name = "MS")]
    latency: u64,
    /// Milliseconds that one login takes
    #[arg(long, default_value_t = 200, value_name = "MS")]
    login_latency: u64,
    /// Name of the pool
    #[arg(long, default_value = "storage-pool", value_name = "NAME")]
    pool: String,
    /// Size of the pool in bytes
    #[arg(long, default_value_t = 7_681_574_174_720, value_name = "BYTES")]
    pool_size: i64,
    /// Export for real: images are files in this folder, best on a tmpfs, and the kernel's NVMe/TCP
    /// target lets hosts in. Needs root and the modules nvmet-tcp and loop
    #[arg(long, value_name = "FOLDER")]
    nvmet: Option<PathBuf>,
    /// TCP port on which --nvmet listens even while nothing is exported there; may be repeated. A port
    /// that is not named here is open only while something is
    #[arg(long = "keep-port", value_name = "PORT", requires = "nvmet")]
    keep_ports: Vec<u16>,
    /// Unix socket that takes faults of the whole box, a line each; help lists them
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            tell_error(&text);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    if arguments.list_switches {
        for switch in Quirks::all_switches() {
            tell(&format!("{:26} {} [{}]", switch.name, switch.doc, switch.grade));
        }
        return Ok(());
    }
    let os = RouterOs::with(Setup {
        version: arguments.routeros,
        quirks: quirks(&arguments.switches)?,
        seed: arguments.seed,
        pool: arguments.pool.clone(),
        pool_size: arguments.pool_size,
        exec_latency: Duration::from_millis(arguments.latency),
        connect_latency: Duration::from_millis(arguments.login_latency),
        ..Setup::default()
    });
    for user in &arguments.users {
        let (name, policies) =
            user.split_once('=').ok_or_else(|| format!("--user {user}: give NAME=POLICIES"))?;
        os.declare_user(name, name, Some(policies));
    }
    let recording = arguments.replay.as_ref().map(recording).transpose()?;
    let setup = ServerSetup {
        host_key: host_key(&arguments)?,
        authorized: authorized(&arguments)?,
        offer: recording.as_ref().map(Recording::offer).unwrap_or_default(),
    };
    if let Some(recording) = recording {
        os.replay(recording);
    }
    if let Some(folder) = &arguments.nvmet {
        let nvmet = Nvmet::take_over(folder, PathBuf::from(CONFIGFS), Losetup)?;
        os.export_to(Arc::new(nvmet), arguments.keep_ports.iter().copied().collect())?;
        tokio::spawn(os.clone().keep_power());
    }
    let started = Server::start(os.clone(), arguments.listen, setup).await;
    let server = started.map_err(|error| with_causes(&error))?;
    let (ip, port) = (server.address().ip(), server.address().port());
    tell(&format!("RouterOS {} (simulated) on {ip} port {port}", arguments.routeros));
    tell(&format!("host key {}", server.fingerprint()));
    tell(&format!("host key {}", server.public_key()));
    tell("log in:");
    tell(&format!(
        "  ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p {port} admin@{ip}"
    ));
    tell("Ctrl-C ends it and forgets everything.");
    let control = async {
        match &arguments.control {
            Some(path) => rds_sim::control::serve(os, path)
                .await
                .map_err(|error| format!("{}: {error}", path.display())),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = control => ended,
        stopped = tokio::signal::ctrl_c() => {
            stopped.map_err(|error| format!("cannot wait for Ctrl-C: {error}"))
        }
    }
}

fn quirks(names: &[String]) -> Result<Quirks, String> {
    let mut quirks = Quirks::default();
    for name in names {
        if !quirks.turn_on(name) {
            return Err(format!("no switch is called {name:?}; --list-switches shows them all"));
        }
    }
    Ok(quirks)
}

fn host_key(arguments: &Arguments) -> Result<HostKey, String> {
    match &arguments.host_key {
        Some(path) => read(path).map(HostKey::Given),
        None if arguments.ed25519 => Ok(HostKey::Ed25519),
        None => Ok(HostKey::Rsa),
    }
}

fn authorized(arguments: &Arguments) -> Result<AuthorizedKeys, String> {
    if arguments.no_key {
        return Ok(AuthorizedKeys::Any);
    }
    if arguments.authorized_keys.is_empty() {
        let text = "nobody could log in: give --authorized-key ~/.ssh/id_ed25519.pub, or --no-key \
                    to let every key in";
        return Err(text.to_owned());
    }
    let keys: Result<Vec<_>, _> = arguments.authorized_keys.iter().map(read).collect();
    keys.map(AuthorizedKeys::These)
}

fn recording(path: &PathBuf) -> Result<Recording, String> {
    Recording::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &PathBuf) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[expect(clippy::disallowed_macros, reason = "what a person started this program for")]
fn tell(text: &str) {
    println!("{text}");
}

#[expect(clippy::disallowed_macros, reason = "a program of its own without a logger")]
fn tell_error(text: &str) {
    eprintln!("rds-sim: {text}");
}
