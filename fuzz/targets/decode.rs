//! Any bytes, as a saved stream and as bare words: decoding ends, never panics, and accepts nothing that `encode`
//! would not have written. Together with `round_trip`, which shows that it accepts all of that, decoding is `encode`
//! turned round and no more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::hint::black_box;
use tellane::record::{DecodeError, Decoder, MAGIC, Record, encode, from_bytes, to_bytes};
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

fn check_record(record: &Record, read: &[u64], again: &mut Vec<u64>) {
    let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let (text, lossy) = match record {
        Record::Definition { text, .. } => (text.len(), broken(text)),
        Record::Span(span) => {
            assert!(span.attributes.len() <= read.len(), "more attributes than words");
            let texts = span.attributes.iter().filter_map(|(_, value)| match value {
                tellane::Value::Str(text) => Some(text),
                _ => None,
            });
            texts.fold((0, false), |(sum, lossy), text| (sum + text.len(), lossy || broken(text)))
        }
        _ => (0, false),
    };
    assert!(text <= 3 * 8 * read.len(), "more text than bytes");
    if !lossy {
        again.clear();
        hold!(encode(record, again), Ok(()), "whether what decodes, encodes");
        hold!(again, read, "the record's one encoding");
    }
}
