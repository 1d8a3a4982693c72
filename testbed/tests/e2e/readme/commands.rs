//! The commands of README.md, as a person copies them.

/// One command, and the heading under which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Such as `Upgrade`.
    pub section: String,
    /// Without the prompt and without a comment; what goes on in the next line is joined.
    pub line: String,
}

/// Programs whose commands stand in the text, too: `like this`.
const IN_TEXT: [&str; 4] = ["kubectl ", "helm ", "rds-csi controller ", "make "];

/// All of them, in their order.
pub fn all(text: &str) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let (mut section, mut fence, mut goes_on) = (String::new(), None, false);
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_none() { Some(language) } else { None };
        } else if fence == Some("console") {
            let begun = line.strip_prefix("$ ");
            let text = begun.unwrap_or(line).trim();
            let text = text.split("  #").next().unwrap_or(text).trim_end();
            match (begun, found.last_mut()) {
                (None, Some(last)) if goes_on => last.line.push_str(text.trim_end_matches('\\')),
                (None, _) => {}
                (Some(_), _) => found.push(Command {
                    section: section.clone(),
                    line: text.trim_end_matches('\\').to_owned(),
                }),
            }
            goes_on = text.ends_with('\\');
        } else if fence.is_none() {
            if line.starts_with("## ") || line.starts_with("### ") {
                section = line.trim_start_matches('#').trim().to_owned();
            }
            let code = line.split('`').skip(1).step_by(2);
            let commands = code.filter(|code| IN_TEXT.iter().any(|name| code.starts_with(name)));
            found.extend(
                commands.map(|code| Command { section: section.clone(), line: code.to_owned() }),
            );
        }
    }
    found
}

/// The file that a block shows whose first line is a comment with its name.
pub fn file(text: &str, name: &str) -> Option<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let of_it = |block: &&str| {
        let first = block.lines().nth(1).unwrap_or_default();
        first.starts_with(&format!("# {name}"))
    };
    let block = blocks.into_iter().find(of_it)?;
    block.split_once('\n').map(|(_, content)| content.to_owned())
}

#[test]
fn commands_are_found_in_blocks_and_in_the_text_without_their_comments() {
    let text = "## One\nas `make it` or `it` says\n```console\n$ a b   # so\n$ c \\\n    d\nsaid\n```\n\
                ### Two\n```yaml\n# f.yaml; a file\n$ no\n```\n";
    let command =
        |section: &str, line: &str| Command { section: section.into(), line: line.into() };
    assert_eq!(
        all(text),
        [command("One", "make it"), command("One", "a b"), command("One", "c d")]
    );
    assert_eq!(file(text, "f.yaml").unwrap(), "# f.yaml; a file\n$ no\n");
}
