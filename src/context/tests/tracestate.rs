//! Tests of `tracestate`: grammar, limits, and changes by `with`.

use crate::context::{TraceState, TracestateError};

fn header(text: &str) -> Result<String, TracestateError> {
    TraceState::parse(text).map(|state| state.header())
}

fn numbered(count: usize) -> String {
    (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",")
}

#[test]
fn whitespace_and_empty_members() {
    for (text, clean) in [
        ("", ""),
        (" \t , ,", ""),
        ("a=1", "a=1"),
        (" a=1\t,\t b=2 ", "a=1,b=2"),
        (",a=1,,b=2,", "a=1,b=2"),
        ("a=  1  ", "a=  1"), // leading spaces belong to the value
        ("a=!~ x", "a=!~ x"),
    ] {
        assert_eq!(header(text).as_deref(), Ok(clean), "{text:?}");
    }
    assert_eq!(TraceState::parse("").unwrap(), TraceState::empty());
    assert_eq!(TraceState::parse_all([]).unwrap(), TraceState::empty());
}

#[test]
fn keys() {
    let longest = "k".repeat(256);
    for good in ["a", "0", "z9_-*/", "tenant@vendor", "1@a", "a@b@c", longest.as_str()] {
        assert_eq!(header(&format!("{good}=v")), Ok(format!("{good}=v")));
        assert!(TraceState::empty().with(good, "v").is_ok());
    }
    let too_long = "k".repeat(257);
    for bad in
        ["", "A", "aB", "@a", "_a", "a b", "a ", "a.b", "a\u{7f}", "é", "a\t", "-", "a+", too_long.as_str()]
    {
        assert_eq!(header(&format!("ok=1,{bad}=v")), Err(TracestateError::BadKey), "{bad:?}");
        assert_eq!(TraceState::empty().with(bad, "v"), Err(TracestateError::BadKey), "{bad:?}");
    }
    assert_eq!(header("a=1,b"), Err(TracestateError::BadKey), "no equals sign");
    assert_eq!(header("a;b=1"), Err(TracestateError::BadKey));
}

#[test]
fn values() {
    let longest = "v".repeat(256);
    for good in ["v", " v", "a;b:c", "\"", "\\", longest.as_str()] {
        assert_eq!(header(&format!("k={good}")), Ok(format!("k={good}")));
        assert!(TraceState::empty().with("k", good).is_ok());
    }
    let too_long = "v".repeat(257);
    for bad in ["", "a=b", "=", "a\tb", "é", "\u{7f}", "a\nb", "\0", too_long.as_str()] {
        assert_eq!(header(&format!("ok=1,k={bad}")), Err(TracestateError::BadValue), "{bad:?}");
        assert_eq!(TraceState::empty().with("k", bad), Err(TracestateError::BadValue), "{bad:?}");
    }
    for bad in ["v ", " ", "a,b"] {
        assert_eq!(TraceState::empty().with("k", bad), Err(TracestateError::BadValue), "{bad:?}");
    }
}

#[test]
fn every_byte_in_key_and_value() {
    for byte in 0..=127_u8 {
        let text = format!("k{}z=v", char::from(byte));
        let key = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
        // A comma splits the member in two, an equals sign makes the value invalid.
        assert_eq!(header(&text).is_ok(), key, "{text:?}");
        let text = format!("k=v{}z", char::from(byte));
        let value = (0x20..0x7f).contains(&byte) && byte != b',' && byte != b'=';
        assert_eq!(header(&text).is_ok(), value, "{text:?}");
    }
}

#[test]
fn the_first_of_several_members_with_one_key_is_kept() {
    for (text, clean) in [
        ("foo=1,foo=1", "foo=1"),
        ("foo=1,foo=2", "foo=1"),
        ("a=1,b=2,a=3,c=4,b=5,a=6", "a=1,b=2,c=4"),
        ("a=1,aa=2,b@a=3", "a=1,aa=2,b@a=3"),
    ] {
        assert_eq!(header(text).as_deref(), Ok(clean), "{text:?}");
    }
    let read = TraceState::parse_all(["a=1,b=2", "a=3", "c=4"]).map(|state| state.header());
    assert_eq!(read.as_deref(), Ok("a=1,b=2,c=4"));
    // A member that is not kept must still be well-formed, and does not count towards the limit of 32.
    assert_eq!(header("a=1,a="), Err(TracestateError::BadValue));
    assert_eq!(header(&format!("{},k0=w,k31=w", numbered(32))), Ok(numbered(32)));
}

#[test]
fn members_up_to_32() {
    assert_eq!(header(&numbered(32)), Ok(numbered(32)));
    assert_eq!(header(&format!(",{}, ,", numbered(32))), Ok(numbered(32)), "empty ones do not count");
    assert_eq!(header(&numbered(33)), Err(TracestateError::TooMany));
    let halves = [numbered(17), numbered(34).split_off(numbered(17).len() + 1)];
    assert_eq!(TraceState::parse_all(halves.iter().map(String::as_str)), Err(TracestateError::TooMany));
}

#[test]
fn bytes_up_to_8192() {
    let text = |bytes: usize| format!("{}{}", numbered(3), " ".repeat(bytes - numbered(3).len()));
    assert_eq!(header(&text(8_192)), Ok(numbered(3)));
    assert_eq!(header(&text(8_193)), Err(TracestateError::TooLong));
    assert_eq!(header(&",".repeat(100_000)), Err(TracestateError::TooLong));
    // The comma between two values counts towards the limit.
    let (left, right) = (text(4_096), " ".repeat(4_095));
    assert!(TraceState::parse_all([left.as_str(), &right]).is_ok());
    let right = " ".repeat(4_096);
    assert_eq!(TraceState::parse_all([left.as_str(), &right]), Err(TracestateError::TooLong));
    // Of many empty values only the commas count.
    assert!(TraceState::parse_all([""; 8_193]).is_ok());
    assert_eq!(TraceState::parse_all([""; 8_194]), Err(TracestateError::TooLong));
}

#[test]
fn a_new_member_comes_first_and_the_last_is_removed() {
    let state = TraceState::parse(&numbered(32)).unwrap();
    let more = state.with("new", "1").unwrap();
    assert_eq!(more.header(), format!("new=1,{}", numbered(31)));
    let moved = state.with("k31", "2").unwrap();
    assert_eq!(moved.header(), format!("k31=2,{}", numbered(31)), "replacing a member removes no other");
    assert_eq!(state.header(), numbered(32), "the original is unchanged");

    // Sixteen of the largest members are 8,223 bytes: the last one does not fit.
    let mut large = TraceState::empty();
    let member = |number: usize| (format!("{number:0256}"), "v".repeat(256));
    for number in 0..16 {
        let (key, value) = member(number);
        large = large.with(&key, &value).unwrap();
    }
    assert_eq!(large.iter().count(), 15);
    assert!(large.get(&member(15).0).is_some() && large.get(&member(0).0).is_none());
    assert!(large.header().len() <= 8_192);
    assert_eq!(TraceState::parse(&large.header()).as_ref(), Ok(&large));
}

#[test]
fn displays_and_debug_forms() {
    let state = TraceState::parse("b=2,a=1").unwrap();
    assert_eq!(format!("{state:?}"), r#"{"b": "2", "a": "1"}"#);
    for (error, text) in [
        (TracestateError::TooLong, "the tracestate is longer than 8192 bytes"),
        (TracestateError::TooMany, "the tracestate has more than 32 members"),
        (
            TracestateError::BadKey,
            "a tracestate key is malformed: use 1 to 256 of a-z 0-9 _ - * / @, beginning with a letter or digit",
        ),
        (
            TracestateError::BadValue,
            "a tracestate value is malformed: use 1 to 256 printable ASCII characters, no comma, no equals sign, no space at the end",
        ),
        (TracestateError::NoParent, "there is no valid traceparent for the tracestate"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
