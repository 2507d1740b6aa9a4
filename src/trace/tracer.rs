//! Starts spans. Hot on names that the thread has met before.

use super::context::Context;
use super::open::{Birth, DETACHED, Open};
use super::owned::OwnedSpan;
use super::span::{Span, SpanContext};
use crate::clock::Clock;
use crate::config::SpanLimits;
use crate::lane::{Desk, Ids, Key, KnownName, Marks, Mode, local};
use crate::record::SpanKind;
use crate::series::{Registry, global};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
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
    limits: SpanLimits,
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
            limits: tracing.span_limits,
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
        let base = self.0.as_ref()?.base.get();
        SpanContext::of(local::here(base, |here| here.desk.current()).flatten()?)
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
            Some(None) => OwnedSpan::noop(),
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

impl Source {
    /// A span like most: of a literal's name, under the current one, on the thread or on none.
    #[inline(never)]
    fn start<const ON_THREAD: bool>(&self, desk: &Desk, name: &'static str, kind: SpanKind) -> OwnedSpan {
        let known = desk.name(name, kind as u8).unwrap_or_else(|| self.meet(desk, name, kind));
        self.open(desk, known, Parent::Current, ON_THREAD)
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
                None => local::aside(|| self.registry.dynamic_name(name, kind)),
            },
        };
        self.open(desk, known, parent, on_thread)
    }

    #[inline(always)]
    fn open(&self, desk: &Desk, known: KnownName, parent: Parent, on_thread: bool) -> OwnedSpan {
        let birth = self.birth(desk, known, parent);
        let place = if on_thread { local::enter_span(desk, birth.ids) } else { DETACHED };
        OwnedSpan(Some(Open::new(birth, place, self.clock.ticks())))
    }

    #[inline(always)]
    pub(super) fn birth(&self, desk: &Desk, known: KnownName, parent: Parent) -> Birth<'_> {
        let span_id = desk.span_id();
        let parent = match parent {
            Parent::Current => desk.current(),
            Parent::None => None,
            Parent::Given(ids) => Some(ids),
        };
        let (parent_id, flags, ids) = match parent {
            // A context without a span carries baggage only.
            Some(parent) if parent.span_id != 0 => {
                let ids = Ids { span_id, marks: parent.marks.inherited(), ..parent };
                (parent.span_id, parent.marks.span_flags(), ids)
            }
            around => {
                let ids = self.root(desk, span_id, around);
                (0, Marks(ids.marks.0 | Marks::REMOTE).span_flags(), ids)
            }
        };
        Birth { base: self.base, known, ids, parent_id, flags, limits: &self.limits }
    }

    /// The ids of a new trace.
    #[inline(always)]
    fn root(&self, desk: &Desk, span_id: u64, around: Option<Ids>) -> Ids {
        let trace_id = desk.trace_id();
        let low = trace_id as u64;
        let carries = around.map_or(0, |around| around.marks.0 & Marks::CARRIES);
        Ids { trace_id, span_id, marks: Marks(self.decide(low).0 | carries) }
    }

    /// Whether a new trace is sampled: by the low half of its id, and by the rate limit if there is one.
    #[inline(always)]
    fn decide(&self, low: u64) -> Marks {
        let by_ratio = low < self.threshold || self.threshold == u64::MAX;
        if by_ratio && (!self.rate_limited || self.is_admitted()) { self.sampled } else { self.unsampled }
    }

    #[cold]
    fn is_admitted(&self) -> bool {
        let limit = &self.registry.tracing.rate_limit;
        limit.as_ref().is_none_or(|limit| limit.admits(&self.registry.directory.clock))
    }

    /// The marks of a trace that began in another process.
    pub(super) fn marks_of_remote(&self, trace_id: u128, flags: u8) -> Marks {
        let tracing = &self.registry.tracing;
        let sampled = if tracing.parent_based {
            flags & Marks::SAMPLED != 0
        } else {
            let low = trace_id as u64;
            low < self.threshold || self.threshold == u64::MAX
        };
        let marks = if sampled { self.sampled } else { self.unsampled };
        Marks(marks.0 | Marks::REMOTE | (flags & Marks::RANDOM))
    }

    /// A name that this thread has not met, or not lately.
    #[cold]
    #[inline(never)]
    pub(super) fn meet(&self, desk: &Desk, name: &'static str, kind: SpanKind) -> KnownName {
        let known = local::aside(|| self.registry.span_name(name, kind)).known;
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
                Some(None) => return OwnedSpan::noop(),
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
                    _ => Some(local::aside(|| self.registry.span_name(text, kind))),
                };
                match named.map(|name| name.known) {
                    Some(known) => {
                        let birth = Birth {
                            base: self.base,
                            known,
                            ids: Ids::default(),
                            parent_id: 0,
                            flags: 0, // there will be no record
                            limits: &self.limits,
                        };
                        return OwnedSpan(Some(Open::laneless(birth, refused, directory.clock.ticks())));
                    }
                    None => directory.shared.shared_dropped(Kind::Span, refused),
                }
            }
        }
        OwnedSpan::noop()
    }
}
