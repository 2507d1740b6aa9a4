//! Counts of the records themselves, and the bucket layout that all histograms share.
//!
//! [`Tally`] is one lane's count of recorded and lost records (hot). [`Ledger`] is the sum of all tallies (cold), with
//! [`ExemplarLedger`] for exemplars. [`Layout`] is the log-linear bucket layout (hot). [`Splits`] are the declared
//! bounds that divide buckets. This module imports only `sync` and `level`.

mod buckets;
mod exemplars;
mod ledger;
mod splits;
mod tally;

pub(crate) use buckets::Layout;
pub use exemplars::ExemplarLedger;
pub use ledger::{Drops, KindLedger, Ledger};
pub(crate) use splits::{Bounds, Splits, is_split, recorded};
pub(crate) use tally::{KINDS, Tally};
pub use tally::{Kind, Reason};
