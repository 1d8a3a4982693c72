//! The scratch disk: what can only be learned by writing. Only on demand, under a name that is
//! nobody else's, and removed again whatever happens.
//!
//! ```text
//! create ─▶ 200-byte comment, read back ─▶ exported under one NQN and host, then others
//!        ─▶ counters ─▶ removal of disk and image
//! ```
//!
//! All lines are the driver's own ([`crate::rds::script`]).

use rand::Rng as _;

use crate::attachment::static_form::Mode;
use crate::config::BackendConfig;
use crate::rds::script::quote;
use crate::rds::{Change, Command, Disk, Export, NewDisk, Reply};
use crate::volume::{ImagePath, Nqn, Slot, hex};

use super::console::Console;
use super::row::Row;

/// Small, and a whole number of everything.
pub const BYTES: u64 = 16 << 20;
/// What the ledger may need.
pub const COMMENT_BYTES: usize = 200;
const FIRST_COMMENT: &str = "rds-csi-doctor scratch disk, to be removed";
const LAST_COMMENT: &str = "rds-csi-doctor scratch disk, being removed";

/// What is on the box as long as it is there.
#[derive(Debug, Clone)]
pub struct Scratch {
    slot: Slot,
    /// What is random in the slot's name.
    number: String,
    image: ImagePath,
    /// As it was last read.
    comment: String,
}

impl Scratch {
    /// A name for one in the first directory; nothing is made yet.
    pub fn name(config: &BackendConfig) -> Option<Self> {
        let number = hex(&rand::rng().random::<[u8; 6]>());
        let slot = Slot::parse(&format!("rds-csi-doctor-{number}")).ok()?;
        let image = config.volume_paths.first()?.image(&slot);
        Some(Self { slot, number, image, comment: FIRST_COMMENT.to_owned() })
    }

    /// What is random in its name.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// The command that makes it.
    pub fn create(&self) -> Command {
        Command::Create(NewDisk {
            slot: self.slot.clone(),
            image: self.image.clone(),
            bytes: BYTES,
            comment: FIRST_COMMENT.to_owned(),
        })
    }

    /// Its slot.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Its comment in a generation of the drill.
    pub fn comment_of(&self, generation: u32) -> String {
        format!("{FIRST_COMMENT}, generation {generation}")
    }

    /// The command that changes it, if it still is as it was last read.
    pub fn change(&self, comment: &str, export: Option<Export>) -> Command {
        Command::Change(Change {
            slot: self.slot.clone(),
            expect: self.comment.clone(),
            comment: comment.to_owned(),
            export,
            grow_to: None,
        })
    }

    fn delete(&self) -> Command {
        Command::Delete {
            slot: self.slot.clone(),
            expect: self.comment.clone(),
            deleting: LAST_COMMENT.to_owned(),
            image: self.image.clone(),
        }
    }

    /// What a person types to remove it.
    fn by_hand(&self) -> String {
        format!(
            "/disk/remove [/disk/find where slot={}]; /file/remove [/file/find where name={}]",
            quote(self.slot.as_str()),
            quote(self.image.as_str())
        )
    }

    fn own<'a>(&self, reply: &'a Reply) -> Option<&'a Disk> {
        reply.disks.iter().find(|disk| disk.slot == self.slot.as_str())
    }

    /// Looks at it, and at everything that can be changed of it; it must have been created.
    pub async fn examine(
        &mut self,
        console: &mut Console,
        config: &BackendConfig,
        mode: Mode,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        let wanted = long_comment();
        let written = console.run(&self.change(&wanted, None)).await;
        let written = self.seen(written);
        rows.push(comment_length(written.as_ref()));
        rows.push(self.export(console, config, mode).await);
        let shown = console.run(&Command::Show(self.slot.clone())).await;
        rows.push(counters(self.seen(shown).as_ref().map(|(_, disk)| disk)));
        rows
    }

    /// The reply with our disk in it, whose comment is the one to expect from now on.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn seen(&mut self, reply: Result<Reply, String>) -> Result<(Reply, Disk), String> {
        let reply = reply?;
        let disk = self.own(&reply).cloned();
        let disk = disk.ok_or_else(|| said(&reply, "the scratch disk is gone"))?;
        self.comment.clone_from(&disk.comment);
        Ok((reply, disk))
    }

    async fn export(&mut self, console: &mut Console, config: &BackendConfig, mode: Mode) -> Row {
        for generation in 1..=2 {
            let name = |end: String| Nqn::parse(&format!("{}:{}{end}", config.nqn_base, self.slot));
            let names = (name(format!(".g{generation}")), name(format!("-host-{generation}")));
            let (Ok(nqn), Ok(host)) = names else {
                return Row::fault("export", "nqn_base is too long for an NQN")
                    .mend("nqn_base in the configuration");
            };
            let nqn = (mode == Mode::Usual).then_some(nqn);
            let wanted = Export { on: true, nqn, allow_host: Some(host), port: config.nvme_port };
            let comment = self.comment.clone();
            let changed = console.run(&self.change(&comment, Some(wanted.clone()))).await;
            let row = export(&wanted, self.seen(changed).as_ref());
            if row.state != super::row::State::Ok || generation == 2 {
                return row;
            }
        }
        Row::not_checked("export", "nothing was changed")
    }

    /// Removes disk and image, with a look first: a comment may not be what was written.
    pub async fn remove(&mut self, console: &mut Console) -> Row {
        let shown = console.run(&Command::Show(self.slot.clone())).await;
        if let Ok(reply) = &shown
            && let Some(disk) = self.own(reply)
        {
            self.comment.clone_from(&disk.comment);
        }
        let deleted = match shown {
            Ok(_) => console.run(&self.delete()).await,
            Err(why) => Err(why),
        };
        let image = Command::RemoveImage { slot: self.slot.clone(), image: self.image.clone() };
        let left = match deleted {
            Ok(reply) if reply.image == Some(true) => console.run(&image).await,
            other => other,
        };
        removal(left.as_ref(), &self.by_hand())
    }
}

/// 200 bytes of what a record of the ledger is made of, without being one.
fn long_comment() -> String {
    let start = format!("{FIRST_COMMENT} c=0123456789ab s=attached ");
    let rest = COMMENT_BYTES.saturating_sub(start.len());
    start + &"0123456789".chars().cycle().take(rest).collect::<String>()
}

fn said(reply: &Reply, what: &str) -> String {
    match &reply.complaint {
        Some(complaint) => format!("{what}; the box said: {complaint}"),
        None => what.to_owned(),
    }
}

/// Whether it could be made.
pub fn created(reply: Result<&Reply, &String>) -> Row {
    const CHECK: &str = "scratch disk";
    let mend = |row: Row| row.mend("mend the rows policies, pool and directory first");
    let reply = match reply {
        Ok(reply) => reply,
        Err(why) => return mend(Row::fault(CHECK, format!("it cannot be made: {why}"))),
    };
    match reply.disks.first() {
        None => mend(Row::fault(CHECK, said(reply, "it was not made"))),
        Some(disk) if disk.bytes != Some(BYTES) => {
            let bytes = disk.bytes.map_or("no size".to_owned(), |bytes| format!("{bytes} bytes"));
            let found = format!("it has {bytes} instead of {BYTES}");
            Row::fault(CHECK, said(reply, &found)).mend("/disk/print detail where type=file")
        }
        Some(_) if reply.image != Some(true) => {
            let found = "its image is not among the files under the name that was given";
            Row::fault(CHECK, found).mend("/file/print detail where name~\"rds-csi-doctor\"")
        }
        Some(_) => Row::ok(CHECK, format!("made with {BYTES} bytes, as the driver makes volumes")),
    }
}

/// Whether a comment of 200 bytes comes back.
fn comment_length(seen: Result<&(Reply, Disk), &String>) -> Row {
    const CHECK: &str = "comment length";
    let mend = |row: Row| {
        row.mend(
            "another RouterOS release: /system/package/update/check-for-updates; \
             /system/package/update/install (no setting makes comments longer)",
        )
    };
    match seen {
        Err(why) => mend(Row::fault(CHECK, format!("no comment could be written: {why}"))),
        Ok((_, disk)) if disk.comment == long_comment() => {
            Row::ok(CHECK, format!("a comment of {COMMENT_BYTES} bytes comes back whole"))
        }
        Ok((reply, disk)) if disk.comment == FIRST_COMMENT => {
            let what = format!("a comment of {COMMENT_BYTES} bytes is refused");
            mend(Row::fault(CHECK, said(reply, &what)))
        }
        Ok((_, disk)) => {
            let left = disk.comment.len();
            let found = format!("of a comment of {COMMENT_BYTES} bytes, {left} come back");
            mend(Row::fault(CHECK, found))
        }
    }
}

/// Whether an export is as it was wanted.
fn export(wanted: &Export, seen: Result<&(Reply, Disk), &String>) -> Row {
    const CHECK: &str = "export";
    let mend = |row: Row| {
        row.mend("/disk/print detail where nvme-tcp-export")
            .mend("nvme_port in the configuration, if the port is taken")
    };
    let (reply, disk) = match seen {
        Ok(seen) => seen,
        Err(why) => return mend(Row::fault(CHECK, format!("it cannot be exported: {why}"))),
    };
    let wrong = wrong(wanted, disk);
    if wrong.is_empty() {
        return Row::ok(CHECK, "NQN, allowed host and port are taken, and taken anew");
    }
    mend(Row::fault(CHECK, said(reply, &format!("not as it was set: {}", wrong.join(", ")))))
}

/// The properties of an export that are not as they were set.
pub fn wrong(wanted: &Export, disk: &Disk) -> Vec<&'static str> {
    let host = wanted.allow_host.as_ref().map_or("", |host| host.as_str());
    let properties = [
        ("export", disk.exported == Some(wanted.on)),
        ("NQN", wanted.nqn.as_ref().is_none_or(|nqn| disk.nqn == nqn.as_str())),
        ("allowed host", disk.allow_host == host),
        ("port", disk.port == Some(wanted.port)),
    ];
    properties.iter().filter(|(_, right)| !right).map(|(name, _)| *name).collect()
}

/// Whether a fence can be confirmed by counters.
fn counters(disk: Result<&Disk, &String>) -> Row {
    const CHECK: &str = "counters";
    match disk {
        Err(why) => Row::not_checked(CHECK, why.clone()),
        Ok(disk) if disk.counters.is_some() => Row::ok(
            CHECK,
            "the disk counts writes and what is in flight: fences are confirmed by it",
        ),
        Ok(_) => Row::warning(
            CHECK,
            "the disk shows no I/O counters: after a fence the driver waits instead",
        )
        .mend("drain_time in [reconcile] of the configuration is that wait"),
    }
}

/// Whether nothing is left.
fn removal(reply: Result<&Reply, &String>, by_hand: &str) -> Row {
    const CHECK: &str = "removal";
    match reply {
        Err(why) => Row::fault(CHECK, format!("the scratch disk may be left on the box: {why}"))
            .mend(by_hand),
        Ok(reply) if !reply.disks.is_empty() => {
            Row::fault(CHECK, said(reply, "the scratch disk is left on the box")).mend(by_hand)
        }
        Ok(reply) if reply.image == Some(true) => {
            Row::fault(CHECK, said(reply, "the image of the scratch disk is left")).mend(by_hand)
        }
        Ok(_) => Row::ok(CHECK, "disk and image are removed"),
    }
}

#[cfg(test)]
mod test;
