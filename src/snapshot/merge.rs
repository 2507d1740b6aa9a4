//! Merges two snapshots into one: those of several instances, or of several machines. Cold.

use super::{PointValue, Snapshot, bounds};
use crate::error::MergeError;
use crate::series::{Descriptor, Identity};
use std::collections::HashMap;
use std::sync::Arc;

impl Snapshot {
    /// Merges another snapshot with this one into a new snapshot. Counters and histograms are added up exactly. A gauge
    /// has the value of the later snapshot. Spans and ledgers are joined. The pipeline's figures are those of this
    /// snapshot. If the two declare different bounds for a histogram, the merged histogram has those bounds that are
    /// exact in both.
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
    /// [`MergeError::Mismatch`] if a metric has another type, unit or precision in the other snapshot.
    pub fn merge(&self, other: &Self) -> Result<Self, MergeError> {
        let mut points: Vec<_> = self.catalogue.iter().cloned().zip(self.values.iter().cloned()).collect();
        let mut first = 0;
        let mut sets = LabelSets::default();
        for (theirs, value) in other.catalogue.iter().zip(&other.values) {
            // Both catalogues are sorted by name, so one pass over each is enough.
            let name = &theirs.metric.name;
            while self.catalogue.get(first).is_some_and(|mine| mine.metric.name < *name) {
                first += 1;
            }
            let same_name = self.catalogue.get(first).filter(|mine| mine.metric.name == *name);
            // All series of a name have the same kind, unit and precision, so the first one stands for all.
            if same_name.is_some_and(|mine| !mine.metric.is_like(&theirs.metric)) {
                return Err(MergeError::Mismatch { name: name.to_string() });
            }
            let aligned = same_name.and_then(|_| sets.aligned(&self.catalogue[first..], theirs));
            points.push((aligned.unwrap_or_else(|| Arc::clone(theirs)), value.clone()));
        }
        // The sort detects the two sorted runs, so it compares each series about once. It is stable, so of two equal
        // series, the one of `self` comes first.
        points.sort_by(|(one, _), (other, _)| one.key().cmp(&other.key()));
        let theirs_is_later = other.unix_nanos > self.unix_nanos;
        points.dedup_by(|(theirs, value), (mine, sum)| {
            let same = theirs.key() == mine.key();
            if same {
                add(sum, value, theirs_is_later);
            }
            same
        });
        bounds::reconcile(&mut points);
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

/// The label sets of one metric name in this snapshot: for each set of label names, the order in which they stand here.
#[derive(Default)]
struct LabelSets<'a> {
    /// The metric name of the sets in `known`.
    name: Option<&'a str>,
    /// A descriptor for each set of label names; the key is the sorted names.
    known: HashMap<Vec<&'a str>, &'a Arc<Descriptor>>,
}

impl<'a> LabelSets<'a> {
    /// Returns `theirs` with its labels in the order of `mine`, or `None` if the order is the same. The slice `mine`
    /// must begin at the first series with the name of `theirs`.
    fn aligned(&mut self, mine: &'a [Arc<Identity>], theirs: &'a Identity) -> Option<Arc<Identity>> {
        if theirs.metric.labels.len() < 2 {
            return None; // there is only one order
        }
        if self.name != Some(&*theirs.metric.name) {
            self.load(mine, &theirs.metric.name);
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

    /// Collects the label sets of a name. If two have the same names in different orders, the first one counts.
    fn load(&mut self, mine: &'a [Arc<Identity>], name: &'a str) {
        self.name = Some(name);
        self.known.clear();
        let mut last: Option<&Arc<Descriptor>> = None;
        for identity in mine.iter().take_while(|mine| *mine.metric.name == *name) {
            // Most names have one label set, so most series need no look-up.
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

/// Adds a series' value to another of the same kind; the caller has compared the kinds.
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
