//! Starts spans. Hot on names that the thread has met before.

use super::context::Context;
use super::open::{Absent, Birth, DETACHED, Lineage, Open, Room};
use super::owned::{Inside, OwnedSpan};
use super::span::{Span, SpanContext};
use crate::clock::{Clock, Quick};
use crate::lane::{Desk, Ids, Key, KnownName, Marks, Mode, Place, laneless, local};
use crate::record::SpanKind;
use crate::series::{Registry, global};
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
pub struct Tracer(Option<Source>);

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) registry: Arc<Registry>,
    pub(super) base: NonZeroU64,
    /// The instance's, near at hand.
    clock: Clock,
    /// Traces whose id, by its low 64 bits, is below this are sampled; the maximum stands for all.
    threshold: u64,
    /// The marks of a new trace that is sampled, and of one that is not.
    sampled: Marks,
    unsampled: Marks,
    room: Room,
    /// Whether new traces have a rate limit; saves the look into the registry for those that have none.
    rate_limited: bool,
}

/// The parent of a span that is about to start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parent {
    /// The innermost one of the thread.
    Current,
    None,
    Given(Ids),
}

/// What a span will be called, and how that is found out: by the text's address, or by its letters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    Literal(&'static str),
    Dynamic(&'a str),
}

impl Tracer {
    /// A tracer whose spans do nothing.
    ///
    /// ```
    /// let span = tellane::Tracer::noop().span("order");
    /// assert_eq!(span.context(), None);
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(crate) fn new(registry: &Arc<Registry>) -> Self {
        let tracing = &registry.tracing;
        // Float to integer saturates: 1.0 gives the maximum.
        let threshold = (tracing.sampling * (u64::MAX as f64)) as u64;
        let base = NonZeroU64::new(Key::new(registry.directory.instance, 0).0); // instances count from 1
        Self(base.map(|base| Source {
            registry: Arc::clone(registry),
            base,
            clock: registry.directory.clock.clone(),
            threshold,
            sampled: tracing.sampled_marks(),
            unsampled: tracing.unsampled_marks(),
            room: Room::of(tracing.span_limits),
            rate_limited: tracing.rate_limit.is_some(),
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
        self.span_of(name, SpanKind::Internal)
    }

    /// Starts a span of a kind; otherwise like [`span`](Self::span).
    ///
    /// ```
    /// use tellane::SpanKind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// drop(telemetry.tracer().span_of("GET /cart", SpanKind::Server));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().next().map(|span| span.kind), Some(SpanKind::Server));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn span_of(&self, name: &'static str, kind: SpanKind) -> Span {
        let Some(source) = &self.0 else { return Span::noop() };
        // Inline is what a span costs that is off; the rest stands once. The span is made in each arm, not in a
        // closure: from there it would be copied.
        match local::desk_if_on(source.base.get(), Kind::Span) {
            Some(Some(desk)) => Span::on_this_thread(source.start::<true>(desk, name, kind)),
            Some(None) => Span::noop(),
            None => Span::on_this_thread(source.start_cold(Name::Literal(name), kind, Parent::Current, true)),
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
        self.owned_of(name, SpanKind::Internal)
    }

    /// Starts a span of a kind that is on no thread.
    ///
    /// While the switch is off, the span notes no context, and [`build`](Self::build) makes one that does: see
    /// [`InSpan::in_span`](crate::InSpan::in_span) for futures, which need neither.
    ///
    /// ```
    /// use tellane::SpanKind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let request = telemetry.tracer().owned_of("GET /stock", SpanKind::Client);
    /// assert!(request.is_recorded());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn owned_of(&self, name: &'static str, kind: SpanKind) -> OwnedSpan {
        let Some(source) = &self.0 else { return OwnedSpan::noop() };
        match local::desk_if_on(source.base.get(), Kind::Span) {
            Some(Some(desk)) => source.start::<false>(desk, name, kind), // as in `span_of`
            Some(None) => OwnedSpan::noop(),
            None => source.start_cold(Name::Literal(name), kind, Parent::Current, false),
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
    /// assert_eq!(tracer.current(), None);
    /// let order = tracer.span("order");
    /// assert_eq!(tracer.current(), order.context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current(&self) -> Option<SpanContext> {
        SpanContext::of(current_ids(self.0.as_ref()?.base.get())?)
    }

    /// The context of this thread: the innermost span, trace state and baggage. See
    /// [`Context::current`] for one that needs no tracer.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let order = tracer.span("order");
    /// assert_eq!(tracer.context().span(), order.context());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn context(&self) -> Context {
        self.0.as_ref().map_or_else(Context::default, |source| Context::at(source.base.get()))
    }

    pub(super) fn begin(&self, name: Name<'_>, kind: SpanKind, parent: Parent, on_thread: bool) -> OwnedSpan {
        let Some(source) = &self.0 else { return OwnedSpan::noop() };
        match local::desk_if_on(source.base.get(), Kind::Span) {
            Some(Some(desk)) => source.start_any(desk, name, kind, parent, on_thread), // as in `span_of`
            Some(None) => source.start_forwarding(parent, on_thread),
            None => source.start_cold(name, kind, parent, on_thread),
        }
    }

    pub(super) fn source(&self) -> Option<&Source> {
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

impl Parent {
    /// What it comes to on a thread: the ids that the span will stand in.
    #[inline(always)]
    pub(super) fn on(self, desk: &Desk) -> Option<Ids> {
        match self {
            Self::Current => desk.current(),
            Self::None => None,
            Self::Given(ids) => Some(ids),
        }
    }
}

impl Source {
    /// A span like most: of a literal's name, under the current one, on the thread or on none.
    #[inline(never)]
    fn start<const ON_THREAD: bool>(&self, desk: &Desk, name: &'static str, kind: SpanKind) -> OwnedSpan {
        // By itself: what is asked of std may be a call.
        if std::thread::panicking() {
            self.start_otherwise::<ON_THREAD>(desk, name, kind)
        } else {
            self.start_at_once::<ON_THREAD>(desk, name, kind)
        }
    }

    /// What is usual makes no call from here, and what is not is called last: so few registers need be saved.
    #[inline(never)]
    fn start_at_once<const ON_THREAD: bool>(
        &self,
        desk: &Desk,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        let usual = || Some((self.clock.quick()?, desk.name_at_once(name, kind as u8)?, desk.next()?));
        let Some((clock, known, (place, around))) = usual() else {
            return self.start_otherwise::<ON_THREAD>(desk, name, kind);
        };
        let parent = match around {
            Some(parent) if ON_THREAD && parent.is_span() => parent,
            Some(parent) if !ON_THREAD && !parent.marks.has(Marks::UNCOMMON) => parent,
            // An owned span outlives what is around it, so it needs a hold on what it carries.
            Some(_) if !ON_THREAD => return self.start_otherwise::<ON_THREAD>(desk, name, kind),
            _ if self.rate_limited => return self.start_otherwise::<ON_THREAD>(desk, name, kind),
            _ => return self.start_root::<ON_THREAD>(desk, place, known, clock),
        };
        let lineage = Lineage::of_child(desk.span_id(), parent);
        let place = if ON_THREAD {
            desk.enter_at(place, lineage.ids); // its parent has seen to the samples
            place
        } else {
            DETACHED
        };
        self.begun(known, lineage, place, false, clock.ticks())
    }

    /// In no span, under a name that was found at once, without a limit to the rate.
    #[inline(never)]
    fn start_root<const ON_THREAD: bool>(
        &self,
        desk: &Desk,
        place: Place,
        known: &Cell<KnownName>,
        clock: Quick,
    ) -> OwnedSpan {
        let around = desk.around(place); // baggage, if anything
        let lineage = Lineage::of_root(self.root(desk, around, || true));
        let place = if ON_THREAD {
            local::enter_span_at(desk, place, lineage.ids);
            place
        } else {
            DETACHED
        };
        self.begun(known, lineage, place, false, clock.ticks())
    }

    /// By any clock, under any name, however deep.
    #[inline(never)]
    fn start_otherwise<const ON_THREAD: bool>(
        &self,
        desk: &Desk,
        name: &'static str,
        kind: SpanKind,
    ) -> OwnedSpan {
        self.start_any(desk, Name::Literal(name), kind, Parent::Current, ON_THREAD)
    }

    /// Any span, on a thread whose desk at this instance this is, while the switch is on.
    fn start_any(
        &self,
        desk: &Desk,
        name: Name<'_>,
        kind: SpanKind,
        parent: Parent,
        on_thread: bool,
    ) -> OwnedSpan {
        let known = match name {
            Name::Literal(name) => desk.name(name, kind as u8).unwrap_or_else(|| self.meet(desk, name, kind)),
            Name::Dynamic(name) => match self.registry.names.dynamic(name, kind) {
                Some(known) => known,
                None => self.registry.span_name(name, kind),
            },
        };
        self.open(desk, known, parent, on_thread)
    }

    #[inline(always)]
    fn open(&self, desk: &Desk, known: KnownName, parent: Parent, on_thread: bool) -> OwnedSpan {
        let lineage = self.lineage(desk, parent.on(desk));
        let place = if on_thread { local::enter_span(desk, lineage.ids) } else { DETACHED };
        let now = self.clock.ticks();
        let mut span = self.begun(&Cell::new(known), lineage, place, std::thread::panicking(), now);
        if lineage.ids.marks.has(Marks::CARRIES) {
            // A guard under the thread's own current span needs no hold: whatever is around it has one.
            let outlives = !on_thread || matches!(parent, Parent::Given(_));
            span.0.as_mut().filter(|_| outlives).into_iter().for_each(Open::hold_carried);
        }
        span
    }

    #[inline(always)]
    pub(super) fn birth(&self, known: KnownName, lineage: Lineage) -> Birth<'_> {
        Birth { base: self.base, known, lineage, room: &self.room }
    }

    /// Where a span stands that is about to start in this. Only baggage may be around it, and no span.
    #[inline(always)]
    pub(super) fn lineage(&self, desk: &Desk, around: Option<Ids>) -> Lineage {
        match around {
            Some(parent) if parent.is_span() => Lineage::of_child(desk.span_id(), parent),
            _ => Lineage::of_root(self.root(desk, around, || !self.rate_limited || self.is_admitted())),
        }
    }

    /// `start` is in ticks. What it is known as, the base and the room are read behind the clock, so that no register
    /// keeps them while it is read.
    #[inline(always)]
    fn begun(
        &self,
        known: &Cell<KnownName>,
        lineage: Lineage,
        place: Place,
        was_panicking: bool,
        start: u64,
    ) -> OwnedSpan {
        OwnedSpan(Some(Open::new(self.birth(known.get(), lineage), place, was_panicking, start)))
    }

    /// The ids of a new trace.
    #[inline(always)]
    fn root(&self, desk: &Desk, around: Option<Ids>, admitted: impl FnOnce() -> bool) -> Ids {
        let (span_id, trace_id) = (desk.span_id(), desk.trace_id());
        let carries = around.map_or(0, |around| around.marks.0 & (Marks::CARRIES | Marks::UNCOMMON));
        let by_ratio = self.samples(trace_id as u64);
        let sampling = if by_ratio && admitted() { self.sampled } else { self.unsampled };
        Ids { trace_id, span_id, marks: Marks(sampling.0 | carries) }
    }

    /// Whether a trace is sampled by its share, by the low half of its id.
    #[inline(always)]
    fn samples(&self, low: u64) -> bool {
        low < self.threshold || self.threshold == u64::MAX
    }

    #[cold]
    fn is_admitted(&self) -> bool {
        let limit = &self.registry.tracing.rate_limit;
        limit.as_ref().is_none_or(|limit| limit.admits(&self.registry.directory.clock))
    }

    /// The marks of a trace that began in another process.
    pub(super) fn marks_of_remote(&self, trace_id: u128, flags: u8) -> Marks {
        let came = Marks::of_header(flags);
        let parent_based = self.registry.tracing.parent_based;
        let sampled = if parent_based { came.has(Marks::SAMPLED) } else { self.samples(trace_id as u64) };
        let marks = if sampled { self.sampled } else { self.unsampled };
        Marks(marks.0 | (came.0 & !Marks::SAMPLED))
    }

    /// A span that does nothing, and passes on the context that it is begun in. On a thread's stack only if the thread is
    /// not in that context anyway.
    #[cold]
    #[inline(never)]
    pub(super) fn start_forwarding(&self, parent: Parent, on_thread: bool) -> OwnedSpan {
        let base = self.base;
        let around = match parent {
            Parent::Given(ids) => Some(ids),
            Parent::Current if !on_thread => current_ids(base.get()),
            Parent::Current | Parent::None => None,
        };
        let is_there = |ids: &Ids| ids.is_span() || ids.marks.has(Marks::CARRIES);
        let Some(ids) = around.filter(is_there) else { return OwnedSpan::noop() };
        let birth = self.birth(KnownName::default(), Lineage { ids, ..Lineage::default() });
        let mut open = Open::absent(birth, Absent::Forwarding, 0);
        if on_thread && let Some(inside) = Inside::at(base, open.ids) {
            open.place = inside.place();
        }
        OwnedSpan(Some(open))
    }

    /// A name that this thread has not met, or not lately.
    #[cold]
    #[inline(never)]
    pub(super) fn meet(&self, desk: &Desk, name: &'static str, kind: SpanKind) -> KnownName {
        let known = self.registry.span_name(name, kind);
        desk.remember(name, kind as u8, known);
        known
    }

    /// A thread that is not at this instance yet, or cannot be.
    #[cold]
    #[inline(never)]
    fn start_cold(&self, name: Name<'_>, kind: SpanKind, parent: Parent, on_thread: bool) -> OwnedSpan {
        let directory = &self.registry.directory;
        let refused = match local::enter(directory) {
            Ok(()) => match local::desk_if_on(self.base.get(), Kind::Span) {
                Some(Some(desk)) => return self.start_any(desk, name, kind, parent, on_thread),
                Some(None) => return self.start_forwarding(parent, on_thread),
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        let (Name::Literal(text) | Name::Dynamic(text)) = name;
        match refused {
            Reason::Forked | Reason::AfterShutdown => directory.shared.shared_dropped(Kind::Span, refused),
            _ if directory.mode() == Mode::Off => directory.shared.shared_switched_off(Kind::Span),
            // No lane to carry the span, but its duration still counts. From within tellane only if its name is
            // known: the locks that give out names may be held further out on this thread.
            _ => {
                let named = match refused {
                    Reason::Reentrant => self.registry.names.known_span(text, kind),
                    _ => Some(self.registry.span_name(text, kind)),
                };
                match named {
                    Some(known) => {
                        // There will be no record.
                        let mut span = self.start_forwarding(parent, on_thread);
                        let start = directory.clock.ticks();
                        let birth = self.birth(known, Lineage::default());
                        let open = match span.0.take() {
                            Some(forwarding) => forwarding.measured(known, refused, start),
                            None => Open::absent(birth, Absent::Laneless(refused), start),
                        };
                        return OwnedSpan(Some(open));
                    }
                    None => directory.shared.shared_dropped(Kind::Span, refused),
                }
            }
        }
        self.start_forwarding(parent, on_thread)
    }
}

/// The ids of the innermost entry of this thread at an instance, on its desk or without a lane.
pub(super) fn current_ids(base: u64) -> Option<Ids> {
    let on_desk = local::here(base, |here| here.desk.current()).flatten();
    on_desk.or_else(|| laneless::current(Some(base)).map(|(_, ids, _)| ids))
}
