//! Values, arithmetic in parentheses, and the conditions after `where`.

use super::super::lexer::is_word;
use super::super::syntax::{Binary, Expr, Unary};
use super::super::value::Value;
use super::{ParseError, Parser};

/// Operators from loosest to tightest.
const LEVELS: [&[(&str, Binary)]; 7] = [
    &[("||", Binary::Or), ("or", Binary::Or)],
    &[("&&", Binary::And), ("and", Binary::And)],
    &[
        ("!=", Binary::NotEqual),
        ("<=", Binary::LessOrEqual),
        (">=", Binary::GreaterOrEqual),
        ("=", Binary::Equal),
        ("<", Binary::Less),
        (">", Binary::Greater),
        ("~", Binary::Matches),
        ("in", Binary::In),
    ],
    &[(",", Binary::Join)],
    &[(".", Binary::Concat)],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide), ("%", Binary::Modulo)],
];

impl Parser {
    /// One value where an argument may stand: quoted, `$name`, bracketed or bare.
    pub(super) fn value(&mut self) -> Result<Expr, ParseError> {
        match self.cursor.peek() {
            Some('"' | '$' | '(' | '[' | '{') => self.nested(Self::delimited),
            _ => {
                let word = self.cursor.bare_value()?;
                if word.is_empty() {
                    return Err(self.cursor.error("expected input value"));
                }
                Ok(Expr::Literal(bare(&word)))
            }
        }
    }

    /// A value that its first character announces.
    fn delimited(&mut self) -> Result<Expr, ParseError> {
        match self.cursor.peek() {
            Some('"') => self.string(),
            Some('$') => {
                self.cursor.take();
                self.cursor.variable().map(Expr::Variable)
            }
            Some('(') => {
                self.cursor.take();
                let inner = self.expression()?;
                self.close(')', "expected closing parenthesis")?;
                Ok(inner)
            }
            Some('[') => {
                self.cursor.take();
                let block = self.block()?;
                self.close(']', "expected closing bracket")?;
                Ok(Expr::Result(block))
            }
            Some('{') => self.array(),
            _ => Err(self.cursor.error("expected input value")),
        }
    }

    fn close(&mut self, bracket: char, text: &str) -> Result<(), ParseError> {
        self.cursor.skip_blanks();
        match self.cursor.eat(bracket) {
            true => Ok(()),
            false => Err(self.cursor.error(text)),
        }
    }

    /// `"…"` with escapes and `$name`, `$(…)`, `$[…]`.
    fn string(&mut self) -> Result<Expr, ParseError> {
        self.cursor.take();
        let mut parts = Vec::new();
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let here = self.cursor.error("expected closing quote");
            match self.cursor.take() {
                None => return Err(here),
                Some('"') => break,
                Some('\\') => bytes.push(self.cursor.escape()?),
                Some('$') => {
                    let part = match self.cursor.peek() {
                        Some('(' | '[') => self.nested(Self::delimited)?,
                        Some(c) if c.is_ascii_alphabetic() => {
                            Expr::Variable(self.cursor.variable()?)
                        }
                        _ => return Err(self.cursor.error("syntax error")),
                    };
                    parts.push(text_literal(&mut bytes));
                    parts.push(part);
                }
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if parts.is_empty() {
            return Ok(text_literal(&mut bytes));
        }
        parts.push(text_literal(&mut bytes));
        Ok(Expr::Interpolated(parts))
    }

    /// `{1; 2}`, `{a=1; "b"="x"}`.
    fn array(&mut self) -> Result<Expr, ParseError> {
        self.cursor.take();
        let mut elements = Vec::new();
        loop {
            self.cursor.skip_blanks();
            if self.cursor.eat(';') {
                continue;
            }
            if self.cursor.eat('}') {
                return Ok(Expr::Array(elements));
            }
            if self.cursor.peek().is_none() {
                return Err(self.cursor.error("expected closing brace"));
            }
            let key = self.key()?;
            let value = if key.is_some() { self.argument_value()? } else { self.value()? };
            elements.push((key, value));
            self.cursor.skip_blanks();
            if !matches!(self.cursor.peek(), Some(';' | '}')) {
                return Err(self.cursor.error("syntax error"));
            }
        }
    }

    /// The key of an element, where one comes with `=`.
    fn key(&mut self) -> Result<Option<Expr>, ParseError> {
        let at = self.cursor.mark();
        let key = match self.cursor.peek() {
            Some('"') => self.string()?,
            _ => Expr::Literal(Value::Text(self.cursor.word())),
        };
        if key != Expr::Literal(Value::text("")) && self.cursor.eat('=') {
            return Ok(Some(key));
        }
        self.cursor.rewind(at);
        Ok(None)
    }

    /// What stands between parentheses.
    pub(super) fn expression(&mut self) -> Result<Expr, ParseError> {
        self.nested(|parser| parser.level(0))
    }

    fn level(&mut self, level: usize) -> Result<Expr, ParseError> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let first = self.level(level + 1)?;
        let mut rest = Vec::new();
        loop {
            self.cursor.skip_blanks();
            let Some(operator) = self.operator(operators) else {
                return Ok(chain(first, rest));
            };
            rest.push((operator, self.level(level + 1)?));
        }
    }

    fn operator(&mut self, operators: &[(&str, Binary)]) -> Option<Binary> {
        for (text, operator) in operators {
            let is_name = text.starts_with(is_letter);
            let found =
                if is_name { self.cursor.eat_word(text) } else { self.cursor.eat_all(text) };
            if found {
                return Some(*operator);
            }
        }
        None
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        self.cursor.skip_blanks();
        let operator = match self.cursor.peek() {
            Some('!') => Unary::Not,
            Some('-') => Unary::Minus,
            _ if self.cursor.eat_word("not") => {
                let inner = self.nested(Self::unary)?;
                return Ok(Expr::Unary(Unary::Not, Box::new(inner)));
            }
            _ => return self.element(),
        };
        self.cursor.take();
        let inner = self.nested(Self::unary)?;
        Ok(Expr::Unary(operator, Box::new(inner)))
    }

    /// `$map->"key"->2`.
    fn element(&mut self) -> Result<Expr, ParseError> {
        let value = self.nested(Self::operand)?;
        let mut keys = Vec::new();
        loop {
            let at = self.cursor.mark();
            self.cursor.skip_blanks();
            if !self.cursor.eat_all("->") {
                self.cursor.rewind(at);
                return Ok(chain(value, keys));
            }
            self.cursor.skip_blanks();
            keys.push((Binary::Element, self.nested(Self::operand)?));
        }
    }

    /// A value between operators: a bare word ends where an operator may start.
    pub(super) fn operand(&mut self) -> Result<Expr, ParseError> {
        match self.cursor.peek() {
            Some('"' | '$' | '(' | '[' | '{') => self.delimited(),
            Some('*') => {
                self.cursor.take();
                let digits = self.cursor.take_while(|c| c.is_ascii_hexdigit());
                Ok(Expr::Literal(bare(&format!("*{digits}"))))
            }
            Some(c) if c.is_ascii_digit() => {
                let word = self.cursor.take_while(|c| c.is_ascii_alphanumeric() || c == ':');
                Ok(Expr::Literal(bare(&word)))
            }
            Some(c) if is_letter(c) => {
                let word = self.cursor.take_while(|c| is_word(c) && c != '.');
                Ok(Expr::Literal(bare(&word)))
            }
            _ => Err(self.cursor.error("expected input value")),
        }
    }

    /// The conditions after `where`; none where nothing follows.
    pub(super) fn conditions(&mut self) -> Result<Option<Expr>, ParseError> {
        self.cursor.skip_blanks();
        if self.cursor.at_end_of_command() {
            return Ok(None);
        }
        let conditions = self.nested(Self::any_of)?;
        self.cursor.skip_blanks();
        match self.cursor.at_end_of_command() {
            true => Ok(Some(conditions)),
            false => Err(self.cursor.error("expected end of command")),
        }
    }

    fn any_of(&mut self) -> Result<Expr, ParseError> {
        let first = self.all_of()?;
        let mut rest = Vec::new();
        loop {
            self.cursor.skip_blanks();
            if !self.cursor.eat_all("||") && !self.cursor.eat_word("or") {
                return Ok(chain(first, rest));
            }
            rest.push((Binary::Or, self.all_of()?));
        }
    }

    /// Conditions joined by `and` or side by side, which means the same.
    fn all_of(&mut self) -> Result<Expr, ParseError> {
        let first = self.single()?;
        let mut rest = Vec::new();
        loop {
            self.cursor.skip_blanks();
            let joined = self.cursor.eat_all("&&") || self.cursor.eat_word("and");
            let at = self.cursor.mark();
            let or_follows = self.cursor.eat_all("||") || self.cursor.eat_word("or");
            self.cursor.rewind(at);
            if !joined && (or_follows || self.cursor.at_end_of_command()) {
                return Ok(chain(first, rest));
            }
            rest.push((Binary::And, self.single()?));
        }
    }

    fn single(&mut self) -> Result<Expr, ParseError> {
        self.cursor.skip_blanks();
        if self.cursor.eat('!') || self.cursor.eat_word("not") {
            let inner = self.nested(Self::single)?;
            return Ok(Expr::Unary(Unary::Not, Box::new(inner)));
        }
        let left = self.nested(Self::subject)?;
        self.cursor.skip_blanks();
        let Some(operator) = self.operator(LEVELS[2]) else {
            return Ok(left);
        };
        self.cursor.skip_blanks();
        let right = self.argument_value()?;
        Ok(chain(left, vec![(operator, right)]))
    }

    /// What is compared: a property, a flag, or any value.
    fn subject(&mut self) -> Result<Expr, ParseError> {
        match self.cursor.peek() {
            Some('(') => {
                self.cursor.take();
                let inner = self.nested(Self::any_of)?;
                self.close(')', "expected closing parenthesis")?;
                Ok(inner)
            }
            Some('"' | '$' | '[' | '{') => self.delimited(),
            _ => {
                let name = self.cursor.word();
                if name.is_empty() {
                    return Err(self.cursor.error("syntax error"));
                }
                Ok(Expr::Property(name))
            }
        }
    }
}

fn chain(first: Expr, rest: Vec<(Binary, Expr)>) -> Expr {
    if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) }
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
}

fn text_literal(bytes: &mut Vec<u8>) -> Expr {
    let text = String::from_utf8_lossy(bytes).into_owned();
    bytes.clear();
    Expr::Literal(Value::Text(text))
}

/// A bare word: `yes` and `true` are booleans, the rest is what it looks like.
fn bare(word: &str) -> Value {
    match word {
        "yes" | "true" => Value::Bool(true),
        "no" | "false" => Value::Bool(false),
        _ => Value::from_bare_word(word),
    }
}
