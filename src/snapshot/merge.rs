//! Two snapshots into one: of several instances, or of several machines.

use super::{PointValue, Snapshot, bounds};
use crate::error::MergeError;
use crate::series::{Descriptor, Identity};
use std::collections::HashMap;
use std::sync::Arc;

impl Snapshot {
    /// Adds another snapshot to this one: counters and histograms add up exactly, of a gauge the later snapshot's
    /// value stays, spans and ledgers are joined. If both declare other bounds for a histogram, the merged one shows those
    /// that are exact in both.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let (here, there) = (tellane::Telemetry::builder("a").start()?, tellane::Telemetry::builder("b").start()?);
    /// for telemetry in [&here, &there] {
    ///     telemetry.counter("orders_total").register()?.add(2);
    /// }
    /// let theirs = there.snapshot(Duration::from_secs(5))?;
    /// let both = here.snapshot(Duration::from_secs(5))?.merge(&theirs)?;
    /// assert_eq!(both.counter("orders_total", &[]), Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MergeError::Mismatch`] if a metric has another type, unit or precision there.
    pub fn merge(&self, other: &Self) -> Result<Self, MergeError> {
        let mut points: Vec<_> = self.catalogue.iter().cloned().zip(self.values.iter().cloned()).collect();
        let mut first = 0;
        let mut sets = LabelSets::default();
        for (theirs, value) in other.catalogue.iter().zip(&other.values) {
            // Both are sorted by name, so each is gone through once.
            let name = &theirs.metric.name;
            while self.catalogue.get(first).is_some_and(|mine| mine.metric.name < *name) {
                first += 1;
            }
            let same_name = self.catalogue.get(first).filter(|mine| mine.metric.name == *name);
            // One kind, unit and precision a name, whatever the labels: the first series speaks for all.
            if same_name.is_some_and(|mine| !mine.metric.is_like(&theirs.metric)) {
                return Err(MergeError::Mismatch { name: name.to_string() });
            }
            let aligned = same_name.and_then(|_| sets.aligned(&self.catalogue[first..], theirs));
            points.push((aligned.unwrap_or_else(|| Arc::clone(theirs)), value.clone()));
        }
        // The sort is stable and finds the two runs, so it compares each series about once. Of equal series, mine come
        // first.
        points.sort_by(|(one, _), (other, _)| one.key().cmp(&other.key()));
        let theirs_is_later = other.unix_nanos > self.unix_nanos;
        points.dedup_by(|(theirs, value), (mine, sum)| {
            let same = theirs.key() == mine.key();
            if same {
                add(sum, value, theirs_is_later);
            }
            same
        });
        bounds::narrow(&mut points);
        let (catalogue, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Ok(Self {
            service: Arc::clone(&self.service),
            unix_nanos: self.unix_nanos.max(other.unix_nanos),
            uptime: self.uptime.max(other.uptime),
            catalogue: Arc::new(catalogue.into_iter().collect()),
            values,
            spans: self.spans.iter().chain(&other.spans).cloned().collect(),
            ledger: &self.ledger + &other.ledger,
            tail_sampling: self.tail_sampling.plus(&other.tail_sampling),
            pipeline: self.pipeline.clone(),
        })
    }
}

/// The sets of label names under one metric name, each in the order that it has here.
#[derive(Default)]
struct LabelSets<'a> {
    /// The name that they are of.
    name: Option<&'a str>,
    /// By label names, sorted.
    known: HashMap<Vec<&'a str>, &'a Arc<Descriptor>>,
}

impl<'a> LabelSets<'a> {
    /// The same series with its labels in the order that they have in `mine`, if that is another one. The name of
    /// `theirs` begins there.
    fn aligned(&mut self, mine: &'a [Arc<Identity>], theirs: &'a Identity) -> Option<Arc<Identity>> {
        if theirs.metric.labels.len() < 2 {
            return None; // there is one order only
        }
        if self.name != Some(&*theirs.metric.name) {
            self.meet(mine, &theirs.metric.name);
        }
        let metric = *self.known.get(&sorted(&theirs.metric))?;
        if metric.labels == theirs.metric.labels {
            return None;
        }
        let values: HashMap<&str, &str> = theirs.labels().collect();
        let labels =
            metric.labels.iter().filter_map(|label| values.get(&**label).map(|value| Box::from(*value)));
        Some(Arc::new(Identity { metric: Arc::clone(metric), labels: labels.collect() }))
    }

    /// Collects the sets of a name, of which the first one with the same labels counts.
    fn meet(&mut self, mine: &'a [Arc<Identity>], name: &'a str) {
        self.name = Some(name);
        self.known.clear();
        let mut last: Option<&Arc<Descriptor>> = None;
        for identity in mine.iter().take_while(|mine| *mine.metric.name == *name) {
            // Most series of a name have one set of labels.
            if last.is_none_or(|last| last.labels != identity.metric.labels) {
                self.known.entry(sorted(&identity.metric)).or_insert(&identity.metric);
            }
            last = Some(&identity.metric);
        }
    }
}

fn sorted(metric: &Descriptor) -> Vec<&str> {
    let mut labels: Vec<&str> = metric.labels.iter().map(|label| &**label).collect();
    labels.sort_unstable();
    labels
}

/// The caller has seen to it that both are of one kind.
fn add(mine: &mut PointValue, theirs: &PointValue, theirs_is_later: bool) {
    match (mine, theirs) {
        (PointValue::Counter(mine), PointValue::Counter(theirs)) => *mine = mine.wrapping_add(*theirs),
        (PointValue::UpDownCounter(mine), PointValue::UpDownCounter(theirs)) => {
            *mine = mine.wrapping_add(*theirs)
        }
        (PointValue::Gauge(mine), PointValue::Gauge(theirs)) if theirs_is_later => *mine = *theirs,
        (PointValue::Histogram(mine), PointValue::Histogram(theirs)) => {
            Arc::make_mut(mine).absorb(theirs);
        }
        _ => {}
    }
}
