//! What a bridge needs of spans that another ecosystem's rules govern: a parent and a current span that are known by
//! their ids, and may be left in any order. Hot.

use super::open::Birth;
use super::owned::{OwnedSpan, enter_cold};
use super::span::SpanContext;
use super::tracer::{Name, Parent, Tracer};
use crate::lane::{Ids, Key, Marks, laneless, local};
use crate::record::SpanKind;
use crate::series::find;

pub(crate) use super::open::parked::Parked;

/// What a span is to others: their parent, a thread's current one. Stays true after its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    /// The base of its instance.
    pub(super) base: u64,
    pub(super) ids: Ids,
}

impl Anchor {
    /// `None` for a span that does nothing.
    #[inline]
    pub(crate) fn of(span: &OwnedSpan) -> Option<Self> {
        let open = span.0.as_ref()?;
        Some(Self { base: open.base.get(), ids: open.ids })
    }

    /// No span at all: who is inside has no parent.
    pub(crate) fn nobody(base: u64) -> Self {
        Self { base, ids: Ids::NOBODY }
    }

    /// Its ids, unless it carries none.
    pub(crate) fn context(self) -> Option<SpanContext> {
        SpanContext::of(self.ids)
    }

    /// Makes it this thread's current span.
    #[inline(always)]
    pub(crate) fn step_in(self) {
        if local::here(self.base, |here| here.enter(self.ids)).is_none() {
            self.step_in_cold();
        }
    }

    /// Slow path: attaches this thread first, or keeps the context beside the lanes, for the headers.
    #[cold]
    #[inline(never)]
    fn step_in_cold(self) {
        enter_cold(self.base, self.ids, None);
    }

    /// Leaves it; those stepped into since stay.
    pub(crate) fn step_out(self) {
        step_out(self.base, self.ids.span_id);
    }
}

/// Leaves the span of this id, stepped into on this thread; those stepped into since stay.
#[inline(always)]
pub(crate) fn step_out(base: u64, span_id: u64) {
    if local::here(base, |here| here.step_out(span_id)).is_none() {
        step_out_cold(base, span_id);
    }
}

/// What ran inside has led the thread to another instance.
#[cold]
#[inline(never)]
fn step_out_cold(base: u64, span_id: u64) {
    let attached =
        find(Key(base).instance()).is_some_and(|registry| local::enter(&registry.directory).is_ok());
    if !attached || local::here(base, |here| here.step_out(span_id)).is_none() {
        laneless::leave_span(span_id);
    }
}

/// Whose child a span is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Under {
    /// The thread's current span.
    Current,
    /// Nobody: it begins a trace.
    Nobody,
    Span(Anchor),
}

impl From<Under> for Parent {
    #[inline(always)]
    fn from(under: Under) -> Self {
        match under {
            Under::Current => Self::Current,
            Under::Nobody => Self::None,
            Under::Span(anchor) => Self::Given(anchor.ids),
        }
    }
}

/// A span that has no place yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conceived<'a> {
    /// The switch is off.
    Nothing,
    /// When it started, in ticks.
    Span(Birth<'a>, u64),
}

/// The name of a span to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Called<'a> {
    Literal(&'static str),
    Dynamic(&'a str),
}

impl OwnedSpan {
    /// Counts attributes that were lost before they came here.
    pub(crate) fn drop_attributes(&mut self, number: u16) {
        if let Some(open) = &mut self.0 {
            open.drop_attributes(number);
        }
    }

    /// As if it had never been: it does not end. The caller counts it.
    #[cold]
    pub(crate) fn forget(mut self) {
        // Its items are not dropped with it: see `Open`.
        let Some(mut open) = self.0.take() else { return };
        open.let_carried_go();
        let block = open.items.take_block();
        local::aside(|| drop(block));
    }
}

impl Tracer {
    /// Starts a span that is on no thread.
    #[inline(always)]
    pub(crate) fn start_under(&self, name: Called<'_>, kind: SpanKind, under: Under) -> OwnedSpan {
        let name = match name {
            Called::Literal(text) => Name::Literal(text),
            Called::Dynamic(text) => Name::Dynamic(text),
        };
        self.begin(name, kind, under.into(), false)
    }

    /// Prepares a span for storage in a place of the caller's; its name is a literal. `None` if only
    /// [`start_under`](Self::start_under) can: this thread is not at the instance, or the span carries trace state or
    /// baggage.
    #[inline(always)]
    pub(crate) fn conceive(&self, name: &'static str, under: Under) -> Option<Conceived<'_>> {
        let source = self.source()?;
        let kind = SpanKind::Internal;
        local::here(source.base.get(), |here| {
            if !here.lane.ring.lets_samples_through() {
                if Parent::from(under).on(here.desk).is_some() {
                    return None; // there is a context to pass on
                }
                here.skip_span();
                return Some(Conceived::Nothing);
            }
            let around = match Parent::from(under).on(here.desk) {
                Some(around) if !around.marks.has(Marks::UNCOMMON) => Some(around), // a span with nothing to carry
                Some(around) if around.marks.has(Marks::CARRIES) => return None,
                _ => None,
            };
            let known = here.desk.name(name, kind as u8);
            let known = known.unwrap_or_else(|| source.meet(here.desk, name, kind));
            let lineage = source.lineage(here.desk, around);
            Some(Conceived::Span(source.birth(known, lineage), here.directory.clock.ticks()))
        })?
    }

    /// The base of its instance; 0 if it has none.
    pub(crate) fn base(&self) -> u64 {
        self.source().map_or(0, |source| source.base.get())
    }
}
