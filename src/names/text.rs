//! The overflow text, and the truncation of long texts that are kept. Cold.

use std::borrow::Cow;

/// The label value, name or target that stands in for all those above a cap.
pub(crate) const OVERFLOW: &str = "__overflow__";
/// Bytes of the two reference counts in front of the contents of an `Arc`.
pub(crate) const COUNTS: usize = 2 * size_of::<usize>();
/// Maximum bytes of a refused name in an error: errors may be kept, too.
pub(crate) const SHOWN_MAX: usize = 1_024;

/// Cuts a text to at most `most` bytes; a longer text ends in an ellipsis. Texts from outside that are kept, or that
/// stand in an error that is kept, go through this function.
pub(crate) fn beginning(text: &str, most: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= most {
        return text.into();
    }
    let kept = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..kept]).into()
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!((beginning("12345", 5), beginning("123456", 5)), ("12345".into(), "12…".into()));
        assert_eq!(
            (beginning("ääää", 7), beginning("ääää", 6), beginning("ä", 1)),
            ("ää…".into(), "ä…".into(), "…".into())
        );
    }
}
