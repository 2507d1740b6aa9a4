//! Tests of `traceparent`: every length, every kind of malformed header.

use crate::context::{RemoteParent, TraceparentError};

pub(super) const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn parse(header: &str) -> Result<RemoteParent, TraceparentError> {
    RemoteParent::parse(header)
}

/// The valid header with `part` at position `at`.
fn with(at: usize, part: &str) -> String {
    format!("{}{part}{}", &GOOD[..at], &GOOD[at + part.len()..])
}

#[test]
fn every_length_from_0_to_600() {
    let long = format!("{GOOD}-{}", "0123456789abcdef-".repeat(40));
    for bytes in 0..=600 {
        let cut = &long[..bytes];
        let expected =
            if bytes == 55 { Ok(parse(GOOD).unwrap()) } else { Err(TraceparentError::Length { bytes }) };
        assert_eq!(parse(cut), expected, "version 00, {bytes} bytes");
        let later = cut.replacen("00", "01", 1);
        let expected = if bytes >= 55 { parse(GOOD) } else { Err(TraceparentError::Length { bytes }) };
        assert_eq!(parse(&later), expected, "version 01, {bytes} bytes");
        assert!(parse(&"0".repeat(bytes)).is_err() && parse(&"-".repeat(bytes)).is_err());
        assert!(parse(&"é".repeat(bytes)).is_err());
    }
}

#[test]
fn versions() {
    for version in 0..=255_u8 {
        let header = with(0, &format!("{version:02x}"));
        let expected = if version == 255 { Err(TraceparentError::Version) } else { parse(GOOD) };
        assert_eq!(parse(&header), expected, "{header}");
    }
    for bad in ["0g", "0A", "FF", "-0", "0 ", "0-", "+1", "0x", "é"] {
        assert_eq!(parse(&with(0, bad)), Err(TraceparentError::Malformed { at: 0 }), "{bad:?}");
    }
    // The rest of a higher version is not read if a dash separates it.
    assert_eq!(parse(&with(0, "cc").replace("-01", "-01-what-the-future-will-be-like")), parse(GOOD));
    assert_eq!(parse(&with(0, "cc").replace("-01", "-01.what")), Err(TraceparentError::Malformed { at: 55 }));
    assert_eq!(parse(&with(0, "ff").replace("-01", "-01-more")), Err(TraceparentError::Version));
}

#[test]
fn ids_of_zeros() {
    assert_eq!(parse(&with(3, &"0".repeat(32))), Err(TraceparentError::ZeroTraceId));
    assert_eq!(parse(&with(36, &"0".repeat(16))), Err(TraceparentError::ZeroSpanId));
    assert_eq!(RemoteParent::new(0, 1, 0), Err(TraceparentError::ZeroTraceId));
    let least = parse("00-00000000000000000000000000000001-0000000000000001-00").unwrap();
    assert_eq!((least.trace_id, least.span_id, least.flags), (1, 1, 0));
    let most = parse(&format!("00-{}-{}-00", "f".repeat(32), "f".repeat(16))).unwrap();
    assert_eq!((most.trace_id, most.span_id), (u128::MAX, u64::MAX));
}

#[test]
fn every_byte_at_every_position() {
    for at in 0..55 {
        let (field, is_dash) = match at {
            0..2 => (0, false),
            2 | 35 | 52 => (at, true),
            3..35 => (3, false),
            36..52 => (36, false),
            _ => (53, false),
        };
        for byte in 0..=255_u8 {
            if matches!(byte, b' ' | b'\t') && matches!(at, 0 | 54) {
                continue; // trimmed, so the value is too short
            }
            let mut header = GOOD.as_bytes().to_vec();
            header[at] = byte;
            let good = if is_dash { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') };
            let found = RemoteParent::from_bytes(&header);
            if good {
                assert!(found.is_ok(), "{byte} at {at}");
            } else {
                assert_eq!(found, Err(TraceparentError::Malformed { at: field }), "{byte} at {at}");
            }
        }
    }
    assert!(parse(&GOOD.to_uppercase()).is_err());
}

#[test]
fn whitespace_around_the_value_is_trimmed() {
    let spaces = |count: usize| " ".repeat(count);
    for (before, after) in [("", " "), (" ", ""), ("\t", ""), ("", "\t"), ("\t ", " \t"), ("   ", "\t\t")] {
        assert_eq!(parse(&format!("{before}{GOOD}{after}")), parse(GOOD), "{before:?} {after:?}");
    }
    let later = with(0, "cc");
    assert_eq!(parse(&format!(" {later}-more \t")), parse(GOOD));
    assert_eq!(
        parse(&format!("{later} ")),
        parse(GOOD),
        "the whitespace is no part of a later version's rest"
    );
    // Only spaces and tabs are trimmed, and only around the value.
    for bad in [format!("\n{GOOD}"), format!("{GOOD}\r"), format!("{GOOD}\u{a0}"), format!("\u{b}{GOOD}")] {
        assert!(parse(&bad).is_err(), "{bad:?}");
    }
    assert_eq!(parse(&format!("{GOOD} .")), Err(TraceparentError::Length { bytes: 57 }));
    assert_eq!(parse(" \t "), Err(TraceparentError::Length { bytes: 0 }));
    // Trimmed up to the limit of the other two headers; a longer value is not scanned for whitespace.
    assert_eq!(parse(&format!("{GOOD}{}", spaces(8_192 - 55))), parse(GOOD));
    assert_eq!(
        parse(&format!("{GOOD}{}", spaces(8_193 - 55))),
        Err(TraceparentError::Length { bytes: 8_193 })
    );
}

#[test]
fn flags() {
    for flags in 0..=255_u8 {
        let parent = parse(&with(53, &format!("{flags:02x}"))).unwrap();
        assert_eq!(parent.flags, flags & 3, "flags other than sampled and random are cleared");
        assert_eq!((parent.is_sampled(), parent.is_random()), (flags & 1 == 1, flags & 2 == 2));
        assert_eq!(RemoteParent::new(parent.trace_id, parent.span_id, flags), Ok(parent));
        let unmasked = RemoteParent { flags, ..parent };
        assert_eq!(unmasked.to_string(), parent.to_string(), "and are not written");
    }
}

#[test]
fn written_headers_have_version_00() {
    assert_eq!(parse(GOOD).unwrap().to_string(), GOOD);
    assert_eq!(GOOD.parse(), parse(GOOD));
    let later = parse(&with(0, "07").replace("-01", "-03-more")).unwrap();
    assert_eq!(later.header(), GOOD.replace("-01", "-03"), "always version 00");
}

#[test]
fn errors_are_displayed() {
    for (error, text) in [
        (TraceparentError::Length { bytes: 7 }, "the traceparent has 7 bytes: it must have 55"),
        (TraceparentError::Version, "traceparent version ff is forbidden"),
        (
            TraceparentError::Malformed { at: 3 },
            "the traceparent is malformed at byte 3: only lower-case hex digits and dashes are allowed",
        ),
        (TraceparentError::ZeroTraceId, "the trace id is all zeros, which is not a valid id"),
        (TraceparentError::ZeroSpanId, "the span id is all zeros, which is not a valid id"),
        (TraceparentError::Repeated, "there is more than one traceparent: only one is allowed"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
