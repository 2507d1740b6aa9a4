//! Decoded records: the contents of the encoding, with ids and ticks left as they are. Cold.

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
    /// A value of a histogram, and the span in which it was recorded.
    Exemplar(Exemplar),
    /// One log record.
    Log(Log),
    /// The text of an id.
    Definition {
        /// The space that the id belongs to.
        space: Space,
        /// The id, below 2^20.
        id: u32,
        /// The text of the id, of any length. Invalid UTF-8 is replaced when the record is decoded.
        text: String,
    },
    /// Numbers of a saved snapshot.
    Figures {
        /// The meaning of the numbers, below 2^12.
        what: u16,
        /// The id of the numbers' subject, below 2^20.
        id: u32,
        /// The numbers, at most 4,094.
        words: Vec<u64>,
    },
}

/// A finished span as encoded: names and keys are ids, times are ticks.
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
    /// Status of the span.
    pub status: Status,
    /// `true` if the trace is sampled.
    pub sampled: bool,
    /// `true` if a panic ended the span.
    pub panicked: bool,
    /// Role of the span in a call or an exchange of messages.
    pub kind: SpanKind,
    /// `true` if the span has no parent in this process.
    pub local_root: bool,
    /// `true` if the trace is not sampled, and tail sampling decides whether it is kept.
    pub held: bool,
    /// `true` if the span's future was dropped before it was done.
    pub cancelled: bool,
    /// Number of attributes that did not fit.
    pub attributes_dropped: u16,
    /// Attributes, events and links, in the order in which they were added.
    pub items: Vec<Item>,
}

/// One item of a span: an attribute, an event, a link, a text, or a count of lost items.
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
    /// An attribute: the id of its key, and its value.
    Attribute(u32, Value),
    /// An event within the span.
    Event {
        /// Id of the event's name, from the space of keys.
        name: u32,
        /// Time of the event, in ticks.
        at: u64,
        /// Attributes as key ids and values.
        attributes: Vec<(u32, Value)>,
        /// Number of attributes that did not fit.
        attributes_dropped: u16,
    },
    /// A link to another span.
    Link {
        /// Trace id of the linked span.
        trace_id: u128,
        /// Id of the linked span.
        span_id: u64,
        /// `true` if the trace of the linked span is sampled.
        sampled: bool,
        /// Attributes as key ids and values.
        attributes: Vec<(u32, Value)>,
        /// Number of attributes that did not fit.
        attributes_dropped: u16,
    },
    /// The message of the span's status; the last one counts.
    Message(String),
    /// W3C trace state, as received.
    TraceState(String),
    /// Numbers of items that did not fit; at least one of them is above 0.
    Lost {
        /// Number of events.
        events: u16,
        /// Number of links.
        links: u16,
    },
}

/// A value of a histogram and the span in which it was recorded.
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
    /// Time at which the value was recorded, in ticks.
    pub at: u64,
    /// Trace id of the span.
    pub trace_id: u128,
    /// Id of the span.
    pub span_id: u64,
}

/// A space of ids, to which the id of a definition belongs.
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
    /// Series, as metric name and labels.
    Series = 3,
    /// The service that a stream comes from.
    Service = 4,
    /// Log targets.
    Target = 5,
    /// Log statements.
    Callsite = 6,
}
