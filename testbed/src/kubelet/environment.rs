//! The variables and arguments of a container, as kubelet works them out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use crate::Trouble;

/// Values of keys of ConfigMaps and Secrets, by `<name>/<key>`.
pub type Keys = BTreeMap<String, String>;

/// Names of the ConfigMaps and Secrets whose keys the variables of a pod name.
pub fn sources(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter());
    let from = containers.flat_map(|one| one.env.iter().flatten());
    let from = from.filter_map(|variable| variable.value_from.as_ref());
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for source in from {
        maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
    }
    (maps, secrets)
}

/// The variables of a container, in order; later ones may name earlier ones.
///
/// # Errors
/// When one comes from a place that is not there or that nobody plays.
pub fn variables(
    pod: &Pod,
    container: &Container,
    address: &str,
    keys: &Keys,
) -> Result<Vec<(String, String)>, Trouble> {
    let mut all: Vec<(String, String)> = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => expand(value, &all),
            (None, None) => String::new(),
            (None, Some(_)) => match from(pod, variable, address, keys)? {
                Some(value) => value,
                None => continue,
            },
        };
        all.push((variable.name.clone(), value));
    }
    Ok(all)
}

/// `None`: optional, and not there.
fn from(
    pod: &Pod,
    variable: &EnvVar,
    address: &str,
    keys: &Keys,
) -> Result<Option<String>, Trouble> {
    let source = variable.value_from.clone().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return Ok(Some(self::field(pod, &field.field_path, address)?));
    }
    let (key, optional) = if let Some(key) = source.config_map_key_ref {
        (format!("{}/{}", key.name, key.key), key.optional)
    } else if let Some(key) = source.secret_key_ref {
        (format!("{}/{}", key.name, key.key), key.optional)
    } else {
        return Err(format!("{}: nobody plays this source", variable.name).into());
    };
    match keys.get(&key) {
        Some(value) => Ok(Some(value.clone())),
        None if optional == Some(true) => Ok(None),
        None => Err(format!("{}: there is no {key}", variable.name).into()),
    }
}

/// A field of the pod, as the downward API names it.
///
/// # Errors
/// When nobody plays that field.
pub fn field(pod: &Pod, path: &str, address: &str) -> Result<String, Trouble> {
    let meta = &pod.metadata;
    let spec = pod.spec.clone().unwrap_or_default();
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => spec.node_name,
        "spec.serviceAccountName" => spec.service_account_name,
        "status.podIP" => Some(address.to_owned()),
        _ => return Err(format!("nobody plays the field {path}").into()),
    };
    Ok(value.unwrap_or_default())
}

/// The arguments of a container.
pub fn arguments(container: &Container, variables: &[(String, String)]) -> Vec<String> {
    container.args.iter().flatten().map(|argument| expand(argument, variables)).collect()
}

/// `$(NAME)` becomes the value of that variable, `$$(NAME)` becomes `$(NAME)`; what names no
/// variable stays.
fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name = tail.strip_prefix('(').and_then(|tail| tail.split_once(')'));
        let known = name.and_then(|(name, after)| {
            let of_it = |(key, _): &&(String, String)| key == name;
            variables.iter().rev().find(of_it).map(|(_, value)| (value, after))
        });
        match known {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = tail;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "BOTH", "value": "$(NAME)-$$(NAME)-$(OTHER)"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "NONE", "valueFrom":
                    {"configMapKeyRef": {"name": "m", "key": "k", "optional": true}}},
            ], "args": ["--leader=$(BOTH)"]}]},
        }))
        .unwrap()
    }

    #[test]
    fn variables_come_from_values_fields_and_keys_and_name_each_other() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let keys = Keys::from([("s/k".into(), "secret".into())]);
        let got = variables(&pod, container, "10.0.0.1", &keys).unwrap();
        let wanted = [("NAME", "p"), ("BOTH", "p-$(NAME)-$(OTHER)"), ("KEY", "secret")];
        let wanted = wanted.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(got, wanted);
        assert_eq!(arguments(container, &got), ["--leader=p-$(NAME)-$(OTHER)"]);
        assert_eq!(sources(&pod), (vec!["m".to_owned()], vec!["s".to_owned()]));
    }

    #[test]
    fn a_key_that_is_not_there_is_named() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let error = variables(&pod, container, "", &Keys::new()).unwrap_err().to_string();
        assert!(error.contains("KEY") && error.contains("s/k"), "{error}");
    }
}
