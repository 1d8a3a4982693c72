//! Somebody with a terminal and the README.

use rds_csi_testbed::process::Process;
use rds_csi_testbed::{Cluster, parts, wait};
use tokio::process::Child;

use super::How::{By, Says, Serves};
use super::commands::{self, Command};
use super::{CLAIM, known, readme, streams};
use crate::support::STEP;
use crate::tools::Terminal;

pub struct Person<'a> {
    /// The node that a taint is tried on: not the one that has the volume.
    pub other_node: &'static str,
    cluster: &'a Cluster,
    terminal: Terminal,
    readme: String,
    /// What goes on in the background of the terminal, and kubelet's part in it.
    served: Vec<(Child, Option<Process>)>,
}

impl<'a> Person<'a> {
    pub async fn new(cluster: &'a Cluster) -> Self {
        let terminal = Terminal::open(cluster).await;
        let driver = terminal.folder.join("bin/rds-csi");
        std::os::unix::fs::symlink(parts::driver().unwrap(), driver).unwrap();
        Self { other_node: "", cluster, terminal, readme: readme(), served: Vec::new() }
    }

    /// Every command of a section, one after the other.
    pub async fn does(&mut self, section: &str) {
        let all = commands::all(&self.readme).into_iter();
        let all: Vec<Command> = all.filter(|command| command.section == section).collect();
        assert!(!all.is_empty(), "the README has no section {section}");
        for command in all {
            match known(&command).unwrap_or_else(|| panic!("nobody knows {command:?}")) {
                By(..) => {}
                Serves(port) => self.serves(&command.line, *port).await,
                Says(what) => self.follows(&command.line, what).await,
            }
        }
        self.served.clear();
    }

    pub async fn run(&self, line: &str) -> String {
        self.terminal.run(line).await.unwrap()
    }

    async fn follows(&self, line: &str, what: &str) {
        let _streams = self.streams(line).await;
        self.has_at_hand(line).await;
        let said = self.sees(&self.filled(line), what).await;
        self.reads(line, &said);
    }

    /// What a command said that was to say this. A person who only looks looks again: the leader whose
    /// node has just been tainted has given its Lease back, and the next one takes it in a moment.
    async fn sees(&self, line: &str, what: &str) -> String {
        let look = async || {
            let said = self.run(line).await;
            if said.contains(what) { Ok(said) } else { Err(said) }
        };
        if line.contains(" get ") {
            return wait::until(line, STEP, look).await.unwrap();
        }
        look().await.unwrap_or_else(|said| panic!("{line}: {said}"))
    }

    /// The real names in the place of those of the README.
    fn filled(&self, line: &str) -> String {
        let name = if line.contains("taint node") { self.other_node } else { CLAIM };
        let host = self.cluster.storage.address().ip().to_string();
        let line = line.replace("10.0.0.10", &host).replace("NAME", name);
        if line.contains(" edit ") { format!("KUBE_EDITOR=./edit {line}") } else { line }
    }

    /// kubelet's part, where a command asks for it.
    async fn streams(&self, line: &str) -> Option<Process> {
        let asks = [" exec ", " logs ", " port-forward "];
        if asks.iter().any(|verb| line.contains(verb)) {
            return Some(streams::serve(self.cluster).await);
        }
        None
    }

    async fn serves(&mut self, line: &str, port: u16) {
        let streams = self.streams(line).await;
        let going_on = self.terminal.start(line.trim_end_matches('&'));
        wait::until("it serves", STEP, async || {
            let answered = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            answered.map(|_| ()).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        self.served.push((going_on, streams));
    }

    /// What a person has before a command: a file, an editor that is told what to write.
    async fn has_at_hand(&self, line: &str) {
        let file = |name: &str| self.terminal.folder.join(name);
        if line.contains("--check-config") {
            let map = "kubectl --namespace rds-csi get configmap rds-csi-config";
            let text =
                self.run(&format!("{map} --output jsonpath='{{.data.config\\.toml}}'")).await;
            std::fs::write(file("config.toml"), text).unwrap();
        }
        if line.contains(" edit ") {
            let storage = &self.cluster.storage;
            let (address, key) = (storage.address(), storage.fingerprint());
            let script = format!(
                "#!/bin/sh\nsed -i -e 's|10.0.0.10:22|{address}|' -e 's|SHA256:A*|{key}|' \"$1\"\n"
            );
            std::fs::write(file("edit"), script).unwrap();
            self.run("chmod 755 edit").await;
        }
    }

    /// What a person does with what was said.
    fn reads(&self, line: &str, said: &str) {
        let file = |name: &str| self.terminal.folder.join(name);
        if line.starts_with("ssh-keygen") {
            // `/user/ssh-keys/import` on the box. This box knows one key from the beginning: that one.
            assert!(file("id_ed25519.pub").is_file());
            std::fs::write(file("id_ed25519"), &self.cluster.storage.key.private).unwrap();
        }
        if line.starts_with("ssh-keyscan") {
            let values = commands::file(&self.readme, "values.yaml").unwrap();
            let pinned = values.replace("ssh-ed25519 AAAA...", said.trim());
            assert_ne!(values, pinned);
            std::fs::write(file("values.yaml"), self.filled(&pinned)).unwrap();
        }
        if line.starts_with("kubectl get persistentvolumes") {
            assert_eq!(said, "", "no volume is left");
        }
        if line.contains("> rds-csi-cluster.yaml") {
            let kept = std::fs::read_to_string(file("rds-csi-cluster.yaml")).unwrap();
            assert!(kept.contains("\nimmutable: true\n"), "{kept}");
        }
    }
}
