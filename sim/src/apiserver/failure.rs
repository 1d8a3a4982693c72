//! What the server answers when it refuses: Kubernetes' `Status` with its code and reason.

use http::StatusCode;
use serde_json::{Value, json};

use super::kinds::Resource;

/// A refusal, as Kubernetes words it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, for example `NotFound`.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// Seconds after which the client should come again; also sent as `Retry-After`.
    pub retry_after: Option<u32>,
    details: Option<Box<Value>>,
}

impl Failure {
    /// A refusal without details.
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: code.as_u16(),
            reason,
            message: message.into(),
            retry_after: None,
            details: None,
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = Some(Box::new(json!({
            "name": name, "group": resource.group, "kind": resource.plural,
        })));
        self
    }

    /// 404: no such object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(resource, name)
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(resource, name)
    }

    /// 409: a precondition does not hold.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(resource, name)
    }

    /// 409: the resourceVersion that the client sent is not the current one.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    /// 422: the object breaks a rule of its kind.
    pub fn invalid(resource: &Resource, name: &str, why: &str) -> Self {
        let message = match resource.group {
            "" => format!("{} \"{name}\" is invalid: {why}", resource.kind),
            group => format!("{}.{group} \"{name}\" is invalid: {why}", resource.kind),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(resource, name)
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 410: the history that the client asks for is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 405: this path has no such verb.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 504: the client has seen a resourceVersion that this server has not reached.
    pub fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        failure.details = Some(Box::new(json!({ "causes": [{
            "reason": "ResourceVersionTooLarge", "message": "Too large resource version",
        }]})));
        failure.come_again(1)
    }

    /// 429: too busy, come again.
    pub fn too_many_requests(seconds: u32) -> Self {
        let message = "the server has received too many requests and has asked us to try again \
                       later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).come_again(seconds)
    }

    /// 503: not now.
    pub fn unavailable() -> Self {
        let message = "the server is currently unable to handle the request";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    fn come_again(mut self, seconds: u32) -> Self {
        let details = self.details.get_or_insert_with(|| Box::new(json!({})));
        details["retryAfterSeconds"] = json!(seconds);
        self.retry_after = Some(seconds);
        self
    }

    /// The `Status` object that goes over the wire.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            body["details"] = (**details).clone();
        }
        body
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::apiserver::kinds::by_name;

    #[test]
    fn refusals_are_worded_as_kubernetes_words_them() {
        let va = by_name("volumeattachments").unwrap();
        let node = by_name("nodes").unwrap();
        for (failure, code, reason, message) in [
            (Failure::not_found(node, "a"), 404, "NotFound", "nodes \"a\" not found"),
            (
                Failure::already_exists(va, "a"),
                409,
                "AlreadyExists",
                "volumeattachments.storage.k8s.io \"a\" already exists",
            ),
            (
                Failure::invalid(va, "a", "spec: no"),
                422,
                "Invalid",
                "VolumeAttachment.storage.k8s.io \"a\" is invalid: spec: no",
            ),
        ] {
            let body = failure.body();
            assert_eq!(body["code"], code);
            assert_eq!(body["reason"], reason);
            assert_eq!(body["message"], message);
            assert_eq!(body["details"]["name"], "a");
        }
    }

    #[test]
    fn a_busy_server_says_when_to_come_again_in_the_body_too() {
        let failure = Failure::too_many_requests(7);
        assert_eq!(failure.retry_after, Some(7));
        assert_eq!(failure.body()["details"]["retryAfterSeconds"], 7);
    }
}
