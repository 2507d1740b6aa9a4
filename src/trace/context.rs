//! What a thread or a request is in the middle of: a span, trace state, baggage. Cold: once a request or a hand-over.

use super::owned::{OwnedSpan, StackEntry};
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

/// A span to be the parent of others, with the trace state and the baggage that go along: to be taken to another
/// thread, or over the wire. Cheap to clone.
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
    /// The base of the instance it is of; 0 if it is of none yet.
    base: u64,
    /// Without a handle, and without the marks of a place on a stack.
    ids: Ids,
    propagated: Option<Arc<Propagated>>,
    refused: Refused,
}

/// What was refused of the headers that it was read from, until an instance has counted it. Shared by all clones, so
/// that one request counts once.
#[derive(Clone, Debug, Default)]
struct Refused(Option<Arc<(HeaderFaults, AtomicU32)>>);

/// What was refused makes no other context.
impl PartialEq for Refused {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Refused {
    fn of(faults: HeaderFaults) -> Self {
        Self((!faults.is_none()).then(|| Arc::new((faults, AtomicU32::new(0)))))
    }

    fn count_at(&self, source: &TracerInner) {
        if let Some((faults, counted)) = self.0.as_deref()
            && counted.swap(1, Ordering::Relaxed) == 0
        // of all threads, one; nothing else hangs on it
        {
            source.instance.sampling.headers.count(faults);
        }
    }
}

impl Context {
    /// The context of this thread, at the instance it recorded into last. In a program with several instances,
    /// [`Tracer::context`] says which.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let order = telemetry.tracer().span("order");
    /// assert_eq!(tellane::Context::current().span(), order.span_context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current() -> Self {
        match local::current() {
            Some(base) => Self::at(base),
            None => Self::without_lane(None),
        }
    }

    /// The context of this thread where it has no lane: at an instance, or the innermost at any.
    fn without_lane(base: Option<u64>) -> Self {
        let Some((base, ids, propagated)) = laneless::current(base) else { return Self::default() };
        let ids = Ids { trace_flags: ids.trace_flags.off_stack(), ..ids };
        Self { base, ids, propagated, refused: Refused::default() }
    }

    /// The context of this thread at an instance.
    pub(super) fn at(base: u64) -> Self {
        match local::with_lane(base, |local| local.thread_state.spans.current()).flatten() {
            Some(ids) => Self::of(base, ids),
            None => Self { base, ..Self::without_lane(Some(base)) },
        }
    }

    /// The context of a span, or of an entry without a span on a thread's stack.
    fn of(base: u64, ids: Ids) -> Self {
        let propagated = if is_forked(base) { None } else { ids.trace_flags.handle().get() };
        let ids = Ids { trace_flags: ids.trace_flags.off_stack(), ..ids };
        Self { base, ids, propagated, refused: Refused::default() }
    }

    /// What the headers of a request say: `traceparent`, `tracestate`, `baggage`. Malformed ones count as absent;
    /// [`Incoming::read`] says why, and the instance that the context is first used at counts them
    /// ([`Pipeline::traceparents_refused`](crate::Pipeline::traceparents_refused) and its neighbours).
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

    /// Writes it into the headers of a request.
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

    /// The span's ids; `None` outside of any.
    ///
    /// ```
    /// assert_eq!(tellane::Context::default().span(), None);
    /// ```
    pub fn span(&self) -> Option<SpanContext> {
        SpanContext::of(self.ids)
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

    /// The same with other baggage. It goes along once the context is attached.
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
        self.carrying(Propagated { state: self.trace_state(), baggage })
    }

    /// The same with another trace state.
    ///
    /// ```
    /// use tellane::{Context, TraceState};
    /// let context = Context::default().with_trace_state(TraceState::parse("congo=t61")?);
    /// assert_eq!(context.trace_state().get("congo"), Some("t61"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it changes nothing until it is attached"]
    pub fn with_trace_state(&self, state: TraceState) -> Self {
        self.carrying(Propagated { state, baggage: self.baggage() })
    }

    fn carrying(&self, propagated: Propagated) -> Self {
        let propagated = (!propagated.is_empty()).then(|| Arc::new(propagated));
        Self { base: self.base, ids: self.ids, propagated, refused: self.refused.clone() }
    }

    /// Makes it the context of this thread until the guard is dropped: spans that start meanwhile are children of its
    /// span. One that came by [`extract`](Self::extract) belongs to the installed instance, or, if there is none, to
    /// the one this thread recorded into last; [`Tracer::attach`] says which.
    ///
    /// Guards may be dropped in any order: of several contexts, the one attached last stays current until its own guard
    /// is dropped.
    ///
    /// ```
    /// let nothing = tellane::Context::default();
    /// drop(nothing.attach());
    /// ```
    pub fn attach(&self) -> ContextGuard {
        ContextGuard::to(self.bind())
    }

    /// The same at its instance, which is found as [`attach`](Self::attach) says. `None` if there is none.
    pub(super) fn bind(&self) -> Option<Bound> {
        if let Some(base) = NonZeroU64::new(self.base) {
            return Some(self.bind_at(base, self.ids));
        }
        let installed = global().map(Tracer::new);
        let tracer = installed.or_else(|| Some(Tracer::new(&find(Key(local::current()?).instance())?)))?;
        self.bind_to(&tracer)
    }

    fn bind_to(&self, tracer: &Tracer) -> Option<Bound> {
        let base = tracer.source()?.base;
        Some(self.bind_at(base, self.ids_for(tracer).unwrap_or_default()))
    }

    fn bind_at(&self, base: NonZeroU64, ids: Ids) -> Bound {
        let hold = hold(base.get(), self.propagated.as_ref());
        Bound { base, ids: with_hold(ids, hold.as_ref()), hold, propagated: self.propagated.clone() }
    }

    /// A span that does nothing but pass this context on.
    #[cold]
    #[inline(never)]
    pub(super) fn forwarding(&self) -> OwnedSpan {
        let is_empty = !self.ids.is_span() && self.propagated.is_none();
        let tracer =
            find(Key(self.base).instance()).filter(|_| !is_empty).map(|instance| Tracer::new(&instance));
        let Some(tracer) = tracer else { return OwnedSpan::noop() };
        let (parent, _hold) = self.as_parent(&tracer);
        tracer.source().map_or(OwnedSpan::noop(), |source| source.start_forwarding(parent, false))
    }

    /// Its ids as a parent of this tracer's spans; `None` if it has no span.
    fn ids_for(&self, tracer: &Tracer) -> Option<Ids> {
        let source = tracer.source()?;
        self.refused.count_at(source);
        let mut ids = self.ids;
        if !ids.is_span() {
            return None;
        }
        if self.base != source.base.get() {
            ids.trace_flags = source.remote_flags(ids.trace_id, ids.trace_flags.header_flags());
        }
        Some(ids)
    }

    /// The parent that it is to a span of this tracer. What it carries goes along for as long as the hold lasts. Without
    /// a span it leaves the parent to the thread, and adds its baggage to it.
    pub(super) fn as_parent(&self, tracer: &Tracer) -> (ParentSpec, Option<Hold>) {
        let Some(base) = tracer.source().map(|source| source.base.get()) else {
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

/// In the child of a fork a thread that is not there may hold the lock of an entry.
fn is_forked(base: u64) -> bool {
    find(Key(base).instance()).is_some_and(|instance| instance.lanes.is_forked())
}

/// Puts what a context carries where the spans of an instance find it. `None` if it carries nothing.
fn hold(base: u64, propagated: Option<&Arc<Propagated>>) -> Option<Hold> {
    let propagated = propagated.filter(|_| !is_forked(base))?;
    local::without_recording(|| Hold::new(propagated))
}

fn with_hold(ids: Ids, hold: Option<&Hold>) -> Ids {
    let handle = hold.map_or(PropagatedHandle::NONE, Hold::handle);
    let nobody = if ids.is_span() { 0 } else { TraceFlags::UNCOMMON };
    Ids { trace_flags: TraceFlags(ids.trace_flags.with_handle(handle).0 | nobody), ..ids }
}

/// A context at an instance: what an entry on a thread's stack is made of. Keeps what the context carries.
#[derive(Debug)]
pub(super) struct Bound {
    base: NonZeroU64,
    ids: Ids,
    hold: Option<Hold>,
    /// For a thread without a lane.
    propagated: Option<Arc<Propagated>>,
}

impl Bound {
    /// Makes it the context of this thread.
    pub(super) fn enter(&self) -> Option<StackEntry> {
        debug_assert!(self.hold.is_some() || !self.ids.trace_flags.has(TraceFlags::PROPAGATES));
        StackEntry::in_context(self.base, self.ids, self.propagated.as_ref())
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
        Self { base: 0, ids, propagated: None, refused: Refused::of(incoming.faults) }.carrying(propagated)
    }
}

impl Tracer {
    /// Makes a context the one of this thread, for spans of this tracer's instance, until the guard is dropped. A
    /// trace that began elsewhere is sampled here as [`Config::parent_based`](crate::Config::parent_based) says.
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
        ContextGuard::to(context.bind_to(self))
    }

    /// The context of a request's headers, as [`Context::extract`] reads them, for spans of this tracer's instance. In a
    /// program with several instances, a future [in this context](crate::InSpan::in_context) is at the right one.
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
        let Some(source) = self.source() else { return context };
        let ids = context.ids_for(self).unwrap_or_default();
        Context { base: source.base.get(), ids, ..context }
    }

    /// The context of an owned span: what to hand to those that are to be its children elsewhere. Trace state and
    /// baggage are those that the span started in. Of a span that does nothing it is the context that the span passes on, or
    /// this thread's.
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
            Some(open) => Context::of(open.core.base.get(), open.core.ids),
            None => self.current_context(),
        }
    }
}

/// A [`Context`] that is the one of this thread, until this guard is dropped.
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
    inside: Option<StackEntry>,
    /// Dropped last: until then the entry's handle is good.
    _bound: Option<Bound>,
    not_send: PhantomData<*const ()>,
}

impl ContextGuard {
    fn to(bound: Option<Bound>) -> Self {
        let inside = bound.as_ref().and_then(Bound::enter);
        Self { inside, _bound: bound, not_send: PhantomData }
    }
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        if let Some(inside) = self.inside {
            inside.exit(Exit::Entered);
        }
    }
}
