//! The record of who may write to a volume, in the comment of its disk, and its copy beside the PV.
//!
//! ```text
//! rds1 c=4f0c2d9a71be s=attached n=91b2c3d4e5 m=single g=12 x=0a1b2c3d4e5f r=34 f=maybe k=1f2e3d4c
//! ```
//!
//! `c` owning cluster, `s` state, `n` nodes (at most two), `m` single or multi, `g` generation,
//! `x` nonce, `r` revision, `f` formatted, `k` checksum over everything before it. RouterOS names
//! no bound for a comment; ours has fewer than 200 bytes, and none that its script language
//! interprets. A comment that does not parse is *unknown*, never *detached*.

mod copy;
mod nqn;

use std::fmt;

use sha2::{Digest, Sha256};

pub use self::copy::{COPY_FORM, Copy, FENCED_FROM_MAX, FencedFrom, Further};
use crate::volume::chance;
use crate::volume::{NodeName, hex, hex_digits};

/// The PV annotation that holds the [`struct@Copy`] as JSON.
pub const COPY_ANNOTATION: &str = "rds.csi.srvlab.io/attachment";
/// How every record of this format begins.
pub const PREFIX: &str = "rds1 ";
/// The most nodes that hold a volume at a time: two, for a live migration.
pub const HOLDERS_MAX: usize = 2;

/// A short hash that stands for a longer name in the record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag<const BYTES: usize>([u8; BYTES]);

/// Stands for a cluster.
pub type ClusterTag = Tag<6>;
/// Stands for a node of one cluster.
pub type NodeTag = Tag<5>;
/// Makes an NQN nobody else's.
pub type Nonce = Tag<6>;

impl<const BYTES: usize> Tag<BYTES> {
    fn digest(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut tag = [0; BYTES];
        tag.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self(tag)
    }

    fn write(self, to: &mut impl fmt::Write) -> fmt::Result {
        self.0.iter().try_for_each(|byte| {
            let [high, low] = hex_digits(*byte);
            to.write_char(high)?;
            to.write_char(low)
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_uppercase());
        let text = text.as_bytes();
        if text.len() != BYTES * 2 {
            return None;
        }
        let mut tag = [0; BYTES];
        for (to, pair) in tag.iter_mut().zip(text.chunks_exact(2)) {
            *to = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(tag))
    }
}

impl ClusterTag {
    /// The tag of the cluster with this id.
    pub fn of(cluster_id: &str) -> Self {
        Self::digest(&["cluster", cluster_id])
    }
}

impl NodeTag {
    /// The tag of a node of the cluster with this id.
    pub fn of(cluster_id: &str, node: &NodeName) -> Self {
        Self::digest(&["node", cluster_id, node.as_str()])
    }
}

impl Nonce {
    /// The nonce of a volume that was never attached, and of an attachment under the slot's own
    /// name: see [`Record::is_static`].
    pub const ZERO: Self = Self([0; 6]);

    /// A new one, never [`Nonce::ZERO`].
    pub fn random() -> Self {
        let bytes = chance::bytes();
        if bytes == [0; 6] { Self([0, 0, 0, 0, 0, 1]) } else { Self(bytes) }
    }
}

impl<const BYTES: usize> fmt::Display for Tag<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl<const BYTES: usize> fmt::Debug for Tag<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it stands in the record.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
            fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }
    };
}

words! {
    /// Who may write.
    State {
        /// Nobody.
        Detached = "detached",
        /// The holders.
        Attached = "attached",
        /// Nobody; the holders were shut out.
        Fenced = "fenced",
        /// Nobody ever again.
        Deleting = "deleting",
    }
}
words! {
    /// From how many nodes.
    Sharing {
        /// One.
        Single = "single",
        /// Up to [`HOLDERS_MAX`], which share one NQN.
        Multi = "multi",
    }
}
words! {
    /// Has anybody made a file system on it?
    Formatted {
        /// Nobody had the right to, so far. Only then may a node format.
        Never = "never",
        /// Somebody had the right to, and we do not know whether it was used.
        Maybe = "maybe",
        /// It is known to have one.
        Yes = "yes",
    }
}

/// The record of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The cluster that owns the volume.
    pub cluster: ClusterTag,
    /// Who may write.
    pub state: State,
    /// The nodes that hold it, or that it was fenced from.
    pub nodes: Vec<NodeTag>,
    /// From how many nodes.
    pub sharing: Sharing,
    /// Grows with every new attachment and every fence.
    pub generation: u64,
    /// Makes the NQN of this generation nobody else's.
    pub nonce: Nonce,
    /// Grows with every write of the record.
    pub revision: u64,
    /// Has anybody made a file system on it?
    pub formatted: Formatted,
}

/// Why a comment is no record of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin as a record does: an item of the first driver, or of a person.
    #[error("no ledger record")]
    Absent,
    /// It begins as one and goes wrong.
    #[error("ledger record is damaged: {0}")]
    Damaged(&'static str),
}

impl Record {
    /// The first record of a volume that `cluster` makes. The same for every volume, so that a
    /// caller which has no copy yet can guess it.
    pub fn created(cluster: ClusterTag) -> Self {
        Self {
            cluster,
            state: State::Detached,
            nodes: Vec::new(),
            sharing: Sharing::Single,
            generation: 0,
            nonce: Nonce::ZERO,
            revision: 1,
            formatted: Formatted::Never,
        }
    }

    /// The record of a volume whose image was found half made, until it has its size: it comes
    /// before [`Record::created`], and nobody has been told of the volume.
    pub fn begun(cluster: ClusterTag) -> Self {
        Self { revision: 0, ..Self::created(cluster) }
    }

    /// The record as it stands in the comment.
    pub fn text(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(NodeTag::to_string).collect();
        let body = format!(
            "{PREFIX}c={} s={} n={} m={} g={} x={} r={} f={}",
            self.cluster,
            self.state.word(),
            nodes.join(","),
            self.sharing.word(),
            self.generation,
            self.nonce,
            self.revision,
            self.formatted.word(),
        );
        let sum = checksum(&body);
        format!("{body} k={sum}")
    }

    /// Reads a comment.
    pub fn parse(comment: &str) -> Result<Self, Unreadable> {
        use Unreadable::Damaged;
        if !comment.starts_with(PREFIX) {
            return Err(Unreadable::Absent);
        }
        let (body, sum) = comment.rsplit_once(" k=").ok_or(Damaged("no checksum"))?;
        if checksum(body) != sum {
            return Err(Damaged("checksum differs"));
        }
        // The checksum may follow the prefix at once, and share its space.
        let fields = body.strip_prefix(PREFIX).ok_or(Damaged("no fields"))?;
        let mut fields = fields.split(' ');
        let mut field = |name: &str| {
            let (key, value) = fields.next()?.split_once('=')?;
            (key == name).then_some(value)
        };
        let cluster = field("c").and_then(Tag::parse).ok_or(Damaged("cluster"))?;
        let state = field("s").and_then(State::parse).ok_or(Damaged("state"))?;
        let nodes = field("n").and_then(nodes).ok_or(Damaged("nodes"))?;
        let sharing = field("m").and_then(Sharing::parse).ok_or(Damaged("sharing"))?;
        let generation = field("g").and_then(|g| g.parse().ok()).ok_or(Damaged("generation"))?;
        let nonce = field("x").and_then(Tag::parse).ok_or(Damaged("nonce"))?;
        let revision = field("r").and_then(|r| r.parse().ok()).ok_or(Damaged("revision"))?;
        let formatted = field("f").and_then(Formatted::parse).ok_or(Damaged("formatted"))?;
        let record =
            Self { cluster, state, nodes, sharing, generation, nonce, revision, formatted };
        if fields.next().is_some() || record.text() != comment {
            return Err(Damaged("not in its canonical form"));
        }
        Ok(record)
    }

    /// Do (or did) its holders know the volume by the name of its slot, which comes back? So it is
    /// where it was attached on a box that cannot set an NQN; the nonce then is [`Nonce::ZERO`].
    pub fn is_static(&self) -> bool {
        matches!(self.state, State::Attached | State::Fenced) && self.nonce == Nonce::ZERO
    }

    /// Are both attached under one NQN?
    pub fn shares_nqn(&self, other: &Self) -> bool {
        let attached = |record: &Self| record.state == State::Attached;
        let name = |record: &Self| (record.generation, record.nonce);
        attached(self) && attached(other) && name(self) == name(other)
    }

    /// Does this node hold the volume?
    pub fn is_held_by(&self, node: NodeTag) -> bool {
        self.state == State::Attached && self.nodes.contains(&node)
    }

    /// Attached to a first node, under a new generation that is above `floor`, too.
    pub fn attach(&self, node: NodeTag, sharing: Sharing, floor: u64, nonce: Nonce) -> Self {
        Self {
            state: State::Attached,
            nodes: vec![node],
            sharing,
            generation: self.generation.max(floor).saturating_add(1),
            nonce,
            ..self.next()
        }
    }

    /// Held by one node more, under the same NQN.
    pub fn join(&self, node: NodeTag) -> Self {
        let mut nodes = self.nodes.clone();
        nodes.push(node);
        Self { nodes, ..self.next() }
    }

    /// Held by one node less, under the same NQN. Whoever held it may have made a file system.
    pub fn leave(&self, node: NodeTag) -> Self {
        let nodes = self.nodes.iter().copied().filter(|held| *held != node).collect();
        Self { nodes, formatted: self.formatted_after_use(), ..self.next() }
    }

    /// Held by nobody. Whoever held it may have made a file system.
    pub fn detach(&self) -> Self {
        self.detach_as(self.formatted_after_use())
    }

    /// Held by nobody; it is known whether there is a file system.
    pub fn detach_as(&self, formatted: Formatted) -> Self {
        Self { state: State::Detached, nodes: Vec::new(), formatted, ..self.next() }
    }

    /// It is known to have a file system.
    pub fn with_file_system(&self) -> Self {
        Self { formatted: Formatted::Yes, ..self.next() }
    }

    /// Its holders are shut out: their NQN never comes back, but for one in the static form, which
    /// the record goes on to say.
    pub fn fence(&self, floor: u64, nonce: Nonce) -> Self {
        Self {
            state: State::Fenced,
            generation: self.generation.max(floor).saturating_add(1),
            nonce: if self.is_static() { Nonce::ZERO } else { nonce },
            formatted: self.formatted_after_use(),
            ..self.next()
        }
    }

    /// About to be removed with its image.
    pub fn delete(&self) -> Self {
        Self { state: State::Deleting, nodes: Vec::new(), ..self.next() }
    }

    /// The same with the next revision: for a change of what only the copy holds.
    pub fn next(&self) -> Self {
        Self { revision: self.revision.saturating_add(1), ..self.clone() }
    }

    fn formatted_after_use(&self) -> Formatted {
        match (self.state, self.formatted) {
            (State::Attached, Formatted::Never) => Formatted::Maybe,
            (_, formatted) => formatted,
        }
    }
}

fn nodes(text: &str) -> Option<Vec<NodeTag>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let nodes: Vec<NodeTag> = text.split(',').map(Tag::parse).collect::<Option<_>>()?;
    (nodes.len() <= HOLDERS_MAX).then_some(nodes)
}

fn checksum(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes())[..4])
}

#[cfg(test)]
mod test;
