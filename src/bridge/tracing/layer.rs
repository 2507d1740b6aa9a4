//! Layer for a registry of `tracing-subscriber`. Warm: the registry takes a lock and a box for each span's extension.

use super::core::{Core, Events};
use super::slots::{self, SlotHandle, SpanSlot};
use crate::sync::fixed::{AtomicU64, Ordering};
use crate::telemetry::Telemetry;
use crate::trace::foreign::{self, ParentSpec};
use std::cell::Cell;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Layer that records `tracing`'s spans and events into an instance, beside other layers of a registry.
///
/// Target levels ([`Telemetry::set_level`]) apply to this layer only: other layers still see the spans and events that
/// it ignores. A span ends when the registry closes it: when its last handle is dropped and its children are closed.
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
    /// Number of this layer, unique in the process.
    number: u64,
}

impl Layer {
    /// Creates a layer that records into an instance. Events become log records.
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

    /// Sets the destination of events.
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

    /// Sets if an event of level `ERROR` marks its span as failed. Off by default, since such an event may concern
    /// something else. `tracing-opentelemetry` (0.34) always does it.
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

    /// The id that this layer stored in a span of the registry.
    fn stored_id<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Option<Id> {
        span.extensions().get::<SpanExtension>()?.of(self.number)
    }

    /// The id and slot of a registry's span. Found in a cache if this thread has started or entered the span recently.
    fn lookup<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        id: &Id,
        context: &Context<'_, S>,
    ) -> Option<(Id, &'static SpanSlot)> {
        let found = |kept: Id| slots::find(&kept).map(|slot| (kept, slot));
        RECENT.with(|recent| recent.get(self.number, id)).and_then(found).or_else(|| {
            let kept = self.stored_id(&context.span(id)?)?;
            RECENT.with(|recent| recent.insert(self.number, id, &kept));
            found(kept)
        })
    }

    /// The slot of a span, or of the innermost enclosing span that this layer records.
    fn nearest<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Option<&'static SpanSlot> {
        span.scope().find_map(|span| self.stored_id(&span)).and_then(|kept| slots::find(&kept))
    }

    fn under<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        parent: Option<&Id>,
        is_root: bool,
        context: &Context<'_, S>,
    ) -> ParentSpec {
        match parent {
            Some(parent) => context
                .span(parent)
                .and_then(|parent| self.nearest(&parent))
                .map_or(ParentSpec::Root, |slot| slot.span.span_ref().as_parent()),
            None if is_root => ParentSpec::Root,
            None => ParentSpec::Current,
        }
    }
}

/// Extension of a registry's span: the handles of all layers. A span has only one extension of each type, and there may
/// be several layers.
#[derive(Debug)]
struct SpanExtension {
    first: (u64, SlotHandle),
    others: Vec<(u64, SlotHandle)>,
}

impl SpanExtension {
    fn of(&self, layer: u64) -> Option<Id> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|(of, _)| *of == layer).map(|(_, handle)| handle.0.clone())
    }
}

/// Per-thread cache of recent spans, by the registry's ids. The registry reuses an id only after its span has closed,
/// and then the slot's generation differs, so that a stale entry finds no span.
struct RecentSpans([Cell<(u64, u64, u64)>; RECENT_SPANS]);

/// Entries of the cache, a power of two.
const RECENT_SPANS: usize = 16;

impl RecentSpans {
    #[inline(always)]
    fn entry(&self, id: &Id) -> &Cell<(u64, u64, u64)> {
        &self.0[id.into_u64() as usize & (RECENT_SPANS - 1)]
    }

    #[inline(always)]
    fn get(&self, layer: u64, id: &Id) -> Option<Id> {
        let (of, there, kept) = self.entry(id).get();
        (of == layer && there == id.into_u64()).then(|| Id::from_u64(kept))
    }

    #[inline(always)]
    fn insert(&self, layer: u64, id: &Id, kept: &Id) {
        self.entry(id).set((layer, id.into_u64(), kept.into_u64()));
    }
}

thread_local! {
    static RECENT: RecentSpans = const { RecentSpans([const { Cell::new((0, 0, 0)) }; RECENT_SPANS]) };
}

/// The next layer's number, from 1.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let under = self.under(attributes.parent(), attributes.is_root(), &context);
        let Some(handle) = self.core.begin(attributes, under, true) else { return };
        let Some(there) = context.span(id) else { return };
        RECENT.with(|recent| recent.insert(self.number, id, &handle.0));
        let mut extensions = there.extensions_mut();
        match extensions.get_mut::<SpanExtension>() {
            Some(kept) => kept.others.push((self.number, handle)),
            None => extensions.insert(SpanExtension { first: (self.number, handle), others: Vec::new() }),
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some((_, slot)) = self.lookup(id, &context) {
            slot.span.span_ref().enter_unordered();
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some((kept, slot)) = self.lookup(id, &context) {
            if std::thread::panicking() {
                slots::exited_by_panic(&kept);
            }
            foreign::exit_unordered(slot.span.base(), slot.span.span_id());
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some((_, slot)) = self.lookup(id, &context) {
            Core::record(values, |act| slot.span.amend(act));
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        if let (Some((_, slot)), Some((_, followed))) =
            (self.lookup(id, &context), self.lookup(follows, &context))
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
        // The handle in the extension is dropped later; it then finds the slot's generation changed and does nothing.
        if let Some((kept, slot)) = self.lookup(&id, &context) {
            slot.release(&kept);
        }
    }
}
