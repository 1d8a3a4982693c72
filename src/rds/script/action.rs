//! What a command does to the box, said over values: quoted text where a command has a line to
//! itself, variables where several share one. So each is written once and cannot differ between
//! the two.

use super::quote;
use crate::rds::{Change, Command, NewDisk, Treatment, Unrecorded};
use crate::volume::{ImagePath, Nqn, Slot};

/// A kind of command that concerns one disk. Commands of one kind differ in their values alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// [`Command::Show`].
    Show,
    /// [`Command::Create`].
    Create,
    /// [`Command::Rebuild`].
    Rebuild,
    /// [`Command::Remake`].
    Remake,
    /// [`Command::Change`].
    Change {
        /// Says how the disk is exported.
        export: bool,
        /// And under which NQN.
        named: bool,
        /// Gives a size.
        grow: bool,
    },
    /// [`Command::Unexport`].
    Unexport,
    /// [`Command::Delete`].
    Delete,
    /// [`Command::RemoveImage`].
    RemoveImage,
    /// [`Command::Unrecorded`].
    Unrecorded {
        /// Names the comment that was seen.
        commented: bool,
        /// Names the host that was seen.
        allowed: bool,
        /// What is done.
        what: Plain,
    },
}

/// A kind of [`Treatment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// [`Treatment::Close`].
    Close,
    /// [`Treatment::Leave`].
    Leave,
    /// [`Treatment::Reopen`].
    Reopen,
    /// [`Treatment::Export`].
    Export {
        /// Says under which NQN.
        named: bool,
    },
    /// [`Treatment::Grow`].
    Grow,
    /// [`Treatment::Remove`].
    Remove,
}

impl Plain {
    fn of(what: &Treatment) -> Self {
        match what {
            Treatment::Close => Self::Close,
            Treatment::Leave(_) => Self::Leave,
            Treatment::Reopen => Self::Reopen,
            Treatment::Export(export) => Self::Export { named: export.nqn.is_some() },
            Treatment::Grow(_) => Self::Grow,
            Treatment::Remove => Self::Remove,
        }
    }
}

/// A value of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The disk.
    Slot,
    /// Its image, as `/file` has it.
    Image,
    /// Its image with a leading slash, as `/disk` may print it.
    Rooted,
    /// The size.
    Bytes,
    /// The comment that is written.
    Comment,
    /// The comment that was judged.
    Expect,
    /// NQN of the export.
    Nqn,
    /// Port of the export.
    Port,
    /// The host that may connect.
    Host,
    /// The host that was seen.
    Allowed,
    /// Is it exported?
    Export,
}

/// How a value is said.
pub type Say<'a> = &'a dyn Fn(Field) -> String;

impl Action {
    /// The kind of `command`; none for one that asks about the box as a whole.
    pub fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::Poll | Command::Table | Command::Pool(_) | Command::Image(_) => return None,
            Command::Show(_) => Self::Show,
            Command::Create(_) => Self::Create,
            Command::Rebuild(_) => Self::Rebuild,
            Command::Remake(_) => Self::Remake,
            Command::Change(change) => Self::Change {
                export: change.export.is_some(),
                named: change.export.as_ref().is_some_and(|export| export.nqn.is_some()),
                grow: change.grow_to.is_some(),
            },
            Command::Unexport { .. } => Self::Unexport,
            Command::Delete { .. } => Self::Delete,
            Command::RemoveImage { .. } => Self::RemoveImage,
            Command::Unrecorded(disk) => Self::Unrecorded {
                commented: !disk.comment.is_empty(),
                allowed: !disk.allow_host.is_empty(),
                what: Plain::of(&disk.what),
            },
        })
    }

    /// Is it about an image, too?
    pub fn names_image(self) -> bool {
        match self {
            Self::Create | Self::Rebuild | Self::Remake | Self::Delete | Self::RemoveImage => true,
            Self::Unrecorded { .. } => true,
            Self::Show | Self::Change { .. } | Self::Unexport => false,
        }
    }

    /// What it does to the box; nothing where it only looks.
    pub fn act(self, say: Say<'_>) -> String {
        match self {
            Self::Show => String::new(),
            Self::Create => create(say),
            Self::Rebuild => rebuild(say),
            Self::Remake => remake(say),
            Self::Change { export, named, grow } => change(say, export, named, grow),
            Self::Unexport => if_judged(say, "/disk/set $csiItem nvme-tcp-export=no"),
            Self::Delete => {
                let set = "/disk/set $csiItem nvme-tcp-export=no; /disk/set $csiItem comment=";
                let (comment, image) = (say(Field::Comment), remove_image(say));
                let what = format!("{set}{comment}; /disk/remove $csiItem; {image}");
                if_found(say, &format!(" and ({})", refers(say)), &what)
            }
            Self::RemoveImage => remove_image(say),
            Self::Unrecorded { commented, allowed, what } => {
                let mut conditions = format!("slot={} and ({})", say(Field::Slot), refers(say));
                if commented {
                    conditions.push_str(&format!(" and comment={}", say(Field::Expect)));
                }
                if allowed {
                    let host = say(Field::Allowed);
                    conditions.push_str(&format!(" and nvme-tcp-server-allow-host-name={host}"));
                }
                if_item(&conditions, &plain(say, what))
            }
        }
    }
}

/// The disk that `command` is about.
pub fn slot(command: &Command) -> Option<&Slot> {
    match command {
        Command::Poll | Command::Table | Command::Pool(_) | Command::Image(_) => None,
        Command::Show(slot)
        | Command::Change(Change { slot, .. })
        | Command::Unexport { slot, .. }
        | Command::Create(NewDisk { slot, .. })
        | Command::Rebuild(NewDisk { slot, .. })
        | Command::Remake(NewDisk { slot, .. })
        | Command::Delete { slot, .. }
        | Command::RemoveImage { slot, .. }
        | Command::Unrecorded(Unrecorded { slot, .. }) => Some(slot),
    }
}

/// The image that `command` names.
pub fn image(command: &Command) -> Option<&ImagePath> {
    match command {
        Command::Create(NewDisk { image, .. })
        | Command::Rebuild(NewDisk { image, .. })
        | Command::Remake(NewDisk { image, .. })
        | Command::Delete { image, .. }
        | Command::RemoveImage { image, .. }
        | Command::Unrecorded(Unrecorded { image, .. }) => Some(image),
        _ => None,
    }
}

/// A value of `command` as RouterOS reads it; none where it has no such value.
pub fn literal(command: &Command, field: Field) -> Option<String> {
    let export = match command {
        Command::Change(change) => change.export.as_ref(),
        Command::Unrecorded(Unrecorded { what: Treatment::Export(export), .. }) => Some(export),
        _ => None,
    };
    match field {
        Field::Slot => slot(command).map(|slot| quote(slot.as_str())),
        Field::Image => image(command).map(|image| quote(image.as_str())),
        Field::Rooted => image(command).map(|image| quote(&format!("/{image}"))),
        Field::Bytes => bytes(command).map(|bytes| bytes.to_string()),
        Field::Comment => comment(command).map(quote),
        Field::Expect => expect(command).map(quote),
        Field::Nqn => export.and_then(|export| Some(quote(export.nqn.as_ref()?.as_str()))),
        Field::Port => export.map(|export| export.port.to_string()),
        Field::Host => match command {
            Command::Unrecorded(Unrecorded { what: Treatment::Leave(host), .. }) => {
                Some(quote(host.as_str()))
            }
            _ => export.map(|export| quote(export.allow_host.as_ref().map_or("", Nqn::as_str))),
        },
        Field::Allowed => match command {
            Command::Unrecorded(disk) => Some(quote(&disk.allow_host)),
            _ => None,
        },
        Field::Export => export.map(|export| if export.on { "yes" } else { "no" }.to_owned()),
    }
}

/// The size that `command` gives.
pub fn bytes(command: &Command) -> Option<u64> {
    match command {
        Command::Create(disk) | Command::Remake(disk) => Some(disk.bytes),
        Command::Change(change) => change.grow_to,
        Command::Unrecorded(Unrecorded { what: Treatment::Grow(bytes), .. }) => Some(*bytes),
        _ => None,
    }
}

fn comment(command: &Command) -> Option<&str> {
    match command {
        Command::Create(disk) | Command::Rebuild(disk) | Command::Remake(disk) => {
            Some(&disk.comment)
        }
        Command::Change(change) => Some(&change.comment),
        Command::Delete { deleting, .. } => Some(deleting),
        _ => None,
    }
}

fn expect(command: &Command) -> Option<&str> {
    match command {
        Command::Change(Change { expect, .. })
        | Command::Unexport { expect, .. }
        | Command::Delete { expect, .. }
        | Command::Unrecorded(Unrecorded { comment: expect, .. }) => Some(expect),
        _ => None,
    }
}

fn create(say: Say<'_>) -> String {
    format!(
        ":if ([:len [/disk/find where slot={slot}]]=0) do={{ \
         :if ([:len [/file/find where name={image}]]>0) do={{ :error \"image exists\" }}; \
         /disk/add type=file slot={slot} file-path={image} file-size={bytes} mount-filesystem=no \
         nvme-tcp-export=no comment={comment} }}",
        slot = say(Field::Slot),
        image = say(Field::Image),
        bytes = say(Field::Bytes),
        comment = say(Field::Comment),
    )
}

fn rebuild(say: Say<'_>) -> String {
    format!(
        ":if ([:len [/disk/find where slot={slot}]]=0) do={{ \
         :if ([:len [/file/find where name={image}]]=0) do={{ :error \"no image\" }}; \
         :if ([:len [/disk/find where {refers}]]>0) do={{ \
         :error \"another disk has the image\" }}; \
         /disk/add type=file slot={slot} file-path={image} mount-filesystem=no \
         nvme-tcp-export=no comment={comment} }}",
        slot = say(Field::Slot),
        image = say(Field::Image),
        refers = refers(say),
        comment = say(Field::Comment),
    )
}

/// What has no image has no data. Cut off in between, it is what a create begins with.
fn remake(say: Say<'_>) -> String {
    format!(
        ":if ([:len [/file/find where name={image}]]=0) do={{ \
         /disk/remove [/disk/find where slot={slot} and comment={comment} and ({refers})] }}; {create}",
        image = say(Field::Image),
        slot = say(Field::Slot),
        comment = say(Field::Comment),
        refers = refers(say),
        create = create(say),
    )
}

/// `export=no` comes first and alone: it is the step that shuts hosts out. All that belongs
/// together then changes in one `set`, so that no power cut leaves half of it.
fn change(say: Say<'_>, export: bool, named: bool, grow: bool) -> String {
    let mut set = String::new();
    if export {
        set.push_str("/disk/set $csiItem nvme-tcp-export=no; ");
    }
    set.push_str(&format!("/disk/set $csiItem comment={}", say(Field::Comment)));
    if export {
        set.push_str(&exported(say, named));
    }
    if grow {
        set.push_str(&format!(" file-size={}", say(Field::Bytes)));
    }
    if_judged(say, &set)
}

/// The properties of an export, with a blank before them. RouterOS before 7.21 has no NQN among them
/// and would not even read the line.
fn exported(say: Say<'_>, named: bool) -> String {
    let nqn =
        if named { format!(" nvme-tcp-server-nqn={}", say(Field::Nqn)) } else { String::new() };
    format!(
        "{nqn} nvme-tcp-server-port={} nvme-tcp-server-allow-host-name={} nvme-tcp-export={}",
        say(Field::Port),
        say(Field::Host),
        say(Field::Export),
    )
}

/// Does `what` with the item if its comment still is what was judged.
fn if_judged(say: Say<'_>, what: &str) -> String {
    if_found(say, "", what)
}

/// The same with one condition more.
fn if_found(say: Say<'_>, more: &str, what: &str) -> String {
    let (slot, expect) = (say(Field::Slot), say(Field::Expect));
    if_item(&format!("slot={slot} and comment={expect}{more}"), what)
}

/// Does `what` with the one item that fulfils the conditions.
fn if_item(conditions: &str, what: &str) -> String {
    format!(
        ":local csiItem [/disk/find where {conditions}]; :if ([:len $csiItem]=1) do={{ {what} }}"
    )
}

/// What is done to a disk without a record. Here, too, `export=no` comes first and alone.
fn plain(say: Say<'_>, what: Plain) -> String {
    const CLOSE: &str = "/disk/set $csiItem nvme-tcp-export=no";
    match what {
        Plain::Close => CLOSE.to_owned(),
        Plain::Leave => {
            let host = say(Field::Host);
            format!("{CLOSE}; /disk/set $csiItem nvme-tcp-server-allow-host-name={host}")
        }
        Plain::Reopen => "/disk/set $csiItem nvme-tcp-export=yes".to_owned(),
        Plain::Export { named } => format!("{CLOSE}; /disk/set $csiItem{}", exported(say, named)),
        Plain::Grow => format!("/disk/set $csiItem file-size={}", say(Field::Bytes)),
        Plain::Remove => format!("{CLOSE}; /disk/remove $csiItem; {}", remove_image(say)),
    }
}

/// Removes an image unless a disk refers to it.
fn remove_image(say: Say<'_>) -> String {
    format!(
        ":if ([:len [/disk/find where {}]]=0) do={{ /file/remove [/file/find where name={}] }}",
        refers(say),
        say(Field::Image),
    )
}

/// Does a disk refer to the image? `/disk` prints paths with a leading slash, `/file` without
/// (observed on the RDS), so both spellings are looked for.
fn refers(say: Say<'_>) -> String {
    format!("file-path={} or file-path={}", say(Field::Image), say(Field::Rooted))
}
