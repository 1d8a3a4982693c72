//! The parameters of a StorageClass: those of the first driver, and `backend`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::places::{Place, Places};
use super::{invalid, text};
use crate::operations::Error;
use crate::volume::endpoint::without_ssh_port;
use crate::volume::{BackendName, Refused, VolumePath};

/// Keys that Kubernetes' sidecars add. All of them are accepted.
const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";
/// The one of them that we read: the file system of the class.
const KUBERNETES_FS_TYPE: &str = "csi.storage.k8s.io/fstype";
/// The keys that we know.
const KEYS: [&str; 11] = [
    "backend",
    "rdsAddress",
    "nvmeAddress",
    "nvmePort",
    "fsType",
    "volumePath",
    "nqnPrefix",
    "ctrlLossTmo",
    "reconnectDelay",
    "keepAliveTmo",
    "migrationTimeoutSeconds",
];
/// Whole numbers, in seconds, with what they may be. They mean what they meant to the first driver:
/// of `ctrlLossTmo` -1 is "for ever", of `keepAliveTmo` 0 is the kernel's default.
const SECONDS: [(&str, RangeInclusive<i64>); 4] = [
    ("ctrlLossTmo", -1..=31_536_000),
    ("reconnectDelay", 1..=3_600),
    ("keepAliveTmo", 0..=3_600),
    ("migrationTimeoutSeconds", 30..=3_600),
];

/// What the parameters of a StorageClass say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// On which box.
    pub backend: BackendName,
    /// In which of its directories.
    pub volume_path: VolumePath,
    /// With which file system, where the class names one.
    pub fs_type: Option<String>,
    /// What the node will need, under the keys of the first driver. Its `nqn` is not among them:
    /// the NQN changes with every fence, so that it travels in the publish context.
    pub context: BTreeMap<String, String>,
}

impl Parameters {
    /// Reads them; without any, it is the default directory of the default box.
    pub fn parse(parameters: &HashMap<String, String>, places: &Places) -> Result<Self, Error> {
        let given = text::map("parameters", parameters)?;
        let known = |key: &str| key.starts_with(KUBERNETES_PREFIX) || KEYS.contains(&key);
        if let Some(key) = given.keys().find(|key| !known(key)) {
            let what =
                format!("is not known; known are {} and {KUBERNETES_PREFIX}…", KEYS.join(", "));
            return Err(invalid("parameters", Refused::value(key, what)));
        }
        let get = |key: &str| given.get(key).map(String::as_str);

        let (backend, place) = places.choose(get("backend"), get("rdsAddress"))?;
        let volume_path = directory(get("volumePath"), backend, place)?;
        check_nqn_base(get("nqnPrefix"), backend, place)?;
        let mut context = BTreeMap::from([
            ("backend".to_owned(), backend.to_string()),
            ("rdsAddress".to_owned(), without_ssh_port(&place.address)),
            ("nvmeAddress".to_owned(), nvme_address(get("nvmeAddress"), place)?),
            ("nvmePort".to_owned(), nvme_port(get("nvmePort"), place)?),
            ("volumePath".to_owned(), format!("/{volume_path}")),
        ]);
        for (key, range) in SECONDS {
            if let Some(value) = get(key) {
                let seconds = whole_number(key, value, range)?;
                context.insert(key.to_owned(), seconds.to_string());
            }
        }
        Ok(Self {
            backend: backend.clone(),
            volume_path,
            fs_type: fs_type(get(KUBERNETES_FS_TYPE), get("fsType"))?,
            context,
        })
    }
}

fn directory(
    value: Option<&str>,
    backend: &BackendName,
    place: &Place,
) -> Result<VolumePath, Error> {
    let field = "parameters[volumePath]";
    let Some(value) = value else {
        let first = place.volume_paths.first().cloned();
        return first.ok_or_else(|| invalid(field, format!("{backend} has no directory")));
    };
    let path = VolumePath::parse(value).map_err(|why| invalid(field, why))?;
    if place.volume_paths.contains(&path) {
        return Ok(path);
    }
    let known: Vec<_> = place.volume_paths.iter().map(VolumePath::as_str).collect();
    let what =
        format!("is not a directory of the backend {backend}; configured are {}", known.join(", "));
    Err(invalid(field, Refused::value(value, what)))
}

fn check_nqn_base(value: Option<&str>, backend: &BackendName, place: &Place) -> Result<(), Error> {
    match value {
        Some(value) if value.trim_end_matches(':') != place.nqn_base.trim_end_matches(':') => {
            let what = format!(
                "is not the NQN base of the backend {backend}, {}; leave the parameter out, or \
                 change the backend's configuration",
                place.nqn_base
            );
            Err(invalid("parameters[nqnPrefix]", Refused::value(value, what)))
        }
        _ => Ok(()),
    }
}

fn nvme_address(value: Option<&str>, place: &Place) -> Result<String, Error> {
    let Some(value) = value else {
        return Ok(place.nvme_address.clone());
    };
    if value.parse::<IpAddr>().is_ok() || is_host_name(value) {
        return Ok(value.to_owned());
    }
    let what = "is neither an IP address nor a host name; the port has a parameter of its own";
    Err(invalid("parameters[nvmeAddress]", Refused::value(value, what)))
}

/// A DNS name (RFC 1123), of which the last label is no number: `10.0.0.256` is a mistake.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label) && last.bytes().any(|b| b.is_ascii_alphabetic())
}

fn nvme_port(value: Option<&str>, place: &Place) -> Result<String, Error> {
    match value {
        None => Ok(place.nvme_port.to_string()),
        Some(value) => {
            whole_number("nvmePort", value, 1..=i64::from(u16::MAX)).map(|port| port.to_string())
        }
    }
}

fn whole_number(key: &str, value: &str, range: RangeInclusive<i64>) -> Result<i64, Error> {
    match value.parse::<i64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let what = format!("is no whole number from {} to {}", range.start(), range.end());
            Err(invalid(&format!("parameters[{key}]"), Refused::value(value, what)))
        }
    }
}

fn fs_type(kubernetes: Option<&str>, own: Option<&str>) -> Result<Option<String>, Error> {
    let given = |value: Option<&str>| value.filter(|v| !v.is_empty()).map(str::to_owned);
    match (given(kubernetes), given(own)) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let what = format!("contradicts {KUBERNETES_FS_TYPE}={theirs}; give one of them");
            Err(invalid("parameters[fsType]", Refused::value(&ours, what)))
        }
        (theirs, ours) => Ok(theirs.or(ours)),
    }
}
