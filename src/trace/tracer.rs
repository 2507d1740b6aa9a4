//! The tracer: starts spans. Hot for names in the thread's intern cache; other names take the slow path.

use super::active::{Absent, ActiveSpan, DETACHED, RemainingLimits, SpanIds, SpanStart};
use super::context::Context;
use super::owned::{EntryRef, OwnedSpan};
use super::span::{Span, SpanContext};
use crate::clock::{Clock, TscClock};
use crate::instance::{Instance, global};
use crate::lane::{Ids, Key, SpanNameMeta, StackIndex, ThreadState, TraceFlags, laneless, local};
use crate::record::SpanKind;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::cell::Cell;
use std::num::NonZeroU64;

/// Starts the spans of one instance. Cheap to clone; works on any thread.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// {
///     let mut order = tracer.span("order");
///     order.set("items", 3_u64);
///     let _payment = tracer.span("payment"); // a child: it starts while `order` is open on this thread
/// }
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let names: Vec<_> = snapshot.spans().map(|span| span.name.to_string()).collect();
/// assert_eq!(names, ["payment", "order"]); // in the order they ended
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tracer(Option<TracerInner>);

#[derive(Clone, Debug)]
pub(super) struct TracerInner {
    pub(super) instance: Arc<Instance>,
    pub(super) base: NonZeroU64,
    /// A copy of the instance's clock, so that a start does not follow the pointer to the instance.
    clock: Clock,
    /// A trace is sampled if the low 64 bits of its id are below this; the maximum samples every trace.
    threshold: u64,
    /// Trace flags of a new trace that is sampled; those of one that is not stand below.
    sampled: TraceFlags,
    unsampled: TraceFlags,
    limits: RemainingLimits,
    /// Set if new traces have a rate limit. Without one, a start never looks into the instance.
    rate_limited: bool,
}

/// The parent of a span that is about to start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParentSpec {
    /// The innermost span open on this thread.
    Current,
    /// No parent: the span is the root of a new trace.
    Root,
    /// The span of these ids.
    Given(Ids),
}

/// A span's name. A literal is looked up by its address, any other text by its contents.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SpanName<'a> {
    Literal(&'static str),
    Dynamic(&'a str),
}

impl Tracer {
    /// A tracer whose spans do nothing.
    ///
    /// ```
    /// let span = tellane::Tracer::noop().span("order");
    /// assert_eq!(span.span_context(), None);
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(crate) fn new(instance: &Arc<Instance>) -> Self {
        let sampling = &instance.sampling;
        // Float to integer saturates: 1.0 gives the maximum.
        let threshold = (sampling.ratio * (u64::MAX as f64)) as u64;
        let base = NonZeroU64::new(Key::new(instance.lanes.instance, 0).0); // instances count from 1
        Self(base.map(|base| TracerInner {
            instance: Arc::clone(instance),
            base,
            clock: instance.lanes.clock.clone(),
            threshold,
            sampled: sampling.sampled_flags(),
            unsampled: sampling.unsampled_flags(),
            limits: RemainingLimits::new(sampling.span_limits),
            rate_limited: sampling.rate_limit.is_some(),
        }))
    }

    /// Starts a span on this thread, as a child of the innermost span open here, or as the root of a new trace. The
    /// span ends when it is dropped. Fastest if each name is written as a literal in one place only: each thread caches
    /// names by the address of their text.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// {
    ///     let _order = tracer.span("order");
    ///     let _payment = tracer.span("payment"); // a child of `order`; both end here
    /// }
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().filter(|span| span.parent_id.is_some()).count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "start_span")]
    #[doc(alias = "in_span")]
    #[inline]
    pub fn span(&self, name: &'static str) -> Span {
        self.span_with_kind(name, SpanKind::Internal)
    }

    /// Starts a span of the given kind; otherwise like [`span`](Self::span).
    ///
    /// ```
    /// use tellane::SpanKind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// drop(telemetry.tracer().span_with_kind("GET /cart", SpanKind::Server));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.kind), Some(SpanKind::Server));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn span_with_kind(&self, name: &'static str, kind: SpanKind) -> Span {
        let Some(inner) = &self.0 else { return Span::noop() };
        // Only the cost of a span that is switched off is inlined into callers; the rest of the code exists once. Each
        // arm builds the span itself, because a span returned from a closure would be copied.
        match local::thread_state_if_on(inner.base.get(), Kind::Span) {
            Some(Some(thread_state)) => Span::on_this_thread(inner.start::<true>(thread_state, name, kind)),
            Some(None) => Span::noop(),
            None => Span::on_this_thread(inner.start_unattached(
                SpanName::Literal(name),
                kind,
                ParentSpec::Current,
                true,
            )),
        }
    }

    /// Starts an owned span: a child of the innermost span open on this thread, but current on no thread until it is
    /// entered.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let order = telemetry.tracer().owned("order");
    /// std::thread::scope(|scope| scope.spawn(move || drop(order)).join()).expect("no panic");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn owned(&self, name: &'static str) -> OwnedSpan {
        self.owned_with_kind(name, SpanKind::Internal)
    }

    /// Starts an owned span of the given kind.
    ///
    /// While the switch is off, the span does not keep the context that it was started in. If it is to be entered on
    /// another thread, start it with [`build`](Self::build), so that the request's headers are still passed on. A
    /// future [in the span](crate::InSpan::in_span) keeps the context anyway.
    ///
    /// ```
    /// use tellane::SpanKind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let request = telemetry.tracer().owned_with_kind("GET /stock", SpanKind::Client);
    /// assert!(request.is_recorded());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn owned_with_kind(&self, name: &'static str, kind: SpanKind) -> OwnedSpan {
        let Some(inner) = &self.0 else { return OwnedSpan::noop() };
        match local::thread_state_if_on(inner.base.get(), Kind::Span) {
            Some(Some(thread_state)) => inner.start::<false>(thread_state, name, kind), // as in `span_with_kind`
            Some(None) => OwnedSpan::noop(),
            None => inner.start_unattached(SpanName::Literal(name), kind, ParentSpec::Current, false),
        }
    }

    /// Returns a builder for a span with a name that is not a literal, with another parent, or with links.
    ///
    /// ```
    /// use tellane::SpanKind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let route = String::from("/cart");
    /// let name = format!("GET {route}"); // use a bounded set: names are kept
    /// drop(telemetry.tracer().build(&name).kind(SpanKind::Server).start());
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.name.to_string()), Some("GET /cart".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "span_builder")]
    pub fn build<'a>(&'a self, name: &'a str) -> super::SpanBuilder<'a> {
        super::SpanBuilder::new(self, name)
    }

    /// The ids of the innermost span open on this thread; `None` if no span is open.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// assert_eq!(tracer.current_span_context(), None);
    /// let order = tracer.span("order");
    /// assert_eq!(tracer.current_span_context(), order.span_context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_span_context(&self) -> Option<SpanContext> {
        SpanContext::from_ids(current_ids(self.0.as_ref()?.base.get())?)
    }

    /// The context of this thread: the innermost span, with its trace state and baggage.
    /// [`Context::current`] needs no tracer.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let order = tracer.span("order");
    /// assert_eq!(tracer.current_context().span(), order.span_context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_context(&self) -> Context {
        self.0.as_ref().map_or_else(Context::default, |inner| Context::at(inner.base.get()))
    }

    pub(super) fn begin(
        &self,
        name: SpanName<'_>,
        kind: SpanKind,
        parent: ParentSpec,
        on_thread: bool,
    ) -> OwnedSpan {
        let Some(inner) = &self.0 else { return OwnedSpan::noop() };
        match local::thread_state_if_on(inner.base.get(), Kind::Span) {
            // As in `span_with_kind`: each arm builds the span itself.
            Some(Some(thread_state)) => inner.start_any(thread_state, name, kind, parent, on_thread),
            Some(None) => inner.start_forwarding(parent, on_thread),
            None => inner.start_unattached(name, kind, parent, on_thread),
        }
    }

    pub(super) fn inner(&self) -> Option<&TracerInner> {
        self.0.as_ref()
    }
}

/// The tracer of the installed instance. Before [`install`](crate::Builder::install), its spans do nothing. Keep the
/// tracer where you can: each call clones an `Arc`.
///
/// ```
/// let _does_nothing = tellane::tracer().span("too early");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// drop(tellane::tracer().span("order"));
/// assert_eq!(telemetry.snapshot(std::time::Duration::from_secs(5))?.spans().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tracer() -> Tracer {
    global().map_or(Tracer::noop(), Tracer::new)
}

impl ParentSpec {
    /// The parent's ids on this thread; `None` for a root.
    #[inline(always)]
    pub(super) fn on(self, thread_state: &ThreadState) -> Option<Ids> {
        match self {
            Self::Current => thread_state.spans.current(),
            Self::Root => None,
            Self::Given(ids) => Some(ids),
        }
    }
}

impl TracerInner {
    /// Starts an ordinary span: a literal name, the current span as its parent, on the thread's stack or detached.
    #[inline(never)]
    fn start<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        // Checked here, not in the fast path: `panicking()` may be an out-of-line call.
        if std::thread::panicking() {
            self.start_slow::<ON_THREAD>(thread_state, name, kind)
        } else {
            self.start_fast::<ON_THREAD>(thread_state, name, kind)
        }
    }

    /// Fast path: makes no calls. Rare cases are tail calls, so no callee-saved registers are pushed.
    #[inline(never)]
    fn start_fast<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        let cached = || {
            Some((
                self.clock.as_tsc()?,
                thread_state.names.get_home(name, kind as u8)?,
                thread_state.spans.next()?,
            ))
        };
        let Some((clock, known, (index, around))) = cached() else {
            return self.start_slow::<ON_THREAD>(thread_state, name, kind);
        };
        let parent = match around {
            Some(parent) if ON_THREAD && parent.is_span() => parent,
            Some(parent) if !ON_THREAD && !parent.trace_flags.has(TraceFlags::UNCOMMON) => parent,
            // An owned span may outlive its parent, so it needs a hold of its own on trace state and baggage.
            Some(_) if !ON_THREAD => return self.start_slow::<ON_THREAD>(thread_state, name, kind),
            _ if self.rate_limited => return self.start_slow::<ON_THREAD>(thread_state, name, kind),
            _ => return self.start_root::<ON_THREAD>(thread_state, index, known, clock),
        };
        let span_ids = SpanIds::of_child(thread_state.ids.span_id(), parent);
        let index = if ON_THREAD {
            thread_state.spans.enter_at(index, span_ids.ids); // fast samples are off since its parent was entered
            index
        } else {
            DETACHED
        };
        self.span_at(known, span_ids, index, false, clock.ticks())
    }

    /// Fast path of a root: a cached name, and no rate limit on new traces.
    #[inline(never)]
    fn start_root<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        index: StackIndex,
        known: &Cell<SpanNameMeta>,
        clock: TscClock,
    ) -> OwnedSpan {
        let around = thread_state.spans.around(index); // an entry without a span: baggage, if anything
        let span_ids = SpanIds::of_root(self.root_ids(thread_state, around, || true));
        let index = if ON_THREAD {
            local::enter_span_at(thread_state, index, span_ids.ids);
            index
        } else {
            DETACHED
        };
        self.span_at(known, span_ids, index, false, clock.ticks())
    }

    /// Slow path: non-TSC clocks, cache misses, stacks deeper than DEPTH.
    #[inline(never)]
    fn start_slow<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        self.start_any(thread_state, SpanName::Literal(name), kind, ParentSpec::Current, ON_THREAD)
    }

    /// Starts any span on a thread that is attached to this instance, while the switch is on.
    fn start_any(
        &self,
        thread_state: &ThreadState,
        name: SpanName<'_>,
        kind: SpanKind,
        parent: ParentSpec,
        on_thread: bool,
    ) -> OwnedSpan {
        let known = match name {
            SpanName::Literal(name) => thread_state
                .names
                .get(name, kind as u8)
                .unwrap_or_else(|| self.intern_name(thread_state, name, kind)),
            SpanName::Dynamic(name) => match self.instance.names.interned_span(name, kind) {
                Some(known) => known,
                None => self.instance.span_name(name, kind),
            },
        };
        self.start_known(thread_state, known, parent, on_thread)
    }

    #[inline(always)]
    fn start_known(
        &self,
        thread_state: &ThreadState,
        known: SpanNameMeta,
        parent: ParentSpec,
        on_thread: bool,
    ) -> OwnedSpan {
        let span_ids = self.span_ids(thread_state, parent.on(thread_state));
        let index = if on_thread { local::enter_span(thread_state, span_ids.ids) } else { DETACHED };
        let now = self.clock.ticks();
        let mut span = self.span_at(&Cell::new(known), span_ids, index, std::thread::panicking(), now);
        if span_ids.ids.trace_flags.has(TraceFlags::PROPAGATES) {
            // A guard under the thread's current span needs no hold: the entry around it has one and outlives it.
            let outlives = !on_thread || matches!(parent, ParentSpec::Given(_));
            span.0.as_mut().filter(|_| outlives).into_iter().for_each(ActiveSpan::hold_propagated);
        }
        span
    }

    #[inline(always)]
    pub(super) fn span_start(&self, known: SpanNameMeta, span_ids: SpanIds) -> SpanStart<'_> {
        SpanStart { base: self.base, known, span_ids, limits: &self.limits }
    }

    /// The ids of a span that is about to start under `around`, which may be an entry with baggage and without a span.
    #[inline(always)]
    pub(super) fn span_ids(&self, thread_state: &ThreadState, around: Option<Ids>) -> SpanIds {
        match around {
            Some(parent) if parent.is_span() => SpanIds::of_child(thread_state.ids.span_id(), parent),
            _ => SpanIds::of_root(
                self.root_ids(thread_state, around, || !self.rate_limited || self.is_admitted()),
            ),
        }
    }

    /// Builds the span; `start` is in ticks. The name, the base and the limits are loaded after the clock read on
    /// purpose: the clock read clobbers the registers they would otherwise occupy.
    #[inline(always)]
    fn span_at(
        &self,
        known: &Cell<SpanNameMeta>,
        span_ids: SpanIds,
        index: StackIndex,
        was_panicking: bool,
        start: u64,
    ) -> OwnedSpan {
        OwnedSpan(Some(ActiveSpan::new(self.span_start(known.get(), span_ids), index, was_panicking, start)))
    }

    /// The ids of a new trace.
    #[inline(always)]
    fn root_ids(
        &self,
        thread_state: &ThreadState,
        around: Option<Ids>,
        admitted: impl FnOnce() -> bool,
    ) -> Ids {
        let (span_id, trace_id) = (thread_state.ids.span_id(), thread_state.ids.trace_id());
        let propagated =
            around.map_or(0, |around| around.trace_flags.0 & (TraceFlags::PROPAGATES | TraceFlags::UNCOMMON));
        let in_ratio = self.in_ratio(trace_id as u64);
        let sampling = if in_ratio && admitted() { self.sampled } else { self.unsampled };
        Ids { trace_id, span_id, trace_flags: TraceFlags(sampling.0 | propagated) }
    }

    /// Returns `true` if the sampling ratio includes a trace, given the low half of its id.
    #[inline(always)]
    fn in_ratio(&self, low: u64) -> bool {
        low < self.threshold || self.threshold == u64::MAX
    }

    #[cold]
    fn is_admitted(&self) -> bool {
        let limit = &self.instance.sampling.rate_limit;
        limit.as_ref().is_none_or(|limit| limit.admits(&self.instance.lanes.clock))
    }

    /// The trace flags of a trace that began in another process.
    pub(super) fn remote_flags(&self, trace_id: u128, flags: u8) -> TraceFlags {
        let header = TraceFlags::of_header(flags);
        let parent_based = self.instance.sampling.parent_based;
        let sampled =
            if parent_based { header.has(TraceFlags::SAMPLED) } else { self.in_ratio(trace_id as u64) };
        let trace_flags = if sampled { self.sampled } else { self.unsampled };
        TraceFlags(trace_flags.0 | (header.0 & !TraceFlags::SAMPLED))
    }

    /// Starts a forwarding span: it does nothing but pass on the context that it was started in. It goes on the
    /// thread's stack only if that context is not the thread's current one already.
    #[cold]
    #[inline(never)]
    pub(super) fn start_forwarding(&self, parent: ParentSpec, on_thread: bool) -> OwnedSpan {
        let base = self.base;
        let around = match parent {
            ParentSpec::Given(ids) => Some(ids),
            ParentSpec::Current if !on_thread => current_ids(base.get()),
            ParentSpec::Current | ParentSpec::Root => None,
        };
        let has_context = |ids: &Ids| ids.is_span() || ids.trace_flags.has(TraceFlags::PROPAGATES);
        let Some(ids) = around.filter(has_context) else { return OwnedSpan::noop() };
        let span_start = self.span_start(SpanNameMeta::default(), SpanIds { ids, ..SpanIds::default() });
        let mut active = ActiveSpan::absent(span_start, Absent::Forwarding, 0);
        if on_thread && let Some(entry) = EntryRef::enter_ids(base, active.core.ids) {
            active.index = entry.index();
        }
        OwnedSpan(Some(active))
    }

    /// Slow path of a name that this thread's cache does not hold (any more).
    #[cold]
    #[inline(never)]
    pub(super) fn intern_name(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> SpanNameMeta {
        let known = self.instance.span_name(name, kind);
        thread_state.names.insert(name, kind as u8, known);
        known
    }

    /// Slow path of a thread that is not attached to this instance yet, or cannot be.
    #[cold]
    #[inline(never)]
    fn start_unattached(
        &self,
        name: SpanName<'_>,
        kind: SpanKind,
        parent: ParentSpec,
        on_thread: bool,
    ) -> OwnedSpan {
        let lanes = &self.instance.lanes;
        let refused = match local::attach(lanes) {
            Ok(()) => match local::thread_state_if_on(self.base.get(), Kind::Span) {
                Some(Some(thread_state)) => {
                    return self.start_any(thread_state, name, kind, parent, on_thread);
                }
                Some(None) => return self.start_forwarding(parent, on_thread),
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        let (SpanName::Literal(text) | SpanName::Dynamic(text)) = name;
        if !lanes.admits_unattached(Kind::Span, refused) {
            return self.start_forwarding(parent, on_thread);
        }
        // No lane carries the span, but its duration still counts. From within tellane only if its name is known: a
        // caller further up this stack may hold the locks that give out names.
        let named = match refused {
            Reason::Reentrant => self.instance.names.known_span(text, kind),
            _ => Some(self.instance.span_name(text, kind)),
        };
        let mut span = self.start_forwarding(parent, on_thread);
        match named {
            Some(known) => {
                let start = lanes.clock.ticks();
                let span_start = self.span_start(known, SpanIds::default()); // there will be no record
                let active = match span.0.take() {
                    Some(forwarding) => forwarding.measured(known, refused, start),
                    None => ActiveSpan::absent(span_start, Absent::Laneless(refused), start),
                };
                OwnedSpan(Some(active))
            }
            None => {
                lanes.shared.shared_dropped(Kind::Span, refused);
                span
            }
        }
    }
}

/// The ids of the innermost entry of this thread at an instance, on its lane's stack or on the stack beside the lanes.
pub(super) fn current_ids(base: u64) -> Option<Ids> {
    let on_lane = local::with_lane(base, |local| local.thread_state.spans.current()).flatten();
    on_lane.or_else(|| laneless::current(Some(base)).map(|(_, ids, _)| ids))
}
