//! Shared core of the layer and the subscriber: settings, the start of spans, the recording of events.

use super::callsites::{CallsiteEntry, Callsites, level_of};
use super::fields::{EventRecord, FieldSink, Fields, Gathered, NameAndKind};
use super::slots::{self, SlotHandle, SpanSlot};
use crate::instance::Instance;
use crate::level::Level;
use crate::log::Logger;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::telemetry::Telemetry;
use crate::trace::foreign::{ParentSpec, PendingSpan, SpanName, SpanRef};
use crate::trace::{EventBuilder, OwnedSpan, Tracer};
use tracing_core::span::{Attributes, Record};
use tracing_core::{Event, Metadata};

/// Destination of `tracing`'s events.
///
/// ```
/// use tellane::bridge::tracing::{Events, Subscriber};
/// use tellane::testing::Kit;
/// let kit = Kit::new();
/// let subscriber = Subscriber::new(kit.telemetry()).events(Events::OfSpans);
/// tracing::subscriber::with_default(subscriber, || {
///     let _order = tracing::info_span!("order").entered();
///     tracing::warn!(left = 3, "stock is low");
/// });
/// let event = &kit.span("order").events[0];
/// assert_eq!(event.attributes[0].1.to_string(), "stock is low");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Events {
    /// Each event becomes a log record, with the ids of the span that it is in.
    #[default]
    Logs,
    /// Each event becomes an event of the span that it is in, with message, level and target as attributes. Its name is
    /// that of the callsite, since the number of different messages is unbounded. Events outside of spans are ignored.
    OfSpans,
    /// Each event becomes both a log record and an event of its span.
    Both,
}

/// Settings and tables of one layer or subscriber.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) instance: Arc<Instance>,
    pub(super) tracer: Tracer,
    pub(super) callsites: Callsites,
    pub(super) events: Events,
    pub(super) errors_fail: bool,
}

impl Core {
    pub(super) fn new(telemetry: &Telemetry) -> Self {
        Self {
            instance: Arc::clone(telemetry.instance()),
            tracer: telemetry.tracer(),
            callsites: Callsites::default(),
            events: Events::default(),
            errors_fail: false,
        }
    }

    #[inline(always)]
    pub(super) fn with<R>(
        &self,
        metadata: &'static Metadata<'static>,
        act: impl FnOnce(&CallsiteEntry) -> R,
    ) -> Option<R> {
        self.callsites.with(&self.instance, metadata, act)
    }

    /// Returns `true` if a callsite that is not in the table is enabled.
    #[cold]
    pub(super) fn is_on(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(*metadata.level());
        !self.instance.lanes.is_forked()
            && !crate::aggregate::is_own_thread()
            && Logger::new(&self.instance, metadata.target()).enabled(level)
    }

    /// Starts a span with its fields, and stores it in a slot; no other thread knows its id yet. Checks its target's
    /// level if `check_level` is set. Runs foreign code (`Debug` of the fields), so no lock may be held.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        attributes: &Attributes<'_>,
        parent: ParentSpec,
        check_level: bool,
    ) -> Option<SlotHandle> {
        let metadata = attributes.metadata();
        let Some(known) = self.callsites.get(metadata) else {
            return self.begin_uncached(attributes, parent);
        };
        if check_level && !known.is_on() {
            return None;
        }
        if known.is_special {
            return self.begin_slow(known, attributes, parent);
        }
        let (handle, slot) = match self.tracer.prepare(metadata.name(), parent) {
            Some(PendingSpan::Span(birth, start)) => {
                let Some((id, slot)) = slots::vacant(known.number) else { return self.refuse() };
                slot.span.begin(birth, start);
                (SlotHandle(id), slot)
            }
            Some(PendingSpan::Nothing) => return None,
            None => return self.begin_slow(known, attributes, parent),
        };
        if !attributes.fields().is_empty() && slot.span.is_recorded() {
            attributes.record(&mut Fields(&slot.span));
        }
        Some(handle)
    }

    /// Slow path of [`begin`](Self::begin): a span of a callsite that is not in the table.
    #[cold]
    #[inline(never)]
    fn begin_uncached(&self, attributes: &Attributes<'_>, parent: ParentSpec) -> Option<SlotHandle> {
        let begin = |known: &CallsiteEntry| match known.is_on() {
            true => self.begin_slow(known, attributes, parent),
            false => None,
        };
        self.callsites.with(&self.instance, attributes.metadata(), begin).flatten()
    }

    /// Slow path of [`begin`](Self::begin): a span with `otel.name` or `otel.kind`, or a thread that is not attached to
    /// the instance yet, or never will be, such as tellane's own.
    #[cold]
    #[inline(never)]
    fn begin_slow(
        &self,
        known: &CallsiteEntry,
        attributes: &Attributes<'_>,
        parent: ParentSpec,
    ) -> Option<SlotHandle> {
        if crate::aggregate::is_own_thread() {
            return None;
        }
        let mut name_and_kind = NameAndKind::default();
        if known.is_special {
            attributes.record(&mut Fields(&mut name_and_kind));
        }
        let name =
            name_and_kind.name.as_deref().map_or(SpanName::Literal(known.metadata.name()), SpanName::Dynamic);
        let mut span = self.tracer.start_detached(name, name_and_kind.kind, parent);
        SpanRef::of(&span)?;
        if span.is_recorded() {
            attributes.record(&mut Fields(&mut span));
        }
        let Some((id, slot)) = slots::vacant(known.number) else {
            span.forget();
            return self.refuse();
        };
        slot.span.store(span);
        Some(SlotHandle(id))
    }

    /// Counts a span as dropped, since too many spans are open.
    #[cold]
    fn refuse(&self) -> Option<SlotHandle> {
        self.instance.lanes.shared.shared_dropped(Kind::Span, Reason::RingFull);
        None
    }

    /// Sets fields that were recorded after the span's start, by `amend`.
    #[cold]
    pub(super) fn record(values: &Record<'_>, amend: impl FnOnce(&mut dyn FnMut(&mut OwnedSpan))) {
        let mut gathered = Gathered::default();
        values.record(&mut Fields(&mut gathered));
        amend(&mut |span| {
            span.drop_attributes(gathered.dropped());
            let mut span = span;
            gathered.each(|key, value| span.set_field(key, value));
        });
    }

    /// Links a span to one that it follows from.
    #[cold]
    pub(super) fn link(slot: &SpanSlot, followed: &SpanSlot) {
        if let Some(ids) = followed.span.span_ref().span_context() {
            slot.span.amend(|span| {
                let _: EventBuilder<'_> = span.link(ids);
            });
        }
    }

    /// Records an event; `amend` changes the span that it is in.
    pub(super) fn event(
        &self,
        event: &Event<'_>,
        parent: ParentSpec,
        amend: impl FnOnce(&mut dyn FnMut(&mut OwnedSpan)),
    ) {
        if crate::aggregate::is_own_thread() {
            return;
        }
        self.with(event.metadata(), |known| {
            if !known.is_on() {
                return;
            }
            if self.events != Events::OfSpans {
                self.emit(known, event, parent);
            }
            let fails = self.errors_fail && known.level == Level::Error;
            if self.events != Events::Logs {
                annotate(known, event, fails, amend);
            } else if fails {
                amend(&mut OwnedSpan::fail);
            }
        });
    }

    fn emit(&self, known: &CallsiteEntry, event: &Event<'_>, parent: ParentSpec) {
        let mut record = EventRecord::new(known.logger.at(known.level));
        event.record(&mut Fields(&mut record));
        let inside = match parent {
            ParentSpec::Current => None,
            ParentSpec::Root => Some(SpanRef::nobody(self.tracer.base())),
            ParentSpec::Given(ids) => Some(SpanRef::to(self.tracer.base(), ids)),
        };
        inside.inspect(|span_ref| span_ref.enter_unordered());
        record.emit(known.metadata.name());
        inside.inspect(|span_ref| span_ref.exit_unordered());
    }
}

#[cold]
fn annotate(
    known: &CallsiteEntry,
    event: &Event<'_>,
    fails: bool,
    amend: impl FnOnce(&mut dyn FnMut(&mut OwnedSpan)),
) {
    let mut gathered = Gathered::default();
    event.record(&mut Fields(&mut gathered));
    amend(&mut |span| {
        span.drop_attributes(gathered.dropped());
        let mut made = Some(span.event(known.metadata.name()));
        gathered.each(|key, value| made = made.take().map(|made| made.set(key, value)));
        if let Some(made) = made {
            made.set("level", known.level.name()).set("target", known.metadata.target());
        }
        if fails {
            span.fail();
        }
    });
}
