//! The way in for programs that need tellane alone: no registry, no lock and no allocation for a span. Hot.

use super::core::{Core, Events};
use super::slots::{self, Handle, Slot};
use crate::telemetry::Telemetry;
use crate::trace::foreign::{self, Under};
use std::cell::Cell;
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata};

/// Spans that a thread knows to be entered; of those that are deeper it takes the last of these for the current one.
const DEPTH: usize = 64;

thread_local! {
    static ENTERED: EnteredSpan = const {
        EnteredSpan { depth: Cell::new(0), spans: [const { Cell::new(StackEntry { id: 0, base: 0, span_id: 0 }) }; DEPTH] }
    };
}

/// The spans entered on a thread, of all subscribers.
struct EnteredSpan {
    depth: Cell<usize>,
    spans: [Cell<StackEntry>; DEPTH],
}

#[derive(Clone, Copy)]
struct StackEntry {
    id: u64,
    base: u64,
    span_id: u64,
}

impl EnteredSpan {
    #[inline(always)]
    fn push(&self, inside: StackEntry) {
        let depth = self.depth.get();
        if let Some(place) = self.spans.get(depth) {
            place.set(inside);
            self.depth.set(depth + 1);
        }
    }

    /// Takes out the innermost of an id.
    #[inline(always)]
    fn take(&self, id: u64) -> Option<StackEntry> {
        let top = self.depth.get().checked_sub(1)?;
        let inside = self.spans.get(top)?.get();
        if inside.id != id {
            return self.take_within(id);
        }
        self.depth.set(top);
        Some(inside)
    }

    #[cold]
    fn take_within(&self, id: u64) -> Option<StackEntry> {
        let kept = self.spans.get(..self.depth.get())?;
        let place = kept.iter().rposition(|inside| inside.get().id == id)?;
        let inside = kept[place].get();
        kept[place..].windows(2).for_each(|pair| pair[0].set(pair[1].get()));
        self.depth.set(kept.len() - 1);
        Some(inside)
    }

    /// From the innermost outwards.
    fn ids(&self) -> impl Iterator<Item = Id> {
        let kept = self.spans.get(..self.depth.get()).unwrap_or_default();
        kept.iter().rev().map(|inside| Id::from_u64(inside.get().id))
    }
}

/// Leaves a span that was entered too deep to be kept here.
#[cold]
fn exit_deep(id: &Id) {
    if let Some(slot) = slots::find(id) {
        foreign::exit_unordered(slot.span.base(), slot.span.span_id());
    }
}

/// Takes what is said through `tracing` into an instance, and is all that hears of it.
///
/// What its target's level keeps out costs no more than a look at the callsite, until
/// [`set_level`](crate::Telemetry::set_level) has it otherwise. A span ends when its last handle is gone. Up to 262,144
/// may be open at once; more are counted as dropped, for want of room.
///
/// ```
/// use tellane::testing::Kit;
/// let kit = Kit::new();
/// let subscriber = tellane::bridge::tracing::Subscriber::new(kit.telemetry());
/// tracing::subscriber::with_default(subscriber, || {
///     let _order = tracing::info_span!("order", items = 3).entered();
///     drop(kit.tracer().span("payment")); // tellane's own spans and those of `tracing` are of one tree
///     drop(tracing::info_span!("packing").entered());
///     drop(tracing::debug_span!("not at this level").entered());
/// });
/// assert_eq!(kit.tree(), "order\n  packing\n  payment\n");
/// ```
#[derive(Debug)]
pub struct Subscriber {
    core: Core,
}

impl Subscriber {
    /// A subscriber into an instance. Events become log records.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let subscriber = tellane::bridge::tracing::Subscriber::new(&telemetry);
    /// # drop(subscriber);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(telemetry: &Telemetry) -> Self {
        let core = Core::new(telemetry);
        core.instance.logs.watch(tracing_core::callsite::rebuild_interest_cache);
        Self { core }
    }

    /// Says what becomes of events.
    ///
    /// ```
    /// use tellane::bridge::tracing::{Events, Subscriber};
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let subscriber = Subscriber::new(&telemetry).events(Events::Both);
    /// # drop(subscriber);
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
    /// use tellane::{Status, bridge::tracing::Subscriber, testing::Kit};
    /// let kit = Kit::new();
    /// tracing::subscriber::with_default(Subscriber::new(kit.telemetry()).errors_fail_spans(true), || {
    ///     tracing::info_span!("order").in_scope(|| tracing::error!("out of stock"));
    /// });
    /// assert_eq!(kit.span("order").status, Status::Error);
    /// ```
    #[must_use]
    pub fn errors_fail_spans(mut self, fail: bool) -> Self {
        self.core.errors_fail = fail;
        self
    }

    /// Makes it the subscriber of the whole process.
    ///
    /// ```
    /// use tellane::bridge::tracing::Subscriber;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// Subscriber::new(&telemetry).install()?;
    /// drop(tracing::info_span!("order").entered());
    /// assert_eq!(telemetry.snapshot(std::time::Duration::from_secs(5))?.spans().count(), 1);
    /// assert!(Subscriber::new(&telemetry).install().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `tracing`'s own, if there is one already; then nothing is changed.
    pub fn install(self) -> Result<(), tracing_core::dispatcher::SetGlobalDefaultError> {
        tracing_core::dispatcher::set_global_default(Dispatch::new(self))
    }

    fn under(&self, parent: Option<&Id>, is_root: bool) -> Under {
        match parent {
            Some(parent) => {
                slots::find(parent).map_or(Under::Nobody, |slot| Under::Span(slot.span.span_ref()))
            }
            None if is_root => Under::Nobody,
            None => Under::Current,
        }
    }

    /// The innermost span that is entered on this thread and is kept for this instance.
    fn innermost(&self) -> Option<(Id, &'static Slot)> {
        let base = self.core.tracer.base();
        let mine = |id| slots::find(&id).filter(|slot| slot.span.base() == base).map(|slot| (id, slot));
        ENTERED.with(|entered| entered.ids().find_map(mine))
    }
}

impl tracing_core::Subscriber for Subscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.core.callsites.is_on(&self.core.instance, metadata) {
            Some(true) => Interest::always(),
            Some(false) => Interest::never(),
            None => Interest::sometimes(), // from within tellane: not to be remembered
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.core.callsites.find(metadata) {
            Some(known) => known.is_on(),
            None => self.core.is_on(metadata),
        }
    }

    #[inline]
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let under = self.under(attributes.parent(), attributes.is_root());
        // Interest was asked for when the callsite was met, and is asked for again when levels change.
        self.core.begin(attributes, under, false).map_or_else(slots::nothing, Handle::into_id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(slot) = slots::find(id) {
            Core::record(values, |act| slot.span.amend(act));
        }
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        if let (Some(slot), Some(followed)) = (slots::find(id), slots::find(follows)) {
            Core::link(slot, followed);
        }
    }

    fn event(&self, event: &Event<'_>) {
        let under = self.under(event.parent(), event.is_root());
        self.core.event(event, under, |act| {
            let slot = match under {
                Under::Current => self.innermost().map(|(_, slot)| slot),
                Under::Nobody => None,
                Under::Span(_) => event.parent().and_then(|parent| slots::find(parent)),
            };
            if let Some(slot) = slot {
                slot.span.amend(act);
            }
        });
    }

    #[inline]
    fn enter(&self, id: &Id) {
        if let Some(slot) = slots::find(id) {
            let span_ref = slot.span.span_ref();
            let inside =
                StackEntry { id: id.into_u64(), base: slot.span.base(), span_id: slot.span.span_id() };
            ENTERED.with(|entered| entered.push(inside));
            span_ref.enter_unordered();
        }
    }

    #[inline]
    fn exit(&self, id: &Id) {
        if std::thread::panicking() {
            slots::exited_by_panic(id);
        }
        match ENTERED.with(|entered| entered.take(id.into_u64())) {
            Some(inside) => foreign::exit_unordered(inside.base, inside.span_id),
            None => exit_deep(id),
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(slot) = slots::find(id) {
            slot.share();
        }
        id.clone()
    }

    #[inline]
    fn try_close(&self, id: Id) -> bool {
        slots::find(&id).is_some_and(|slot| slot.let_go(&id))
    }

    fn current_span(&self) -> Current {
        let known = |(id, slot): (Id, &Slot)| Some((id, self.core.callsites.of(slot.callsite())?.metadata));
        self.innermost()
            .and_then(known)
            .map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }
}
