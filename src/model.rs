//! Runs loom models. Tests only.
//!
//! A model that explores nothing passes as well as a right one (tokio-rs/loom#392), so every model says how many
//! executions it takes at least and which planted bugs it must find, and [`check`] holds it to both.

use crate::sync::plant::{Bug, plant};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bug is planted for the whole process, so models take turns.
#[allow(clippy::disallowed_types)] // outside loom's world
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Runs `model` through all its executions, of which there must be `least`; then once for each bug, which must make
/// it fail. Prints what it took.
pub(crate) fn check(name: &str, least: usize, bugs: &[Bug], model: fn()) {
    check_within(None, name, least, bugs, model);
}

/// Like [`check`], but explores only executions in which threads are preempted at most `preemptions` times, for models
/// whose executions run into millions. Nearly all known ordering bugs need one or two.
pub(crate) fn check_bounded(preemptions: usize, name: &str, least: usize, bugs: &[Bug], model: fn()) {
    let name = format!("{name} (at most {preemptions} preemptions)");
    check_within(Some(preemptions), &name, least, bugs, model);
}

fn check_within(preemptions: Option<usize>, name: &str, least: usize, bugs: &[Bug], model: fn()) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let executions = explore(preemptions, model);
    print!("model {name}: {executions} executions");
    for bug in bugs {
        let (after, how) = kills(*bug, preemptions, model);
        print!("; killed {bug:?} after {after} ({how})");
    }
    println!();
    assert!(executions >= least, "{name} explored {executions} executions, {least} were expected");
    assert!(!bugs.is_empty(), "{name} finds no bug: it may be blind");
}

/// All executions of a model; how many there were. Fails where the model does.
fn explore(preemptions: Option<usize>, model: fn()) -> usize {
    run(preemptions, model, &Counter::new(AtomicUsize::new(0)))
}

/// Plants a bug and lets the model find it: in which execution, and by which failure.
fn kills(bug: Bug, preemptions: Option<usize>, model: fn()) -> (usize, String) {
    let executions = Counter::new(AtomicUsize::new(0));
    let failure = {
        let _planted = Planted::new(bug);
        catch_unwind(AssertUnwindSafe(|| run(preemptions, model, &executions)))
    };
    let executions = executions.load(Ordering::Relaxed);
    let Err(panic) = failure else { panic!("{bug:?} survived {executions} executions") };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(!text.contains("exceeded maximum"), "{bug:?} was not found, loom gave up: {text}");
    (executions, text.lines().next().unwrap_or_default().into())
}

/// Counts executions outside loom's world.
#[allow(clippy::disallowed_types)]
type Counter = std::sync::Arc<AtomicUsize>;

fn run(preemptions: Option<usize>, model: fn(), executions: &Counter) -> usize {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = preemptions;
    loom.max_branches = 20_000;
    let counter = Counter::clone(executions);
    loom.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        spawn(model).join().expect("a model's failure ends the exploration");
    });
    executions.load(Ordering::Relaxed)
}

/// A thread of a model, with a stack for code that was not written for coroutines of 32 KiB.
pub(crate) fn spawn<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    const STACK_WORDS: usize = 1 << 15; // loom's builder says bytes; its generators count words
    let thread = loom::thread::Builder::new().stack_size(STACK_WORDS);
    thread.spawn(act).expect("loom's threads cost nothing")
}

/// A bug in its ground. Nobody hears it when it makes the model fail; the hook that loom's generators have set is
/// put aside for so long and not lost, as it keeps the end of every modelled thread quiet.
struct Planted {
    hook: Option<Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>>,
}

impl Planted {
    fn new(bug: Bug) -> Self {
        let hook = Some(take_hook());
        set_hook(Box::new(|_| ()));
        plant(Some(bug));
        Self { hook }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(None);
        if let Some(hook) = self.hook.take() {
            set_hook(hook);
        }
    }
}
