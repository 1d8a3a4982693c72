//! What was asked of the API server by service accounts, from its audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::Trouble;

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// What was asked for.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// The program that asked.
    #[serde(default)]
    pub user_agent: String,
    user: User,
    object_ref: Option<Object>,
    response_status: Option<Status>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Status {
    code: u16,
}

/// A right as RBAC names it: the API group, the resource with its subresource, the verb.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Empty: core.
    pub group: String,
    /// Such as `nodes` or `nodes/status`.
    pub resource: String,
    /// Such as `watch`.
    pub verb: String,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

impl Request {
    /// Who asked, such as `system:serviceaccount:rds-csi:rds-csi-controller`.
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// The status code of the answer; 0 where there was none.
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// The right that it took; `None` for what is no resource.
    pub fn right(&self) -> Option<Right> {
        let object = self.object_ref.as_ref()?;
        let resource = match object.subresource.as_str() {
            "" => object.resource.clone(),
            sub => format!("{}/{sub}", object.resource),
        };
        Some(Right { group: object.api_group.clone(), resource, verb: self.verb.clone() })
    }

    /// Does it take the same right on the same object? A list and a watch do: one rule grants both.
    fn same_right(&self, other: &Self) -> bool {
        let kind = |verb: &str| if verb == "list" { "watch" } else { verb }.to_owned();
        kind(&self.verb) == kind(&other.verb) && self.object_ref == other.object_ref
    }

    /// The first word of the program's name, such as `csi-attacher`; `unnamed` where it gave none.
    pub fn program(&self) -> &str {
        let first = self.user_agent.split(['/', ' ']).next().unwrap_or_default();
        if first.is_empty() { "unnamed" } else { first }
    }
}

/// Everything that was asked so far by accounts of this namespace, oldest first.
///
/// # Errors
/// When the log cannot be read; a last line that is still being written is left out.
pub fn requests(log: &Path, namespace: &str) -> Result<Vec<Request>, Trouble> {
    let text = std::fs::read_to_string(log)?;
    Ok(parse(&text, &format!("system:serviceaccount:{namespace}:")))
}

fn parse(text: &str, user: &str) -> Vec<Request> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Request>(line).ok());
    lines.filter(|request| request.user().starts_with(user)).collect()
}

/// How many requests each program made.
pub fn by_program(requests: &[Request]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(request.program().to_owned()).or_default() += 1;
    }
    counts
}

/// The rights that were used.
pub fn used(requests: &[Request]) -> BTreeSet<Right> {
    requests.iter().filter_map(Request::right).collect()
}

/// The rights that a Role or ClusterRole grants; names of single objects are left out.
pub fn granted(role: &Value) -> Vec<Right> {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let (group, resource) = (group.clone(), resource.clone());
                    rights.push(Right { group, resource, verb });
                }
            }
        }
    }
    rights
}

/// Requests that were refused for want of a right. Rights do not change while a story is told: what
/// was granted later was refused by an API server that did not know its own rules yet.
pub fn forbidden(requests: &[Request]) -> Vec<&Request> {
    let refused = |request: &Request| matches!(request.code(), 401 | 403);
    let granted_later = |at: usize| {
        let later = requests[at..].iter();
        later.clone().any(|one| !refused(one) && one.same_right(&requests[at]))
    };
    let all = requests.iter().enumerate();
    let missing = all.filter(|(at, request)| refused(request) && !granted_later(*at));
    missing.map(|(_, request)| request).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    const LINES: &str = concat!(
        r#"{"verb":"patch","requestURI":"/apis/storage.k8s.io/v1/volumeattachments/a/status","user":{"username":"system:serviceaccount:rds-csi:c"},"userAgent":"csi-attacher/v4 (linux)","objectRef":{"resource":"volumeattachments","name":"a","apiGroup":"storage.k8s.io","subresource":"status"},"responseStatus":{"code":200}}"#,
        "\n",
        r#"{"verb":"list","requestURI":"/api/v1/nodes","user":{"username":"system:serviceaccount:rds-csi:c"},"userAgent":"rds-csi","objectRef":{"resource":"nodes"},"responseStatus":{"code":403}}"#,
        "\n",
        r#"{"verb":"list","requestURI":"/api/v1/nodes","user":{"username":"system:serviceaccount:other:c"},"objectRef":{"resource":"nodes"},"responseStatus":{"code":200}}"#,
        "\n{\"verb\":\"li",
    );

    #[test]
    fn requests_of_a_namespace_are_read_with_the_rights_that_they_took() {
        let requests = parse(LINES, "system:serviceaccount:rds-csi:");
        let rights: Vec<String> = used(&requests).iter().map(ToString::to_string).collect();
        assert_eq!(rights, ["list nodes", "patch volumeattachments/status.storage.k8s.io"]);
        assert_eq!(by_program(&requests).get("csi-attacher"), Some(&1));
    }

    #[test]
    fn a_role_grants_each_verb_on_each_resource_of_each_rule() {
        let role = serde_json::json!({"rules": [
            {"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "list"],
             "resourceNames": ["a"]},
        ]});
        let rights: Vec<String> = granted(&role).iter().map(ToString::to_string).collect();
        assert_eq!(rights, ["get pods", "list pods", "get pods.apps", "list pods.apps"]);
    }

    #[test]
    fn a_refused_request_is_told_apart() {
        let requests = parse(LINES, "system:serviceaccount:rds-csi:");
        let refused = forbidden(&requests);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].uri, "/api/v1/nodes");
        let later = LINES.replace("403", "200").replace("list", "watch");
        let both = format!("{}\n{later}", LINES.trim_end_matches("{\"verb\":\"li"));
        assert!(forbidden(&parse(&both, "system:serviceaccount:rds-csi:")).is_empty(), "later");
    }
}
