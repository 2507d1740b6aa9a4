//! A span that belongs to no thread, and what can be said of any span. Hot, as far as spans are.

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

/// An open span that may move between threads. It is nobody's parent until it is [entered](Self::enter), or until a
/// future runs [in it](crate::InSpan::in_span). Ends when dropped, on whatever thread that is.
///
/// What can be said of it goes for the guard [`Span`](crate::Span) as well, which derefs to it.
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

    /// Sets an attribute. A key that is set again keeps its place and has the last value; limits count keys, not calls.
    /// Sixteen numbers fit the span itself; a longer span takes a block of 32 KiB, which its thread keeps for the next
    /// one. An attribute over [`SpanLimits`](crate::SpanLimits) is left out and counted in the finished span; of a longer
    /// text the beginning is kept. Does nothing on a span that is not recorded.
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

    /// Notes that something happened, now; attributes can be set on what it returns.
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
    #[inline]
    pub fn event(&mut self, name: &'static str) -> EventBuilder<'_> {
        let Some(open) = &mut self.0 else { return EventBuilder { to: None, left: 0 } };
        let at = open.event(name);
        let left = open.core.limits.left.event_attributes;
        EventBuilder { to: at.map(|at| (open, at)), left }
    }

    /// Says that another span has to do with this one: of the requests that a batch answers, say.
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
    #[inline]
    pub fn link(&mut self, to: SpanContext) -> EventBuilder<'_> {
        let Some(open) = &mut self.0 else { return EventBuilder { to: None, left: 0 } };
        let at = open.link(to);
        let left = open.core.limits.left.link_attributes;
        EventBuilder { to: at.map(|at| (open, at)), left }
    }

    /// Says how it went. The last word counts.
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
        if let Some(open) = &mut self.0 {
            open.set_status(status);
        }
    }

    /// Says that it failed: [`Status::Error`].
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

    /// Says that it failed, and why. The last message counts.
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
    pub fn fail_with(&mut self, message: &str) {
        self.fail();
        if let Some(open) = &mut self.0 {
            open.emit(message);
        }
    }

    /// Whether its attributes are kept: it is on, and its trace is sampled or
    /// [held](crate::Config::outcome) until its outcome is known.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// assert!(!telemetry.tracer().span("order").is_recorded());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.own_ids().is_some() && open.is_recorded())
    }

    /// Whether its trace is sampled.
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

    /// Its ids, or `None` for a span that does nothing.
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
        SpanContext::of(self.0.as_ref()?.own_ids()?)
    }

    /// Makes it the current span of this thread until the guard is dropped, with the trace state and the baggage that it
    /// started in. Guards may be dropped in any order: the last one made stays current until it is dropped itself. A
    /// panic that drops a guard fails the span, also if the panic is caught and the span goes on.
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
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        let open = self.0.as_ref().filter(|open| open.place == DETACHED);
        let inside = open.and_then(|open| StackEntry::entered(open.core.base, open.core.ids));
        Entered { inside, open, was_panicking: std::thread::panicking(), not_send: PhantomData }
    }

    /// Ends it now.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.tracer().owned("order").end();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn end(self) {}

    /// The same, but one that does nothing passes on the context of this thread.
    #[inline(always)]
    pub(super) fn or_forwarding(self) -> Self {
        if self.0.is_some() { self } else { Context::current().forwarding() }
    }

    /// Where it stands on a thread's stack while it is entered.
    #[inline(always)]
    pub(super) fn enter_unordered(&self) -> Option<StackEntry> {
        self.0.as_ref().and_then(StackEntry::of)
    }

    /// A panic went through it that may be caught before its end.
    #[cold]
    pub(crate) fn panicked(&mut self) {
        if let Some(open) = &mut self.0 {
            open.panicked();
        }
    }

    /// Its future was dropped before it was done.
    pub(super) fn cancel(&mut self) {
        if let Some(open) = &mut self.0
            && !std::thread::panicking()
        {
            open.cancel();
        }
    }
}

impl Drop for OwnedSpan {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = &mut self.0 {
            if std::thread::panicking() { open.end_unwinding() } else { open.end() }
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
    /// `None` if it is not kept.
    to: Option<(&'a mut ActiveSpan, OpenItem)>,
    /// Attributes that may still be set.
    left: u16,
}

impl EventBuilder<'_> {
    /// Sets an attribute of it. A key that is set again keeps its place and has the last value.
    ///
    /// ```
    /// let mut span = tellane::Tracer::noop().span("order");
    /// span.event("retry").set("attempt", 2_u64);
    /// ```
    #[allow(clippy::return_self_not_must_use)] // most callers stop after the last one
    #[inline]
    pub fn set<'v>(mut self, key: &'static str, value: impl Into<Attribute<'v>>) -> Self {
        if let Some((open, at)) = &mut self.to {
            (*at, self.left) = open.set_within(*at, self.left, key, value.into());
        }
        self
    }
}

/// A span's place on this thread's stack while it is entered: what it takes to leave it, and no more. A poll keeps it
/// where a panic finds it, in memory, and of a span that is off that is one word of nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackEntry {
    base: NonZeroU64,
    span_id: u64,
    place: StackIndex,
}

impl StackEntry {
    #[inline(always)]
    fn of(open: &ActiveSpan) -> Option<Self> {
        let place = match local::with_lane(open.core.base.get(), |local| local.enter_from(&open.core.ids)) {
            Some(place) => place,
            None => enter_cold(open.core.base.get(), open.core.ids, None)?,
        };
        Some(Self { base: open.core.base, span_id: open.core.ids.span_id, place })
    }

    /// Puts these ids on the stack of the thread's lane at the instance, for the time of a poll.
    #[inline(always)]
    pub(super) fn at(base: NonZeroU64, ids: Ids) -> Option<Self> {
        let place = match local::with_lane(base.get(), |local| local.enter(ids)) {
            Some(place) => place,
            None => enter_cold(base.get(), ids, None)?,
        };
        Some(Self { base, span_id: ids.span_id, place })
    }

    /// The same, for a guard that may be dropped before those of spans and contexts that are entered later.
    #[inline(always)]
    pub(super) fn entered(base: NonZeroU64, ids: Ids) -> Option<Self> {
        Self::at(base, Ids { trace_flags: TraceFlags(ids.trace_flags.0 | TraceFlags::ENTERED), ..ids })
    }

    /// The same for a context, which knows what it carries: on a thread without a lane no handle is looked up.
    pub(super) fn in_context(
        base: NonZeroU64,
        ids: Ids,
        propagated: Option<&Arc<Propagated>>,
    ) -> Option<Self> {
        let ids = Ids { trace_flags: TraceFlags(ids.trace_flags.0 | TraceFlags::ENTERED), ..ids };
        let place = match local::with_lane(base.get(), |local| local.enter(ids)) {
            Some(place) => place,
            None => enter_cold(base.get(), ids, propagated)?,
        };
        Some(Self { base, span_id: ids.span_id, place })
    }

    /// The place of a span's own guard.
    pub(super) fn of_guard(open: &ActiveSpan) -> Self {
        Self { base: open.core.base, span_id: open.core.ids.span_id, place: open.place }
    }

    pub(super) fn place(self) -> StackIndex {
        self.place
    }

    #[inline(always)]
    pub(super) fn exit(self, how: Exit) {
        let left = local::with_lane(self.base.get(), |local| local.exit(self.place, self.span_id, how));
        if left.is_none() {
            exit_unattached(self, how);
        }
    }
}

/// Slow path: attaches this thread first. If it can have no lane, the context is kept beside the lanes, for the headers;
/// the spans started on this thread will be counted as dropped.
#[cold]
#[inline(never)]
pub(super) fn enter_cold(base: u64, ids: Ids, propagated: Option<&Arc<Propagated>>) -> Option<StackIndex> {
    let instance = find(Key(base).instance())?;
    if local::attach(&instance.lanes).is_ok()
        && let Some(place) = local::with_lane(base, |local| local.enter(ids))
    {
        return Some(place);
    }
    // In the child of a fork a thread that is not there may hold the lock of an entry.
    let by_handle = || if instance.lanes.is_forked() { None } else { ids.trace_flags.handle().get() };
    laneless::enter(base, ids, propagated.cloned().or_else(by_handle))
}

/// Slow path: what ran inside has taken the thread to another instance.
#[cold]
#[inline(never)]
fn exit_unattached(inside: StackEntry, how: Exit) {
    let base = inside.base.get();
    if laneless::is_laneless(inside.place) {
        laneless::exit(inside.place, how);
    } else if let Some(instance) = find(Key(base).instance())
        && local::attach(&instance.lanes).is_ok()
    {
        local::with_lane(base, |local| local.exit(inside.place, inside.span_id, how));
    }
}

/// An [`OwnedSpan`] that is the current one of this thread, until this guard is dropped.
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
    inside: Option<StackEntry>,
    open: Option<&'a ActiveSpan>,
    /// A guard that a destructor makes while its thread unwinds is not left by that panic.
    was_panicking: bool,
    not_send: PhantomData<*const ()>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(inside) = self.inside {
            inside.exit(Exit::Entered);
        }
        if let Some(open) = self.open
            && std::thread::panicking()
            && !self.was_panicking
        {
            open.exited_by_panic();
        }
    }
}
