//! The definition of a static metric, as the macros write it. Cold.

use std::panic::Location;

/// The macros' arguments: everything that the registration of a static needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StaticDefinition {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [(&'static str, &'static str)],
    /// The handle's type.
    pub(super) handle: &'static str,
    pub(super) bytes: bool,
    pub(super) seconds: bool,
    pub(super) at: &'static Location<'static>,
}

impl StaticDefinition {
    /// Returns `true` if the static's records are samples.
    pub(super) fn is_sampled(&self) -> bool {
        matches!(self.handle, "Histogram" | "Timer")
    }
}
