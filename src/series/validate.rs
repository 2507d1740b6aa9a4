//! What may be a name. Cold; the rules are those of the Prometheus data model.

use super::registry::{MetricKind, Unit};
use crate::error::RegisterError;

const NAME_MAX: usize = 200;
/// How the pipeline's own figures begin in expositions.
const OWN: &str = "tellane_";

fn is_word(text: &str, first_too: impl Fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first_too(first))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || first_too(byte))
}

/// The metric's full name: unit and type are part of it, and added where they are missing.
pub(super) fn full_name(name: &str, kind: MetricKind, unit: Unit) -> Result<String, RegisterError> {
    let is_name = is_word(name, |byte| byte == b'_' || byte == b':');
    if !is_name || name.len() > NAME_MAX || name.starts_with("__") || name.starts_with(OWN) {
        return Err(RegisterError::BadName { name: name.to_owned() });
    }
    let is_counter = kind == MetricKind::Counter;
    let stem = if is_counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
    let suffix = unit.suffix();
    let united = suffix.is_empty() || stem.ends_with(suffix);
    Ok(format!("{stem}{}{}", if united { "" } else { suffix }, if is_counter { "_total" } else { "" }))
}

pub(super) fn label_names(labels: &[&str]) -> Result<(), RegisterError> {
    for label in labels {
        let reserved = label.starts_with("__") || ["le", "quantile"].contains(label);
        if !is_word(label, |byte| byte == b'_') || label.len() > NAME_MAX || reserved {
            return Err(RegisterError::BadLabel { label: (*label).to_owned() });
        }
    }
    // Sorted, not compared one with each other: a saved snapshot may define thousands.
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
    fn what_is_no_name_is_refused() {
        for bad in ["", "9lives", "a-b", "a b", "__reserved", "tellane_state", "ä", "a\n"] {
            let refused = full_name(bad, MetricKind::Gauge, Unit::None);
            assert_eq!(refused, Err(RegisterError::BadName { name: bad.to_owned() }));
        }
        assert!(full_name(&"a".repeat(201), MetricKind::Gauge, Unit::None).is_err());
        assert!(full_name("a:b_C9", MetricKind::Gauge, Unit::None).is_ok());
    }

    #[test]
    fn labels_are_words_once_each() {
        assert_eq!(label_names(&["method", "route_2"]), Ok(()));
        for bad in ["", "a:b", "__name__", "le", "quantile", "1st"] {
            assert_eq!(label_names(&["ok", bad]), Err(RegisterError::BadLabel { label: bad.to_owned() }));
        }
        assert_eq!(
            label_names(&["a", "b", "a"]),
            Err(RegisterError::DuplicateLabel { label: "a".to_owned() })
        );
    }
}
