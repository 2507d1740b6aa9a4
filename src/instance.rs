//! One telemetry instance: everything that its handles, its aggregator and its front door share. Cold: hot
//! calls use copies of the parts they need.

mod extensions;
mod faults;
mod keys;
mod list;

pub use faults::RegistrationFault;
pub(crate) use keys::{entry, key_number, more_room, push};
pub(crate) use list::{enlist, find, global, install_global};

use crate::error::RegisterError;
use crate::lane::{LaneRegistry, SpanNameMeta};
use crate::names::NameTables;
use crate::record::SpanKind;
use crate::sampling::Sampling;
use crate::series::{Caps, Metric, MetricRegistry, Storage};
use crate::targets::{LogSettings, LogTargets};
use extensions::Extensions;
use faults::Faults;
use std::sync::Arc;

/// The parts of one instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) lanes: Arc<LaneRegistry>,
    pub(crate) names: NameTables,
    pub(crate) metrics: MetricRegistry,
    pub(crate) logs: LogTargets,
    pub(crate) sampling: Sampling,
    pub(crate) faults: Faults,
    pub(crate) extensions: Extensions,
}

impl Instance {
    pub(crate) fn new(lanes: Arc<LaneRegistry>, caps: Caps, sampling: Sampling, logs: LogSettings) -> Self {
        Self {
            names: NameTables::new(caps.names, caps.label),
            metrics: MetricRegistry::new(Arc::clone(&lanes), caps),
            logs: LogTargets::new(lanes.instance, &lanes.clock, logs, caps.label),
            sampling,
            faults: Faults::default(),
            extensions: Extensions::default(),
            lanes,
        }
    }

    /// Bytes that live as long as the instance: names, keys, targets, definitions, series, and the caches that families
    /// and bridges keep of them. Takes no lock.
    pub(crate) fn bytes(&self) -> usize {
        self.names.bytes() + self.logs.bytes() + self.metrics.bytes()
    }

    /// Interns a span name, and registers the histogram of its durations and the counter of its errors.
    pub(crate) fn span_name(&self, name: &str, kind: SpanKind) -> SpanNameMeta {
        self.names.span(name, kind, |name| {
            let series =
                |metric: Result<Arc<Metric>, _>| self.metrics.series(&*metric?, &[name, kind.label()]);
            let durations = series(self.metrics.span_durations()).ok()?;
            let errors = series(self.metrics.span_errors()).ok()?;
            match (&durations.storage, &errors.storage) {
                (Storage::Histogram(durations), Storage::Cell(errors)) => {
                    Some((durations.series(), errors.index()))
                }
                _ => None,
            }
        })
    }

    /// Keeps the error of a registration whose caller cannot get it back: a static or a bridge.
    pub(crate) fn fault(&self, name: &str, error: RegisterError) {
        // In a forked child the lock may be held by a thread that does not exist there.
        if !self.lanes.is_forked() {
            self.faults.add(name, error);
        }
    }

    /// All faults; none in a forked child, where the lock may be held by a thread that does not exist there.
    pub(crate) fn faults(&self) -> Vec<RegistrationFault> {
        if self.lanes.is_forked() { Vec::new() } else { self.faults.all() }
    }
}
