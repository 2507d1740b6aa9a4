//! A decoded log record. Cold.

use super::Value;
use crate::level::Level;

/// A log record as encoded: target, log statement and keys are ids, the time is in ticks.
///
/// ```
/// use tellane::record::{Decoder, Log, Message, Record, encode};
/// let log = Record::Log(Log { target: 1, message: Message::Text("it rains".into()), ..Log::default() });
/// let mut words = Vec::new();
/// encode(&log, &mut words)?;
/// assert_eq!(Decoder::new(&words).next(), Some(Ok(log)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Id of the target, below 2^20.
    pub target: u32,
    /// Level of the record.
    pub level: Level,
    /// Time of the record, in ticks.
    pub at: u64,
    /// Trace id and span id of the span in which the record was made.
    pub span: Option<(u128, u64)>,
    /// Message of the record.
    pub message: Message,
    /// Number of fields that did not fit.
    pub fields_dropped: u16,
    /// Fields as key ids and values.
    pub fields: Vec<(u32, Value)>,
}

/// The message of a log record.
///
/// ```
/// use tellane::record::Message;
/// assert_eq!(Message::default(), Message::Text(String::new()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// The constant message of a log statement, given by the statement's id.
    Callsite(u32),
    /// A text.
    Text(String),
}

impl Default for Message {
    fn default() -> Self {
        Self::Text(String::new())
    }
}
