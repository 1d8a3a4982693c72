//! The simulated box: RouterOS with a pool, its disks, its files and its console.
//!
//! [`RouterOs`] is the box. [`RouterOs::exec`] runs a line at once; [`RouterOs::open_session`] gives
//! a [`Session`] in memory, with latency and faults in tokio's time; [`Server`] puts the same console
//! behind a real SSH server. [`Quirks`] holds every fact about RouterOS that nobody has proven, as a
//! switch; [`Fault`] what may go wrong; [`RouterOs::connect_host`] plays the NVMe/TCP hosts.
//!
//! Inside: the parser reads a whole line before anything runs, the interpreter runs it command
//! by command, menus change the store and print rows. Nothing here knows the driver.

mod automation;
mod builtins;
mod catalog;
mod clock;
mod console;
mod disk;
mod eval;
mod exports;
mod faults;
mod file;
mod hosts;
mod journal;
mod json;
mod lexer;
mod machine;
mod moment;
mod parser;
mod pool;
mod print;
mod property;
mod quirks;
mod replay;
mod row;
mod server;
mod store;
mod syntax;
mod system;
mod user;
mod value;
mod version;

pub use clock::{Clock, ManualClock, SystemClock, TokioClock};
pub use console::{ExecError, OpenError, Session};
pub use exports::{Export, Exports, Image, Outside, Step, Target, plan};
pub use faults::{Fault, Reboot};
pub use hosts::{Connection, Cut, Refusal, Write};
pub use journal::{Entry, Outcome};
pub use machine::{ExecResult, RouterOs, Setup, Snapshot};
pub use moment::{Half, Moment};
pub use quirks::{
    ErrorTexts, ExistingFile, ExitStatus, JsonBool, LongComment, Quirks, SecondChannel, Switch,
};
pub use replay::{Recording, RecordingError};
pub use server::{AuthorizedKeys, HostKey, Offer, Server, ServerError, ServerSetup, UserKey};
pub use store::Counters;
pub use version::{NotAVersion, Version};
