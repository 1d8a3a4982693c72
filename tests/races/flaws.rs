//! What is taken out of the driver, from outside, to see the races find it.

use rds_csi::rds::script;

/// A flaw on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A changing line does not look at the comment that was judged.
    NoCompare,
    /// Every nonce is the same.
    NoNonce,
}

impl Flaw {
    /// How the lines of the driver are changed by it.
    pub fn rewrite(self) -> Option<super::line::Rewrite> {
        (self == Self::NoCompare).then_some(without_compare as super::line::Rewrite)
    }
}

/// The line without `and comment="…"` where it looks for its disk.
fn without_compare(line: &str) -> String {
    let Some(from) = line.find(" and comment=\"") else {
        return line.to_owned();
    };
    let text = from + " and comment=\"".len();
    let length = line[text..].find('"').map(|quote| quote + 1);
    let to = length.map_or(line.len(), |length| text + length);
    format!("{}{}", &line[..from], &line[to..])
}

/// A generator that always says the same, in the place of chance.
#[cfg(feature = "simulation")]
pub struct Same;

#[cfg(feature = "simulation")]
impl rand::RngCore for Same {
    fn next_u32(&mut self) -> u32 {
        0x0707_0707
    }
    fn next_u64(&mut self) -> u64 {
        0x0707_0707_0707_0707
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

#[test]
fn the_compare_is_what_is_taken_out_and_nothing_else() {
    use crate::in_memory::id;
    let expect = "rds1 c=4f k=1f2e3d4c".to_owned();
    let command = rds_csi::rds::Command::Unexport { slot: id("data").slot, expect };
    let line = script::line(&command, "t1");
    let compare = " and comment=\"rds1 c=4f k=1f2e3d4c\"";
    assert!(line.contains(compare));
    assert_eq!(without_compare(&line), line.replace(compare, ""));
    assert_eq!(without_compare(":put 1"), ":put 1");
}
