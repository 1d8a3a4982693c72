//! What an interrupted CreateVolume left behind: is it ours to go on with?
//!
//! `/disk/add` makes an image and a disk, and the power can go in between. Nothing on the box tells
//! an image that was made a moment ago from one with the data of a volume that the box has forgotten.
//! What tells them apart is the name, and Kubernetes: a name that ends in the UID of a claim is asked
//! for by that claim alone, and never again once its PersistentVolume was made. So an image of such a
//! name, without a PersistentVolume, was never handed out, and nobody can have written to it.

use super::ledger::{ClusterTag, Record};

/// An image that is there although its slot has no disk.
#[derive(Debug, Clone)]
pub struct LeftImage<'a> {
    /// The slot that it is called after.
    pub slot: &'a str,
    /// Its size in bytes, where the box tells it.
    pub bytes: Option<u64>,
    /// The size that is asked for, in bytes.
    pub required: u64,
    /// A disk that refers to it.
    pub other_disk: Option<&'a str>,
    /// Does a PersistentVolume name the volume or its image, or a VolumeAttachment such a one?
    pub is_claimed: bool,
    /// Is it on the list of volumes that are being deleted?
    pub is_going: bool,
}

/// Why an image is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The volume exists; the box has lost its disk, which is for a pass to make again.
    Claimed,
    /// Somebody deletes it.
    Going,
    /// It is another disk's.
    InUse,
    /// Others may have asked for the name before.
    NameNotUnique,
    /// It is larger than what is asked for, or nobody knows: this request did not make it.
    OtherSize,
}

/// May a new volume take this image? First match wins.
pub fn take_image(image: &LeftImage<'_>) -> Result<(), Keep> {
    if image.is_claimed {
        return Err(Keep::Claimed);
    }
    if image.is_going {
        return Err(Keep::Going);
    }
    if image.other_disk.is_some() {
        return Err(Keep::InUse);
    }
    if !is_of_one_claim(image.slot) {
        return Err(Keep::NameNotUnique);
    }
    // One that is smaller was not made to its end.
    match image.bytes {
        Some(bytes) if bytes <= image.required => Ok(()),
        _ => Err(Keep::OtherSize),
    }
}

/// May a disk whose image is gone be made anew, image and all? Only one that was never attached, of
/// a volume that nobody was told of.
pub fn make_anew(record: &Record, cluster: ClusterTag, is_claimed: bool) -> bool {
    let first = [Record::created(cluster), Record::begun(cluster)];
    !is_claimed && first.contains(record)
}

/// Does the name end in the UID of a claim, as the external-provisioner makes names
/// (`pvc-<random UUID>`)?
pub fn is_of_one_claim(slot: &str) -> bool {
    const UUID: usize = 36;
    let Some((prefix, uid)) = slot.len().checked_sub(UUID).and_then(|at| slot.split_at_checked(at))
    else {
        return false;
    };
    let fits = |(at, c): (usize, char)| match at {
        8 | 13 | 18 | 23 => c == '-',
        // Version 4: random. Others repeat where clocks or names do.
        14 => c == '4',
        19 => matches!(c, '8' | '9' | 'a' | 'b'),
        _ => c.is_ascii_digit() || matches!(c, 'a'..='f'),
    };
    prefix.ends_with('-') && uid.char_indices().all(fits)
}

#[cfg(test)]
mod test {
    use super::*;

    const SLOT: &str = "pvc-6b1f0f5e-77a2-4c11-9d0e-3a52c9e1b704";

    fn left() -> LeftImage<'static> {
        LeftImage {
            slot: SLOT,
            bytes: Some(1 << 30),
            required: 1 << 30,
            other_disk: None,
            is_claimed: false,
            is_going: false,
        }
    }

    #[test]
    fn only_an_image_that_nobody_can_have_written_to_is_taken() {
        let table = [
            (left(), Ok(())),
            (LeftImage { bytes: Some(1 << 20), ..left() }, Ok(())),
            (LeftImage { bytes: Some(0), ..left() }, Ok(())),
            (LeftImage { is_claimed: true, ..left() }, Err(Keep::Claimed)),
            (LeftImage { is_going: true, ..left() }, Err(Keep::Going)),
            (LeftImage { other_disk: Some("a"), ..left() }, Err(Keep::InUse)),
            (LeftImage { slot: "data", ..left() }, Err(Keep::NameNotUnique)),
            (LeftImage { bytes: Some((1 << 30) + 1), ..left() }, Err(Keep::OtherSize)),
            (LeftImage { bytes: None, ..left() }, Err(Keep::OtherSize)),
            (LeftImage { is_claimed: true, is_going: true, ..left() }, Err(Keep::Claimed)),
            (LeftImage { slot: "data", bytes: None, ..left() }, Err(Keep::NameNotUnique)),
        ];
        for (image, answer) in table {
            assert_eq!(take_image(&image), answer, "{image:?}");
        }
    }

    #[test]
    fn a_name_is_of_one_claim_when_it_ends_in_a_random_uuid() {
        let table = [
            (SLOT, true),
            ("rds-6b1f0f5e-77a2-4c11-9d0e-3a52c9e1b704", true),
            ("6b1f0f5e-77a2-4c11-9d0e-3a52c9e1b704", false),
            ("pvc6b1f0f5e-77a2-4c11-9d0e-3a52c9e1b704", false),
            ("pvc-6b1f0f5e-77a2-1c11-9d0e-3a52c9e1b704", false),
            ("pvc-6b1f0f5e-77a2-4c11-7d0e-3a52c9e1b704", false),
            ("pvc-6b1f0f5e77a24c119d0e3a52c9e1b704-----", false),
            ("pvc-6b1f0f5e-77a2-4c11-9d0e-3a52c9e1b70g", false),
            ("pvc-6b1f0f5e", false),
            ("pvc-äb1f0f5e-77a2-4c11-9d0e-3a52c9e1b704", false),
            ("", false),
        ];
        for (slot, is_it) in table {
            assert_eq!(is_of_one_claim(slot), is_it, "{slot}");
        }
    }

    #[test]
    fn only_a_disk_that_was_never_attached_and_never_handed_out_is_made_anew() {
        let cluster = ClusterTag::of("c");
        let created = Record::created(cluster);
        let table = [
            (created.clone(), false, true),
            (Record::begun(cluster), false, true),
            (created.clone(), true, false),
            (created.next(), false, false),
            (created.delete(), false, false),
            (Record::created(ClusterTag::of("other")), false, false),
        ];
        for (record, is_claimed, anew) in table {
            assert_eq!(make_anew(&record, cluster, is_claimed), anew, "{record:?} {is_claimed}");
        }
    }
}
