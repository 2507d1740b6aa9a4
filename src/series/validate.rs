//! Validation of metric and label names, by the rules of the Prometheus data model. Cold.

use super::kind::{MetricKind, Unit};
use crate::error::RegisterError;
use crate::names::{SHOWN_MAX, beginning};

/// Maximum bytes of a metric name or a label name.
pub(super) const NAME_MAX: usize = 200;
/// The prefix of the pipeline's own figures in expositions.
const OWN: &str = "tellane_";

fn is_word(text: &str, first_too: impl Fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first_too(first))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || first_too(byte))
}

/// The metric's full name: the suffixes of unit and type are added if they are missing. The length limit applies to the
/// name without suffixes, so that a full name is accepted again, for example when a saved snapshot is read.
pub(super) fn full_name(name: &str, kind: MetricKind, unit: Unit) -> Result<String, RegisterError> {
    let is_name = is_word(name, |byte| byte == b'_' || byte == b':');
    if !is_name || stem(name, kind, unit).len() > NAME_MAX || name.starts_with("__") || name.starts_with(OWN)
    {
        return Err(RegisterError::BadName { name: beginning(name, SHOWN_MAX).into_owned() });
    }
    let is_counter = kind == MetricKind::Counter;
    let stem = if is_counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
    let suffix = unit.suffix();
    let united = suffix.is_empty() || stem.ends_with(suffix);
    // Names that begin with two underscores are reserved: `_` as a counter becomes `_total`.
    let stem = if stem == "_" && (is_counter || !united) { "" } else { stem };
    Ok(format!("{stem}{}{}", if united { "" } else { suffix }, if is_counter { "_total" } else { "" }))
}

/// A name without the suffixes of unit and type.
pub(super) fn stem(full: &str, kind: MetricKind, unit: Unit) -> &str {
    let name = if kind == MetricKind::Counter { full.strip_suffix("_total").unwrap_or(full) } else { full };
    name.strip_suffix(unit.suffix()).unwrap_or(name)
}

pub(super) fn label_names(labels: &[&str]) -> Result<(), RegisterError> {
    for label in labels {
        let reserved = label.starts_with("__") || ["le", "quantile"].contains(label);
        if !is_word(label, |byte| byte == b'_') || label.len() > NAME_MAX || reserved {
            return Err(RegisterError::BadLabel { label: beginning(label, SHOWN_MAX).into_owned() });
        }
    }
    // Sorted rather than compared in pairs: a saved snapshot may define thousands of labels.
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(RegisterError::DuplicateLabel { label: pair[0].to_owned() }),
        None => Ok(()),
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_unit_and_type() {
        let name = |name, kind, unit| full_name(name, kind, unit).unwrap();
        assert_eq!(name("hits_total", MetricKind::Counter, Unit::None), "hits_total");
        assert_eq!(name("hits", MetricKind::Counter, Unit::None), "hits_total");
        assert_eq!(name("sent_total", MetricKind::Counter, Unit::Bytes), "sent_bytes_total");
        assert_eq!(name("wait", MetricKind::Histogram, Unit::Seconds), "wait_seconds");
        assert_eq!(name("wait_seconds", MetricKind::Histogram, Unit::Seconds), "wait_seconds");
        assert_eq!(name("depth", MetricKind::Gauge, Unit::None), "depth");
    }

    #[test]
    fn a_full_name_is_accepted_again() {
        for (kind, unit) in [(MetricKind::Counter, Unit::Bytes), (MetricKind::Histogram, Unit::Seconds)] {
            let full = full_name(&"a".repeat(200), kind, unit).unwrap();
            assert_eq!(full_name(&full, kind, unit), Ok(full));
            assert!(full_name(&"a".repeat(201), kind, unit).is_err());
        }
        for name in ["_", "_total", "_bytes", "a_", "a_total_total", "a_bytes_total", "total", "bytes"] {
            for kind in [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram] {
                for unit in [Unit::None, Unit::Bytes, Unit::Seconds] {
                    let full = full_name(name, kind, unit).unwrap();
                    assert_eq!(full_name(&full, kind, unit), Ok(full));
                }
            }
        }
    }

    #[test]
    fn a_stem_has_no_suffixes_of_unit_and_type() {
        for (full, kind, unit, name) in [
            ("hits_total", MetricKind::Counter, Unit::None, "hits"),
            ("sent_bytes_total", MetricKind::Counter, Unit::Bytes, "sent"),
            ("wait_seconds", MetricKind::Histogram, Unit::Seconds, "wait"),
            ("depth_total", MetricKind::Gauge, Unit::None, "depth_total"),
        ] {
            assert_eq!(stem(full, kind, unit), name);
        }
    }

    /// The name that an error's message says is allowed.
    fn suggested(error: &RegisterError) -> String {
        let text = error.to_string();
        let (_, suggested) = text.rsplit_once("; \"").expect("a suggestion");
        suggested.trim_end_matches("\" is allowed").to_owned()
    }

    #[test]
    fn invalid_names_are_refused() {
        for bad in ["", "9lives", "a-b", "a b", "__reserved", "tellane_state", "ä", "a\n"] {
            let refused = full_name(bad, MetricKind::Gauge, Unit::None);
            assert_eq!(refused, Err(RegisterError::BadName { name: bad.to_owned() }));
            let suggested = suggested(&refused.unwrap_err());
            assert!(full_name(&suggested, MetricKind::Gauge, Unit::None).is_ok(), "{suggested}");
        }
        let long = full_name(&"a".repeat(100_000), MetricKind::Gauge, Unit::None);
        assert_eq!(long, Err(RegisterError::BadName { name: format!("{}…", "a".repeat(1_021)) }));
        assert!(full_name(&"a".repeat(201), MetricKind::Gauge, Unit::None).is_err());
        assert!(full_name("a:b_C9", MetricKind::Gauge, Unit::None).is_ok());
    }

    #[test]
    fn labels_are_distinct_words() {
        assert_eq!(label_names(&["method", "route_2"]), Ok(()));
        for bad in ["", "a:b", "__name__", "le", "quantile", "1st"] {
            let refused = label_names(&["ok", bad]);
            assert_eq!(refused, Err(RegisterError::BadLabel { label: bad.to_owned() }));
            let suggested = suggested(&refused.unwrap_err());
            assert_eq!(label_names(&[&suggested]), Ok(()), "{suggested}");
        }
        assert_eq!(
            label_names(&["a", "b", "a"]),
            Err(RegisterError::DuplicateLabel { label: "a".to_owned() })
        );
    }
}
