//! Texts that are kept: the name of overflow series, and the beginnings of long texts. Cold.

use std::borrow::Cow;

/// The value, name or target that stands in for all above a cap.
pub(crate) const OVERFLOW: &str = "__overflow__";
/// Bytes of the two counts in front of the contents of an `Arc`.
pub(crate) const COUNTS: usize = 2 * size_of::<usize>();
/// Bytes of a refused name in an error: errors are kept, too.
pub(crate) const SHOWN_MAX: usize = 1_024;

/// A text of at most `most` bytes: of a longer one the beginning, with an ellipsis behind it. What comes from elsewhere
/// and is kept, or stands in an error that is kept, is shortened here.
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
