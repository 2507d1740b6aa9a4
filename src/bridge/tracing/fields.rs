//! Fields on their way to where they belong. Warm: numbers and texts as they are, everything else rendered into a buffer
//! of bounded size.

use super::callsites::OTEL;
use crate::log::{CAUSES, LogRecordBuilder, with_text_of};
use crate::record::{SpanKind, Status};
use crate::trace::foreign::AtomicSpan;
use crate::trace::{Attribute, OwnedSpan};
use arrayvec::{ArrayString, ArrayVec};
use std::error::Error;
use std::fmt::{Debug, Write};
use tracing_core::field::{Field, Visit};

/// Bytes of a message that are rendered without an allocation.
const SHORT: usize = 512;
/// Fields that are gathered before they are set, and bytes of their texts.
const GATHERED: usize = 32;
const GATHERED_TEXT: usize = 2_048;
const MESSAGE: &str = "message";

/// Where fields go.
pub(super) trait Takes {
    fn take(&mut self, key: &'static str, value: Attribute<'_>);

    /// Renders a value, which may be somebody else's code.
    fn render(&mut self, key: &'static str, value: &dyn Debug) {
        with_text_of(&format_args!("{value:?}"), |text| self.take(key, Attribute::Str(text)));
    }
}

/// Visits fields and hands them on.
pub(super) struct Fields<T>(pub(super) T);

/// The name of a field. `tracing` leaves raw identifiers as they are written.
#[inline(always)]
fn name_of(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

impl<T: Takes> Visit for Fields<T> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.take(name_of(field), Attribute::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.take(name_of(field), Attribute::U64(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.take(name_of(field), Attribute::F64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.take(name_of(field), Attribute::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.take(name_of(field), Attribute::Str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        with_text_of(value, |text| self.0.take(name_of(field), Attribute::Str(text)));
        let mut cause = value.source();
        for key in CAUSES {
            let Some(present) = cause else { return };
            with_text_of(present, |text| self.0.take(key, Attribute::Str(text)));
            cause = present.source();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.render(name_of(field), value);
    }
}

impl Takes for &mut OwnedSpan {
    #[inline]
    fn take(&mut self, key: &'static str, value: Attribute<'_>) {
        match key.strip_prefix(OTEL) {
            None => self.set(key, value),
            Some(what) => said_of(self, what, key, value),
        }
    }
}

/// A span that has just begun, and that nobody else knows of.
impl Takes for &AtomicSpan {
    #[inline]
    fn take(&mut self, key: &'static str, value: Attribute<'_>) {
        if !self.set_first(key, value) {
            self.amend(|span| span.set(key, value));
        }
    }
}

/// A field that says something of the span itself.
#[cold]
fn said_of(span: &mut OwnedSpan, what: &str, key: &'static str, value: Attribute<'_>) {
    match (what, value) {
        ("name" | "kind", _) => {} // seen to when it started
        ("status_code", Attribute::Str(code)) if code.eq_ignore_ascii_case("ok") => {
            span.set_status(Status::Ok)
        }
        ("status_code", Attribute::Str(code)) if code.eq_ignore_ascii_case("error") => span.fail(),
        ("status_code", _) => span.set_status(Status::Unset),
        ("status_description", Attribute::Str(why)) => span.fail_with(why),
        _ => span.set(key, value),
    }
}

/// What a span is to be called, by its fields.
#[derive(Debug, Default)]
pub(super) struct Title {
    pub(super) name: Option<String>,
    pub(super) kind: SpanKind,
}

impl Takes for &mut Title {
    fn take(&mut self, key: &'static str, value: Attribute<'_>) {
        match (key, value) {
            ("otel.name", Attribute::Str(name)) => self.name = Some(name.to_owned()),
            ("otel.kind", Attribute::Str(kind)) => {
                let named = |other: &SpanKind| other.name().eq_ignore_ascii_case(kind);
                self.kind = SpanKind::ALL.into_iter().find(named).unwrap_or_default();
            }
            _ => {}
        }
    }

    fn render(&mut self, key: &'static str, value: &dyn Debug) {
        if key.starts_with(OTEL) {
            with_text_of(&format_args!("{value:?}"), |text| self.take(key, Attribute::Str(text)));
        }
    }
}

/// A log record that is being made of an event.
#[derive(Debug)]
pub(super) struct Saying<'a> {
    draft: LogRecordBuilder<'a>,
    short: ArrayString<SHORT>,
    /// A message that is longer.
    long: Option<String>,
    has_message: bool,
}

impl<'a> Saying<'a> {
    pub(super) fn new(draft: LogRecordBuilder<'a>) -> Self {
        Self { draft, short: ArrayString::new(), long: None, has_message: false }
    }

    /// Makes the record; `name` stands in for a message.
    pub(super) fn emit(self, name: &'static str) {
        let Self { draft, short, long, has_message } = self;
        match long {
            Some(long) => draft.emit(&long),
            None if has_message => draft.emit(&short),
            None => draft.emit(name),
        }
    }
}

impl Takes for &mut Saying<'_> {
    fn take(&mut self, key: &'static str, value: Attribute<'_>) {
        match value {
            Attribute::Str(text) if key == MESSAGE => self.render(key, &format_args!("{text}")),
            _ => self.draft.set(key, value),
        }
    }

    fn render(&mut self, key: &'static str, value: &dyn Debug) {
        if key != MESSAGE {
            with_text_of(&format_args!("{value:?}"), |text| self.take(key, Attribute::Str(text)));
            return;
        }
        self.has_message = true;
        if write!(self.short, "{value:?}").is_err() {
            self.long = Some(format!("{value:?}"));
        }
    }
}

#[derive(Debug)]
enum Piece {
    /// Where it ends among the texts; it begins where the one before ends.
    Text(usize),
    /// What the texts have no room for.
    Long(Box<str>),
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
}

/// Fields that are rendered first and set later, when nobody else's code runs any more: what they are set on is locked
/// then. Allocates for texts that are over 2,048 bytes together.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    fields: ArrayVec<(&'static str, Piece), GATHERED>,
    texts: ArrayString<GATHERED_TEXT>,
    /// Fields that found no room.
    dropped: u16,
}

impl Takes for &mut Gathered {
    fn take(&mut self, key: &'static str, value: Attribute<'_>) {
        let piece = match value {
            Attribute::Str(text) => match self.texts.try_push_str(text) {
                Ok(()) => Piece::Text(self.texts.len()),
                Err(_) => Piece::Long(text.into()),
            },
            Attribute::I64(number) => Piece::I64(number),
            Attribute::U64(number) => Piece::U64(number),
            Attribute::F64(number) => Piece::F64(number),
            Attribute::Bool(truth) => Piece::Bool(truth),
        };
        if self.fields.try_push((key, piece)).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

impl Gathered {
    /// Fields that are not among them.
    pub(super) fn dropped(&self) -> u16 {
        self.dropped
    }

    /// Hands the fields on, in their order.
    pub(super) fn each(&self, mut act: impl FnMut(&'static str, Attribute<'_>)) {
        let mut begin = 0;
        for (key, piece) in &self.fields {
            let value = match piece {
                Piece::Text(end) => Attribute::Str(&self.texts[std::mem::replace(&mut begin, *end)..*end]),
                Piece::Long(text) => Attribute::Str(text),
                Piece::I64(number) => Attribute::I64(*number),
                Piece::U64(number) => Attribute::U64(*number),
                Piece::F64(number) => Attribute::F64(*number),
                Piece::Bool(truth) => Attribute::Bool(*truth),
            };
            act(key, value);
        }
    }
}
