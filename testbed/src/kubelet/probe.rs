//! Probes: what kubelet asks a container, and what it makes of the answers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::Trouble;

/// An HTTP probe of one container, and how it stands.
#[derive(Debug, Clone)]
pub struct Probing {
    path: String,
    port: u16,
    period: Duration,
    patience: Duration,
    failures_allowed: i32,
    failures: i32,
    due: Instant,
    /// Whether it holds: successes at once, failures after the threshold.
    pub holds: bool,
}

impl Probing {
    /// Reads a probe. `at_first`: whether it counts as holding before the first answer.
    ///
    /// # Errors
    /// When it is not an HTTP probe.
    pub fn new(container: &Container, probe: &Probe, at_first: bool) -> Result<Self, Trouble> {
        let get = probe.http_get.clone().ok_or("nobody plays a probe that is not httpGet")?;
        let port = match get.port {
            IntOrString::Int(port) => u16::try_from(port)?,
            IntOrString::String(name) => named(container, &name)?,
        };
        let seconds = |given: Option<i32>, default: u64| {
            Duration::from_secs(given.and_then(|s| u64::try_from(s).ok()).unwrap_or(default))
        };
        Ok(Self {
            path: get.path.unwrap_or_else(|| "/".into()),
            port,
            period: seconds(probe.period_seconds, 10),
            patience: seconds(probe.timeout_seconds, 1),
            failures_allowed: probe.failure_threshold.unwrap_or(3),
            failures: 0,
            due: Instant::now() + seconds(probe.initial_delay_seconds, 0),
            holds: at_first,
        })
    }

    /// Asks where it is time to; at most for the probe's timeout.
    pub async fn ask(&mut self, address: &str) {
        if Instant::now() < self.due {
            return;
        }
        let asked = timeout(self.patience, get(address, self.port, &self.path)).await;
        let code = asked.unwrap_or(None);
        // Until it holds for the first time there is no reason to wait a whole period: kubelet, too,
        // asks a pod that starts more often.
        let holds = code.is_some_and(|code| (200..400).contains(&code));
        self.record(holds);
        let pause = if holds { self.period } else { self.period.min(Duration::from_secs(1)) };
        self.due = Instant::now() + pause;
    }

    fn record(&mut self, holds: bool) {
        if holds {
            self.failures = 0;
            self.holds = true;
            return;
        }
        self.failures += 1;
        if self.failures >= self.failures_allowed {
            self.holds = false;
        }
    }
}

fn named(container: &Container, name: &str) -> Result<u16, Trouble> {
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name));
    let port = port.ok_or_else(|| format!("{} has no port {name}", container.name))?;
    Ok(u16::try_from(port.container_port)?)
}

/// The status code of one GET.
async fn get(address: &str, port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect((address, port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    fn probing() -> Probing {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "ports": [{"name": "http", "containerPort": 9809}],
            "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}, "failureThreshold": 2},
        }))
        .unwrap();
        Probing::new(&container, container.liveness_probe.as_ref().unwrap(), true).unwrap()
    }

    #[tokio::test]
    async fn a_port_is_found_by_its_name_and_failures_count_from_the_threshold_on() {
        let mut probe = probing();
        assert_eq!(probe.port, 9809);
        probe.record(false);
        assert!(probe.holds, "once is not yet");
        probe.record(false);
        assert!(!probe.holds);
        probe.record(true);
        probe.record(false);
        assert!(probe.holds, "a success forgives");
    }
}
