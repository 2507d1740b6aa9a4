//! Runner of the loom models. Tests only.
//!
//! A model that explores nothing passes, too (tokio-rs/loom#392). So every model declares the least number of
//! executions that it takes and the planted bugs that it must find, and [`check`] verifies both.

use crate::sync::plant::{Bug, plant};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Serialises the models, since a bug is planted for the whole process.
#[allow(clippy::disallowed_types)] // not part of any model
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Explores all executions of `model`, of which there must be at least `least`. Then explores it with each bug planted,
/// and each bug must make it fail. Prints the number of executions.
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
        let (after, how) = find_bug(*bug, preemptions, model);
        print!("; killed {bug:?} after {after} ({how})");
    }
    println!();
    assert!(executions >= least, "{name} explored {executions} executions, {least} were expected");
    assert!(!bugs.is_empty(), "{name} finds no bug: it may be blind");
}

/// Explores all executions of a model and returns their number. Panics if the model fails.
fn explore(preemptions: Option<usize>, model: fn()) -> usize {
    run(preemptions, model, &ExecutionCount::new(AtomicUsize::new(0)))
}

/// Plants a bug and runs the model until the bug makes it fail. Returns the number of that execution, and the failure.
fn find_bug(bug: Bug, preemptions: Option<usize>, model: fn()) -> (usize, String) {
    let executions = ExecutionCount::new(AtomicUsize::new(0));
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

/// Number of executions, in a plain atomic that is not part of the model.
#[allow(clippy::disallowed_types)]
type ExecutionCount = std::sync::Arc<AtomicUsize>;

fn run(preemptions: Option<usize>, model: fn(), executions: &ExecutionCount) -> usize {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = preemptions;
    loom.max_branches = 20_000;
    let counter = ExecutionCount::clone(executions);
    loom.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        spawn(model).join().expect("a model's failure ends the exploration");
    });
    executions.load(Ordering::Relaxed)
}

/// Spawns a thread of a model. Its stack is larger than loom's 32 KiB, for which the crate's code was not written.
pub(crate) fn spawn<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    const STACK_WORDS: usize = 1 << 15; // loom's builder documents bytes, but its generators count words
    let thread = loom::thread::Builder::new().stack_size(STACK_WORDS);
    thread.spawn(act).expect("loom's threads are coroutines")
}

/// Guard of a planted bug. While it lives, the panics that the bug causes are not printed. The panic hook that loom's
/// generators have set is restored afterwards: it silences the end of every modelled thread.
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
