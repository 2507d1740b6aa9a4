//! The way in that stands on a registry. Warm: the registry keeps a box for each span's extension, and a lock.

use super::core::{Core, Events};
use crate::telemetry::Telemetry;
use crate::trace::OwnedSpan;
use crate::trace::foreign::{Anchor, Under};
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
        Self { core: Core::new(telemetry) }
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

    fn anchor<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Option<Anchor> {
        span.extensions().get::<Kept>()?.of(self.core.tracer.base()).map(|tracked| tracked.anchor)
    }

    /// The span itself, or the innermost around it that is not kept out.
    fn nearest<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Under {
        span.scope().find_map(|span| self.anchor(&span)).map_or(Under::Nobody, Under::Span)
    }

    fn amend<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>, act: &mut dyn FnMut(&mut OwnedSpan)) {
        let mut extensions = span.extensions_mut();
        let kept = extensions.get_mut::<Kept>();
        if let Some(tracked) = kept.and_then(|kept| kept.of_mut(self.core.tracer.base())) {
            act(&mut tracked.span);
        }
    }
}

/// One of tellane's spans, for one of the registry's.
#[derive(Debug)]
struct Tracked {
    anchor: Anchor,
    span: OwnedSpan,
}

/// The registry has room for one value of a type, and there may be layers into several instances.
#[derive(Debug)]
struct Kept {
    first: Option<Tracked>,
    others: Vec<Tracked>,
}

impl Kept {
    fn of(&self, base: u64) -> Option<&Tracked> {
        self.first.iter().chain(&self.others).find(|tracked| tracked.anchor.base() == base)
    }

    fn of_mut(&mut self, base: u64) -> Option<&mut Tracked> {
        self.first.iter_mut().chain(&mut self.others).find(|tracked| tracked.anchor.base() == base)
    }

    fn take(&mut self, base: u64) -> Option<Tracked> {
        let place = self.others.iter().position(|tracked| tracked.anchor.base() == base);
        match place {
            Some(place) => Some(self.others.swap_remove(place)),
            None => self.first.take_if(|tracked| tracked.anchor.base() == base),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if crate::aggregate::is_own_thread() {
            return;
        }
        let under = match attributes.parent() {
            Some(parent) => context.span(parent).map_or(Under::Nobody, |parent| self.nearest(&parent)),
            None if attributes.is_root() => Under::Nobody,
            None => Under::Current,
        };
        let begin = |known: &super::callsites::Known| {
            if known.is_on() { self.core.begin(known, attributes, under) } else { OwnedSpan::noop() }
        };
        let Some(span) = self.core.with(attributes.metadata(), begin) else { return };
        let (Some(anchor), Some(there)) = (Anchor::of(&span), context.span(id)) else { return };
        let tracked = Tracked { anchor, span };
        let mut extensions = there.extensions_mut();
        match extensions.get_mut::<Kept>() {
            Some(kept) => kept.others.push(tracked),
            None => extensions.insert(Kept { first: Some(tracked), others: Vec::new() }),
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(anchor) = context.span(id).and_then(|span| self.anchor(&span)) {
            anchor.step_in();
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(anchor) = context.span(id).and_then(|span| self.anchor(&span)) {
            anchor.step_out();
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            Core::record(values, |act| self.amend(&span, act));
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let followed = context.span(follows).and_then(|span| self.anchor(&span)).and_then(Anchor::context);
        if let (Some(span), Some(ids)) = (context.span(id), followed) {
            self.amend(&span, &mut |span| drop(span.link(ids)));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let under = match event.parent() {
            Some(parent) => context.span(parent).map_or(Under::Nobody, |parent| self.nearest(&parent)),
            None if event.is_root() => Under::Nobody,
            None => Under::Current,
        };
        self.core.event(event, under, |act| {
            let around = context.event_span(event);
            let kept = around.and_then(|span| span.scope().find(|span| self.anchor(span).is_some()));
            if let Some(span) = kept {
                self.amend(&span, act);
            }
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let kept = |kept: &mut Kept| kept.take(self.core.tracer.base());
        let tracked = span.extensions_mut().get_mut::<Kept>().and_then(kept);
        drop(tracked); // ends it, and holds no lock
    }
}
