//! The way in for programs that need tellane alone: no registry, no lock and no allocation for a span. Hot.

use super::callsites::Known;
use super::core::{Core, Events};
use super::slots::{self, Handle, Slot};
use crate::telemetry::Telemetry;
use crate::trace::foreign::{self, Under};
use std::cell::RefCell;
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata};

thread_local! {
    /// The spans entered on this thread, of all subscribers.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// It is borrowed already only while it grows, if the allocator enters a span: then that one is left out.
#[inline(always)]
fn push(entered: &RefCell<Vec<u64>>, id: u64) {
    if let Ok(mut entered) = entered.try_borrow_mut() {
        entered.push(id);
    }
}

#[inline(always)]
fn take_out(entered: &RefCell<Vec<u64>>, id: u64) {
    let Ok(mut entered) = entered.try_borrow_mut() else { return };
    if entered.last() == Some(&id) {
        entered.pop();
    } else if let Some(place) = entered.iter().rposition(|other| *other == id) {
        entered.remove(place);
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
        core.registry.logs.watch(tracing_core::callsite::rebuild_interest_cache);
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
    /// assert_eq!(telemetry.snapshot(std::time::Duration::from_secs(1))?.spans().count(), 1);
    /// assert!(Subscriber::new(&telemetry).install().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `tracing`'s own, if there is one already; then nothing is changed.
    pub fn install(self) -> Result<(), tracing_core::dispatcher::SetGlobalDefaultError> {
        tracing_core::dispatcher::set_global_default(Dispatch::new(self))
    }

    /// The span of an id, if it is kept and of this instance.
    #[inline(always)]
    fn find(&self, id: &Id) -> Option<&'static Slot> {
        slots::find(id)
    }

    fn under(&self, parent: Option<&Id>, is_root: bool) -> Under {
        match parent {
            Some(parent) => self.find(parent).map_or(Under::Nobody, |slot| Under::Span(slot.span.anchor())),
            None if is_root => Under::Nobody,
            None => Under::Current,
        }
    }

    /// The innermost span that is entered on this thread and is kept for this instance.
    fn innermost(&self) -> Option<(Id, &'static Slot)> {
        let base = self.core.tracer.base();
        let mine = |id: &u64| {
            let id = Id::from_u64(*id);
            slots::find(&id).filter(|slot| slot.span.base() == base).map(|slot| (id, slot))
        };
        ENTERED.try_with(|entered| entered.try_borrow().ok()?.iter().rev().find_map(mine)).ok().flatten()
    }
}

impl tracing_core::Subscriber for Subscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.core.with(metadata, Known::is_on) {
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
        if crate::aggregate::is_own_thread() {
            return slots::nothing();
        }
        let under = self.under(attributes.parent(), attributes.is_root());
        let begin = |known: &Known| self.core.begin(known, attributes, under).map(Handle::into_id);
        self.core.with(attributes.metadata(), begin).flatten().unwrap_or_else(slots::nothing)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(slot) = self.find(id) {
            Core::record(values, |act| slot.span.amend(act));
        }
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        let followed = self.find(follows).and_then(|slot| slot.span.anchor().context());
        if let (Some(slot), Some(ids)) = (self.find(id), followed) {
            slot.span.amend(|span| drop(span.link(ids)));
        }
    }

    fn event(&self, event: &Event<'_>) {
        let under = self.under(event.parent(), event.is_root());
        self.core.event(event, under, |act| {
            let slot = match under {
                Under::Current => self.innermost().map(|(_, slot)| slot),
                Under::Nobody => None,
                Under::Span(_) => event.parent().and_then(|parent| self.find(parent)),
            };
            if let Some(slot) = slot {
                slot.span.amend(act);
            }
        });
    }

    #[inline]
    fn enter(&self, id: &Id) {
        if let Some(slot) = self.find(id) {
            let _thread_ends = ENTERED.try_with(|entered| push(entered, id.into_u64()));
            slot.span.anchor().step_in();
        }
    }

    #[inline]
    fn exit(&self, id: &Id) {
        if let Some(slot) = self.find(id) {
            let _thread_ends = ENTERED.try_with(|entered| take_out(entered, id.into_u64()));
            foreign::step_out(slot.span.base(), slot.span.span_id());
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(slot) = self.find(id) {
            slot.share();
        }
        id.clone()
    }

    #[inline]
    fn try_close(&self, id: Id) -> bool {
        self.find(&id).is_some_and(|slot| slot.let_go(&id))
    }

    fn current_span(&self) -> Current {
        let known = |(id, slot): (Id, &Slot)| Some((id, self.core.callsites.of(slot.callsite())?.metadata));
        self.innermost()
            .and_then(known)
            .map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }
}
