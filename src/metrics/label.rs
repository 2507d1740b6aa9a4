//! Labels whose values are known at compile time: enums. Hot: [`LabelSet::index`], which is arithmetic on integers.

use crate::names::OVERFLOW;

/// A label with a fixed set of values, such as an enum's variants. With the feature `macros` it can be derived; a
/// manual implementation takes two lines.
///
/// ```
/// use tellane::Label;
///
/// #[derive(Clone, Copy)]
/// enum Method {
///     Get,
///     Put,
/// }
///
/// impl Label for Method {
///     const VALUES: &'static [&'static str] = &["GET", "PUT"];
///
///     fn index(self) -> usize {
///         self as usize
///     }
/// }
/// assert_eq!(Method::VALUES[Method::Put.index()], "PUT");
/// ```
pub trait Label: Copy + Send + Sync + 'static {
    /// The texts of all values.
    const VALUES: &'static [&'static str];

    /// The index of this value in [`VALUES`](Self::VALUES). Records with an index out of range are counted in the
    /// metric's overflow series.
    fn index(self) -> usize;
}

impl Label for bool {
    const VALUES: &'static [&'static str] = &["false", "true"];

    #[inline]
    fn index(self) -> usize {
        usize::from(self)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A tuple of one to four [`Label`]s, the argument of [`FixedFamily::with`](crate::FixedFamily::with).
///
/// ```
/// use tellane::LabelSet;
/// assert_eq!(<(bool, bool)>::CARDINALITY, 4);
/// assert_eq!((true, false).index(), 2);
/// ```
pub trait LabelSet: Copy + Send + Sync + sealed::Sealed + 'static {
    /// The number of combinations of values.
    const CARDINALITY: usize;
    /// An array of label names, one for each label.
    type Names<'a>: AsRef<[&'a str]>;

    /// The index of this combination, below [`CARDINALITY`](Self::CARDINALITY).
    fn index(self) -> usize;

    /// The texts of a combination, in the order of the labels; those of the overflow series for an index out of range.
    #[doc(hidden)]
    fn values(index: usize) -> Self::Names<'static>;
}

macro_rules! label_sets {
    ($(($($label:ident $field:tt),+) of $count:literal;)*) => {$(
        impl<$($label: Label),+> sealed::Sealed for ($($label,)+) {}

        impl<$($label: Label),+> LabelSet for ($($label,)+) {
            const CARDINALITY: usize = 1 $(* $label::VALUES.len())+;
            type Names<'a> = [&'a str; $count];

            #[inline(always)]
            fn index(self) -> usize {
                let mut index = 0;
                $(
                    let own = self.$field.index();
                    if own >= $label::VALUES.len() {
                        return usize::MAX;
                    }
                    index = index * $label::VALUES.len() + own;
                )+
                index
            }

            fn values(mut index: usize) -> [&'static str; $count] {
                let mut texts = [OVERFLOW; $count];
                if index < Self::CARDINALITY {
                    for (text, values) in texts.iter_mut().zip([$($label::VALUES),+]).rev() {
                        *text = values[index % values.len()];
                        index /= values.len();
                    }
                }
                texts
            }
        }
    )*};
}

label_sets! {
    (A 0) of 1;
    (A 0, B 1) of 2;
    (A 0, B 1, C 2) of 3;
    (A 0, B 1, C 2, D 3) of 4;
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Number(usize);

    impl Label for Number {
        const VALUES: &'static [&'static str] = &["0", "1", "2"];

        fn index(self) -> usize {
            self.0
        }
    }

    #[test]
    fn every_combination_has_its_own_index_and_texts() {
        type Set = (Number, bool, Number);
        let mut seen = vec![None; Set::CARDINALITY];
        for (first, second, third) in (0..18).map(|n| (n / 6, n / 3 % 2 == 1, n % 3)) {
            let index = (Number(first), second, Number(third)).index();
            let texts = [Number::VALUES[first], bool::VALUES[usize::from(second)], Number::VALUES[third]];
            assert_eq!(Set::values(index), texts);
            assert_eq!(seen[index].replace(texts), None);
        }
        assert!(seen.iter().all(Option::is_some));
    }

    #[test]
    fn an_index_out_of_range_is_no_combination() {
        assert_eq!((Number(3), true).index(), usize::MAX);
        assert_eq!((true, Number(usize::MAX)).index(), usize::MAX);
        assert_eq!(<(Number, bool)>::values(usize::MAX), [OVERFLOW; 2]);
        assert_eq!(<(Number, bool)>::values(6), [OVERFLOW; 2]);
    }
}
