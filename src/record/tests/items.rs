//! Golden vectors of items, exemplars and log records, and tests of items under construction.

use super::{check_golden, check_golden_item, first, item_words, span_with, span_with_kind};
use crate::level::Level;
use crate::record::layout::TYPE_U64;
use crate::record::*;

#[test]
fn golden_items() {
    let event = Item::Event {
        name: 3,
        at: 0x1234,
        attributes: vec![(2, Value::I64(-2)), (5, Value::Bool(true))],
        attributes_dropped: 9,
    };
    let words = [0x0009_0003_0000_0302, 0x1234, 0x0000_0000_0000_0221, u64::MAX - 1, 0x0001_0000_0000_0551];
    check_golden(span_with_kind(vec![event]), &item_words(&words));
    let link = Item::Link {
        trace_id: 0x11_0000_0000_0000_0022,
        span_id: 0x33,
        sampled: true,
        attributes: vec![(6, Value::Bool(false))],
        attributes_dropped: 0,
    };
    let words = [0x0000_0001_0000_0013, 0x11, 0x22, 0x33, 0x0000_0000_0000_0651];
    check_golden(span_with_kind(vec![link]), &item_words(&words));
    check_golden(
        span_with_kind(vec![Item::Message("no".into())]),
        &item_words(&[0x0000_0002_0000_0014, 0x6F6E]),
    );
    let state = Item::TraceState("a=1".into());
    check_golden(span_with_kind(vec![state]), &item_words(&[0x0000_0003_0000_0024, 0x31_3D61]));
    check_golden(
        span_with_kind(vec![Item::Lost { events: 2, links: 1 }]),
        &item_words(&[0x0001_0002_0000_0005]),
    );
    check_golden_item(1, Value::Cut("http_get".into()), &[0x0000_0008_0000_0161, 0x7465_675F_7074_7468]);
}

#[test]
fn golden_exemplars() {
    let example =
        Exemplar { series: 7, value: 1 << 50, at: 0x1234, trace_id: 0x11_0000_0000_0000_0022, span_id: 0x33 };
    check_golden(Record::Exemplar(example), &[0x0000_0000_0600_0076, 1 << 50, 0x1234, 0x11, 0x22, 0x33]);
    assert_eq!(first(&[0x0000_0010_0600_0076, 0, 0, 0, 0, 0]), Err(DecodeError::BadFlags));
}

#[test]
fn golden_logs() {
    let bare = Log { target: 7, level: Level::Trace, at: 9, message: Message::Callsite(3), ..Log::default() };
    check_golden(Record::Log(bare.clone()), &[0x0000_0010_0300_0077, 9, 0x0000_0000_0000_0306]);
    let full = Log {
        level: Level::Error,
        span: Some((0x11_0000_0000_0000_0022, 0x33)),
        message: Message::Text("no".into()),
        fields_dropped: 2,
        fields: vec![(5, Value::Bool(true))],
        ..bare
    };
    let words =
        [0x0002_00D0_0800_0077, 9, 0x11, 0x22, 0x33, 0x0000_0002_0000_0014, 0x6F6E, 0x0001_0000_0000_0551];
    check_golden(Record::Log(full), &words);
    for flags in (0..0x1000).filter(|flags| flags & 8 == 0) {
        let found = first(&[0x0000_0000_0300_0077 | (flags << 36), 9, 0x0000_0000_0000_0306]);
        let expected = (1..=5).contains(&flags);
        assert_eq!(found.is_ok(), expected, "flags {flags:x} of a log record: {found:?}");
    }
    let short = |words: &[u64]| first(words);
    assert_eq!(short(&[0x0000_0090_0300_0077, 9, 0x0306]), Err(DecodeError::BadLength { words: 3 }));
    for item in [0x0000_0000_0000_0551, 0x0000_0002_0000_0024, 0x0001_0000_0000_0306, 0x0000_0000_0000_0316] {
        let found = first(&[0x0000_0010_0400_0077, 9, item, 0x6F6E]);
        assert_eq!(found, Err(DecodeError::BadItem), "{item:x} is no message");
    }
    let attribute_only = first(&[0x0000_0010_0400_0077, 9, 0x0000_0000_0000_0306, 0x0001_0002_0000_0005]);
    assert_eq!(attribute_only, Err(DecodeError::BadItem), "a log record has no such items");
}

#[test]
fn a_text_is_truncated_by_characters_not_bytes() {
    for letter in ["x", "é", "€", "😀"] {
        for (letters, most, kept) in [(300, 29, 29), (29, 29, 29), (30, 29, 29), (28, 29, 28), (3, 0, 0)] {
            let mut items = Items::default();
            assert_eq!(items.push_str(1, &letter.repeat(letters), most), Ok(()));
            let kept_text = letter.repeat(kept);
            let value = if kept == letters { Value::Str(kept_text) } else { Value::Cut(kept_text) };
            assert_eq!(first(&item_words(items.words())), Ok(span_with(vec![(1, value)])));
        }
    }
}

#[test]
fn a_block_takes_over_what_is_in_the_frame() {
    let mut items = Items::default();
    items.push_number(1, TYPE_U64, 1).unwrap();
    let at = items.begin_event(2, 77).unwrap();
    let attributes = (0..100).map(|number| (3, Value::U64(number))).collect::<Vec<_>>();
    for number in 0..100 {
        if items.push_number(3, TYPE_U64, number).is_err() {
            assert!(!items.has_block(), "a block has room for more than this");
            items.give_block(Block::new(), usize::MAX);
            items.push_number(3, TYPE_U64, number).unwrap();
        }
        items.set_attributes_len(at);
    }
    items.count_dropped_in(at);
    assert_eq!((items.inline().len(), items.words().len()), (0, 204));
    let event = Item::Event { name: 2, at: 77, attributes, attributes_dropped: 1 };
    let expected = span_with_kind(vec![Item::Attribute(1, Value::U64(1)), event]);
    assert_eq!(first(&item_words(items.words())), Ok(expected));
}

#[test]
fn a_full_record_has_the_greatest_length() {
    let mut items = Items::default();
    items.give_block(Block::new(), usize::MAX);
    let mut left = 2;
    let text = "x".repeat(100_000);
    assert_eq!(items.put(0, KeyedItem::text(1, &text, 70_000), &mut left), Ok(()));
    assert_eq!(items.put(0, KeyedItem::Bool { key: 2, truth: true }, &mut left), Err(PutError::NoRoom));
    assert_eq!(layout::SPAN_WORDS + items.len() + 1, layout::WORDS_MAX);
    let kept = Value::Cut("x".repeat((items.len() - 1) * 8));
    assert_eq!(first(&item_words(items.words())), Ok(span_with(vec![(1, kept)])));
    // A new value of the same key is set; if it does not fit, the old value is removed.
    assert_eq!(items.put(0, KeyedItem::Bool { key: 1, truth: true }, &mut left), Ok(()));
    assert_eq!(items.len(), 1);
    while items.room() > 0 {
        items.push_bool(3, false).unwrap();
    }
    assert_eq!(items.put(0, KeyedItem::Number { key: 1, kind: TYPE_U64, bits: 7 }, &mut left), Ok(()));
    assert_eq!(items.len(), 3);
}

#[test]
fn a_value_that_can_no_longer_be_replaced_is_removed() {
    let mut items = Items::default();
    let mut left = 50;
    items.give_block(Block::new(), 4);
    for key in 1..=4 {
        items.push_bool(key, true).unwrap();
        left -= 1;
    }
    assert_eq!(
        items.put(0, KeyedItem::Number { key: 2, kind: TYPE_U64, bits: 7 }, &mut left),
        Err(PutError::NoRoom)
    );
    let expected = [1, 3, 4].map(|key| (key, Value::Bool(true))).to_vec();
    assert_eq!(first(&item_words(items.words())), Ok(span_with(expected)));
    assert_eq!(left, 47);
}
