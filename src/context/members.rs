//! Grammar shared by `tracestate` and `baggage`: members separated by commas, optional whitespace, a length limit.
//! Cold.

/// Greatest length of either header, in bytes, that is read or written.
pub(super) const BYTES_MAX: usize = 8_192;

/// Returns `true` for optional whitespace as RFC 9110 defines it: space and tab.
pub(super) const fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let Some(first) = bytes.iter().position(|&byte| !is_ows(byte)) else { return &[] };
    let last = bytes.iter().rposition(|&byte| !is_ows(byte)).unwrap_or(first);
    &bytes[first..=last]
}

/// Splits a header value into its members, without the whitespace around them. Empty members are allowed and skipped: a
/// sender that splits or joins headers cannot always avoid them.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Counts the bytes of a header with several values as if they were joined by commas.
#[derive(Debug, Default)]
pub(super) struct Budget {
    values: usize,
    bytes: usize,
}

impl Budget {
    /// Returns the number of bytes of the next value that may be read; `None` if not even the comma before it fits.
    pub(super) fn admit(&mut self, len: usize) -> Option<usize> {
        let comma = usize::from(self.values > 0);
        let room = BYTES_MAX.checked_sub(self.bytes + comma)?;
        self.values += 1;
        self.bytes += comma + len.min(room);
        Some(len.min(room))
    }
}
