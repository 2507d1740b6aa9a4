//! Decoded records: what the encoding says, with ids and ticks as they are. Cold.

use super::{Log, SpanKind, Status, Value};

/// One decoded record.
///
/// ```
/// use tellane::record::{Decoder, Record, Space, encode};
/// let mut words = Vec::new();
/// encode(&Record::Definition { space: Space::Key, id: 1, text: "items".into() }, &mut words)?;
/// let read = Decoder::new(&words).next();
/// assert!(matches!(read, Some(Ok(Record::Definition { id: 1, text, .. })) if text == "items"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// One value of a histogram.
    Sample {
        /// The histogram's series id, below 2^20.
        series: u32,
        /// The value, in the histogram's own unit.
        value: u64,
    },
    /// One finished span.
    Span(Span),
    /// A value of a histogram, and the span it was recorded in.
    Exemplar(Exemplar),
    /// One log record.
    Log(Log),
    /// The text of an id.
    Definition {
        /// Which ids it speaks of.
        space: Space,
        /// The id, below 2^20.
        id: u32,
        /// Its text, of any length; bytes that are not UTF-8 are replaced when decoded.
        text: String,
    },
    /// Numbers of a saved snapshot.
    Figures {
        /// What they say, below 2^12.
        what: u16,
        /// What they are of, below 2^20.
        id: u32,
        /// The numbers, at most 4,094.
        words: Vec<u64>,
    },
}

/// A finished span, as encoded: names and keys are ids, times are ticks.
///
/// ```
/// use tellane::record::{Decoder, Item, Record, Span, Value, encode};
/// let items = vec![Item::Attribute(1, Value::U64(3))];
/// let span = Record::Span(Span { name: 7, start: 1_000, duration: 250, items, ..Span::default() });
/// let mut words = Vec::new();
/// encode(&span, &mut words)?;
/// assert_eq!(words.len(), 9); // seven, and two for the attribute
/// assert_eq!(Decoder::new(&words).next(), Some(Ok(span)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Id of the span's name, below 2^20.
    pub name: u32,
    /// Start, in ticks of the recording instance's clock.
    pub start: u64,
    /// Duration, in ticks.
    pub duration: u64,
    /// The 128-bit trace id.
    pub trace_id: u128,
    /// The span's own id.
    pub span_id: u64,
    /// The parent's id; 0 for a root.
    pub parent_id: u64,
    /// How it ended.
    pub status: Status,
    /// Whether the trace is sampled.
    pub sampled: bool,
    /// Whether a panic ended it.
    pub panicked: bool,
    /// Its part in the exchange of messages.
    pub kind: SpanKind,
    /// Whether it has no parent in this process.
    pub local_root: bool,
    /// Whether its trace is not sampled, and its outcome decides.
    pub held: bool,
    /// Whether its future was dropped before it was done.
    pub cancelled: bool,
    /// Attributes that did not fit.
    pub attributes_dropped: u16,
    /// What was set on it and happened in it, in that order.
    pub items: Vec<Item>,
}

/// One thing that a span carries.
///
/// ```
/// use tellane::record::{Decoder, Item, Record, Span, Value, encode};
/// let event = Item::Event { name: 2, at: 1_100, attributes: vec![(1, Value::Bool(true))], attributes_dropped: 0 };
/// let span = Record::Span(Span { name: 7, items: vec![event], ..Span::default() });
/// let mut words = Vec::new();
/// encode(&span, &mut words)?;
/// assert_eq!(Decoder::new(&words).next(), Some(Ok(span)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A key's id and its value.
    Attribute(u32, Value),
    /// Something that happened.
    Event {
        /// Id of its name, among the keys.
        name: u32,
        /// When, in ticks.
        at: u64,
        /// Key ids and values.
        attributes: Vec<(u32, Value)>,
        /// Attributes that did not fit.
        attributes_dropped: u16,
    },
    /// Another span that this one has to do with.
    Link {
        /// Its trace id.
        trace_id: u128,
        /// Its span id.
        span_id: u64,
        /// Whether its trace is sampled.
        sampled: bool,
        /// Key ids and values.
        attributes: Vec<(u32, Value)>,
        /// Attributes that did not fit.
        attributes_dropped: u16,
    },
    /// What the status says; the last one counts.
    Message(String),
    /// W3C trace state, as it came.
    TraceState(String),
    /// What did not fit; never both 0.
    Lost {
        /// Events.
        events: u16,
        /// Links.
        links: u16,
    },
}

/// A value of a histogram and the span it was recorded in.
///
/// ```
/// use tellane::record::{Decoder, Exemplar, Record, encode};
/// let example = Record::Exemplar(Exemplar { series: 7, value: 1_250, at: 1_000, trace_id: 1, span_id: 2 });
/// let mut words = Vec::new();
/// encode(&example, &mut words)?;
/// assert_eq!(Decoder::new(&words).next(), Some(Ok(example)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exemplar {
    /// The histogram's series id, below 2^20.
    pub series: u32,
    /// The value, in the histogram's own unit.
    pub value: u64,
    /// When it was recorded, in ticks.
    pub at: u64,
    /// The span's trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
}

/// What the ids of a definition name.
///
/// ```
/// use tellane::record::{Decoder, Record, Space, encode};
/// let mut words = Vec::new();
/// encode(&Record::Definition { space: Space::SpanName, id: 7, text: "order".into() }, &mut words)?;
/// let read = Decoder::new(&words).next();
/// assert!(matches!(read, Some(Ok(Record::Definition { space: Space::SpanName, id: 7, .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Space {
    /// Span names.
    SpanName = 1,
    /// Attribute keys.
    Key = 2,
    /// Series: metric name and labels.
    Series = 3,
    /// The service a stream comes from.
    Service = 4,
    /// Log targets.
    Target = 5,
    /// Log statements.
    Callsite = 6,
}
