//! Several sets of label names under one metric name, for bridges: other facades check nothing of the kind, and the
//! Prometheus data model allows it. Cold: runs once for each series.

use super::registry::{Descriptor, Metric, OVERFLOW, Registry, Series, conflict};
use crate::error::RegisterError;
use crate::lane::local;
use dashmap::mapref::entry::Entry;
use std::sync::Arc;

/// Sets of label names under one name. Those above meet in the overflow series of the first set that has labels.
const SETS_MAX: usize = 64;

impl Registry {
    /// The series of a name for label values, whatever labels the name has been used with. Only the type must agree:
    /// unit, help and precision are those of the first registration, so that a name says one thing. The cap on series
    /// is one for all sets of a name. Returns the set, too.
    pub(crate) fn series_of_set(
        &self,
        wanted: Descriptor,
        values: &[&str],
    ) -> Result<(Arc<Series>, Arc<Metric>), RegisterError> {
        if self.directory.is_forked() {
            return Err(RegisterError::Forked);
        }
        let names = wanted.labels.clone();
        let metric = self.set(wanted)?;
        let own = &metric.descriptor.labels;
        if own.len() == names.len() && own.iter().all(|label| names.contains(label)) {
            // The set may have been registered in another order than the caller's.
            let value = |label| names.iter().position(|name| name == label).and_then(|at| values.get(at));
            let values: Vec<&str> = own.iter().filter_map(value).copied().collect();
            return Ok((self.series(&metric, &values)?, metric));
        }
        // No room for the set: what is registered counts the record as one that met the overflow series.
        Ok((self.series(&metric, &vec![OVERFLOW; own.len()])?, metric))
    }

    /// The set with these label names, or the one that takes what has no room.
    fn set(&self, wanted: Descriptor) -> Result<Arc<Metric>, RegisterError> {
        local::locked(|| self.set_under_lock(wanted)).unwrap_or(Err(RegisterError::Reentrant))
    }

    fn set_under_lock(&self, wanted: Descriptor) -> Result<Arc<Metric>, RegisterError> {
        let _one_name_at_a_time = self.naming.lock();
        self.check_derived_names(&wanted)?;
        // Before the entry is held: counting locks every shard.
        let is_known = self.metrics.contains_key(&wanted.name);
        if !is_known && self.metrics.len() >= self.names.cap {
            return Err(RegisterError::Exhausted);
        }
        match self.metrics.entry(Arc::clone(&wanted.name)) {
            Entry::Occupied(mut there) => {
                let sets = there.get_mut();
                let first = Arc::clone(&sets[0]);
                if first.descriptor.kind != wanted.kind {
                    return Err(conflict(&wanted, &first.descriptor));
                }
                let is_same = |set: &&Arc<Metric>| {
                    let labels = &set.descriptor.labels;
                    labels.len() == wanted.labels.len()
                        && labels.iter().all(|label| wanted.labels.contains(label))
                };
                if let Some(same) = sets.iter().find(is_same) {
                    return Ok(Arc::clone(same));
                }
                if sets.len() >= SETS_MAX
                    && let Some(labelled) = sets.iter().find(|set| !set.descriptor.labels.is_empty())
                {
                    return Ok(Arc::clone(labelled));
                }
                let descriptor = Descriptor { labels: wanted.labels, ..(*first.descriptor).clone() };
                // The name, help and bounds are copies of the first set's; the name itself is shared.
                self.keeps(descriptor.bytes() + size_of::<Metric>());
                let made = Metric::new(descriptor, sets.len() as u32, Arc::clone(&first.name));
                sets.push(Arc::clone(&made));
                Ok(made)
            }
            Entry::Vacant(place) => {
                let metric = self.first_set(wanted, None);
                place.insert(vec![Arc::clone(&metric)]);
                Ok(metric)
            }
        }
    }
}
