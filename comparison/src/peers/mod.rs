//! Who is measured: a file each. A peer makes its rows when its process starts; what its rates need they set up
//! themselves, since each runs in a process of its own.

mod contatori;
mod env_logger;
mod fastmetrics;
mod fastrace;
mod floors;
mod hdrhistogram;
mod measured;
mod metrics;
mod metrics_lib;
mod metriken;
mod micromegas;
mod opentelemetry;
mod prometheus;
mod prometheus_client;
mod puffin;
mod tellane;
mod tracing;
mod tracing_fmt;
mod tracy;

use crate::rate::Rate;
use crate::row::{CALLS, Made, Row};
use std::sync::atomic::{AtomicU64, Ordering};

/// A peer: rows and rates that share a process.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) rows: fn() -> Vec<Row>,
    pub(crate) rates: fn() -> Vec<Rate>,
}

/// All of them. A name may occur more than once, where what a process can set only once must be set differently.
pub(crate) const PEERS: &[Peer] = &[
    Peer { name: "floor", rows: floors::rows, rates: floors::rates },
    Peer { name: "tellane", rows: tellane::metrics::rows, rates: tellane::metrics::rates },
    Peer { name: "tellane", rows: tellane::spans::rows, rates: tellane::spans::rates },
    Peer { name: "tellane", rows: tellane::logs::rows, rates: Vec::new },
    Peer { name: "tellane", rows: tellane::off::not_installed, rates: Vec::new },
    Peer { name: "tellane", rows: tellane::off::rows, rates: Vec::new },
    Peer { name: "tellane", rows: tellane::scrape::rows, rates: Vec::new },
    Peer { name: "prometheus", rows: prometheus::rows, rates: prometheus::rates },
    Peer { name: "prometheus-client", rows: prometheus_client::rows, rates: prometheus_client::rates },
    Peer { name: "metrics + exporter", rows: metrics::rows, rates: metrics::rates },
    Peer { name: "opentelemetry", rows: opentelemetry::metrics::rows, rates: opentelemetry::metrics::rates },
    Peer { name: "opentelemetry", rows: opentelemetry::spans::rows, rates: opentelemetry::spans::rates },
    Peer { name: "measured", rows: measured::rows, rates: measured::rates },
    Peer { name: "metriken", rows: metriken::rows, rates: metriken::rates },
    Peer { name: "hdrhistogram", rows: hdrhistogram::rows, rates: hdrhistogram::rates },
    Peer { name: "fastmetrics", rows: fastmetrics::rows, rates: fastmetrics::rates },
    Peer { name: "contatori", rows: contatori::rows, rates: Vec::new },
    Peer { name: "metrics-lib", rows: metrics_lib::rows, rates: metrics_lib::rates },
    Peer { name: "log + env_logger", rows: env_logger::rows, rates: Vec::new },
    Peer { name: "fastrace", rows: fastrace::rows, rates: fastrace::rates },
    Peer { name: "tracing, no subscriber", rows: tracing::without_subscriber, rates: Vec::new },
    Peer { name: "tracing + registry", rows: tracing::with_registry, rates: Vec::new },
    Peer { name: "tracing + registry + no-op layer", rows: tracing::with_layer, rates: Vec::new },
    Peer { name: "tracing + registry + tellane's layer", rows: tracing::with_tellane_layer, rates: Vec::new },
    Peer { name: "tracing + tellane's subscriber", rows: tracing::with_tellane_subscriber, rates: Vec::new },
    Peer { name: "tracing + fmt", rows: tracing_fmt::rows, rates: Vec::new },
    Peer { name: "tracing + opentelemetry", rows: tracing::with_opentelemetry, rates: tracing::rates },
    Peer { name: "puffin", rows: puffin::rows, rates: puffin::rates },
    Peer { name: "tracy", rows: tracy::rows, rates: tracy::rates },
    Peer { name: "micromegas", rows: micromegas::rows, rates: micromegas::rates },
];

/// What a peer's calls made and what its sink saw, for peers whose sink cannot tell one row from another: their last
/// row answers for all of them.
pub(crate) struct Account {
    made: AtomicU64,
    seen: AtomicU64,
}

impl Account {
    pub(crate) const fn new() -> Self {
        Self { made: AtomicU64::new(0), seen: AtomicU64::new(0) }
    }

    /// Once a batch.
    pub(crate) fn make(&self, records: u64) {
        self.made.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    pub(crate) fn see(&self, records: u64) {
        self.seen.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// So many have been seen; it must be all that was made so far.
    pub(crate) fn at_least(&self, seen: u64) {
        let made = self.made();
        assert!(seen >= made, "{seen} seen of {made} that were made");
    }

    /// How many are lost.
    pub(crate) fn lost(&self) -> u64 {
        let (made, seen) = (self.made(), self.seen());
        assert!(seen <= made, "{seen} seen of {made} that were made");
        assert!(seen > 0 || made == 0, "nothing seen of {made}");
        made - seen
    }
}

/// A gauge that was set must show what it was set to last: the number of a batch's last call.
fn set_last(made: Made, value: f64) -> u64 {
    assert!(made.calls == 0 || value == f64::from(CALLS - 1), "the gauge shows {value}");
    0
}

/// Discards text, and counts its lines: where log records go. One a process.
struct Lines;

static LINES: AtomicU64 = AtomicU64::new(0);

impl Lines {
    /// How many lines have come.
    fn seen() -> u64 {
        LINES.load(Ordering::Relaxed)
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(u64::from(text.ends_with(b"\n")), Ordering::Relaxed);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The sum of the values of the lines that begin so, in the text format of Prometheus.
fn sum_in_text(text: &str, begin: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(begin));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

/// A scrape must show all its series: so many lines that begin so.
fn assert_lines(text: &str, begin: &str, lines: usize) {
    assert_eq!(text.lines().filter(|line| line.starts_with(begin)).count(), lines, "lines of {begin}");
}
