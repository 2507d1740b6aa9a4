//! Any bytes, as a saved stream and as bare words: decoding ends, never panics, and accepts nothing that `encode`
//! would not have written. Together with `round_trip`, which shows that it accepts all of that, decoding is `encode`
//! turned round and no more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::hint::black_box;
use tellane::record::{DecodeError, Decoder, Item, MAGIC, Message, Record, Value, encode, from_bytes, to_bytes};
use tellane_fuzz::{hold, plant};

fuzz_target!(init: plant(), |bytes: &[u8]| {
    match from_bytes(bytes) {
        Ok(words) => {
            hold!(to_bytes(&words), bytes, "the bytes of a stream");
            decode(&words);
        }
        Err(error) => {
            let whole = bytes.len() >= 8;
            let ours = whole && bytes[..8] == MAGIC.to_le_bytes();
            let expected = if whole && !ours { DecodeError::BadMagic } else { DecodeError::Truncated { missing: 1 } };
            hold!(error, expected, "why this is no stream");
        }
    }
    let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    decode(&words);
});

fn decode(words: &[u64]) {
    let mut decoder = Decoder::new(words);
    let mut again = Vec::new();
    loop {
        let before = decoder.rest();
        let Some(found) = decoder.next() else { break };
        let read = &before[..before.len() - decoder.rest().len()];
        assert!(!read.is_empty(), "a step took no word");
        match found {
            Ok(record) => {
                check_record(&record, read, &mut again);
                // A record means the same whatever follows, and is none when its last word is missing.
                if read.len() > 1 {
                    let cut = Decoder::new(&read[..read.len() - 1]).next();
                    hold!(cut, Some(Err(DecodeError::Truncated { missing: 1 })), "a cut record");
                }
            }
            Err(error) => {
                black_box(error.to_string());
            }
        }
    }
    assert!(decoder.rest().is_empty(), "the decoder stopped early");
}

/// The texts of attributes.
fn texts(attributes: &[(u32, Value)]) -> impl Iterator<Item = &str> {
    attributes.iter().filter_map(|(_, value)| match value {
        Value::Str(text) | Value::Cut(text) => Some(text.as_str()),
        _ => None,
    })
}

/// The texts of what a span carries.
fn texts_of(item: &Item) -> Vec<&str> {
    match item {
        Item::Attribute(_, Value::Str(text) | Value::Cut(text)) => vec![text],
        Item::Event { attributes, .. } | Item::Link { attributes, .. } => texts(attributes).collect(),
        Item::Message(text) | Item::TraceState(text) => vec![text],
        _ => Vec::new(),
    }
}

fn check_record(record: &Record, read: &[u64], again: &mut Vec<u64>) {
    let texts: Vec<&str> = match record {
        Record::Definition { text, .. } => vec![text],
        Record::Span(span) => {
            assert!(span.items.len() <= read.len(), "more items than words");
            span.items.iter().flat_map(texts_of).collect()
        }
        Record::Log(log) => {
            assert!(log.fields.len() <= read.len(), "more fields than words");
            let message = if let Message::Text(text) = &log.message { Some(text.as_str()) } else { None };
            message.into_iter().chain(texts(&log.fields)).collect()
        }
        _ => Vec::new(),
    };
    let lossy = texts.iter().any(|text| text.contains(char::REPLACEMENT_CHARACTER));
    let length: usize = texts.iter().map(|text| text.len()).sum();
    assert!(length <= 3 * 8 * read.len(), "more text than bytes");
    if !lossy {
        again.clear();
        hold!(encode(record, again), Ok(()), "whether what decodes, encodes");
        hold!(again, read, "the record's one encoding");
    }
}
