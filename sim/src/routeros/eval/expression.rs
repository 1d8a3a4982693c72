//! Values of expressions.

use futures::FutureExt;
use futures::future::BoxFuture;
use regex::RegexBuilder;

use super::super::syntax::{Binary, Expr, Unary};
use super::super::value::{Array, Value};
use super::{Evaluator, Stop, error};

/// Memory that one regular expression may take.
const MAX_REGEX: usize = 1 << 18;

/// Bytes of one value, roughly.
const MAX_VALUE: usize = 8 << 20;

/// Arrays within arrays.
const MAX_NESTING: usize = 32;

impl Evaluator<'_> {
    pub(super) fn expr<'b>(&'b mut self, expr: &'b Expr) -> BoxFuture<'b, Result<Value, Stop>> {
        async move {
            if let Some(value) = self.at_hand(expr)? {
                return Ok(value);
            }
            self.step()?;
            match expr {
                Expr::Literal(_) | Expr::Variable(_) | Expr::Property(_) => Ok(Value::Nothing),
                Expr::Interpolated(parts) => {
                    let mut text = String::new();
                    for part in parts {
                        text += &self.expr(part).await?.to_string();
                        check_size(text.len())?;
                    }
                    Ok(Value::Text(text))
                }
                Expr::Array(elements) => self.array(elements).await,
                Expr::Result(block) => match self.block(block).await {
                    Err(Stop::Return(value)) => Ok(value),
                    result => result,
                },
                Expr::Unary(Unary::Not, inner) => Ok(Value::Bool(!self.condition(inner).await?)),
                Expr::Unary(Unary::Minus, inner) => {
                    Ok(Value::Number(self.number(inner).await?.wrapping_neg()))
                }
                Expr::Chain(first, rest) => self.chain(first, rest).await,
            }
        }
        .boxed()
    }

    /// The operand of a condition, of which there is one for every row.
    async fn operand(&mut self, expr: &Expr) -> Result<Value, Stop> {
        match self.at_hand(expr)? {
            Some(value) => Ok(value),
            None => self.expr(expr).await,
        }
    }

    /// What needs no work; none for everything else.
    fn at_hand(&mut self, expr: &Expr) -> Result<Option<Value>, Stop> {
        let value = match expr {
            Expr::Literal(value) => value.clone(),
            Expr::Variable(name) => self.variable_or_property(name),
            Expr::Property(name) => self.property(name),
            _ => return Ok(None),
        };
        self.step()?;
        Ok(Some(value))
    }

    /// A property of the row in hand hides a variable of its name: `find where slot=$slot` finds
    /// every row (the manual's "reserved variable names").
    fn variable_or_property(&self, name: &str) -> Value {
        match self.row.as_ref().map(|row| row.get(name)) {
            Some(value) if value != Value::Nothing => value,
            _ => self.variable(name),
        }
    }

    fn property(&self, name: &str) -> Value {
        self.row.as_ref().map(|row| row.get(name)).unwrap_or_default()
    }

    async fn array(&mut self, elements: &[(Option<Expr>, Expr)]) -> Result<Value, Stop> {
        let mut array = Array::default();
        for (key, element) in elements {
            let value = self.expr(element).await?;
            match key {
                None => array.list.push(value),
                Some(key) => {
                    let key = self.expr(key).await?.to_string();
                    array.map.insert(key, value);
                }
            }
        }
        checked(Value::Array(array))
    }

    /// Operators of one level, from left to right; `and` and `or` stop where the result is certain.
    async fn chain(&mut self, first: &Expr, rest: &[(Binary, Expr)]) -> Result<Value, Stop> {
        let mut left = self.operand(first).await?;
        for (operator, right) in rest {
            left = match operator {
                Binary::Or | Binary::And => {
                    let holds = self.truth(&left)?;
                    if holds == (*operator == Binary::Or) {
                        return Ok(Value::Bool(holds));
                    }
                    let right = self.operand(right).await?;
                    Value::Bool(self.truth(&right)?)
                }
                _ => apply(*operator, left, self.operand(right).await?)?,
            };
        }
        Ok(left)
    }

    /// In conditions an absent flag is false instead of an error.
    fn truth(&self, value: &Value) -> Result<bool, Stop> {
        if *value == Value::Nothing && self.row.is_some() {
            return Ok(false);
        }
        value.as_bool().ok_or_else(|| error("conditional not boolean"))
    }
}

fn apply(operator: Binary, left: Value, right: Value) -> Result<Value, Stop> {
    let holds = match operator {
        Binary::Equal => left.loosely_equals(&right),
        Binary::NotEqual => !left.loosely_equals(&right),
        Binary::Less => order(&left, &right)?.is_lt(),
        Binary::LessOrEqual => order(&left, &right)?.is_le(),
        Binary::Greater => order(&left, &right)?.is_gt(),
        Binary::GreaterOrEqual => order(&left, &right)?.is_ge(),
        Binary::Matches => matches(&left, &right)?,
        Binary::In => match &right {
            Value::Array(array) => array.list.iter().any(|value| value.loosely_equals(&left)),
            other => other.loosely_equals(&left),
        },
        Binary::Concat => {
            let text = left.to_string() + &right.to_string();
            check_size(text.len())?;
            return Ok(Value::Text(text));
        }
        Binary::Join => return join(left, right),
        Binary::Element => return Ok(element(&left, &right)),
        Binary::Or | Binary::And => return Err(error("conditional not boolean")),
        _ => return arithmetic(operator, &left, &right),
    };
    Ok(Value::Bool(holds))
}

fn check_size(size: usize) -> Result<(), Stop> {
    match size > MAX_VALUE {
        true => Err(error("failure: value too large")),
        false => Ok(()),
    }
}

/// A value that a script built: refused where it is too deep or too large.
pub(super) fn checked(value: Value) -> Result<Value, Stop> {
    match value.weight(MAX_NESTING) {
        Some(weight) if weight <= MAX_VALUE => Ok(value),
        _ => Err(error("failure: value too large")),
    }
}

fn order(left: &Value, right: &Value) -> Result<std::cmp::Ordering, Stop> {
    match (left.as_number(), right.as_number()) {
        (Some(left), Some(right)) => Ok(left.cmp(&right)),
        _ if matches!((left, right), (Value::Text(_), Value::Text(_))) => Ok(left.cmp(right)),
        _ => Err(Stop::Error(format!(
            "cannot compare if {} is less than {}",
            left.type_name(),
            right.type_name()
        ))),
    }
}

fn matches(text: &Value, pattern: &Value) -> Result<bool, Stop> {
    let pattern = pattern.to_string();
    let regex = RegexBuilder::new(&pattern).size_limit(MAX_REGEX).build();
    match regex {
        Ok(regex) => Ok(regex.is_match(&text.to_string())),
        Err(_) => Err(Stop::Error(format!("failure: bad regular expression {pattern}"))),
    }
}

fn join(left: Value, right: Value) -> Result<Value, Stop> {
    let into_array = |value| match value {
        Value::Array(array) => array,
        Value::Nothing => Array::default(),
        single => Array { list: vec![single], ..Array::default() },
    };
    let (mut left, right) = (into_array(left), into_array(right));
    left.list.extend(right.list);
    left.map.extend(right.map);
    checked(Value::Array(left))
}

fn element(whole: &Value, key: &Value) -> Value {
    let Value::Array(array) = whole else {
        return Value::Nothing;
    };
    if let Value::Number(at) = key {
        let at = usize::try_from(*at).ok();
        return at.and_then(|at| array.list.get(at)).cloned().unwrap_or_default();
    }
    array.map.get(&key.to_string()).cloned().unwrap_or_default()
}

fn arithmetic(operator: Binary, left: &Value, right: &Value) -> Result<Value, Stop> {
    let (Some(a), Some(b)) = (left.as_number(), right.as_number()) else {
        return Err(Stop::Error(format!(
            "cannot calculate with {} and {}",
            left.type_name(),
            right.type_name()
        )));
    };
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide | Binary::Modulo if b == 0 => return Err(error("division by zero")),
        Binary::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result.map(Value::Number).ok_or_else(|| error("failure: number out of range"))
}
