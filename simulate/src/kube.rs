//! The way from the driver to the API server double.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use rds_sim::apiserver::{ApiService, Body, BrokenConnection};
use tower::Service;

use crate::bug::Bug;
use crate::gate::Gate;
use crate::trace::Trace;

/// The double behind the gate of one controller.
#[derive(Clone)]
pub struct Kube {
    /// The double.
    pub inner: ApiService,
    /// Of the controller.
    pub gate: Arc<Gate>,
    /// Notes writes.
    pub trace: Arc<Trace>,
    /// Done instead of what the driver asks for.
    pub bug: Option<Bug>,
}

impl Service<Request<kube::client::Body>> for Kube {
    type Response = Response<Body>;
    type Error = BrokenConnection;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        let Self { mut inner, gate, trace, bug } = self.clone();
        let what = format!("{} {}", request.method(), request.uri().path());
        let is_copy = what.starts_with("PATCH /api/v1/persistentvolumes/");
        if is_copy && bug == Some(Bug::CopyNotWritten) {
            *request.method_mut() = Method::GET;
        }
        let is_write = request.method() != Method::GET && !what.contains("/events");
        async move {
            gate.pass().await;
            let answer = gate.alive(inner.call(request)).await;
            if is_write {
                let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
                trace.note(format_args!("api {what}: {code}"));
            }
            gate.pass().await;
            answer
        }
        .boxed()
    }
}
