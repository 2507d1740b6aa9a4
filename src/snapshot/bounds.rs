//! Reconciles bucket bounds: all series of a name in a merged or loaded snapshot get the same bounds. Cold.
//!
//! The live series of a name share their bounds. Snapshots of two versions of a program may declare different bounds,
//! and a saved snapshot may lack the counts for some of them. A bound without an exact count in every series is
//! removed: a count that looks exact and is not would be worse than none.

use super::{HistogramView, PointValue};
use crate::series::{Descriptor, Identity, MetricKind};
use crate::stats::recorded;
use std::sync::Arc;

/// Comparisons for each bound that the series of a name declare themselves, and for each series [`SERIES_WEIGHT`] times as
/// many. If there are more, one series has declared bounds for thousands of others: a small hostile snapshot would cost
/// time and memory in proportion to the product. The name then keeps no bounds.
const COMPARISONS_MAX: usize = 64;
const SERIES_WEIGHT: usize = 16;

/// A series and its value.
type OwnedPoint = (Arc<Identity>, PointValue);

/// Reduces the bounds of each histogram to those bounds of its first series that are exact in all of its series. The
/// points must be sorted by name.
pub(super) fn reconcile(points: &mut [OwnedPoint]) {
    for of_name in points.chunk_by_mut(|(one, _), (next, _)| one.metric.name == next.metric.name) {
        let (first, _) = &of_name[0];
        if first.metric.kind == MetricKind::Histogram
            && !of_name.iter().all(|point| has_bounds_of(point, &first.metric))
        {
            keep_common_bounds(of_name);
        }
    }
}

/// Returns `true` if a series declares the bounds of the first one, and its distribution is divided at them.
fn has_bounds_of((identity, value): &OwnedPoint, first: &Arc<Descriptor>) -> bool {
    let metric = &identity.metric;
    let same = Arc::ptr_eq(metric, first) || bounds_of(metric) == bounds_of(first);
    let PointValue::Histogram(view) = value else { return same };
    let splits = metric.bounds.as_ref().map(|bounds| &bounds.splits);
    same && splits.is_some_and(|splits| Arc::ptr_eq(splits, &view.splits) || *splits == view.splits)
}

fn bounds_of(metric: &Descriptor) -> Option<&[f64]> {
    metric.shape.as_ref().map(|shape| &*shape.bounds)
}

/// Gives the series of one name the bounds that are exact in all of them.
fn keep_common_bounds(points: &mut [OwnedPoint]) {
    let declared = |(identity, _): &OwnedPoint| bounds_of(&identity.metric).map_or(0, <[f64]>::len);
    let allowed = points.iter().map(|point| declared(point) + SERIES_WEIGHT).sum::<usize>() * COMPARISONS_MAX;
    let mut bounds = bounds_of(&points[0].0.metric).unwrap_or_default().to_vec();
    if bounds.len().saturating_mul(points.len()) > allowed {
        bounds.clear();
    }
    for view in points.iter().filter_map(|(_, value)| view_of(value)) {
        bounds.retain(|bound| recorded(*bound, view.scale).is_none_or(|bound| view.is_exact_at(bound)));
    }
    let mut last: Option<Arc<Descriptor>> = None;
    for (identity, value) in points {
        // Most series of a name have the same label names, so they can share the new descriptor.
        let metric = match &last {
            Some(last) if last.labels == identity.metric.labels => Arc::clone(last),
            _ => Arc::new(identity.metric.with_bounds(&bounds)),
        };
        if let (PointValue::Histogram(view), Some(bounds)) = (value, &metric.bounds) {
            Arc::make_mut(view).restrict_splits(&bounds.splits);
        }
        last = Some(Arc::clone(&metric));
        *identity = Arc::new(Identity { metric, labels: identity.labels.clone() });
    }
}

fn view_of(value: &PointValue) -> Option<&HistogramView> {
    if let PointValue::Histogram(view) = value { Some(view) } else { None }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use crate::{Snapshot, Telemetry};
    use std::sync::Arc;
    use std::time::Duration;

    /// A snapshot of one histogram with a series for each label value.
    fn snapshot(bounds: usize, values: std::ops::Range<usize>) -> Arc<Snapshot> {
        let telemetry = Telemetry::builder("bounds").start().expect("it starts");
        let bounds: Vec<f64> = (1..=bounds).map(|bound| bound as f64).collect();
        let sizes = telemetry.histogram("sizes").bounds(&bounds).series_cap(10_000).family(["of"]);
        let sizes = sizes.expect("a good name");
        values.for_each(|value| sizes.with([&format!("{value:05}")]).record(1));
        telemetry.snapshot(Duration::from_secs(60)).expect("it answers")
    }

    #[test]
    fn one_series_does_not_give_its_bounds_to_thousands() {
        let bounds_of_merged = |bounds, others: usize| {
            let merged = snapshot(bounds, 0..1).merge(&snapshot(0, 1..1 + others)).expect("of one kind");
            let counted: u64 = (0..=others)
                .map(|value| {
                    merged.histogram("sizes", &[("of", &format!("{value:05}"))]).expect("kept").count()
                })
                .sum();
            assert_eq!(counted, 1 + others as u64);
            let point = merged.points().find(|point| point.name() == "sizes").expect("kept");
            point.bounds().len()
        };
        assert_eq!(bounds_of_merged(20, 2_000), 20, "small integers are exact with any bounds");
        assert_eq!(bounds_of_merged(2_000, 2_000), 0, "2,000 bounds for 2,000 series that declare none");
    }
}
