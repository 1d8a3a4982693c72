//! Small files that survive the loss of power: whole, or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Error, Kind};

/// Longest name; a file name of Linux has 255 bytes, and ours gets an ending while it is written.
const NAME_LENGTH_MAX: usize = 200;
/// Longest text that is read or written.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// How the file is called while it is written: a dot in front is in no name.
const WRITING: &str = ".writing-";

/// A directory of ours.
#[derive(Debug, Clone)]
pub struct Notes {
    folder: PathBuf,
}

impl Notes {
    /// In this directory, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of them by name. What was being written when the power went is no note. One that cannot be
    /// read, or is longer than any of ours, is no reason not to read the others.
    ///
    /// # Errors
    /// Of reading the directory.
    pub fn all(&self) -> Result<BTreeMap<String, Result<String, Error>>, Error> {
        let read = || -> io::Result<BTreeMap<String, Result<String, Error>>> {
            let mut notes = BTreeMap::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if let Ok(name) = entry.file_name().into_string()
                    && is_name(&name)
                    && entry.file_type()?.is_file()
                {
                    let text = match text(&entry.path()) {
                        // Removed meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        text => text.map_err(|e| self.failed(&format!("read the note {name}"), e)),
                    };
                    notes.insert(name, text);
                }
            }
            Ok(notes)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            read => read.map_err(|error| self.failed("read the notes", error)),
        }
    }

    /// Writes one, in the place of an older one.
    ///
    /// # Errors
    /// [`Kind::Refused`]: the name or the length. Else of writing; the older one is still there.
    pub fn write(&self, name: &str, body: &str) -> Result<(), Error> {
        check(name)?;
        if body.len() as u64 > TEXT_BYTES_MAX {
            let what = format!("the note {name} has {} bytes, too many", body.len());
            return Err(Error::new(Kind::Refused, what));
        }
        let write = || -> io::Result<()> {
            make_folder(&self.folder)?;
            let writing = self.folder.join(format!("{WRITING}{name}"));
            let mut options = File::options();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&writing)?;
            file.write_all(body.as_bytes())?;
            file.sync_all()?;
            fs::rename(&writing, self.folder.join(name))?;
            sync(&self.folder)
        };
        write().map_err(|error| self.failed(&format!("write the note {name}"), error))
    }

    /// Removes one, if it is there.
    ///
    /// # Errors
    /// [`Kind::Refused`]: the name. Else of removing.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        check(name)?;
        let remove = || match fs::remove_file(self.folder.join(name)) {
            Ok(()) => sync(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        remove().map_err(|error| self.failed(&format!("remove the note {name}"), error))
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        Error::io(format!("cannot {what} in {}", self.folder.display()), error)
    }
}

/// The directory, and its own entry in the one above it: else the first note is lost with it.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let mut above = folder.parent();
    while let Some(parent) = above.filter(|parent| !parent.as_os_str().is_empty()) {
        sync(parent)?;
        above = parent.parent();
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(io::Error::other(format!("{} is longer than any of ours", path.display())));
    }
    // What is no text is none that we wrote; whoever reads it says so by its name.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= NAME_LENGTH_MAX
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

fn check(name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let shown: String = name.escape_debug().take(80).collect();
    Err(Error::new(Kind::Refused, format!("\"{shown}\" is no name for a note")))
}

#[cfg(test)]
mod test {
    use super::*;

    fn notes() -> (tempfile::TempDir, Notes) {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(folder.path().join("plugins/driver/notes"));
        (folder, notes)
    }

    fn texts(notes: &Notes) -> Vec<(String, String)> {
        let all = notes.all().unwrap();
        all.into_iter().map(|(name, text)| (name, text.unwrap())).collect()
    }

    #[test]
    fn what_was_written_last_is_read_and_what_was_removed_is_not() {
        let (_folder, notes) = notes();
        assert!(notes.all().unwrap().is_empty());
        notes.write("pvc-1", "one").unwrap();
        notes.write("pvc-1", "two, longer\n").unwrap();
        notes.write("pvc-1", "3").unwrap();
        notes.write("pvc_2.x", "other").unwrap();
        let wanted = [("pvc-1".into(), "3".into()), ("pvc_2.x".into(), "other".into())];
        assert_eq!(texts(&notes), wanted);
        notes.remove("pvc-1").unwrap();
        notes.remove("pvc-1").unwrap();
        assert_eq!(notes.all().unwrap().len(), 1);
    }

    #[test]
    fn a_name_never_leads_out_of_the_directory() {
        let (folder, notes) = notes();
        for name in ["", ".", "..", "../x", "a/b", ".writing-x", "a\0b", "a b", "ä", "/etc/passwd"]
        {
            assert_eq!(notes.write(name, "x").unwrap_err().kind, Kind::Refused, "{name:?}");
            assert_eq!(notes.remove(name).unwrap_err().kind, Kind::Refused, "{name:?}");
        }
        assert_eq!(notes.write(&"a".repeat(201), "x").unwrap_err().kind, Kind::Refused);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_being_written_when_the_power_went_is_no_note() {
        let (_folder, notes) = notes();
        notes.write("pvc-1", "whole").unwrap();
        fs::write(notes.folder().join(".writing-pvc-1"), "hal").unwrap();
        fs::write(notes.folder().join(".writing-pvc-2"), "hal").unwrap();
        fs::create_dir(notes.folder().join("pvc-3")).unwrap();
        assert_eq!(texts(&notes), [("pvc-1".into(), "whole".into())]);
        notes.write("pvc-1", "again").unwrap();
        assert_eq!(texts(&notes), [("pvc-1".into(), "again".into())]);
    }

    #[test]
    fn a_note_has_a_bound_when_it_is_written_and_when_it_is_read() {
        let (_folder, notes) = notes();
        let most = usize::try_from(TEXT_BYTES_MAX).unwrap();
        notes.write("most", &"x".repeat(most)).unwrap();
        assert_eq!(texts(&notes)[0].1.len(), most);
        assert_eq!(notes.write("more", &"x".repeat(most + 1)).unwrap_err().kind, Kind::Refused);
        fs::write(notes.folder().join("foreign"), "x".repeat(most + 1)).unwrap();
        let all = notes.all().unwrap();
        assert!(all["foreign"].as_ref().unwrap_err().what.contains("the note foreign"));
        assert!(all["most"].is_ok(), "one that is too long keeps the others from being read");
    }
}
