//! Who tells the stories: threads that outlive them, each with a world that the next story takes over.
//!
//! Machines take longer to boot than most stories take to tell. A story gets a world in which nothing
//! is left of the one before, and must leave it so; the world of one that
//! fails is switched off. What a teller started ends with its thread, and so with the process.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::world::World;

/// Tellers that wait for a story.
static IDLE: Mutex<Vec<Teller>> = Mutex::new(Vec::new());
/// Who has it lets a world boot.
static BOOTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Worlds so far.
static WORLDS: AtomicUsize = AtomicUsize::new(1);

type Order = Box<dyn FnOnce(&Runtime, &mut Option<World>) + Send>;

struct Teller(Sender<Order>);

/// Tells a story in a world, and panics as it does.
pub fn tell<S>(story: S)
where
    S: AsyncFnOnce(&mut World) + Send + 'static,
{
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let waiting = idle().pop();
    let teller = waiting.unwrap_or_else(Teller::start);
    let (tells, told) = channel();
    let order = move |runtime: &Runtime, kept: &mut Option<World>| {
        let world = kept.take();
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(in_world(world, story))));
        let _ = tells.send(outcome.map(|left| *kept = Some(left)));
    };
    teller.0.send(Box::new(order)).unwrap();
    let told = told.recv().unwrap();
    idle().push(teller);
    if let Err(panic) = told {
        resume_unwind(panic);
    }
}

/// Returns the world, for another story.
async fn in_world(kept: Option<World>, story: impl AsyncFnOnce(&mut World)) -> World {
    let mut world = match kept {
        Some(world) => world,
        None => {
            // Three machines at a time have enough to do.
            let _turn = BOOTS.lock().await;
            let began = Instant::now();
            let name = format!("world-{}", WORLDS.fetch_add(1, Ordering::Relaxed));
            let world = World::start(&name).await;
            eprintln!("{name} is up after {:?}", began.elapsed());
            world
        }
    };
    let began = Instant::now();
    story(&mut world).await;
    let told = began.elapsed();
    let left = world.left().await;
    eprintln!("told in {told:?}, tidied in {:?}", began.elapsed() - told);
    left
}

impl Teller {
    fn start() -> Self {
        let (orders, told) = channel::<Order>();
        thread::spawn(move || {
            // What a world keeps running goes on between two stories.
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.unwrap();
            let mut kept = None;
            while let Ok(order) = told.recv() {
                order(&runtime, &mut kept);
            }
        });
        Self(orders)
    }
}
