//! Tests of baggage: grammar, limits, percent-encoding.

use crate::context::{Baggage, BaggageError};

fn numbered(count: usize) -> String {
    (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",")
}

#[test]
fn malformed_members_are_dropped_and_counted() {
    for (text, clean, dropped) in [
        ("", "", 0),
        (" , \t,", "", 0),
        ("a=1,,b=2,", "a=1,b=2", 0),
        (" a\t= 1 ; p ; q = 2 , b =2", "a=1;p;q=2,b=2", 0),
        ("a=", "a=", 0),
        ("a=b=c==", "a=b=c==", 0), // equals signs are part of a value
        ("a=1;p=x=y;q=", "a=1;p=x=y;q=", 0),
        ("a=!#$&'()*+-./:<=>?@[]^_`{|}~", "a=!#$&'()*+-./:<=>?@[]^_`{|}~", 0),
        ("a", "", 1),
        ("=1", "", 1),
        (" = ", "", 1),
        ("a b=1,c=2", "c=2", 1),
        ("a=1 2,c=2", "c=2", 1),
        ("a=\"1\",c=2", "c=2", 1),
        ("a=\\,c=2", "c=2", 1),
        ("(a)=1,[b]=2,c@d=3,e=4", "e=4", 3),
        ("ä=1,b=ä,c=2", "c=2", 2),
        ("a=\u{1},b=\u{7f},c=2", "c=2", 2),
        ("a=1;,b=2", "b=2", 1), // a property needs a key
        ("a=1;=2,b=2", "b=2", 1),
        ("a=1;p q,b=2", "b=2", 1),
        ("a=1;p=\",b=2", "b=2", 1),
        ("a;p=1,b=2", "b=2", 1), // the equals sign belongs to a property
        ("a=1,b=2,a=3", "b=2,a=3", 1),
        ("a=1,b=2,a", "a=1,b=2", 1),
    ] {
        let baggage = Baggage::parse(text);
        assert_eq!((baggage.header().as_str(), baggage.dropped()), (clean, dropped), "{text:?}");
        assert_eq!(Baggage::parse(clean), baggage, "{text:?}");
        assert_eq!(baggage.is_empty(), clean.is_empty());
    }
    assert_eq!(Baggage::parse_all(["a=1", "", "b=2,"]).header(), "a=1,b=2");
    assert_eq!(Baggage::parse_all(["a=1;p", "q=2"]).header(), "a=1;p,q=2", "a comma between them");
}

#[test]
fn values_are_decoded_and_encoded() {
    for (text, value, again) in [
        ("DF%2028", "DF 28", "DF%2028"),
        ("%41%7a", "Az", "Az"),
        ("%e2%82%AC", "€", "%E2%82%AC"),
        ("%25", "%", "%25"),
        ("%2541", "%41", "%2541"), // decoded once
        ("1+1", "1+1", "1+1"),
        ("%2C%3b%22%5C", ",;\"\\", "%2C%3B%22%5C"),
        ("%00%0D%0a", "\0\r\n", "%00%0D%0A"),
        ("%", "%", "%25"),
        ("%4", "%4", "%254"),
        ("%4g", "%4g", "%254g"),
        ("%%41", "%A", "%25A"),
        ("%FF", "\u{fffd}", "%EF%BF%BD"),
        ("a%e2%82", "a\u{fffd}", "a%EF%BF%BD"), // cut short
        ("%c0%80", "\u{fffd}\u{fffd}", "%EF%BF%BD%EF%BF%BD"), // overlong
        ("%ed%a0%80", "\u{fffd}\u{fffd}\u{fffd}", "%EF%BF%BD%EF%BF%BD%EF%BF%BD"), // a surrogate
    ] {
        let baggage = Baggage::parse(&format!("k={text}"));
        assert_eq!((baggage.get("k"), baggage.dropped()), (Some(value), 0), "{text}");
        assert_eq!(baggage.header(), format!("k={again}"));
        assert_eq!(Baggage::empty().with("k", value).map(|own| own.header()), Ok(format!("k={again}")));
    }
}

#[test]
fn every_byte_in_key_and_value() {
    for byte in 0..=127_u8 {
        let letter = char::from(byte);
        let token = byte.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
        assert_eq!(Baggage::empty().with(&format!("k{letter}z"), "v").is_ok(), token, "{letter:?}");
        let octet = matches!(byte, 0x21 | 0x23..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E);
        let read = Baggage::parse(&format!("k=v{letter}z"));
        let apart = letter == ',' || letter == ';'; // starts another member or a property
        assert_eq!(read.dropped() == 0, octet || letter == ';', "{letter:?}");
        let own = Baggage::empty().with("k", &format!("v{letter}z")).unwrap();
        let plain = octet && letter != '%';
        let expected = if plain { format!("k=v{letter}z") } else { format!("k=v%{byte:02X}z") };
        assert_eq!(own.header(), expected);
        assert!(apart || !octet || read == own, "{letter:?}");
    }
    assert_eq!(Baggage::empty().with("", "v").err(), Some(BaggageError::BadKey));
}

#[test]
fn members_up_to_64() {
    assert_eq!((Baggage::parse(&numbered(64)).len(), Baggage::parse(&numbered(64)).dropped()), (64, 0));
    let full = Baggage::parse(&numbered(180));
    assert_eq!((full.header(), full.dropped()), (numbered(64), 116));
    assert_eq!(full.with("new", "1").err(), Some(BaggageError::TooMany));
    let changed = full.with("k0", "2").unwrap();
    assert_eq!((changed.len(), changed.get("k0")), (64, Some("2")));
    let read = Baggage::parse(&format!("{},k0=2", numbered(65)));
    assert_eq!(
        (read.len(), read.get("k0"), read.dropped()),
        (64, Some("2"), 2),
        "a later one of a known key"
    );
    assert_eq!(full.without("k9").with("new", "1").unwrap().len(), 64);
}

#[test]
fn bytes_up_to_8192() {
    let fits = format!("a=1,b={}", "x".repeat(8_192 - 6));
    assert_eq!((Baggage::parse(&fits).header(), Baggage::parse(&fits).dropped()), (fits.clone(), 0));
    for over in [format!("{fits}x"), format!("{fits} ")] {
        let baggage = Baggage::parse(&over);
        assert_eq!((baggage.header().as_str(), baggage.dropped()), ("a=1", 1), "a member that is cut");
    }
    let more = Baggage::parse(&format!("{fits},c=3,d=4"));
    assert_eq!((more.len(), more.dropped()), (2, 1), "the rest counts as one, for nobody looks at it");
    let values = Baggage::parse_all([fits.as_str(), "c=3", "", "d=4,e=5"]);
    assert_eq!((values.header(), values.dropped()), (fits.clone(), 2), "one a value");
    let huge = Baggage::parse(&"x".repeat(10_000_000));
    assert_eq!((huge.len(), huge.dropped()), (0, 1));
    assert_eq!(Baggage::parse_all([""; 9_000]).dropped(), 0);
}

#[test]
fn members_that_grow_when_encoded_keep_the_limit() {
    // A bare percent sign takes three bytes when it is encoded.
    let text = format!("a={},b={},c=1", "%".repeat(2_000), "%".repeat(2_000));
    let baggage = Baggage::parse(&text);
    assert_eq!((baggage.get("b"), baggage.get("c"), baggage.dropped()), (None, Some("1"), 1));
    assert!(baggage.header().len() <= 8_192);
    // A member that does not fit does not remove the earlier one with its key.
    let text = format!("a=old,a={}", "%".repeat(3_000));
    assert_eq!((Baggage::parse(&text).get("a"), Baggage::parse(&text).dropped()), (Some("old"), 1));
    let room = "é".repeat(1_365); // 8,190 bytes
    assert_eq!(Baggage::empty().with("", &room).err(), Some(BaggageError::BadKey));
    assert_eq!(Baggage::empty().with("a", &room).map(|own| own.header().len()), Ok(8_192));
    assert_eq!(Baggage::empty().with("ab", &room).err(), Some(BaggageError::TooLong));
    assert_eq!(Baggage::parse("a=1").with("a", &room).map(|own| own.len()), Ok(1), "it replaces the old one");
    assert_eq!(Baggage::parse("b=1").with("a", &room).err(), Some(BaggageError::TooLong));
}

#[test]
fn replaced_members_take_no_memory() {
    let mut baggage = Baggage::parse("a=1,b=2,nothing");
    for number in 0..1_000 {
        baggage = baggage.with("a", &number.to_string()).unwrap();
    }
    assert_eq!(baggage.header(), "b=2,a=999");
    assert_eq!(baggage.dropped(), 1, "the count of dropped members stays");
    assert_eq!(baggage.store.as_ref().map(|store| store.text.as_str()), Some("b2a999"));
    let empty = baggage.without("a").without("b").without("c");
    assert_eq!((empty.header().as_str(), empty.is_empty()), ("", true));
}

#[test]
fn metadata() {
    let baggage = Baggage::empty().with_metadata("a", "1", " p ; q = %20 ").unwrap();
    assert_eq!(baggage.header(), "a=1;p;q=%20");
    assert_eq!(baggage.iter().map(|member| member.metadata).collect::<Vec<_>>(), ["p;q=%20"]);
    assert_eq!(baggage.with("a", "2").unwrap().header(), "a=2", "a change drops it");
    for bad in [";", "p;", "=1", "p q", "p=\"", "p,q", "é", " "] {
        let refused = Baggage::empty().with_metadata("a", "1", bad);
        assert_eq!(refused.err(), Some(BaggageError::BadMetadata), "{bad:?}");
    }
}

#[test]
fn displays_and_debug_forms() {
    let baggage = Baggage::parse("a=1,b");
    let member = r#"BaggageMember { key: "a", value: "1", metadata: "" }"#;
    assert_eq!(format!("{baggage:?}"), format!("Baggage {{ members: [{member}], dropped: 1 }}"));
    for (error, text) in [
        (BaggageError::BadKey, "the baggage key is not a token: use letters, digits and !#$%&'*+-.^_`|~"),
        (
            BaggageError::BadMetadata,
            "the baggage properties are malformed: use keys or key=value pairs, separated by semicolons",
        ),
        (BaggageError::TooMany, "there are already 64 baggage members: remove one first"),
        (
            BaggageError::TooLong,
            "the baggage header would be longer than 8192 bytes: shorten the value or remove members",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
