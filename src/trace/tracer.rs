//! Starts spans. Hot on names that the thread has met before.

use super::active::{Absent, ActiveSpan, DETACHED, RemainingLimits, SpanIds, SpanStart};
use super::context::Context;
use super::owned::{OwnedSpan, StackEntry};
use super::span::{Span, SpanContext};
use crate::clock::{Clock, TscClock};
use crate::instance::{Instance, global};
use crate::lane::{Ids, Key, SpanNameMeta, StackIndex, ThreadState, TraceFlags, laneless, local};
use crate::record::SpanKind;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::cell::Cell;
use std::num::NonZeroU64;

/// Starts spans of one instance. Cheap to clone, works from any thread.
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
    /// The instance's, near at hand.
    clock: Clock,
    /// Traces whose id, by its low 64 bits, is below this are sampled; the maximum stands for all.
    threshold: u64,
    /// The marks of a new trace that is sampled, and of one that is not.
    sampled: TraceFlags,
    unsampled: TraceFlags,
    limits: RemainingLimits,
    /// Whether new traces have a rate limit; saves the look into the registry for those that have none.
    rate_limited: bool,
}

/// The parent of a span that is about to start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParentSpec {
    /// The innermost one of the thread.
    Current,
    Root,
    Given(Ids),
}

/// What a span will be called, and how that is found out: by the text's address, or by its letters.
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
            limits: RemainingLimits::of(sampling.span_limits),
            rate_limited: sampling.rate_limit.is_some(),
        }))
    }

    /// Starts a span on this thread, as a child of the innermost one open here, or as the root of a new trace. It
    /// ends when dropped. Fastest with one literal for one name: a thread knows a name by the address of its text.
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
    #[inline]
    pub fn span(&self, name: &'static str) -> Span {
        self.span_with_kind(name, SpanKind::Internal)
    }

    /// Starts a span of a kind; otherwise like [`span`](Self::span).
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
        let Some(source) = &self.0 else { return Span::noop() };
        // Inline is what a span costs that is off; the rest stands once. The span is made in each arm, not in a
        // closure: from there it would be copied.
        match local::thread_state_if_on(source.base.get(), Kind::Span) {
            Some(Some(thread_state)) => Span::on_this_thread(source.start::<true>(thread_state, name, kind)),
            Some(None) => Span::noop(),
            None => Span::on_this_thread(source.start_unattached(
                SpanName::Literal(name),
                kind,
                ParentSpec::Current,
                true,
            )),
        }
    }

    /// Starts a span that is on no thread: a child of the innermost one open here, but current nowhere until it is
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

    /// Starts a span of a kind that is on no thread.
    ///
    /// While the switch is off, the span notes no context. To enter it on another thread, begin it by
    /// [`build`](Self::build), so that the headers of the request go on. A future
    /// [in the span](crate::InSpan::in_span) takes the context along by itself.
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
        let Some(source) = &self.0 else { return OwnedSpan::noop() };
        match local::thread_state_if_on(source.base.get(), Kind::Span) {
            Some(Some(thread_state)) => source.start::<false>(thread_state, name, kind), // as in `span_with_kind`
            Some(None) => OwnedSpan::noop(),
            None => source.start_unattached(SpanName::Literal(name), kind, ParentSpec::Current, false),
        }
    }

    /// Begins a span with everything that can be said at its start: a name that is no literal, a parent from
    /// elsewhere.
    ///
    /// ```
    /// use tellane::SpanKind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let route = String::from("/cart");
    /// let name = format!("GET {route}"); // of limited number: names are kept
    /// drop(telemetry.tracer().build(&name).kind(SpanKind::Server).start());
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.name.to_string()), Some("GET /cart".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build<'a>(&'a self, name: &'a str) -> super::SpanBuilder<'a> {
        super::SpanBuilder::new(self, name)
    }

    /// The ids of the innermost span open on this thread.
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
        SpanContext::of(current_ids(self.0.as_ref()?.base.get())?)
    }

    /// The context of this thread: the innermost span, trace state and baggage. See
    /// [`Context::current`] for one that needs no tracer.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let order = tracer.span("order");
    /// assert_eq!(tracer.current_context().span(), order.span_context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_context(&self) -> Context {
        self.0.as_ref().map_or_else(Context::default, |source| Context::at(source.base.get()))
    }

    pub(super) fn begin(
        &self,
        name: SpanName<'_>,
        kind: SpanKind,
        parent: ParentSpec,
        on_thread: bool,
    ) -> OwnedSpan {
        let Some(source) = &self.0 else { return OwnedSpan::noop() };
        match local::thread_state_if_on(source.base.get(), Kind::Span) {
            Some(Some(thread_state)) => source.start_any(thread_state, name, kind, parent, on_thread), // as in `span_with_kind`
            Some(None) => source.start_forwarding(parent, on_thread),
            None => source.start_unattached(name, kind, parent, on_thread),
        }
    }

    pub(super) fn source(&self) -> Option<&TracerInner> {
        self.0.as_ref()
    }
}

/// The installed instance's tracer; before [`install`](crate::Builder::install) one whose spans do nothing. Keep it
/// where you can: getting it counts a reference.
///
/// ```
/// let _nobody = tellane::tracer().span("too early");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// drop(tellane::tracer().span("order"));
/// assert_eq!(telemetry.snapshot(std::time::Duration::from_secs(5))?.spans().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tracer() -> Tracer {
    global().map_or(Tracer::noop(), Tracer::new)
}

impl ParentSpec {
    /// What it comes to on a thread: the ids that the span will stand in.
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
    /// A span like most: of a literal's name, under the current one, on the thread or on none.
    #[inline(never)]
    fn start<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        // By itself: what is asked of std may be a call.
        if std::thread::panicking() {
            self.start_slow::<ON_THREAD>(thread_state, name, kind)
        } else {
            self.start_fast::<ON_THREAD>(thread_state, name, kind)
        }
    }

    /// What is usual makes no call from here, and what is not is called last: so few registers need be saved.
    #[inline(never)]
    fn start_fast<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        let usual = || {
            Some((
                self.clock.as_tsc()?,
                thread_state.names.get_home(name, kind as u8)?,
                thread_state.spans.next()?,
            ))
        };
        let Some((clock, known, (place, around))) = usual() else {
            return self.start_slow::<ON_THREAD>(thread_state, name, kind);
        };
        let parent = match around {
            Some(parent) if ON_THREAD && parent.is_span() => parent,
            Some(parent) if !ON_THREAD && !parent.trace_flags.has(TraceFlags::UNCOMMON) => parent,
            // An owned span outlives what is around it, so it needs a hold on what it carries.
            Some(_) if !ON_THREAD => return self.start_slow::<ON_THREAD>(thread_state, name, kind),
            _ if self.rate_limited => return self.start_slow::<ON_THREAD>(thread_state, name, kind),
            _ => return self.start_root::<ON_THREAD>(thread_state, place, known, clock),
        };
        let span_ids = SpanIds::of_child(thread_state.ids.span_id(), parent);
        let place = if ON_THREAD {
            thread_state.spans.enter_at(place, span_ids.ids); // its parent has seen to the samples
            place
        } else {
            DETACHED
        };
        self.begun(known, span_ids, place, false, clock.ticks())
    }

    /// In no span, under a name that was found at once, without a limit to the rate.
    #[inline(never)]
    fn start_root<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        place: StackIndex,
        known: &Cell<SpanNameMeta>,
        clock: TscClock,
    ) -> OwnedSpan {
        let around = thread_state.spans.around(place); // baggage, if anything
        let span_ids = SpanIds::of_root(self.root(thread_state, around, || true));
        let place = if ON_THREAD {
            local::enter_span_at(thread_state, place, span_ids.ids);
            place
        } else {
            DETACHED
        };
        self.begun(known, span_ids, place, false, clock.ticks())
    }

    /// By any clock, under any name, however deep.
    #[inline(never)]
    fn start_slow<const ON_THREAD: bool>(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        self.start_any(thread_state, SpanName::Literal(name), kind, ParentSpec::Current, ON_THREAD)
    }

    /// Any span, on a thread whose desk at this instance this is, while the switch is on.
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
                .unwrap_or_else(|| self.meet(thread_state, name, kind)),
            SpanName::Dynamic(name) => match self.instance.names.dynamic(name, kind) {
                Some(known) => known,
                None => self.instance.span_name(name, kind),
            },
        };
        self.open(thread_state, known, parent, on_thread)
    }

    #[inline(always)]
    fn open(
        &self,
        thread_state: &ThreadState,
        known: SpanNameMeta,
        parent: ParentSpec,
        on_thread: bool,
    ) -> OwnedSpan {
        let span_ids = self.span_ids(thread_state, parent.on(thread_state));
        let place = if on_thread { local::enter_span(thread_state, span_ids.ids) } else { DETACHED };
        let now = self.clock.ticks();
        let mut span = self.begun(&Cell::new(known), span_ids, place, std::thread::panicking(), now);
        if span_ids.ids.trace_flags.has(TraceFlags::PROPAGATES) {
            // A guard under the thread's own current span needs no hold: whatever is around it has one.
            let outlives = !on_thread || matches!(parent, ParentSpec::Given(_));
            span.0.as_mut().filter(|_| outlives).into_iter().for_each(ActiveSpan::hold_propagated);
        }
        span
    }

    #[inline(always)]
    pub(super) fn span_start(&self, known: SpanNameMeta, span_ids: SpanIds) -> SpanStart<'_> {
        SpanStart { base: self.base, known, span_ids, limits: &self.limits }
    }

    /// Where a span stands that is about to start in this. Only baggage may be around it, and no span.
    #[inline(always)]
    pub(super) fn span_ids(&self, thread_state: &ThreadState, around: Option<Ids>) -> SpanIds {
        match around {
            Some(parent) if parent.is_span() => SpanIds::of_child(thread_state.ids.span_id(), parent),
            _ => {
                SpanIds::of_root(self.root(thread_state, around, || !self.rate_limited || self.is_admitted()))
            }
        }
    }

    /// `start` is in ticks. What it is known as, the base and the room are read behind the clock, so that no register
    /// keeps them while it is read.
    #[inline(always)]
    fn begun(
        &self,
        known: &Cell<SpanNameMeta>,
        span_ids: SpanIds,
        place: StackIndex,
        was_panicking: bool,
        start: u64,
    ) -> OwnedSpan {
        OwnedSpan(Some(ActiveSpan::new(self.span_start(known.get(), span_ids), place, was_panicking, start)))
    }

    /// The ids of a new trace.
    #[inline(always)]
    fn root(&self, thread_state: &ThreadState, around: Option<Ids>, admitted: impl FnOnce() -> bool) -> Ids {
        let (span_id, trace_id) = (thread_state.ids.span_id(), thread_state.ids.trace_id());
        let carries =
            around.map_or(0, |around| around.trace_flags.0 & (TraceFlags::PROPAGATES | TraceFlags::UNCOMMON));
        let by_ratio = self.samples(trace_id as u64);
        let sampling = if by_ratio && admitted() { self.sampled } else { self.unsampled };
        Ids { trace_id, span_id, trace_flags: TraceFlags(sampling.0 | carries) }
    }

    /// Whether a trace is sampled by its share, by the low half of its id.
    #[inline(always)]
    fn samples(&self, low: u64) -> bool {
        low < self.threshold || self.threshold == u64::MAX
    }

    #[cold]
    fn is_admitted(&self) -> bool {
        let limit = &self.instance.sampling.rate_limit;
        limit.as_ref().is_none_or(|limit| limit.admits(&self.instance.lanes.clock))
    }

    /// The marks of a trace that began in another process.
    pub(super) fn remote_flags(&self, trace_id: u128, flags: u8) -> TraceFlags {
        let came = TraceFlags::of_header(flags);
        let parent_based = self.instance.sampling.parent_based;
        let sampled =
            if parent_based { came.has(TraceFlags::SAMPLED) } else { self.samples(trace_id as u64) };
        let trace_flags = if sampled { self.sampled } else { self.unsampled };
        TraceFlags(trace_flags.0 | (came.0 & !TraceFlags::SAMPLED))
    }

    /// A span that does nothing, and passes on the context that it is begun in. On a thread's stack only if the thread is
    /// not in that context anyway.
    #[cold]
    #[inline(never)]
    pub(super) fn start_forwarding(&self, parent: ParentSpec, on_thread: bool) -> OwnedSpan {
        let base = self.base;
        let around = match parent {
            ParentSpec::Given(ids) => Some(ids),
            ParentSpec::Current if !on_thread => current_ids(base.get()),
            ParentSpec::Current | ParentSpec::Root => None,
        };
        let is_there = |ids: &Ids| ids.is_span() || ids.trace_flags.has(TraceFlags::PROPAGATES);
        let Some(ids) = around.filter(is_there) else { return OwnedSpan::noop() };
        let span_start = self.span_start(SpanNameMeta::default(), SpanIds { ids, ..SpanIds::default() });
        let mut open = ActiveSpan::absent(span_start, Absent::Forwarding, 0);
        if on_thread && let Some(inside) = StackEntry::at(base, open.core.ids) {
            open.place = inside.place();
        }
        OwnedSpan(Some(open))
    }

    /// A name that this thread has not met, or not lately.
    #[cold]
    #[inline(never)]
    pub(super) fn meet(
        &self,
        thread_state: &ThreadState,
        name: &'static str,
        kind: SpanKind,
    ) -> SpanNameMeta {
        let known = self.instance.span_name(name, kind);
        thread_state.names.insert(name, kind as u8, known);
        known
    }

    /// A thread that is not at this instance yet, or cannot be.
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

/// The ids of the innermost entry of this thread at an instance, on its desk or without a lane.
pub(super) fn current_ids(base: u64) -> Option<Ids> {
    let on_desk = local::with_lane(base, |local| local.thread_state.spans.current()).flatten();
    on_desk.or_else(|| laneless::current(Some(base)).map(|(_, ids, _)| ids))
}
