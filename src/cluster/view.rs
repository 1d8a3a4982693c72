//! The cluster at one moment, and what is looked for in it.

use std::sync::Arc;

use super::indexed::Indexed;
use super::volumes::slot_of;
use super::{Attachment, Node, Volume};
use crate::volume::{BackendName, NodeName};

/// Everything of the cluster that a pass looks at, at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// All nodes.
    pub nodes: Arc<Indexed<Node>>,
    /// Our PVs by name.
    pub volumes: Arc<Indexed<Arc<Volume>>>,
    /// Our VolumeAttachments by name.
    pub attachments: Arc<Indexed<Arc<Attachment>>>,
}

impl View {
    /// The PV that has this handle. Where two have, the one that has its slot's name, else the
    /// first by name.
    pub fn with_handle(&self, handle: &str) -> Option<&Arc<Volume>> {
        with_handle(&self.volumes, handle)
    }

    /// The PV whose handle names this slot of this backend (`bare` is the one that handles do not
    /// name), and its [place](Indexed::candidates). Where two do, the same counts as for handles.
    pub fn claim(
        &self,
        slot: &str,
        backend: &BackendName,
        bare: &BackendName,
    ) -> Option<(usize, &Arc<Volume>)> {
        let names_it = |volume: &Volume| {
            let names = volume.names.as_ref();
            names.is_some_and(|names| names.is_on(backend, bare) && names.slot.as_str() == slot)
        };
        let claims = self.volumes.candidates(slot).filter(|(_, volume)| names_it(volume));
        claims.min_by(|(_, a), (_, b)| precedence(a, slot).cmp(&precedence(b, slot)))
    }

    /// The VolumeAttachment of this PV for this node; of two the first by name.
    pub fn attachment(&self, volume: &str, node: &NodeName) -> Option<&Arc<Attachment>> {
        let of_volume = self.attachments.sought(volume);
        let of_node = of_volume.filter(|attachment| attachment.node == *node);
        of_node.min_by(|a, b| a.name.cmp(&b.name))
    }

    /// All VolumeAttachments of this PV, by name.
    pub fn attachments_of(&self, volume: &str) -> Vec<&Arc<Attachment>> {
        let mut of_volume: Vec<_> = self.attachments.sought(volume).collect();
        of_volume.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        of_volume
    }
}

/// See [`View::with_handle`].
pub(super) fn with_handle<'a>(
    volumes: &'a Indexed<Arc<Volume>>,
    handle: &str,
) -> Option<&'a Arc<Volume>> {
    let slot = slot_of(handle);
    let with = volumes.sought(slot).filter(|volume| volume.handle == handle);
    with.min_by(|a, b| precedence(a, slot).cmp(&precedence(b, slot)))
}

/// The least of these counts.
fn precedence<'a>(volume: &'a Volume, slot: &str) -> (bool, &'a str) {
    (volume.name != slot, &volume.name)
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;
    use crate::attachment::usage::Usage;
    use crate::cluster::{CopyState, Version};
    use crate::volume::Handle;

    /// Names, some of which are part of others, and of which not all are slots.
    const NAMES: [&str; 5] = ["a", "b", "ab", "a.b", "b-a"];
    const HANDLES: [&str; 9] =
        ["a", "b", "ab", "main/a", "other/a", "other/ab", "other/A", "x/other/a", ""];

    fn volume(name: usize, handle: usize) -> Arc<Volume> {
        let handle = HANDLES[handle].to_owned();
        Arc::new(Volume {
            name: NAMES[name].to_owned(),
            version: Version::default(),
            names: Handle::parse(&handle).ok(),
            handle,
            attributes: [].into(),
            bytes: 1,
            going: false,
            claim: None,
            copy: CopyState::Absent,
            copied: None,
            nvme_port: None,
            usage: Usage { reads_only: false, is_raw: false },
        })
    }

    fn node(number: usize) -> NodeName {
        NodeName::parse(&format!("n{number}")).unwrap()
    }

    fn attachment((name, volume, on): (u8, usize, usize)) -> Arc<Attachment> {
        Arc::new(Attachment {
            name: format!("csi-{name}"),
            version: Version::default(),
            volume: NAMES[volume].to_owned(),
            node: node(on),
            attached: true,
            deleting: false,
        })
    }

    proptest! {
        #[test]
        fn a_volume_is_found_as_if_all_were_walked_through(
            volumes in proptest::collection::vec((0..5usize, 0..9usize), 0..12),
        ) {
            let volumes: Indexed<_> = volumes.into_iter().map(|(name, at)| volume(name, at)).collect();
            let view = View { volumes: Arc::new(volumes), ..View::default() };
            let [main, other] = ["main", "other"].map(|name| BackendName::parse(name).unwrap());
            // First come, first served; but the one of that name comes first.
            let first = |wanted: &dyn Fn(&Volume) -> bool, name: &str| {
                let wanted = view.volumes.values().filter(|volume| wanted(volume));
                let named = wanted.clone().find(|volume| volume.name == name);
                named.or(wanted.clone().next()).map(|volume| volume.name.clone())
            };
            for handle in HANDLES {
                let name = handle.rsplit('/').next().unwrap();
                let found = view.with_handle(handle).map(|volume| volume.name.clone());
                prop_assert_eq!(found, first(&|volume| volume.handle == handle, name));
            }
            for (slot, backend) in NAMES.iter().flat_map(|name| [(*name, &main), (*name, &other)]) {
                let wanted = |volume: &Volume| volume.names.as_ref().is_some_and(|names| {
                    names.slot.as_str() == slot && names.is_on(backend, &main)
                });
                let found = view.claim(slot, backend, &main).map(|(_, pv)| pv.name.clone());
                prop_assert_eq!(found, first(&wanted, slot));
            }
        }

        #[test]
        fn an_attachment_is_found_as_if_all_were_walked_through(
            attachments in proptest::collection::vec((0..20u8, 0..5usize, 0..3usize), 0..20),
        ) {
            let attachments: Indexed<_> = attachments.into_iter().map(attachment).collect();
            let view = View { attachments: Arc::new(attachments), ..View::default() };
            for name in NAMES {
                let scan = || view.attachments.values().filter(|va| va.volume == name);
                prop_assert_eq!(view.attachments_of(name), scan().collect::<Vec<_>>());
                for node in (0..3).map(node) {
                    let found = view.attachment(name, &node);
                    prop_assert_eq!(found, scan().find(|va| va.node == node));
                }
            }
        }
    }
}
