//! The series as a snapshot shows them: sorted, each with the place of its value. Cold: sorted anew when series have
//! come, gone through for each snapshot.

use super::histograms::Histograms;
use crate::instance::Instance;
use crate::series::{MetricKind, Series, Storage};
use crate::snapshot::{Catalogue, PointValue};
use crate::sync::{Arc, AtomicU64, Ordering};

/// Where a series' value is; what a snapshot needs to know of it, and nothing that lies elsewhere.
#[derive(Debug)]
enum ValueSource {
    Counter(u32),
    UpDownCounter(u32),
    Gauge(Arc<AtomicU64>),
    /// Number and scale.
    Histogram(u32, f64),
}

impl ValueSource {
    fn of(series: &Series) -> Self {
        let metric = &series.identity.metric;
        match &series.storage {
            Storage::Cell(key) if metric.kind == MetricKind::Counter => Self::Counter(key.index()),
            Storage::Cell(key) => Self::UpDownCounter(key.index()),
            Storage::Gauge(bits) => Self::Gauge(Arc::clone(bits)),
            Storage::Histogram(to) => {
                Self::Histogram(to.series(), metric.shape.as_ref().map_or(1.0, |shape| shape.scale))
            }
        }
    }
}

/// Every series that has been met.
#[derive(Debug, Default)]
pub(super) struct CatalogueBuilder {
    catalogue: Arc<Catalogue>,
    /// For each of the catalogue, its number in the registry's, and where its value is.
    order: Vec<(usize, ValueSource)>,
}

impl CatalogueBuilder {
    pub(super) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue)
    }

    /// What is kept for the readers of snapshots.
    pub(super) fn bytes(&self) -> usize {
        self.catalogue.bytes() + size_of::<(usize, ValueSource)>() * self.order.capacity()
    }

    /// Sorts the series anew if there are more than last time.
    pub(super) fn meet(&mut self, instance: &Instance) {
        if instance.metrics.catalogue.count() == self.order.len() {
            return;
        }
        let order = std::mem::take(&mut self.order);
        // Numbers have no gaps but those of series that are being registered at this moment.
        let numbers = order.iter().map(|(number, _)| number + 1).max().unwrap_or_default();
        let mut known = vec![false; numbers];
        for (number, _) in &order {
            known[*number] = true;
        }
        let mut all: Vec<_> = self.catalogue.iter().cloned().zip(order).collect();
        // Looked at one by one: a series whose number is lower may have come later.
        for (number, series) in instance.metrics.catalogue.iter() {
            if !known.get(number).is_some_and(|known| *known) {
                all.push((Arc::clone(&series.identity), (number, ValueSource::of(series))));
            }
        }
        // The sort finds that most are in order already.
        all.sort_by(|(a, _), (b, _)| a.key().cmp(&b.key()));
        let (identities, order): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        self.catalogue = Arc::new(identities.into_iter().collect());
        self.order = order;
    }

    /// The value of each of the catalogue. `sums` are those of all counter cells, `time` makes Unix nanoseconds of
    /// ticks.
    pub(super) fn values(
        &self,
        sums: &[u64],
        histograms: &mut Histograms,
        time: impl Fn(u64) -> u64 + Copy,
    ) -> Vec<PointValue> {
        let sum = |cell: u32| sums.get(cell as usize).copied().unwrap_or_default();
        let mut values = Vec::with_capacity(self.order.len());
        for (_, source) in &self.order {
            // A push for each kind: made in one place and pushed in another, each value waited a dozen cycles for its
            // two halves, which was half the time of a snapshot of counters.
            match source {
                ValueSource::Counter(cell) => values.push(PointValue::Counter(sum(*cell))),
                ValueSource::UpDownCounter(cell) => values.push(PointValue::UpDownCounter(sum(*cell) as i64)),
                ValueSource::Gauge(bits) => {
                    values.push(PointValue::Gauge(f64::from_bits(bits.load(Ordering::Relaxed))));
                }
                ValueSource::Histogram(number, scale) => {
                    values.extend(histograms.view(*number, *scale, time).map(PointValue::Histogram));
                }
            }
        }
        values
    }
}
