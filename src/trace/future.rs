//! Futures in spans: the span is current whenever the future is polled, on whatever thread. Hot: [`Spanned::poll`].

mod in_context;

pub use in_context::InContext;

use super::Context as TraceContext;
use super::owned::{OwnedSpan, StackEntry};
use crate::lane::Exit;
use pin_project_lite::pin_project;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs futures in spans and contexts, under any executor.
///
/// ```
/// use tellane::InSpan;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(
/// async {
///     drop(tracer.span("payment")); // a child of `order`
/// }
/// .in_span(tracer.owned("order"))
/// # );
/// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// # let spans: Vec<_> = snapshot.spans().collect();
/// # assert_eq!((&*spans[1].name, spans[0].parent_id), ("order", Some(spans[1].span_id)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait InSpan: Future + Sized {
    /// The span is current while the future is polled or dropped, with the trace state and the baggage that it started
    /// in. It ends with the future: when that is done, or, as [cancelled](crate::FinishedSpan::cancelled), when it is
    /// dropped before. If the future panics, the span [fails](crate::FinishedSpan::panicked), also if the panic is caught
    /// and the future is dropped later. A span that does nothing passes on the context that this was called in.
    ///
    /// ```
    /// use tellane::InSpan;
    /// let nothing = std::future::ready(42).in_span(tellane::OwnedSpan::noop());
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(runtime.block_on(nothing), 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn in_span(self, span: OwnedSpan) -> Spanned<Self> {
        Spanned { future: Some(self), span: Some(span.or_forwarding()) }
    }

    /// The same; if what it comes to is an error, the span fails with the error's text.
    ///
    /// ```
    /// use tellane::{InSpan, Status};
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let payment = std::future::ready("12 pounds".parse::<u32>()).in_span_err(telemetry.tracer().owned("payment"));
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert!(runtime.block_on(payment).is_err());
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.status), Some(Status::Error));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn in_span_err<T, E: Display>(self, span: OwnedSpan) -> SpannedResult<Self>
    where
        Self: Future<Output = Result<T, E>>,
    {
        SpannedResult { spanned: self.in_span(span) }
    }

    /// The context is current while the future is polled or dropped: spans that start meanwhile are children of its
    /// span, and its trace state and baggage go along. A context not yet bound to an instance uses the one that
    /// [`Context::attach`](crate::Context::attach) would choose.
    ///
    /// ```
    /// use tellane::{Baggage, Context, InSpan};
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let context = telemetry.tracer().current_context().with_baggage(Baggage::empty().with("user", "alice")?);
    /// # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let task = tokio::spawn(
    ///     async {
    ///         tokio::task::yield_now().await;
    ///         Context::current().baggage().get("user").map(str::to_owned)
    ///     }
    ///     .in_context(context),
    /// );
    /// assert_eq!(task.await.expect("no panic").as_deref(), Some("alice"));
    /// # });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn in_context(self, context: TraceContext) -> InContext<Self> {
        InContext::new(self, context)
    }
}

impl<F: Future> InSpan for F {}

pin_project! {
    /// A future in a span; made by [`InSpan::in_span`]. To poll it after it has ended panics, as with the futures of
    /// `async` blocks, whatever the future inside does: that one is gone by then.
    ///
    /// ```
    /// use tellane::{InSpan, OwnedSpan, Spanned};
    /// let future: Spanned<std::future::Ready<()>> = std::future::ready(()).in_span(OwnedSpan::noop());
    /// # drop(future);
    /// ```
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Spanned<F> {
        #[pin]
        future: Option<F>,
        // `None` once it has ended.
        span: Option<OwnedSpan>,
    }

    impl<F> PinnedDrop for Spanned<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let fails = FailsOnPanic(this.span);
            let inside = Leaving::enter(fails.0);
            this.future.set(None); // what its destructors record is recorded in the span
            drop(inside);
            std::mem::forget(fails);
            if let Some(mut span) = this.span.take() {
                span.cancel();
            }
        }
    }
}

impl<F> Spanned<F> {
    /// The span, until it has ended.
    ///
    /// ```
    /// use tellane::InSpan;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut order = std::future::ready(()).in_span(telemetry.tracer().owned("order"));
    /// if let Some(span) = order.span_mut() {
    ///     span.set("items", 3_u64);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn span_mut(&mut self) -> Option<&mut OwnedSpan> {
        self.span.as_mut()
    }
}

impl<F: Future> Spanned<F> {
    /// Polls; when it is done, `at_end` has a last word on the span.
    #[inline]
    fn poll_to(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        at_end: impl FnOnce(&mut OwnedSpan, &F::Output),
    ) -> Poll<F::Output> {
        let mut this = self.project();
        let fails = FailsOnPanic(this.span);
        let inside = Leaving::enter(fails.0);
        let Some(future) = this.future.as_mut().as_pin_mut() else { polled_after_its_end() };
        let outcome = future.poll(context);
        if let Poll::Ready(outcome) = &outcome {
            this.future.set(None);
            drop(inside);
            std::mem::forget(fails);
            if let Some(mut span) = this.span.take() {
                at_end(&mut span, outcome);
            }
        } else {
            drop(inside);
            std::mem::forget(fails);
        }
        outcome
    }
}

/// Leaves the stack after a poll, also when the future panics.
struct Leaving(Option<StackEntry>);

impl Leaving {
    #[inline(always)]
    fn enter(span: &Option<OwnedSpan>) -> Self {
        Self(span.as_ref().and_then(OwnedSpan::enter_unordered))
    }
}

impl Drop for Leaving {
    #[inline]
    fn drop(&mut self) {
        if let Some(inside) = self.0 {
            inside.exit(Exit::Poll);
        }
    }
}

/// The span of a future that is being polled or dropped. This guard is forgotten unless a panic unwinds through the future,
/// so it costs nothing. Whoever catches the panic may keep the future, so the span fails here and not at its end.
struct FailsOnPanic<'a>(&'a mut Option<OwnedSpan>);

impl Drop for FailsOnPanic<'_> {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        if let Some(span) = self.0 {
            span.panicked();
        }
    }
}

/// What the futures of std and of `async` do. To wait for ever instead would hide a fault of the executor, or of a
/// `select!` that is not fused.
#[cold]
#[inline(never)]
fn polled_after_its_end() -> ! {
    panic!("a future in a span was polled after it had ended")
}

impl<F: Future> Future for Spanned<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_to(context, |_, _| ())
    }
}

pin_project! {
    /// A future in a span that fails with it; made by [`InSpan::in_span_err`]. Like [`Spanned`], it panics when it is
    /// polled after it has ended.
    ///
    /// ```
    /// use tellane::{InSpan, OwnedSpan, SpannedResult};
    /// type Parsed = std::future::Ready<Result<u32, std::num::ParseIntError>>;
    /// let future: SpannedResult<Parsed> = std::future::ready("3".parse()).in_span_err(OwnedSpan::noop());
    /// # drop(future);
    /// ```
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct SpannedResult<F> {
        #[pin]
        spanned: Spanned<F>,
    }
}

impl<T, E: Display, F: Future<Output = Result<T, E>>> Future for SpannedResult<F> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        self.project().spanned.poll_to(context, |span, outcome| {
            match outcome {
                Err(error) if span.is_recorded() => span.fail_with(&error.to_string()),
                Err(_) => span.fail(), // nobody would read the text
                Ok(_) => {}
            }
        })
    }
}
