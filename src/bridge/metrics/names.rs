//! Conversion of the `metrics` crate's names, labels and units to tellane's. Cold: runs once for each series.

use crate::metrics::{DIGITS, bounds_of};
use crate::names::beginning;
use crate::series::{GivenLabel, HELP_MAX, MetricKind, Shape, Unit};
use ::metrics::Key;

/// The highest trackable value, as a recorded integer. The range of a foreign histogram is not known in advance, and
/// each doubling takes only 1 KiB.
const HIGHEST: u64 = u64::MAX / 2;

/// Converts a text to a valid name: replaces invalid characters and fixes an invalid beginning.
fn word(raw: &str, colons: bool) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || (colons && letter == ':');
    let mut word: String = raw.chars().map(|letter| if is_part(letter) { letter } else { '_' }).collect();
    let underscores = word.bytes().take_while(|byte| *byte == b'_').count();
    word.drain(..underscores.saturating_sub(1));
    if word.is_empty() || word.starts_with(|first: char| first.is_ascii_digit()) {
        word.insert(0, '_');
    }
    word
}

/// Converts a metric's name; the unit and `_total` are added later.
pub(super) fn metric_name(raw: &str) -> String {
    let name = word(raw, true);
    if name.starts_with("tellane_") { format!("_{name}") } else { name }
}

/// The labels of a key, sorted by their original names. If a name is given twice, the greater value is used.
pub(super) fn labels(key: &Key) -> Vec<GivenLabel<'_>> {
    let mut given: Vec<(&str, &str)> = key.labels().map(|label| (label.key(), label.value())).collect();
    // By value too: for `metrics`, keys that differ only in the order of labels are equal, so order must not matter
    // here.
    given.sort_unstable();
    let is_last = |at: usize, name: &str| given.get(at + 1).is_none_or(|(next, _)| *next != name);
    let last = given.iter().enumerate().filter(|(at, (name, _))| is_last(*at, name));
    last.map(|(_, (name, value))| GivenLabel { name, word: label_word(name), value }).collect()
}

/// Converts a label's name. `le` and `quantile` are reserved by the text format.
fn label_word(given: &str) -> String {
    let word = word(given, false);
    if ["le", "quantile"].contains(&&*word) { format!("exported_{word}") } else { word }
}

/// Help text, unit and scale of a metric, from its description or guessed from its name.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) help: String,
    pub(super) unit: Unit,
    /// For a histogram: stored integers per recorded unit.
    scale: f64,
}

impl Description {
    pub(super) fn new(name: &str, unit: Option<::metrics::Unit>, text: &str) -> Self {
        use ::metrics::Unit as Given;
        let (own, scale) = match unit {
            Some(Given::Seconds) => (Unit::Seconds, 1e9),
            Some(Given::Bytes) => (Unit::Bytes, 1.0),
            Some(Given::Milliseconds) => (Unit::None, 1e6),
            Some(Given::Microseconds) => (Unit::None, 1e3),
            Some(Given::Nanoseconds | Given::BitsPerSecond) => (Unit::None, 1.0),
            Some(Given::Kibibytes) => (Unit::None, f64::from(1 << 10)),
            Some(Given::Mebibytes) => (Unit::None, f64::from(1 << 20)),
            Some(Given::Gibibytes) => (Unit::None, f64::from(1 << 30)),
            Some(Given::Tebibytes) => (Unit::None, (1_u64 << 40) as f64),
            Some(Given::KilobitsPerSecond) => (Unit::None, 1e3),
            Some(Given::MegabitsPerSecond) => (Unit::None, 1e6),
            Some(Given::GigabitsPerSecond) => (Unit::None, 1e9),
            Some(Given::TerabitsPerSecond) => (Unit::None, 1e12),
            Some(Given::Count) => (unit_in(name), if unit_in(name) == Unit::Seconds { 1e9 } else { 1.0 }),
            Some(Given::Percent | Given::CountPerSecond) => (Unit::None, 1e6),
            None => match unit_in(name) {
                Unit::Seconds => (Unit::Seconds, 1e9),
                Unit::Bytes => (Unit::Bytes, 1.0),
                Unit::None => (Unit::None, 1e6),
            },
        };
        let is_said = own != Unit::None || matches!(unit, None | Some(Given::Count));
        let help = match unit {
            Some(unit) if !is_said => format!("{text} ({})", unit.as_str().replace('_', " ")),
            _ => text.to_owned(),
        };
        Self { help: beginning(help.trim_start(), HELP_MAX).into_owned(), unit: own, scale }
    }

    /// The shape of a histogram: precision, range, scale and bounds.
    pub(super) fn shape(&self, kind: MetricKind) -> Option<Shape> {
        (kind == MetricKind::Histogram).then(|| Shape {
            digits: DIGITS,
            highest: HIGHEST,
            scale: self.scale,
            bounds: if self.unit == Unit::None { wide_bounds() } else { bounds_of(self.unit) },
        })
    }
}

/// The unit that a name ends in.
fn unit_in(name: &str) -> Unit {
    let stem = name.strip_suffix("_total").unwrap_or(name);
    match stem {
        _ if stem.ends_with("_seconds") => Unit::Seconds,
        _ if stem.ends_with("_bytes") => Unit::Bytes,
        _ => Unit::None,
    }
}

/// Bounds for values of an unknown unit: 1, 2, 5 in each power of ten from 0.0001 to 500,000.
fn wide_bounds() -> Box<[f64]> {
    let fractions = (1..=4).rev().flat_map(|power| [1.0, 2.0, 5.0].map(|step| step / 10_f64.powi(power)));
    let whole = (0..=5).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
    fractions.chain(whole).collect()
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_become_prometheus_names() {
        for (raw, name) in [
            ("http.requests", "http_requests"),
            ("a-b/c d", "a_b_c_d"),
            ("crate::part", "crate::part"),
            ("9lives", "_9lives"),
            ("__hidden", "_hidden"),
            ("..dots", "_dots"),
            ("tellane_state", "_tellane_state"),
            ("größe", "gr__e"),
            ("", "_"),
        ] {
            assert_eq!(metric_name(raw), name, "{raw:?}");
        }
    }

    #[test]
    fn labels_are_sorted_and_each_is_there_once() {
        let given = [("le", "1"), ("b:c", "2"), ("b.c", "3"), ("a", "5"), ("a", "4"), ("", "6")];
        let key = Key::from_parts("name", &given);
        let labels = labels(&key);
        let labels: Vec<_> = labels.iter().map(|label| (label.name, &*label.word, label.value)).collect();
        let expected = [
            ("", "_", "6"),
            ("a", "a", "5"),
            ("b.c", "b_c", "3"),
            ("b:c", "b_c", "2"),
            ("le", "exported_le", "1"),
        ];
        assert_eq!(labels, expected);
    }

    #[test]
    fn units_and_help() {
        let of = |name, unit, text| Description::new(name, unit, text);
        let millis = of("wait", Some(::metrics::Unit::Milliseconds), "Waiting.");
        assert_eq!((&*millis.help, millis.unit, millis.scale), ("Waiting. (milliseconds)", Unit::None, 1e6));
        let rate = of("rate", Some(::metrics::Unit::CountPerSecond), "");
        assert_eq!((&*rate.help, rate.scale), ("(count per second)", 1e6));
        assert_eq!(of("wait_seconds", None, "").scale, 1e9);
        assert_eq!(of("sent_bytes_total", None, "").unit, Unit::Bytes);
        assert_eq!(of("wait_milliseconds", None, "").unit, Unit::None);
        assert!(wide_bounds().windows(2).all(|pair| pair[0] < pair[1]));
    }

    proptest! {
        #[test]
        fn any_name_and_labels_can_be_registered(
            name in ".{0,40}", labels in prop::collection::vec((".{0,8}", ".{0,8}"), 0..6),
        ) {
            let key = Key::from_parts(name, &labels);
            let labels = super::labels(&key);
            let description = Description::new(key.name(), None, "");
            // One label at a time: equal words get distinct names only at the registration.
            let words = labels.iter().map(|label| vec![&*label.word]).chain([vec![]]);
            for words in words {
                let made = crate::series::Descriptor::new(
                    (&metric_name(key.name()), ""),
                    (MetricKind::Histogram, description.unit),
                    &words,
                    description.shape(MetricKind::Histogram),
                    std::panic::Location::caller(),
                );
                prop_assert!(made.is_ok(), "{:?}", made);
            }
        }
    }
}
