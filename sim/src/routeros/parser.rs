//! The parser: one line in, a tree or an error with a column out. Nothing runs before it is done.
//!
//! It resolves menus, commands and argument names while it reads, as RouterOS does: an argument
//! that this version does not know is a parse error, and a line with one runs nothing.

mod arguments;
mod control;
mod expression;

use super::catalog::{Builtin, CONTROL_WORDS, Menu};
use super::lexer::Cursor;
pub use super::lexer::ParseError;
use super::syntax::{Block, Command};
use super::version::Version;

/// Brackets within brackets: more than this is refused.
const MAX_DEPTH: usize = 48;

/// How the parser words what it does not know.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Which arguments exist.
    pub version: Version,
    /// Whether an unknown argument is `expected end of command` instead of `bad parameter`.
    pub terse_errors: bool,
}

/// Parses one line of script.
pub fn parse(line: &str, dialect: Dialect) -> Result<Block, ParseError> {
    let mut parser = Parser { cursor: Cursor::new(line), dialect, menu: Menu::Root, depth: 0 };
    let block = parser.block()?;
    match parser.cursor.peek() {
        None => Ok(block),
        Some(_) => Err(parser.cursor.error("syntax error")),
    }
}

struct Parser {
    cursor: Cursor,
    dialect: Dialect,
    /// Where commands without a leading slash are looked up.
    menu: Menu,
    depth: usize,
}

impl Parser {
    /// Runs `inner` one level deeper.
    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.cursor.error("syntax error"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Commands up to a closing bracket or the end. The menu that was in force comes back after.
    fn block(&mut self) -> Result<Block, ParseError> {
        let outer = self.menu;
        let block = self.nested(Self::commands);
        self.menu = outer;
        block
    }

    fn commands(&mut self) -> Result<Block, ParseError> {
        let mut commands = Vec::new();
        loop {
            self.cursor.skip_blanks();
            while self.cursor.eat(';') {
                self.cursor.skip_blanks();
            }
            match self.cursor.peek() {
                None | Some(']' | '}' | ')') => break,
                Some('#') => {
                    self.cursor.take_while(|_| true);
                    break;
                }
                Some('\n' | '\r') => return Err(self.cursor.error("syntax error")),
                Some(_) => {}
            }
            if let Some(command) = self.command()? {
                commands.push(command);
            }
            self.cursor.skip_blanks();
            if !self.cursor.at_end_of_command() && !self.after_a_closing_brace() {
                return Err(self.cursor.error("expected end of command"));
            }
        }
        Ok(Block { commands })
    }

    /// `do={ … } :put` needs no `;` after the brace in RouterOS; with one it reads the same.
    fn after_a_closing_brace(&self) -> bool {
        let mut probe = self.cursor.clone();
        let here = probe.mark();
        let blank_before = here > 0 && {
            probe.rewind(here - 1);
            matches!(probe.peek(), Some(' ' | '}'))
        };
        blank_before && matches!(self.cursor.peek(), Some(':' | '/'))
    }

    /// One command; none where a path alone changes the menu for what follows.
    fn command(&mut self) -> Result<Option<Command>, ParseError> {
        match self.cursor.peek() {
            Some('{') => Ok(Some(Command::Scope(self.braces()?))),
            Some('[' | '(' | '$' | '"') => Ok(Some(Command::Value(self.value()?))),
            Some(':') => {
                self.cursor.take();
                self.language_command().map(Some)
            }
            Some('/') => {
                self.cursor.take();
                self.path(Menu::Root)
            }
            _ => self.path(self.menu),
        }
    }

    /// `/disk/print`, `disk print`, `/disk`: words until one is a command.
    fn path(&mut self, start: Menu) -> Result<Option<Command>, ParseError> {
        let mut menu = start;
        loop {
            self.cursor.skip_blanks();
            let at = self.cursor.mark();
            if self.cursor.at_end_of_command() {
                self.menu = menu;
                return Ok(None);
            }
            let word = self.cursor.word();
            if let Some(child) = menu.child(&word) {
                menu = child;
                if !self.cursor.eat('/') && !self.cursor.skip_blanks() && !self.ends_here() {
                    return Err(self.cursor.error("syntax error"));
                }
                if self.cursor.peek() == Some('{') {
                    return self.scope_of(menu).map(Some);
                }
                continue;
            }
            if let Some(verb) = menu.verb(&word) {
                return self.menu_command(menu, verb).map(Some);
            }
            self.cursor.rewind(at);
            let known = Builtin::find(&word, self.dialect.version).is_some()
                || CONTROL_WORDS.contains(&word.as_str());
            if menu == start && known {
                return self.language_command().map(Some);
            }
            if word.is_empty() {
                return Err(self.cursor.error("expected command name"));
            }
            return Err(self.cursor.error(format!("bad command name {word}")));
        }
    }

    fn ends_here(&self) -> bool {
        self.cursor.at_end_of_command()
    }

    /// `/disk { … }`: the commands inside start at that menu.
    fn scope_of(&mut self, menu: Menu) -> Result<Command, ParseError> {
        let outer = std::mem::replace(&mut self.menu, menu);
        let block = self.braces();
        self.menu = outer;
        Ok(Command::Scope(block?))
    }

    /// `{ commands }`.
    fn braces(&mut self) -> Result<Block, ParseError> {
        if !self.cursor.eat('{') {
            return Err(self.cursor.error("syntax error"));
        }
        let block = self.block()?;
        if !self.cursor.eat('}') {
            return Err(self.cursor.error("expected closing brace"));
        }
        Ok(block)
    }
}

#[cfg(test)]
mod test;
