//! The kernel module that connections need.

use std::path::Path;
use std::time::Duration;

use super::command::Programs;
use super::{Error, Kind};

/// The command that does.
pub const LOAD: &str = "modprobe nvme-tcp";
/// What a person does about it.
pub const HOW: &str = "the kernel module nvme-tcp is not loaded: run `modprobe nvme-tcp` on the \
                       node, and name nvme-tcp in /etc/modules-load.d so that it comes back";

/// Makes sure of `/dev/nvme-fabrics`. A container may have neither the program nor the modules; the
/// error then says what to do on the node.
///
/// # Errors
/// [`Kind::Missing`].
pub async fn ensure(programs: &Programs, fabrics: &Path, deadline: Duration) -> Result<(), Error> {
    if fabrics.exists() {
        return Ok(());
    }
    let tried = programs.run(fabrics, "modprobe", &["nvme-tcp".into()], deadline).await;
    if fabrics.exists() {
        return Ok(());
    }
    let tried = tried.map_or_else(|error| error.what, |_| "modprobe ended well".into());
    Err(Error::new(Kind::Missing, format!("{} is absent ({tried}): {HOW}", fabrics.display())))
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::host::stuck::Stuck;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn the_module_is_loaded_where_that_works_and_else_a_person_is_told_how() {
        let folder = tempfile::tempdir().unwrap();
        let fabrics = folder.path().join("nvme-fabrics");
        let folders = vec![folder.path().to_owned(), "/usr/bin".into(), "/bin".into()];
        let programs = Programs::new(folders, Stuck::default());

        let missing = ensure(&programs, &fabrics, LONG).await.unwrap_err();
        assert_eq!(missing.kind, Kind::Missing);
        assert!(missing.what.contains("the program modprobe is not in"), "{missing}");
        assert!(missing.what.contains("run `modprobe nvme-tcp` on the node"), "{missing}");

        // Written by another process: a file that this one has just had open cannot be run, when a
        // thread forks meanwhile.
        let script = format!(
            "printf '#!/bin/sh\\n[ $1 = nvme-tcp ] && touch {1}\\n' >{0}; chmod +x {0}",
            folder.path().join("modprobe").display(),
            fabrics.display()
        );
        programs.run(folder.path(), "sh", &["-c".into(), script.into()], LONG).await.unwrap();
        ensure(&programs, &fabrics, LONG).await.unwrap();
    }
}
