//! Starts spans. Hot on names that the thread has met before.

use super::span::Span;
use crate::lane::{Directory, Key, KnownName, Mode, Open, local};
use crate::series::Registry;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;

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
    base: u64,
    /// Traces whose id, by its low 64 bits, is below this are sampled; the maximum stands for all.
    threshold: u64,
}

impl Tracer {
    /// A tracer whose spans do nothing.
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(crate) fn new(registry: &Arc<Registry>, ratio: f64) -> Self {
        // Float to integer saturates: 1.0 gives the maximum.
        let threshold = (ratio * (u64::MAX as f64)) as u64;
        let base = Key::new(registry.directory.instance, 0).0;
        Self(Some(Source { registry: Arc::clone(registry), base, threshold }))
    }

    /// Starts a span on this thread, as a child of the innermost one open here, or as the root of a new trace. It
    /// ends when dropped. Fastest with one literal for one name: a thread knows a name by the address of its text.
    #[inline]
    pub fn span(&self, name: &'static str) -> Span {
        let Some(source) = &self.0 else { return Span::inert() };
        match local::here(source.base, |here| source.start(&here, name)) {
            Some(span) => span,
            None => source.start_cold(name),
        }
    }
}

impl Source {
    #[inline(always)]
    fn start(&self, here: &local::Here<'_>, name: &'static str) -> Span {
        if !here.lane.ring.lets_samples_through() {
            here.skip_span();
            return Span::inert();
        }
        let known = match here.desk.name(name) {
            Some(known) => known,
            None => self.meet(here, name),
        };
        let span_id = here.desk.id();
        let (parent_id, open) = match here.desk.current() {
            Some(parent) => (parent.span_id, Open { span_id, ..parent }),
            None => {
                let low = here.desk.id();
                let trace_id = (u128::from(here.desk.id()) << 64) | u128::from(low);
                (0, Open { trace_id, span_id, sampled: low < self.threshold || self.threshold == u64::MAX })
            }
        };
        let place = here.desk.enter(open);
        Span::open(self.base, known, open, parent_id, place, here.directory.clock.ticks())
    }

    /// A name that this thread has not met, or not lately.
    #[cold]
    #[inline(never)]
    fn meet(&self, here: &local::Here<'_>, name: &'static str) -> KnownName {
        let known = self.registry.span_name(name).known;
        here.desk.remember(name, known);
        known
    }

    /// A thread that is not at this instance yet, or cannot be.
    #[cold]
    #[inline(never)]
    fn start_cold(&self, name: &'static str) -> Span {
        let directory = &self.registry.directory;
        let refused = match local::enter(directory) {
            Ok(()) => match local::here(self.base, |here| self.start(&here, name)) {
                Some(span) => return span,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        match refused {
            Reason::Forked => return Span::inert(),
            Reason::AfterShutdown => directory.shared.shared_dropped(Kind::Span, refused),
            _ if directory.mode() == Mode::Off => directory.shared.shared_switched_off(Kind::Span),
            // No lane to carry the span, but its duration still counts: see `Span::end_cold`.
            _ => {
                return Span::laneless(
                    self.base,
                    &self.registry.span_name(name),
                    refused,
                    directory.clock.ticks(),
                );
            }
        }
        Span::inert()
    }
}

/// The duration of a span that no lane could count.
#[cold]
pub(super) fn share_duration(directory: &Directory, durations: u32, nanos: u64) {
    if let Some(to) = directory.distributions.get(durations as usize) {
        directory.share_sample(&to.commons, nanos.min(to.layout.highest()));
    }
}
