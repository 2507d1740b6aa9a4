//! Starts spans. Hot on names that the thread has met before.

use super::Span;
use super::open::Open;
use crate::lane::{Ids, Key, KnownName, Mode, local};
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
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// let names: Vec<_> = snapshot.spans().map(|span| span.name.to_string()).collect();
/// assert_eq!(names, ["payment", "order"]); // in the order they ended
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tracer(Option<Source>);

#[derive(Clone, Debug)]
struct Source {
    registry: Arc<Registry>,
    base: NonZeroU64,
    /// Traces whose id, by its low 64 bits, is below this are sampled; the maximum stands for all.
    threshold: u64,
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
        // Float to integer saturates: 1.0 gives the maximum.
        let threshold = (registry.sampling * (u64::MAX as f64)) as u64;
        let base = NonZeroU64::new(Key::new(registry.directory.instance, 0).0); // instances count from 1
        Self(base.map(|base| Source { registry: Arc::clone(registry), base, threshold }))
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
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
    /// assert_eq!(snapshot.spans().filter(|span| span.parent_id.is_some()).count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn span(&self, name: &'static str) -> Span {
        let Some(source) = &self.0 else { return Span::noop() };
        // Inline is what a span costs that is off; the rest, two kilobytes of it, stands once.
        let on = local::here(source.base.get(), |here| {
            let on = here.lane.ring.lets_samples_through();
            if !on {
                here.skip_span();
            }
            on
        });
        match on {
            Some(true) => source.start(name),
            Some(false) => Span(None),
            None => source.start_cold(name),
        }
    }
}

/// The installed instance's tracer; before [`install`](crate::Builder::install) one whose spans do nothing. Keep it
/// where you can: getting it counts a reference.
///
/// ```
/// let _nobody = tellane::tracer().span("too early");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// drop(tellane::tracer().span("order"));
/// assert_eq!(telemetry.snapshot(std::time::Duration::from_secs(1))?.spans().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tracer() -> Tracer {
    global().map_or(Tracer::noop(), Tracer::new)
}

impl Source {
    #[inline(never)]
    fn start(&self, name: &'static str) -> Span {
        local::here(self.base.get(), |here| self.start_here(&here, name)).unwrap_or(Span(None))
    }

    #[inline(always)]
    fn start_here(&self, here: &local::Here<'_>, name: &'static str) -> Span {
        let known = match here.desk.name(name) {
            Some(known) => known,
            None => self.meet(here, name),
        };
        let span_id = here.desk.id();
        let (parent_id, ids) = match here.desk.current() {
            Some(parent) => (parent.span_id, Ids { span_id, ..parent }),
            None => {
                let low = here.desk.id();
                let trace_id = (u128::from(here.desk.id()) << 64) | u128::from(low);
                (0, Ids { trace_id, span_id, sampled: low < self.threshold || self.threshold == u64::MAX })
            }
        };
        let place = here.desk.enter(ids);
        Span(Some(Open::new(self.base, known, ids, parent_id, place, here.directory.clock.ticks())))
    }

    /// On a thread that has just come to the instance.
    fn start_entered(&self, here: &local::Here<'_>, name: &'static str) -> Span {
        if here.lane.ring.lets_samples_through() {
            self.start_here(here, name)
        } else {
            here.skip_span();
            Span(None)
        }
    }

    /// A name that this thread has not met, or not lately.
    #[cold]
    #[inline(never)]
    fn meet(&self, here: &local::Here<'_>, name: &'static str) -> KnownName {
        let known = local::aside(|| self.registry.span_name(name)).known;
        here.desk.remember(name, known);
        known
    }

    /// A thread that is not at this instance yet, or cannot be.
    #[cold]
    #[inline(never)]
    fn start_cold(&self, name: &'static str) -> Span {
        let directory = &self.registry.directory;
        let refused = match local::enter(directory) {
            Ok(()) => match local::here(self.base.get(), |here| self.start_entered(&here, name)) {
                Some(span) => return span,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        match refused {
            Reason::Forked | Reason::AfterShutdown => directory.shared.shared_dropped(Kind::Span, refused),
            _ if directory.mode() == Mode::Off => directory.shared.shared_switched_off(Kind::Span),
            // No lane to carry the span, but its duration still counts. From within tellane only if its name is
            // known: the locks that give out names may be held further out on this thread.
            _ => {
                let named = match refused {
                    Reason::Reentrant => self.registry.names.known_span(name),
                    _ => Some(local::aside(|| self.registry.span_name(name))),
                };
                match named.map(|name| name.known) {
                    Some(known) => {
                        let now = directory.clock.ticks();
                        return Span(Some(Open::laneless(self.base, known, refused, now)));
                    }
                    None => directory.shared.shared_dropped(Kind::Span, refused),
                }
            }
        }
        Span::noop()
    }
}
