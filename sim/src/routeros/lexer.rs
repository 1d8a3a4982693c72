//! A cursor over one line: positions, blanks, words, escapes. No grammar.
//!
//! RouterOS reads characters, not tokens: `-` belongs to a word in one place and is an operator in
//! another. So the parser asks for what may stand here, and this file knows how each is spelled.

use std::fmt;

/// Why a line does not parse. Printed like RouterOS prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// `syntax error`, `bad command name foo`, …
    pub text: String,
    /// Where, from 1.
    pub column: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line 1 column {})", self.text, self.column)
    }
}

/// A place in a line.
#[derive(Debug, Clone)]
pub struct Cursor {
    chars: Vec<char>,
    at: usize,
}

impl Cursor {
    /// At the start of the line.
    pub fn new(line: &str) -> Self {
        Cursor { chars: line.chars().collect(), at: 0 }
    }

    /// Columns count from 1.
    pub fn column(&self) -> usize {
        self.at + 1
    }

    /// An error here.
    pub fn error(&self, text: impl Into<String>) -> ParseError {
        ParseError { text: text.into(), column: self.column() }
    }

    /// The next character.
    pub fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// The character `ahead` places after the next one.
    pub fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Takes the next character.
    pub fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    /// Takes the next character if it is that one.
    pub fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Takes these characters if they come next.
    pub fn eat_all(&mut self, wanted: &str) -> bool {
        let found = wanted.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c));
        if found {
            self.at += wanted.chars().count();
        }
        found
    }

    /// Takes the word if it comes next and ends there.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let start = self.at;
        if self.eat_all(word) && !self.peek().is_some_and(is_word) {
            return true;
        }
        self.at = start;
        false
    }

    /// Skips blanks; says whether there were any.
    pub fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
        self.at > start
    }

    /// The end of a command: `;`, a closing bracket, the end of the line.
    pub fn at_end_of_command(&self) -> bool {
        matches!(self.peek(), None | Some(';' | ']' | '}' | ')'))
    }

    /// Takes characters as long as they fit.
    pub fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&fits) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// A word of menus, commands, arguments and properties: `nvme-tcp-export`, `.id`.
    pub fn word(&mut self) -> String {
        self.take_while(is_word)
    }

    /// The name of a variable after `$`: letters first (`_i` is a syntax error), no dashes.
    pub fn variable(&mut self) -> Result<String, ParseError> {
        if self.peek() == Some('"') {
            return Err(self.error("syntax error"));
        }
        if !self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            return Err(self.error("syntax error"));
        }
        Ok(self.take_while(|c| c.is_ascii_alphanumeric()))
    }

    /// A value without quotes. It must not contain `= ' ( $ [ { \` or a quote (strict quoting rules
    /// as the community's Ansible collection documents them).
    pub fn bare_value(&mut self) -> Result<String, ParseError> {
        let text = self.take_while(|c| {
            !c.is_whitespace() && !matches!(c, ';' | ')' | ']' | '}') && !is_forbidden_bare(c)
        });
        match self.peek() {
            Some(c) if is_forbidden_bare(c) => Err(self.error("syntax error")),
            _ => Ok(text),
        }
    }

    /// Goes back to a place remembered with [`Cursor::mark`].
    pub fn rewind(&mut self, mark: usize) {
        self.at = mark.min(self.chars.len());
    }

    /// This place, for [`Cursor::rewind`].
    pub fn mark(&self) -> usize {
        self.at
    }

    /// What follows a backslash inside quotes. Anything else is a syntax error (swept on 7.23.3 by
    /// the authors of centrs).
    pub fn escape(&mut self) -> Result<u8, ParseError> {
        let here = self.error("syntax error");
        let Some(first) = self.take() else {
            return Err(here);
        };
        Ok(match first {
            '"' | '\\' | '$' | '?' => first as u8,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'v' => 11,
            '_' => b' ',
            high if is_upper_hex(high) => {
                let low = self.take().filter(|c| is_upper_hex(*c)).ok_or(here)?;
                let digit = |c: char| c.to_digit(16).unwrap_or(0) as u8;
                digit(high) * 16 + digit(low)
            }
            _ => return Err(here),
        })
    }
}

fn is_upper_hex(c: char) -> bool {
    c.is_ascii_digit() || ('A'..='F').contains(&c)
}

/// Characters of words.
pub fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_forbidden_bare(c: char) -> bool {
    matches!(c, '=' | '\'' | '(' | '$' | '[' | '{' | '\\' | '`' | '"')
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn escapes_are_the_documented_ones_and_nothing_else() {
        for (text, byte) in [
            ("\"", b'"'),
            ("\\", b'\\'),
            ("$", b'$'),
            ("n", b'\n'),
            ("_", b' '),
            ("0A", 10),
            ("C3", 0xC3),
        ] {
            assert_eq!(Cursor::new(text).escape(), Ok(byte), "{text}");
        }
        for text in ["", "x", "0a", "C", "'", "-", "ü", "1G"] {
            assert!(Cursor::new(text).escape().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_column_from_one() {
        let mut cursor = Cursor::new("abc");
        cursor.take();
        assert_eq!(cursor.error("syntax error").to_string(), "syntax error (line 1 column 2)");
    }

    #[test]
    fn bare_values_refuse_what_needs_quotes() {
        assert_eq!(Cursor::new("raid10/x.img ").bare_value(), Ok("raid10/x.img".to_owned()));
        assert!(Cursor::new("a=b").bare_value().is_err());
        assert!(Cursor::new("a$b").bare_value().is_err());
    }
}
