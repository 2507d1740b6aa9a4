//! Subscriber for programs that need only tellane: a span takes no registry, no lock and no allocation. Hot.

use super::core::{Core, Events};
use super::slots::{self, SlotHandle, SpanSlot};
use crate::telemetry::Telemetry;
use crate::trace::foreign::{self, ParentSpec};
use std::cell::Cell;
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata};

/// Depth of a thread's stack of entered spans. Deeper spans are not stored; the deepest stored one counts as current
/// then.
const DEPTH: usize = 64;

thread_local! {
    static ENTERED: EnteredSpan = const {
        EnteredSpan { depth: Cell::new(0), spans: [const { Cell::new(EnteredEntry { id: 0, base: 0, span_id: 0 }) }; DEPTH] }
    };
}

/// The spans entered on a thread, of all subscribers.
struct EnteredSpan {
    depth: Cell<usize>,
    spans: [Cell<EnteredEntry>; DEPTH],
}

/// One entered span: its id in `tracing`, the base of its instance, and its span id.
#[derive(Clone, Copy)]
struct EnteredEntry {
    id: u64,
    base: u64,
    span_id: u64,
}

impl EnteredSpan {
    #[inline(always)]
    fn push(&self, inside: EnteredEntry) {
        let depth = self.depth.get();
        if let Some(entry) = self.spans.get(depth) {
            entry.set(inside);
            self.depth.set(depth + 1);
        }
    }

    /// Removes the innermost entry of an id.
    #[inline(always)]
    fn remove(&self, id: u64) -> Option<EnteredEntry> {
        let top = self.depth.get().checked_sub(1)?;
        let inside = self.spans.get(top)?.get();
        if inside.id != id {
            return self.remove_within(id);
        }
        self.depth.set(top);
        Some(inside)
    }

    #[cold]
    fn remove_within(&self, id: u64) -> Option<EnteredEntry> {
        let kept = self.spans.get(..self.depth.get())?;
        let entry = kept.iter().rposition(|inside| inside.get().id == id)?;
        let inside = kept[entry].get();
        kept[entry..].windows(2).for_each(|pair| pair[0].set(pair[1].get()));
        self.depth.set(kept.len() - 1);
        Some(inside)
    }

    /// Iterates over the ids, from the innermost outwards.
    fn ids(&self) -> impl Iterator<Item = Id> {
        let kept = self.spans.get(..self.depth.get()).unwrap_or_default();
        kept.iter().rev().map(|inside| Id::from_u64(inside.get().id))
    }
}

/// Exits a span that was entered too deep to be stored here.
#[cold]
fn exit_deep(id: &Id) {
    if let Some(slot) = slots::find(id) {
        foreign::exit_unordered(slot.span.base(), slot.span.span_id());
    }
}

/// Subscriber that records `tracing`'s spans and events into an instance, without other layers.
///
/// A span or event that its target's level turns off costs one check of its callsite, until
/// [`set_level`](crate::Telemetry::set_level) enables it. A span ends when its last handle is dropped. Up to 262,144
/// spans may be open at one time; further ones are counted as dropped ([`RingFull`](crate::Reason::RingFull)).
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
    /// Creates a subscriber that records into an instance. Events become log records.
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

    /// Sets the destination of events.
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

    /// Sets if an event of level `ERROR` marks its span as failed. Off by default, since such an event may concern
    /// something else. `tracing-opentelemetry` (0.34) always does it.
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

    /// Installs this subscriber for the whole process.
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
    /// `tracing`'s error, if a subscriber is installed already; then nothing is changed.
    #[doc(alias = "init")]
    #[doc(alias = "set_global_default")]
    pub fn install(self) -> Result<(), tracing_core::dispatcher::SetGlobalDefaultError> {
        tracing_core::dispatcher::set_global_default(Dispatch::new(self))
    }

    fn under(&self, parent: Option<&Id>, is_root: bool) -> ParentSpec {
        match parent {
            Some(parent) => {
                slots::find(parent).map_or(ParentSpec::Root, |slot| slot.span.span_ref().as_parent())
            }
            None if is_root => ParentSpec::Root,
            None => ParentSpec::Current,
        }
    }

    /// The innermost span of this instance that is entered on this thread.
    fn innermost(&self) -> Option<(Id, &'static SpanSlot)> {
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
            None => Interest::sometimes(), // from within tellane: `tracing` must not cache the answer
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.core.callsites.get(metadata) {
            Some(known) => known.is_on(),
            None => self.core.is_on(metadata),
        }
    }

    #[inline]
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let under = self.under(attributes.parent(), attributes.is_root());
        // No check of the level: `tracing` has asked for the callsite's interest, and asks again when a level changes.
        self.core.begin(attributes, under, false).map_or_else(slots::nothing, SlotHandle::into_id)
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
                ParentSpec::Current => self.innermost().map(|(_, slot)| slot),
                ParentSpec::Root => None,
                ParentSpec::Given(_) => event.parent().and_then(|parent| slots::find(parent)),
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
                EnteredEntry { id: id.into_u64(), base: slot.span.base(), span_id: slot.span.span_id() };
            ENTERED.with(|entered| entered.push(inside));
            span_ref.enter_unordered();
        }
    }

    #[inline]
    fn exit(&self, id: &Id) {
        if std::thread::panicking() {
            slots::exited_by_panic(id);
        }
        match ENTERED.with(|entered| entered.remove(id.into_u64())) {
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
        slots::find(&id).is_some_and(|slot| slot.release(&id))
    }

    fn current_span(&self) -> Current {
        let known = |(id, slot): (Id, &SpanSlot)| {
            Some((id, self.core.callsites.by_number(slot.callsite())?.metadata))
        };
        self.innermost()
            .and_then(known)
            .map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }
}
