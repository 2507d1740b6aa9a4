//! One set of bounds for all series of a name in a snapshot that was merged or read. Cold.
//!
//! Live series of a name share their bounds. Snapshots of two versions of a program may declare others, and a saved one
//! may lack the figures for them. What cannot be exact is then not shown: a count that looks exact and is not would
//! be worse than none.

use super::{HistogramView, PointValue};
use crate::series::{Descriptor, Identity, MetricKind};
use crate::stats::recorded;
use std::sync::Arc;

/// A series and its value.
type Point = (Arc<Identity>, PointValue);

/// Narrows the bounds of each histogram's name to those of its first series that all of its series are exact at. The
/// points are sorted by name.
pub(super) fn narrow(points: &mut [Point]) {
    for of_name in points.chunk_by_mut(|(one, _), (next, _)| one.metric.name == next.metric.name) {
        let (first, _) = &of_name[0];
        if first.metric.kind == MetricKind::Histogram
            && !of_name.iter().all(|point| agrees(point, &first.metric))
        {
            narrow_name(of_name);
        }
    }
}

fn agrees((identity, value): &Point, first: &Arc<Descriptor>) -> bool {
    let metric = &identity.metric;
    let same = Arc::ptr_eq(metric, first) || bounds_of(metric) == bounds_of(first);
    let PointValue::Histogram(view) = value else { return same };
    let splits = metric.bounds.as_ref().map(|bounds| &bounds.splits);
    same && splits.is_some_and(|splits| Arc::ptr_eq(splits, &view.splits) || *splits == view.splits)
}

fn bounds_of(metric: &Descriptor) -> Option<&[f64]> {
    metric.shape.as_ref().map(|shape| &*shape.bounds)
}

fn narrow_name(points: &mut [Point]) {
    let mut bounds = bounds_of(&points[0].0.metric).unwrap_or_default().to_vec();
    for view in points.iter().filter_map(|(_, value)| view_of(value)) {
        bounds.retain(|bound| recorded(*bound, view.scale).is_none_or(|bound| view.is_exact_at(bound)));
    }
    let mut last: Option<Arc<Descriptor>> = None;
    for (identity, value) in points {
        // Most series of a name have the same label names, and so share a descriptor.
        let metric = match &last {
            Some(last) if last.labels == identity.metric.labels => Arc::clone(last),
            _ => Arc::new(identity.metric.with_bounds(&bounds)),
        };
        if let (PointValue::Histogram(view), Some(bounds)) = (value, &metric.bounds) {
            Arc::make_mut(view).narrow(&bounds.splits);
        }
        last = Some(Arc::clone(&metric));
        *identity = Arc::new(Identity { metric, labels: identity.labels.clone() });
    }
}

fn view_of(value: &PointValue) -> Option<&HistogramView> {
    if let PointValue::Histogram(view) = value { Some(view) } else { None }
}
