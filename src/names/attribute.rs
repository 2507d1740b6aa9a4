//! Attribute values. Hot; conversions only.

/// A value for [`Span::set`](crate::OwnedSpan::set). Text, integers, floats and booleans convert with `Into`.
///
/// ```
/// use tellane::Attribute;
/// assert_eq!(Attribute::from("web"), Attribute::Str("web"));
/// assert_eq!(Attribute::from(3_u8), Attribute::U64(3));
/// assert_eq!(Attribute::from(-3), Attribute::I64(-3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[doc(alias = "KeyValue")]
#[doc(alias = "AnyValue")]
#[doc(alias = "tag")]
pub enum Attribute<'a> {
    /// Text.
    Str(&'a str),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating point number.
    F64(f64),
    /// True or false.
    Bool(bool),
}

impl<'a> From<&'a str> for Attribute<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a String> for Attribute<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        Self::Str(text)
    }
}

macro_rules! from_number {
    ($($from:ty => $variant:ident as $to:ty;)*) => {$(
        impl From<$from> for Attribute<'_> {
            #[inline]
            fn from(value: $from) -> Self {
                Self::$variant(value as $to)
            }
        }
    )*};
}

from_number! {
    i8 => I64 as i64;
    i16 => I64 as i64;
    i32 => I64 as i64;
    i64 => I64 as i64;
    isize => I64 as i64;
    u8 => U64 as u64;
    u16 => U64 as u64;
    u32 => U64 as u64;
    u64 => U64 as u64;
    usize => U64 as u64;
    f32 => F64 as f64;
    f64 => F64 as f64;
    bool => Bool as bool;
}
