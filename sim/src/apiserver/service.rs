//! HTTP in, HTTP out: a tower service over any body, the same in memory and on a socket.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::ApiServer;
use super::core::{DeleteOptions, Listed, Patch, Scope};
use super::discovery;
use super::failure::Failure;
use super::faults::{Fault, Passage};
use super::route::{Call, write_continue};
use super::watching::Watching;

/// The largest body that is read, as on a real server.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// How long a body may take to come in.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BrokenConnection>;

/// The connection broke: what a client sees of a fault that lets no answer out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated connection broke")]
pub struct BrokenConnection;

/// The server as a `tower::Service`.
#[derive(Debug, Clone)]
pub struct ApiService {
    server: ApiServer,
}

impl ApiService {
    pub(super) fn new(server: ApiServer) -> Self {
        Self { server }
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = BrokenConnection;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        answer(self.server.clone(), request).boxed()
    }
}

async fn answer<B>(
    server: ApiServer,
    request: Request<B>,
) -> Result<Response<Body>, BrokenConnection>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let call = match Call::parse(&head.method, head.uri.path(), query) {
        Ok(call) => call,
        Err(failure) => return Ok(refusal(&failure)),
    };
    let body = match read(body).await {
        Ok(body) => body,
        Err(failure) => return Ok(refusal(&failure)),
    };
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let noted = server.journal().came(&call, &sent);
    let (loses, failure) = pass(&server, &call).await?;
    let reply = match failure {
        Some(failure) => Err(failure),
        None => apply(&server, &call, &head.headers, &body),
    };
    if reply.is_ok() {
        server.journal().applied(noted);
    }
    if loses {
        return Err(BrokenConnection);
    }
    let response = reply.unwrap_or_else(|failure| refusal(&failure));
    server.journal().answered(noted, response.status().as_u16());
    Ok(response)
}

async fn read<B>(body: B) -> Result<Bytes, Failure>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) => {
            let message = format!("the body is broken or longer than {LARGEST_BODY} bytes");
            let code = StatusCode::PAYLOAD_TOO_LARGE;
            Err(Failure::new(code, "RequestEntityTooLarge", message))
        }
        Err(_) => {
            let message = "the body did not come in time";
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message))
        }
    }
}

/// Takes a call through the faults: whether its answer is to be lost, and a refusal if there is one.
async fn pass(
    server: &ApiServer,
    call: &Call,
) -> Result<(bool, Option<Failure>), BrokenConnection> {
    let mut ticks = server.inner.ticks.subscribe();
    loop {
        ticks.mark_unchanged();
        let fault = match server.faults().gate(call) {
            Passage::Open => return Ok((false, None)),
            Passage::Fault(fault) => fault,
        };
        return match fault {
            Fault::Hang => {
                // The sender lives as long as the server.
                ticks.changed().await;
                continue;
            }
            Fault::Refuse => Err(BrokenConnection),
            Fault::LoseAnswer => Ok((true, None)),
            Fault::Unavailable => Ok((false, Some(Failure::unavailable()))),
            Fault::TooManyRequests(seconds) => {
                Ok((false, Some(Failure::too_many_requests(seconds))))
            }
            Fault::Conflict => Ok((false, Some(quicker(call)))),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok((false, None))
            }
        };
    }
}

/// The refusal that a client gets when somebody else was quicker.
fn quicker(call: &Call) -> Failure {
    match (call.resource(), call.target()) {
        (Some(resource), Some(target)) => Failure::modified(resource, &target.name),
        (Some(resource), None) => Failure::already_exists(resource, ""),
        _ => Failure::new(StatusCode::CONFLICT, "Conflict", "conflict"),
    }
}

fn apply(
    server: &ApiServer,
    call: &Call,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Failure> {
    let now = server.now();
    if call.resource().is_some() {
        acceptable(headers)?;
    }
    let (code, object) = match call {
        Call::Document(path) => (StatusCode::OK, discovery::document(path)?),
        Call::Get(target) => (StatusCode::OK, server.core().get(target)?.clone()),
        Call::List(scope, page) => {
            let listed = server.core().list(scope, page)?;
            (StatusCode::OK, list_body(scope, listed))
        }
        Call::Watch(scope, options) => {
            let watching = Watching::open(server.clone(), scope.clone(), options.clone())?;
            let lines = watching.into_stream().map(|line| line.map(Frame::data));
            return Ok(with_body(StatusCode::OK, StreamBody::new(lines).boxed_unsync()));
        }
        Call::Create(resource, namespace) => {
            let object = parse(body)?;
            let made = server.change(|core| core.create(resource, namespace, object, now))?;
            (StatusCode::CREATED, made)
        }
        Call::Update(target) => {
            let object = parse(body)?;
            (StatusCode::OK, server.change(|core| core.update(target, object))?)
        }
        Call::Patch(target) => {
            let patch = read_patch(headers, body)?;
            (StatusCode::OK, server.change(|core| core.patch(target, &patch))?)
        }
        Call::Delete(target) => {
            let options = delete_options(body)?;
            (StatusCode::OK, server.change(|core| core.delete(target, &options, now))?)
        }
    };
    Ok(with_body(code, full(&object)))
}

fn acceptable(headers: &HeaderMap) -> Result<(), Failure> {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = |one: &str| !one.contains("as=") && (one.contains("json") || one.contains("*/*"));
    if accepts.is_empty() || accepts.split(',').any(plain) {
        return Ok(());
    }
    let message = format!("only application/json is served here, not {accepts:?}");
    Err(Failure::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message))
}

fn parse(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|e| Failure::bad_request(format!("the body is not JSON: {e}")))
}

fn read_patch(headers: &HeaderMap, body: &Bytes) -> Result<Patch, Failure> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" => Ok(Patch::Merge(parse(body)?)),
        "application/json-patch+json" => Ok(Patch::Json(parse(body)?)),
        other => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json; not {other:?}"
            );
            let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(Failure::new(code, "UnsupportedMediaType", message))
        }
    }
}

fn delete_options(body: &Bytes) -> Result<DeleteOptions, Failure> {
    if body.is_empty() {
        return Ok(DeleteOptions::default());
    }
    let options: DeleteOptions = serde_json::from_slice(body)
        .map_err(|e| Failure::bad_request(format!("malformed delete options: {e}")))?;
    match options.dry_run.is_empty() {
        true => Ok(options),
        false => Err(Failure::bad_request("dryRun is not supported by this server double")),
    }
}

fn list_body(scope: &Scope, listed: Listed) -> Value {
    let Listed { mut items, revision, more } = listed;
    for object in items.iter_mut().filter_map(Value::as_object_mut) {
        // A real server leaves them out of the items of built-in kinds.
        object.remove("kind");
        object.remove("apiVersion");
    }
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some((last, left)) = more {
        metadata["continue"] = write_continue(revision, &last).into();
        if scope.selector.is_empty() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    json!({
        "kind": format!("{}List", scope.resource.kind),
        "apiVersion": scope.resource.api_version(),
        "metadata": metadata,
        "items": items,
    })
}

fn refusal(failure: &Failure) -> Response<Body> {
    let code = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_body(code, full(&failure.body()));
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn full(object: &Value) -> Body {
    let never = |never: Infallible| match never {};
    Full::new(Bytes::from(object.to_string())).map_err(never).boxed_unsync()
}

fn with_body(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
