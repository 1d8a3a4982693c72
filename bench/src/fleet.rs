//! Many attached volumes of which none is stale, as the box, as Kubernetes and as a pass see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rds_csi::attachment::export::Hosts;
use rds_csi::attachment::ledger::{
    COPY_ANNOTATION, ClusterTag, Copy, NodeTag, Nonce, Record, Sharing,
};
use rds_csi::cluster::{Attachment, CopyState, Identity, Node, Version, View, Volume};
use rds_csi::rds::Disk;
use rds_csi::volume::{Handle, ImagePath, NodeName, Nqn, Slot, VolumePath};
use rds_sim::apiserver::{ApiServer, world as objects};
use rds_sim::routeros::RouterOs;

use crate::clock::Failure;
use crate::domain::{DRIVER, FOLDER, NQN_BASE, node};
use crate::execs::slot;

const GIB: u64 = 1 << 30;

/// Attached volumes, spread over nodes.
pub struct Fleet {
    nodes: Vec<NodeName>,
    volumes: Vec<Member>,
}

struct Member {
    slot: Slot,
    image: ImagePath,
    node: NodeName,
    nqn: Nqn,
    host: Nqn,
    copy: Copy,
}

impl Fleet {
    /// So many volumes on so many nodes of this cluster.
    ///
    /// # Errors
    /// Never: all are names.
    pub fn new(identity: &Identity, volumes: usize, nodes: usize) -> Result<Self, Failure> {
        let nodes: Vec<NodeName> = (0..nodes).map(node).collect::<Result<_, _>>()?;
        let hosts = Hosts::new(identity.secret.clone());
        let created = Record::created(ClusterTag::of(&identity.cluster_id));
        let folder = VolumePath::parse(FOLDER)?;
        let member = |number: usize| -> Result<Member, Failure> {
            let slot = slot(number)?;
            let node = nodes[number % nodes.len()].clone();
            let tag = NodeTag::of(&identity.cluster_id, &node);
            let record = created.attach(tag, Sharing::Single, 0, Nonce::random());
            let copy = Copy {
                record: record.text(),
                nodes: vec![node.clone()],
                image: folder.image(&slot),
                bytes: GIB,
                file_system: "ext4".into(),
                uuid: String::new(),
                readers: Vec::new(),
                fenced_from: Vec::new(),
                further: rds_csi::attachment::ledger::Further::default(),
            };
            let (nqn, host) = (record.nqn(NQN_BASE, &slot)?, hosts.host(&node)?.nqn);
            Ok(Member { image: folder.image(&slot), slot, node, nqn, host, copy })
        };
        let volumes = (0..volumes).map(member).collect::<Result<_, _>>()?;
        Ok(Self { nodes, volumes })
    }

    /// Puts the disks on a box.
    ///
    /// # Errors
    /// What the box says.
    pub fn furnish(&self, os: &RouterOs) -> Result<(), Failure> {
        for Member { slot, image, nqn, host, copy, .. } in &self.volumes {
            let said = os.exec(&format!(
                "/disk/add type=file slot={slot} file-path={image} file-size={GIB} \
                 mount-filesystem=no comment=\"{}\" nvme-tcp-export=yes \
                 nvme-tcp-server-port=4420 nvme-tcp-server-nqn=\"{nqn}\" \
                 nvme-tcp-server-allow-host-name=\"{host}\"",
                copy.record
            ));
            if !said.text().trim().is_empty() {
                return Err(said.text().into());
            }
        }
        Ok(())
    }

    /// Makes nodes, PVs and VolumeAttachments.
    ///
    /// # Errors
    /// What the API server says.
    pub fn populate(&self, api: &ApiServer) -> Result<(), Failure> {
        let nodes = self.nodes.iter().map(|node| objects::node(node.as_str()).build());
        for object in nodes {
            api.create(object).map_err(|error| format!("{error:?}"))?;
        }
        for (number, member) in self.volumes.iter().enumerate() {
            let name = member.slot.as_str();
            let volume = objects::volume(name, DRIVER)
                .size(&GIB.to_string())
                .attribute("volumePath", FOLDER)
                .attribute("backend", "main")
                .annotation(COPY_ANNOTATION, &serde_json::to_string(&member.copy)?)
                .bound_to("default", name, None)
                .build();
            let attachment =
                objects::attached(&attachment(number), DRIVER, member.node.as_str(), name, &[]);
            for object in [volume, attachment] {
                api.create(object).map_err(|error| format!("{error:?}"))?;
            }
        }
        Ok(())
    }

    /// The disks, as they are read from the box.
    pub fn disks(&self) -> Vec<Arc<Disk>> {
        let disk = |member: &Member| Disk {
            slot: member.slot.to_string(),
            comment: member.copy.record.clone(),
            image: Some(member.image.clone()),
            bytes: Some(GIB),
            free: None,
            mount_point: None,
            exported: Some(true),
            nqn: member.nqn.to_string(),
            allow_host: member.host.to_string(),
            port: Some(4420),
            disabled: false,
            counters: None,
        };
        self.volumes.iter().map(disk).map(Arc::new).collect()
    }

    /// The cluster, as the watches show it.
    pub fn view(&self) -> View {
        let version = |number: usize| Version {
            uid: format!("5d1f8a52-0000-4000-8000-{number:012}"),
            resource_version: number.to_string(),
        };
        let nodes = self.nodes.iter().enumerate().map(|(number, name)| {
            let uid = version(number).uid;
            Node { name: name.clone(), uid, ready: true, out_of_service: false, address: None }
        });
        let attributes = BTreeMap::from([
            ("volumePath".to_owned(), FOLDER.to_owned()),
            ("backend".to_owned(), "main".to_owned()),
        ]);
        let volumes = self.volumes.iter().enumerate().map(|(number, member)| {
            let volume = Volume {
                name: member.slot.to_string(),
                version: version(number),
                handle: member.slot.to_string(),
                attributes: attributes.clone(),
                bytes: GIB,
                going: false,
                claim: None,
                copy: CopyState::Present(Box::new(member.copy.clone())),
                copied: Record::parse(&member.copy.record).ok().map(Arc::new),
                names: Handle::parse(member.slot.as_str()).ok(),
                nvme_port: None,
                usage: rds_csi::attachment::usage::Usage { reads_only: false, is_raw: false },
            };
            Arc::new(volume)
        });
        let attachments = self.volumes.iter().enumerate().map(|(number, member)| {
            let attachment = Attachment {
                name: attachment(number),
                version: version(number),
                volume: member.slot.to_string(),
                node: member.node.clone(),
                attached: true,
                deleting: false,
            };
            Arc::new(attachment)
        });
        View {
            nodes: Arc::new(nodes.collect()),
            volumes: Arc::new(volumes.collect()),
            attachments: Arc::new(attachments.collect()),
        }
    }
}

/// A name as the attach/detach controller makes it.
fn attachment(number: usize) -> String {
    format!("csi-{:064x}", (number as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}
