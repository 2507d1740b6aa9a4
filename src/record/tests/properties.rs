//! Properties of any record, any words and any bytes, and a comparison of [`Items`] with a model.
//!
//! The fuzz targets `decode` and `round_trip` check the first two with far more inputs.

use super::{by_bits, first, words_of};
use crate::level::Level;
use crate::record::layout::{ID_LIMIT, SAMPLE_MAX, TYPE_F64, TYPE_I64, TYPE_U64};
use crate::record::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![0..ID_LIMIT, 0..8_u32, Just(ID_LIMIT - 1)]
}

/// Numbers of all magnitudes. Uniform random numbers would nearly all be wide.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift), {
        prop::sample::select(vec![0, SAMPLE_MAX, SAMPLE_MAX + 1, u64::MAX])
    }]
}

fn text(most: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(any::<char>(), 0..most).prop_map(String::from_iter),
        prop::collection::vec(prop::char::range('a', 'z'), 0..most).prop_map(String::from_iter),
    ]
}

fn value(text_most: usize) -> impl Strategy<Value = Value> {
    prop_oneof![
        text(text_most).prop_map(Value::Str),
        text(text_most).prop_map(Value::Cut),
        any::<i64>().prop_map(Value::I64),
        number().prop_map(Value::U64),
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        prop::num::f64::ANY.prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<(u32, Value)>> {
    prop::collection::vec((id(), value(40)), 0..6)
}

fn item() -> impl Strategy<Value = Item> {
    let lost = (any::<u16>(), 1..=u16::MAX).prop_map(|(events, links)| Item::Lost { events, links });
    prop_oneof![
        4 => (id(), value(40)).prop_map(|(key, value)| Item::Attribute(key, value)),
        2 => (id(), number(), attributes(), any::<u16>()).prop_map(|(name, at, attributes, attributes_dropped)| {
            Item::Event { name, at, attributes, attributes_dropped }
        }),
        2 => (any::<u128>(), any::<u64>(), any::<bool>(), attributes(), any::<u16>()).prop_map(
            |(trace_id, span_id, sampled, attributes, attributes_dropped)| {
                Item::Link { trace_id, span_id, sampled, attributes, attributes_dropped }
            }
        ),
        1 => text(60).prop_map(Item::Message),
        1 => text(60).prop_map(Item::TraceState),
        1 => lost,
    ]
}

fn span() -> impl Strategy<Value = Span> {
    let status = prop::sample::select(vec![Status::Unset, Status::Ok, Status::Error]);
    let kind = prop::sample::select(SpanKind::ALL.to_vec());
    let head = (id(), number(), number(), any::<u128>(), any::<u64>(), any::<u64>());
    let flags = (status, kind, any::<[bool; 5]>(), any::<u16>());
    (head, flags, prop::collection::vec(item(), 0..8)).prop_map(|(head, flags, items)| {
        let (name, start, duration, trace_id, span_id, parent_id) = head;
        let (status, kind, [sampled, panicked, local_root, held, cancelled], attributes_dropped) = flags;
        let ids = Span { name, start, duration, trace_id, span_id, parent_id, ..Span::default() };
        let trace_flags = Span { sampled, panicked, local_root, held, cancelled, ..ids };
        Span { status, kind, attributes_dropped, items, ..trace_flags }
    })
}

fn log() -> impl Strategy<Value = Log> {
    let level = prop::sample::select(Level::ALL.to_vec());
    let message = prop_oneof![id().prop_map(Message::Callsite), text(60).prop_map(Message::Text)];
    let span = prop::option::of((any::<u128>(), any::<u64>()));
    (id(), level, number(), span, message, any::<u16>(), attributes()).prop_map(
        |(target, level, at, span, message, fields_dropped, fields)| Log {
            target,
            level,
            at,
            span,
            message,
            fields_dropped,
            fields,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let spaces =
        vec![Space::SpanName, Space::Key, Space::Series, Space::Service, Space::Target, Space::Callsite];
    let space = prop::sample::select(spaces);
    prop_oneof![
        (id(), number()).prop_map(|(series, value)| Record::Sample { series, value }),
        span().prop_map(Record::Span),
        log().prop_map(Record::Log),
        (id(), number(), number(), any::<u128>(), any::<u64>()).prop_map(
            |(series, value, at, trace_id, span_id)| {
                Record::Exemplar(Exemplar { series, value, at, trace_id, span_id })
            }
        ),
        (space, id(), text(200)).prop_map(|(space, id, text)| Record::Definition { space, id, text }),
        (0..4_096_u16, id(), prop::collection::vec(any::<u64>(), 0..20))
            .prop_map(|(what, id, words)| Record::Figures { what, id, words }),
    ]
}

/// Random words, many of which look like the first word of a record or an item.
fn any_words() -> impl Strategy<Value = Vec<u64>> {
    let likely = |flags: std::ops::Range<u64>| {
        (0..9_u64, id(), 0..12_u64, flags, 0..20_u64).prop_map(|(kind, id, words, flags, aux)| {
            kind | (u64::from(id) << 4) | (words << 24) | (flags << 36) | (aux << 48)
        })
    };
    let item = (0..8_u64, 0..8_u64, id(), 0..20_u64, 0..3_u64).prop_map(|(tag, kind, key, len, truth)| {
        tag | (kind << 4) | (u64::from(key) << 8) | (len << 32) | (truth << 48)
    });
    prop::collection::vec(prop_oneof![any::<u64>(), likely(0..4), likely(0..4_096), item, Just(0)], 0..64)
}

/// Returns the bytes of text in a record, `true` if some of the text was invalid UTF-8, and the number of values.
fn contents(record: &Record) -> (usize, bool, usize) {
    let mut copy = record.clone();
    let values: Vec<Value> = super::values(&mut copy).into_iter().map(|value| value.clone()).collect();
    let count = values.len();
    let mut texts: Vec<String> = values
        .into_iter()
        .filter_map(|value| match value {
            Value::Str(text) | Value::Cut(text) => Some(text),
            _ => None,
        })
        .collect();
    match record {
        Record::Definition { text, .. } => texts.push(text.clone()),
        Record::Log(Log { message: Message::Text(text), .. }) => texts.push(text.clone()),
        Record::Span(span) => texts.extend(span.items.iter().filter_map(|item| match item {
            Item::Message(text) | Item::TraceState(text) => Some(text.clone()),
            _ => None,
        })),
        _ => {}
    }
    let broken = texts.iter().any(|text| text.contains(char::REPLACEMENT_CHARACTER));
    (texts.iter().map(String::len).sum(), broken, count)
}

/// Checks that words decode to at most as many records and errors as there are words, and that each decoded record
/// encodes to the same words.
fn decodes(words: &[u64]) -> Result<(), TestCaseError> {
    let mut decoder = Decoder::new(words);
    loop {
        let before = decoder.rest();
        let Some(found) = decoder.next() else { break };
        let read = &before[..before.len() - decoder.rest().len()];
        prop_assert!(!read.is_empty(), "each step takes a word at least");
        let Ok(record) = found else { continue };
        let (text, broken, attributes) = contents(&record);
        prop_assert!(text <= 3 * 8 * read.len() && attributes <= read.len());
        if !broken {
            prop_assert_eq!(words_of(&record), read);
        }
    }
    prop_assert!(decoder.rest().is_empty());
    Ok(())
}

/// Longest text that the model keeps, in characters.
const TEXT_MOST: usize = 30;

/// Model of [`Items`]: attributes are kept whole as long as 32 words suffice, texts are truncated at their limit.
fn model_push(kept: &mut Vec<Item>, used: &mut usize, key: u32, value: &Value) -> Result<(), Full> {
    let (kept_value, needed) = match value {
        Value::Str(text) | Value::Cut(text) => {
            let cut: String = text.chars().take(TEXT_MOST).collect();
            let needed = 1 + cut.len().div_ceil(8);
            (if cut == *text { Value::Str(cut) } else { Value::Cut(cut) }, needed)
        }
        Value::Bool(_) => (value.clone(), 1),
        _ => (value.clone(), 2),
    };
    if *used + needed > 32 {
        return Err(Full);
    }
    *used += needed;
    kept.push(Item::Attribute(key, kept_value));
    Ok(())
}

fn push(items: &mut Items, key: u32, value: &Value) -> Result<(), Full> {
    match value {
        Value::Str(text) | Value::Cut(text) => items.push_str(key, text, TEXT_MOST),
        Value::I64(number) => items.push_number(key, TYPE_I64, *number as u64),
        Value::U64(number) => items.push_number(key, TYPE_U64, *number),
        Value::F64(number) => items.push_number(key, TYPE_F64, number.to_bits()),
        Value::Bool(truth) => items.push_bool(key, *truth),
    }
}

proptest! {
    #[test]
    fn encoded_records_decode_to_themselves(records in prop::collection::vec(record(), 0..6)) {
        let mut words = Vec::new();
        for record in &records {
            encode(record, &mut words).unwrap();
        }
        let words = from_bytes(&to_bytes(&words)).unwrap();
        let back: Result<Vec<_>, _> = Decoder::new(&words).collect();
        let back: Vec<_> = back.unwrap().into_iter().map(by_bits).collect();
        prop_assert_eq!(back, records.into_iter().map(by_bits).collect::<Vec<_>>());
        decodes(&words)?;
    }

    #[test]
    fn a_truncated_stream_gives_its_complete_records(records in prop::collection::vec(record(), 1..4)) {
        let mut words = Vec::new();
        let ends: Vec<_> = records.iter().map(|record| {
            encode(record, &mut words).unwrap();
            words.len()
        }).collect();
        for cut in 0..words.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let mut decoder = Decoder::new(&words[..cut]);
            for record in &records[..whole] {
                let found = decoder.next().unwrap().unwrap();
                prop_assert_eq!(by_bits(found), by_bits(record.clone()));
            }
            let at_an_end = cut == 0 || ends.contains(&cut);
            let missing = (!at_an_end).then(|| Err(DecodeError::Truncated { missing: ends[whole] - cut }));
            prop_assert_eq!(decoder.next(), missing);
            prop_assert_eq!(decoder.next(), None);
        }
    }

    #[test]
    fn any_words_decode(words in any_words()) {
        decodes(&words)?;
    }

    #[test]
    fn a_damaged_record_decodes(record in record(), at in any::<prop::sample::Index>(), bit in 0..64) {
        let mut words = words_of(&record);
        let at = at.index(words.len());
        words[at] ^= 1_u64 << bit;
        decodes(&words)?;
    }

    #[test]
    fn any_bytes_decode(mut bytes in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
        if real {
            bytes.splice(0..0, MAGIC.to_le_bytes());
        }
        match from_bytes(&bytes) {
            Ok(words) => {
                prop_assert_eq!(to_bytes(&words), bytes);
                decodes(&words)?;
            }
            Err(error) if bytes.len() < 8 => prop_assert_eq!(error, DecodeError::Truncated { missing: 1 }),
            Err(error) if real => prop_assert_eq!(error, DecodeError::Truncated { missing: 1 }),
            Err(error) => prop_assert_eq!(error, DecodeError::BadMagic),
        }
    }

    #[test]
    fn items_hold_what_was_pushed(pushed in prop::collection::vec((id(), value(120)), 0..20), span in span()) {
        let (mut items, mut kept, mut used) = (Items::default(), Vec::new(), 0);
        for (key, value) in &pushed {
            let expected = model_push(&mut kept, &mut used, *key, value);
            prop_assert_eq!(push(&mut items, *key, value), expected);
            prop_assert_eq!((items.len(), items.has_block()), (used, false));
        }
        // Compares the words of an open span, as they go into the ring, with the same span encoded afterwards.
        let span = Span { kind: SpanKind::Internal, local_root: false, held: false, cancelled: false, ..span };
        let flags = (u64::from(span.sampled) << 2) | (u64::from(span.panicked) << 3);
        let Span { name, start, duration, trace_id, span_id, parent_id, attributes_dropped, .. } = span;
        let header = layout::header_more(span_header(name, 0), items.len(), flags, attributes_dropped);
        let header = layout::with_status(header, span.status as u64);
        let head = span_head(header, [start, duration], trace_id, [span_id, parent_id]);
        let words = [&head, items.words()].concat();
        let span = Record::Span(Span { items: kept, ..span });
        prop_assert_eq!(&words, &words_of(&span));
        prop_assert_eq!(first(&words).map(by_bits), Ok(by_bits(span)));
    }
}
