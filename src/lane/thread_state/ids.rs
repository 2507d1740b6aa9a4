//! The ids and flags of a span, and the metadata of its name. Hot: plain values of whole words.

use crate::context::PropagatedHandle;
use crate::record::{SpanKind, layout, span_header};

/// The ids of an open span, and the flags of its trace: all that a child needs of its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) trace_flags: TraceFlags,
}

impl Ids {
    /// The ids of a stack entry that is no span: spans started under it are roots.
    pub(crate) const NOBODY: Self =
        Self { trace_id: 0, span_id: 0, trace_flags: TraceFlags(TraceFlags::UNCOMMON) };

    /// Returns `true` if these ids are a span's. A context without a span has only baggage.
    #[inline(always)]
    pub(crate) fn is_span(&self) -> bool {
        self.span_id != 0
    }
}

/// Trace flags, in the low 16 bits, and the [`PropagatedHandle`] of the trace's trace state and baggage, in the other bits. The
/// two lowest bits are those of W3C's `traceparent`. Three of the flags are copied into the flags of a span's record,
/// shifted ([`span_flags`](Self::span_flags)).
///
/// One word, so that a child copies it with one load, one mask and one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceFlags(pub(crate) u64);

impl TraceFlags {
    pub(crate) const SAMPLED: u64 = 1;
    /// The maker of the trace id says that the id is random.
    pub(crate) const RANDOM: u64 = 2;
    /// On a thread's stack only: an attached context or an entered span. It stays until its own guard is dropped.
    pub(crate) const ENTERED: u64 = 4;
    /// No span, or one with trace state or baggage: spans that may leave the thread take the slow path below it.
    pub(crate) const UNCOMMON: u64 = 8;
    /// Samples recorded in this span may become exemplars.
    pub(crate) const EXAMPLES: u64 = 16;
    /// These are the ids of a span in another process. A span opened under it is the first of this process.
    pub(crate) const REMOTE: u64 = 32;
    /// Not sampled by the head decision; tail sampling decides later.
    pub(crate) const HELD: u64 = 64;
    /// On a thread's stack only. A tombstone: the span in this stack slot was exited out of order; the slot mirrors the
    /// one below until it is popped.
    pub(super) const EXITED: u64 = 128;
    /// This span owns a hold on the entry that its handle names.
    pub(crate) const HOLDS: u64 = 256;
    /// Set for a remote parent: its `traceparent` said sampled, independent of the decision made here. Passed on in
    /// headers until a span of this process is in between.
    pub(crate) const CAME_SAMPLED: u64 = 512;
    /// The bits of the handle: not 0 if trace state or baggage came along.
    pub(crate) const PROPAGATES: u64 = !0xFFFF;

    /// The record flags of a span whose parent has these trace flags. A root passes its own flags with [`REMOTE`] set.
    ///
    /// [`REMOTE`]: Self::REMOTE
    #[inline(always)]
    pub(crate) const fn span_flags(self) -> u64 {
        (self.0 & (Self::SAMPLED | Self::HELD | Self::REMOTE)) << 2
    }

    #[inline(always)]
    pub(crate) fn has(self, any: u64) -> bool {
        self.0 & any != 0
    }

    /// The flags that a child inherits.
    #[inline(always)]
    pub(crate) fn inherited(self) -> Self {
        Self(self.0 & !(Self::REMOTE | Self::EXITED | Self::ENTERED | Self::HOLDS | Self::CAME_SAMPLED))
    }

    /// The flags that are valid outside of a thread's stack: without those of a stack entry or an owner.
    pub(crate) fn off_stack(self) -> Self {
        const ANYWHERE: u64 = TraceFlags::SAMPLED
            | TraceFlags::RANDOM
            | TraceFlags::EXAMPLES
            | TraceFlags::REMOTE
            | TraceFlags::HELD
            | TraceFlags::CAME_SAMPLED;
        Self(self.0 & ANYWHERE)
    }

    /// The W3C flags, as they go into headers.
    pub(crate) fn header_flags(self) -> u8 {
        let sampled =
            if self.has(Self::REMOTE) { self.has(Self::CAME_SAMPLED) } else { self.has(Self::SAMPLED) };
        (self.0 & Self::RANDOM) as u8 | u8::from(sampled)
    }

    /// The flags of a remote parent that came with these W3C flags.
    pub(crate) fn of_header(flags: u8) -> Self {
        let came_sampled = if u64::from(flags) & Self::SAMPLED == 0 { 0 } else { Self::CAME_SAMPLED };
        Self((u64::from(flags) & (Self::SAMPLED | Self::RANDOM)) | Self::REMOTE | came_sampled)
    }

    /// The handle of the trace state and the baggage.
    pub(crate) fn handle(self) -> PropagatedHandle {
        PropagatedHandle(self.0 & Self::PROPAGATES)
    }

    /// The same with this handle, or without one.
    pub(crate) fn with_handle(self, handle: PropagatedHandle) -> Self {
        let carries = if handle.0 == 0 { 0 } else { handle.0 | Self::UNCOMMON };
        Self((self.0 & !(Self::PROPAGATES | Self::UNCOMMON)) | carries)
    }
}

const _: () = {
    assert!(TraceFlags(TraceFlags::SAMPLED).span_flags() == layout::FLAG_SAMPLED);
    assert!(TraceFlags(TraceFlags::HELD).span_flags() == layout::FLAG_HELD);
    assert!(TraceFlags(TraceFlags::REMOTE).span_flags() == layout::FLAG_LOCAL_ROOT);
};

/// Everything that a span's name and kind determine. Two whole words, so that they are copied in registers: with parts
/// of words, the start of a span would wait for its own stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanNameMeta {
    /// The [header](span_header) of its spans' records.
    pub(crate) header: u64,
    pub(crate) red_metrics: RedMetrics,
}

impl SpanNameMeta {
    /// Metadata of a name's number (0 means no name), the histogram of its durations and the counter cell of its
    /// errors.
    pub(crate) const fn new(name: u32, kind: SpanKind, durations: u32, errors: u32) -> Self {
        let red_metrics = RedMetrics(((errors as u64) << 32) | durations as u64);
        Self { header: span_header(name, kind as u64), red_metrics }
    }

    /// The name's number.
    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) const fn name(self) -> u32 {
        layout::id(self.header)
    }
}

/// The RED metrics of one span name, packed into a word: the histogram of durations and the counter of errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RedMetrics(u64);

impl RedMetrics {
    /// The packed form, for storage in an atomic.
    #[cfg(feature = "tracing")]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// Unpacks [`word`](Self::word).
    #[cfg(feature = "tracing")]
    pub(crate) const fn of(word: u64) -> Self {
        Self(word)
    }

    /// The series index of the duration histogram.
    #[inline(always)]
    pub(crate) const fn durations(self) -> u32 {
        self.0 as u32
    }

    /// The index of the error counter's cell.
    #[inline(always)]
    pub(crate) const fn errors(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
