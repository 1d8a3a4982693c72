//! One record and one measurement per call: method, code, duration, volume, node.
//!
//! A tower layer around all services, so that calls which reach no service are seen as well. It
//! never looks into a message; what a call is about comes through a [`Note`]. Secrets therefore
//! cannot get here, and error messages show only fields that are not secret.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use slog::{KV, Level, Logger, Record, Serializer, debug, info, warn};
use tokio::time::Instant;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use crate::grpc::status::Outcome;
use crate::grpc::subject::Note;

/// Longest error message in the log, in characters.
const MESSAGE_LENGTH_MAX: usize = 1000;

/// Where measurements go.
pub trait RpcMetrics: Send + Sync {
    /// A call ended. `method` is one of the contract's, such as `CreateVolume`, or `other`; `code`
    /// is a gRPC code's name, such as `NOT_FOUND`.
    fn answered(&self, method: &str, code: &'static str, took: Duration);
}

/// Wraps services in the request log.
#[derive(Clone)]
pub struct RequestLog {
    log: Logger,
    metrics: Arc<dyn RpcMetrics>,
}

impl RequestLog {
    /// Writes records to `log` and measurements to `metrics`.
    pub fn new(log: Logger, metrics: Arc<dyn RpcMetrics>) -> Self {
        Self { log, metrics }
    }
}

impl<S> Layer<S> for RequestLog {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged { inner, to: self.clone() }
    }
}

/// A service whose calls are logged.
#[derive(Clone)]
pub struct Logged<S> {
    inner: S,
    to: RequestLog,
}

impl<S, B, R> Service<Request<B>> for Logged<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let note = Note::default();
        request.extensions_mut().insert(note.clone());
        let call = Call {
            to: self.to.clone(),
            method: method(request.uri().path()),
            note,
            since: Instant::now(),
            outcome: Outcome::abandoned(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            // Moved as a whole, so that it is dropped, and logged, whatever becomes of this future.
            let mut call = call;
            let response = answer.await?;
            call.outcome = Outcome::of(response.headers());
            Ok(response)
        })
    }
}

/// The method of a path `/<package>.<service>/<method>`, shortened: a caller may send anything.
fn method(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).chars().take(64).collect()
}

/// A call under way. It is logged when dropped, because a caller that goes away drops it.
struct Call {
    to: RequestLog,
    method: String,
    note: Note,
    since: Instant,
    outcome: Outcome,
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        let code = self.outcome.code;
        let subject = self.note.get();
        let message: String = self.outcome.message.chars().take(MESSAGE_LENGTH_MAX).collect();
        let fields = slog::o!(
            "method" => self.method.clone(),
            "code" => code,
            "duration_ms" => u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            Known([("volume", subject.volume), ("node", subject.node), ("error", message)]),
        );
        let log = self.to.log.new(fields);
        match level(&self.method, &self.outcome) {
            Level::Warning => warn!(log, "rpc failed"),
            Level::Info => info!(log, "rpc answered"),
            _ => debug!(log, "rpc answered"),
        }

        // Anybody can make up methods; a label for each would fill the memory.
        let unknown = self.outcome.is_unimplemented();
        let label = if unknown { "other" } else { &self.method };
        self.to.metrics.answered(label, code, took);
    }
}

/// Fields that are left out where they are empty.
struct Known([(&'static str, String); 3]);

impl KV for Known {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        let known = self.0.iter().filter(|(_, value)| !value.is_empty());
        known.into_iter().try_for_each(|(key, value)| serializer.emit_str(key, value))
    }
}

/// What is asked every few seconds, or once by every sidecar, is no news when it succeeds.
fn level(method: &str, outcome: &Outcome) -> Level {
    match method {
        _ if outcome.is_unimplemented() => Level::Debug,
        _ if !outcome.is_ok() => Level::Warning,
        "Probe"
        | "GetPluginInfo"
        | "ListVolumes"
        | "GetCapacity"
        | "NodeGetInfo"
        | "NodeGetVolumeStats"
        | "NodeGetVolumeHealth"
        | "NodeGetStorageHealth" => Level::Debug,
        _ if method.ends_with("GetCapabilities") || method.ends_with("PluginCapabilities") => {
            Level::Debug
        }
        _ => Level::Info,
    }
}
