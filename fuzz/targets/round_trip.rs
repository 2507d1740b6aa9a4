//! Any records, also such as cannot be encoded: what is encoded comes back as it was, what is refused is refused for
//! a reason that holds and leaves the stream alone.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tellane::record::{
    Decoder, EncodeError, Exemplar, Item, Log, Message, Record, Space, Span, SpanKind, Status, Value, encode,
    from_bytes, to_bytes,
};
use tellane::Level;
use tellane_fuzz::{hold, plant};

#[derive(Arbitrary, Debug)]
enum Made {
    Sample { series: Id, value: u64 },
    Span(MadeSpan),
    Exemplar { series: Id, value: u64, at: u64, trace_id: u128, span_id: u64 },
    Log(MadeLog),
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
    kind: u8,
    marks: [bool; 3],
    attributes_dropped: u16,
    items: Vec<MadeItem>,
}

#[derive(Arbitrary, Debug)]
enum MadeItem {
    Attribute(Id, MadeValue),
    Event { name: Id, at: u64, attributes: Vec<(Id, MadeValue)>, attributes_dropped: u16 },
    Link { trace_id: u128, span_id: u64, sampled: bool, attributes: Vec<(Id, MadeValue)>, attributes_dropped: u16 },
    Message(Text),
    TraceState(Text),
    Lost { events: u16, links: u16 },
}

#[derive(Arbitrary, Debug)]
struct MadeLog {
    target: Id,
    level: u8,
    at: u64,
    span: Option<(u128, u64)>,
    site: Option<Id>,
    text: Text,
    fields_dropped: u16,
    fields: Vec<(Id, MadeValue)>,
}

#[derive(Arbitrary, Debug)]
enum MadeSpace {
    SpanName,
    Key,
    Series,
    Service,
    Target,
    Callsite,
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
    Cut(Text),
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
            Self::Cut(text) => Value::Cut(text.text()),
            Self::I64(number) => Value::I64(*number),
            Self::U64(number) => Value::U64(*number),
            Self::F64(bits) => Value::F64(f64::from_bits(*bits)),
            Self::Bool(truth) => Value::Bool(*truth),
        }
    }
}

fn values(made: &[(Id, MadeValue)]) -> Vec<(u32, Value)> {
    made.iter().map(|(key, value)| (key.id(), value.value())).collect()
}

impl MadeItem {
    fn item(&self) -> Item {
        match self {
            Self::Attribute(key, value) => Item::Attribute(key.id(), value.value()),
            Self::Event { name, at, attributes, attributes_dropped } => Item::Event {
                name: name.id(),
                at: *at,
                attributes: values(attributes),
                attributes_dropped: *attributes_dropped,
            },
            Self::Link { trace_id, span_id, sampled, attributes, attributes_dropped } => Item::Link {
                trace_id: *trace_id,
                span_id: *span_id,
                sampled: *sampled,
                attributes: values(attributes),
                attributes_dropped: *attributes_dropped,
            },
            Self::Message(text) => Item::Message(text.text()),
            Self::TraceState(text) => Item::TraceState(text.text()),
            Self::Lost { events, links } => Item::Lost { events: *events, links: *links },
        }
    }
}

impl MadeLog {
    fn log(&self) -> Log {
        Log {
            target: self.target.id(),
            level: Level::ALL[usize::from(self.level % 5)],
            at: self.at,
            span: self.span,
            message: match &self.site {
                Some(site) => Message::Callsite(site.id()),
                None => Message::Text(self.text.text()),
            },
            fields_dropped: self.fields_dropped,
            fields: values(&self.fields),
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
                kind: [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer]
                    [usize::from(span.kind % 5)],
                local_root: span.marks[0],
                held: span.marks[1],
                cancelled: span.marks[2],
                attributes_dropped: span.attributes_dropped,
                items: span.items.iter().map(MadeItem::item).collect(),
            }),
            Self::Exemplar { series, value, at, trace_id, span_id } => Record::Exemplar(Exemplar {
                series: series.id(),
                value: *value,
                at: *at,
                trace_id: *trace_id,
                span_id: *span_id,
            }),
            Self::Log(log) => Record::Log(log.log()),
            Self::Definition { space, id, text } => Record::Definition {
                space: match space {
                    MadeSpace::SpanName => Space::SpanName,
                    MadeSpace::Key => Space::Key,
                    MadeSpace::Series => Space::Series,
                    MadeSpace::Service => Space::Service,
                    MadeSpace::Target => Space::Target,
                    MadeSpace::Callsite => Space::Callsite,
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

/// What the docs say of a record's size: the words that it takes, the greatest id in it, the longest of its texts in bytes, and the
/// longest list of attributes in words. An item that says that nothing is lost has no encoding at all.
#[derive(Default)]
struct Size {
    words: usize,
    id: u32,
    text: usize,
    list: usize,
    nothing_lost: bool,
    has_parts: bool,
}

impl Size {
    fn text(&mut self, text: &str) {
        self.words += 1 + text.len().div_ceil(8);
        self.text = self.text.max(text.len());
    }

    fn id(&mut self, id: u32) {
        self.id = self.id.max(id);
    }

    fn attributes(&mut self, attributes: &[(u32, Value)]) {
        let before = self.words;
        for (key, value) in attributes {
            self.id(*key);
            match value {
                Value::Str(text) | Value::Cut(text) => self.text(text),
                Value::Bool(_) => self.words += 1,
                _ => self.words += 2,
            }
        }
        self.list = self.list.max(self.words - before);
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Attribute(key, value) => self.attributes(&[(*key, value.clone())]),
            Item::Event { name, attributes, .. } => {
                self.id(*name);
                self.words += 2;
                self.attributes(attributes);
            }
            Item::Link { attributes, .. } => {
                self.words += 4;
                self.attributes(attributes);
            }
            Item::Message(text) | Item::TraceState(text) => self.text(text),
            Item::Lost { events, links } => {
                self.words += 1;
                self.nothing_lost |= *events == 0 && *links == 0;
            }
            _ => unreachable!("items are made above"),
        }
    }
}

fn expected(record: &Record) -> Size {
    let mut size = Size::default();
    match record {
        Record::Sample { series, value } => {
            size.id(*series);
            size.words = if *value < 1 << 40 { 1 } else { 2 };
        }
        Record::Exemplar(example) => {
            size.id(example.series);
            size.words = 6;
        }
        // A long text takes several records, each with a header and 32,752 bytes of it.
        Record::Definition { id, text, .. } => {
            size.id(*id);
            size.words = text.len().div_ceil(32_752).max(1) + text.len().div_ceil(8);
            size.has_parts = true;
        }
        // A meaning of 2^12 or more is refused like an id of 2^20 or more.
        Record::Figures { what, id, words } => {
            size.id(if *what < 1 << 12 { *id } else { u32::MAX });
            size.words = 1 + words.len();
        }
        Record::Span(span) => {
            size.id(span.name);
            size.words = 7;
            span.items.iter().for_each(|item| size.item(item));
        }
        Record::Log(log) => {
            size.id(log.target);
            size.words = 2 + if log.span.is_some() { 3 } else { 0 };
            match &log.message {
                Message::Callsite(site) => {
                    size.id(*site);
                    size.words += 1;
                }
                Message::Text(text) => size.text(text),
                _ => unreachable!("messages are made above"),
            }
            size.attributes(&log.fields);
        }
        _ => unreachable!("records are made above"),
    }
    size
}

/// Floats by their bits: NaN is not equal to itself.
fn by_bits(mut record: Record) -> Record {
    let stilled = |attributes: &mut [(u32, Value)]| {
        for (_, value) in attributes {
            if let Value::F64(number) = value {
                *value = Value::Str(format!("f64 {:x}", number.to_bits()));
            }
        }
    };
    match &mut record {
        Record::Log(log) => stilled(&mut log.fields),
        Record::Span(span) => {
            for item in &mut span.items {
                match item {
                    Item::Attribute(_, value) => {
                        if let Value::F64(number) = value {
                            *value = Value::Str(format!("f64 {:x}", number.to_bits()));
                        }
                    }
                    Item::Event { attributes, .. } | Item::Link { attributes, .. } => stilled(attributes),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    record
}

fuzz_target!(init: plant(), |made: Vec<Made>| {
    let mut words = Vec::new();
    let mut kept = Vec::new();
    for record in made.iter().map(Made::record) {
        let before = words.clone();
        let size = expected(&record);
        match encode(&record, &mut words) {
            Ok(()) => {
                let fits = size.words <= 4_095 || size.has_parts;
                assert!(fits && size.id < 1 << 20 && !size.nothing_lost, "encoded what cannot be");
                hold!(words.len(), before.len() + size.words, "the length that the docs say");
                hold!(words[..before.len()], before, "what was there before");
                kept.push(by_bits(record));
            }
            Err(error) => {
                let fair = match error {
                    EncodeError::TooLong => {
                        !size.has_parts && (size.words > 4_095 || size.text > 65_535 || size.list > 65_535)
                    }
                    EncodeError::IdTooLarge => size.id >= 1 << 20,
                    EncodeError::NothingLost => size.nothing_lost,
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
