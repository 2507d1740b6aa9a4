//! The span guard. Hot. It holds no reference count and no pointer, only numbers: a reference count would cost more
//! than the rest of the span.

use super::tracer::share_duration;
use crate::lane::{Directory, Key, KnownName, Open, local};
use crate::record::{Full, Head, Items, Status, layout, span_head};
use crate::series::{SpanName, find};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::marker::PhantomData;

/// An open span. Ends when dropped, on the thread it was started on.
///
/// If a panic unwinds through it, it ends in [`Status::Error`]. Dropped before its children, it takes them from the
/// thread's stack: they keep their parent, but new spans become children of whatever is open around it.
///
/// ```compile_fail
/// let span = tellane::Tracer::noop().span("stays here");
/// std::thread::spawn(move || drop(span)); // a guard belongs to its thread
/// ```
#[derive(Debug)]
#[must_use = "a span that is dropped at once measures nothing"]
pub struct Span {
    /// The instance's base, or 0 for a span that does nothing.
    base: u64,
    start: u64,
    known: KnownName,
    open: Open,
    parent_id: u64,
    /// Place on the thread's stack of open spans.
    place: usize,
    status: Status,
    /// Whether the thread was unwinding already when it started.
    was_panicking: bool,
    /// Why no lane carries it, if none does.
    laneless: Option<Reason>,
    attributes_dropped: u16,
    items: Items,
    not_send: PhantomData<*const ()>,
}

impl Span {
    /// A span that does nothing.
    #[inline]
    pub fn noop() -> Self {
        Self::inert()
    }

    #[inline(always)]
    pub(super) fn inert() -> Self {
        Self::open(0, KnownName::default(), Open::default(), 0, 0, 0)
    }

    #[inline(always)]
    pub(super) fn open(
        base: u64,
        known: KnownName,
        open: Open,
        parent_id: u64,
        place: usize,
        start: u64,
    ) -> Self {
        Self {
            base,
            start,
            known,
            open,
            parent_id,
            place,
            status: Status::Unset,
            was_panicking: std::thread::panicking(),
            laneless: None,
            attributes_dropped: 0,
            items: Items::default(),
            not_send: PhantomData,
        }
    }

    pub(super) fn laneless(base: u64, name: &Arc<SpanName>, reason: Reason, start: u64) -> Self {
        let known = name.known;
        let mut span = Self::open(base, known, Open::default(), 0, usize::MAX, start);
        span.laneless = Some(reason);
        span
    }

    /// Sets an attribute. What does not fit (about eight numbers and eight short texts fit) is left out and counted
    /// in the finished span; a text longer than 248 bytes is cut at a character. Does nothing on a span that is not
    /// sampled.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("doc").start()?;
    /// let mut span = telemetry.tracer().span("read");
    /// span.set("path", "/etc/hosts");
    /// span.set("bytes", 240_u64);
    /// span.set("ratio", 0.5);
    /// span.set("cached", false);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn set<'v>(&mut self, key: &'static str, value: impl Into<Attribute<'v>>) {
        if !self.open.sampled {
            return;
        }
        let Some(key) = self.key(key) else { return };
        let kept = match value.into() {
            Attribute::Str(text) => self.items.push_str(key, text).map(|_whole| ()),
            Attribute::I64(number) => self.items.push_number(key, layout::TYPE_I64, number as u64),
            Attribute::U64(number) => self.items.push_number(key, layout::TYPE_U64, number),
            Attribute::F64(number) => self.items.push_number(key, layout::TYPE_F64, number.to_bits()),
            Attribute::Bool(truth) => self.items.push_bool(key, truth),
        };
        if kept == Err(Full) {
            self.attributes_dropped = self.attributes_dropped.saturating_add(1);
        }
    }

    #[inline(always)]
    fn key(&self, key: &'static str) -> Option<u32> {
        let known = local::here(self.base, |here| here.desk.key(key)).flatten();
        known.or_else(|| self.meet_key(key))
    }

    #[cold]
    #[inline(never)]
    fn meet_key(&self, key: &'static str) -> Option<u32> {
        let registry = find(Key(self.base).instance())?;
        local::enter(&registry.directory).ok()?;
        let number = registry.names.key(key);
        local::here(self.base, |here| here.desk.remember_key(key, number))?;
        Some(number)
    }

    /// Says how it went. The last word counts.
    #[inline]
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// Says that it failed: [`Status::Error`].
    #[inline]
    pub fn fail(&mut self) {
        self.status = Status::Error;
    }

    /// Whether its attributes are kept: it is on, and sampled.
    pub fn is_sampled(&self) -> bool {
        self.open.sampled
    }

    /// Its ids, or `None` for a span that does nothing.
    pub fn context(&self) -> Option<SpanContext> {
        let Open { trace_id, span_id, sampled } = self.open;
        (span_id != 0).then_some(SpanContext { trace_id, span_id, sampled })
    }

    /// Ends it now.
    #[inline]
    pub fn end(self) {}

    #[inline(always)]
    fn end_here(&mut self, here: &local::Here<'_>) {
        let now = here.directory.clock.ticks();
        here.desk.leave(self.place, self.open.span_id);
        let panicked = std::thread::panicking() && !self.was_panicking;
        if panicked || self.status == Status::Error {
            self.status = Status::Error;
            self.count_error();
        }
        let ring = &here.lane.ring;
        if !ring.lets_samples_through() {
            here.skip_span();
            return;
        }
        let duration = now.saturating_sub(self.start);
        if self.open.sampled && ring.lets_spans_through() {
            let head = Head {
                name: self.known.name,
                flags: self.status as u64
                    | layout::FLAG_SAMPLED
                    | if panicked { layout::FLAG_PANICKED } else { 0 },
                attributes_dropped: self.attributes_dropped,
                start: self.start,
                duration,
                trace_id: self.open.trace_id,
                span_id: self.open.span_id,
                parent_id: self.parent_id,
            };
            let items = self.items.words();
            if here.push_span(span_head(&head, items.len()), items) {
                return;
            }
            here.shed_span(items.len() + layout::SPAN_WORDS, now);
        } else if self.open.sampled {
            here.lane.tally.dropped(Kind::Span, Reason::Degraded);
        } else {
            here.lane.tally.unsampled();
        }
        here.push_duration(self.known.durations, here.directory.clock.scale().nanos(duration));
    }

    #[cold]
    #[inline(never)]
    fn count_error(&self) {
        let key = Key(self.base | u64::from(self.known.errors));
        if !local::add(key, 1)
            && let Some(registry) = find(key.instance())
        {
            local::add_cold(&registry.directory, key, 1);
        }
    }

    /// The thread is not at the span's instance: it is at another one, has no lane, or is as good as gone.
    #[cold]
    #[inline(never)]
    fn end_cold(&mut self) {
        let Some(registry) = find(Key(self.base).instance()) else { return };
        let directory = &registry.directory;
        let entered = match self.laneless {
            None => local::enter(directory),
            Some(reason) => Err(reason),
        };
        let reason = match entered {
            Ok(()) => match local::here(self.base, |here| self.end_here(&here)) {
                Some(()) => return,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        self.end_without_lane(directory, reason);
    }

    fn end_without_lane(&mut self, directory: &Arc<Directory>, reason: Reason) {
        directory.shared.shared_dropped(Kind::Span, reason);
        if matches!(reason, Reason::Forked | Reason::AfterShutdown) {
            return;
        }
        let panicked = std::thread::panicking() && !self.was_panicking;
        if panicked || self.status == Status::Error {
            self.count_error();
        }
        let nanos = directory.clock.nanos_between(self.start, directory.clock.ticks());
        share_duration(directory, self.known.durations, nanos);
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if self.base != 0 {
            let here = if self.laneless.is_none() {
                local::here(self.base, |here| self.end_here(&here))
            } else {
                None
            };
            if here.is_none() {
                self.end_cold();
            }
        }
    }
}

/// The ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SpanContext {
    /// The 128-bit trace id, never 0.
    pub trace_id: u128,
    /// The span's own id, never 0.
    pub span_id: u64,
    /// Whether the trace is sampled.
    pub sampled: bool,
}

/// A value for [`Span::set`]; made from text, integers, floats and booleans by `Into`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute<'a> {
    /// Text.
    Str(&'a str),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating point number.
    F64(f64),
    /// True or false.
    Bool(bool),
}

impl<'a> From<&'a str> for Attribute<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a String> for Attribute<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        Self::Str(text)
    }
}

macro_rules! from_number {
    ($($from:ty => $variant:ident as $to:ty;)*) => {$(
        impl From<$from> for Attribute<'_> {
            #[inline]
            fn from(value: $from) -> Self {
                Self::$variant(value as $to)
            }
        }
    )*};
}

from_number! {
    i8 => I64 as i64;
    i16 => I64 as i64;
    i32 => I64 as i64;
    i64 => I64 as i64;
    isize => I64 as i64;
    u8 => U64 as u64;
    u16 => U64 as u64;
    u32 => U64 as u64;
    u64 => U64 as u64;
    usize => U64 as u64;
    f32 => F64 as f64;
    f64 => F64 as f64;
    bool => Bool as bool;
}
