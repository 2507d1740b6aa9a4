//! The encoding of records as words, of words as bytes, and back: what saved snapshots and the rings' contents go
//! through.

#![allow(missing_docs)] // criterion's macros

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tellane::record::{Decoder, Item, Record, Span, encode, from_bytes, to_bytes};
use tellane::{SpanKind, Value};

const RECORDS: u64 = 1_000;

fn sample(number: u64) -> Record {
    Record::Sample { series: 7, value: number }
}

fn span(number: u64) -> Record {
    let items = vec![Item::Attribute(1, Value::U64(number)), Item::Attribute(2, Value::Str("GET".into()))];
    let ids = (u128::from(number) + 1, number + 1);
    Record::Span(Span {
        name: 3,
        start: 1_000 * number,
        duration: 100,
        trace_id: ids.0,
        span_id: ids.1,
        sampled: true,
        kind: SpanKind::Server,
        local_root: true,
        items,
        ..Span::default()
    })
}

fn encoding(criterion: &mut Criterion) {
    for (name, make) in [("samples", sample as fn(u64) -> Record), ("spans with 2 attributes", span)] {
        let records: Vec<_> = (0..RECORDS).map(make).collect();
        let mut words = Vec::new();
        records.iter().for_each(|record| encode(record, &mut words).expect("small ids"));
        let bytes = to_bytes(&words);
        let mut group = criterion.benchmark_group(format!("encode/{name}"));
        group.throughput(Throughput::Elements(RECORDS));
        group.bench_function("records to words", |bench| {
            bench.iter_batched_ref(
                || Vec::with_capacity(words.len()),
                |words| records.iter().try_for_each(|record| encode(record, words)),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("words to records", |bench| {
            bench.iter(|| assert_eq!(Decoder::new(&words).filter(Result::is_ok).count() as u64, RECORDS));
        });
        group.bench_function("words to bytes", |bench| bench.iter(|| to_bytes(&words)));
        group.bench_function("bytes to words", |bench| bench.iter(|| from_bytes(&bytes)));
        group.finish();
        assert_eq!(from_bytes(&bytes).expect("what was written"), words);
        let read: Result<Vec<_>, _> = Decoder::new(&words).collect();
        assert_eq!(read.expect("what was written"), records);
    }
}

criterion_group!(benches, encoding);
criterion_main!(benches);
