//! One measured figure, its goal, and what it is compared with.

use std::fmt;

use serde_json::{Value, json};

/// What a figure shall be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// This, or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// More than this.
    Above(f64),
}

impl Goal {
    /// Does this value reach it?
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
            Self::Above(bound) => value > bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self {
            Self::AtMost(bound) => ("<=", bound),
            Self::Below(bound) => ("<", bound),
            Self::Above(bound) => (">", bound),
        };
        write!(f, "{sign} {}", number(*bound))
    }
}

/// Another figure of the same unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    /// What it is of.
    pub what: String,
    /// Its value.
    pub value: f64,
}

/// One measured figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured; the name stays the same from run to run.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it shall be, where that was said.
    pub goal: Option<Goal>,
    /// What it is compared with.
    pub against: Option<Against>,
}

impl Figure {
    /// A figure without a goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, goal: None, against: None }
    }

    /// With a goal.
    #[must_use]
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Compared with another figure of the same unit.
    #[must_use]
    pub fn against(self, what: impl Into<String>, value: f64) -> Self {
        Self { against: Some(Against { what: what.into(), value }), ..self }
    }

    /// Does it reach its goal? `None` where it has none.
    pub fn holds(&self) -> Option<bool> {
        self.goal.map(|goal| goal.holds(self.value))
    }

    /// How many times as much as what it is compared with.
    pub fn ratio(&self) -> Option<f64> {
        let against = self.against.as_ref()?;
        (against.value != 0.0).then(|| self.value / against.value)
    }

    /// As it stands in `bench.json`.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal.map(|goal| goal.to_string()),
            "holds": self.holds(),
            "against": self.against.as_ref().map(|other| {
                json!({"what": other.what, "value": other.value, "ratio": self.ratio()})
            }),
        })
    }
}

/// A number with as many digits as say something.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let short = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    short.to_owned()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_goal_holds_on_its_own_side_of_the_bound_alone() {
        for (goal, below, at, above) in [
            (Goal::AtMost(70.0), true, true, false),
            (Goal::Below(70.0), true, false, false),
            (Goal::Above(70.0), false, false, true),
        ] {
            let holds = [69.0, 70.0, 71.0].map(|value| goal.holds(value));
            assert_eq!(holds, [below, at, above], "{goal}");
        }
    }

    #[test]
    fn numbers_are_short_and_keep_what_they_say() {
        let shown = [0.0, 0.0042, 0.5, 1.0, 2.345, 64.25, 291.4, 10_000.0].map(number);
        assert_eq!(shown, ["0", "0.004", "0.5", "1", "2.35", "64.2", "291", "10000"]);
    }

    #[test]
    fn the_file_says_name_value_unit_goal_holds_and_against() {
        let figure = Figure::new("create", 92.0, "ms").goal(Goal::AtMost(70.0));
        let figure = figure.against("the first driver", 184.0);
        assert_eq!(
            figure.json(),
            json!({
                "name": "create", "value": 92.0, "unit": "ms", "goal": "<= 70", "holds": false,
                "against": {"what": "the first driver", "value": 184.0, "ratio": 0.5},
            })
        );
        let bare = Figure::new("execs", 1.0, "execs").json();
        assert_eq!((&bare["goal"], &bare["holds"]), (&Value::Null, &Value::Null));
    }
}
