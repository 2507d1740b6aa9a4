//! Changes the times in encoded spans. Cold: only after the clock was set back, and when spans are shown.

use super::layout;

/// Applies `moved` to the start of each span and to the times of its events. Stops at words that are not a span.
pub(crate) fn move_times(spans: &mut [u64], moved: impl Fn(u64) -> u64) {
    let mut rest = spans;
    while let Some(&header) = rest.first() {
        let length = layout::words(header).max(1);
        let Some((span, after)) = std::mem::take(&mut rest).split_at_mut_checked(length) else { return };
        rest = after;
        if let Some((head, items)) = span.split_at_mut_checked(layout::SPAN_WORDS) {
            head[1] = moved(head[1]);
            move_events(items, &moved);
        }
    }
}

fn move_events(items: &mut [u64], moved: &impl Fn(u64) -> u64) {
    let mut at = 0;
    while let Some(item) = items.get(at).and_then(|first| layout::item_parts(*first)) {
        if item.tag == layout::TAG_EVENT
            && let Some(time) = items.get_mut(at + 1)
        {
            *time = moved(*time);
        }
        at += item.words();
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::record::{Decoder, Item, Record, Span, Value, encode};

    fn span(shift: u64) -> Record {
        let event = |at| Item::Event {
            name: 1,
            at,
            attributes: vec![(2, Value::Str("a text of some length".into()))],
            attributes_dropped: 0,
        };
        let link = Item::Link {
            trace_id: 7,
            span_id: 8,
            sampled: true,
            attributes: vec![(3, Value::U64(100))],
            attributes_dropped: 0,
        };
        let items = vec![
            event(110 + shift),
            Item::Attribute(4, Value::U64(100)),
            link,
            Item::Attribute(4, Value::Bool(true)),
            Item::Message("a message".into()),
            event(120 + shift),
        ];
        Record::Span(Span { start: 100 + shift, duration: 100, items, ..Span::default() })
    }

    #[test]
    fn times_are_moved_and_nothing_else() {
        let mut words = Vec::new();
        (0..2).for_each(|_| encode(&span(0), &mut words).expect("short enough"));
        move_times(&mut words, |at| at + 1_000);
        let read: Vec<_> = Decoder::new(&words).map(|record| record.expect("whole")).collect();
        assert_eq!(read, [span(1_000), span(1_000)]);
    }

    #[test]
    fn words_that_are_not_a_span_stop_it() {
        let header = layout::header(layout::KIND_SPAN, 0, 9, 0, 0);
        for words in [vec![], vec![0], vec![header, 1, 2], vec![header; 3], vec![header; 9]] {
            let mut moved = words.clone();
            move_times(&mut moved, |at| at + 1);
            assert_eq!(moved.len(), words.len());
        }
    }
}
