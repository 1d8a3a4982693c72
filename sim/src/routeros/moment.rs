//! Moments of a line at which the power can go, by names that stay the same.
//!
//! They are not listed anywhere: a line has those that it comes to. Between any two commands of
//! menus there is one (what stands between them changes nothing on the box), one behind the last,
//! and inside a command there are as many as its change can be left half done in: an image that is
//! there in part, an image without its item, an item without its image.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::catalog::{Menu, Verb};
use super::store::{File, Store};

/// A moment of one line. Its name reads `cut-before-3:disk-set`, `inside-3:disk-add:image-made` or
/// `cut-at-end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the command of this number; the first one has number 1.
    Before(Step),
    /// When the command has done this much.
    Inside(Step, Half),
    /// When all commands have run, before the answer.
    End,
}

/// A command that a line comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub(super) number: u32,
    pub(super) menu: Menu,
    pub(super) verb: Verb,
}

/// How far a command came that changes images, items or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The image was made or grown in part; nothing was done to items.
    ImagePart,
    /// The image was made; nothing was done to items.
    ImageMade,
    /// The image has its new size; nothing was done to items.
    ImageSized,
    /// The image has lost its data and is still there.
    ImageEmptied,
    /// The image is gone; nothing was done to items.
    ImageRemoved,
    /// The items are changed; nothing was done to images.
    Items,
}

impl Moment {
    /// Does the line come to it by a command that changes something there?
    pub fn is_inside(self) -> bool {
        matches!(self, Moment::Inside(..))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Before(step) => write!(f, "cut-before-{step}"),
            Moment::Inside(step, half) => write!(f, "inside-{step}:{half}"),
            Moment::End => f.write_str("cut-at-end"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?}-{:?}", self.menu, self.verb).to_lowercase();
        write!(f, "{}:{name}", self.number)
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Half::ImagePart => "image-part",
            Half::ImageMade => "image-made",
            Half::ImageSized => "image-sized",
            Half::ImageEmptied => "image-emptied",
            Half::ImageRemoved => "image-removed",
            Half::Items => "items-only",
        })
    }
}

/// Everything that can be left of a change when the power goes within it. A change of items alone
/// is whole or not there: the configuration is one database.
pub(super) fn halves(before: &Store, after: &Store) -> Vec<(Half, Store)> {
    let of = |files: &Files, rest: &Store| {
        let mut left = rest.clone();
        left.files.clone_from(files);
        left
    };
    let mut halves = Vec::new();
    if before.files == after.files {
        return halves;
    }
    let done = match Change::of(&before.files, &after.files) {
        Change::Nothing => return halves,
        Change::Made => Half::ImageMade,
        Change::Sized => Half::ImageSized,
        Change::Removed => Half::ImageRemoved,
    };
    if done == Half::ImageRemoved {
        let mut emptied = before.clone();
        for (id, _) in gone(&before.files, &after.files) {
            let content = emptied.next_content();
            if let Some(file) = emptied.files.get_mut(&id) {
                let file = Arc::make_mut(file);
                (file.size, file.content) = (0, content);
            }
        }
        halves.push((Half::ImageEmptied, emptied));
    } else {
        let midway = |id: &u32, file: &Arc<File>| {
            let was = before.files.get(id).map_or(0, |file| file.size);
            let size = was.midpoint(file.size);
            (*id, Arc::new(File { size, ..File::clone(file) }))
        };
        let files = after.files.iter().map(|(id, file)| midway(id, file)).collect();
        halves.push((Half::ImagePart, of(&files, before)));
    }
    if before.disks != after.disks {
        halves.push((done, of(&after.files, before)));
        halves.push((Half::Items, of(&before.files, after)));
    }
    halves
}

type Files = BTreeMap<u32, Arc<File>>;

/// What a command did to images. Folders and empty files are there or not.
enum Change {
    Nothing,
    Made,
    Sized,
    Removed,
}

impl Change {
    fn of(before: &Files, after: &Files) -> Self {
        if gone(before, after).next().is_some() {
            return Change::Removed;
        }
        if gone(after, before).next().is_some() {
            return Change::Made;
        }
        let same = |(id, file): (&u32, &Arc<File>)| {
            before.get(id).is_none_or(|was| (was.size, was.content) == (file.size, file.content))
        };
        if after.iter().all(same) { Change::Nothing } else { Change::Sized }
    }
}

/// Files with data in them that are in `one` and not in `other`.
fn gone<'a>(one: &'a Files, other: &'a Files) -> impl Iterator<Item = (u32, &'a Arc<File>)> {
    let is_gone = |(id, file): &(&u32, &Arc<File>)| file.size > 0 && !other.contains_key(id);
    one.iter().filter(is_gone).map(|(id, file)| (*id, file))
}

#[cfg(test)]
mod test {
    use super::super::store::Disk;
    use super::*;

    fn store(file: Option<i64>, item: Option<&str>) -> Store {
        let mut store = Store::default();
        if let Some(size) = file {
            let (name, kind) = ("pool/a.img".to_owned(), ".img file".to_owned());
            store.files.insert(1, Arc::new(File { name, kind, size, modified: 0, content: 1 }));
        }
        if let Some(comment) = item {
            let mut disk = Disk::default();
            disk.properties.insert("comment", super::super::value::Value::text(comment));
            store.disks.insert(2, Arc::new(disk));
        }
        store
    }

    /// What is left: size of the image, comment of the item.
    fn left(before: &Store, after: &Store) -> Vec<(String, Option<i64>, Option<String>)> {
        let of = |(half, store): (Half, Store)| {
            let size = store.files.get(&1).map(|file| file.size);
            let comment = store.disks.get(&2).map(|disk| disk.text("comment"));
            (half.to_string(), size, comment)
        };
        halves(before, after).into_iter().map(of).collect()
    }

    fn row(
        half: &str,
        size: Option<i64>,
        item: Option<&str>,
    ) -> (String, Option<i64>, Option<String>) {
        (half.into(), size, item.map(Into::into))
    }

    #[test]
    fn a_change_is_left_half_done_in_every_way_that_it_can_be() {
        let nothing = store(None, None);
        let made = store(Some(10), Some("a"));
        assert_eq!(
            left(&nothing, &made),
            [
                row("image-part", Some(5), None),
                row("image-made", Some(10), None),
                row("items-only", None, Some("a")),
            ]
        );
        assert_eq!(
            left(&made, &store(Some(20), Some("b"))),
            [
                row("image-part", Some(15), Some("a")),
                row("image-sized", Some(20), Some("a")),
                row("items-only", Some(10), Some("b")),
            ]
        );
        assert_eq!(left(&store(Some(10), None), &nothing), [row("image-emptied", Some(0), None)]);
        assert_eq!(
            left(&made, &nothing),
            [
                row("image-emptied", Some(0), Some("a")),
                row("image-removed", None, Some("a")),
                row("items-only", Some(10), None),
            ]
        );
    }

    #[test]
    fn a_change_of_items_alone_is_whole_or_not_there() {
        assert_eq!(left(&store(Some(10), Some("a")), &store(Some(10), Some("b"))), []);
        assert_eq!(left(&store(None, None), &store(Some(0), None)), [], "an empty file");
    }
}
