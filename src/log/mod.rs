//! Log records. Hot: [`Logger::enabled`], a load and a comparison, and what is behind it when a level is on: one clock
//! reading and one ring record. Rendering is done elsewhere, by the thread of the sinks.
//!
//! Calls never block, allocate nothing for records of up to 32 words, and carry the ids of the span that is open on
//! the thread.

mod builder;
mod logger;
mod macros;

pub use builder::LogRecordBuilder;
#[cfg(feature = "tracing")]
pub(crate) use builder::{CAUSES, with_text_of};
pub use logger::{Logger, logger};

/// What the macros need; no promises are made about it.
#[doc(hidden)]
pub mod macro_support {
    pub use super::logger::{wants, write};
    pub use crate::names::Attribute;
    pub use crate::targets::Callsite;

    /// The name of an identifier, which may be a raw one: `type` of `r#type`.
    pub const fn unraw(ident: &'static str) -> &'static str {
        match ident.as_bytes() {
            [b'r', b'#', ..] => ident.split_at(2).1,
            _ => ident,
        }
    }
}
