//! A peer's process. It makes the peer's rows, runs the batches it is asked for, and checks the results at the end;
//! or it runs one rate. Talks in lines: one word, then fields between tabs.
//!
//! A process for each peer, so that none pays for another's globals, threads and heap, and that what can be set once
//! in a process (tracing's subscriber, the recorder of `metrics`) can be set for each as its documentation has it.

use crate::peers::PEERS;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

fn emit(line: &str) {
    let mut out = stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        // Nobody listens any more: another peer failed, and its message is the one to read.
        end(1);
    }
}

/// Ends the process here and now. What is left (sockets, background threads, what a library does as a program exits)
/// has no say in how long this takes, nor in whether it happens.
fn end(code: i32) -> ! {
    // SAFETY: takes a number; all that was said is flushed.
    unsafe { libc::_exit(code) }
}

/// Nobody waits for a peer in vain: a panic on any of its threads ends it, since another may be waiting for that one
/// at a gate; and it does not outlive the program.
fn guard() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        end(101);
    }));
    // SAFETY: takes numbers, and changes only how this process hears of its parent's end.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Serves the rows of the peer with this number.
pub(crate) fn serve(peer: usize) {
    guard();
    let mut rows = (PEERS[peer].rows)();
    for row in &rows {
        emit(&format!("row\t{}\t{}\t{}\t{}", row.subject, row.how, row.threads, row.weaker));
    }
    for rate in (PEERS[peer].rates)() {
        emit(&format!("rate\t{}\t{}\t1\t{}", rate.subject, rate.how, rate.weaker));
    }
    emit("ready");
    for line in stdin().lock().lines() {
        let line = line.expect("lines are text");
        let Ok(number) = line.parse::<usize>() else { break };
        let (nanos, allocations) = rows[number].round();
        emit(&format!("batch\t{nanos}\t{allocations}"));
    }
    for row in rows {
        let (subject, how) = (row.subject, row.how);
        let (made, lost) = row.settle();
        if made > 0 {
            eprintln!("  {}, {subject}, {how}: {made} made, {lost} lost", PEERS[peer].name);
        }
        emit(&format!("settled\t{made}\t{lost}"));
    }
    emit("end");
    end(0);
}

/// Runs one rate of the peer with this number.
pub(crate) fn rate(peer: usize, number: usize, time: Duration) {
    guard();
    let rate = (PEERS[peer].rates)().swap_remove(number);
    let flow = (rate.run)(time);
    emit(&format!(
        "flow\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        flow.calls,
        flow.took.as_nanos(),
        flow.made,
        flow.lost,
        flow.grew,
        flow.background.as_nanos(),
        flow.caller.as_nanos()
    ));
    end(0);
}
