//! Which program an image holds. Nothing is pulled: the programs are the parts and our own binary.

use std::path::PathBuf;

use crate::{Trouble, parts};

/// The program that a container of this image runs, named in the image as its entry point.
///
/// # Errors
/// When no part plays this image.
pub fn entry_point(image: &str) -> Result<PathBuf, Trouble> {
    match name(image) {
        "rds-csi" => parts::driver(),
        name => parts::program(name)
            .map_err(|trouble| format!("nothing plays the image {image}: {trouble}").into()),
    }
}

/// `registry.k8s.io/sig-storage/csi-attacher:v4.13.0` → `csi-attacher`.
pub fn name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

#[cfg(test)]
mod test {
    use super::name;

    #[test]
    fn the_name_of_an_image_is_its_last_part_without_tag_and_digest() {
        for (image, wanted) in [
            ("registry.k8s.io/sig-storage/csi-attacher:v4.13.0", "csi-attacher"),
            ("localhost:5000/rds-csi@sha256:00", "rds-csi"),
            ("rds-csi", "rds-csi"),
        ] {
            assert_eq!(name(image), wanted);
        }
    }
}
