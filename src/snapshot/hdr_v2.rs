//! A writer of HdrHistogram's V2 encoding, as HdrHistogram specifies it (`encodeIntoByteBuffer`, cookie 0x1c849303).
//! Cold.
//!
//! The `hdrhistogram` crate's own writer would add a compressor and a parser to the dependencies. This writer is tested
//! against that crate's reader.

use super::HistogramView;

/// The cookie of V2, with counts in ZigZag LEB128 ("word size" 1 in the cookie's middle byte).
const COOKIE: u32 = 0x1c84_9303 | 0x10;

/// Encodes a view.
pub(super) fn encode(view: &HistogramView) -> Vec<u8> {
    let mut counts = Vec::new();
    let mut next = 0;
    for (index, count) in &view.filled {
        let empty = i64::from(*index) - next;
        if empty > 0 {
            push_zigzag(-empty, &mut counts); // a negative number stands for a run of empty buckets
        }
        push_zigzag(i64::try_from(*count).unwrap_or(i64::MAX), &mut counts);
        next = i64::from(*index) + 1;
    }
    let mut bytes = Vec::with_capacity(40 + counts.len());
    bytes.extend(COOKIE.to_be_bytes());
    bytes.extend((counts.len() as u32).to_be_bytes());
    bytes.extend(0_u32.to_be_bytes()); // normalizing index offset
    bytes.extend(u32::from(view.layout.digits()).to_be_bytes());
    bytes.extend(1_u64.to_be_bytes()); // lowest discernible value
    bytes.extend(view.layout.highest().to_be_bytes());
    bytes.extend(1.0_f64.to_be_bytes()); // integer to double conversion ratio
    bytes.extend(counts);
    bytes
}

/// Appends a number in ZigZag LEB128 of at most nine bytes; the ninth has eight bits of payload.
fn push_zigzag(number: i64, into: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            into.push(rest as u8);
            return;
        }
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}
