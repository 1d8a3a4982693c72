//! What this RouterOS can do.

use crate::attachment::static_form::Mode;

/// Whether exports of this release can be told their NQN.
pub fn mode(version: &str) -> Mode {
    if has_settable_nqn(version) { Mode::Usual } else { Mode::Static }
}

/// Can the NQN of an export be set? Since 7.21 (command trees of 7.20 and 7.21): before, the NQN
/// is the slot, and a host that was shut out could come back under it. A version that cannot be
/// read counts as new: the row that is read back after every change shows whether it was done.
pub fn has_settable_nqn(version: &str) -> bool {
    parse(version).is_none_or(|version| version >= (7, 21))
}

/// Does `:serialize` have the option with which texts of digits stay texts? Since 7.16 (command trees
/// of 7.15 and 7.16).
pub fn has_exact_json(version: &str) -> bool {
    parse(version).is_none_or(|version| version >= (7, 16))
}

/// Major and minor of such as `7.24.4 (stable)`, `7.26beta4 (testing)`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.trim().split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn json_is_exact_from_7_16() {
        assert!(!has_exact_json("7.15.3 (stable)"));
        assert!(has_exact_json("7.16 (stable)"));
    }

    #[test]
    fn the_nqn_can_be_set_from_7_21() {
        for old in ["7.20.8 (long-term)", "7.17", "6.49.18 (stable)"] {
            assert!(!has_settable_nqn(old), "{old}");
        }
        for new in ["7.21", "7.24.4 (stable)", "7.26beta4 (testing)", "8.0", "whatever"] {
            assert!(has_settable_nqn(new), "{new}");
        }
    }
}
