//! Log records. Hot: [`Logger::enabled`], a load and a comparison; if the level is on, one clock reading and one ring
//! record follow. The thread of the sinks formats the records.
//!
//! Calls never block, and allocate nothing for records of up to 32 words. A record carries the ids of the span that is
//! open on the thread.

mod builder;
mod logger;
mod macros;
mod write;

pub use builder::LogRecordBuilder;
#[cfg(feature = "tracing")]
pub(crate) use builder::{CAUSES, with_text_of};
pub use logger::{Logger, logger};

/// Support for the macros' expansions. Not part of the stable API.
#[doc(hidden)]
pub mod macro_support {
    pub use super::logger::{wants, write};
    pub use crate::names::Attribute;
    pub use crate::targets::Callsite;

    /// Returns an identifier's name without the `r#` of a raw identifier: `type` for `r#type`.
    pub const fn unraw(ident: &'static str) -> &'static str {
        match ident.as_bytes() {
            [b'r', b'#', ..] => ident.split_at(2).1,
            _ => ident,
        }
    }
}
