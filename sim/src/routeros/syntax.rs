//! The syntax tree of one line. Built by the parser only, run by the evaluator only.

use super::catalog::{Builtin, Menu, Verb};
use super::value::Value;

/// Commands in order, as between `{` and `}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// The commands.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A command of a menu: `/disk/add …`.
    Menu(Box<MenuCommand>),
    /// A command of the language that only takes values: `:put`, `:len`.
    Builtin(Builtin, Arguments),
    /// `:local name value`, `:global name value`.
    Declare { global: bool, name: String, value: Option<Expr> },
    /// `:set name value`, `:set ($map->"key") value`.
    Set { name: String, keys: Vec<Expr>, value: Option<Expr> },
    /// `:if (condition) do={} else={}`.
    If { condition: Expr, then: Block, otherwise: Block },
    /// `:foreach item in=values do={}`, `:foreach key,item in=values do={}`.
    Foreach { key: Option<String>, item: String, values: Expr, body: Block },
    /// `:for i from=1 to=3 step=1 do={}`.
    For { name: String, from: Expr, to: Expr, step: Option<Expr>, body: Block },
    /// `:while (condition) do={}`; `:do {} while=(condition)` runs the body first.
    While { condition: Expr, body: Block, body_first: bool },
    /// `:do {} on-error={}`; without a handler an error goes on upwards.
    Do { body: Block, on_error: Option<Block> },
    /// `:onerror name in={} do={}`.
    OnError { name: String, body: Block, handler: Block },
    /// `{ … }`.
    Scope(Block),
    /// A value as a command: its brackets run, its result is dropped.
    Value(Expr),
}

/// A command of a menu with everything it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuCommand {
    /// Where.
    pub menu: Menu,
    /// What.
    pub verb: Verb,
    /// What follows `where`, or the bare conditions of `find`.
    pub filter: Option<Expr>,
    /// Everything else.
    pub arguments: Arguments,
}

/// What a command was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// Values without a name, in order.
    pub positional: Vec<Expr>,
    /// `name=value`.
    pub named: Vec<(String, Expr)>,
    /// Words that switch something on: `detail`, `as-value`.
    pub flags: Vec<String>,
    /// `!name` of `set`.
    pub unset: Vec<String>,
}

/// Something that has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Known when parsed.
    Literal(Value),
    /// A string with `$name`, `$(…)` or `$[…]` in it.
    Interpolated(Vec<Expr>),
    /// `$name`.
    Variable(String),
    /// A bare word on the left of a condition: the property of the row in hand.
    Property(String),
    /// `{1; 2; key="value"}`.
    Array(Vec<(Option<Expr>, Expr)>),
    /// `[ … ]`: the result of the last command.
    Result(Block),
    /// `!a`, `-a`.
    Unary(Unary, Box<Expr>),
    /// `a . b . c` and so on, from left to right. A list, so that a long chain is no deep tree.
    Chain(Box<Expr>, Vec<(Binary, Expr)>),
}

/// Operators before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// `!`, `not`.
    Not,
    /// `-`.
    Minus,
}

/// Operators between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    Concat,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Element,
    Join,
}
