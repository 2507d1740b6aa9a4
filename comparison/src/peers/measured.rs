//! measured: labels become an index into a dense array, by an interner for texts and by itself for enums.

use super::{assert_lines, sum_in_text};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::workload::{Class, Method};
use crate::{subject, workload};
use lasso::{Rodeo, RodeoReader, Spur};
use measured::label::{FixedCardinalityLabel, LabelValue, LabelVisitor, StaticLabelSet};
use measured::metric::MetricFamilyEncoding;
use measured::metric::histogram::Thresholds;
use measured::metric::name::MetricName;
use measured::text::BufferedTextEncoder;
use measured::{Counter, CounterVec, Histogram, HistogramVec, LabelGroup};
use paracord::ParaCord;
use std::hint::black_box;
use std::sync::Arc;

/// Texts that are all known beforehand, as its own benches have them.
#[derive(Clone, Copy, LabelGroup)]
#[label(set = KnownSet)]
struct Known<'a> {
    #[label(fixed_with = RodeoReader<Spur, ahash::RandomState>)]
    method: &'a str,
    #[label(fixed_with = RodeoReader<Spur, ahash::RandomState>)]
    route: &'a str,
}

/// Texts that are learned as they come.
#[derive(Clone, Copy, LabelGroup)]
#[label(set = TextsSet)]
struct Texts<'a> {
    #[label(dynamic_with = ParaCord)]
    method: &'a str,
    #[label(dynamic_with = ParaCord)]
    route: &'a str,
}

#[derive(Clone, Copy, LabelGroup)]
#[label(set = EnumsSet)]
struct Enums {
    method: Method,
    class: Class,
}

#[derive(Clone, Copy, LabelGroup)]
#[label(set = NumberSet)]
struct Number<'a> {
    #[label(dynamic_with = ParaCord)]
    number: &'a str,
}

macro_rules! fixed {
    ($name:ident, $($variant:ident)*) => {
        impl FixedCardinalityLabel for $name {
            fn cardinality() -> usize {
                [$($name::$variant),*].len()
            }

            fn encode(&self) -> usize {
                *self as usize
            }

            fn decode(value: usize) -> Self {
                [$($name::$variant),*][value]
            }
        }

        impl LabelValue for $name {
            fn visit<V: LabelVisitor>(&self, visitor: V) -> V::Output {
                visitor.write_str(self.text())
            }
        }
    };
}

fixed!(Method, Get Put Post Delete);
fixed!(Class, Fine Moved Refused Failed);

const BUCKETS: usize = 11;

fn histogram() -> Arc<Histogram<BUCKETS>> {
    Arc::new(Histogram::with_metadata(Thresholds::with_buckets(workload::bounds_in_seconds())))
}

/// One family as text.
fn render(
    name: &'static str,
    family: &impl MetricFamilyEncoding<BufferedTextEncoder>,
    encoder: &mut BufferedTextEncoder,
) -> String {
    family.collect_family_into(MetricName::from_str(name), encoder).expect("a buffer takes all");
    String::from_utf8_lossy(&encoder.finish()).into_owned()
}

/// The sum over a family's series.
fn sum<F: MetricFamilyEncoding<BufferedTextEncoder>>(family: &Arc<F>) -> impl FnOnce() -> u64 + use<F> {
    let family = Arc::clone(family);
    move || sum_in_text(&render("labels", &*family, &mut BufferedTextEncoder::new()), "labels{")
}

fn known() -> Arc<CounterVec<KnownSet>> {
    let labels = workload::labels();
    let texts = |of: fn(&(&'static str, &'static str)) -> &'static str| {
        let mut texts = Rodeo::with_hasher(ahash::RandomState::new());
        texts.extend(labels.iter().map(of));
        texts.into_reader()
    };
    Arc::new(CounterVec::with_label_set(KnownSet {
        method: texts(|pair| pair.0),
        route: texts(|pair| pair.1),
    }))
}

fn learned() -> Arc<CounterVec<TextsSet>> {
    Arc::new(CounterVec::with_label_set(TextsSet { method: ParaCord::default(), route: ParaCord::default() }))
}

fn enums() -> Arc<CounterVec<EnumsSet>> {
    Arc::new(CounterVec::with_label_set(EnumsSet {
        method: StaticLabelSet::new(),
        class: StaticLabelSet::new(),
    }))
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = counter_rows();
    rows.extend(label_rows());
    rows.extend(histogram_rows());
    rows.extend(scrape_rows());
    rows
}

fn counter_rows() -> Vec<Row> {
    let (one, two) = (Arc::new(Counter::new()), Arc::new(Counter::new()));
    let count = |counter: &Arc<Counter>| {
        let counter = Arc::clone(counter);
        move || counter.get_metric().count.load(std::sync::atomic::Ordering::Relaxed)
    };
    let (count_one, count_two) = (count(&one), count(&two));
    let (enum_one, enum_two) = (enums(), enums());
    let (sum_one, sum_two) = (sum(&enum_one), sum(&enum_two));
    vec![
        Row::one(subject::COUNTER, "Counter::inc", CALLS, move |_| one.inc()).exact(count_one),
        Row::two(subject::COUNTER_2T, "Counter::inc", CALLS_2T, move |_| two.inc()).exact(count_two),
        Row::one(subject::ENUMS, "CounterVec::inc", CALLS, move |number| {
            let (method, class) = workload::kinds(number);
            enum_one.inc(Enums { method, class });
        })
        .exact(sum_one),
        Row::two(subject::ENUMS_2T, "CounterVec::inc", CALLS_2T, move |number| {
            let (method, class) = workload::kinds(number);
            enum_two.inc(Enums { method, class });
        })
        .exact(sum_two),
    ]
}

fn label_rows() -> Vec<Row> {
    const BEFOREHAND: &str = "all values must be given beforehand";
    let labels = workload::labels();
    let (known_one, known_two, learned_one, learned_two) = (known(), known(), learned(), learned());
    let (sum_known, sum_known_two) = (sum(&known_one), sum(&known_two));
    let (sum_learned, sum_learned_two) = (sum(&learned_one), sum(&learned_two));
    vec![
        Row::one(subject::LABELS, "CounterVec::inc, RodeoReader", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            known_one.inc(Known { method, route });
        })
        .weaker(BEFOREHAND)
        .exact(sum_known),
        Row::one(subject::LABELS, "CounterVec::inc, ParaCord", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            learned_one.inc(Texts { method, route });
        })
        .exact(sum_learned),
        Row::two(subject::LABELS_2T, "CounterVec::inc, RodeoReader", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            known_two.inc(Known { method, route });
        })
        .weaker(BEFOREHAND)
        .exact(sum_known_two),
        Row::two(subject::LABELS_2T, "CounterVec::inc, ParaCord", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            learned_two.inc(Texts { method, route });
        })
        .exact(sum_learned_two),
    ]
}

fn histogram_rows() -> Vec<Row> {
    let values = workload::seconds();
    let (one, two, timer) = (histogram(), histogram(), histogram());
    let count = |histogram: &Arc<Histogram<BUCKETS>>| {
        let histogram = Arc::clone(histogram);
        move || sum_in_text(&render("latency", &*histogram, &mut BufferedTextEncoder::new()), "latency_count")
    };
    let (count_one, count_two, count_timer) = (count(&one), count(&two), count(&timer));
    vec![
        Row::one(subject::HISTOGRAM, "Histogram::observe, 11 buckets", CALLS, move |number| {
            one.observe(workload::at(values, number));
        })
        .exact(count_one),
        Row::two(subject::HISTOGRAM_2T, "Histogram::observe, 11 buckets", CALLS_2T, move |number| {
            two.observe(workload::at(values, number));
        })
        .exact(count_two),
        Row::one(subject::TIMER, "Histogram::start_timer", CALLS, move |_| drop(timer.start_timer()))
            .exact(count_timer),
    ]
}

fn scrape_rows() -> Vec<Row> {
    let counters = CounterVec::with_label_set(NumberSet { number: ParaCord::default() });
    (0..10_000).for_each(|number| counters.inc(Number { number: &number.to_string() }));
    let histograms = HistogramVec::<NumberSet, BUCKETS>::with_label_set_and_metadata(
        NumberSet { number: ParaCord::default() },
        Thresholds::with_buckets(workload::bounds_in_seconds()),
    );
    for number in 0..1_000 {
        let number = number.to_string();
        let observe = |value: &f64| histograms.observe(Number { number: &number }, *value);
        workload::seconds().iter().take(100).for_each(observe);
    }
    // The encoder is kept, as in its own benches; what it gives is not copied.
    let (mut encoder, mut encoder_too) = (BufferedTextEncoder::new(), BufferedTextEncoder::new());
    assert_lines(&render("calls", &counters, &mut encoder), "calls{", 10_000);
    assert_lines(&render("latency", &histograms, &mut encoder_too), "latency_bucket{", 12_000);
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "BufferedTextEncoder", move |_| {
            counters
                .collect_family_into(MetricName::from_str("calls"), &mut encoder)
                .expect("a buffer takes all");
            drop(encoder.finish());
        }),
        Row::long(subject::SCRAPE_HISTOGRAMS, "BufferedTextEncoder", move |_| {
            let name = MetricName::from_str("latency");
            histograms.collect_family_into(name, &mut encoder_too).expect("a buffer takes all");
            drop(encoder_too.finish());
        }),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Histogram::observe, 11 buckets", |time| {
        let (histogram, values) = (histogram(), workload::seconds());
        let burst =
            |calls| (0..calls).for_each(|number| histogram.observe(workload::at(values, black_box(number))));
        flow(time, 100_000, burst, |_| {
            sum_in_text(&render("latency", &*histogram, &mut BufferedTextEncoder::new()), "latency_count")
        })
    })]
}
