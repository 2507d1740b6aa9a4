//! Golden vectors, derived by hand from the docs of the module `record`, and every error. Tests with random input are
//! in `properties`.

mod items;
mod properties;

use super::*;
use crate::record::layout::{ID_LIMIT, TYPE_F64, TYPE_I64, TYPE_U64, WORDS_MAX};

fn words_of(record: &Record) -> Vec<u64> {
    let mut words = Vec::new();
    encode(record, &mut words).unwrap();
    words
}

/// Decodes the first record.
fn first(words: &[u64]) -> Result<Record, DecodeError> {
    Decoder::new(words).next().unwrap()
}

/// Replaces floats by their bits, for comparison: NaN is not equal to itself, and the two zeros differ.
fn by_bits(mut record: Record) -> Record {
    for value in values(&mut record) {
        if let Value::F64(number) = value {
            *value = Value::Str(format!("f64 {:016x}", number.to_bits()));
        }
    }
    record
}

/// Every value in a record.
fn values(record: &mut Record) -> Vec<&mut Value> {
    let pairs: Vec<&mut (u32, Value)> = match record {
        Record::Log(log) => log.fields.iter_mut().collect(),
        Record::Span(span) => return span.items.iter_mut().flat_map(item_values).collect(),
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(_, value)| value).collect()
}

fn item_values(item: &mut Item) -> Vec<&mut Value> {
    match item {
        Item::Attribute(_, value) => vec![value],
        Item::Event { attributes, .. } | Item::Link { attributes, .. } => {
            attributes.iter_mut().map(|(_, value)| value).collect()
        }
        Item::Message(_) | Item::TraceState(_) | Item::Lost { .. } => Vec::new(),
    }
}

fn check_golden(record: Record, expected: &[u64]) {
    assert_eq!(words_of(&record), expected, "{record:?}");
    let mut decoder = Decoder::new(expected);
    assert_eq!(decoder.next().map(|found| found.map(by_bits)), Some(Ok(by_bits(record))));
    assert_eq!((decoder.next(), decoder.rest()), (None, [].as_slice()));
}

fn span_with(attributes: Vec<(u32, Value)>) -> Record {
    let items = attributes.into_iter().map(|(key, value)| Item::Attribute(key, value)).collect();
    Record::Span(Span { name: 5, items, ..Span::default() })
}

fn span_with_kind(items: Vec<Item>) -> Record {
    Record::Span(Span { name: 5, items, ..Span::default() })
}

/// Encodes a span of name 5 with just these items.
fn item_words(items: &[u64]) -> Vec<u64> {
    let header = 0x0000_0000_0000_0053 | ((7 + items.len() as u64) << 24);
    [&[header, 0, 0, 0, 0, 0, 0], items].concat()
}

fn check_golden_item(key: u32, value: Value, items: &[u64]) {
    check_golden(span_with(vec![(key, value)]), &item_words(items));
}

#[test]
fn magic_is_seven_letters_and_the_version() {
    assert_eq!(MAGIC, 0x0165_6E61_6C6C_6574);
    let bytes = to_bytes(&[0x0000_0004_E200_0071]);
    assert_eq!(bytes, *b"tellane\x01\x71\x00\x00\xE2\x04\x00\x00\x00");
    assert_eq!(from_bytes(&bytes), Ok(vec![0x0000_0004_E200_0071]));
    assert_eq!(from_bytes(b"tellane\x01"), Ok(Vec::new()));
}

#[test]
fn golden_samples() {
    check_golden(Record::Sample { series: 0, value: 0 }, &[0x0000_0000_0000_0001]);
    check_golden(Record::Sample { series: 7, value: 1_250 }, &[0x0000_0004_E200_0071]);
    check_golden(Record::Sample { series: 0xF_FFFF, value: 0xFF_FFFF_FFFF }, &[0xFFFF_FFFF_FFFF_FFF1]);
    check_golden(
        Record::Sample { series: 0xA_BCDE, value: 0x100_0000_0000 },
        &[0x0000_0000_02AB_CDE2, 0x0000_0100_0000_0000],
    );
    check_golden(
        Record::Sample { series: 0, value: u64::MAX },
        &[0x0000_0000_0200_0002, 0xFFFF_FFFF_FFFF_FFFF],
    );
}

#[test]
fn golden_spans() {
    check_golden(span_with(Vec::new()), &[0x0000_0000_0700_0053, 0, 0, 0, 0, 0, 0]);
    let span = Span {
        name: 0xF_FFFF,
        start: 0x0102_0304_0506_0708,
        duration: 0x1112_1314_1516_1718,
        trace_id: 0x2122_2324_2526_2728_3132_3334_3536_3738,
        span_id: 0x4142_4344_4546_4748,
        parent_id: 0x5152_5354_5556_5758,
        status: Status::Error,
        sampled: true,
        panicked: true,
        kind: SpanKind::Internal,
        local_root: false,
        held: false,
        cancelled: false,
        attributes_dropped: 0xFFFF,
        items: vec![Item::Attribute(5, Value::Bool(true)), Item::Attribute(2, Value::I64(-2))],
    };
    let rest = [
        0x0102_0304_0506_0708,
        0x1112_1314_1516_1718,
        0x2122_2324_2526_2728,
        0x3132_3334_3536_3738,
        0x4142_4344_4546_4748,
        0x5152_5354_5556_5758,
        0x0001_0000_0000_0551,
        0x0000_0000_0000_0221,
        0xFFFF_FFFF_FFFF_FFFE,
    ];
    check_golden(Record::Span(span.clone()), &[&[0xFFFF_00E0_0AFF_FFF3], &rest[..]].concat());
    let sampled = Span { status: Status::Ok, panicked: false, attributes_dropped: 1, ..span.clone() };
    check_golden(Record::Span(sampled), &[&[0x0001_0050_0AFF_FFF3], &rest[..]].concat());
    let panicked = Span { status: Status::Unset, sampled: false, attributes_dropped: 0, ..span };
    check_golden(Record::Span(panicked.clone()), &[&[0x0000_0080_0AFF_FFF3], &rest[..]].concat());
    for (kind, bits) in [(SpanKind::Server, 1), (SpanKind::Consumer, 4)] {
        let of_kind = Span { kind, panicked: false, ..panicked.clone() };
        check_golden(Record::Span(of_kind), &[&[(bits << 40) | 0x0AFF_FFF3], &rest[..]].concat());
    }
    let marked = Span { local_root: true, held: true, cancelled: true, panicked: false, ..panicked };
    check_golden(Record::Span(marked), &[&[0x0000_3800_0AFF_FFF3], &rest[..]].concat());
}

#[test]
fn golden_attributes() {
    let text = |text: &str| Value::Str(text.to_owned());
    check_golden_item(1, text(""), &[0x0000_0000_0000_0111]);
    check_golden_item(0x1_2345, text("tellane"), &[0x0000_0007_0123_4511, 0x0065_6E61_6C6C_6574]);
    check_golden_item(1, text("http_get"), &[0x0000_0008_0000_0111, 0x7465_675F_7074_7468]);
    check_golden_item(1, text("ninechars"), &[0x0000_0009_0000_0111, 0x7261_6863_656E_696E, 0x73]);
    check_golden_item(1, text("añ€😀"), &[0x0000_000A_0000_0111, 0x9FF0_AC82_E2B1_C361, 0x8098]);
    check_golden_item(2, Value::I64(-2), &[0x0000_0000_0000_0221, 0xFFFF_FFFF_FFFF_FFFE]);
    check_golden_item(3, Value::U64(u64::MAX), &[0x0000_0000_0000_0331, 0xFFFF_FFFF_FFFF_FFFF]);
    check_golden_item(4, Value::F64(1.5), &[0x0000_0000_0000_0441, 0x3FF8_0000_0000_0000]);
    check_golden_item(4, Value::F64(-0.0), &[0x0000_0000_0000_0441, 0x8000_0000_0000_0000]);
    let nan = f64::from_bits(0x7FF8_0000_0000_0001);
    check_golden_item(0xF_FFFF, Value::F64(nan), &[0x0000_0000_0FFF_FF41, 0x7FF8_0000_0000_0001]);
    check_golden_item(5, Value::Bool(true), &[0x0001_0000_0000_0551]);
    check_golden_item(6, Value::Bool(false), &[0x0000_0000_0000_0651]);
}

#[test]
fn golden_definitions() {
    let check_definition = |space, id, text: &str, words: &[u64]| {
        check_golden(Record::Definition { space, id, text: text.to_owned() }, words)
    };
    check_definition(Space::SpanName, 0, "", &[0x0000_0010_0100_0004]);
    check_definition(Space::Key, 3, "user.id", &[0x0007_0020_0200_0034, 0x0064_692E_7265_7375]);
    check_definition(Space::Series, 0xF_FFFF, "http_get", &[0x0008_0030_02FF_FFF4, 0x7465_675F_7074_7468]);
}

/// A text that takes `parts` records, and its words.
fn long_definition(parts: usize) -> (Record, Vec<u64>) {
    // Letters of three bytes, so that the text is split within a letter.
    let text = "€".repeat((parts - 1) * 32_752 / 3 + 1);
    let record = Record::Definition { space: Space::Key, id: 7, text };
    let words = words_of(&record);
    (record, words)
}

#[test]
fn a_long_text_continues_in_further_definitions() {
    let text = format!("{}abc", "x".repeat(32_752));
    let record = Record::Definition { space: Space::Series, id: 5, text };
    let words = words_of(&record);
    assert_eq!((words.len(), words[0]), (4_095 + 2, 0x7FF0_00BF_FF00_0054), "full, and it goes on");
    assert_eq!(words[4_095..], [0x0003_0030_0200_0054, 0x63_6261]);
    assert_eq!(Decoder::new(&words).collect::<Vec<_>>(), [Ok(record)]);
    for parts in 1..5 {
        let (record, words) = long_definition(parts);
        let mut decoder = Decoder::new(&words);
        assert_eq!((decoder.next(), decoder.next()), (Some(Ok(record)), None), "{parts} parts");
    }
    for bytes in [0, 1, 32_751, 32_752, 32_753, 65_503, 65_504, 65_505, 65_536] {
        let record = Record::Definition { space: Space::Service, id: 0, text: "y".repeat(bytes) };
        assert_eq!(first(&words_of(&record)), Ok(record), "{bytes} bytes");
    }
}

#[test]
fn parts_that_belong_to_nothing_are_refused() {
    let (_, words) = long_definition(3);
    let (first_part, others) = words.split_at(4_095);
    let after = |other: &[u64]| first(&[first_part, other].concat());
    let last = &others[4_095..];
    let sample = words_of(&Record::Sample { series: 7, value: 1 });
    assert_eq!(after(&sample), Err(DecodeError::Unfinished));
    assert_eq!(
        after(&words_of(&Record::Figures { what: 0, id: 7, words: vec![] })),
        Err(DecodeError::Unfinished)
    );
    assert_eq!(after(&[last[0] ^ (1 << 4), last[1]]), Err(DecodeError::Unfinished), "of another id");
    assert_eq!(after(&[last[0] ^ (1 << 36), last[1]]), Err(DecodeError::Unfinished), "of another space");
    assert_eq!(after(&[0x0000_0020_0100_0074]), Err(DecodeError::BadLength { words: 1 }), "an empty part");
    let short = [last[0] | (1 << 39), last[1]];
    assert_eq!(after(&short), Err(DecodeError::BadLength { words: 2 }), "it continues, but is not full");
    assert_eq!(first(&short), Err(DecodeError::BadLength { words: 2 }));
    assert_eq!(after(&[]), Err(DecodeError::Truncated { missing: 1 }));
    assert_eq!(after(&others[..4_094]), Err(DecodeError::Truncated { missing: 1 }));
    // The record after an unfinished text is still decoded.
    let broken = [first_part, &sample].concat();
    let read: Vec<_> = Decoder::new(&broken).skip(1).collect();
    assert_eq!(read, [Ok(Record::Sample { series: 7, value: 1 })]);
    // `Frame::record` decodes single records, and a part of a definition is not one.
    assert_eq!(frame(first_part).unwrap().record(), Err(DecodeError::Unfinished));
}

#[test]
fn golden_figures() {
    check_golden(Record::Figures { what: 3, id: 1, words: vec![] }, &[0x0000_0030_0100_0015]);
    check_golden(
        Record::Figures { what: 0xFFF, id: 0xF_FFFF, words: vec![7, 8] },
        &[0x0000_FFF0_03FF_FFF5, 7, 8],
    );
    let words = [0x0001_0030_0100_0015];
    assert_eq!(Decoder::new(&words).next(), Some(Err(DecodeError::BadFlags)), "aux is reserved here");
}

#[test]
fn values_show_themselves() {
    let cut = Value::Cut("a".into());
    let values =
        [Value::Str("a".into()), cut, Value::I64(-1), Value::U64(2), Value::F64(0.5), Value::Bool(true)];
    assert_eq!(values.map(|value| value.to_string()), ["a", "a…", "-1", "2", "0.5", "true"]);
}

#[test]
fn reserved_kinds_are_unknown() {
    for kind in [0].into_iter().chain(8..16) {
        let word = 0x0000_0000_0200_0000 | u64::from(kind);
        let words = [word, 1, 1];
        let mut decoder = Decoder::new(&words);
        assert_eq!(decoder.next(), Some(Err(DecodeError::UnknownKind { kind })));
        assert_eq!(decoder.next(), None, "nobody knows where the next record begins");
    }
}

#[test]
fn a_count_that_does_not_fit_its_kind_is_refused() {
    let bad = |word: u64, counts: &[u64]| {
        for count in counts {
            let mut words = vec![0; 4_096];
            words[0] = word | (count << 24);
            words[1] = u64::MAX;
            assert_eq!(first(&words), Err(DecodeError::BadLength { words: *count as u16 }), "{word:x}");
        }
    };
    bad(0x02, &[0, 1, 3, 0xFFF]);
    bad(0x03, &[0, 1, 2, 3, 4, 5, 6]);
    bad(0x06, &[0, 5, 7, 0xFFF]);
    bad(0x0000_0010_0000_0007, &[0, 1, 2]);
    bad(0x0000_0010_0000_0004, &[0, 2, 3, 0xFFF]);
    bad(0x0001_0010_0000_0004, &[0, 1, 3]);
    bad(0x0008_0010_0000_0004, &[1, 3]);
    bad(0x0009_0010_0000_0004, &[1, 2, 4]);
    bad(0xFFFF_0010_0000_0004, &[1, 0xFFF]);
}

#[test]
fn a_value_that_fits_one_word_may_not_take_two() {
    let wide = |value| first(&[0x0000_0000_0200_0072, value]);
    assert_eq!(wide(0xFF_FFFF_FFFF), Err(DecodeError::BadLength { words: 2 }));
    assert_eq!(wide(0), Err(DecodeError::BadLength { words: 2 }));
    assert!(wide(0x100_0000_0000).is_ok());
}

#[test]
fn flags_without_meaning_are_refused() {
    let span = |flags: u64| first(&[0x0000_0000_0700_0003 | (flags << 36), 0, 0, 0, 0, 0, 0]);
    let wide = |bit: u32| first(&[0x0000_0000_0200_0002 | (1 << bit), u64::MAX]);
    let definition = |flags: u64| first(&[0x0000_0000_0100_0004 | (flags << 36)]);
    for flags in 0..0x1000 {
        let of_span = flags < 1 << 10 && flags & 3 != 3 && (flags >> 4) & 7 < 5;
        assert_eq!(span(flags).is_ok(), of_span, "flags {flags:x} of a span");
        assert_eq!(definition(flags).is_ok(), (1..=6).contains(&flags), "flags {flags:x} of a definition");
    }
    for found in [span(3), span(5 << 4), span(1 << 10), definition(0), definition(7)] {
        assert_eq!(found, Err(DecodeError::BadFlags));
    }
    for bit in 36..64 {
        assert_eq!(wide(bit), Err(DecodeError::BadFlags), "bit {bit} of a wide sample");
    }
}

#[test]
fn items_without_meaning_are_refused() {
    let bad = |items: &[u64]| assert_eq!(first(&item_words(items)), Err(DecodeError::BadItem), "{items:x?}");
    (0..16).filter(|tag| !(1..=5).contains(tag)).for_each(|tag| bad(&[0x0000_0000_0000_0050 | tag]));
    (0..16).filter(|kind| !(1..=6).contains(kind)).for_each(|kind| bad(&[0x01 | (kind << 4), 0]));
    // Reserved bits: 28..32 of every item, 32..48 of all but texts, 48..64 of all but booleans, 49..64 of booleans.
    for (kind, reserved) in [(1, 48..64), (2, 32..64), (3, 32..64), (4, 32..64), (5, 32..48), (5, 49..64)] {
        for bit in reserved.chain(28..32) {
            bad(&[0x01 | (kind << 4) | (1 << bit), 0]);
        }
    }
    bad(&[0x12, 0]); // an event has no type
    bad(&[0x23, 0, 0, 0]); // a link is sampled or not
    bad(&[0x0000_0103, 0, 0, 0]); // and has no key
    bad(&[0x34]); // a text has type 1 or 2
    bad(&[0x0000_0114]); // and no key
    bad(&[0x0001_0000_0000_0014]); // and 0 in the field `more`
    bad(&[0x05]); // both lost counts are 0
    bad(&[0x0000_0001_0000_0015]); // a lost item has no type
    bad(&[0x0000_0001_0000_0105]); // and no key
    bad(&[0x0000_0001_0000_0002, 0, 0x05]); // an event contains attributes only
    bad(&[0x0003_0000_0000_0051]);
    for bit in 8 * 3..64 {
        bad(&[0x0000_0003_0000_0011, 0x61_6161 | (1 << bit)]);
        let definition = [0x0003_0010_0200_0004, 0x61_6161 | (1 << bit)];
        assert_eq!(first(&definition), Err(DecodeError::BadItem), "bit {bit} of a text's last word");
    }
}

#[test]
fn an_item_may_not_outlast_its_record() {
    for kind in [TYPE_I64, TYPE_U64, TYPE_F64] {
        let mut words = item_words(&[0x01 | (kind << 4)]);
        words.push(0x0000_0004_E200_0071);
        let mut decoder = Decoder::new(&words);
        assert_eq!(decoder.next(), Some(Err(DecodeError::BadLength { words: 8 })));
        let sample = Record::Sample { series: 7, value: 1_250 };
        assert_eq!(decoder.next(), Some(Ok(sample)), "it goes on behind a record that it could measure");
    }
    assert_eq!(
        first(&item_words(&[0x0000_0009_0000_0011, 0x6161_6161_6161_6161])),
        Err(DecodeError::BadLength { words: 9 })
    );
}

#[test]
fn broken_text_is_replaced() {
    let text = first(&item_words(&[0x0000_0003_0000_0011, 0x62_FF61]));
    assert_eq!(text, Ok(span_with(vec![(0, Value::Str("a\u{FFFD}b".to_owned()))])));
}

#[test]
fn streams_that_are_none_are_refused() {
    assert_eq!(from_bytes(b""), Err(DecodeError::Truncated { missing: 1 }));
    assert_eq!(from_bytes(b"tellane"), Err(DecodeError::Truncated { missing: 1 }));
    assert_eq!(from_bytes(b"tellane\x01\0\0\0\0\0\0\0"), Err(DecodeError::Truncated { missing: 1 }));
    assert_eq!(from_bytes(b"tellane\x02"), Err(DecodeError::BadMagic));
    assert_eq!(from_bytes(b"Tellane\x01and more"), Err(DecodeError::BadMagic));
    assert_eq!(Decoder::new(&[]).next(), None);
}

#[test]
fn errors_say_what_is_wrong() {
    let shown = [
        (DecodeError::BadMagic, "not a tellane stream of version 1"),
        (DecodeError::Truncated { missing: 3 }, "the input ends 3 words too early"),
        (DecodeError::UnknownKind { kind: 9 }, "no record has kind 9"),
        (DecodeError::BadLength { words: 6 }, "a record of this kind cannot have 6 words"),
        (DecodeError::BadFlags, "a reserved flag is set"),
        (DecodeError::BadItem, "an item has an unknown tag or type, or padding that is not zero"),
        (DecodeError::Unfinished, "the text of a definition continues, but its next part is missing"),
    ];
    for (error, text) in shown {
        let error: Box<dyn std::error::Error> = Box::new(error);
        assert_eq!(error.to_string(), text);
    }
    let shown = [
        (
            EncodeError::IdTooLarge,
            "an id is 2^20 or more, or the meaning of figures is 2^12 or more: use smaller ones",
        ),
        (
            EncodeError::NothingLost,
            "both counts of an item for lost events and links are zero: leave the item out",
        ),
        (
            EncodeError::TooLong,
            "the record has more than 4,095 words or a text of more than 65,535 bytes: shorten or drop attributes",
        ),
    ];
    for (error, text) in shown {
        let error: Box<dyn std::error::Error> = Box::new(error);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn records_that_do_not_fit_are_not_encoded() {
    let refused = |record: Record, error| {
        let mut words = vec![1, 2, 3];
        assert_eq!(encode(&record, &mut words), Err(error));
        assert_eq!(words, [1, 2, 3], "the stream is unchanged");
    };
    let define = |id, text| Record::Definition { space: Space::Key, id, text };
    let named = |name| Record::Span(Span { name, ..Span::default() });
    let event = |name, attributes| Item::Event { name, at: 0, attributes, attributes_dropped: 0 };
    refused(span_with_kind(vec![Item::Lost { events: 0, links: 0 }]), EncodeError::NothingLost);
    for id in [ID_LIMIT, u32::MAX] {
        refused(Record::Sample { series: id, value: 0 }, EncodeError::IdTooLarge);
        refused(Record::Sample { series: id, value: u64::MAX }, EncodeError::IdTooLarge);
        refused(named(id), EncodeError::IdTooLarge);
        refused(span_with_kind(vec![event(id, vec![])]), EncodeError::IdTooLarge);
        refused(span_with_kind(vec![event(0, vec![(id, Value::Bool(true))])]), EncodeError::IdTooLarge);
        refused(Record::Exemplar(Exemplar { series: id, ..Exemplar::default() }), EncodeError::IdTooLarge);
        refused(Record::Log(Log { target: id, ..Log::default() }), EncodeError::IdTooLarge);
        refused(
            Record::Log(Log { message: Message::Callsite(id), ..Log::default() }),
            EncodeError::IdTooLarge,
        );
        refused(span_with(vec![(0, Value::U64(0)), (id, Value::Bool(false))]), EncodeError::IdTooLarge);
        refused(define(id, String::new()), EncodeError::IdTooLarge);
        refused(Record::Figures { what: 0, id, words: vec![] }, EncodeError::IdTooLarge);
        refused(Record::Figures { what: 1 << 12, id: 0, words: vec![] }, EncodeError::IdTooLarge);
        refused(Record::Figures { what: 0, id: 0, words: vec![0; 4_095] }, EncodeError::TooLong);
    }
    refused(span_with(vec![(0, Value::Bool(true)); 4_089]), EncodeError::TooLong);
    refused(span_with(vec![(0, Value::Str("x".repeat(32_697)))]), EncodeError::TooLong);
    refused(span_with(vec![(0, Value::Str("x".repeat(65_536)))]), EncodeError::TooLong);
    refused(span_with_kind(vec![event(0, vec![(0, Value::Str("x".repeat(65_536)))])]), EncodeError::TooLong);
    refused(span_with_kind(vec![Item::Message("x".repeat(65_536))]), EncodeError::TooLong);
    let long = Message::Text("x".repeat(40_000));
    refused(Record::Log(Log { message: long, ..Log::default() }), EncodeError::TooLong);
    for longest in [
        span_with(vec![(0, Value::Bool(true)); 4_088]),
        span_with(vec![(0, Value::Str("x".repeat(32_696)))]),
        define(0, "x".repeat(32_752)),
    ] {
        let words = words_of(&longest);
        assert_eq!((words.len(), first(&words)), (WORDS_MAX, Ok(longest)));
    }
}
