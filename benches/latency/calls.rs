//! The calls that are looked at one by one, and what must have come of them in the end.

use crate::support::{balanced, values};
use std::hint::black_box;
use tellane::{
    Counter, Family, Histogram, Kind, KindLedger, Logger, Reason, ShutdownReport, Snapshot, Telemetry, Timer,
    Tracer,
};

/// A loop around a call, told apart by the type: the call is inlined into it.
pub(crate) trait Around {
    fn run(self, call: impl FnMut(u32));
}

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Counter,
    Histogram,
    Timer,
    Root,
    Child,
    Attributes,
    Log,
    Family,
}

/// An instance's handles, for all threads.
pub(crate) struct Handles {
    counter: Counter,
    histogram: Histogram,
    timer: Timer,
    tracer: Tracer,
    log: Logger,
    family: Family<Counter, 2>,
    routes: Vec<String>,
    values: Vec<u64>,
}

impl Handles {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            counter: telemetry.counter("calls_total").register().expect("a fresh name"),
            histogram: telemetry.histogram("latency").seconds().register().expect("a fresh name"),
            timer: telemetry.timer("work").register().expect("a fresh name"),
            tracer: telemetry.tracer(),
            log: telemetry.logger("bench"),
            family: telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name"),
            routes: (0..100).map(|number| format!("/shop/{number}/items")).collect(),
            values: values(),
        }
    }
}

/// Where the records of a case went.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) recorded: u64,
    pub(crate) aggregated: u64,
    pub(crate) dropped: u64,
    pub(crate) switched_off: u64,
}

impl From<KindLedger> for Account {
    fn from(of: KindLedger) -> Self {
        Self {
            recorded: of.recorded,
            aggregated: of.aggregated,
            dropped: of.dropped.total(),
            switched_off: of.switched_off,
        }
    }
}

impl Call {
    pub(crate) const ALL: [Self; 8] = [
        Self::Counter,
        Self::Histogram,
        Self::Timer,
        Self::Root,
        Self::Child,
        Self::Attributes,
        Self::Log,
        Self::Family,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter inc",
            Self::Histogram => "histogram record",
            Self::Timer => "timer start and stop",
            Self::Root => "span, root",
            Self::Child => "span, child",
            Self::Attributes => "span, child with 2 attributes",
            Self::Log => "log call, 2 fields",
            Self::Family => "counter inc, family of 2 labels",
        }
    }

    /// Whether it goes through the ring, and so hears of an aggregator that does not drain it.
    pub(crate) fn uses_ring(self) -> bool {
        !matches!(self, Self::Counter | Self::Family)
    }

    /// Hands the call to the loop around it, on the thread that is to make it.
    pub(crate) fn hand_to(self, around: impl Around, handles: &Handles) {
        let Handles { counter, histogram, timer, tracer, log, family, routes, values } = handles;
        let _around = matches!(self, Self::Child | Self::Attributes).then(|| tracer.span("around"));
        match self {
            Self::Counter => around.run(|_| counter.inc()),
            Self::Histogram => {
                around.run(|number| histogram.record(black_box(values[number as usize & 8191])))
            }
            Self::Timer => around.run(|_| drop(timer.start())),
            Self::Root => around.run(|_| drop(tracer.span("root"))),
            Self::Child => around.run(|_| drop(tracer.span("child"))),
            Self::Attributes => around.run(|number| {
                let mut span = tracer.span("child");
                span.set("number", number);
                span.set("method", "GET");
            }),
            Self::Log => {
                around.run(|number| tellane::info!(log, "order placed", number = number, by = "web"))
            }
            Self::Family => around.run(|number| {
                family.with(["GET", black_box(&routes[number as usize % routes.len()])]).inc();
            }),
        }
    }

    /// Asserts that of `made` calls on so many threads nothing was lost uncounted, and says where the records are.
    pub(crate) fn check(self, made: u64, threads: u64, end: &ShutdownReport, last: &Snapshot) -> Account {
        assert!(end.finished, "{}: the aggregator has ended", self.name());
        let kind = match self {
            Self::Counter | Self::Family => {
                let name = if self == Self::Counter { "calls_total" } else { "served_total" };
                let series = last.points().filter(|point| point.name() == name);
                let total: u64 = series.map(|point| count(point.value())).sum();
                assert_eq!(total, made, "{}", self.name());
                return Account { recorded: made, aggregated: made, ..Account::default() };
            }
            Self::Histogram | Self::Timer => Kind::Sample,
            Self::Root | Self::Child | Self::Attributes => Kind::Span,
            Self::Log => Kind::Log,
        };
        let account = balanced(&end.ledger, kind);
        let around = if matches!(self, Self::Child | Self::Attributes) { threads } else { 0 };
        assert_eq!(account.recorded, made + around, "{}", self.name());
        match kind {
            Kind::Sample => {
                let name = if self == Self::Histogram { "latency_seconds" } else { "work_seconds" };
                assert_eq!(account.dropped.total(), 0, "samples are never dropped");
                let count = last.histogram(name, &[]).map(|view| view.count());
                assert_eq!(count, Some(account.aggregated));
            }
            Kind::Span => {
                let durations = |name| last.span_durations(name).map_or(0, |view| view.count());
                let counted = durations("root") + durations("child") + durations("around");
                assert_eq!(counted, account.recorded - account.switched_off, "a shed span's duration counts");
                let shed = account.dropped.by(Reason::RingFull) + account.dropped.by(Reason::Degraded);
                assert_eq!(account.dropped.total(), shed, "spans are dropped for want of room only");
            }
            _ => {}
        }
        account.into()
    }
}

fn count(value: &tellane::PointValue) -> u64 {
    match value {
        tellane::PointValue::Counter(count) => *count,
        _ => 0,
    }
}
