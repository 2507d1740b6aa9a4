//! Sampling by outcome: which of the traces that head sampling leaves out are kept after all. Cold.

use std::time::Duration;

/// What keeps a trace that head sampling left out. Its spans are held by the aggregator until its local root (the
/// first of its spans that has no parent in this process) has ended, and then kept or dropped together: kept if any of
/// these rules says so.
///
/// Sampled traces are kept as they come, so [`Config::sampling`](crate::Config::sampling) is the share that is kept
/// whatever happens. Metrics of spans are taken before all of this and are exact.
///
/// A trace that was dropped may come back, as a service is called a second time in one trace. Its further spans are
/// held again until their own local root ends, and kept or dropped by the same rules. A span that ends after its local
/// root is held for [`longest_wait`](Self::longest_wait); such traces are the first to go when a cap is reached.
///
/// It knows of this process only: what other processes recorded of the same trace was decided there, and is not
/// fetched.
///
/// ```
/// use std::time::Duration;
/// use tellane::{Config, TailSampling, Telemetry};
/// let outcome = TailSampling { slower_than: Some(Duration::from_secs(1)), ..TailSampling::default() };
/// let config = Config { sampling: 0.0, tail_sampling: Some(outcome), ..Config::default() };
/// let telemetry = Telemetry::builder("shop").config(config).start()?;
/// let tracer = telemetry.tracer();
/// drop(tracer.span("went well"));
/// tracer.span("went wrong").fail();
/// let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
/// let kept: Vec<_> = snapshot.spans().map(|span| span.name.to_string()).collect();
/// assert_eq!(kept, ["went wrong"]);
/// assert_eq!((snapshot.tail_sampling().error, snapshot.tail_sampling().uninteresting), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TailSampling {
    /// Keep a trace if one of its spans failed. Default true.
    pub errors: bool,
    /// Keep it if its local root took longer than this. Default none.
    pub slower_than: Option<Duration>,
    /// Keep it if its local root took longer than 99 of 100 spans of its name and kind did so far; says nothing before
    /// there are 100. Default true.
    pub slower_than_p99: bool,
    /// Keep it if one of its spans has an attribute with one of these keys and, unless it is `None`, the value whose
    /// text this is. Default none.
    pub attributes: Vec<(String, Option<String>)>,
    /// Share of the held traces that are kept whatever happens, from 0 to 1, by their ids. Default 0.
    pub ratio: f64,
    /// Traces held at a time; above, the oldest is decided early, by what is known of it. Default 10,000.
    pub traces: usize,
    /// Spans held of a trace, its local root beside; further ones are looked at by the rules, and dropped. Default
    /// 1,000.
    pub spans_per_trace: usize,
    /// Bytes of spans held at a time; above, the oldest trace is decided early. Default 32 MiB.
    pub bytes: usize,
    /// A trace is decided after this long, by what is known of it, if its local root has not ended. Default 30 s.
    pub longest_wait: Duration,
}

impl Default for TailSampling {
    fn default() -> Self {
        Self {
            errors: true,
            slower_than: None,
            slower_than_p99: true,
            attributes: Vec::new(),
            ratio: 0.0,
            traces: 10_000,
            spans_per_trace: 1_000,
            bytes: 32 << 20,
            longest_wait: Duration::from_secs(30),
        }
    }
}
