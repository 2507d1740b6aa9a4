//! Failed registrations and lost records of callers that cannot get an error back. Cold.

use crate::error::RegisterError;
use crate::lane::local;
use crate::names::{SHOWN_MAX, beginning};
use crate::sync::{AtomicU64, Mutex, Ordering};
use arrayvec::ArrayString;
use std::sync::OnceLock;

/// The number of faults that are kept.
const FAULTS_MAX: usize = 100;
/// Maximum bytes of the name kept for lost records.
const LOST_NAME: usize = 200;

/// A failed registration of a static or a bridge, whose caller cannot get the error back.
///
/// ```
/// static LOAD: tellane::LazyGauge = tellane::gauge!("my load", "Share of time at work.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// LOAD.set(0.5); // a metric name has no space: nothing is set
/// let fault = &telemetry.faults()[0];
/// assert_eq!(fault.name, "my load");
/// assert!(fault.error.to_string().starts_with("\"my load\" is not a metric name"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationFault {
    /// The metric's name as the caller wrote it.
    pub name: String,
    /// The reason why the registration failed.
    pub error: RegisterError,
}

/// The faults of one instance. The first hundred are kept.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    failed: Mutex<Vec<RegistrationFault>>,
    /// The number of lost records of counters and gauges. Counting may happen under any lock, so it takes no lock and
    /// allocates nothing. Relaxed: a count that publishes nothing.
    lost: AtomicU64,
    /// The name of the first metric that lost a record, or its beginning.
    lost_name: OnceLock<ArrayString<LOST_NAME>>,
}

impl Faults {
    pub(super) fn add(&self, name: &str, error: RegisterError) {
        local::without_recording(|| {
            let mut failed = self.failed.lock();
            if failed.len() < FAULTS_MAX {
                failed.push(RegistrationFault { name: beginning(name, SHOWN_MAX).into_owned(), error });
            }
        });
    }

    pub(super) fn all(&self) -> Vec<RegistrationFault> {
        local::without_recording(|| {
            let mut faults = self.failed.lock().clone();
            let records = self.lost.load(Ordering::Relaxed);
            if records > 0 {
                let name = self.lost_name.get().map_or(String::new(), ToString::to_string);
                faults.push(RegistrationFault { name, error: RegisterError::RecordsLost { records } });
            }
            faults
        })
    }

    /// Counts a lost record of a counter or a gauge: an allocator made it under one of tellane's locks.
    #[cold]
    pub(crate) fn count_lost_of(&self, name: &str) {
        self.set_lost_name(name);
        self.count_lost();
    }

    /// Counts a lost record of a metric that [`set_lost_name`](Self::set_lost_name) has named.
    #[cold]
    pub(crate) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the name of the first metric that loses a record.
    #[cold]
    pub(crate) fn set_lost_name(&self, name: &str) {
        if self.lost_name.get().is_none() {
            let mut short = ArrayString::new();
            short.push_str(&name[..name.floor_char_boundary(LOST_NAME)]);
            let _another_was_first = self.lost_name.set(short);
        }
    }
}
