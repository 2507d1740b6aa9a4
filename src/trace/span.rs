//! The span guard, as users see it. Hot.

use super::Attribute;
use super::open::Open;
use crate::record::Status;

/// An open span. Ends when dropped, on the thread it was started on.
///
/// If a panic unwinds through it, it ends in [`Status::Error`]. Dropped before its children, it takes them from the
/// thread's stack: they keep their parent, but new spans become children of whatever is open around it. A span that is
/// leaked (`mem::forget`) is never recorded, and stays the parent of later ones until a span around it ends.
///
/// ```compile_fail
/// let span = tellane::Tracer::noop().span("stays here");
/// std::thread::spawn(move || drop(span)); // a guard belongs to its thread
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
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// let spans: Vec<_> = snapshot.spans().collect();
/// assert_eq!((&*spans[0].name, spans[0].status), ("payment", Status::Error));
/// assert_eq!(spans[0].parent_id, Some(spans[1].span_id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a span that is dropped at once measures nothing"]
pub struct Span(pub(super) Option<Open>);

impl Span {
    /// A span that does nothing.
    ///
    /// ```
    /// let mut span = tellane::Span::noop();
    /// span.set("items", 3_u64);
    /// assert_eq!(span.context(), None);
    /// ```
    #[inline]
    pub const fn noop() -> Self {
        Self(None)
    }

    /// Sets an attribute. What does not fit (about eight numbers and eight short texts fit) is left out and counted
    /// in the finished span; a text longer than 248 bytes is cut at a character. Does nothing on a span that is not
    /// sampled.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("doc").start()?;
    /// let mut span = telemetry.tracer().span("read");
    /// span.set("path", "/etc/hosts");
    /// span.set("bytes", 240_u64);
    /// span.set("ratio", 0.5);
    /// span.set("cached", false);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn set<'v>(&mut self, key: &'static str, value: impl Into<Attribute<'v>>) {
        if let Some(open) = &mut self.0 {
            open.set(key, value.into());
        }
    }

    /// Says how it went. The last word counts.
    ///
    /// ```
    /// use tellane::Status;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut span = telemetry.tracer().span("order");
    /// span.set_status(Status::Ok);
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.status), Some(Status::Ok));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn set_status(&mut self, status: Status) {
        if let Some(open) = &mut self.0 {
            open.status = status;
        }
    }

    /// Says that it failed: [`Status::Error`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut span = telemetry.tracer().span("order");
    /// span.fail();
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.status), Some(tellane::Status::Error));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn fail(&mut self) {
        self.set_status(Status::Error);
    }

    /// Whether its attributes are kept: it is on, and sampled.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// assert!(!telemetry.tracer().span("order").is_sampled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_sampled(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.ids.sampled)
    }

    /// Its ids, or `None` for a span that does nothing.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let (order, payment) = (tracer.span("order"), tracer.span("payment"));
    /// let (order, payment) = (order.context().expect("on"), payment.context().expect("on"));
    /// assert_eq!(order.trace_id, payment.trace_id);
    /// assert_ne!(order.span_id, payment.span_id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn context(&self) -> Option<SpanContext> {
        let ids = self.0.as_ref()?.ids;
        (ids.span_id != 0).then_some(SpanContext {
            trace_id: ids.trace_id,
            span_id: ids.span_id,
            sampled: ids.sampled,
        })
    }

    /// Ends it now.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let span = telemetry.tracer().span("order");
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
    /// assert_eq!(snapshot.spans().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn end(self) {}
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = &mut self.0 {
            open.end();
        }
    }
}

/// The ids of a span.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let span = telemetry.tracer().span("order");
/// let ids = span.context().expect("the switch is on");
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
    /// Whether the trace is sampled.
    pub sampled: bool,
}
