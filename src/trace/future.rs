//! Futures in spans: the span is current during each poll of the future, on any thread. Hot: [`Spanned::poll`].

mod in_context;

pub use in_context::InContext;

use super::Context as TraceContext;
use super::owned::{EntryRef, OwnedSpan};
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
    /// Runs the future in a span. The span is current while the future is polled or dropped, with the trace state and
    /// the baggage that the span was started with. The span ends when the future completes, or, marked
    /// [cancelled](crate::FinishedSpan::cancelled), when the future is dropped before. If the future panics, the span
    /// [fails](crate::FinishedSpan::panicked), even if the panic is caught and the future is dropped later. A span that
    /// does nothing passes on the context in which this method was called.
    ///
    /// ```
    /// use tellane::InSpan;
    /// let nothing = std::future::ready(42).in_span(tellane::OwnedSpan::noop());
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(runtime.block_on(nothing), 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "instrument")]
    #[doc(alias = "with_context")]
    fn in_span(self, span: OwnedSpan) -> Spanned<Self> {
        Spanned { future: Some(self), span: Some(span.or_forwarding()) }
    }

    /// Like [`in_span`](Self::in_span); if the future's output is an error, the span fails with the error's text.
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

    /// Runs the future in a context. The context is current while the future is polled or dropped: spans that start
    /// meanwhile are children of its span, and take its trace state and baggage. A context not yet bound to an instance
    /// uses the one that [`Context::attach`](crate::Context::attach) would choose.
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
    #[doc(alias = "with_context")]
    #[doc(alias = "attach")]
    fn in_context(self, context: TraceContext) -> InContext<Self> {
        InContext::new(self, context)
    }
}

impl<F: Future> InSpan for F {}

pin_project! {
    /// A future in a span; made by [`InSpan::in_span`]. Polling it after completion panics, like polling an `async`
    /// block, even if the inner future allows it: the inner future was dropped at its completion.
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
        // `None` after completion.
        span: Option<OwnedSpan>,
    }

    impl<F> PinnedDrop for Spanned<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let fails = FailsOnPanic(this.span);
            let entry = ExitGuard::enter(fails.0);
            this.future.set(None); // the span is still entered: its destructors may record
            drop(entry);
            std::mem::forget(fails);
            if let Some(mut span) = this.span.take() {
                span.cancel();
            }
        }
    }
}

impl<F> Spanned<F> {
    /// The span; `None` after the future has completed.
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
    /// Polls the future; on completion, calls `at_end` with the span before the span ends.
    #[inline]
    fn poll_to(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        at_end: impl FnOnce(&mut OwnedSpan, &F::Output),
    ) -> Poll<F::Output> {
        let mut this = self.project();
        let fails = FailsOnPanic(this.span);
        let entry = ExitGuard::enter(fails.0);
        let Some(future) = this.future.as_mut().as_pin_mut() else { polled_after_completion() };
        let result = future.poll(context);
        if let Poll::Ready(result) = &result {
            this.future.set(None);
            drop(entry);
            std::mem::forget(fails);
            if let Some(mut span) = this.span.take() {
                at_end(&mut span, result);
            }
        } else {
            drop(entry);
            std::mem::forget(fails);
        }
        result
    }
}

/// A guard that exits the stack entry after a poll, even if the future panics.
struct ExitGuard(Option<EntryRef>);

impl ExitGuard {
    #[inline(always)]
    fn enter(span: &Option<OwnedSpan>) -> Self {
        Self(span.as_ref().and_then(OwnedSpan::enter_poll))
    }
}

impl Drop for ExitGuard {
    #[inline]
    fn drop(&mut self) {
        if let Some(entry) = self.0 {
            entry.exit(Exit::Poll);
        }
    }
}

/// A guard that fails the span if a panic unwinds through its future during a poll or a drop. Without a panic the guard
/// is forgotten, so it costs nothing. The caller may catch the panic and keep the future, so the span is marked here
/// and not when it ends.
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

/// Panics, like the futures of std and `async` blocks. Returning `Pending` for ever instead would hide a bug of the
/// executor, or a `select!` over a future that is not fused.
#[cold]
#[inline(never)]
fn polled_after_completion() -> ! {
    panic!("a future in a span was polled after it had completed")
}

impl<F: Future> Future for Spanned<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_to(context, |_, _| ())
    }
}

pin_project! {
    /// A future in a span that fails if the future's output is an error; made by [`InSpan::in_span_err`]. Like
    /// [`Spanned`], it panics when it is polled after completion.
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
        self.project().spanned.poll_to(context, |span, result| {
            match result {
                Err(error) if span.is_recorded() => span.fail_with(&error.to_string()),
                Err(_) => span.fail(), // formatting the error would be wasted
                Ok(_) => {}
            }
        })
    }
}
