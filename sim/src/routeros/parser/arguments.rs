//! Arguments of commands: names, switches, values, `where`.

use super::super::catalog::{Builtin, Menu, Verb};
use super::super::syntax::{Arguments, Command, MenuCommand};
use super::super::value::Value;
use super::{ParseError, Parser};
use crate::routeros::syntax::Expr;

impl Parser {
    /// After `/disk/add`: everything up to the end of the command.
    pub(super) fn menu_command(&mut self, menu: Menu, verb: Verb) -> Result<Command, ParseError> {
        let outer = std::mem::replace(&mut self.menu, menu);
        let command = self.menu_arguments(menu, verb);
        self.menu = outer;
        command.map(|c| Command::Menu(Box::new(c)))
    }

    fn menu_arguments(&mut self, menu: Menu, verb: Verb) -> Result<MenuCommand, ParseError> {
        let mut arguments = Arguments::default();
        let mut filter = None;
        loop {
            let separated = self.cursor.skip_blanks();
            if self.cursor.at_end_of_command() {
                break;
            }
            if !separated {
                return Err(self.cursor.error("syntax error"));
            }
            if verb == Verb::Find {
                self.cursor.eat_word("where");
                filter = self.conditions()?;
                break;
            }
            if verb == Verb::Print && self.cursor.eat_word("where") {
                filter = self.conditions()?;
                break;
            }
            self.menu_argument(menu, verb, &mut arguments)?;
        }
        Ok(MenuCommand { menu, verb, filter, arguments })
    }

    fn menu_argument(
        &mut self,
        menu: Menu,
        verb: Verb,
        arguments: &mut Arguments,
    ) -> Result<(), ParseError> {
        let version = self.dialect.version;
        let at = self.cursor.mark();
        if verb == Verb::Set && self.cursor.eat('!') {
            let start = self.cursor.mark();
            let name = self.cursor.word();
            if !verb.has_argument(menu, &name, version) {
                self.cursor.rewind(start);
                return Err(self.unknown(&name));
            }
            arguments.unset.push(name);
            return Ok(());
        }
        let word = self.cursor.word();
        if !word.is_empty() && self.cursor.eat('=') {
            if !verb.has_argument(menu, &word, version) {
                self.cursor.rewind(at);
                return Err(self.unknown(&word));
            }
            let value = self.argument_value()?;
            arguments.named.push((word, value));
            return Ok(());
        }
        let ends = self.cursor.at_end_of_command() || self.cursor.peek() == Some(' ');
        if ends && verb.has_flag(&word, version) {
            arguments.flags.push(word);
            return Ok(());
        }
        self.cursor.rewind(at);
        if arguments.positional.len() >= verb.positional(menu) {
            return Err(self.cursor.error("expected end of command"));
        }
        arguments.positional.push(self.value()?);
        Ok(())
    }

    /// The error for an argument that this version does not have.
    pub(super) fn unknown(&self, name: &str) -> ParseError {
        if self.dialect.terse_errors {
            return self.cursor.error("expected end of command");
        }
        self.cursor.error(format!("bad parameter {name}"))
    }

    /// After `name=`: a value, or nothing at all, which is the empty string.
    pub(super) fn argument_value(&mut self) -> Result<Expr, ParseError> {
        if self.cursor.at_end_of_command() || self.cursor.peek() == Some(' ') {
            return Ok(Expr::Literal(Value::text("")));
        }
        self.value()
    }

    /// After `:put` and the like.
    pub(super) fn builtin(&mut self, builtin: Builtin) -> Result<Command, ParseError> {
        let (least, most) = builtin.positional();
        let mut arguments = Arguments::default();
        loop {
            self.cursor.skip_blanks();
            if self.cursor.at_end_of_command() {
                break;
            }
            let at = self.cursor.mark();
            let word = self.cursor.word();
            if !word.is_empty() && self.cursor.eat('=') {
                if !builtin.has_argument(&word, self.dialect.version) {
                    self.cursor.rewind(at);
                    return Err(self.unknown(&word));
                }
                let value = self.argument_value()?;
                arguments.named.push((word, value));
                continue;
            }
            self.cursor.rewind(at);
            if arguments.positional.len() >= most {
                return Err(self.cursor.error("expected end of command"));
            }
            arguments.positional.push(self.value()?);
        }
        if arguments.positional.len() + arguments.named.len() < least {
            return Err(self.cursor.error("expected input value"));
        }
        Ok(Command::Builtin(builtin, arguments))
    }
}
