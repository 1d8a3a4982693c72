//! What a person sees while it runs and afterwards, and the file for machines.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use serde_json::Value;
use tokio::time::Instant;

use crate::figure::{Figure, number};

/// Shows figures.
pub struct Report {
    color: bool,
    began: Instant,
    figures: Vec<Figure>,
}

#[derive(Clone, Copy)]
enum Paint {
    Good,
    Bad,
    Dim,
}

impl Report {
    /// In colour where standard output is a terminal and nobody objects.
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let color = wanted && io::stdout().is_terminal();
        Self { color, began: Instant::now(), figures: Vec::new() }
    }

    fn paint(&self, text: &str, paint: Paint) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Says what is being done now.
    pub fn doing(&self, what: &str) {
        let at = format!("{:7.2} s", self.began.elapsed().as_secs_f64());
        println!("{} {what}", self.paint(&at, Paint::Dim));
    }

    /// Takes what was measured, and shows it.
    pub fn take(&mut self, figures: Vec<Figure>) {
        for figure in &figures {
            let text = format!("{} {} {}", figure.name, number(figure.value), figure.unit);
            println!("{:10} {text}", "");
        }
        self.figures.extend(figures);
    }

    /// The whole table.
    pub fn table(&self) {
        let name_width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        println!();
        for figure in &self.figures {
            let mark = match figure.holds() {
                Some(true) => self.paint("holds ", Paint::Good),
                Some(false) => self.paint("misses", Paint::Bad),
                None => "      ".to_owned(),
            };
            let goal = figure.goal.map(|goal| goal.to_string()).unwrap_or_default();
            println!(
                "{mark}  {:name_width$}  {:>8} {:9} {goal:10}  {}",
                figure.name,
                number(figure.value),
                figure.unit,
                self.paint(&compared(figure), Paint::Dim),
            );
        }
    }

    /// How many goals hold, and how many there are.
    pub fn goals(&self) -> (usize, usize) {
        let outcomes: Vec<bool> = self.figures.iter().filter_map(Figure::holds).collect();
        (outcomes.iter().filter(|holds| **holds).count(), outcomes.len())
    }

    /// Writes the file for machines.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        std::fs::write(path, format!("{:#}\n", Value::Array(figures)))
    }
}

fn compared(figure: &Figure) -> String {
    let Some(against) = &figure.against else {
        return String::new();
    };
    let ratio = figure.ratio().map(|ratio| format!(", x {}", number(ratio))).unwrap_or_default();
    format!("{}: {}{ratio}", against.what, number(against.value))
}
