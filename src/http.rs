//! `/metrics`, `/livez`, `/readyz`, `/statusz`, and on a node `/agent`, over HTTP/1.1 on one
//! listener.
//!
//! Answers come from memory: a scrape or a probe does no I/O and waits for nobody. (An agent asks its
//! kernel, and is asked so often at most as its rate bound allows.) `/livez` knows
//! the process and its actors, never the box: a storage outage must not become a crash loop.
//! `/readyz` follows the CSI Probe. Every connection carries one request and ends by a deadline, so
//! neither slow nor idle clients can hold the server or its shutdown.

mod rate;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::{Map, Value};
use slog::{Logger, debug, info, o, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::rate::Rate;
use crate::logging::Chain;
use crate::metrics::Metrics;

/// Connections at once. Prometheus and kubelet need a handful; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for the head of a request. Connections that say nothing give way after it.
const HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// Longest life of a connection: request, answer, and a client that reads slowly.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
/// What Prometheus expects of its text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `/readyz` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Readiness {
    /// Whether the driver serves requests that need the box.
    pub ready: bool,
    /// What is missing, in words for a person; never empty when not ready.
    pub reasons: Vec<String>,
    /// What else a person wants to see, such as holds and leadership. Never decides.
    pub fields: Map<String, Value>,
}

/// Where the answers come from. No method does I/O or waits for long.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// Whether process and actors are alive; else what is not. A failure restarts the container.
    fn livez(&self) -> Result<(), String>;
    /// Whether the driver can serve.
    async fn readyz(&self) -> Readiness;
    /// Everything that is known, for a person.
    async fn statusz(&self) -> Value;
    /// Who answers challenges. Only a node has one.
    fn agent(&self) -> Option<&dyn Challenged> {
        None
    }
}

/// The agent of a node, which proves who it is.
#[async_trait]
pub trait Challenged: Send + Sync {
    /// The answer to a challenge, which has not been looked at; or what is wrong.
    async fn answer(&self, challenge: &str) -> Result<Vec<u8>, Unanswerable>;
}

/// Why a challenge has no answer, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswerable {
    /// It is no challenge.
    Malformed(String),
    /// The agent cannot prove anything at present.
    Unable(String),
}

/// Serves until `shutdown` is cancelled and the last connection has ended, which takes at most
/// 10 s (the life of a connection).
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Arc<dyn Health>,
    log: &Logger,
    shutdown: CancellationToken,
) {
    let log = log.new(o!("component" => "http"));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (connections, rate) = (TaskTracker::new(), Arc::new(Rate::default()));
    loop {
        // The place first: connections beyond the bound wait in the kernel's backlog.
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, peer)), place) => {
                let (health, rate) = (Arc::clone(&health), Arc::clone(&rate));
                let answers = Answers { metrics: metrics.clone(), health, rate };
                let (log, shutdown) = (log.new(o!("peer" => peer)), shutdown.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, answers, &log, shutdown).await;
                });
            }
            (Err(error), _) => {
                warn!(log, "connection not accepted"; "error" => %Chain(&error));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    info!(log, "metrics and health no longer served");
}

async fn connection(
    stream: TcpStream,
    answers: Answers,
    log: &Logger,
    shutdown: CancellationToken,
) {
    let answers = Arc::new(answers);
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.to(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let served = timeout(CONNECTION_DEADLINE, async {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return served,
            () = shutdown.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(log, "connection ended early"; "error" => %Chain(&error)),
        Err(_) => debug!(log, "connection ended by its deadline"),
    }
}

/// What the routes answer from.
struct Answers {
    metrics: Metrics,
    health: Arc<dyn Health>,
    /// Bounds how often the agent is asked.
    rate: Arc<Rate>,
}

impl Answers {
    async fn to(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/metrics" => match self.metrics.encode() {
                Ok(text) => answer(StatusCode::OK, METRICS, text),
                Err(error) => {
                    let why = format!("{}\n", Chain(&error));
                    answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, why)
                }
            },
            "/livez" => match self.health.livez() {
                Ok(()) => answer(StatusCode::OK, TEXT, "ok\n"),
                Err(why) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
            },
            "/readyz" => {
                let readiness = self.health.readyz().await;
                let ready = readiness.ready;
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json(status, &readiness)
            }
            "/statusz" => json(StatusCode::OK, &self.health.statusz().await),
            "/agent" => match self.health.agent() {
                Some(agent) => self.ask(agent, request.uri().query().unwrap_or_default()).await,
                None => answer(StatusCode::NOT_FOUND, TEXT, "no agent answers here\n"),
            },
            _ => answer(
                StatusCode::NOT_FOUND,
                TEXT,
                "there are /metrics, /livez, /readyz and /statusz\n",
            ),
        }
    }
}

impl Answers {
    async fn ask(&self, agent: &dyn Challenged, query: &str) -> Response<Full<Bytes>> {
        let Some(challenge) = query.strip_prefix("challenge=") else {
            return answer(StatusCode::BAD_REQUEST, TEXT, "the query must be challenge=...\n");
        };
        if !self.rate.allows() {
            return answer(StatusCode::TOO_MANY_REQUESTS, TEXT, "asked too often\n");
        }
        match agent.answer(challenge).await {
            Ok(bytes) => answer(StatusCode::OK, BYTES, bytes),
            Err(Unanswerable::Malformed(why)) => {
                answer(StatusCode::BAD_REQUEST, TEXT, format!("{why}\n"))
            }
            Err(Unanswerable::Unable(why)) => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n"))
            }
        }
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(status, JSON, text + "\n"),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod test;
