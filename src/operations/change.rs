//! The steps of every change: the record on the box, then its copy on the PV.

use super::agents::FileSystem;
use super::fence::shut_out;
use super::ground::{Ground, shown};
use super::{Error, Kind, Operations};
use crate::attachment::export::Terms;
use crate::attachment::ledger::{Copy, FencedFrom, PREFIX, Record, State};
use crate::attachment::standing::Standing;
use crate::cluster::{ClusterError, CopyState};
use crate::rds::{self, Command, Disk, Failure, Reply};
use crate::volume::{ImagePath, NodeName};

/// How often a copy is written again after the PV changed under us for other reasons.
const COPY_TRIES: usize = 5;

/// What became of a compare-and-set.
pub(super) enum Changed {
    /// The disk is as it should be.
    Done(Disk),
    /// Its record is not the one that was judged, but this. Nothing was done.
    Differs(Option<Disk>),
}

/// A change of a disk.
pub(super) struct Wanted<'a> {
    /// The comment that was judged.
    pub from: &'a str,
    /// The record that it shall have.
    pub to: &'a Record,
    /// How it shall be exported; `None` leaves that as it is.
    pub terms: Option<&'a Terms>,
    /// A new size in bytes.
    pub grow_to: Option<u64>,
}

/// What a copy holds beside the record; `None` keeps what the copy says.
#[derive(Default)]
pub(super) struct Details {
    pub image: Option<ImagePath>,
    pub bytes: Option<u64>,
    pub file_system: Option<String>,
    pub uuid: Option<String>,
    pub fenced_from: Option<Vec<FencedFrom>>,
    /// A node that is let in: for reading only?
    pub let_in: Option<(NodeName, bool)>,
}

impl Details {
    /// What a row of the box tells.
    pub fn of(disk: &Disk) -> Self {
        Self { image: disk.image.clone(), bytes: disk.bytes, ..Self::default() }
    }

    /// And the file system that was told of.
    pub fn with(self, found: Option<FileSystem>) -> Self {
        let Some(found) = found else { return self };
        let kind = (!found.kind.is_empty()).then_some(found.kind);
        Self { file_system: kind.or(self.file_system), uuid: Some(found.uuid), ..self }
    }
}

impl Operations {
    /// Runs one command for this volume, unless a pass of ours runs it and another replica has
    /// become the one that reconciles.
    pub(super) async fn run(&self, ground: &Ground, command: Command) -> Result<Reply, Error> {
        if !ground.turn.may_act() {
            return Err(Failure::NotLeading { address: ground.backend.address.clone() }.into());
        }
        Ok(ground.backend.rds.execute(command, Some(ground.turn.clone())).await?)
    }

    /// The disk with all its properties.
    pub(super) async fn show(&self, ground: &Ground) -> Result<Option<Disk>, Error> {
        let reply = self.run(ground, Command::Show(ground.id.slot.clone())).await?;
        Ok(row(reply.disks, ground))
    }

    /// Changes record and export, if the comment still is what was judged.
    pub(super) async fn change(
        &self,
        ground: &Ground,
        wanted: Wanted<'_>,
    ) -> Result<Changed, Error> {
        let comment = wanted.to.text();
        let command = Command::Change(rds::Change {
            slot: ground.id.slot.clone(),
            expect: wanted.from.to_owned(),
            comment: comment.clone(),
            export: wanted.terms.map(|terms| rds::Export {
                on: terms.on,
                nqn: terms.names.then(|| terms.nqn.clone()),
                allow_host: terms.allow_host.clone(),
                port: terms.port,
            }),
            grow_to: wanted.grow_to,
        });
        let reply = self.run(ground, command).await?;
        let Some(disk) = row(reply.disks, ground) else {
            return Ok(Changed::Differs(None));
        };
        let grown = wanted.grow_to.is_none_or(|bytes| disk.bytes >= Some(bytes));
        if disk.comment == comment
            && grown
            && wanted.terms.is_none_or(|terms| terms.hold(shown(&disk)))
        {
            return Ok(Changed::Done(disk));
        }
        if let Some(length) = cut_off(&comment, &disk.comment) {
            let message = format!(
                "{} cut the record of volume {} off after {length} of {} bytes; it cannot hold one",
                ground.backend.address,
                ground.id,
                comment.len()
            );
            return Err(Error::new(Kind::Refused, message));
        }
        let was_judged = disk.comment == wanted.from && reply.complaint.is_some();
        if disk.comment != comment && !was_judged {
            return Ok(Changed::Differs(Some(disk)));
        }
        let is_closed = disk.exported == Some(false) && wanted.terms.is_some_and(|terms| terms.on);
        if is_closed && disk.comment == comment && reply.complaint.is_none() {
            return Err(self.closed_meanwhile(ground));
        }
        let message = format!(
            "{} did not change the disk of volume {} as asked: {}",
            ground.backend.address,
            ground.id,
            reply.complaint.as_deref().unwrap_or("it said nothing"),
        );
        Err(Error::new(Kind::Refused, message))
    }

    /// The box opened the export, said nothing, and shows it closed: another controller's line is
    /// between its first step, which closes, and its second. What comes of both is for a pass.
    fn closed_meanwhile(&self, ground: &Ground) -> Error {
        (self.ask_for_pass)();
        let message = format!(
            "the export of volume {} was closed as soon as it was opened: somebody else changes it",
            ground.id
        );
        Error::new(Kind::Contended, message)
    }

    /// Like [`Operations::change`] where no other answer than done will do.
    pub(super) async fn must_change(
        &self,
        ground: &Ground,
        wanted: Wanted<'_>,
    ) -> Result<Disk, Error> {
        match self.change(ground, wanted).await? {
            Changed::Done(disk) => Ok(disk),
            Changed::Differs(_) => Err(lost(ground)),
        }
    }

    /// The record of a disk that an operation may go on from: one that is current, or a write of
    /// ours that only lacks its copy. What contradicts its copy is for a pass to put right.
    pub(super) fn settled(&self, ground: &Ground, disk: &Disk) -> Result<Record, Error> {
        let record = ground.record(disk).inspect_err(|error| {
            if error.kind == Kind::Unavailable {
                (self.ask_for_pass)();
            }
        })?;
        self.check_current(ground, &record)?;
        Ok(record)
    }

    /// Record and copy contradict each other: nothing may be built on either. Asks for a pass.
    pub(super) fn contradiction(&self, ground: &Ground, standing: Standing) -> Error {
        (self.ask_for_pass)();
        let message = format!(
            "record and copy of volume {} contradict each other ({standing:?}); a pass puts that \
             right",
            ground.id
        );
        Error::new(Kind::Unavailable, message)
    }

    /// Writes the copy that a finished write of `record` lacks.
    pub(super) async fn follow(
        &self,
        ground: &mut Ground,
        record: &Record,
        disk: &Disk,
    ) -> Result<(), Error> {
        let view = self.cluster.view();
        let nodes = ground.names(&record.nodes, &view);
        if record.state == State::Attached && nodes.len() != record.nodes.len() {
            let message = format!("the nodes of volume {} are not known by name", ground.id);
            return Err(Error::new(Kind::Precondition, message));
        }
        let shut_out = (record.state == State::Fenced)
            .then(|| shut_out(ground, record, &nodes, &view, |node| self.boot_of(node)));
        let details = Details { fenced_from: shut_out, ..Details::of(disk) };
        self.write_copy(ground, record, nodes, details).await
    }

    /// Before an export is opened again under an NQN that was open before, the copy takes a revision
    /// more: another controller that has closed it for good meanwhile, and whose copy of that is
    /// still under way, then gets a conflict, or we get one. The record that is to be written now.
    pub(super) async fn announce(
        &self,
        ground: &mut Ground,
        record: &Record,
    ) -> Result<Record, Error> {
        if record.state != State::Attached {
            return Ok(record.clone());
        }
        let next = record.next();
        let nodes = ground.copy.as_ref().map(|copy| copy.nodes.clone()).unwrap_or_default();
        self.write_copy(ground, &next, nodes, Details::default()).await?;
        Ok(next)
    }

    /// Writes the copy of `record`, held by `nodes`, unless somebody else wrote one meanwhile. A
    /// volume without a PV has no copy.
    pub(super) async fn write_copy(
        &self,
        ground: &mut Ground,
        record: &Record,
        nodes: Vec<NodeName>,
        details: Details,
    ) -> Result<(), Error> {
        let Some(mut volume) = ground.volume.clone() else {
            return Ok(());
        };
        if ground.copied.as_ref().is_some_and(|copied| copied.revision > record.revision) {
            // A copy never goes back: by that a box that did is noticed.
            return Err(lost(ground));
        }
        let copy = next_copy(ground, record, nodes, details)?;
        for _ in 0..COPY_TRIES {
            match self.cluster.write_copy(&volume, &copy).await {
                Ok(written) => return ground.stand_on(Some(written)),
                Err(ClusterError::Conflict(_)) => {}
                Err(ClusterError::NotFound(_)) => return ground.stand_on(None),
                Err(error) => return Err(error.into()),
            }
            // Only the copy matters: labels, phases and finalizers change all the time.
            match self.cluster.read_volume(&volume.name).await? {
                None => return ground.stand_on(None),
                // Our own write, whose answer was lost.
                Some(now) if now.copy == CopyState::Present(Box::new(copy.clone())) => {
                    return ground.stand_on(Some(now));
                }
                Some(now) if now.copy == volume.copy => volume = now,
                Some(_) => return Err(lost(ground)),
            }
        }
        let message = format!("PersistentVolume {} changes all the time", volume.name);
        Err(Error::new(Kind::Contended, message))
    }
}

fn next_copy(
    ground: &Ground,
    record: &Record,
    nodes: Vec<NodeName>,
    details: Details,
) -> Result<Copy, Error> {
    let before = ground.copy.clone();
    let image = details.image.or_else(|| ground.image()).ok_or_else(|| {
        let message = format!("the image path of volume {} is not known", ground.id);
        Error::new(Kind::Precondition, message)
    })?;
    let known = ground.volume.as_ref().map(|volume| volume.bytes);
    let readers = readers(ground, record, &nodes, details.let_in);
    let further = before.as_ref().map(|copy| copy.further.clone()).unwrap_or_default();
    let (bytes, file_system, uuid, fenced_from) = match before {
        Some(copy) => (Some(copy.bytes), copy.file_system, copy.uuid, copy.fenced_from),
        None => (known, String::new(), String::new(), Vec::new()),
    };
    Ok(Copy {
        record: record.text(),
        nodes,
        image,
        bytes: details.bytes.or(bytes).unwrap_or(0),
        file_system: details.file_system.unwrap_or(file_system),
        uuid: details.uuid.unwrap_or(uuid),
        readers,
        fenced_from: details.fenced_from.unwrap_or(fenced_from),
        further,
    })
}

/// Who reads only, of `nodes`: those of whom it was written down in the same attachment, and who is
/// let in now.
fn readers(
    ground: &Ground,
    record: &Record,
    nodes: &[NodeName],
    let_in: Option<(NodeName, bool)>,
) -> Vec<NodeName> {
    let is_same = ground.copied.as_ref().is_some_and(|copied| copied.shares_nqn(record));
    let before = ground.copy.iter().filter(|_| is_same).flat_map(|copy| &copy.readers);
    let reads = |node: &&NodeName| match &let_in {
        Some((new, reads_only)) if new == *node => *reads_only,
        _ => before.clone().any(|reader| reader == *node),
    };
    nodes.iter().filter(reads).cloned().collect()
}

/// The row of this volume among those that were printed.
pub(super) fn row(disks: Vec<Disk>, ground: &Ground) -> Option<Disk> {
    disks.into_iter().find(|disk| disk.slot == ground.id.slot.as_str())
}

/// Where a box cut off what it was to keep, in bytes.
pub(super) fn cut_off(written: &str, shown: &str) -> Option<usize> {
    let is_cut = shown.starts_with(PREFIX) && written.starts_with(shown) && written != shown;
    is_cut.then_some(shown.len())
}

/// Somebody else changed the volume between our look and our act.
pub(super) fn lost(ground: &Ground) -> Error {
    let message = format!("volume {} was changed by somebody else meanwhile", ground.id);
    Error::new(Kind::Contended, message)
}
