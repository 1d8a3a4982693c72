//! From method, path and query to a typed call; pure.

use http::Method;

use super::core::{Page, Part, Scope, Target};
use super::failure::Failure;
use super::kinds::{self, Resource};
use super::query::{Query, decode};
use super::selector::Selector;

/// What a call does, in the words of Kubernetes' authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object, or a discovery document.
    Get,
    /// Reads many.
    List,
    /// Follows changes.
    Watch,
    /// Makes an object.
    Create,
    /// Replaces one.
    Update,
    /// Changes one in part.
    Patch,
    /// Removes one.
    Delete,
}

impl Verb {
    /// Whether the call may change something.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }
}

/// A call, typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A path outside of the resources: discovery, version, health.
    Document(String),
    /// GET of one object.
    Get(Target),
    /// GET of many.
    List(Scope, Page),
    /// GET that stays open.
    Watch(Scope, WatchOptions),
    /// POST, to this namespace (empty for cluster-wide resources).
    Create(&'static Resource, String),
    /// PUT.
    Update(Target),
    /// PATCH.
    Patch(Target),
    /// DELETE.
    Delete(Target),
}

/// The options of a watch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WatchOptions {
    /// Changes after this one; `None` begins with all objects of now as ADDED.
    pub from: Option<u64>,
    /// Whether bookmarks are welcome.
    pub bookmarks: bool,
    /// Whether a bookmark marks the end of the objects of now (a streaming list).
    pub marks_initial_end: bool,
    /// Seconds after which the server ends the watch.
    pub timeout: Option<u64>,
}

impl Call {
    /// Reads a request line.
    ///
    /// # Errors
    ///
    /// 404 for an unknown path, 405 for a method it does not have, 400 and 422 for bad parameters.
    pub fn parse(method: &Method, path: &str, query: &str) -> Result<Self, Failure> {
        let segments: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| decode(segment, false))
            .collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ if method == Method::GET => return Ok(Self::Document(path.to_owned())),
            _ => return Err(Failure::method_not_allowed()),
        };
        let (resource, namespace, rest) = split(group, version, rest)?;
        let query = Query::parse(query)?;
        if !query.text("dryRun").is_empty() {
            return Err(Failure::bad_request("dryRun is not supported by this server double"));
        }
        match rest {
            [] => Self::of_many(method, resource, namespace, &query),
            [name] => Self::of_one(method, resource, namespace, name, None),
            [name, part] => Self::of_one(method, resource, namespace, name, Some(part)),
            _ => Err(Failure::no_such_path()),
        }
    }

    fn of_many(
        method: &Method,
        resource: &'static Resource,
        namespace: Option<&str>,
        query: &Query,
    ) -> Result<Self, Failure> {
        match *method {
            Method::POST if resource.namespaced && namespace.is_none() => {
                Err(Failure::method_not_allowed())
            }
            Method::POST => Ok(Self::Create(resource, namespace.unwrap_or_default().to_owned())),
            Method::GET => {
                let (labels, fields) = (query.text("labelSelector"), query.text("fieldSelector"));
                let selector = Selector::parse(resource, labels, fields)?;
                let namespace = namespace.map(str::to_owned);
                let scope = Scope { resource, namespace, selector };
                match query.flag("watch")? {
                    true => Ok(Self::Watch(scope, watch_options(query)?)),
                    false => Ok(Self::List(scope, page(query)?)),
                }
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn of_one(
        method: &Method,
        resource: &'static Resource,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
    ) -> Result<Self, Failure> {
        if resource.namespaced && namespace.is_none() {
            return Err(Failure::no_such_path());
        }
        let part = Part::of_subresource(subresource)
            .filter(|part| *part == Part::Main || resource.has_status)
            .ok_or_else(Failure::no_such_path)?;
        let namespace = namespace.unwrap_or_default().to_owned();
        let target = Target { resource, namespace, name: name.to_owned(), part };
        match *method {
            Method::GET => Ok(Self::Get(target)),
            Method::PUT => Ok(Self::Update(target)),
            Method::PATCH => Ok(Self::Patch(target)),
            Method::DELETE if part == Part::Main => Ok(Self::Delete(target)),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    /// What the call does.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Document(_) | Self::Get(_) => Verb::Get,
            Self::List(..) => Verb::List,
            Self::Watch(..) => Verb::Watch,
            Self::Create(..) => Verb::Create,
            Self::Update(_) => Verb::Update,
            Self::Patch(_) => Verb::Patch,
            Self::Delete(_) => Verb::Delete,
        }
    }

    /// The resource it is about; none for a document.
    pub fn resource(&self) -> Option<&'static Resource> {
        match self {
            Self::Document(_) => None,
            Self::Get(t) | Self::Update(t) | Self::Patch(t) | Self::Delete(t) => Some(t.resource),
            Self::List(scope, _) | Self::Watch(scope, _) => Some(scope.resource),
            Self::Create(resource, _) => Some(resource),
        }
    }

    /// The one object it names; none for a create, whose name is in the body.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Get(t) | Self::Update(t) | Self::Patch(t) | Self::Delete(t) => Some(t),
            _ => None,
        }
    }
}

type Parts<'a> = (&'static Resource, Option<&'a str>, &'a [&'a str]);

fn split<'a>(group: &str, version: &str, rest: &'a [&'a str]) -> Result<Parts<'a>, Failure> {
    let find = |plural: &str| kinds::by_path(group, version, plural);
    if let ["namespaces", namespace, plural, rest @ ..] = rest
        && let Some(resource) = find(plural).filter(|resource| resource.namespaced)
    {
        return Ok((resource, Some(namespace), rest));
    }
    match rest {
        [plural, rest @ ..] => {
            find(plural).map(|resource| (resource, None, rest)).ok_or_else(Failure::no_such_path)
        }
        [] => Err(Failure::no_such_path()),
    }
}

fn page(query: &Query) -> Result<Page, Failure> {
    let limit = query.number("limit")?.filter(|limit| *limit > 0);
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let version = query.number("resourceVersion")?;
    let how = query.text("resourceVersionMatch");
    if !matches!(how, "" | "Exact" | "NotOlderThan") {
        return Err(Failure::bad_request(format!("resourceVersionMatch: {how:?} is unknown")));
    }
    match query.text("continue") {
        "" => Ok(Page {
            limit,
            revision: version.filter(|_| how == "Exact"),
            not_older_than: version.unwrap_or_default(),
            after: None,
        }),
        token => {
            let (revision, after) = read_continue(token)?;
            Ok(Page { limit, revision: Some(revision), not_older_than: 0, after: Some(after) })
        }
    }
}

fn watch_options(query: &Query) -> Result<WatchOptions, Failure> {
    let marks_initial_end = query.flag("sendInitialEvents")?;
    let bookmarks = query.flag("allowWatchBookmarks")?;
    if marks_initial_end && !(bookmarks && query.text("resourceVersionMatch") == "NotOlderThan") {
        let why = "sendInitialEvents: Forbidden: it needs allowWatchBookmarks and \
                   resourceVersionMatch=NotOlderThan";
        return Err(Failure::new(http::StatusCode::UNPROCESSABLE_ENTITY, "Invalid", why));
    }
    let version = query.number("resourceVersion")?.filter(|version| *version > 0);
    Ok(WatchOptions {
        from: version.filter(|_| !marks_initial_end),
        bookmarks,
        marks_initial_end,
        timeout: query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0),
    })
}

/// The continue token: the revision of the first page, and the last object of this one. Slashes
/// occur in neither names nor namespaces.
pub fn write_continue(revision: u64, after: &(String, String)) -> String {
    format!("v1/{revision}/{}/{}", after.0, after.1)
}

fn read_continue(token: &str) -> Result<(u64, (String, String)), Failure> {
    let parsed = match token.split('/').collect::<Vec<_>>().as_slice() {
        ["v1", revision, namespace, name] => revision
            .parse()
            .ok()
            .map(|revision| (revision, ((*namespace).to_owned(), (*name).to_owned()))),
        _ => None,
    };
    parsed.ok_or_else(|| Failure::bad_request("continue key is not valid"))
}

#[cfg(test)]
mod test {
    use super::*;

    fn call(method: Method, uri: &str) -> Result<Call, Failure> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        Call::parse(&method, path, query)
    }

    #[test]
    fn paths_mean_what_they_mean_to_kubernetes() {
        for (method, uri, verb, plural) in [
            (Method::GET, "/api/v1/nodes", Verb::List, "nodes"),
            (Method::GET, "/api/v1/nodes/a", Verb::Get, "nodes"),
            (Method::PATCH, "/api/v1/nodes/a/status?", Verb::Patch, "nodes"),
            (Method::GET, "/api/v1/namespaces/default", Verb::Get, "namespaces"),
            (Method::GET, "/api/v1/namespaces/default/pods?&watch=true", Verb::Watch, "pods"),
            (Method::GET, "/api/v1/pods", Verb::List, "pods"),
            (Method::POST, "/api/v1/namespaces/default/events", Verb::Create, "events"),
            (
                Method::DELETE,
                "/apis/storage.k8s.io/v1/volumeattachments/x",
                Verb::Delete,
                "volumeattachments",
            ),
        ] {
            let call = call(method, uri).unwrap();
            assert_eq!(call.verb(), verb, "{uri}");
            assert_eq!(call.resource().map(|r| r.plural), Some(plural), "{uri}");
        }
    }

    #[test]
    fn paths_and_methods_that_do_not_exist_are_refused() {
        for (method, uri, code) in [
            (Method::GET, "/apis/apps/v1/deployments", 404),
            (Method::GET, "/api/v1/pods/p", 404),
            (Method::PUT, "/api/v1/namespaces/d/configmaps/c/status", 404),
            (Method::GET, "/api/v1/nodes/a/status/b", 404),
            (Method::POST, "/api/v1/pods", 405),
            (Method::DELETE, "/api/v1/nodes", 405),
            (Method::DELETE, "/api/v1/nodes/a/status", 405),
            (Method::POST, "/version", 405),
            (Method::GET, "/api/v1/nodes?watch=true&sendInitialEvents=true", 422),
            (Method::GET, "/api/v1/nodes?continue=x", 400),
            (Method::GET, "/api/v1/nodes?resourceVersion=x", 400),
            (Method::PATCH, "/api/v1/nodes/a?dryRun=All", 400),
        ] {
            assert_eq!(call(method, uri).unwrap_err().code, code, "{uri}");
        }
    }

    #[test]
    fn a_continue_token_comes_back_as_it_went() {
        let after = ("default".to_owned(), "a.b-c".to_owned());
        assert_eq!(read_continue(&write_continue(7, &after)).unwrap(), (7, after));
    }

    #[test]
    fn zero_and_nothing_begin_a_watch_with_all_objects() {
        for uri in ["/api/v1/nodes?watch=1", "/api/v1/nodes?watch=1&resourceVersion=0"] {
            let Call::Watch(_, options) = call(Method::GET, uri).unwrap() else {
                panic!("{uri} is a watch");
            };
            assert_eq!(options.from, None);
        }
    }
}
