//! Commands of the language: variables, conditions, loops, error blocks, `:put` and its kin.

use std::collections::HashMap;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::super::builtins;
use super::super::catalog::Builtin;
use super::super::syntax::{Arguments, Block, Command, Expr};
use super::super::value::{Array, Value};
use super::expression::checked;
use super::{Evaluator, Stop, error};

/// Rounds of all loops of one kind in one line.
const MAX_ROUNDS: i64 = 200_000;

impl Evaluator<'_> {
    /// Runs commands in a scope of their own; the value is that of the last one.
    pub(super) fn block<'b>(&'b mut self, block: &'b Block) -> BoxFuture<'b, Result<Value, Stop>> {
        async move {
            self.scopes.push(HashMap::new());
            let mut last = Ok(Value::Nothing);
            for command in &block.commands {
                last = self.command(command).await;
                if last.is_err() {
                    break;
                }
            }
            self.scopes.pop();
            last
        }
        .boxed()
    }

    async fn command(&mut self, command: &Command) -> Result<Value, Stop> {
        self.step()?;
        match command {
            Command::Menu(command) => self.menu(command).await,
            Command::Builtin(builtin, arguments) => self.builtin(*builtin, arguments).await,
            Command::Declare { global, name, value } => {
                let value = self.optional(value.as_ref()).await?;
                match global {
                    true if value == Value::Nothing => {}
                    true => self.os.set_global(name, value),
                    false => self.declare(name, value),
                }
                Ok(Value::Nothing)
            }
            Command::Set { name, keys, value } => self.set(name, keys, value.as_ref()).await,
            Command::If { condition, then, otherwise } => {
                let chosen = if self.condition(condition).await? { then } else { otherwise };
                self.block(chosen).await
            }
            Command::Foreach { key, item, values, body } => {
                self.foreach(key.as_deref(), item, values, body).await
            }
            Command::For { name, from, to, step, body } => {
                self.count(name, from, to, step.as_ref(), body).await
            }
            Command::While { condition, body, body_first } => {
                self.repeat(condition, body, *body_first).await
            }
            Command::Do { body, on_error } => self.guarded(body, on_error.as_ref()).await,
            Command::OnError { name, body, handler } => self.on_error(name, body, handler).await,
            Command::Scope(block) => self.block(block).await,
            Command::Value(expr) => self.expr(expr).await,
        }
    }

    async fn optional(&mut self, expr: Option<&Expr>) -> Result<Value, Stop> {
        match expr {
            Some(expr) => self.expr(expr).await,
            None => Ok(Value::Nothing),
        }
    }

    pub(super) async fn condition(&mut self, expr: &Expr) -> Result<bool, Stop> {
        let value = self.expr(expr).await?;
        value.as_bool().ok_or_else(|| error("conditional not boolean"))
    }

    async fn set(
        &mut self,
        name: &str,
        keys: &[Expr],
        value: Option<&Expr>,
    ) -> Result<Value, Stop> {
        let value = self.optional(value).await?;
        if keys.is_empty() {
            self.assign(name, value);
            return Ok(Value::Nothing);
        }
        let mut path = Vec::new();
        for key in keys {
            path.push(self.expr(key).await?);
        }
        let mut whole = self.variable(name);
        put_into(&mut whole, &path, value)?;
        self.assign(name, checked(whole)?);
        Ok(Value::Nothing)
    }

    async fn guarded(&mut self, body: &Block, on_error: Option<&Block>) -> Result<Value, Stop> {
        match (self.block(body).await, on_error) {
            (Err(Stop::Error(_)), Some(handler)) => self.block(handler).await,
            (result, _) => result,
        }
    }

    /// True where the handler ran, false where nothing went wrong.
    async fn on_error(&mut self, name: &str, body: &Block, handler: &Block) -> Result<Value, Stop> {
        let depth = self.scopes.len();
        match self.block(body).await {
            Err(Stop::Error(text)) => {
                self.scopes.truncate(depth);
                self.scopes.push(HashMap::from([(name.to_owned(), Value::Text(text))]));
                let result = self.block(handler).await;
                self.scopes.pop();
                result.map(|_| Value::Bool(true))
            }
            Err(stop) => Err(stop),
            Ok(_) => Ok(Value::Bool(false)),
        }
    }

    async fn foreach(
        &mut self,
        key: Option<&str>,
        item: &str,
        values: &Expr,
        body: &Block,
    ) -> Result<Value, Stop> {
        let array = match self.expr(values).await? {
            Value::Array(array) => array,
            Value::Nothing => Array::default(),
            single => Array { list: vec![single], ..Array::default() },
        };
        let unnamed = array.list.into_iter().enumerate();
        let unnamed = unnamed
            .map(|(at, value)| (Value::Number(i64::try_from(at).unwrap_or(i64::MAX)), value));
        let named = array.map.into_iter().map(|(key, value)| (Value::Text(key), value));
        for (at, value) in unnamed.chain(named) {
            let mut scope = HashMap::from([(item.to_owned(), value)]);
            if let Some(key) = key {
                scope.insert(key.to_owned(), at);
            }
            if !self.round(scope, body).await? {
                break;
            }
        }
        Ok(Value::Nothing)
    }

    async fn count(
        &mut self,
        name: &str,
        from: &Expr,
        to: &Expr,
        step: Option<&Expr>,
        body: &Block,
    ) -> Result<Value, Stop> {
        let from = self.number(from).await?;
        let to = self.number(to).await?;
        let step = match step {
            Some(step) => self.number(step).await?,
            None if to < from => -1,
            None => 1,
        };
        if step == 0 || to.saturating_sub(from) / step > MAX_ROUNDS {
            return Err(error("failure: too many loop rounds"));
        }
        let mut at = from;
        while if step > 0 { at <= to } else { at >= to } {
            let scope = HashMap::from([(name.to_owned(), Value::Number(at))]);
            if !self.round(scope, body).await? {
                break;
            }
            let Some(next) = at.checked_add(step) else {
                break;
            };
            at = next;
        }
        Ok(Value::Nothing)
    }

    async fn repeat(
        &mut self,
        condition: &Expr,
        body: &Block,
        mut body_first: bool,
    ) -> Result<Value, Stop> {
        for _ in 0..MAX_ROUNDS {
            if !std::mem::take(&mut body_first) && !self.condition(condition).await? {
                return Ok(Value::Nothing);
            }
            if !self.round(HashMap::new(), body).await? {
                return Ok(Value::Nothing);
            }
        }
        Err(error("failure: too many loop rounds"))
    }

    /// One round of a loop; false where `:break` ends it.
    async fn round(&mut self, scope: HashMap<String, Value>, body: &Block) -> Result<bool, Stop> {
        self.step()?;
        self.scopes.push(scope);
        let result = self.block(body).await;
        self.scopes.pop();
        match result {
            Ok(_) | Err(Stop::Continue) => Ok(true),
            Err(Stop::Break) => Ok(false),
            Err(stop) => Err(stop),
        }
    }

    pub(super) async fn number(&mut self, expr: &Expr) -> Result<i64, Stop> {
        let value = self.expr(expr).await?;
        value.as_number().ok_or_else(|| Stop::Error(format!("invalid value {value}, not a number")))
    }

    async fn builtin(&mut self, builtin: Builtin, arguments: &Arguments) -> Result<Value, Stop> {
        let mut given = Vec::new();
        for expr in &arguments.positional {
            given.push(self.expr(expr).await?);
        }
        let mut named = Vec::new();
        for (name, expr) in &arguments.named {
            named.push((name.clone(), self.expr(expr).await?));
        }
        if given.is_empty() && matches!(builtin, Builtin::Put | Builtin::Error | Builtin::Delay) {
            given.extend(named.first().map(|(_, value)| value.clone()));
        }
        let first = given.first().cloned().unwrap_or_default();
        match builtin {
            Builtin::Put => self.print(&first.to_string()).map(|()| Value::Nothing),
            Builtin::Log | Builtin::Nothing => Ok(Value::Nothing),
            Builtin::Error => Err(Stop::Error(first.to_string())),
            Builtin::Return => Err(Stop::Return(first)),
            Builtin::Break => Err(Stop::Break),
            Builtin::Continue => Err(Stop::Continue),
            Builtin::Exit => Err(Stop::Exit),
            Builtin::Delay => {
                self.delay(builtins::seconds(&first)).await;
                Ok(Value::Nothing)
            }
            pure => {
                let quirks = self.os.quirks();
                builtins::apply(pure, &given, &named, &quirks).map_err(Stop::Error)
            }
        }
    }
}

/// `:set ($map->"a"->"b") value`; nothing as value takes the element away.
fn put_into(whole: &mut Value, path: &[Value], value: Value) -> Result<(), Stop> {
    let Some((key, rest)) = path.split_first() else {
        *whole = value;
        return Ok(());
    };
    if *whole == Value::Nothing {
        *whole = Value::Array(Array::default());
    }
    let Value::Array(array) = whole else {
        return Err(error("failure: not an array"));
    };
    match key {
        Value::Number(at) => {
            let at = usize::try_from(*at).map_err(|_| error("failure: bad array index"))?;
            if at > array.list.len() {
                return Err(error("failure: bad array index"));
            }
            if at == array.list.len() {
                array.list.push(Value::Nothing);
            }
            put_into(&mut array.list[at], rest, value)
        }
        key if rest.is_empty() && value == Value::Nothing => {
            array.map.remove(&key.to_string());
            Ok(())
        }
        key => put_into(array.map.entry(key.to_string()).or_default(), rest, value),
    }
}
