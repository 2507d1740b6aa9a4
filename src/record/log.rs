//! A decoded log record. Cold.

use super::Value;
use crate::level::Level;

/// A log record, as encoded: target, statement and keys are ids, the time is in ticks.
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
    /// How much it matters.
    pub level: Level,
    /// When, in ticks.
    pub at: u64,
    /// Trace and span it was made in.
    pub span: Option<(u128, u64)>,
    /// What it says.
    pub message: Message,
    /// Fields that did not fit.
    pub fields_dropped: u16,
    /// Key ids and values.
    pub fields: Vec<(u32, Value)>,
}

/// What a log record says.
///
/// ```
/// use tellane::record::Message;
/// assert_eq!(Message::default(), Message::Text(String::new()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// What the log statement of this id says.
    Callsite(u32),
    /// This.
    Text(String),
}

impl Default for Message {
    fn default() -> Self {
        Self::Text(String::new())
    }
}
