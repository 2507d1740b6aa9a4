//! Two snapshots into one: of several instances, or of several machines.

use super::{PointValue, Snapshot};
use crate::error::MergeError;
use crate::series::Identity;
use std::sync::Arc;

impl Snapshot {
    /// Adds another snapshot to this one: counters and histograms add up exactly, of a gauge the later snapshot's
    /// value stays, spans and ledgers are joined.
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
        for (identity, theirs) in other.catalogue.iter().zip(&other.values) {
            // One type, unit and precision a name, whatever the labels: the first one found speaks for all.
            let first = self.catalogue.partition_point(|mine| mine.metric.name < identity.metric.name);
            let same_name = self.catalogue.get(first).filter(|mine| mine.metric.name == identity.metric.name);
            if same_name.is_some_and(|mine| mine.metric.says_of_all() != identity.metric.says_of_all()) {
                return Err(MergeError::Mismatch { name: identity.metric.name.to_string() });
            }
            let aligned = self.aligned(first, identity);
            let identity = aligned.as_ref().unwrap_or(identity);
            match points.binary_search_by(|(mine, _)| mine.key().cmp(&identity.key())) {
                Ok(at) => {
                    add(&mut points[at].1, theirs, other.unix_nanos > self.unix_nanos);
                }
                Err(at) => points.insert(at, (Arc::clone(identity), theirs.clone())),
            }
        }
        let (catalogue, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Ok(Self {
            service: Arc::clone(&self.service),
            unix_nanos: self.unix_nanos.max(other.unix_nanos),
            uptime: self.uptime.max(other.uptime),
            catalogue: Arc::new(catalogue.into_iter().collect()),
            values,
            spans: self.spans.iter().chain(&other.spans).cloned().collect(),
            ledger: &self.ledger + &other.ledger,
            decisions: self.decisions.plus(&other.decisions),
            pipeline: self.pipeline.clone(),
        })
    }

    /// The same series with its labels in the order that they have here, if that is another one. `first` is where the
    /// name begins.
    fn aligned(&self, first: usize, theirs: &Identity) -> Option<Arc<Identity>> {
        let wanted = &theirs.metric.labels;
        let same_name = self.catalogue.get(first..)?;
        let same_name = same_name.iter().take_while(|mine| mine.metric.name == theirs.metric.name);
        let mine = same_name.map(|mine| &mine.metric).find(|mine| {
            mine.labels.len() == wanted.len() && mine.labels.iter().all(|label| wanted.contains(label))
        })?;
        if mine.labels == *wanted {
            return None;
        }
        let value = |name| theirs.labels().find(|(label, _)| *label == name).map(|(_, value)| value.into());
        let labels = mine.labels.iter().filter_map(|label| value(&**label)).collect();
        Some(Arc::new(Identity { metric: Arc::clone(mine), labels }))
    }
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
