//! An API server for tests of this module: every request arrives as a [`Call`], and the test says
//! what is answered. It knows nothing of Kubernetes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// The other end of a client.
pub struct Mock {
    calls: mpsc::UnboundedReceiver<Call>,
}

/// One request that waits for its answer; dropped, it fails the connection.
pub struct Call {
    /// GET, POST, PATCH, DELETE.
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// Its body, null where there is none.
    pub body: Value,
    answer: oneshot::Sender<Answer>,
}

/// A watch that the test feeds; dropped, the stream ends.
pub struct Watch {
    lines: mpsc::UnboundedSender<Value>,
}

#[derive(Clone)]
struct Transport {
    calls: mpsc::UnboundedSender<Call>,
}

impl Mock {
    /// A client and its other end.
    pub fn new() -> (kube::Client, Self) {
        let (sender, calls) = mpsc::unbounded_channel();
        let transport = Transport { calls: sender };
        (kube::Client::new(transport, "default"), Self { calls })
    }

    /// The next request. Where none comes, the test fails instead of waiting for ever: the hour is
    /// one of paused time.
    pub async fn next(&mut self) -> Call {
        let next = tokio::time::timeout(Duration::from_secs(3600), self.calls.recv());
        let next = next.await.expect("nothing is asked any more");
        next.expect("the client is gone")
    }

    /// The next request, which must be this one.
    pub async fn expect(&mut self, method: Method, path: &str) -> Call {
        let call = self.next().await;
        let seen = call.uri.split('?').next().unwrap_or_default();
        assert_eq!((&call.method, seen), (&method, path), "query and body: {call:?}");
        call
    }

    /// Has nothing been asked?
    pub fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.method, self.uri, self.body)
    }
}

impl Call {
    /// Answers with an object.
    pub fn ok(self, object: Value) {
        self.raw(200, object.to_string());
    }

    /// Answers with a Status of failure.
    pub fn fail(self, code: u16, reason: &str) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": "as scripted", "reason": reason, "code": code});
        self.raw(code, status.to_string());
    }

    /// Answers with this text.
    pub fn raw(self, code: u16, text: String) {
        let body = Full::new(Bytes::from(text)).boxed();
        self.send(code, body);
    }

    /// Answers with a stream of watch events.
    pub fn watch(self) -> Watch {
        let (lines, receiver) = mpsc::unbounded_channel::<Value>();
        let frames = UnboundedReceiverStream::new(receiver)
            .map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
        self.send(200, BodyExt::boxed(StreamBody::new(frames)));
        Watch { lines }
    }

    fn send(self, code: u16, body: BoxBody<Bytes, Infallible>) {
        let mut answer = Response::new(body);
        *answer.status_mut() = StatusCode::from_u16(code).unwrap();
        // An error says that the client gave up; the test sees that on its side.
        let _ = self.answer.send(answer);
    }
}

impl Watch {
    /// Sends an event of this type.
    pub fn send(&self, kind: &str, object: Value) {
        let line = json!({"type": kind, "object": object});
        self.lines.send(line).expect("nobody watches");
    }
}

impl tower::Service<Request<Body>> for Transport {
    type Response = Answer;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Answer, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let calls = self.calls.clone();
        async move {
            let (parts, body) = request.into_parts();
            let mut body = Pin::new(Box::new(body));
            let bytes = body.as_mut().collect().await.map_err(std::io::Error::other)?;
            let bytes = bytes.to_bytes();
            let (answer, answered) = oneshot::channel();
            let call = Call {
                method: parts.method,
                uri: parts.uri.to_string(),
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                answer,
            };
            let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            calls.send(call).map_err(|_| broken())?;
            answered.await.map_err(|_| broken())
        }
        .boxed()
    }
}
