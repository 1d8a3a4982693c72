//! The configured boxes as far as requests speak of them, and volume ids.

use std::collections::BTreeMap;

use super::{invalid, text};
use crate::operations::{Backends, Error, Kind};
use crate::volume::endpoint::endpoint;
use crate::volume::{BackendName, NAME_LENGTH_MAX, Refused, VolumeId, VolumePath};

/// Longest volume id in bytes: a name, a slash and a backend.
const HANDLE_LENGTH_MAX: usize = NAME_LENGTH_MAX + 33;

/// What a request may say about one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host:port` of its SSH service.
    pub address: String,
    /// Where nodes reach its NVMe/TCP port.
    pub nvme_address: String,
    /// That port.
    pub nvme_port: u16,
    /// Directories for images; the first is the default.
    pub volume_paths: Vec<VolumePath>,
    /// What precedes `:<slot>` in every NQN.
    pub nqn_base: String,
}

/// All configured boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// By name.
    pub by_name: BTreeMap<BackendName, Place>,
    /// The backend whose volume ids have no prefix.
    pub bare_ids: BackendName,
    /// Where a volume is made whose StorageClass names no backend.
    pub default: BackendName,
}

impl From<&Backends> for Places {
    fn from(backends: &Backends) -> Self {
        let place = |backend: &crate::operations::Backend| Place {
            address: backend.address.clone(),
            nvme_address: backend.nvme_address.clone(),
            nvme_port: backend.nvme_port,
            volume_paths: backend.volume_paths.clone(),
            nqn_base: backend.nqn_base.clone(),
        };
        Self {
            by_name: backends
                .by_name
                .iter()
                .map(|(name, backend)| (name.clone(), place(backend)))
                .collect(),
            bare_ids: backends.bare_ids.clone(),
            default: backends.default.clone(),
        }
    }
}

/// What a volume id names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handle {
    /// A volume that may exist.
    Volume(VolumeId),
    /// Nothing that we could ever have made.
    Malformed(Refused),
    /// A volume on a box that is not configured (any more), or under a spelling that another
    /// configuration gave it.
    Elsewhere(String),
}

impl Handle {
    /// The volume, for calls that need one: anything else is NOT_FOUND.
    pub fn existing(self) -> Result<VolumeId, Error> {
        match self {
            Self::Volume(id) => Ok(id),
            Self::Malformed(why) => Err(Error::new(
                Kind::NotFound,
                format!("volume_id: {why}; there is no such volume"),
            )),
            Self::Elsewhere(why) => Err(Error::new(Kind::NotFound, why)),
        }
    }

    /// The volume, for calls that take something away: what we never made is gone already. A box
    /// that is missing from the configuration may be a mistake there, and OK would lose a volume.
    pub fn removable(self) -> Result<Option<VolumeId>, Error> {
        match self {
            Self::Volume(id) => Ok(Some(id)),
            Self::Malformed(_) => Ok(None),
            Self::Elsewhere(why) => Err(Error::new(Kind::Precondition, why)),
        }
    }
}

impl Places {
    /// Reads a volume id. Only empty, overlong and hostile ids are errors here.
    pub fn handle(&self, volume_id: &str) -> Result<Handle, Error> {
        text::required("volume_id", volume_id, HANDLE_LENGTH_MAX)?;
        let id = match VolumeId::parse(volume_id, &self.bare_ids) {
            Ok(id) => id,
            Err(why) => {
                let prefixed = volume_id.strip_prefix(&format!("{}/", self.bare_ids));
                let bare = prefixed.is_some_and(|slot| crate::volume::Slot::parse(slot).is_ok());
                return Ok(if bare {
                    Handle::Elsewhere(format!(
                        "volume_id: {why}; was bare_ids another backend when it was made?"
                    ))
                } else {
                    Handle::Malformed(why)
                });
            }
        };
        if self.by_name.contains_key(&id.backend) {
            return Ok(Handle::Volume(id));
        }
        let what = format!(
            "lies on the backend {}, which is not configured; configured are {}",
            id.backend,
            self.listed()
        );
        Ok(Handle::Elsewhere(format!("volume_id: {}", Refused::value(volume_id, what))))
    }

    /// The box for the parameters `backend` and `rdsAddress`; the default where neither is given.
    pub fn choose(
        &self,
        backend: Option<&str>,
        address: Option<&str>,
    ) -> Result<(&BackendName, &Place), Error> {
        let unknown = |field: &str, value: &str, what: &str| {
            let what = format!("{what}; configured are {}", self.listed());
            invalid(&format!("parameters[{field}]"), Refused::value(value, what))
        };
        let found = match (backend, address) {
            (Some(name), _) => self
                .by_name
                .iter()
                .find(|(known, _)| known.as_str() == name)
                .ok_or_else(|| unknown("backend", name, "is not configured"))?,
            (None, Some(address)) => self.at(address).ok_or_else(|| {
                unknown("rdsAddress", address, "is not the address of a configured backend")
            })?,
            (None, None) => self.by_name.get_key_value(&self.default).ok_or_else(|| {
                let what = format!("the default backend {} is not configured", self.default);
                Error::new(Kind::Refused, what)
            })?,
        };
        match address {
            Some(address) if endpoint(address) != endpoint(&found.1.address) => {
                let what = format!("is not the address of the backend {}", found.0);
                Err(unknown("rdsAddress", address, &what))
            }
            _ => Ok(found),
        }
    }

    fn at(&self, address: &str) -> Option<(&BackendName, &Place)> {
        let wanted = endpoint(address);
        self.by_name.iter().find(|(_, place)| endpoint(&place.address) == wanted)
    }

    /// The backends for a person: `main (10.0.0.1:22), spare (10.0.0.2:22)`.
    fn listed(&self) -> String {
        let each = |(name, place): (&BackendName, &Place)| format!("{name} ({})", place.address);
        self.by_name.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}
