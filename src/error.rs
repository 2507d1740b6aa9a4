//! The crate's public errors, except those of the encoding and of headers. Cold.
//!
//! Each message says what is wrong, what is allowed and what to do.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// The most bucket bounds that a histogram may be registered with. Each is a line of every scrape, for every label set.
///
/// ```
/// use tellane::{BOUNDS_MAX, RegisterError};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let bounds: Vec<f64> = (0..=BOUNDS_MAX as u32).map(f64::from).collect();
/// let error = telemetry.histogram("basket_items").bounds(&bounds).register().expect_err("one too many");
/// assert_eq!(error, RegisterError::TooManyBounds { bounds: BOUNDS_MAX + 1 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const BOUNDS_MAX: usize = 2_000;

/// The reason for which a metric was not registered. The program can go on with the handle's `noop()`.
///
/// ```
/// use tellane::{Counter, RegisterError};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let orders = telemetry.counter("orders-total").register();
/// assert_eq!(orders.clone().err(), Some(RegisterError::BadName { name: "orders-total".into() }));
/// orders.unwrap_or(Counter::noop()).inc(); // the program goes on
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is not `[a-zA-Z_:][a-zA-Z0-9_:]*`, is longer than 200 bytes, or starts with `__` or `tellane_`.
    BadName {
        /// The name.
        name: String,
    },
    /// A label's name is not `[a-zA-Z_][a-zA-Z0-9_]*`, starts with `__`, or is one that the exposition format uses
    /// itself (`le` and `quantile`).
    BadLabel {
        /// The label's name.
        label: String,
    },
    /// The same label is named twice.
    DuplicateLabel {
        /// The label's name.
        label: String,
    },
    /// The name is taken by a metric of another type, unit, or set of labels. Use another name, or the same
    /// definition.
    Conflict {
        /// The name.
        name: String,
        /// The first definition.
        first: String,
        /// The definition that was refused.
        wanted: String,
        /// The place of the first registration.
        at: &'static Location<'static>,
    },
    /// Significant digits are 1 to 5.
    BadDigits {
        /// The digits asked for.
        digits: u8,
    },
    /// The highest trackable value is less than 2.
    BadHighest {
        /// The value asked for.
        highest: u64,
    },
    /// The scale is not a finite number above zero.
    BadScale,
    /// The bucket bounds are not finite and increasing.
    BadBounds,
    /// More bucket bounds than [`BOUNDS_MAX`](crate::BOUNDS_MAX): each is a line of every scrape, for every label. Ask for
    /// fewer, or for none and read quantiles off the histogram.
    TooManyBounds {
        /// The number asked for.
        bounds: usize,
    },
    /// The instance has no number left: 2^20 histograms or 2^31 counters. Or a bridge met more metric names than
    /// [`Config::names_cap`](crate::Config::names_cap).
    Exhausted,
    /// This process is the child of a fork; its telemetry has to be started anew.
    Forked,
    /// This thread is registering something already: a global allocator registers a metric while tellane allocates for
    /// another one. Register before the allocator records, or use a static or a family: those lose no count.
    Reentrant,
    /// Records of counters and gauges were lost: a global allocator made them while tellane allocated, and there was
    /// nowhere to keep them. The fault's name is that of the first such metric. More than 1,024 statics were first used
    /// there, or a static was dereferenced, or a bridge met a new key. Use the metric once outside of the allocator, or
    /// call the static's own methods.
    RecordsLost {
        /// The number of records.
        records: u64,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { name } => write!(
                f,
                "{name:?} is not a metric name: use ASCII letters, digits, `_` and `:`, at most 200 bytes, and do not \
                 start with a digit, `__` or `tellane_`; {:?} is allowed",
                allowed_name(name, b":")
            ),
            Self::BadLabel { label } => write!(
                f,
                "{label:?} is not a label name: use ASCII letters, digits and `_`, at most 200 bytes, do not start \
                 with a digit or `__`, and do not use `le` or `quantile`; {:?} is allowed",
                allowed_name(label, b"")
            ),
            Self::DuplicateLabel { label } => write!(f, "the label {label:?} is named twice: name each label once"),
            Self::Conflict { name, first, wanted, at } => {
                write!(
                    f,
                    "{name} is registered as {first} at {at} and cannot be {wanted} too: use the same definition, or \
                     another name"
                )
            }
            Self::BadDigits { digits } => write!(f, "a histogram cannot have {digits} significant digits: use 1 to 5"),
            Self::BadHighest { highest } => {
                write!(f, "the highest trackable value cannot be {highest}: use 2 or more")
            },
            Self::BadScale => f.write_str("the scale must be finite and above zero, such as 1e9 for values in nanoseconds shown in seconds"),
            Self::BadBounds => f.write_str("bucket bounds must be finite and strictly increasing: sort them and remove duplicates"),
            Self::TooManyBounds { bounds } => write!(
                f,
                "a histogram cannot have {bounds} bucket bounds: use at most {BOUNDS_MAX}, since each is a line of every \
                 scrape"
            ),
            Self::Exhausted => f.write_str(
                "no number is left: an instance has room for 2^20 histograms and 2^31 counters, and a bridge for \
                 `Config::names_cap` metric names; register fewer, or raise the cap",
            ),
            Self::Forked => f.write_str("this process is a forked child: start a new instance in it"),
            Self::Reentrant => f.write_str(
                "this thread is registering another metric at this moment: register before the allocator records",
            ),
            Self::RecordsLost { records } => write!(
                f,
                "{records} records of this counter or gauge and others were lost, which a global allocator made while \
                 tellane allocated"
            ),
        }
    }
}

impl std::error::Error for RegisterError {}

/// A name close to `name` that is allowed: every other character becomes `_`, and a reserved beginning gets a letter in
/// front. `more` holds the allowed bytes beside letters, digits and `_`.
fn allowed_name(name: &str, more: &[u8]) -> String {
    let is_allowed = |letter: char| {
        letter.is_ascii_alphanumeric()
            || letter == '_'
            || u8::try_from(letter).is_ok_and(|byte| more.contains(&byte))
    };
    let allowed: String =
        name.chars().take(190).map(|letter| if is_allowed(letter) { letter } else { '_' }).collect();
    let starts_badly = allowed.is_empty()
        || allowed.starts_with(|first: char| first.is_ascii_digit())
        || ["__", "tellane_"].iter().any(|reserved| allowed.starts_with(reserved))
        || ["le", "quantile"].contains(&allowed.as_str());
    if starts_badly { format!("x_{allowed}") } else { allowed }
}

/// The reason for which an instance did not start.
///
/// ```
/// use tellane::{StartError, Telemetry};
/// let error = Telemetry::builder("shop").sampling(2.0).start().expect_err("more than all");
/// assert!(matches!(&error, StartError::Config(faults) if faults.len() == 1));
/// assert_eq!(error.to_string(), "the configuration cannot be used: sampling must be from 0 to 1");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself or leaves its ranges; every fault is listed.
    Config(Vec<ConfigFault>),
    /// The operating system gave no thread for the aggregator.
    Thread(std::io::Error),
    /// A global instance is installed already; there can be one. The running one is untouched.
    AlreadyInstalled,
    /// This process was forked while another thread of its parent was inside
    /// [`install`](crate::Builder::install), so the global instance stays half installed here. Use
    /// [`start`](crate::Builder::start) in this process, or fork before the parent installs.
    Forked,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(faults) => {
                f.write_str("the configuration cannot be used: ")?;
                faults.iter().enumerate().try_for_each(|(at, fault)| {
                    let separator = if at == 0 { "" } else { "; " };
                    write!(f, "{separator}{fault}")
                })
            }
            Self::Thread(error) => write!(f, "the operating system has no thread for the aggregator: {error}"),
            Self::AlreadyInstalled => f.write_str(
                "a global instance is installed already: `Telemetry::installed` returns it, and `start` makes another \
                 one beside it",
            ),
            Self::Forked => f.write_str(
                "this process is a forked child whose parent was installing telemetry at the fork: use `start` here",
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}

/// One setting that cannot be used.
///
/// ```
/// let config = tellane::Config { series_cap: 0, ..Default::default() };
/// let fault = &config.faults()[0];
/// assert_eq!((fault.setting, fault.rule), ("series_cap", "above zero"));
/// assert_eq!(fault.to_string(), "series_cap must be above zero");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigFault {
    /// The setting's name in [`Config`](crate::Config).
    pub setting: &'static str,
    /// The allowed values.
    pub rule: &'static str,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}", self.setting, self.rule)
    }
}

/// The reason for which there is no fresh snapshot. [`latest`](crate::Telemetry::latest) returns the last one made.
///
/// ```
/// use std::time::Duration;
/// use tellane::SnapshotError;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let snapshot = match telemetry.snapshot(Duration::ZERO) {
///     Err(SnapshotError::Deadline { after }) => {
///         assert_eq!(after, Duration::ZERO);
///         telemetry.latest()
///     }
///     taken => taken?,
/// };
/// assert_eq!(snapshot.service(), "shop");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The aggregator did not answer within the deadline.
    Deadline {
        /// The deadline.
        after: Duration,
    },
    /// The aggregator failed on the request, again and again, or has ended other than by a shutdown. What it could not
    /// fold is counted as corrupt; what is recorded after its end, as
    /// [`AfterShutdown`](crate::Reason::AfterShutdown).
    Ended,
    /// The caller is a thread of tellane itself, which would wait for itself.
    OwnThread,
    /// This process is the child of a fork, and has no aggregator.
    Forked,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { after } => write!(
                f,
                "the aggregator did not answer within {after:?}: allow more time, or use the last snapshot, which \
                 `latest` returns"
            ),
            Self::Ended => f.write_str(
                "the aggregator failed, or has ended without a shutdown; `latest` returns its last snapshot",
            ),
            Self::OwnThread => {
                f.write_str("one of tellane's own threads cannot wait for a snapshot: use `latest` there")
            }
            Self::Forked => f.write_str(
                "this process is a forked child without an aggregator: start a new instance in it",
            ),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// The reason for which two snapshots cannot be merged.
///
/// ```
/// # use std::time::Duration;
/// use tellane::MergeError;
/// let (here, there) = (tellane::Telemetry::builder("a").start()?, tellane::Telemetry::builder("b").start()?);
/// here.gauge("load").register()?.set(0.5);
/// there.histogram("load").register()?.record(1);
/// let (here, there) = (here.snapshot(Duration::from_secs(5))?, there.snapshot(Duration::from_secs(1))?);
/// assert_eq!(here.merge(&there).err(), Some(MergeError::Mismatch { name: "load".into() }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeError {
    /// A metric has another type, unit or precision in the other snapshot.
    Mismatch {
        /// The metric's name.
        name: String,
    },
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { name } => {
                write!(
                    f,
                    "{name} has another type, unit or precision in the other snapshot: merge snapshots of one definition"
                )
            }
        }
    }
}

impl std::error::Error for MergeError {}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_refused_name_comes_with_one_that_is_allowed() {
        for (name, metric, label) in [
            ("http.requests", "http_requests", "http_requests"),
            ("9lives", "x_9lives", "x_9lives"),
            ("tellane_state", "x_tellane_state", "x_tellane_state"),
            ("__a", "x___a", "x___a"),
            ("a:b", "a:b", "a_b"),
            ("le", "x_le", "x_le"),
            ("", "x_", "x_"),
            ("größe", "gr__e", "gr__e"),
        ] {
            assert_eq!((allowed_name(name, b":"), allowed_name(name, b"")), (metric.into(), label.into()));
        }
        let error = RegisterError::BadName { name: "http.requests".into() };
        assert!(error.to_string().ends_with("\"http_requests\" is allowed"), "{error}");
    }
}
