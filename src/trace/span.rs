//! The span guard and the public form of a span's ids. Hot.

use super::owned::OwnedSpan;
use crate::lane::{Ids, TraceFlags};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// An open span, current on its thread: spans that start while it is open become its children. It ends when it is
/// dropped, on the thread that started it. To move a span across threads or `await` points, use an [`OwnedSpan`]; this
/// guard derefs to one.
///
/// If a panic unwinds through the span, it ends with [`Status::Error`](crate::Status::Error). A span that is dropped
/// before its children removes them from the thread's stack: they keep their parent, but new spans become children of
/// the span around it. A context attached inside, or an owned span entered there, stays current until its own guard is
/// dropped. A span that is leaked (`mem::forget`) is never recorded, and stays the parent of later spans until a span
/// around it ends, or until the poll of the future that leaked it returns.
///
/// ```compile_fail
/// let span = tellane::Tracer::noop().span("stays here");
/// std::thread::spawn(move || drop(span)); // a guard belongs to its thread
/// ```
///
/// ```compile_fail
/// fn must_be_send<F: Future + Send>(_: F) {}
/// must_be_send(async {
///     let _span = tellane::Tracer::noop().span("not across await");
///     std::future::ready(()).await; // the task may go on elsewhere: use `in_span`
/// });
/// ```
///
/// ```
/// use tellane::Status;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// let order = tracer.span("order");
/// let mut payment = tracer.span("payment"); // its child
/// payment.fail();
/// drop(payment);
/// drop(order);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let spans: Vec<_> = snapshot.spans().collect();
/// assert_eq!((&*spans[0].name, spans[0].status), ("payment", Status::Error));
/// assert_eq!(spans[0].parent_id, Some(spans[1].span_id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a span that is dropped at once measures nothing"]
pub struct Span {
    span: OwnedSpan,
    not_send: PhantomData<*const ()>,
}

impl Span {
    #[inline(always)]
    pub(super) const fn on_this_thread(span: OwnedSpan) -> Self {
        Self { span, not_send: PhantomData }
    }

    /// A span that does nothing.
    ///
    /// ```
    /// let mut span = tellane::Span::noop();
    /// span.set("items", 3_u64);
    /// assert_eq!(span.span_context(), None);
    /// ```
    #[inline]
    pub const fn noop() -> Self {
        Self::on_this_thread(OwnedSpan::noop())
    }

    /// Ends the span now.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let span = telemetry.tracer().span("order");
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "finish")]
    #[doc(alias = "close")]
    #[doc(alias = "exit")]
    #[inline]
    pub fn end(self) {}
}

impl Deref for Span {
    type Target = OwnedSpan;

    #[inline(always)]
    fn deref(&self) -> &OwnedSpan {
        &self.span
    }
}

impl DerefMut for Span {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut OwnedSpan {
        &mut self.span
    }
}

/// The ids of a span in this process or another one.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let span = telemetry.tracer().span("order");
/// let ids = span.span_context().expect("the switch is on");
/// println!("{:032x} {:016x}", ids.trace_id, ids.span_id); // as W3C trace context writes them
/// assert!(ids.sampled && ids.trace_id != 0 && ids.span_id != 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SpanContext {
    /// The 128-bit trace id, never 0.
    pub trace_id: u128,
    /// The span's own id, never 0.
    pub span_id: u64,
    /// `true` if the trace is sampled.
    pub sampled: bool,
    /// `true` if the span belongs to another process.
    pub remote: bool,
}

impl SpanContext {
    pub(super) fn from_ids(ids: Ids) -> Option<Self> {
        ids.is_span().then_some(Self {
            trace_id: ids.trace_id,
            span_id: ids.span_id,
            sampled: ids.trace_flags.has(TraceFlags::SAMPLED),
            remote: ids.trace_flags.has(TraceFlags::REMOTE),
        })
    }
}
