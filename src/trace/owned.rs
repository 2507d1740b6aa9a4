//! The owned span, which belongs to no thread, and the methods that all spans share. Hot.

use super::Attribute;
use super::active::{ActiveSpan, DETACHED};
use super::context::Context;
use super::span::SpanContext;
use crate::context::Propagated;
use crate::instance::find;
use crate::lane::{Exit, Ids, Key, StackIndex, TraceFlags, laneless, local};
use crate::record::{OpenItem, Status};
use crate::sync::Arc;
use std::marker::PhantomData;
use std::num::NonZeroU64;

/// An open span that may move between threads. It becomes the parent of other spans while it is [entered](Self::enter),
/// or while a future runs [in it](crate::InSpan::in_span). It ends when it is dropped, on any thread.
///
/// All its methods work on the guard [`Span`](crate::Span) as well, which derefs to it.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let mut order = telemetry.tracer().owned("order");
/// order.set("items", 3_u64);
/// std::thread::scope(|scope| scope.spawn(move || drop(order)).join()).expect("no panic");
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.spans().next().map(|span| span.name.to_string()), Some("order".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a span that is dropped at once measures nothing"]
pub struct OwnedSpan(pub(super) Option<ActiveSpan>);

impl OwnedSpan {
    /// A span that does nothing.
    ///
    /// ```
    /// let mut span = tellane::OwnedSpan::noop();
    /// span.set("items", 3_u64);
    /// assert_eq!(span.span_context(), None);
    /// ```
    #[inline]
    pub const fn noop() -> Self {
        Self(None)
    }

    /// Sets an attribute. A key that is set again keeps its position and takes the last value; limits count keys, not
    /// calls. Sixteen numbers fit into the span itself; a longer span takes a block of 32 KiB, which its thread keeps
    /// for the next one. An attribute over [`SpanLimits`](crate::SpanLimits) is dropped and counted in the finished
    /// span; a text over the limit is cut. Does nothing on a span that is not recorded.
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
    #[doc(alias = "set_attribute")]
    #[doc(alias = "record")]
    #[doc(alias = "add_property")]
    #[inline]
    pub fn set<'v>(&mut self, key: &'static str, value: impl Into<Attribute<'v>>) {
        if let Some(active) = &mut self.0 {
            active.set(key, value.into());
        }
    }

    /// Adds an event with the present time. Attributes can be set on the builder that it returns.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut span = telemetry.tracer().span("order");
    /// span.event("retry").set("attempt", 2_u64);
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let order = snapshot.spans().next().expect("just ended");
    /// assert_eq!((&*order.events[0].name, order.events[0].attributes.len()), ("retry", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "add_event")]
    #[inline]
    pub fn event(&mut self, name: &'static str) -> EventBuilder<'_> {
        let Some(active) = &mut self.0 else { return EventBuilder { target: None, left: 0 } };
        let at = active.event(name);
        let left = active.core.limits.left.event_attributes;
        EventBuilder { target: at.map(|at| (active, at)), left }
    }

    /// Links another span to this one: for example, the span of each request that a batch answers.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let request = tracer.owned("request");
    /// let mut batch = tracer.span("batch");
    /// batch.link(request.span_context().expect("on")).set("place", 1_u64);
    /// batch.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let batch = snapshot.spans().next().expect("just ended");
    /// assert_eq!(Some(batch.links[0].span_id), request.span_context().map(|context| context.span_id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "add_link")]
    #[doc(alias = "follows_from")]
    #[inline]
    pub fn link(&mut self, to: SpanContext) -> EventBuilder<'_> {
        let Some(active) = &mut self.0 else { return EventBuilder { target: None, left: 0 } };
        let at = active.link(to);
        let left = active.core.limits.left.link_attributes;
        EventBuilder { target: at.map(|at| (active, at)), left }
    }

    /// Sets the span's status. The last call counts.
    ///
    /// ```
    /// use tellane::Status;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut span = telemetry.tracer().span("order");
    /// span.set_status(Status::Ok);
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.status), Some(Status::Ok));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn set_status(&mut self, status: Status) {
        if let Some(active) = &mut self.0 {
            active.set_status(status);
        }
    }

    /// Marks the span as failed: [`Status::Error`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut span = telemetry.tracer().span("order");
    /// span.fail();
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.status), Some(tellane::Status::Error));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn fail(&mut self) {
        self.set_status(Status::Error);
    }

    /// Marks the span as failed and sets the status message. The last message counts.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut span = telemetry.tracer().span("order");
    /// span.fail_with("out of stock");
    /// span.end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let order = snapshot.spans().next().expect("just ended");
    /// assert_eq!(order.status_message.as_deref(), Some("out of stock"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "record_exception")]
    #[doc(alias = "record_error")]
    pub fn fail_with(&mut self, message: &str) {
        self.fail();
        if let Some(active) = &mut self.0 {
            active.set_status_message(message);
        }
    }

    /// Returns `true` if attributes that are set on the span are kept: the switch is on, and the trace is sampled or
    /// held for [tail sampling](crate::Config::tail_sampling).
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// assert!(!telemetry.tracer().span("order").is_recorded());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "is_recording")]
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|active| active.own_ids().is_some() && active.is_recorded())
    }

    /// Returns `true` if the span's trace is sampled.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// assert!(!telemetry.tracer().span("order").is_sampled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_sampled(&self) -> bool {
        self.0
            .as_ref()
            .and_then(ActiveSpan::own_ids)
            .is_some_and(|ids| ids.trace_flags.has(TraceFlags::SAMPLED))
    }

    /// The span's ids; `None` for a span that does nothing.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let (order, payment) = (tracer.span("order"), tracer.span("payment"));
    /// let (order, payment) = (order.span_context().expect("on"), payment.span_context().expect("on"));
    /// assert_eq!(order.trace_id, payment.trace_id);
    /// assert_ne!(order.span_id, payment.span_id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn span_context(&self) -> Option<SpanContext> {
        SpanContext::from_ids(self.0.as_ref()?.own_ids()?)
    }

    /// Makes the span this thread's current one until the guard is dropped, with the trace state and the baggage that
    /// the span was started with. Guards may be dropped in any order: the last one made stays current until it is
    /// dropped itself. A panic that drops a guard marks the span as failed, even if the panic is caught and the span
    /// goes on.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let order = tracer.owned("order");
    /// {
    ///     let _inside = order.enter();
    ///     drop(tracer.span("payment")); // its child
    /// }
    /// let ids = order.span_context();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().expect("just ended").parent_id, ids.map(|ids| ids.span_id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "in_scope")]
    #[doc(alias = "set_local_parent")]
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        let active = self.0.as_ref().filter(|active| active.index == DETACHED);
        let entry = active.and_then(|active| EntryRef::enter_unordered(active.core.base, active.core.ids));
        Entered { entry, span: active, was_panicking: std::thread::panicking(), not_send: PhantomData }
    }

    /// Ends the span now.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.tracer().owned("order").end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "finish")]
    #[doc(alias = "close")]
    #[inline]
    pub fn end(self) {}

    /// Replaces a span that does nothing by one that passes on this thread's context.
    #[inline(always)]
    pub(super) fn or_forwarding(self) -> Self {
        if self.0.is_some() { self } else { Context::current().forwarding() }
    }

    /// Enters the span for one poll of a future.
    #[inline(always)]
    pub(super) fn enter_poll(&self) -> Option<EntryRef> {
        self.0.as_ref().and_then(EntryRef::enter_span)
    }

    /// Marks the span as failed by a panic, which may be caught before the span ends.
    #[cold]
    pub(crate) fn panicked(&mut self) {
        if let Some(active) = &mut self.0 {
            active.panicked();
        }
    }

    /// Marks the span as cancelled: its future was dropped before it completed.
    pub(super) fn cancel(&mut self) {
        if let Some(active) = &mut self.0
            && !std::thread::panicking()
        {
            active.cancel();
        }
    }
}

impl Drop for OwnedSpan {
    #[inline]
    fn drop(&mut self) {
        if let Some(active) = &mut self.0 {
            if std::thread::panicking() { active.end_unwinding() } else { active.end() }
        }
    }
}

/// An event or a link that was just added to a span, for its attributes.
///
/// ```
/// let mut span = tellane::Tracer::noop().span("order");
/// span.event("retry").set("attempt", 2_u64).set("after", "timeout");
/// ```
#[derive(Debug)]
pub struct EventBuilder<'a> {
    /// The span, and the item in it; `None` if the event or link was dropped.
    target: Option<(&'a mut ActiveSpan, OpenItem)>,
    /// Attributes that may still be set.
    left: u16,
}

impl EventBuilder<'_> {
    /// Sets an attribute of the event or link. A key that is set again keeps its position and takes the last value.
    ///
    /// ```
    /// let mut span = tellane::Tracer::noop().span("order");
    /// span.event("retry").set("attempt", 2_u64);
    /// ```
    #[doc(alias = "set_attribute")]
    #[allow(clippy::return_self_not_must_use)] // most callers stop after the last one
    #[inline]
    pub fn set<'v>(mut self, key: &'static str, value: impl Into<Attribute<'v>>) -> Self {
        if let Some((active, at)) = &mut self.target {
            (*at, self.left) = active.set_within(*at, self.left, key, value.into());
        }
        self
    }
}

/// A reference to an entry on this thread's span stack: just what is needed to exit it. A poll must keep it in memory,
/// where the unwinder finds it, so it is small: for a span that is switched off, a poll writes a single zero word.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryRef {
    base: NonZeroU64,
    span_id: u64,
    index: StackIndex,
}

impl EntryRef {
    #[inline(always)]
    fn enter_span(active: &ActiveSpan) -> Option<Self> {
        let index = match local::with_lane(active.core.base.get(), |local| local.enter_from(&active.core.ids))
        {
            Some(index) => index,
            None => enter_cold(active.core.base.get(), active.core.ids, None)?,
        };
        Some(Self { base: active.core.base, span_id: active.core.ids.span_id, index })
    }

    /// Pushes these ids on the stack of the thread's lane at the instance, for one poll.
    #[inline(always)]
    pub(super) fn enter_ids(base: NonZeroU64, ids: Ids) -> Option<Self> {
        let index = match local::with_lane(base.get(), |local| local.enter(ids)) {
            Some(index) => index,
            None => enter_cold(base.get(), ids, None)?,
        };
        Some(Self { base, span_id: ids.span_id, index })
    }

    /// Like [`enter_ids`](Self::enter_ids), for a guard that may be dropped before the guards of later entries.
    #[inline(always)]
    pub(super) fn enter_unordered(base: NonZeroU64, ids: Ids) -> Option<Self> {
        Self::enter_ids(base, Ids { trace_flags: TraceFlags(ids.trace_flags.0 | TraceFlags::ENTERED), ..ids })
    }

    /// Like [`enter_unordered`](Self::enter_unordered), for a context. It passes its trace state and baggage along, so
    /// a thread without a lane need not look them up by their handle.
    pub(super) fn enter_context(
        base: NonZeroU64,
        ids: Ids,
        propagated: Option<&Arc<Propagated>>,
    ) -> Option<Self> {
        let ids = Ids { trace_flags: TraceFlags(ids.trace_flags.0 | TraceFlags::ENTERED), ..ids };
        let index = match local::with_lane(base.get(), |local| local.enter(ids)) {
            Some(index) => index,
            None => enter_cold(base.get(), ids, propagated)?,
        };
        Some(Self { base, span_id: ids.span_id, index })
    }

    /// The entry of a span's own guard.
    pub(super) fn of_guard(active: &ActiveSpan) -> Self {
        Self { base: active.core.base, span_id: active.core.ids.span_id, index: active.index }
    }

    pub(super) fn index(self) -> StackIndex {
        self.index
    }

    #[inline(always)]
    pub(super) fn exit(self, how: Exit) {
        let left = local::with_lane(self.base.get(), |local| local.exit(self.index, self.span_id, how));
        if left.is_none() {
            exit_unattached(self, how);
        }
    }
}

/// Slow path: attaches this thread first. If it can have no lane, the context is kept beside the lanes, for the
/// headers; the spans started on this thread will be counted as dropped.
#[cold]
#[inline(never)]
pub(super) fn enter_cold(base: u64, ids: Ids, propagated: Option<&Arc<Propagated>>) -> Option<StackIndex> {
    let instance = find(Key(base).instance())?;
    if local::attach(&instance.lanes).is_ok()
        && let Some(index) = local::with_lane(base, |local| local.enter(ids))
    {
        return Some(index);
    }
    // In a forked child the lock of an entry may be held by a thread that does not exist there.
    let from_handle = || if instance.lanes.is_forked() { None } else { ids.trace_flags.handle().get() };
    laneless::enter(base, ids, propagated.cloned().or_else(from_handle))
}

/// Slow path: code inside the entry has attached the thread to another instance.
#[cold]
#[inline(never)]
fn exit_unattached(entry: EntryRef, how: Exit) {
    let base = entry.base.get();
    if laneless::is_laneless(entry.index) {
        laneless::exit(entry.index, how);
    } else if let Some(instance) = find(Key(base).instance())
        && local::attach(&instance.lanes).is_ok()
    {
        local::with_lane(base, |local| local.exit(entry.index, entry.span_id, how));
    }
}

/// A guard that keeps an [`OwnedSpan`] the current span of this thread until it is dropped.
///
/// ```compile_fail
/// let span = tellane::OwnedSpan::noop();
/// let inside = span.enter();
/// std::thread::scope(|scope| { scope.spawn(move || drop(inside)); }); // it belongs to its thread
/// ```
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let order = telemetry.tracer().owned("order");
/// let _inside = order.enter();
/// assert_eq!(telemetry.tracer().current_span_context(), order.span_context());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it is current only as long as the guard lives"]
pub struct Entered<'a> {
    entry: Option<EntryRef>,
    span: Option<&'a ActiveSpan>,
    /// Set if the thread was unwinding already when the guard was made, in a destructor: that panic does not fail the
    /// span.
    was_panicking: bool,
    not_send: PhantomData<*const ()>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            entry.exit(Exit::Entered);
        }
        if let Some(active) = self.span
            && std::thread::panicking()
            && !self.was_panicking
        {
            active.exited_by_panic();
        }
    }
}
