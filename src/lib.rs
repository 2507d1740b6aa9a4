//! A telemetry core for hot paths where ordinary instrumentation is too slow: counters, gauges, histograms, spans and
//! logs that cost nanoseconds, never block, and account for every record.
//!
//! Every thread records into its own lane: counter cells that no other thread writes, and a ring of words that a
//! background aggregator drains into HDR histograms and finished spans. Records that do not fit are counted by reason
//! in the [`Ledger`]; metrics are exact at any load. When the pipeline stalls or is overloaded, the [`Switch`] reduces
//! recording or turns it off.
//!
//! ```
//! use std::time::Duration;
//! use tellane::Telemetry;
//!
//! let telemetry = Telemetry::builder("shop").start()?;
//! let orders = telemetry.counter("orders_total").help("Orders placed.").register()?;
//! let wait = telemetry.timer("wait").help("Time in the queue.").register()?;
//! let tracer = telemetry.tracer();
//!
//! for _ in 0..1_000 {
//!     let mut span = tracer.span("order");
//!     span.set("items", 3_u64);
//!     wait.time(|| orders.inc());
//! }
//!
//! let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
//! println!("{}", tellane::Report(&snapshot));
//! assert_eq!(snapshot.counter("orders_total", &[]), Some(1_000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In a library or a large program
//!
//! Metrics can be statics, which needn't be passed around: see [`counter!`], [`gauge!`], [`histogram!`] and [`timer!`].
//! They record into the instance that [`Builder::install`] made global, and do nothing before that.
//!
//! # Guarantees
//!
//! After a thread's first use (of the instance, of a name, of a label combination) recording takes no lock, makes no
//! allocation and no system call, never blocks and never panics. (A thread caches 192 span names and as many attribute
//! keys; a thread that uses more, or that got no lane, may take a short lock.) For every kind of record, recorded =
//! aggregated + dropped by reason + suppressed, to the last record. It is not safe to record from a signal handler that
//! interrupts recording on the same thread. A global allocator may record, through handles made beforehand; records
//! that it makes while tellane itself allocates go to shared counts.

// The modules in alphabetical order, the public names in the order of the data's path: from the thread to the reader.
mod aggregate;
#[cfg(any(feature = "log", feature = "metrics", feature = "tracing"))]
pub mod bridge;
mod clock;
mod config;
mod context;
mod error;
mod export;
#[cfg(any(fuzzing, tellane_plant))]
#[doc(hidden)]
pub mod fuzzing;
mod instance;
mod lane;
mod level;
mod log;
mod metrics;
#[cfg(all(test, tellane_loom))]
mod model;
mod names;
pub mod record;
mod sampling;
mod series;
mod snapshot;
mod stats;
mod switch;
mod sync;
mod targets;
mod telemetry;
pub mod testing;
mod trace;
mod unwind;

pub use metrics::{
    Counter, CounterBuilder, Family, FixedFamily, Gauge, GaugeBuilder, Handle, Histogram, HistogramBuilder,
    Label, LabelSet, Lazy, LazyCounter, LazyGauge, LazyHistogram, LazyTimer, LazyUpDownCounter, Stopwatch,
    Timer, TimerBuilder, UpDownCounter, UpDownCounterBuilder,
};
#[cfg(feature = "macros")]
pub use tellane_macros::{Label, observed};
pub use trace::{
    Attribute, Context, ContextGuard, Entered, EventBuilder, InContext, InSpan, OwnedSpan, Span, SpanBuilder,
    SpanContext, Spanned, SpannedResult, Tracer, tracer,
};

pub use log::{LogRecordBuilder, Logger, logger};

pub use context::{
    Baggage, BaggageError, BaggageMember, Extract, HeaderFaults, Incoming, Inject, RemoteParent, TraceState,
    TraceparentError, TracestateError, inject,
};

pub use snapshot::{
    Exemplar, FinishedSpan, HistogramView, LogRecord, Pipeline, Point, PointValue, ReadError, Snapshot,
    SpanEvent, SpanLink, TailSamplingStats, Trace,
};
pub use stats::{Drops, ExemplarLedger, Kind, KindLedger, Ledger, Reason};

pub use export::{Format, LogMemory, Report, Rotation, Sink, prometheus};

pub use clock::{Clock, MockClock};
pub use config::{Config, SpanLimits, TailSampling};
pub use error::{BOUNDS_MAX, ConfigFault, MergeError, RegisterError, SnapshotError, StartError};
pub use instance::RegistrationFault;
pub use level::{Level, ParseLevelError};
pub use record::{SpanKind, Status, Value};
pub use series::{MetricKind, Unit};
pub use switch::{Cause, State, Transition};
pub use targets::ParseLevelsError;
pub use telemetry::{Builder, ShutdownReport, Switch, Telemetry};

#[doc(hidden)]
pub use aggregate::FailPoint;
#[doc(hidden)]
pub use log::macro_support;

/// The README's examples, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
