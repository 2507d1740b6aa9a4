//! What is counted about the records themselves, and the bucket layout every histogram shares.
//!
//! [`Tally`] is a lane's own count of what it recorded and lost (hot), [`Ledger`] the sum of all of them (cold), with
//! [`ExemplarLedger`] beside it, [`Layout`] the log-linear buckets (hot), [`Splits`] the declared bounds that divide
//! buckets. This room imports only `sync` and `level`.

mod buckets;
mod exemplars;
mod ledger;
mod splits;
mod tally;

pub(crate) use buckets::Layout;
pub use exemplars::ExemplarLedger;
pub use ledger::{Drops, KindLedger, Ledger};
pub(crate) use splits::{Bounds, Splits, is_mark, recorded};
pub(crate) use tally::{KINDS, Tally};
pub use tally::{Kind, Reason};
