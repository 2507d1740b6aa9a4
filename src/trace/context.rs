//! The context of a thread or a request: a span, trace state, baggage. Cold: runs once a request or a hand-over.

use super::owned::{EntryRef, OwnedSpan};
use super::span::SpanContext;
use super::tracer::{ParentSpec, Tracer, TracerInner};
use crate::context::{
    Baggage, Extract, HeaderFaults, Hold, Incoming, Inject, Propagated, PropagatedHandle, RemoteParent,
    TraceState, inject,
};
use crate::instance::{find, global};
use crate::lane::{Exit, Ids, Key, TraceFlags, laneless, local};
use crate::sync::{Arc, AtomicU32, Ordering};
use std::marker::PhantomData;
use std::num::NonZeroU64;

/// A parent for spans started elsewhere, with its trace state and baggage. Hand it to another thread, or send it over
/// the wire. Cheap to clone.
///
/// ```
/// use tellane::Context;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// let order = tracer.span("order");
/// let context = Context::current();
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let _attached = context.attach();
///         drop(tracer.span("packing")); // a child of `order`
///     });
/// });
/// # let ids = order.span_context();
/// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// # assert_eq!(snapshot.spans().next().expect("ended").parent_id, ids.map(|ids| ids.span_id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// The base of the context's instance; 0 if it is bound to none yet.
    base: u64,
    /// The span's ids, without a handle and without the flags of a stack entry.
    ids: Ids,
    propagated: Option<Arc<Propagated>>,
    refused: RefusedHeaders,
}

/// The faults of the headers that a context was read from, until an instance has counted them. Shared by all clones, so
/// that one request counts once.
#[derive(Clone, Debug, Default)]
struct RefusedHeaders(Option<Arc<(HeaderFaults, AtomicU32)>>);

/// Always equal: refused headers do not make a context different.
impl PartialEq for RefusedHeaders {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl RefusedHeaders {
    fn new(faults: HeaderFaults) -> Self {
        Self((!faults.is_none()).then(|| Arc::new((faults, AtomicU32::new(0)))))
    }

    fn count_at(&self, inner: &TracerInner) {
        if let Some((faults, counted)) = self.0.as_deref()
            && counted.swap(1, Ordering::Relaxed) == 0
        // Relaxed: the swap alone decides which thread counts, and publishes nothing.
        {
            inner.instance.sampling.headers.count(faults);
        }
    }
}

impl Context {
    /// The context of this thread, at the instance that the thread last recorded into. In a program with several
    /// instances, use [`Tracer::current_context`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let order = telemetry.tracer().span("order");
    /// assert_eq!(tellane::Context::current().span(), order.span_context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "current_span")]
    pub fn current() -> Self {
        match local::current() {
            Some(base) => Self::at(base),
            None => Self::without_lane(None),
        }
    }

    /// The context of a thread that has no lane: at the given instance, or the innermost one at any instance.
    fn without_lane(base: Option<u64>) -> Self {
        let Some((base, ids, propagated)) = laneless::current(base) else { return Self::default() };
        let ids = Ids { trace_flags: ids.trace_flags.off_stack(), ..ids };
        Self { base, ids, propagated, refused: RefusedHeaders::default() }
    }

    /// The context of this thread at an instance.
    pub(super) fn at(base: u64) -> Self {
        match local::with_lane(base, |local| local.thread_state.spans.current()).flatten() {
            Some(ids) => Self::from_ids(base, ids),
            None => Self { base, ..Self::without_lane(Some(base)) },
        }
    }

    /// The context of a span, or of an entry without a span on a thread's stack.
    fn from_ids(base: u64, ids: Ids) -> Self {
        let propagated = if is_forked(base) { None } else { ids.trace_flags.handle().get() };
        let ids = Ids { trace_flags: ids.trace_flags.off_stack(), ..ids };
        Self { base, ids, propagated, refused: RefusedHeaders::default() }
    }

    /// Reads the context from the headers of a request: `traceparent`, `tracestate`, `baggage`. Malformed headers are
    /// treated as absent; [`Incoming::read`] returns the reasons, and the instance that first uses the context counts
    /// them ([`Pipeline::traceparents_refused`](crate::Pipeline::traceparents_refused) and the figures next to it).
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use tellane::Context;
    /// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let headers = HashMap::from([("traceparent".to_owned(), parent.to_owned())]);
    /// let context = Context::extract(&headers);
    /// assert!(context.span().is_some_and(|span| span.remote && span.sampled));
    /// ```
    pub fn extract(headers: &(impl Extract + ?Sized)) -> Self {
        Incoming::read(headers).into()
    }

    /// Writes the context into the headers of a request.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let order = telemetry.tracer().span("order");
    /// let mut headers = BTreeMap::new();
    /// tellane::Context::current().inject(&mut headers);
    /// assert!(headers["traceparent"].starts_with("00-"));
    /// # drop(order);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inject(&self, into: &mut (impl Inject + ?Sized)) {
        let flags = self.ids.trace_flags.header_flags();
        let parent = RemoteParent::new(self.ids.trace_id, self.ids.span_id, flags).ok();
        let (state, baggage) = (TraceState::empty(), Baggage::empty());
        let (state, baggage) = self
            .propagated
            .as_ref()
            .map_or((&state, &baggage), |propagated| (&propagated.state, &propagated.baggage));
        inject(parent.as_ref(), state, baggage, into);
    }

    /// The span's ids; `None` if the context has no span.
    ///
    /// ```
    /// assert_eq!(tellane::Context::default().span(), None);
    /// ```
    pub fn span(&self) -> Option<SpanContext> {
        SpanContext::from_ids(self.ids)
    }

    /// The baggage.
    ///
    /// ```
    /// use tellane::{Baggage, Context};
    /// let context = Context::default().with_baggage(Baggage::empty().with("user", "alice")?);
    /// assert_eq!(context.baggage().get("user"), Some("alice"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn baggage(&self) -> Baggage {
        self.propagated.as_ref().map_or_else(Baggage::empty, |propagated| propagated.baggage.clone())
    }

    /// The trace state.
    ///
    /// ```
    /// assert!(tellane::Context::default().trace_state().is_empty());
    /// ```
    pub fn trace_state(&self) -> TraceState {
        self.propagated.as_ref().map_or_else(TraceState::empty, |propagated| propagated.state.clone())
    }

    /// Returns this context with other baggage. The baggage is passed on once the context is attached.
    ///
    /// ```
    /// use tellane::{Baggage, Context};
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let order = tracer.span("order");
    /// let _attached = tracer.current_context().with_baggage(Baggage::empty().with("user", "alice")?).attach();
    /// let payment = tracer.span("payment");
    /// assert_eq!(Context::current().baggage().get("user"), Some("alice"));
    /// # drop((payment, order));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it changes nothing until it is attached"]
    pub fn with_baggage(&self, baggage: Baggage) -> Self {
        self.with_propagated(Propagated { state: self.trace_state(), baggage })
    }

    /// Returns this context with another trace state.
    ///
    /// ```
    /// use tellane::{Context, TraceState};
    /// let context = Context::default().with_trace_state(TraceState::parse("congo=t61")?);
    /// assert_eq!(context.trace_state().get("congo"), Some("t61"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it changes nothing until it is attached"]
    pub fn with_trace_state(&self, state: TraceState) -> Self {
        self.with_propagated(Propagated { state, baggage: self.baggage() })
    }

    fn with_propagated(&self, propagated: Propagated) -> Self {
        let propagated = (!propagated.is_empty()).then(|| Arc::new(propagated));
        Self { base: self.base, ids: self.ids, propagated, refused: self.refused.clone() }
    }

    /// Makes this the context of the thread until the guard is dropped: spans that start meanwhile are children of its
    /// span. A context from [`extract`](Self::extract) is bound to the installed instance, or, if there is none, to the
    /// instance that this thread last recorded into; use [`Tracer::attach`] to choose another.
    ///
    /// Guards may be dropped in any order: of several contexts, the one attached last stays current until its own guard
    /// is dropped.
    ///
    /// ```
    /// let nothing = tellane::Context::default();
    /// drop(nothing.attach());
    /// ```
    #[doc(alias = "enter")]
    #[doc(alias = "set_local_parent")]
    pub fn attach(&self) -> ContextGuard {
        ContextGuard::enter(self.bind())
    }

    /// Binds the context to its instance, chosen as for [`attach`](Self::attach). `None` if there is no instance.
    pub(super) fn bind(&self) -> Option<Bound> {
        if let Some(base) = NonZeroU64::new(self.base) {
            return Some(self.bind_at(base, self.ids));
        }
        let installed = global().map(Tracer::new);
        let tracer = installed.or_else(|| Some(Tracer::new(&find(Key(local::current()?).instance())?)))?;
        self.bind_to(&tracer)
    }

    fn bind_to(&self, tracer: &Tracer) -> Option<Bound> {
        let base = tracer.inner()?.base;
        Some(self.bind_at(base, self.ids_for(tracer).unwrap_or_default()))
    }

    fn bind_at(&self, base: NonZeroU64, ids: Ids) -> Bound {
        let hold = hold(base.get(), self.propagated.as_ref());
        Bound { base, ids: with_hold(ids, hold.as_ref()), hold, propagated: self.propagated.clone() }
    }

    /// A forwarding span: it does nothing but pass this context on.
    #[cold]
    #[inline(never)]
    pub(super) fn forwarding(&self) -> OwnedSpan {
        let is_empty = !self.ids.is_span() && self.propagated.is_none();
        let tracer =
            find(Key(self.base).instance()).filter(|_| !is_empty).map(|instance| Tracer::new(&instance));
        let Some(tracer) = tracer else { return OwnedSpan::noop() };
        let (parent, _hold) = self.as_parent(&tracer);
        tracer.inner().map_or(OwnedSpan::noop(), |inner| inner.start_forwarding(parent, false))
    }

    /// The ids of this context's span as a parent of the tracer's spans; `None` if the context has no span.
    fn ids_for(&self, tracer: &Tracer) -> Option<Ids> {
        let inner = tracer.inner()?;
        self.refused.count_at(inner);
        let mut ids = self.ids;
        if !ids.is_span() {
            return None;
        }
        if self.base != inner.base.get() {
            ids.trace_flags = inner.remote_flags(ids.trace_id, ids.trace_flags.header_flags());
        }
        Some(ids)
    }

    /// This context as the parent of a span of the tracer. Its trace state and baggage can be found as long as the hold
    /// lives. A context without a span leaves the thread's current span as the parent, and adds its baggage.
    pub(super) fn as_parent(&self, tracer: &Tracer) -> (ParentSpec, Option<Hold>) {
        let Some(base) = tracer.inner().map(|inner| inner.base.get()) else {
            return (ParentSpec::Root, None);
        };
        if let Some(ids) = self.ids_for(tracer) {
            let hold = hold(base, self.propagated.as_ref());
            return (ParentSpec::Given(with_hold(ids, hold.as_ref())), hold);
        }
        let Some(propagated) = &self.propagated else { return (ParentSpec::Current, None) };
        let around = tracer.current_context();
        let state = if propagated.state.is_empty() { around.trace_state() } else { propagated.state.clone() };
        let hold = hold(base, Some(&Arc::new(Propagated { state, baggage: propagated.baggage.clone() })));
        (ParentSpec::Given(with_hold(around.ids, hold.as_ref())), hold)
    }

    pub(super) fn trace_state_text(&self) -> String {
        match &self.propagated {
            Some(propagated) if self.ids.trace_flags.has(TraceFlags::REMOTE) => propagated.state.header(),
            _ => String::new(),
        }
    }
}

/// Returns `true` in a forked child: the lock of an entry may be held by a thread that does not exist there.
fn is_forked(base: u64) -> bool {
    find(Key(base).instance()).is_some_and(|instance| instance.lanes.is_forked())
}

/// Stores a context's trace state and baggage where the spans of an instance find them. `None` if there is nothing to
/// store.
fn hold(base: u64, propagated: Option<&Arc<Propagated>>) -> Option<Hold> {
    let propagated = propagated.filter(|_| !is_forked(base))?;
    local::without_recording(|| Hold::new(propagated))
}

fn with_hold(ids: Ids, hold: Option<&Hold>) -> Ids {
    let handle = hold.map_or(PropagatedHandle::NONE, Hold::handle);
    let uncommon = if ids.is_span() { 0 } else { TraceFlags::UNCOMMON };
    Ids { trace_flags: TraceFlags(ids.trace_flags.with_handle(handle).0 | uncommon), ..ids }
}

/// A context bound to an instance: the source of an entry on a thread's stack. Keeps the trace state and the baggage
/// alive.
#[derive(Debug)]
pub(super) struct Bound {
    base: NonZeroU64,
    ids: Ids,
    hold: Option<Hold>,
    /// Trace state and baggage, for a thread without a lane.
    propagated: Option<Arc<Propagated>>,
}

impl Bound {
    /// Pushes the context on this thread's stack.
    pub(super) fn enter(&self) -> Option<EntryRef> {
        debug_assert!(self.hold.is_some() || !self.ids.trace_flags.has(TraceFlags::PROPAGATES));
        EntryRef::enter_context(self.base, self.ids, self.propagated.as_ref())
    }
}

impl From<Incoming> for Context {
    fn from(incoming: Incoming) -> Self {
        let ids = incoming.parent.map_or_else(Ids::default, |parent| Ids {
            trace_id: parent.trace_id,
            span_id: parent.span_id,
            trace_flags: TraceFlags::of_header(parent.flags),
        });
        let propagated = Propagated { state: incoming.state, baggage: incoming.baggage };
        Self { base: 0, ids, propagated: None, refused: RefusedHeaders::new(incoming.faults) }
            .with_propagated(propagated)
    }
}

impl Tracer {
    /// Makes a context this thread's current one, for spans of this tracer's instance, until the guard is dropped.
    /// [`Config::parent_based`](crate::Config::parent_based) decides the sampling of a trace that began in another
    /// process.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use tellane::Context;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    /// let request = HashMap::from([("traceparent".to_owned(), parent)]);
    /// let _attached = tracer.attach(&Context::extract(&request));
    /// let span = tracer.span("GET /cart");
    /// assert_eq!(span.span_context().map(|ids| ids.trace_id), Some(0x4bf92f3577b34da6a3ce929d0e0e4736));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(&self, context: &Context) -> ContextGuard {
        ContextGuard::enter(context.bind_to(self))
    }

    /// Reads the context from a request's headers, like [`Context::extract`], and binds it to this tracer's instance.
    /// In a program with several instances, a future [in this context](crate::InSpan::in_context) then uses the right
    /// one.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    /// let context = telemetry.tracer().extract(&headers);
    /// assert_eq!(context.span().map(|span| span.span_id), Some(0xf0_67aa_0ba9_02b7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extract(&self, headers: &(impl Extract + ?Sized)) -> Context {
        let context = Context::extract(headers);
        let Some(inner) = self.inner() else { return context };
        let ids = context.ids_for(self).unwrap_or_default();
        Context { base: inner.base.get(), ids, ..context }
    }

    /// The context of an owned span, to be used as a parent elsewhere. It has the trace state and the baggage that the
    /// span was started with. For a span that does nothing, it is the context that the span passes on, or this
    /// thread's.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let request = tracer.owned("request");
    /// assert_eq!(tracer.context_of(&request).span(), request.span_context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn context_of(&self, span: &OwnedSpan) -> Context {
        match &span.0 {
            Some(active) => Context::from_ids(active.core.base.get(), active.core.ids),
            None => self.current_context(),
        }
    }
}

/// A guard that keeps a [`Context`] the current one of this thread until it is dropped.
///
/// ```compile_fail
/// let attached = tellane::Context::default().attach();
/// std::thread::spawn(move || drop(attached)); // it belongs to its thread
/// ```
///
/// ```
/// let attached: tellane::ContextGuard = tellane::Context::default().attach();
/// drop(attached);
/// ```
#[derive(Debug)]
#[must_use = "it is current only as long as the guard lives"]
pub struct ContextGuard {
    entry: Option<EntryRef>,
    /// Dropped after the entry is exited: the entry's handle is valid until then.
    _bound: Option<Bound>,
    not_send: PhantomData<*const ()>,
}

impl ContextGuard {
    fn enter(bound: Option<Bound>) -> Self {
        let entry = bound.as_ref().and_then(Bound::enter);
        Self { entry, _bound: bound, not_send: PhantomData }
    }
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            entry.exit(Exit::Entered);
        }
    }
}
