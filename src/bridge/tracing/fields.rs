//! Visitors that pass fields on to spans, events and log records. Warm: numbers and texts are passed unchanged,
//! everything else is formatted into a buffer of bounded size.

use super::callsites::OTEL;
use crate::log::{CAUSES, LogRecordBuilder, with_text_of};
use crate::record::{SpanKind, Status};
use crate::trace::AtomicSpan;
use crate::trace::{Attribute, OwnedSpan};
use arrayvec::{ArrayString, ArrayVec};
use std::error::Error;
use std::fmt::{Debug, Write};
use tracing_core::field::{Field, Visit};

/// The longest message, in bytes, that is formatted without an allocation.
const SHORT: usize = 512;
/// The most fields that [`Gathered`] collects, and the bytes of its buffer for their texts.
const GATHERED: usize = 32;
const GATHERED_TEXT: usize = 2_048;
const MESSAGE: &str = "message";

/// Receiver of fields.
pub(super) trait FieldSink {
    fn set_field(&mut self, key: &'static str, value: Attribute<'_>);

    /// Formats a value, which may run foreign code, and sets it.
    fn render(&mut self, key: &'static str, value: &dyn Debug) {
        with_text_of(&format_args!("{value:?}"), |text| self.set_field(key, Attribute::Str(text)));
    }
}

/// Visitor that passes each field on to a [`FieldSink`].
pub(super) struct Fields<T>(pub(super) T);

/// The name of a field, without the `r#` that `tracing` keeps of raw identifiers.
#[inline(always)]
fn name_of(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

impl<T: FieldSink> Visit for Fields<T> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.set_field(name_of(field), Attribute::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.set_field(name_of(field), Attribute::U64(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.set_field(name_of(field), Attribute::F64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.set_field(name_of(field), Attribute::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.set_field(name_of(field), Attribute::Str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        with_text_of(value, |text| self.0.set_field(name_of(field), Attribute::Str(text)));
        let mut cause = value.source();
        for key in CAUSES {
            let Some(present) = cause else { return };
            with_text_of(present, |text| self.0.set_field(key, Attribute::Str(text)));
            cause = present.source();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.render(name_of(field), value);
    }
}

impl FieldSink for &mut OwnedSpan {
    #[inline]
    fn set_field(&mut self, key: &'static str, value: Attribute<'_>) {
        match key.strip_prefix(OTEL) {
            None => self.set(key, value),
            Some(what) => set_special(self, what, key, value),
        }
    }
}

/// A span that has just been started and that no other thread can reach yet.
impl FieldSink for &AtomicSpan {
    #[inline]
    fn set_field(&mut self, key: &'static str, value: Attribute<'_>) {
        if !self.set_first(key, value) {
            self.amend(|span| span.set(key, value));
        }
    }
}

/// Applies an `otel.` field, which sets a property of the span and is no attribute.
#[cold]
fn set_special(span: &mut OwnedSpan, what: &str, key: &'static str, value: Attribute<'_>) {
    match (what, value) {
        ("name" | "kind", _) => {} // applied at the span's start
        ("status_code", Attribute::Str(code)) if code.eq_ignore_ascii_case("ok") => {
            span.set_status(Status::Ok)
        }
        ("status_code", Attribute::Str(code)) if code.eq_ignore_ascii_case("error") => span.fail(),
        ("status_code", _) => span.set_status(Status::Unset),
        ("status_description", Attribute::Str(why)) => span.fail_with(why),
        _ => span.set(key, value),
    }
}

/// The name and kind that a span's fields give it.
#[derive(Debug, Default)]
pub(super) struct NameAndKind {
    pub(super) name: Option<String>,
    pub(super) kind: SpanKind,
}

impl FieldSink for &mut NameAndKind {
    fn set_field(&mut self, key: &'static str, value: Attribute<'_>) {
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
            with_text_of(&format_args!("{value:?}"), |text| self.set_field(key, Attribute::Str(text)));
        }
    }
}

/// Builder of a log record from an event.
#[derive(Debug)]
pub(super) struct EventRecord<'a> {
    builder: LogRecordBuilder<'a>,
    short: ArrayString<SHORT>,
    /// A message that does not fit `short`.
    long: Option<String>,
    has_message: bool,
}

impl<'a> EventRecord<'a> {
    pub(super) fn new(builder: LogRecordBuilder<'a>) -> Self {
        Self { builder, short: ArrayString::new(), long: None, has_message: false }
    }

    /// Emits the record, with `name` as its message if the event has none.
    pub(super) fn emit(self, name: &'static str) {
        let Self { builder, short, long, has_message } = self;
        match long {
            Some(long) => builder.emit(&long),
            None if has_message => builder.emit(&short),
            None => builder.emit(name),
        }
    }
}

impl FieldSink for &mut EventRecord<'_> {
    fn set_field(&mut self, key: &'static str, value: Attribute<'_>) {
        match value {
            Attribute::Str(text) if key == MESSAGE => self.render(key, &format_args!("{text}")),
            _ => self.builder.set(key, value),
        }
    }

    fn render(&mut self, key: &'static str, value: &dyn Debug) {
        if key != MESSAGE {
            with_text_of(&format_args!("{value:?}"), |text| self.set_field(key, Attribute::Str(text)));
            return;
        }
        self.has_message = true;
        if write!(self.short, "{value:?}").is_err() {
            self.long = Some(format!("{value:?}"));
        }
    }
}

/// The value of one gathered field.
#[derive(Debug)]
enum GatheredValue {
    /// End of a text in the buffer of texts; it begins at the end of the previous one.
    Text(usize),
    /// A text that does not fit the buffer.
    Long(Box<str>),
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
}

/// Fields that are formatted first and set later. The span is locked while they are set, and no foreign code may run
/// under that lock. Allocates for texts of more than 2,048 bytes in total.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    fields: ArrayVec<(&'static str, GatheredValue), GATHERED>,
    texts: ArrayString<GATHERED_TEXT>,
    /// Number of fields that did not fit.
    dropped: u16,
}

impl FieldSink for &mut Gathered {
    fn set_field(&mut self, key: &'static str, value: Attribute<'_>) {
        let piece = match value {
            Attribute::Str(text) => match self.texts.try_push_str(text) {
                Ok(()) => GatheredValue::Text(self.texts.len()),
                Err(_) => GatheredValue::Long(text.into()),
            },
            Attribute::I64(number) => GatheredValue::I64(number),
            Attribute::U64(number) => GatheredValue::U64(number),
            Attribute::F64(number) => GatheredValue::F64(number),
            Attribute::Bool(truth) => GatheredValue::Bool(truth),
        };
        if self.fields.try_push((key, piece)).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

impl Gathered {
    /// The number of fields that did not fit.
    pub(super) fn dropped(&self) -> u16 {
        self.dropped
    }

    /// Calls `act` with each field, in order.
    pub(super) fn each(&self, mut act: impl FnMut(&'static str, Attribute<'_>)) {
        let mut begin = 0;
        for (key, piece) in &self.fields {
            let value = match piece {
                GatheredValue::Text(end) => {
                    Attribute::Str(&self.texts[std::mem::replace(&mut begin, *end)..*end])
                }
                GatheredValue::Long(text) => Attribute::Str(text),
                GatheredValue::I64(number) => Attribute::I64(*number),
                GatheredValue::U64(number) => Attribute::U64(*number),
                GatheredValue::F64(number) => Attribute::F64(*number),
                GatheredValue::Bool(truth) => Attribute::Bool(*truth),
            };
            act(key, value);
        }
    }
}
