//! Several commands -> one line: what they do is said once, over rows with their values.
//!
//! ```text
//! :local csiC "…";                                      a value that all rows have
//! :foreach csiRow in={ {t=0;s="…";b=…};{t=1;s="…";b=…} } do={ :do {
//!   :local csiT ("TAG-" . ($csiRow->"t") . " "); :local csiS ($csiRow->"s"); …
//!   :onerror csiError in={ <act> } do={ :put ($csiT . "error " . $csiError) };
//!   :put ($csiT . "disks " . <rows as JSON>); :put ($csiT . "end") } on-error={} }
//! ```
//!
//! The rows run in the order of the commands, so the line does what the commands would do one
//! after the other. An error ends its own row only: what `:onerror` catches is said in the answer
//! of its command, what is left is seen by the missing `end`. Where commands of several kinds meet,
//! a row names its kind (`k`), and each kind's text stands in the line once.
//!
//! Keys are single letters, since RouterOS wants others quoted (manual, Scripting, arrays): `t` tag,
//! `k` kind, `s` slot, `d` folder of the image, `b` bytes, `c` comment, `e` expected comment,
//! `n` NQN, `p` port, `h` host, `x` exported.

use super::action::{self, Action, Field};
use super::{Tag, disk, end, guarded, images, quote};
use crate::rds::Command;

/// The least that a row can have: `{t=0};`.
const ROW_BYTES_MIN: usize = 6;

/// Several commands in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The line.
    pub line: String,
    /// What marks the answer of each command, in their order.
    pub tags: Vec<String>,
}

/// As many of `commands`, from the first on, as can share one line of at most `line_bytes_max`
/// bytes; none where those are not even two. `tag` is fresh and takes `[a-z0-9]` only.
///
/// Commands about the box as a whole share no line, nor do those about disks without a record (they
/// are rare), with an image that is not called after its slot, or with a size beyond the integers of
/// RouterOS (64 bits, signed).
pub fn batch(commands: &[&Command], tag: &str, line_bytes_max: usize) -> Option<Batch> {
    let sharing = commands.iter().take(line_bytes_max / ROW_BYTES_MIN);
    let rows: Vec<Row> = sharing.map_while(|command| Row::of(command)).collect();
    let fitting = |count: usize| {
        let line = render(rows.get(..count)?, tag);
        (line.len() <= line_bytes_max).then_some(line)
    };
    // With every row the line gets longer, so the longest one that fits is found by halving.
    let (mut best, mut most, mut too_many) = (fitting(2)?, 2, rows.len() + 1);
    while too_many - most > 1 {
        let count = most + (too_many - most) / 2;
        match fitting(count) {
            Some(line) => (best, most) = (line, count),
            None => too_many = count,
        }
    }
    Some(Batch { line: best, tags: (0..most).map(|at| format!("{tag}-{at}")).collect() })
}

/// One command as data.
struct Row {
    action: Action,
    /// Key and RouterOS literal.
    values: Vec<(char, String)>,
}

/// Keys of values that stand for a [`Field`] of the same command.
const FIELDS: [(char, Field); 8] = [
    ('s', Field::Slot),
    ('b', Field::Bytes),
    ('c', Field::Comment),
    ('e', Field::Expect),
    ('n', Field::Nqn),
    ('p', Field::Port),
    ('h', Field::Host),
    ('x', Field::Export),
];

impl Row {
    /// None where the command has to go alone.
    fn of(command: &Command) -> Option<Self> {
        let action = Action::of(command)?;
        if matches!(action, Action::Unrecorded { .. }) {
            return None;
        }
        if action::bytes(command).is_some_and(|bytes| i64::try_from(bytes).is_err()) {
            return None;
        }
        let mut values = Vec::new();
        for (key, field) in FIELDS {
            let value = action::literal(command, field);
            // The type of a bare `yes` in an array is nowhere told; text is taken everywhere.
            let value = if key == 'x' { value.map(|word| quote(&word)) } else { value };
            values.extend(value.map(|value| (key, value)));
        }
        if let Some(image) = action::image(command) {
            let file = format!("{}.img", action::slot(command)?);
            let folder = image.as_str().strip_suffix(&file).filter(|folder| !folder.is_empty())?;
            values.push(('d', quote(folder)));
        }
        Some(Self { action, values })
    }

    fn value(&self, key: char) -> Option<&str> {
        self.values.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str())
    }
}

/// How the rows of one line give their values.
struct Columns<'a> {
    /// Of every row the same: said once, before the loop.
    shared: Vec<(char, &'a str)>,
    /// Of at least one row.
    own: Vec<char>,
    /// In the order in which they appear first.
    kinds: Vec<Action>,
}

impl<'a> Columns<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let mut columns = Self { shared: Vec::new(), own: Vec::new(), kinds: Vec::new() };
        for row in rows {
            if !columns.kinds.contains(&row.action) {
                columns.kinds.push(row.action);
            }
        }
        for key in FIELDS.map(|(key, _)| key).into_iter().chain(['d']) {
            let first = rows.first().and_then(|row| row.value(key));
            match first {
                Some(value) if rows.iter().all(|row| row.value(key) == first) => {
                    columns.shared.push((key, value));
                }
                _ if rows.iter().any(|row| row.value(key).is_some()) => columns.own.push(key),
                _ => {}
            }
        }
        columns
    }

    fn kind(&self, action: Action) -> usize {
        self.kinds.iter().position(|kind| *kind == action).unwrap_or_default()
    }

    /// Is it bound to a variable? Else it is read where it is needed. Conditions of `find` want a
    /// variable (what an arrow means within them is nowhere told).
    fn is_bound(&self, key: char) -> bool {
        matches!(key, 's' | 'd' | 'e') || !self.own.contains(&key)
    }

    fn say(&self, field: Field) -> String {
        match field {
            Field::Image => return "$csiI".into(),
            Field::Rooted => return "(\"/\" . $csiI)".into(),
            _ => {}
        }
        let key = FIELDS.iter().find(|(_, f)| *f == field).map_or('s', |(key, _)| *key);
        if self.is_bound(key) { variable(key, "$") } else { of_row(key) }
    }
}

fn variable(key: char, before: &str) -> String {
    format!("{before}csi{}", key.to_ascii_uppercase())
}

fn of_row(key: char) -> String {
    format!("($csiRow->\"{key}\")")
}

fn local(key: char, value: &str) -> String {
    format!(":local {} {value}", variable(key, ""))
}

fn render(rows: &[Row], tag: &str) -> String {
    let columns = Columns::of(rows);
    let data: Vec<String> =
        rows.iter().enumerate().map(|(at, row)| datum(row, at, &columns)).collect();
    let mut said: Vec<String> =
        columns.shared.iter().map(|(key, value)| local(*key, value)).collect();
    said.push(format!(
        ":foreach csiRow in={{ {} }} do={{ :do {{ {} }} on-error={{}} }}",
        data.join(";"),
        body(&columns, tag)
    ));
    said.join("; ")
}

fn datum(row: &Row, at: usize, columns: &Columns<'_>) -> String {
    let mut datum = format!("{{t={at}");
    if columns.kinds.len() > 1 {
        datum.push_str(&format!(";k={}", columns.kind(row.action)));
    }
    for (key, value) in row.values.iter().filter(|(key, _)| columns.own.contains(key)) {
        datum.push_str(&format!(";{key}={value}"));
    }
    datum.push('}');
    datum
}

/// What is done with each row.
fn body(columns: &Columns<'_>, tag: &str) -> String {
    let mut said = vec![local('t', &format!("(\"{tag}-\" . {} . \" \")", of_row('t')))];
    let bound = columns.own.iter().filter(|key| columns.is_bound(**key));
    said.extend(bound.map(|key| local(*key, &of_row(*key))));
    let image_of_all = columns.shared.iter().any(|(key, _)| *key == 'd')
        || columns.kinds.iter().all(|kind| kind.names_image());
    let image_of_any = image_of_all || columns.own.contains(&'d');
    if image_of_any {
        said.push(local('i', "($csiD . $csiS . \".img\")"));
    }
    said.extend(guarded(Tag::Variable, &act(columns)));
    said.push(disk(Tag::Variable, "$csiS"));
    let images = images(Tag::Variable, "$csiI");
    if image_of_all {
        said.push(images);
    } else if image_of_any {
        said.push(format!(":if ([:len $csiD]>0) do={{ {images} }}"));
    }
    said.push(end(Tag::Variable));
    said.join("; ")
}

fn act(columns: &Columns<'_>) -> String {
    let say = |field| columns.say(field);
    if let [only] = columns.kinds[..] {
        return only.act(&say);
    }
    let acts = columns.kinds.iter().enumerate().map(|(at, kind)| (at, kind.act(&say)));
    let some = acts.filter(|(_, act)| !act.is_empty());
    let each = some.map(|(at, act)| format!(":if ({}={at}) do={{ {act} }}", of_row('k')));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod test;
