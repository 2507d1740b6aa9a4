//! The `traceparent` header: which span of which trace sent this request. Called once a request; never allocates, but
//! for the header that goes out.

use super::members::{BYTES_MAX, trim};
use crate::sync::plant::{Bug, planted};
use std::fmt;
use std::str::FromStr;

/// Bytes of a `traceparent` of version 00, and of the part of a higher version that is read.
const LEN: usize = 55;

/// The caller's span, as its `traceparent` header names it; or the own span, for the header that goes out.
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
    /// The trace's id, not 0 in what was parsed.
    pub trace_id: u128,
    /// The span's id, not 0 in what was parsed.
    pub span_id: u64,
    /// [`SAMPLED`](Self::SAMPLED) and [`RANDOM`](Self::RANDOM); bits without a meaning are never set by parsing, and
    /// never written.
    pub flags: u8,
}

impl RemoteParent {
    /// The flag of a caller that may have recorded the trace.
    ///
    /// ```
    /// assert_eq!(tellane::RemoteParent::SAMPLED, 1);
    /// ```
    pub const SAMPLED: u8 = 0b01;

    /// The flag of a trace id whose right-most 56 bits are random (level 2).
    ///
    /// ```
    /// assert_eq!(tellane::RemoteParent::RANDOM, 2);
    /// ```
    pub const RANDOM: u8 = 0b10;

    /// Bits that have a meaning.
    const KNOWN: u8 = Self::SAMPLED | Self::RANDOM;

    /// A span to be named in a header. Bits of `flags` without a meaning are cleared.
    ///
    /// # Errors
    ///
    /// [`ZeroTraceId`](TraceparentError::ZeroTraceId), [`ZeroSpanId`](TraceparentError::ZeroSpanId): 0 is no id.
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

    /// Reads one header value, without whitespace around it. Looks at 56 bytes at most.
    ///
    /// Higher versions than 00 are read as far as they are known to begin like 00: 55 bytes, which end there or at a
    /// dash.
    ///
    /// # Errors
    ///
    /// A [`TraceparentError`] that says why the value must be ignored. The trace starts anew then.
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

    /// Reads a header's value, without the whitespace around it. A value above the limit of the other two headers is
    /// read as it is, so that no more than that is scanned for whitespace.
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
        Self::new(trace_id, span_id as u64, flags as u8) // 16 and 2 digits: nothing is cut off
    }

    /// Whether the caller may have recorded the trace.
    ///
    /// ```
    /// let parent = tellane::RemoteParent::new(1, 1, 0b10)?;
    /// assert!(!parent.is_sampled());
    /// # Ok::<(), tellane::TraceparentError>(())
    /// ```
    pub const fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Whether the right-most 56 bits of the trace id are said to be random, so that samplers may use them.
    ///
    /// ```
    /// let parent = tellane::RemoteParent::new(1, 1, 0b10)?;
    /// assert!(parent.is_random());
    /// # Ok::<(), tellane::TraceparentError>(())
    /// ```
    pub const fn is_random(&self) -> bool {
        self.flags & Self::RANDOM != 0
    }

    /// The header's value, always of version 00. `Display` writes the same without allocating.
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

/// The number that lower-case digits spell; at most 32 of them.
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

/// Why a `traceparent` is ignored, so that the trace starts anew.
///
/// ```
/// use tellane::{RemoteParent, TraceparentError};
/// let zero = RemoteParent::parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01");
/// assert_eq!(zero, Err(TraceparentError::ZeroTraceId));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceparentError {
    /// It is shorter than 55 bytes, or of version 00 and longer.
    Length {
        /// Its length, without the whitespace around it.
        bytes: usize,
    },
    /// Version `ff`, which is forbidden.
    Version,
    /// There is something else than the lower-case hex digits, or the dash, that must stand there.
    Malformed {
        /// Where the field or dash begins, in bytes.
        at: usize,
    },
    /// The trace id is all zeros.
    ZeroTraceId,
    /// The span id is all zeros.
    ZeroSpanId,
    /// The request has more than one `traceparent` header. Only [`Incoming::read`](crate::Incoming::read) says so.
    Repeated,
}

impl fmt::Display for TraceparentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(f, "a traceparent of {bytes} bytes: must be {LEN}"),
            Self::Version => f.write_str("traceparent version ff is forbidden"),
            Self::Malformed { at } => write!(f, "the traceparent is malformed at byte {at}"),
            Self::ZeroTraceId => f.write_str("the trace id is all zeros"),
            Self::ZeroSpanId => f.write_str("the span id is all zeros"),
            Self::Repeated => f.write_str("there is more than one traceparent"),
        }
    }
}

impl std::error::Error for TraceparentError {}
