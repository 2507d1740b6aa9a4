//! The way in that stands on a registry. Warm: the registry keeps a box for each span's extension, and a lock.

use super::core::{Core, Events};
use super::slots::{self, Handle, Slot};
use crate::sync::fixed::{AtomicU64, Ordering};
use crate::telemetry::Telemetry;
use crate::trace::foreign::{self, Under};
use std::cell::Cell;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Takes what is said through `tracing` into an instance, beside other layers of a registry.
///
/// It leaves out what its target's level keeps out ([`Telemetry::set_level`]), for itself: other layers get to see it.
/// A span ends when the registry closes it: when its last handle is gone, and its children are closed.
///
/// ```
/// use tellane::testing::Kit;
/// use tracing_subscriber::layer::SubscriberExt;
/// let kit = Kit::new();
/// let subscriber = tracing_subscriber::registry().with(tellane::bridge::tracing::Layer::new(kit.telemetry()));
/// tracing::subscriber::with_default(subscriber, || {
///     let _order = tracing::info_span!("order", items = 3).entered();
///     drop(kit.tracer().span("payment")); // tellane's own spans and those of `tracing` are of one tree
///     drop(tracing::info_span!("packing").entered());
/// });
/// assert_eq!(kit.tree(), "order\n  packing\n  payment\n");
/// ```
#[derive(Debug)]
pub struct Layer {
    core: Core,
    /// Tells it from other layers of the process.
    number: u64,
}

impl Layer {
    /// A layer into an instance. Events become log records.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let layer = tellane::bridge::tracing::Layer::new(&telemetry);
    /// # drop(layer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(telemetry: &Telemetry) -> Self {
        Self { core: Core::new(telemetry), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Says what becomes of events.
    ///
    /// ```
    /// use tellane::bridge::tracing::{Events, Layer};
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let layer = Layer::new(&telemetry).events(Events::Both);
    /// # drop(layer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn events(mut self, events: Events) -> Self {
        self.core.events = events;
        self
    }

    /// Says whether a span fails when an event of level `ERROR` is in it. Not without being asked: such an event may
    /// speak of something else. `tracing-opentelemetry` (0.34) has it always so.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let layer = tellane::bridge::tracing::Layer::new(&telemetry).errors_fail_spans(true);
    /// # drop(layer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn errors_fail_spans(mut self, fail: bool) -> Self {
        self.core.errors_fail = fail;
        self
    }

    /// What is kept of a span of the registry.
    fn kept<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Option<Id> {
        span.extensions().get::<Kept>()?.of(self.number)
    }

    /// The same, for the span of an id: known to this thread if it made the span or was in it lately.
    fn find<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        id: &Id,
        context: &Context<'_, S>,
    ) -> Option<(Id, &'static Slot)> {
        let found = |kept: Id| slots::find(&kept).map(|slot| (kept, slot));
        LATELY.with(|lately| lately.find(self.number, id)).and_then(found).or_else(|| {
            let kept = self.kept(&context.span(id)?)?;
            LATELY.with(|lately| lately.remember(self.number, id, &kept));
            found(kept)
        })
    }

    /// The span itself, or the innermost around it that is not kept out.
    fn nearest<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Option<&'static Slot> {
        span.scope().find_map(|span| self.kept(&span)).and_then(|kept| slots::find(&kept))
    }

    fn under<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        parent: Option<&Id>,
        is_root: bool,
        context: &Context<'_, S>,
    ) -> Under {
        match parent {
            Some(parent) => context
                .span(parent)
                .and_then(|parent| self.nearest(&parent))
                .map_or(Under::Nobody, |slot| Under::Span(slot.span.span_ref())),
            None if is_root => Under::Nobody,
            None => Under::Current,
        }
    }
}

/// What layers keep of one of the registry's spans: it has room for one value of a type, and there may be several
/// layers.
#[derive(Debug)]
struct Kept {
    first: (u64, Handle),
    others: Vec<(u64, Handle)>,
}

impl Kept {
    fn of(&self, layer: u64) -> Option<Id> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|(of, _)| *of == layer).map(|(_, handle)| handle.0.clone())
    }
}

/// Spans that a thread has seen lately, by the registry's ids. These come again for other spans, but not before what is
/// kept here is closed, and then it is not found any more.
struct Lately([Cell<(u64, u64, u64)>; LATELY_SEEN]);

/// A power of two.
const LATELY_SEEN: usize = 16;

impl Lately {
    #[inline(always)]
    fn place(&self, id: &Id) -> &Cell<(u64, u64, u64)> {
        &self.0[id.into_u64() as usize & (LATELY_SEEN - 1)]
    }

    #[inline(always)]
    fn find(&self, layer: u64, id: &Id) -> Option<Id> {
        let (of, there, kept) = self.place(id).get();
        (of == layer && there == id.into_u64()).then(|| Id::from_u64(kept))
    }

    #[inline(always)]
    fn remember(&self, layer: u64, id: &Id, kept: &Id) {
        self.place(id).set((layer, id.into_u64(), kept.into_u64()));
    }
}

thread_local! {
    static LATELY: Lately = const { Lately([const { Cell::new((0, 0, 0)) }; LATELY_SEEN]) };
}

/// The next layer's number, from 1.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let under = self.under(attributes.parent(), attributes.is_root(), &context);
        let Some(handle) = self.core.begin(attributes, under, true) else { return };
        let Some(there) = context.span(id) else { return };
        LATELY.with(|lately| lately.remember(self.number, id, &handle.0));
        let mut extensions = there.extensions_mut();
        match extensions.get_mut::<Kept>() {
            Some(kept) => kept.others.push((self.number, handle)),
            None => extensions.insert(Kept { first: (self.number, handle), others: Vec::new() }),
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some((_, slot)) = self.find(id, &context) {
            slot.span.span_ref().enter_unordered();
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some((kept, slot)) = self.find(id, &context) {
            if std::thread::panicking() {
                slots::exited_by_panic(&kept);
            }
            foreign::exit_unordered(slot.span.base(), slot.span.span_id());
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some((_, slot)) = self.find(id, &context) {
            Core::record(values, |act| slot.span.amend(act));
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        if let (Some((_, slot)), Some((_, followed))) =
            (self.find(id, &context), self.find(follows, &context))
        {
            Core::link(slot, followed);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let under = self.under(event.parent(), event.is_root(), &context);
        self.core.event(event, under, |act| {
            if let Some(slot) = context.event_span(event).and_then(|around| self.nearest(&around)) {
                slot.span.amend(act);
            }
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        // The handle in the registry goes with the place there, and finds nothing left to let go.
        if let Some((kept, slot)) = self.find(&id, &context) {
            slot.let_go(&kept);
        }
    }
}
