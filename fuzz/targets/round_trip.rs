//! Any records, also such as cannot be encoded: what is encoded comes back as it was, what is refused is refused for
//! a reason that holds and leaves the stream alone.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tellane::record::{
    Decoder, EncodeError, Record, Space, Span, Status, Value, encode, from_bytes, to_bytes,
};
use tellane_fuzz::{hold, plant};

#[derive(Arbitrary, Debug)]
enum Made {
    Sample { series: Id, value: u64 },
    Span(MadeSpan),
    Definition { space: MadeSpace, id: Id, text: Text },
    Figures { what: u16, id: Id, words: Vec<u64> },
}

#[derive(Arbitrary, Debug)]
struct MadeSpan {
    name: Id,
    start: u64,
    duration: u64,
    trace_id: u128,
    span_id: u64,
    parent_id: u64,
    status: u8,
    sampled: bool,
    panicked: bool,
    attributes_dropped: u16,
    attributes: Vec<(Id, MadeValue)>,
}

#[derive(Arbitrary, Debug)]
enum MadeSpace {
    SpanName,
    Key,
    Series,
    Service,
}

/// Mostly in range: of uniform ones 4,095 in 4,096 would be refused.
#[derive(Arbitrary, Debug)]
enum Id {
    Good(u32),
    Any(u32),
}

/// Also longer than the few bytes of an input are.
#[derive(Arbitrary, Debug)]
struct Text {
    text: String,
    times: u8,
    long: bool,
}

#[derive(Arbitrary, Debug)]
enum MadeValue {
    Str(Text),
    I64(i64),
    U64(u64),
    F64(u64),
    Bool(bool),
}

impl Id {
    fn id(&self) -> u32 {
        match self {
            Self::Good(id) => id & 0xF_FFFF,
            Self::Any(id) => *id,
        }
    }
}

impl Text {
    fn text(&self) -> String {
        let times = usize::from(self.times & 15) * if self.long { 256 } else { 1 };
        self.text.repeat(times.max(1))
    }
}

impl MadeValue {
    fn value(&self) -> Value {
        match self {
            Self::Str(text) => Value::Str(text.text()),
            Self::I64(number) => Value::I64(*number),
            Self::U64(number) => Value::U64(*number),
            Self::F64(bits) => Value::F64(f64::from_bits(*bits)),
            Self::Bool(truth) => Value::Bool(*truth),
        }
    }
}

impl Made {
    fn record(&self) -> Record {
        match self {
            Self::Sample { series, value } => Record::Sample { series: series.id(), value: *value },
            Self::Span(span) => Record::Span(Span {
                name: span.name.id(),
                start: span.start,
                duration: span.duration,
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent_id: span.parent_id,
                status: [Status::Unset, Status::Ok, Status::Error][usize::from(span.status % 3)],
                sampled: span.sampled,
                panicked: span.panicked,
                attributes_dropped: span.attributes_dropped,
                attributes: span.attributes.iter().map(|(key, value)| (key.id(), value.value())).collect(),
            }),
            Self::Definition { space, id, text } => Record::Definition {
                space: match space {
                    MadeSpace::SpanName => Space::SpanName,
                    MadeSpace::Key => Space::Key,
                    MadeSpace::Series => Space::Series,
                    MadeSpace::Service => Space::Service,
                },
                id: id.id(),
                text: text.text(),
            },
            Self::Figures { what, id, words } => {
                Record::Figures { what: *what, id: id.id(), words: words.clone() }
            }
        }
    }
}

/// How many words the docs give a record, and the greatest id in it.
fn expected(record: &Record) -> (usize, u32) {
    match record {
        Record::Sample { series, value } => (if *value < 1 << 40 { 1 } else { 2 }, *series),
        Record::Definition { id, text, .. } => (1 + text.len().div_ceil(8), *id),
        // A meaning of 2^12 or more is refused like an id of 2^20 or more.
        Record::Figures { what, id, words } => {
            (1 + words.len(), if *what < 1 << 12 { *id } else { u32::MAX })
        }
        Record::Span(span) => {
            let items = span.attributes.iter().map(|(_, value)| match value {
                Value::Str(text) => 1 + text.len().div_ceil(8),
                Value::Bool(_) => 1,
                _ => 2,
            });
            let keys = span.attributes.iter().map(|(key, _)| *key);
            (7 + items.sum::<usize>(), keys.fold(span.name, u32::max))
        }
        _ => unreachable!("records are made above"),
    }
}

/// Floats by their bits: NaN is not equal to itself.
fn by_bits(mut record: Record) -> Record {
    if let Record::Span(span) = &mut record {
        for (_, value) in &mut span.attributes {
            if let Value::F64(number) = value {
                *value = Value::Str(format!("f64 {:x}", number.to_bits()));
            }
        }
    }
    record
}

fuzz_target!(init: plant(), |made: Vec<Made>| {
    let mut words = Vec::new();
    let mut kept = Vec::new();
    for record in made.iter().map(Made::record) {
        let before = words.clone();
        let (length, id) = expected(&record);
        match encode(&record, &mut words) {
            Ok(()) => {
                assert!(length <= 4_095 && id < 1 << 20, "encoded what cannot be");
                hold!(words.len(), before.len() + length, "the length that the docs say");
                hold!(words[..before.len()], before, "what was there before");
                kept.push(by_bits(record));
            }
            Err(error) => {
                let fair = match error {
                    EncodeError::TooLong => length > 4_095,
                    EncodeError::IdTooLarge => id >= 1 << 20,
                    _ => false,
                };
                assert!(fair, "{error} is not true of {record:?}");
                hold!(words, before, "what a refused record leaves behind");
            }
        }
    }
    let read = from_bytes(&to_bytes(&words));
    hold!(read.as_ref(), Ok(&words), "the words read back");
    let found: Result<Vec<Record>, _> = Decoder::new(&words).map(|found| found.map(by_bits)).collect();
    hold!(found, Ok(kept), "the records read back");
});
