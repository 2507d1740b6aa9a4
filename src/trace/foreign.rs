//! Spans for bridges, which follow another ecosystem's rules: parents and current spans are known by their ids, and
//! spans are exited in any order. Hot.

use super::active::SpanStart;
use super::owned::{OwnedSpan, enter_cold};
use super::span::SpanContext;
use super::tracer::Tracer;
pub(crate) use super::tracer::{ParentSpec, SpanName};
use crate::instance::find;
use crate::lane::{Ids, Key, TraceFlags, laneless, local};
use crate::record::SpanKind;

/// A reference to a span by its ids: the parent of others, or a thread's current span. Stays valid after the span's
/// end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanRef {
    /// The base of its instance.
    pub(super) base: u64,
    pub(super) ids: Ids,
}

impl SpanRef {
    /// A reference to this span; `None` for a span that does nothing.
    #[inline]
    pub(crate) fn of(span: &OwnedSpan) -> Option<Self> {
        let active = span.0.as_ref()?;
        Some(Self { base: active.core.base.get(), ids: active.core.ids })
    }

    /// A reference to the span of these ids, for an instance of this base.
    pub(crate) fn to(base: u64, ids: Ids) -> Self {
        Self { base, ids }
    }

    /// A reference to no span: spans started inside are roots.
    pub(crate) fn nobody(base: u64) -> Self {
        Self { base, ids: Ids::NOBODY }
    }

    /// The parent of spans that are started under this one.
    pub(crate) fn as_parent(self) -> ParentSpec {
        ParentSpec::Given(self.ids)
    }

    /// The span's ids, if it has any.
    pub(crate) fn span_context(self) -> Option<SpanContext> {
        SpanContext::from_ids(self.ids)
    }

    /// Makes the span this thread's current one.
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

    /// Exits the span; spans entered since stay.
    pub(crate) fn exit_unordered(self) {
        exit_unordered(self.base, self.ids.span_id);
    }
}

/// Exits the span of this id on this thread; spans entered since stay.
#[inline(always)]
pub(crate) fn exit_unordered(base: u64, span_id: u64) {
    if local::with_lane(base, |local| local.exit_unordered(span_id)).is_none() {
        exit_unordered_cold(base, span_id);
    }
}

/// Slow path: code inside the span has attached the thread to another instance.
#[cold]
#[inline(never)]
fn exit_unordered_cold(base: u64, span_id: u64) {
    let attached = find(Key(base).instance()).is_some_and(|instance| local::attach(&instance.lanes).is_ok());
    if !attached || local::with_lane(base, |local| local.exit_unordered(span_id)).is_none() {
        laneless::exit_by_id(span_id);
    }
}

/// A span that is started and not stored yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PendingSpan<'a> {
    /// The switch is off.
    Nothing,
    /// The span, and its start in ticks.
    Span(SpanStart<'a>, u64),
}

impl OwnedSpan {
    /// Counts attributes that were lost before they came here.
    pub(crate) fn drop_attributes(&mut self, number: u16) {
        if let Some(active) = &mut self.0 {
            active.drop_attributes(number);
        }
    }

    /// Discards the span without an end. The caller counts it.
    #[cold]
    pub(crate) fn forget(mut self) {
        // A span's items are not dropped with it: see `ActiveSpan`.
        let Some(mut active) = self.0.take() else { return };
        active.release_propagated();
        let block = active.items.take_block();
        local::without_recording(|| drop(block));
    }
}

impl Tracer {
    /// Starts a span that is on no thread.
    #[inline(always)]
    pub(crate) fn start_detached(&self, name: SpanName<'_>, kind: SpanKind, parent: ParentSpec) -> OwnedSpan {
        self.begin(name, kind, parent, false)
    }

    /// Prepares a span with a literal name for storage in a caller-owned [`AtomicSpan`]. `None` if only
    /// [`start_detached`](Self::start_detached) can start it: this thread is not attached to the instance, or the span
    /// has trace state or baggage.
    #[inline(always)]
    pub(crate) fn prepare(&self, name: &'static str, parent: ParentSpec) -> Option<PendingSpan<'_>> {
        let inner = self.inner()?;
        let kind = SpanKind::Internal;
        local::with_lane(inner.base.get(), |local| {
            if !local.lane.ring.lets_samples_through() {
                if parent.on(local.thread_state).is_some() {
                    return None; // there is a context to pass on
                }
                local.skip_span();
                return Some(PendingSpan::Nothing);
            }
            let around = match parent.on(local.thread_state) {
                // A span without trace state or baggage.
                Some(around) if !around.trace_flags.has(TraceFlags::UNCOMMON) => Some(around),
                Some(around) if around.trace_flags.has(TraceFlags::PROPAGATES) => return None,
                _ => None,
            };
            let known = local.thread_state.names.get(name, kind as u8);
            let known = known.unwrap_or_else(|| inner.intern_name(local.thread_state, name, kind));
            let span_ids = inner.span_ids(local.thread_state, around);
            Some(PendingSpan::Span(inner.span_start(known, span_ids), local.lanes.clock.ticks()))
        })?
    }

    /// The base of the tracer's instance; 0 for a tracer that does nothing.
    pub(crate) fn base(&self) -> u64 {
        self.inner().map_or(0, |inner| inner.base.get())
    }
}
