//! Points, their names, and the one that is to go off.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use rds_sim::routeros::{Moment, Reboot};
use tokio_util::sync::CancellationToken;

/// What an operation did that can break.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// One line was sent, for these commands.
    Exec {
        commands: String,
        /// How many commands of menus the text of the line has.
        written: usize,
        /// The moments that it came to.
        moments: Vec<Moment>,
    },
    /// Something was written to Kubernetes.
    Write(&'static str),
}

/// What goes wrong with one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The controller dies before it.
    DiesBefore,
    /// The controller dies while the line is under way; it arrives after that.
    DiesSent,
    /// It was done; the controller dies before the answer has come.
    DiesDone,
    /// The controller has the answer, and dies before it does anything else that can be seen.
    DiesAnswered,
    /// Nothing was done; the controller cannot know that.
    Lost,
    /// It was done, the answer is lost, and the controller lives.
    AnswerLost,
    /// The answer is given up while the line is under way; it arrives after that.
    Late,
    /// The power of the box goes.
    Cut(Moment, Reboot),
}

impl Fault {
    /// What can go wrong with a step.
    pub fn of(step: &Step) -> Vec<Self> {
        use Fault::{AnswerLost, Cut, DiesAnswered, DiesBefore, DiesDone, DiesSent, Late, Lost};
        let Step::Exec { moments, .. } = step else {
            return vec![DiesBefore, DiesDone, DiesAnswered, Lost, AnswerLost];
        };
        let mut faults = vec![DiesBefore, DiesSent, DiesDone, DiesAnswered, Lost, AnswerLost, Late];
        for what in [Reboot::KeepEverything, Reboot::LoseUnsaved] {
            faults.extend(moments.iter().map(|moment| Cut(*moment, what)));
        }
        faults
    }

    /// Is the controller dead then?
    pub fn kills(self) -> bool {
        matches!(self, Self::DiesBefore | Self::DiesSent | Self::DiesDone | Self::DiesAnswered)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiesBefore => f.write_str("dies-before"),
            Self::DiesSent => f.write_str("dies-while-it-runs"),
            Self::DiesDone => f.write_str("dies-before-the-answer"),
            Self::DiesAnswered => f.write_str("dies-after-the-answer"),
            Self::Lost => f.write_str("lost"),
            Self::AnswerLost => f.write_str("answer-lost"),
            Self::Late => f.write_str("late"),
            Self::Cut(moment, Reboot::KeepEverything) => write!(f, "{moment}"),
            Self::Cut(moment, Reboot::LoseUnsaved) => write!(f, "{moment}+unsaved-lost"),
        }
    }
}

/// One fault of one step of an operation.
#[derive(Debug, Clone)]
pub struct Point {
    /// Which step, counted from 0.
    pub at: usize,
    pub fault: Fault,
    /// `<operation>/<number>-<what>/<fault>`
    pub name: String,
}

/// All points of an operation that took these steps.
pub fn points(operation: &str, steps: &[Step]) -> Vec<Point> {
    let mut points = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let what = match step {
            Step::Exec { commands, .. } => format!("exec-{commands}"),
            Step::Write(what) => format!("write-{what}"),
        };
        let point = |fault| {
            let name = format!("{operation}/{}-{what}/{fault}", at + 1);
            Point { at, fault, name }
        };
        points.extend(Fault::of(step).into_iter().map(point));
    }
    points
}

/// Watches the steps of a controller, and lets one of them go wrong.
#[derive(Default)]
pub struct Watch {
    state: Mutex<State>,
    /// Cancelled when the controller is dead: nothing that it does counts any more.
    pub death: CancellationToken,
}

#[derive(Default)]
struct State {
    steps: Vec<Step>,
    armed: Option<(usize, Fault)>,
    fired: bool,
    is_dying: bool,
    is_on: bool,
}

impl Watch {
    /// From now on steps are written down, and this point goes off.
    pub fn start(&self, point: Option<&Point>) {
        let mut state = self.state();
        state.is_on = true;
        state.armed = point.map(|point| (point.at, point.fault));
    }

    /// A step begins; its number, and what goes wrong with it. Never returns to a dead controller.
    pub async fn begin(&self, step: Step) -> (usize, Option<Fault>) {
        let (at, fault) = {
            let mut state = self.state();
            if !state.is_on {
                return (usize::MAX, None);
            }
            if state.is_dying {
                self.death.cancel();
            }
            state.steps.push(step);
            let at = state.steps.len() - 1;
            let fault = state.armed.filter(|(armed, _)| *armed == at).map(|(_, fault)| fault);
            state.fired |= fault.is_some();
            (at, fault)
        };
        if fault == Some(Fault::DiesBefore) {
            self.death.cancel();
        }
        self.survive().await;
        (at, fault)
    }

    /// Waits for ever where the controller is dead.
    pub async fn survive(&self) {
        if self.death.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }

    /// What the line of that step came to.
    pub fn came_to(&self, at: usize, passed: Vec<Moment>) {
        if let Some(Step::Exec { moments, .. }) = self.state().steps.get_mut(at) {
            *moments = passed;
        }
    }

    /// From now on the next step, or the end, is the controller's death.
    pub fn dying(&self) {
        self.state().is_dying = true;
    }

    pub fn is_dying(&self) -> bool {
        self.state().is_dying
    }

    /// Nothing goes wrong any more, and nothing is written down.
    pub fn stop(&self) {
        self.state().is_on = false;
    }

    pub fn has_fired(&self) -> bool {
        self.state().fired
    }

    pub fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}
