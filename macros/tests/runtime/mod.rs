//! Stand-in for tellane: the part of it that `#[observed]` calls, with a list of the calls on this thread.

use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

thread_local! {
    static DONE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn note(what: impl Into<String>) {
    DONE.with_borrow_mut(|done| done.push(what.into()));
}

pub(crate) fn take() -> Vec<String> {
    DONE.take()
}

/// Ready at the second poll.
pub(crate) async fn pause() {
    let mut polled = false;
    std::future::poll_fn(
        |_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending },
    )
    .await;
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

#[derive(Clone)]
pub(crate) struct Tracer(pub(crate) &'static str);

pub(crate) fn tracer() -> Tracer {
    Tracer("")
}

#[derive(Debug)]
#[allow(dead_code)]
pub(crate) enum SpanKind {
    Server,
    Client,
}

pub(crate) struct Span(OwnedSpan, PhantomData<*const ()>);
pub(crate) struct OwnedSpan;

impl Tracer {
    pub(crate) const NOBODY: Self = Self("nobody");

    pub(crate) fn span(&self, name: &'static str) -> Span {
        Span(self.owned(name), PhantomData)
    }

    pub(crate) fn span_with_kind(&self, name: &'static str, kind: SpanKind) -> Span {
        Span(self.owned_with_kind(name, kind), PhantomData)
    }

    pub(crate) fn owned(&self, name: &'static str) -> OwnedSpan {
        let colon = if self.0.is_empty() { "" } else { ":" };
        note(format!("open({}{colon}{name})", self.0));
        OwnedSpan
    }

    pub(crate) fn owned_with_kind(&self, name: &'static str, kind: SpanKind) -> OwnedSpan {
        note(format!("open({}{name},{kind:?})", self.0));
        OwnedSpan
    }
}

impl Deref for Span {
    type Target = OwnedSpan;

    fn deref(&self) -> &OwnedSpan {
        &self.0
    }
}

impl DerefMut for Span {
    fn deref_mut(&mut self) -> &mut OwnedSpan {
        &mut self.0
    }
}

pub(crate) struct Attribute<'a>(String, PhantomData<&'a ()>);

macro_rules! from {
    ($($from:ty),*) => {$(
        impl<'a> From<$from> for Attribute<'a> {
            fn from(value: $from) -> Self {
                Self(value.to_string(), PhantomData)
            }
        }
    )*};
}
from!(&'a str, &'a String, u64, usize);

impl OwnedSpan {
    pub(crate) fn is_recorded(&self) -> bool {
        true
    }

    pub(crate) fn fail(&mut self) {
        note("failed");
    }

    pub(crate) fn set<'v>(&mut self, key: &'static str, value: impl Into<Attribute<'v>>) {
        note(format!("{key}={}", value.into().0));
    }

    pub(crate) fn fail_with(&mut self, message: &str) {
        note(format!("failed({message})"));
    }
}

impl Drop for OwnedSpan {
    fn drop(&mut self) {
        note("close");
    }
}

pub(crate) struct Spanned<F: Future> {
    future: Pin<Box<F>>,
    span: OwnedSpan,
    judge: fn(&F::Output, &mut OwnedSpan),
}

impl<F: Future> Future for Spanned<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let polled = this.future.as_mut().poll(cx);
        if let Poll::Ready(output) = &polled {
            (this.judge)(output, &mut this.span);
        }
        polled
    }
}

pub(crate) trait InSpan: Future + Sized {
    fn in_span(self, span: OwnedSpan) -> Spanned<Self> {
        note("in_span");
        Spanned { future: Box::pin(self), span, judge: |_, _| () }
    }

    fn in_span_err<T, E: Display>(self, span: OwnedSpan) -> Spanned<Self>
    where
        Self: Future<Output = Result<T, E>>,
    {
        note("in_span_err");
        let judge = |output: &Result<T, E>, span: &mut OwnedSpan| {
            if let Err(error) = output {
                span.fail_with(&error.to_string());
            }
        };
        Spanned { future: Box::pin(self), span, judge }
    }
}

impl<F: Future> InSpan for F {}
