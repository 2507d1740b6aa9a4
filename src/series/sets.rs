//! Several sets of label names under one metric name, for bridges: other facades do not check for this, and the
//! Prometheus data model allows it. Cold: runs once for each series.

use super::claims::{Claims, GIVEN_MAX, GivenLabel};
use super::descriptor::Descriptor;
use super::metric::{Metric, Series};
use super::metric_registry::{MetricRegistry, conflict};
use crate::error::RegisterError;
use crate::lane::local;
use crate::names::OVERFLOW;
use dashmap::mapref::entry::Entry;
use std::sync::Arc;

/// Maximum number of label sets under one name. Further sets share the overflow series of the first set that has
/// labels.
const SETS_MAX: usize = 64;
/// Names that are tried for a metric whose own name is taken. Each but the first ends in a hash of 32 bits.
const ROUNDS: u32 = 4;

/// A series for labels. If it is the overflow series, with its set and the label names to use there.
pub(crate) type SetSeries = (Arc<Series>, Option<(Arc<Metric>, Vec<Box<str>>)>);

/// The result of a search for a label set.
enum FoundSet {
    /// The set, and the label names to use.
    Set(Arc<Metric>, Vec<Box<str>>),
    /// The name belongs to another original name; this is its first definition.
    Taken(Arc<Descriptor>),
}

impl MetricRegistry {
    /// The series of a metric name for any labels, even if the name was used with other label names before. `wanted`
    /// has no labels: the label names are chosen here, depending on those in use. Only the type must agree: unit, help
    /// and precision are those of the first registration, so that a name has one meaning. All sets of a name share one
    /// cap on series.
    ///
    /// Distinct names never share a series: see [`Claims`].
    pub(crate) fn series_of_set(
        &self,
        wanted: Descriptor,
        given: &str,
        labels: &[GivenLabel<'_>],
    ) -> Result<SetSeries, RegisterError> {
        if self.lanes.is_forked() {
            return Err(RegisterError::Forked);
        }
        if given.len() > GIVEN_MAX {
            return Err(RegisterError::BadName { name: wanted.name.to_string() });
        }
        let mut attempt = wanted.clone();
        for round in 0..ROUNDS {
            match self.find_or_add_set(&attempt, given, labels)? {
                FoundSet::Set(metric, names) => return self.series_in(metric, names, labels),
                FoundSet::Taken(first) if round + 1 == ROUNDS => return Err(conflict(&attempt, &first)),
                FoundSet::Taken(_) => attempt = wanted.clone().disambiguated(given, round)?,
            }
        }
        Err(RegisterError::Exhausted)
    }

    fn series_in(
        &self,
        metric: Arc<Metric>,
        names: Vec<Box<str>>,
        labels: &[GivenLabel<'_>],
    ) -> Result<SetSeries, RegisterError> {
        let own = &metric.descriptor.labels;
        if own.len() == names.len() && own.iter().all(|label| names.contains(label)) {
            // The set may have been registered with its labels in another order than the caller's.
            let value = |label| names.iter().position(|name| name == label).map(|at| labels[at].value);
            let values: Vec<&str> = own.iter().filter_map(value).collect();
            let series = self.series(&metric, &values)?;
            let is_own = series.identity.labels.iter().map(|value| &**value).eq(values);
            return Ok((series, (!is_own).then_some((metric, names))));
        }
        // The name has no space for the set: asking for the overflow value counts the label combination as overflowed.
        Ok((self.series(&metric, &vec![OVERFLOW; own.len()])?, Some((metric, names))))
    }

    /// All series that this label set will ever have, except the overflow series; `None` while series may still be
    /// added.
    pub(crate) fn all_series_of(&self, metric: &Metric) -> Option<Vec<Arc<Series>>> {
        let is_closed = metric.name.is_full();
        is_closed.then(|| self.series_of(metric))
    }

    /// The set with these labels, or, above the cap on sets, the one whose overflow series stands in.
    fn find_or_add_set(
        &self,
        wanted: &Descriptor,
        given: &str,
        labels: &[GivenLabel<'_>],
    ) -> Result<FoundSet, RegisterError> {
        local::locked(|| self.find_or_add_set_under_lock(wanted, given, labels))
            .unwrap_or(Err(RegisterError::Reentrant))
    }

    fn find_or_add_set_under_lock(
        &self,
        wanted: &Descriptor,
        given: &str,
        labels: &[GivenLabel<'_>],
    ) -> Result<FoundSet, RegisterError> {
        let _one_name_at_a_time = self.naming.lock();
        self.check_derived_names(wanted)?;
        // Checked before an entry is held: `len` locks every shard.
        let is_known = self.by_name.contains_key(&wanted.name);
        if !is_known && self.by_name.len() >= self.names_cap {
            return Err(RegisterError::Exhausted);
        }
        match self.by_name.entry(Arc::clone(&wanted.name)) {
            Entry::Occupied(mut there) => {
                let sets = there.get_mut();
                let first = Arc::clone(&sets[0]);
                if first.descriptor.kind != wanted.kind {
                    return Err(conflict(wanted, &first.descriptor));
                }
                let mut claims = first.name.claims.lock();
                let Some(bytes) = claims.claim(given) else {
                    return Ok(FoundSet::Taken(Arc::clone(&first.descriptor)));
                };
                self.add_bytes(bytes);
                let names = claims.resolve(labels)?;
                let is_same = |set: &&Arc<Metric>| {
                    let there = &set.descriptor.labels;
                    there.len() == names.len() && there.iter().all(|label| names.contains(label))
                };
                if let Some(same) = sets.iter().find(is_same) {
                    self.add_bytes(claims.store(labels, &names));
                    return Ok(FoundSet::Set(Arc::clone(same), names));
                }
                if sets.len() >= SETS_MAX
                    && let Some(labelled) = sets.iter().find(|set| !set.descriptor.labels.is_empty())
                {
                    return Ok(FoundSet::Set(Arc::clone(labelled), names));
                }
                self.add_bytes(claims.store(labels, &names));
                drop(claims);
                let descriptor = Descriptor { labels: names.clone().into(), ..(*first.descriptor).clone() };
                // The name, help and bounds are copies of the first set's; the name itself is shared.
                self.add_bytes(descriptor.bytes() + size_of::<Metric>());
                let made = Metric::new(descriptor, sets.len() as u32, Arc::clone(&first.name));
                sets.push(Arc::clone(&made));
                Ok(FoundSet::Set(made, names))
            }
            Entry::Vacant(vacant) => {
                let mut claims = Claims::default();
                let names = claims.resolve(labels)?;
                self.add_bytes(claims.claim(given).unwrap_or(0) + claims.store(labels, &names));
                let metric =
                    self.first_set(Descriptor { labels: names.clone().into(), ..wanted.clone() }, None);
                *metric.name.claims.lock() = claims;
                vacant.insert(vec![Arc::clone(&metric)]);
                Ok(FoundSet::Set(metric, names))
            }
        }
    }
}
