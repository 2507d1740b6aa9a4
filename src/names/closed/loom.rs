//! Loom model of a table that is closed while it is read.

use super::{Closed, Lookup};
use crate::model::check;
use crate::sync::plant::Bug;
use crate::sync::{Arc, AtomicU64, Ordering};
use ::loom::thread;

/// An entry that is made before the table is closed is never taken for absent.
#[test]
fn last_entry() {
    check("last entry before closing", 4, &[Bug::SingleCheck, Bug::RelaxedClose], || {
        let (entry, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(Closed::new()));
        let (their_entry, theirs) = (Arc::clone(&entry), Arc::clone(&closed));
        let maker = thread::spawn(move || {
            their_entry.store(7, Ordering::Relaxed);
            theirs.close();
        });
        // Relaxed, so that nothing but the flag orders the entry.
        let find = || Some(entry.load(Ordering::Relaxed)).filter(|there| *there != 0);
        assert_ne!(closed.lookup(find), Lookup::Absent);
        maker.join().expect("no failure");
        assert_eq!(closed.lookup(find), Lookup::Found(7));
    });
}
