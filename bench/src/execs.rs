//! How many execs an operation costs, counted by the box.

use std::collections::BTreeMap;

use rds_csi::operations::{CreateVolume, Publish};
use rds_csi::volume::capability::{AccessMode, Capability, Medium};
use rds_csi::volume::{BackendName, Slot, VolumeId, VolumePath};
use rds_sim::apiserver::world as objects;

use crate::clock::{Failure, until};
use crate::domain::{DRIVER, Domain, FOLDER, Pace, new_box, new_cluster, node};
use crate::figure::{Figure, Goal};

const TIMES: usize = 8;

/// Execs of each operation, one after the other on volumes of its own.
///
/// # Errors
/// When an operation fails.
pub async fn measure() -> Result<Vec<Figure>, Failure> {
    let api = new_cluster([node(0)?.to_string()])?;
    let domain = Domain::over(new_box()?, api, Pace::default()).await?;
    let mut counted = Counted { domain: &domain, sums: BTreeMap::new() };
    for number in 0..TIMES {
        counted.life(number).await?;
    }
    let fence = counted.fence().await?;
    // What the first driver, v0.11, was seen to send.
    let first = BTreeMap::from([("create", 3.0), ("delete", 4.0)]);
    let mut figures = Vec::new();
    for (what, execs) in counted.sums {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let mean = execs as f64 / TIMES as f64;
        let figure = Figure::new(format!("execs: {what}"), mean, "execs").goal(Goal::AtMost(1.0));
        figures.push(match first.get(what) {
            Some(theirs) => figure.against("first driver", *theirs),
            None => figure,
        });
    }
    figures.push(Figure::new("execs: pass that fences a volume", fence, "execs"));
    Ok(figures)
}

/// The volume of this number.
///
/// # Errors
/// Never: it is a name.
pub fn slot(number: usize) -> Result<Slot, Failure> {
    Ok(Slot::parse(&format!("pvc-6f7c1d2e-0000-4000-8000-{number:012}"))?)
}

/// A request for 1 GiB.
///
/// # Errors
/// Never: all are names.
pub fn wanted(number: usize) -> Result<CreateVolume, Failure> {
    Ok(CreateVolume {
        backend: BackendName::parse("main")?,
        slot: slot(number)?,
        volume_path: VolumePath::parse(FOLDER)?,
        required: 1 << 30,
        limit: None,
        capabilities: vec![ext4()],
        context: BTreeMap::from([("volumePath".into(), FOLDER.into())]),
    })
}

fn ext4() -> Capability {
    let medium = Medium::FileSystem { fs_type: "ext4".into(), mount_flags: Vec::new() };
    Capability { mode: AccessMode::SingleNodeWriter, medium }
}

struct Counted<'a> {
    domain: &'a Domain,
    sums: BTreeMap<&'static str, u64>,
}

impl Counted<'_> {
    fn add(&mut self, what: &'static str, before: u64) {
        *self.sums.entry(what).or_default() += self.domain.os.exec_count() - before;
    }

    fn execs(&self) -> u64 {
        self.domain.os.exec_count()
    }

    /// From create to delete.
    async fn life(&mut self, number: usize) -> Result<(), Failure> {
        let id = self.made(number).await?;
        let before = self.execs();
        let publish = self.publish(&id)?;
        self.domain.operations.publish(publish).await?;
        self.add("publish", before);
        let before = self.execs();
        self.domain.operations.unpublish(id.clone(), Some(node(0)?)).await?;
        self.add("unpublish", before);
        let before = self.execs();
        self.domain.operations.delete(id).await?;
        self.add("delete", before);
        Ok(())
    }

    /// A volume, and the PV that the external-provisioner makes of it.
    async fn made(&mut self, number: usize) -> Result<VolumeId, Failure> {
        let before = self.execs();
        let made = self.domain.operations.create(wanted(number)?).await?;
        self.add("create", before);
        let name = made.id.slot.to_string();
        let mut volume = objects::volume(&name, DRIVER).size(&made.bytes.to_string());
        for (key, value) in &made.context {
            volume = volume.attribute(key, value);
        }
        let volume = volume.bound_to("default", &name, None).build();
        self.domain.api.create(volume).map_err(|error| format!("{error:?}"))?;
        let cluster = &self.domain.operations.cluster;
        until("the PV is in the cache", || cluster.view().volumes.contains_key(&name)).await?;
        Ok(made.id)
    }

    fn publish(&self, id: &VolumeId) -> Result<Publish, Failure> {
        Ok(Publish { id: id.clone(), node: node(0)?, capability: ext4(), read_only: false })
    }

    /// A node is taken out of service: what one pass over its volume costs, the look included.
    async fn fence(&mut self) -> Result<f64, Failure> {
        let api = &self.domain.api;
        let node = node(0)?.to_string();
        let creates = self.sums.get("create").copied();
        let id = self.made(TIMES).await?;
        // That one more shall not count.
        creates.map(|sum| self.sums.insert("create", sum));
        let attached = objects::attached("csi-1", DRIVER, &node, id.slot.as_str(), &[]);
        api.create(attached).map_err(|error| format!("{error:?}"))?;
        self.domain.operations.publish(self.publish(&id)?).await?;
        let key = "node.kubernetes.io/out-of-service";
        api.modify("nodes", &node, |node| objects::set_taint(node, key, "NoExecute"))
            .map_err(|error| format!("{error:?}"))?;
        let cluster = &self.domain.operations.cluster;
        until("the taint is in the cache", || {
            let view = cluster.view();
            !view.attachments.is_empty() && view.nodes.values().any(|node| node.out_of_service)
        })
        .await?;
        let before = self.execs();
        let report = self.domain.reconciler.pass().await?;
        if report.done.get("fence") != Some(&1) {
            return Err(format!("nothing was fenced: {report:?}").into());
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        Ok((self.execs() - before) as f64)
    }
}
