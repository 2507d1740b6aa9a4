//! Saved snapshots that nobody saved: made by hand, record by record, in shapes that cost a reader time. What they say is
//! held against the plainest reading; what they cost is counted by `benches/hostile.rs`.

use proptest::prelude::*;
use std::collections::BTreeMap;
use tellane::record::{DecodeError, Item, Record, Space, Span, Value, encode, to_bytes};
use tellane::{MergeError, PointValue, ReadError, Snapshot};

fn bytes(records: &[Record]) -> Vec<u8> {
    let mut words = Vec::new();
    records.iter().for_each(|record| encode(record, &mut words).expect("it fits"));
    to_bytes(&words)
}

fn read(records: &[Record]) -> Result<Snapshot, ReadError> {
    Snapshot::from_bytes(&bytes(records))
}

/// The definition of a series: kind 0 is a counter, 2 a gauge, 3 a histogram of two digits.
fn series(id: u32, name: &str, kind: u8, labels: &[(&str, &str)]) -> Record {
    let shape = if kind == 3 { ["2", "1000000", "3ff0000000000000"] } else { [""; 3] };
    let (kind, count) = (kind.to_string(), labels.len().to_string());
    let fields = [name, "Help.", &kind, "0"].into_iter().chain(shape).chain([&*count]);
    let labels = labels.iter().map(|(name, _)| *name).chain(labels.iter().map(|(_, value)| *value));
    let text = fields.chain(labels).collect::<Vec<_>>().join("\u{1f}");
    Record::Definition { space: Space::Series, id, text }
}

fn figures(what: u16, id: u32, words: Vec<u64>) -> Record {
    Record::Figures { what, id, words }
}

/// Buckets of one histogram as a reader adds them up, the extremes and the sum beside.
fn histogram(records: &[Record]) -> Result<(Vec<(f64, u64)>, u128, u64), ReadError> {
    let snapshot = read(records)?;
    let view = snapshot.histogram("sizes", &[]).expect("it is defined");
    let buckets = view.buckets().map(|(low, _, count)| (low, count)).collect();
    Ok((buckets, view.sum_recorded(), view.count()))
}

proptest! {
    /// However the buckets are spread over records, they add up.
    #[test]
    fn a_histogram_is_read_whatever_its_pieces(
        pieces in prop::collection::vec(prop::collection::btree_map(0_u64..200, 0_u64..5, 0..6), 1..30),
    ) {
        let mut records = vec![series(0, "sizes", 3, &[])];
        let mut expected = BTreeMap::<u64, u64>::new();
        for piece in &pieces {
            let pairs = piece.iter().flat_map(|(index, count)| [*index, *count]);
            records.push(figures(3, 0, [0, 199, 3, 0].into_iter().chain(pairs).collect()));
            piece.iter().for_each(|(index, count)| *expected.entry(*index).or_default() += count);
        }
        // Below 256, a bucket of two digits is one value.
        let expected: Vec<_> =
            expected.into_iter().filter(|(_, count)| *count > 0).map(|(index, count)| (index as f64, count)).collect();
        let count = expected.iter().map(|(_, count)| count).sum();
        let (buckets, sum, counted) = histogram(&records).expect("it is a snapshot");
        prop_assert_eq!((buckets, sum, counted), (expected, 3 * pieces.len() as u128, count));
    }

    /// Merged like two maps, whatever the order of labels here and there.
    #[test]
    fn snapshots_merge_like_maps(
        mine in prop::collection::btree_map(("[ab]", "[xyz]{0,2}", "[xyz]{0,2}"), 0_u64..100, 0..12),
        theirs in prop::collection::btree_map(("[abc]", "[xyz]{0,2}", "[xyz]{0,2}"), 0_u64..100, 0..12),
        turned: bool,
    ) {
        let snapshot = |points: &BTreeMap<(String, String, String), u64>, turned: bool| {
            let records = points.iter().zip(0..).flat_map(|(((name, one, other), count), id)| {
                let labels = [("one", &**one), ("other", &**other)];
                let labels = if turned { [labels[1], labels[0]] } else { labels };
                [series(id, &format!("{name}_total"), 0, &labels), figures(0, id, vec![*count])]
            });
            read(&records.collect::<Vec<_>>()).expect("it is a snapshot")
        };
        let merged = snapshot(&mine, false).merge(&snapshot(&theirs, turned)).expect("all are counters");
        let mut expected = mine.clone();
        theirs.iter().for_each(|(key, count)| *expected.entry(key.clone()).or_default() += count);
        prop_assert_eq!(merged.points().len(), expected.len());
        for ((name, one, other), count) in &expected {
            for labels in [[("one", &**one), ("other", &**other)], [("other", &**other), ("one", &**one)]] {
                prop_assert_eq!(merged.counter(&format!("{name}_total"), &labels), Some(*count));
            }
        }
        let sorted = |pair: &[(&str, Vec<&str>)]| pair[0] < pair[1];
        let keys: Vec<_> =
            merged.points().map(|point| (point.name(), point.labels().map(|(_, value)| value).collect())).collect();
        prop_assert!(turned || keys.windows(2).all(sorted), "still sorted");
    }
}

#[test]
fn figures_that_contradict_are_refused() {
    let of = |pieces: &[&[u64]]| {
        let figures = pieces.iter().map(|words| figures(3, 0, words.to_vec()));
        histogram(&[series(0, "sizes", 3, &[])].into_iter().chain(figures).collect::<Vec<_>>())
    };
    assert_eq!(of(&[&[1, 1, 1, 0, 1, 1]]), Ok((vec![(1.0, 1)], 1, 1)));
    let refused: [&[&[u64]]; 8] = [
        &[],                                                       // no figures at all
        &[&[1, 1, 1]],                                             // no sum
        &[&[1, 1, 1, 0, 1]],                                       // an index without a count
        &[&[1, 1, 1, 0, 2, 1, 1, 1]],                              // not by index
        &[&[1, 1, 1, 0, 1, 1, 1, 1]],                              // an index twice
        &[&[1, 1, 1, 0, u64::MAX, 1]],                             // no such bucket
        &[&[1, 1, 1, 0, 1, u64::MAX], &[1, 1, 1, 0, 1, 1]],        // too many samples
        &[&[1, 1, u64::MAX, u64::MAX, 1, 1], &[1, 1, 1, 0, 2, 1]], // too great a sum
    ];
    for pieces in refused {
        assert_eq!(of(pieces), Err(ReadError::Unexpected), "{pieces:?}");
    }
    // Extremes of figures without samples mean nothing.
    let records =
        [series(0, "sizes", 3, &[]), figures(3, 0, vec![9, 2, 0, 0]), figures(3, 0, vec![5, 7, 6, 0, 6, 2])];
    let records = [&records[..], &[figures(3, 0, vec![1, 100, 0, 0])]].concat();
    let snapshot = read(&records).unwrap();
    let view = snapshot.histogram("sizes", &[]).unwrap();
    assert_eq!((view.min(), view.max(), view.count()), (Some(5.0), Some(7.0), 2));
}

#[test]
fn a_series_stands_there_once_and_a_name_has_one_kind() {
    let two = |one: Record, other: Record, what: [u16; 2]| {
        read(&[one, figures(what[0], 0, vec![1]), other, figures(what[1], 1, vec![2])])
            .map(|read| read.points().len())
    };
    let labelled = |id, value| series(id, "a_total", 0, &[("by", value)]);
    assert_eq!(two(labelled(0, "x"), labelled(1, "y"), [0, 0]), Ok(2));
    assert_eq!(two(labelled(0, "x"), labelled(1, "x"), [0, 0]), Err(ReadError::Unexpected));
    assert_eq!(two(series(0, "a", 2, &[]), series(1, "b", 2, &[]), [2, 2]), Ok(2));
    assert_eq!(
        two(series(0, "a", 2, &[]), series(1, "a", 1, &[("by", "x")]), [2, 1]),
        Err(ReadError::Unexpected)
    );
    // As to merge them would be.
    let (gauge, count) = (
        &[series(0, "a", 2, &[]), figures(2, 0, vec![1])],
        &[series(0, "a", 1, &[]), figures(1, 0, vec![1])],
    );
    let refused = read(gauge).unwrap().merge(&read(count).unwrap()).expect_err("of two kinds");
    assert_eq!(refused, MergeError::Mismatch { name: "a".into() });
}

#[test]
fn labels_are_checked_however_many_there_are() {
    let names: Vec<String> = (0..3_000).map(|number| format!("label_{number}")).collect();
    let mut labels: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "x")).collect();
    let of = |labels: &[(&str, &str)]| read(&[series(0, "a", 2, labels), figures(2, 0, vec![1])]);
    let snapshot = of(&labels).unwrap();
    labels.reverse();
    assert!(matches!(snapshot.value("a", &labels), Some(PointValue::Gauge(_))), "in any order");
    labels[7] = labels[2_000];
    assert_eq!(of(&labels).unwrap_err(), ReadError::Unexpected, "one of them twice");
}

/// Spans of 4,000 attributes, whose keys are of one text by twos, and each set twice.
#[test]
fn attributes_of_one_key_are_one_whatever_its_number() {
    let key = |id, text: &str| Record::Definition { space: Space::Key, id, text: text.into() };
    let mut records = vec![figures(7, 0, vec![0; 3])];
    records.push(Record::Definition { space: Space::SpanName, id: 1, text: "order".into() });
    records.extend((0..2_000).map(|id| key(id, &format!("key {}", id / 2))));
    let items = (0..4_000_u32).map(|number| Item::Attribute(number % 2_000, Value::Bool(number >= 2_000)));
    records.push(Record::Span(Span { name: 1, items: items.collect(), ..Span::default() }));
    let snapshot = read(&records).unwrap();
    let spans: Vec<_> = snapshot.spans().collect();
    let attributes = &spans[0].attributes;
    assert_eq!((spans.len(), attributes.len()), (1, 1_000));
    assert!(
        attributes.iter().zip(0..).all(|((key, value), number)| {
            **key == format!("key {number}") && *value == Value::Bool(true)
        })
    );
}

#[test]
fn a_text_that_breaks_off_is_told() {
    let long = series(0, &"n".repeat(40_000), 2, &[]);
    let whole = bytes(&[long, figures(2, 0, vec![1])]);
    assert_eq!(Snapshot::from_bytes(&whole).unwrap_err(), ReadError::Unexpected, "no name of a metric");
    let cut = Snapshot::from_bytes(&whole[..8 * 4_096]).unwrap_err();
    assert_eq!(cut, ReadError::Record(DecodeError::Truncated { missing: 1 }));
    let parts = &whole[8..8 * 4_096];
    let again = [&whole[..8], parts, &bytes(&[figures(2, 0, vec![1])])[8..]].concat();
    let error = Snapshot::from_bytes(&again).unwrap_err();
    assert_eq!(error, ReadError::Record(DecodeError::Unfinished));
    assert!(error.to_string().ends_with("its next part is missing"), "{error}");
}
