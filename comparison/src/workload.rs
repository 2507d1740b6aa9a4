//! What the calls are fed with: the same for every peer, made by a fixed generator before anything is timed.

/// How many values there are; a power of two, so that a call finds its own with a mask.
const VALUES: usize = 8192;

/// Different label combinations; the table repeats the first ones up to a power of two.
pub(crate) const SERIES: usize = 100;
const LABELS: usize = 128;

/// Upper bounds of the histograms that want some: eleven, in nanoseconds, around the median of the values.
pub(crate) const BOUNDS: [u64; 11] =
    [1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 30_000, 50_000, 100_000, 250_000, 1_000_000];

/// The same in seconds.
pub(crate) fn bounds_in_seconds() -> [f64; 11] {
    BOUNDS.map(|bound| bound as f64 * 1e-9)
}

/// Values as latencies fall, in nanoseconds: log-normal around 20,000, spread over three decades.
pub(crate) fn values() -> &'static [u64; VALUES] {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut uniform = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut value = || (9.9 + (0..12).map(|_| uniform()).sum::<f64>() - 6.0).exp() as u64;
    Box::leak(Box::new(std::array::from_fn(|_| value())))
}

/// The same in seconds, for the peers that take floats.
pub(crate) fn seconds() -> &'static [f64; VALUES] {
    Box::leak(Box::new(values().map(|value| value as f64 * 1e-9)))
}

/// The value for a call.
#[inline(always)]
pub(crate) fn at<T: Copy>(values: &[T; VALUES], number: u32) -> T {
    values[number as usize & (VALUES - 1)]
}

/// Two dynamic texts a call: 5 methods by 20 routes, known only at run time.
pub(crate) fn labels() -> &'static [(&'static str, &'static str); LABELS] {
    const METHODS: [&str; 5] = ["GET", "PUT", "POST", "PATCH", "DELETE"];
    let texts: Vec<(&str, &str)> = (0..SERIES)
        .map(|number| {
            let route = format!("/api/v1/resource-{:02}", number / METHODS.len());
            (METHODS[number % METHODS.len()].to_owned().leak() as &str, route.leak() as &str)
        })
        .collect();
    Box::leak(Box::new(std::array::from_fn(|number| texts[number % SERIES])))
}

/// The labels for a call.
#[inline(always)]
pub(crate) fn pair(
    labels: &'static [(&'static str, &'static str); LABELS],
    number: u32,
) -> (&'static str, &'static str) {
    labels[number as usize & (LABELS - 1)]
}

/// One of the two enums of the rows with enum labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// The other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Fine,
    Moved,
    Refused,
    Failed,
}

impl Method {
    pub(crate) const ALL: [Self; 4] = [Self::Get, Self::Put, Self::Post, Self::Delete];

    /// Its text.
    #[inline(always)]
    pub(crate) fn text(self) -> &'static str {
        ["get", "put", "post", "delete"][self as usize]
    }
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Fine, Self::Moved, Self::Refused, Self::Failed];

    /// Its text.
    #[inline(always)]
    pub(crate) fn text(self) -> &'static str {
        ["2xx", "3xx", "4xx", "5xx"][self as usize]
    }
}

/// The enums for a call: all 16 pairs in turn.
#[inline(always)]
pub(crate) fn kinds(number: u32) -> (Method, Class) {
    (Method::ALL[number as usize & 3], Class::ALL[(number as usize >> 2) & 3])
}

/// A tree of 100 spans: a root, nine children, ten grandchildren each.
#[inline(always)]
pub(crate) fn tree<R, C, L>(root: impl FnOnce() -> R, child: impl Fn() -> C, leaf: impl Fn() -> L) {
    let _root = root();
    for _ in 0..9 {
        let _child = child();
        for _ in 0..10 {
            let _leaf = leaf();
        }
    }
}
