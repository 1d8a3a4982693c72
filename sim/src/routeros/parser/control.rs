//! Commands with a grammar of their own: variables, conditions, loops, error blocks.

use super::super::catalog::Builtin;
use super::super::syntax::{Block, Command, Expr};
use super::{ParseError, Parser};

/// Keys in one `:set ($map->…)`.
const MAX_KEYS: usize = 16;

/// The named parts of a control command, each at most once.
#[derive(Default)]
struct Parts {
    blocks: Vec<(&'static str, Block)>,
    values: Vec<(&'static str, Expr)>,
}

impl Parts {
    fn block(&mut self, name: &str) -> Option<Block> {
        let at = self.blocks.iter().position(|(n, _)| *n == name)?;
        Some(self.blocks.swap_remove(at).1)
    }

    fn value(&mut self, name: &str) -> Option<Expr> {
        let at = self.values.iter().position(|(n, _)| *n == name)?;
        Some(self.values.swap_remove(at).1)
    }

    fn has(&self, name: &str) -> bool {
        self.blocks.iter().any(|(n, _)| *n == name) || self.values.iter().any(|(n, _)| *n == name)
    }
}

impl Parser {
    /// After `:`.
    pub(super) fn language_command(&mut self) -> Result<Command, ParseError> {
        let at = self.cursor.mark();
        let word = self.cursor.word();
        match word.as_str() {
            "local" => self.declaration(false),
            "global" => self.declaration(true),
            "set" => self.assignment(),
            "if" => self.condition(),
            "foreach" => self.foreach(),
            "for" => self.counted(),
            "while" => self.while_loop(),
            "do" => self.do_block(),
            "onerror" => self.on_error(),
            _ => {
                if let Some(builtin) = Builtin::find(&word, self.dialect.version) {
                    return self.builtin(builtin);
                }
                self.cursor.rewind(at);
                if word.is_empty() {
                    return Err(self.cursor.error("expected command name"));
                }
                Err(self.cursor.error(format!("bad command name {word}")))
            }
        }
    }

    fn name(&mut self) -> Result<String, ParseError> {
        self.cursor.skip_blanks();
        if self.cursor.eat('"') {
            let name = self.cursor.variable()?;
            return match self.cursor.eat('"') {
                true => Ok(name),
                false => Err(self.cursor.error("syntax error")),
            };
        }
        self.cursor.variable()
    }

    /// A value, or none at the end of the command.
    fn value_if_any(&mut self) -> Result<Option<Expr>, ParseError> {
        self.cursor.skip_blanks();
        if self.cursor.at_end_of_command() {
            return Ok(None);
        }
        self.value().map(Some)
    }

    fn declaration(&mut self, global: bool) -> Result<Command, ParseError> {
        let name = self.name()?;
        let value = self.value_if_any()?;
        Ok(Command::Declare { global, name, value })
    }

    /// `:set name value`, `:set ($map->"key") value`.
    fn assignment(&mut self) -> Result<Command, ParseError> {
        self.cursor.skip_blanks();
        let mut keys = Vec::new();
        let name = if self.cursor.eat('(') {
            self.cursor.skip_blanks();
            if !self.cursor.eat('$') {
                return Err(self.cursor.error("syntax error"));
            }
            let name = self.cursor.variable()?;
            self.cursor.skip_blanks();
            while self.cursor.eat_all("->") {
                if keys.len() == MAX_KEYS {
                    return Err(self.cursor.error("syntax error"));
                }
                self.cursor.skip_blanks();
                keys.push(self.nested(Self::operand)?);
                self.cursor.skip_blanks();
            }
            if !self.cursor.eat(')') {
                return Err(self.cursor.error("expected closing parenthesis"));
            }
            name
        } else {
            self.cursor.eat('$');
            self.name()?
        };
        let value = self.value_if_any()?;
        Ok(Command::Set { name, keys, value })
    }

    fn condition(&mut self) -> Result<Command, ParseError> {
        self.cursor.skip_blanks();
        let condition = self.value()?;
        let mut parts = self.parts(&["do", "else"], &[])?;
        let then = self.require(parts.block("do"), "do")?;
        Ok(Command::If { condition, then, otherwise: parts.block("else").unwrap_or_default() })
    }

    fn foreach(&mut self) -> Result<Command, ParseError> {
        let first = self.name()?;
        let (key, item) = match self.cursor.eat(',') {
            true => (Some(first), self.name()?),
            false => (None, first),
        };
        let mut parts = self.parts(&["do"], &["in"])?;
        let values = self.require(parts.value("in"), "in")?;
        let body = self.require(parts.block("do"), "do")?;
        Ok(Command::Foreach { key, item, values, body })
    }

    fn counted(&mut self) -> Result<Command, ParseError> {
        let name = self.name()?;
        let mut parts = self.parts(&["do"], &["from", "to", "step"])?;
        let from = self.require(parts.value("from"), "from")?;
        let to = self.require(parts.value("to"), "to")?;
        let step = parts.value("step");
        let body = self.require(parts.block("do"), "do")?;
        Ok(Command::For { name, from, to, step, body })
    }

    fn while_loop(&mut self) -> Result<Command, ParseError> {
        self.cursor.skip_blanks();
        let condition = self.value()?;
        let mut parts = self.parts(&["do"], &[])?;
        let body = self.require(parts.block("do"), "do")?;
        Ok(Command::While { condition, body, body_first: false })
    }

    fn do_block(&mut self) -> Result<Command, ParseError> {
        self.cursor.skip_blanks();
        self.cursor.eat_all("command=");
        let body = self.braces()?;
        let mut parts = self.parts(&["on-error"], &["while"])?;
        match parts.value("while") {
            Some(condition) => Ok(Command::While { condition, body, body_first: true }),
            None => Ok(Command::Do { body, on_error: parts.block("on-error") }),
        }
    }

    fn on_error(&mut self) -> Result<Command, ParseError> {
        let name = self.name()?;
        let mut parts = self.parts(&["in", "do"], &[])?;
        let body = self.require(parts.block("in"), "in")?;
        let handler = self.require(parts.block("do"), "do")?;
        Ok(Command::OnError { name, body, handler })
    }

    fn require<T>(&self, part: Option<T>, name: &str) -> Result<T, ParseError> {
        part.ok_or_else(|| self.cursor.error(format!("expected {name}")))
    }

    /// `name={ … }` and `name=value` until something else comes.
    fn parts(
        &mut self,
        blocks: &[&'static str],
        values: &[&'static str],
    ) -> Result<Parts, ParseError> {
        let mut parts = Parts::default();
        loop {
            self.cursor.skip_blanks();
            let at = self.cursor.mark();
            let word = self.cursor.word();
            if word.is_empty() || !self.cursor.eat('=') {
                self.cursor.rewind(at);
                return Ok(parts);
            }
            let block = blocks.iter().find(|name| **name == word);
            let value = values.iter().find(|name| **name == word);
            if parts.has(&word) || (block.is_none() && value.is_none()) {
                self.cursor.rewind(at);
                return Err(self.unknown(&word));
            }
            if let Some(name) = block {
                let body = self.block_value()?;
                parts.blocks.push((name, body));
            } else if let Some(name) = value {
                let value = self.argument_value()?;
                parts.values.push((name, value));
            }
        }
    }

    /// `{ … }` or a single bracketed command in its place.
    fn block_value(&mut self) -> Result<Block, ParseError> {
        if self.cursor.peek() == Some('[') {
            let value = self.value()?;
            return Ok(Block { commands: vec![Command::Value(value)] });
        }
        self.braces()
    }
}
