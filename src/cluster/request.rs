//! One request to the API server: its deadline, and what its failure means.
//!
//! Every request of `cluster/` goes through [`Requests::run`]. Nothing is retried here: callers
//! know whether a second try is harmless.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Api, Client};
use tower::BoxError;

use super::ClusterError;

/// Longest text of an error that we pass on, in characters.
const REASON_LENGTH_MAX: usize = 400;

/// The API server, with a deadline for every request.
#[derive(Clone)]
pub struct Requests {
    client: Client,
    deadline: Duration,
}

impl Requests {
    /// Requests over `client` that end after `deadline` at the latest.
    pub fn new(client: Client, deadline: Duration) -> Self {
        Self { client, deadline }
    }

    /// The client itself.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// All objects of a kind, whether it has namespaces or not.
    pub fn all<K: kube::Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// All objects of a kind, for a watch: a list must be complete and a watch must have begun
    /// within the deadline. What then comes, or does not, is the watcher's to judge. `answered` is
    /// called whenever the API server has granted one.
    pub fn watched<K: kube::Resource<DynamicType = ()>>(
        &self,
        answered: impl Fn() + Clone + Send + 'static,
    ) -> Api<K> {
        let (client, deadline) = (self.client.clone(), self.deadline);
        let bounded = tower::service_fn(move |request: Request<Body>| {
            let answer = answer_or_begin(client.clone(), request);
            let answered = answered.clone();
            tokio::time::timeout(deadline, answer).map(move |answer| {
                let answer = answer.map_err(BoxError::from).and_then(|inner| inner);
                if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                    answered();
                }
                answer
            })
        });
        Api::all(Client::new(bounded, self.client.default_namespace()))
    }

    /// The objects of a kind in one namespace.
    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits for `request` until the deadline. `what` names the object, as in
    /// `PersistentVolume pvc-1`.
    ///
    /// # Errors
    /// What the API server's answer, or its silence, means.
    pub async fn run<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ClusterError> {
        self.bounded(what, async { request.await.map_err(|e| meaning(what, &e)) }).await
    }

    /// Waits for several steps that belong together until the deadline.
    ///
    /// # Errors
    /// That of `steps`, or [`ClusterError::Unreachable`] at the deadline.
    pub async fn bounded<T>(
        &self,
        what: &str,
        steps: impl Future<Output = Result<T, ClusterError>>,
    ) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.deadline, steps).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClusterError::Unreachable(format!(
                "nothing about {what} within {:?}",
                self.deadline
            ))),
        }
    }
}

/// The whole answer, or of a watch its beginning.
async fn answer_or_begin(
    client: Client,
    request: Request<Body>,
) -> Result<http::Response<Body>, BoxError> {
    let query = request.uri().query().unwrap_or_default();
    let is_watch = query.split('&').any(|part| part == "watch=true");
    let answer = client.send(request).await?;
    if is_watch {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let whole = body.collect().await?.to_bytes();
    Ok(http::Response::from_parts(head, Body::from(whole.to_vec())))
}

/// What a failed request about `what` means.
pub fn meaning(what: &str, error: &kube::Error) -> ClusterError {
    let kube::Error::Api(status) = error else {
        return ClusterError::Unreachable(reason(error));
    };
    match status.code {
        404 => ClusterError::NotFound(what.to_owned()),
        409 => ClusterError::Conflict(what.to_owned()),
        // 410: the token of a paged list, or a version, is too old; 408, 429: later.
        408 | 410 | 429 => ClusterError::Unreachable(answer(what, status)),
        400..=499 => ClusterError::Refused(answer(what, status)),
        _ => ClusterError::Unreachable(answer(what, status)),
    }
}

/// Did the API server answer that the object is there already?
pub fn exists_already(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

fn answer(what: &str, status: &kube::core::Status) -> String {
    let message = format!("{what}: {} ({})", status.message.trim(), status.code);
    shortened(&message)
}

/// An error and its sources in one line, each said once.
pub fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    shortened(&text)
}

/// At most [`REASON_LENGTH_MAX`] characters of `text`, on one line.
pub fn shortened(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(REASON_LENGTH_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(REASON_LENGTH_MAX).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod test {
    use super::*;
    use kube::core::Status;

    fn api(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("no", reason).with_code(code).boxed())
    }

    #[test]
    fn every_status_code_has_one_meaning() {
        type Is = fn(&ClusterError) -> bool;
        let unreachable: Is = |e| matches!(e, ClusterError::Unreachable(_));
        let refused: Is = |e| matches!(e, ClusterError::Refused(_));
        let conflict: Is = |e| matches!(e, ClusterError::Conflict(_));
        let missing: Is = |e| matches!(e, ClusterError::NotFound(_));
        let table: [(u16, &str, Is); 12] = [
            (400, "BadRequest", refused),
            (401, "Unauthorized", refused),
            (403, "Forbidden", refused),
            (404, "NotFound", missing),
            (408, "Timeout", unreachable),
            (409, "Conflict", conflict),
            (409, "AlreadyExists", conflict),
            (410, "Expired", unreachable),
            (422, "Invalid", refused),
            (429, "TooManyRequests", unreachable),
            (500, "InternalError", unreachable),
            (503, "ServiceUnavailable", unreachable),
        ];
        for (code, reason, expected) in table {
            let meant = meaning("Node a", &api(code, reason));
            assert!(expected(&meant), "{code} {reason} became {meant:?}");
        }
    }

    #[test]
    fn an_answer_that_is_no_json_means_that_the_server_did_not_answer() {
        let error = serde_json::from_str::<u8>("<html>").expect_err("no number");
        let meant = meaning("Node a", &kube::Error::SerdeError(error));
        assert!(matches!(meant, ClusterError::Unreachable(_)), "{meant:?}");
    }

    #[test]
    fn a_chain_of_errors_is_told_once_each() {
        let inner = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        let text = reason(&kube::Error::ReadEvents(inner));
        assert_eq!(text.matches("refused").count(), 1, "{text}");
    }

    #[test]
    fn a_long_answer_is_shortened_to_one_line() {
        let text = shortened(&"a\n".repeat(1000));
        assert_eq!(text.chars().count(), REASON_LENGTH_MAX + 1);
        assert!(!text.contains('\n'));
    }
}
