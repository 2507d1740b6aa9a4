//! Reconciles bucket bounds: all series of a name in a merged or loaded snapshot get the same bounds. Cold.
//!
//! The live series of a name share their bounds. Snapshots of two versions of a program may declare different bounds,
//! and a saved snapshot may lack the counts for some of them. A bound without an exact count in every series is
//! removed: a count that looks exact and is not would be worse than none.

use super::{HistogramView, PointValue};
use crate::series::{Descriptor, Identity, MetricKind};
use crate::stats::recorded;
use std::sync::Arc;

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
    let mut bounds = bounds_of(&points[0].0.metric).unwrap_or_default().to_vec();
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
