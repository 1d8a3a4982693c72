//! What errors say.

/// The text of every runtime error. Most are nowhere published; a client that reads them breaks
/// when a test changes this table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the error its name says")]
pub struct ErrorTexts {
    pub no_such_item: String,
    pub duplicate_slot: String,
    pub duplicate_nqn: String,
    pub existing_file: String,
    pub no_space: String,
    pub no_folder: String,
    pub not_mounted: String,
    pub busy: String,
    pub file_in_use: String,
    pub shrink: String,
    pub exported: String,
    pub comment_too_long: String,
    pub not_removable: String,
    pub not_permitted: String,
}

impl Default for ErrorTexts {
    fn default() -> Self {
        let text = str::to_owned;
        ErrorTexts {
            no_such_item: text("no such item"),
            duplicate_slot: text("failure: already have such slot"),
            duplicate_nqn: text("failure: already have such nqn"),
            existing_file: text("failure: file already exists"),
            no_space: text("failure: not enough space"),
            no_folder: text("failure: no such directory"),
            not_mounted: text("failure: disk not mounted"),
            busy: text("failure: disk is in use"),
            file_in_use: text("failure: file is in use"),
            shrink: text("failure: cannot make file smaller"),
            exported: text("failure: cannot change while exported"),
            comment_too_long: text("failure: comment too long"),
            not_removable: text("failure: cannot remove"),
            not_permitted: text("not enough permissions (9)"),
        }
    }
}

impl ErrorTexts {
    /// Every error says the same: proof that nobody reads them.
    pub fn all_the_same(text: &str) -> Self {
        let same = || text.to_owned();
        ErrorTexts {
            no_such_item: same(),
            duplicate_slot: same(),
            duplicate_nqn: same(),
            existing_file: same(),
            no_space: same(),
            no_folder: same(),
            not_mounted: same(),
            busy: same(),
            file_in_use: same(),
            shrink: same(),
            exported: same(),
            comment_too_long: same(),
            not_removable: same(),
            not_permitted: same(),
        }
    }
}
