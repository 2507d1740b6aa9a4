//! What a bridge needs of spans that another ecosystem's rules govern: a parent and a current span that are known by
//! their ids, and may be left in any order. Hot.

use super::active::SpanStart;
use super::owned::{OwnedSpan, enter_cold};
use super::span::SpanContext;
use super::tracer::{ParentSpec, SpanName, Tracer};
use crate::instance::find;
use crate::lane::{Ids, Key, TraceFlags, laneless, local};
use crate::record::SpanKind;

pub(crate) use super::active::atomic::AtomicSpan;

/// What a span is to others: their parent, a thread's current one. Stays true after its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanRef {
    /// The base of its instance.
    pub(super) base: u64,
    pub(super) ids: Ids,
}

impl SpanRef {
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
    pub(crate) fn span_context(self) -> Option<SpanContext> {
        SpanContext::of(self.ids)
    }

    /// Makes it this thread's current span.
    #[inline(always)]
    pub(crate) fn enter_unordered(self) {
        if local::with_lane(self.base, |local| local.enter(self.ids)).is_none() {
            self.enter_unordered_cold();
        }
    }

    /// Slow path: attaches this thread first, or keeps the context beside the lanes, for the headers.
    #[cold]
    #[inline(never)]
    fn enter_unordered_cold(self) {
        enter_cold(self.base, self.ids, None);
    }

    /// Leaves it; those stepped into since stay.
    pub(crate) fn exit_unordered(self) {
        exit_unordered(self.base, self.ids.span_id);
    }
}

/// Leaves the span of this id, stepped into on this thread; those stepped into since stay.
#[inline(always)]
pub(crate) fn exit_unordered(base: u64, span_id: u64) {
    if local::with_lane(base, |local| local.exit_unordered(span_id)).is_none() {
        exit_unordered_cold(base, span_id);
    }
}

/// What ran inside has led the thread to another instance.
#[cold]
#[inline(never)]
fn exit_unordered_cold(base: u64, span_id: u64) {
    let attached = find(Key(base).instance()).is_some_and(|instance| local::attach(&instance.lanes).is_ok());
    if !attached || local::with_lane(base, |local| local.exit_unordered(span_id)).is_none() {
        laneless::exit_by_id(span_id);
    }
}

/// Whose child a span is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Under {
    /// The thread's current span.
    Current,
    /// Nobody: it begins a trace.
    Nobody,
    Span(SpanRef),
}

impl From<Under> for ParentSpec {
    #[inline(always)]
    fn from(under: Under) -> Self {
        match under {
            Under::Current => Self::Current,
            Under::Nobody => Self::None,
            Under::Span(span_ref) => Self::Given(span_ref.ids),
        }
    }
}

/// A span that has no place yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PendingSpan<'a> {
    /// The switch is off.
    Nothing,
    /// When it started, in ticks.
    Span(SpanStart<'a>, u64),
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
        // Its items are not dropped with it: see `ActiveSpan`.
        let Some(mut open) = self.0.take() else { return };
        open.release_propagated();
        let block = open.items.take_block();
        local::without_recording(|| drop(block));
    }
}

impl Tracer {
    /// Starts a span that is on no thread.
    #[inline(always)]
    pub(crate) fn start_under(&self, name: Called<'_>, kind: SpanKind, under: Under) -> OwnedSpan {
        let name = match name {
            Called::Literal(text) => SpanName::Literal(text),
            Called::Dynamic(text) => SpanName::Dynamic(text),
        };
        self.begin(name, kind, under.into(), false)
    }

    /// Prepares a span for storage in a place of the caller's; its name is a literal. `None` if only
    /// [`start_under`](Self::start_under) can: this thread is not at the instance, or the span carries trace state or
    /// baggage.
    #[inline(always)]
    pub(crate) fn prepare(&self, name: &'static str, under: Under) -> Option<PendingSpan<'_>> {
        let source = self.source()?;
        let kind = SpanKind::Internal;
        local::with_lane(source.base.get(), |local| {
            if !local.lane.ring.lets_samples_through() {
                if ParentSpec::from(under).on(local.thread_state).is_some() {
                    return None; // there is a context to pass on
                }
                local.skip_span();
                return Some(PendingSpan::Nothing);
            }
            let around = match ParentSpec::from(under).on(local.thread_state) {
                Some(around) if !around.trace_flags.has(TraceFlags::UNCOMMON) => Some(around), // a span with nothing to carry
                Some(around) if around.trace_flags.has(TraceFlags::PROPAGATES) => return None,
                _ => None,
            };
            let known = local.thread_state.names.get(name, kind as u8);
            let known = known.unwrap_or_else(|| source.meet(local.thread_state, name, kind));
            let span_ids = source.span_ids(local.thread_state, around);
            Some(PendingSpan::Span(source.span_start(known, span_ids), local.lanes.clock.ticks()))
        })?
    }

    /// The base of its instance; 0 if it has none.
    pub(crate) fn base(&self) -> u64 {
        self.source().map_or(0, |source| source.base.get())
    }
}
