//! Queue that replaces the channel in models. Like the channel, it orders a receive after its send. Its lock also
//! orders a send after earlier receives, which nothing in tellane relies on.

use loom::sync::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct QueueState<T> {
    waiting: VecDeque<T>,
    has_sender: bool,
    has_receiver: bool,
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let state = QueueState { waiting: VecDeque::new(), has_sender: true, has_receiver: true };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Shared<T> {
    fn change<R>(&self, act: impl FnOnce(&mut QueueState<T>) -> R) -> R {
        let result = act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        result
    }
}

impl<T> Sender<T> {
    /// Sends a message; returns it as an error if the receiver is gone.
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        self.0.change(|state| {
            if !state.has_receiver {
                return Err(message);
            }
            state.waiting.push_back(message);
            Ok(())
        })
    }
}

impl<T> Receiver<T> {
    /// Waits for a message; an error if the queue is empty and the sender is gone.
    pub(crate) fn recv(&self) -> Result<T, ()> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(message) = state.waiting.pop_front() {
                return Ok(message);
            }
            if !state.has_sender {
                return Err(());
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.change(|state| state.has_sender = false);
        }
    }
}

impl<T> Drop for Receiver<T> {
    /// Drops the messages that were not received.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left = self.0.change(|state| {
                state.has_receiver = false;
                std::mem::take(&mut state.waiting)
            });
            drop(left);
        }
    }
}
