//! What the layer and the subscriber have in common: settings, how a span begins, what becomes of an event.

use super::callsites::{Callsites, Known, level_of};
use super::fields::{Fields, Gathered, Saying, Takes, Title};
use super::slots::{self, Handle, Slot};
use crate::instance::Instance;
use crate::level::Level;
use crate::log::Logger;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::telemetry::Telemetry;
use crate::trace::foreign::{Called, PendingSpan, SpanRef, Under};
use crate::trace::{EventBuilder, OwnedSpan, Tracer};
use tracing_core::span::{Attributes, Record};
use tracing_core::{Event, Metadata};

/// What becomes of events.
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
    /// Each becomes a log record, with the ids of the span that it is in.
    #[default]
    Logs,
    /// Each becomes an event of the span that it is in, with its message, level and target among the attributes; its
    /// name is that of the callsite, since messages are without number. Outside of spans it is left out.
    OfSpans,
    /// Both.
    Both,
}

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
        act: impl FnOnce(&Known) -> R,
    ) -> Option<R> {
        self.callsites.with(&self.instance, metadata, act)
    }

    /// Whether a callsite without a place in the table is on.
    #[cold]
    pub(super) fn is_on(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(*metadata.level());
        !self.instance.lanes.is_forked()
            && !crate::aggregate::is_own_thread()
            && Logger::new(&self.instance, metadata.target()).enabled(level)
    }

    /// Starts a span with its fields, and keeps it; its id is known to nobody yet. Looks at its target's level if it is to
    /// `ask`. Runs other people's code: no lock may be held.
    #[inline(always)]
    pub(super) fn begin(&self, attributes: &Attributes<'_>, under: Under, ask: bool) -> Option<Handle> {
        let metadata = attributes.metadata();
        let Some(known) = self.callsites.find(metadata) else { return self.begin_unmet(attributes, under) };
        if ask && !known.is_on() {
            return None;
        }
        if known.is_special {
            return self.begin_slow(known, attributes, under);
        }
        let (handle, slot) = match self.tracer.prepare(metadata.name(), under) {
            Some(PendingSpan::Span(birth, start)) => {
                let Some((id, slot)) = slots::vacant(known.number) else { return self.refuse() };
                slot.span.begin(birth, start);
                (Handle(id), slot)
            }
            Some(PendingSpan::Nothing) => return None,
            None => return self.begin_slow(known, attributes, under),
        };
        if !attributes.fields().is_empty() && slot.span.is_recorded() {
            attributes.record(&mut Fields(&slot.span));
        }
        Some(handle)
    }

    /// A span of a callsite that nobody has met.
    #[cold]
    #[inline(never)]
    fn begin_unmet(&self, attributes: &Attributes<'_>, under: Under) -> Option<Handle> {
        let begin = |known: &Known| match known.is_on() {
            true => self.begin_slow(known, attributes, under),
            false => None,
        };
        self.callsites.with(&self.instance, attributes.metadata(), begin).flatten()
    }

    /// A span with a name or a kind of its own, or on a thread that is not at the instance yet, or never will be: one of
    /// tellane's own, say.
    #[cold]
    #[inline(never)]
    fn begin_slow(&self, known: &Known, attributes: &Attributes<'_>, under: Under) -> Option<Handle> {
        if crate::aggregate::is_own_thread() {
            return None;
        }
        let mut title = Title::default();
        if known.is_special {
            attributes.record(&mut Fields(&mut title));
        }
        let name = title.name.as_deref().map_or(Called::Literal(known.metadata.name()), Called::Dynamic);
        let mut span = self.tracer.start_under(name, title.kind, under);
        SpanRef::of(&span)?;
        if span.is_recorded() {
            attributes.record(&mut Fields(&mut span));
        }
        let Some((id, slot)) = slots::vacant(known.number) else {
            span.forget();
            return self.refuse();
        };
        slot.span.store(span);
        Some(Handle(id))
    }

    /// Too many spans are open: it is as if this one had never been, but counted.
    #[cold]
    fn refuse(&self) -> Option<Handle> {
        self.instance.lanes.shared.shared_dropped(Kind::Span, Reason::RingFull);
        None
    }

    /// Fields that came late, to be set by `amend`.
    #[cold]
    pub(super) fn record(values: &Record<'_>, amend: impl FnOnce(&mut dyn FnMut(&mut OwnedSpan))) {
        let mut gathered = Gathered::default();
        values.record(&mut Fields(&mut gathered));
        amend(&mut |span| {
            span.drop_attributes(gathered.dropped());
            let mut span = span;
            gathered.each(|key, value| span.take(key, value));
        });
    }

    /// A span follows from another.
    #[cold]
    pub(super) fn link(slot: &Slot, followed: &Slot) {
        if let Some(ids) = followed.span.span_ref().span_context() {
            slot.span.amend(|span| {
                let _: EventBuilder<'_> = span.link(ids);
            });
        }
    }

    /// An event; `amend` changes the span that it is in.
    pub(super) fn event(
        &self,
        event: &Event<'_>,
        under: Under,
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
                self.emit(known, event, under);
            }
            let fails = self.errors_fail && known.level == Level::Error;
            if self.events != Events::Logs {
                annotate(known, event, fails, amend);
            } else if fails {
                amend(&mut OwnedSpan::fail);
            }
        });
    }

    fn emit(&self, known: &Known, event: &Event<'_>, under: Under) {
        let mut saying = Saying::new(known.logger.at(known.level));
        event.record(&mut Fields(&mut saying));
        let inside = match under {
            Under::Current => None,
            Under::Nobody => Some(SpanRef::nobody(self.tracer.base())),
            Under::Span(span_ref) => Some(span_ref),
        };
        inside.inspect(|span_ref| span_ref.enter_unordered());
        saying.emit(known.metadata.name());
        inside.inspect(|span_ref| span_ref.exit_unordered());
    }
}

#[cold]
fn annotate(
    known: &Known,
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
