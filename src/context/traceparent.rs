//! The `traceparent` header: the trace and the span that sent a request. Called once per request. Only writing an
//! outgoing header allocates.

use super::members::{BYTES_MAX, trim};
use crate::sync::plant::{Bug, planted};
use std::fmt;
use std::str::FromStr;

/// Length in bytes of a `traceparent` of version 00, and of the part of a higher version that is read.
const LEN: usize = 55;

/// The span named by a `traceparent` header: the caller's span in an incoming request, the own span in an outgoing one.
///
/// ```
/// use tellane::RemoteParent;
/// let parent = RemoteParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
/// assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
/// assert_eq!(parent.span_id, 0x00f0_67aa_0ba9_02b7);
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// # Ok::<(), tellane::TraceparentError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RemoteParent {
    /// The trace id; parsing never gives 0.
    pub trace_id: u128,
    /// The span id; parsing never gives 0.
    pub span_id: u64,
    /// The trace flags [`SAMPLED`](Self::SAMPLED) and [`RANDOM`](Self::RANDOM). Parsing never sets other bits, and they
    /// are never written.
    pub flags: u8,
}

impl RemoteParent {
    /// The trace flag that the caller sets if it may have recorded the trace.
    ///
    /// ```
    /// assert_eq!(tellane::RemoteParent::SAMPLED, 1);
    /// ```
    pub const SAMPLED: u8 = 0b01;

    /// The trace flag of a trace id whose right-most 56 bits are random (level 2).
    ///
    /// ```
    /// assert_eq!(tellane::RemoteParent::RANDOM, 2);
    /// ```
    pub const RANDOM: u8 = 0b10;

    /// All trace flags that are defined.
    const KNOWN: u8 = Self::SAMPLED | Self::RANDOM;

    /// Creates a parent for a header. Undefined bits of `flags` are cleared.
    ///
    /// # Errors
    ///
    /// [`ZeroTraceId`](TraceparentError::ZeroTraceId) or [`ZeroSpanId`](TraceparentError::ZeroSpanId) if an id is 0,
    /// which is invalid.
    ///
    /// ```
    /// use tellane::{RemoteParent, TraceparentError};
    /// let own = RemoteParent::new(0xabc, 0xdef, RemoteParent::SAMPLED)?;
    /// assert_eq!(own.header(), "00-00000000000000000000000000000abc-0000000000000def-01");
    /// assert_eq!(RemoteParent::new(0xabc, 0, 0), Err(TraceparentError::ZeroSpanId));
    /// # Ok::<(), TraceparentError>(())
    /// ```
    pub const fn new(trace_id: u128, span_id: u64, flags: u8) -> Result<Self, TraceparentError> {
        if trace_id == 0 {
            return Err(TraceparentError::ZeroTraceId);
        }
        if span_id == 0 {
            return Err(TraceparentError::ZeroSpanId);
        }
        Ok(Self { trace_id, span_id, flags: flags & Self::KNOWN })
    }

    /// Parses one header value, ignoring whitespace around it. Apart from that whitespace it reads at most 56 bytes.
    ///
    /// Of higher versions than 00 it reads the part that is known to be like 00: 55 bytes, followed by the end or a
    /// dash.
    ///
    /// # Errors
    ///
    /// A [`TraceparentError`] with the reason for which the value must be ignored. Start a new trace then.
    ///
    /// ```
    /// use tellane::{RemoteParent, TraceparentError};
    /// let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-and-more";
    /// assert_eq!(RemoteParent::parse(later)?.flags, 3);
    /// assert_eq!(RemoteParent::parse("00-4bf9"), Err(TraceparentError::Length { bytes: 7 }));
    /// # Ok::<(), TraceparentError>(())
    /// ```
    pub fn parse(header: &str) -> Result<Self, TraceparentError> {
        Self::from_bytes(header.as_bytes())
    }

    /// Parses a header's value without the whitespace around it. A value longer than the limit of the other two headers
    /// is not trimmed, so that at most this many bytes are scanned for whitespace.
    pub(super) fn from_bytes(value: &[u8]) -> Result<Self, TraceparentError> {
        let header = if value.len() > BYTES_MAX { value } else { trim(value) };
        let bytes = header.len();
        let Some((known, rest)) = header.split_first_chunk::<LEN>() else {
            return Err(TraceparentError::Length { bytes });
        };
        let version = hex(&known[..2]).ok_or(TraceparentError::Malformed { at: 0 })?;
        match (version, rest.first()) {
            (0xff, _) => return Err(TraceparentError::Version),
            (0, Some(_)) => return Err(TraceparentError::Length { bytes }),
            (_, None | Some(b'-')) => {}
            _ => return Err(TraceparentError::Malformed { at: LEN }),
        }
        if let Some(at) = [2, 35, 52].into_iter().find(|&dash| known[dash] != b'-') {
            return Err(TraceparentError::Malformed { at });
        }
        let trace_id = hex(&known[3..35]).ok_or(TraceparentError::Malformed { at: 3 })?;
        let span_id = hex(&known[36..52]).ok_or(TraceparentError::Malformed { at: 36 })?;
        let flags = hex(&known[53..]).ok_or(TraceparentError::Malformed { at: 53 })?;
        Self::new(trace_id, span_id as u64, flags as u8) // exact casts: 16 and 2 hex digits
    }

    /// Returns `true` if the caller may have recorded the trace.
    ///
    /// ```
    /// let parent = tellane::RemoteParent::new(1, 1, 0b10)?;
    /// assert!(!parent.is_sampled());
    /// # Ok::<(), tellane::TraceparentError>(())
    /// ```
    pub const fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Returns `true` if the caller declares the right-most 56 bits of the trace id to be random, so that samplers may
    /// use them.
    ///
    /// ```
    /// let parent = tellane::RemoteParent::new(1, 1, 0b10)?;
    /// assert!(parent.is_random());
    /// # Ok::<(), tellane::TraceparentError>(())
    /// ```
    pub const fn is_random(&self) -> bool {
        self.flags & Self::RANDOM != 0
    }

    /// Writes the header's value, always of version 00. `Display` writes the same without allocating.
    ///
    /// ```
    /// let own = tellane::RemoteParent::new(0xabc, 0xdef, 3)?;
    /// assert_eq!(own.header(), "00-00000000000000000000000000000abc-0000000000000def-03");
    /// # Ok::<(), tellane::TraceparentError>(())
    /// ```
    pub fn header(&self) -> String {
        self.to_string()
    }
}

/// Parses at most 32 lower-case hex digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' if planted(Bug::LaxHex) => digit - b'A' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(value))
    })
}

impl fmt::Display for RemoteParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags & Self::KNOWN)
    }
}

impl FromStr for RemoteParent {
    type Err = TraceparentError;

    fn from_str(header: &str) -> Result<Self, TraceparentError> {
        Self::parse(header)
    }
}

/// Error: a `traceparent` is ignored, and a new trace must be started.
///
/// ```
/// use tellane::{RemoteParent, TraceparentError};
/// let zero = RemoteParent::parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01");
/// assert_eq!(zero, Err(TraceparentError::ZeroTraceId));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceparentError {
    /// The header is shorter than 55 bytes, or longer although it is of version 00.
    Length {
        /// Length of the header in bytes, without the whitespace around it.
        bytes: usize,
    },
    /// The header has version `ff`, which is forbidden.
    Version,
    /// A field is not made of lower-case hex digits, or a dash is missing.
    Malformed {
        /// Position of the field or the dash, in bytes.
        at: usize,
    },
    /// The trace id is all zeros.
    ZeroTraceId,
    /// The span id is all zeros.
    ZeroSpanId,
    /// The request has more than one `traceparent` header. Only [`Incoming::read`](crate::Incoming::read) returns this.
    Repeated,
}

impl fmt::Display for TraceparentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(f, "the traceparent has {bytes} bytes: it must have {LEN}"),
            Self::Version => f.write_str("traceparent version ff is forbidden"),
            Self::Malformed { at } => {
                write!(
                    f,
                    "the traceparent is malformed at byte {at}: only lower-case hex digits and dashes are allowed"
                )
            }
            Self::ZeroTraceId => f.write_str("the trace id is all zeros, which is not a valid id"),
            Self::ZeroSpanId => f.write_str("the span id is all zeros, which is not a valid id"),
            Self::Repeated => f.write_str("there is more than one traceparent: only one is allowed"),
        }
    }
}

impl std::error::Error for TraceparentError {}
