//! Settings of tail sampling: the rules that keep traces which head sampling left out. Cold.

use std::time::Duration;

/// Tail sampling: the rules that keep a trace which head sampling left out. The aggregator holds the spans of such a
/// trace until its local root (the first span that has no parent in this process) has ended. Then it keeps or drops all
/// of them together; one matching rule is enough to keep them.
///
/// Sampled traces are kept at once, without these rules, so [`Config::sampling`](crate::Config::sampling) is the share
/// of traces that is always kept. Metrics of spans are recorded before sampling and stay exact.
///
/// A dropped trace may come back, if this service is called a second time in the same trace. The new spans are held
/// until their own local root ends, and are kept or dropped by the same rules. A span that ends after its local root is
/// held for [`longest_wait`](Self::longest_wait); such traces are the first to be decided when a cap is reached.
///
/// Tail sampling covers this process only: other processes decide for their own spans of the trace.
///
/// ```
/// use std::time::Duration;
/// use tellane::{Config, TailSampling, Telemetry};
/// let rules = TailSampling { slower_than: Some(Duration::from_secs(1)), ..TailSampling::default() };
/// let config = Config { sampling: 0.0, tail_sampling: Some(rules), ..Config::default() };
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
    /// Keep a trace if its local root took longer than this. Default none.
    pub slower_than: Option<Duration>,
    /// Keep a trace if its local root took longer than the 99th percentile of all spans of the same name and kind so
    /// far; inactive until there are 100 such spans. Default true.
    #[doc(alias = "percentile")]
    pub slower_than_p99: bool,
    /// Keep a trace if one of its spans has an attribute with one of these keys; with `Some` text, only if the value,
    /// written as text, is equal to it. Default none.
    pub attributes: Vec<(String, Option<String>)>,
    /// Share of the held traces that are kept regardless of the other rules, from 0 to 1, chosen by trace id. Default
    /// 0.
    pub ratio: f64,
    /// Most traces held at the same time; above it the oldest trace is decided early, from its spans so far. Default
    /// 10,000.
    pub traces: usize,
    /// Most spans held of one trace, besides its local root. The rules also look at further spans, which are then
    /// dropped. Default 1,000.
    pub spans_per_trace: usize,
    /// Most bytes of spans held at the same time; above it the oldest trace is decided early. Default 32 MiB.
    pub bytes: usize,
    /// Time after which a trace is decided from its spans so far if its local root has not ended. Default 30 s.
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
