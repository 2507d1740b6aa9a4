//! Grammar of W3C Baggage, and percent-encoding. Pure functions, used to parse baggage and to change it.

use crate::context::members::trim;

/// Returns `true` for a token as RFC 9110 defines it.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    let mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !bytes.is_empty() && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || mark(byte))
}

/// Returns `true` for printable ASCII except space, quote, comma, semicolon and backslash.
fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

pub(super) fn is_octets(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_octet(byte))
}

/// Appends properties, which are separated by semicolons, to `into` without whitespace; `false` if one is malformed.
pub(super) fn properties(bytes: &[u8], into: &mut String) -> bool {
    let start = into.len();
    for property in bytes.split(|&byte| byte == b';') {
        let (key, value) = match property.iter().position(|&byte| byte == b'=') {
            Some(equals) => (trim(&property[..equals]), Some(trim(&property[equals + 1..]))),
            None => (trim(property), None),
        };
        if !is_token(key) || !value.is_none_or(is_octets) {
            return false;
        }
        if into.len() > start {
            into.push(';');
        }
        push(into, key);
        if let Some(value) = value {
            into.push('=');
            push(into, value);
        }
    }
    true
}

/// Appends bytes that the caller has checked to be ASCII.
pub(super) fn push(into: &mut String, ascii: &[u8]) {
    into.extend(ascii.iter().map(|&byte| char::from(byte)));
}

/// Appends the percent-decoded value. A percent sign without two hex digits after it is taken literally.
pub(super) fn decode(value: &[u8], into: &mut Vec<u8>) {
    let mut rest = value;
    while let [first, after @ ..] = rest {
        rest = match code(*first, after) {
            Some((byte, after)) => {
                into.push(byte);
                after
            }
            None => {
                into.push(*first);
                after
            }
        };
    }
}

fn code(first: u8, after: &[u8]) -> Option<(u8, &[u8])> {
    let ([high, low], after) = after.split_first_chunk().filter(|_| first == b'%')?;
    Some(((digit(*high)? << 4) | digit(*low)?, after))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Returns `true` for bytes that need no encoding. The percent sign needs it, since it begins an encoded byte.
fn is_plain(byte: u8) -> bool {
    is_octet(byte) && byte != b'%'
}

pub(super) fn encoded_len(value: &str) -> usize {
    value.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum()
}

pub(super) fn push_encoded(into: &mut String, value: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if is_plain(byte) {
            into.push(char::from(byte));
        } else {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            into.push('%');
            push(into, &digits);
        }
    }
}
