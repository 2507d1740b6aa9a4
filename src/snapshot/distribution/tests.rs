//! Compares views with the `hdrhistogram` crate and with counting samples one by one.

use super::*;
use crate::stats::{Bounds, is_split};
use proptest::prelude::*;

fn view(digits: u8, values: &[u64]) -> HistogramView {
    bounded(digits, &[100.0, 1_000.0, 1_001.0, 1e9, 1e15], values)
}

fn counts(layout: Layout, splits: &Splits, values: &[u64]) -> Vec<u64> {
    let mut counts = splits.empty_counts(0);
    for value in values {
        let index = layout.index(*value);
        let word = counts[index];
        counts[if is_split(word) { splits.part_of(word, *value) } else { index }] += 1;
    }
    counts
}

fn bounded(digits: u8, bounds: &[f64], values: &[u64]) -> HistogramView {
    let layout = Layout::new(digits, u64::MAX / 2);
    let splits = Bounds::new(layout, bounds, 1.0).splits;
    let counts = counts(layout, &splits, values);
    let sum = values.iter().map(|value| u128::from(*value)).sum();
    let range = (values.iter().min().copied().unwrap_or(u64::MAX), values.iter().max().copied().unwrap_or(0));
    HistogramView::new(layout, 1.0, &splits, &counts, sum, range)
}

fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((any::<u64>(), 1..64_u32).prop_map(|(value, shift)| value >> shift), 0..200)
}

proptest! {
    #[test]
    fn quantiles_are_those_of_the_hdrhistogram_crate(digits in 1..=4_u8, values in values(), q in 0.0..=1.0_f64) {
        let view = view(digits, &values);
        let theirs = view.to_hdr();
        prop_assert_eq!(theirs.len(), values.len() as u64);
        match view.quantile_recorded(q) {
            Some(mine) => {
                let theirs = theirs.value_at_quantile(q).clamp(view.min, view.max);
                prop_assert_eq!(mine, theirs);
            }
            None => prop_assert!(values.is_empty()),
        }
    }

    #[test]
    fn the_v2_bytes_are_read_by_the_hdrhistogram_crate(digits in 1..=4_u8, values in values()) {
        let view = view(digits, &values);
        let bytes = view.to_hdr_v2();
        let read: hdrhistogram::Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        prop_assert_eq!(read, view.to_hdr());
    }

    #[test]
    fn two_halves_make_the_whole(a in values(), b in values()) {
        let mut merged = view(2, &a);
        prop_assert!(merged.absorb(&view(2, &b)));
        let whole = view(2, &[a, b].concat());
        if whole.count > 0 {
            prop_assert_eq!(merged, whole);
        }
    }

    #[test]
    fn a_refreshed_view_equals_a_new_one(before in values(), more in values(), same: bool) {
        // The new samples fall into any bucket, or into buckets that have samples already.
        let more = if same { &before[..before.len().min(more.len())] } else { &more[..] };
        let (earlier, all) = (view(2, &before), [&before[..], more].concat());
        let now = view(2, &all);
        let counts = counts(now.layout, &now.splits, &all);
        prop_assert_eq!(earlier.refreshed(&counts, now.count, now.sum, (now.min, now.max)), now);
    }

    #[test]
    fn merged_views_are_exact_at_the_bounds_they_share(a in values(), b in values()) {
        let mut merged = bounded(2, &[1_000.0, 10_000.0, 1e6], &a);
        prop_assert!(merged.absorb(&bounded(2, &[1_000.0, 1e6, 1e9], &b)));
        prop_assert!(merged.is_consistent());
        let both = [&a[..], &b].concat();
        let one_by_one = |bound: f64| both.iter().filter(|value| **value as f64 <= bound).count() as u64;
        let bounds = [1_000.0, 1e6];
        prop_assert!(bounds.iter().all(|bound| merged.is_exact_at(*bound as u64)));
        prop_assert_eq!(merged.cumulative(&bounds).collect::<Vec<_>>(), bounds.map(one_by_one));
        for bound in [10_000.0, 1e9] {
            let counted = merged.cumulative(&[bound]).next().unwrap();
            prop_assert!(!merged.is_exact_at(bound as u64) || counted == one_by_one(bound));
        }
    }
}

#[test]
fn counts_that_no_samples_make_are_not_consistent() {
    // 1,000 and 1,001 divide one bucket of three samples.
    let good = bounded(2, &[1_000.0, 1_001.0], &[1_000, 1_001, 1_002, 5]);
    assert!(good.is_consistent() && *good.within == [1, 2]);
    let with = |within: &[u64]| HistogramView { within: within.into(), ..good.clone() }.is_consistent();
    assert!(with(&[0, 3]) && with(&[3, 3]));
    assert!(!with(&[2, 1]) && !with(&[0, 4]) && !with(&[1]) && !with(&[1, 2, 2]) && !with(&[]));
}

#[test]
fn an_empty_histogram_has_no_values() {
    let empty = view(2, &[]);
    assert_eq!(
        (empty.count(), empty.min(), empty.max(), empty.mean(), empty.quantile(0.5)),
        (0, None, None, None, None)
    );
    assert_eq!(view(2, &[5]).quantile(1.1), None);
    assert_eq!(view(2, &[5]).quantile(f64::NAN), None);
}

#[test]
fn a_view_of_another_precision_is_not_added() {
    let mut two = view(2, &[5]);
    assert!(!two.absorb(&view(3, &[5])));
    assert_eq!(two.count(), 1);
}

proptest! {
    #[test]
    fn merging_all_equals_merging_one_by_one(samples in prop::collection::vec(values(), 1..8)) {
        let mut views: Vec<Arc<HistogramView>> = samples.iter().map(|values| Arc::new(view(2, values))).collect();
        let all = view(2, &samples.concat());
        views.insert(1, Arc::new(view(3, &[7]))); // of another precision: left out
        let views: Vec<_> = views.iter().collect();
        prop_assert_eq!(&*HistogramView::merge_all(&views).unwrap(), &all);
        let mut absorbed = (**views[0]).clone();
        for (number, other) in views.iter().enumerate().skip(1) {
            prop_assert_eq!(absorbed.absorb(other), number != 1);
        }
        prop_assert_eq!(absorbed, all);
    }
}

#[test]
fn merging_no_views_gives_none() {
    assert!(HistogramView::merge_all(&[]).is_none());
}
