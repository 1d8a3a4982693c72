//! Files of ConfigMaps, Secrets and tokens as kubelet lays them out: each name a link into `..data`,
//! which is a link to a folder of its own for each version and is swapped in one rename.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, chown};

use crate::Trouble;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

/// All files, by path below the mount.
pub type Files = BTreeMap<String, File>;

/// A mounted volume of files.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    group: Option<u32>,
    version: u32,
    files: Files,
}

impl Layout {
    /// Lays the files out in a folder that it makes. They belong to root; with a group, that may
    /// read them, too (fsGroup).
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new(root: &Path, group: Option<u32>, files: Files) -> Result<Self, Trouble> {
        std::fs::create_dir_all(root)?;
        let mut layout = Self { root: root.to_owned(), group, version: 0, files: Files::new() };
        layout.swap(files)?;
        Ok(layout)
    }

    /// Brings other files in, in one rename. Does nothing when they are the same.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn swap(&mut self, files: Files) -> Result<bool, Trouble> {
        if self.version > 0 && files == self.files {
            return Ok(false);
        }
        let before = self.root.join(self.folder());
        self.version += 1;
        let folder = self.root.join(self.folder());
        std::fs::create_dir(&folder)?;
        for (name, file) in &files {
            self.write(&folder.join(name), file)?;
        }
        self.own(&folder, 0o755)?;
        let unfinished = self.root.join("..data_tmp");
        symlink(self.folder(), &unfinished)?;
        std::fs::rename(&unfinished, self.root.join("..data"))?;
        let tops = |files: &Files| -> std::collections::BTreeSet<String> {
            files.keys().filter_map(|name| name.split('/').next()).map(str::to_owned).collect()
        };
        let (old, new) = (tops(&self.files), tops(&files));
        for name in new.difference(&old) {
            symlink(Path::new("..data").join(name), self.root.join(name))?;
        }
        for name in old.difference(&new) {
            std::fs::remove_file(self.root.join(name))?;
        }
        if self.version > 1 {
            std::fs::remove_dir_all(before)?;
        }
        self.files = files;
        Ok(true)
    }

    fn folder(&self) -> String {
        format!("..version_{}", self.version)
    }

    fn write(&self, path: &Path, file: &File) -> Result<(), Trouble> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, &file.content)?;
        // What kubelet adds for a group: read (SetVolumeOwnership).
        let mode = if self.group.is_some() { file.mode | 0o440 } else { file.mode };
        self.own(path, mode)
    }

    fn own(&self, path: &Path, mode: u32) -> Result<(), Trouble> {
        if let Some(group) = self.group {
            chown(path, None, Some(Gid::from_raw(group)))?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn files(content: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { content: text.as_bytes().to_vec(), mode: 0o600 };
        content.iter().map(|(name, text)| ((*name).to_owned(), file(text))).collect()
    }

    #[test]
    fn a_swap_replaces_every_file_at_once_and_leaves_nothing_behind() {
        let scratch = std::env::temp_dir().join(format!("rds-csi-layout-{}", std::process::id()));
        let mut layout = Layout::new(&scratch, None, files(&[("a", "1"), ("b/c", "2")])).unwrap();
        assert_eq!(std::fs::read_link(scratch.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(std::fs::read_to_string(scratch.join("b/c")).unwrap(), "2");
        assert!(!layout.swap(files(&[("a", "1"), ("b/c", "2")])).unwrap(), "nothing changed");
        assert!(layout.swap(files(&[("a", "3")])).unwrap());
        assert_eq!(std::fs::read_to_string(scratch.join("a")).unwrap(), "3");
        let mut names: Vec<_> = std::fs::read_dir(&scratch)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["..data", "..version_2", "a"]);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
