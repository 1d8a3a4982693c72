//! The connection to the API server: where it is, who we are, how long we wait.
//!
//! Making a client needs no API server; a request made while it is away fails by its deadline.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::ClusterError;
use super::cache::WATCH_SECONDS;
use super::request::reason;

/// How we call ourselves at the API server.
const AGENT: &str = concat!("rds-csi/", env!("CARGO_PKG_VERSION"));

/// Where the API server is and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The service account of the pod we run in.
    InCluster,
    /// A kubeconfig file, its current context.
    Kubeconfig(PathBuf),
    /// A URL that asks for no credentials: the sandbox's.
    Url(String),
}

/// Makes a client that gives up a connection attempt after `connect`. Must be called on a tokio
/// runtime.
///
/// # Errors
/// [`ClusterError::Refused`] when credentials or addresses cannot be read.
pub async fn client(access: &Access, connect: Duration) -> Result<Client, ClusterError> {
    let mut config = config(access).await?;
    config.connect_timeout = Some(connect);
    config.write_timeout = Some(connect);
    // A watch is silent for WATCH_SECONDS at most, then the server ends it. A connection that says
    // nothing for longer is half-open, also in the middle of a list.
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 10));
    // Else the time that a pooled connection was idle counts against the next answer on it.
    config.reset_reader_on_write = true;
    // Callers decide about retries; a hidden one would outlive their deadline.
    config.default_retry = false;
    // By it an audit log and the API server's flow control tell us from the sidecars in our pod.
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Client::try_from(config).map_err(|e| ClusterError::Refused(reason(&e)))
}

async fn config(access: &Access) -> Result<Config, ClusterError> {
    match access {
        Access::InCluster => Config::incluster().map_err(|e| ClusterError::Refused(reason(&e))),
        Access::Kubeconfig(path) => {
            let refused = |e: kube::config::KubeconfigError| {
                ClusterError::Refused(format!("{}: {}", path.display(), reason(&e)))
            };
            let file = Kubeconfig::read_from(path).map_err(refused)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(refused)
        }
        Access::Url(url) => {
            let url: http::Uri = url
                .parse()
                .map_err(|e| ClusterError::Refused(format!("\"{url}\" is no URL: {e}")))?;
            Ok(Config::new(url))
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::cluster::request::Requests;

    /// Reads a node over a real socket.
    async fn node(port: u16, deadline: Duration) -> Result<(), ClusterError> {
        let access = Access::Url(format!("http://127.0.0.1:{port}"));
        let client = client(&access, Duration::from_secs(5)).await?;
        let requests = Requests::new(client, deadline);
        let api = requests.all::<k8s_openapi::api::core::v1::Node>();
        requests.run("Node a", api.get("a")).await.map(|_| ())
    }

    #[tokio::test]
    async fn a_client_is_made_while_no_api_server_is_there_and_says_what_failed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let asked = node(port, Duration::from_secs(5)).await;
        let Err(ClusterError::Unreachable(why)) = asked else {
            panic!("{asked:?}");
        };
        assert!(why.to_lowercase().contains("refused"), "{why}");
    }

    #[tokio::test]
    async fn an_api_server_that_accepts_and_says_nothing_is_given_up_at_the_deadline() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deadline = Duration::from_millis(300);
        let begun = tokio::time::Instant::now();
        let asked = node(port, deadline).await;
        assert!(matches!(asked, Err(ClusterError::Unreachable(_))), "{asked:?}");
        assert!(begun.elapsed() >= deadline && begun.elapsed() < deadline * 10);
    }

    #[tokio::test]
    async fn every_request_says_which_program_asks_and_its_version() {
        use tokio::io::AsyncReadExt as _;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asked =
            tokio::spawn(node(listener.local_addr().unwrap().port(), Duration::from_secs(5)));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "{said:?}");
        }
        let said = String::from_utf8(said).unwrap();
        let line = format!("user-agent: rds-csi/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(said.contains(&line), "{said}");
        asked.abort();
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_refused_with_its_path() {
        let access = Access::Kubeconfig("/nonexistent/kubeconfig".into());
        let error = client(&access, Duration::from_secs(1)).await.err();
        let text = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("/nonexistent/kubeconfig"), "{text}");
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_refused() {
        let access = Access::Url("not a url".into());
        let made = client(&access, Duration::from_secs(1)).await;
        assert!(matches!(made, Err(ClusterError::Refused(_))));
    }
}
