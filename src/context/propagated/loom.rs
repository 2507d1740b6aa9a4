//! Loom model of a table entry: an old handle races with the reuse of its entry.

use super::{Propagated, PropagatedSlot};
use crate::context::{Baggage, TraceState};
use crate::model::{check, spawn};
use crate::sync::Arc;
use crate::sync::plant::Bug;

fn propagated(user: &str) -> Arc<Propagated> {
    let baggage = Baggage::empty().with("user", user).expect("a good member");
    Arc::new(Propagated { state: TraceState::empty(), baggage })
}

/// A reader with a handle gets the value of the handle's generation or nothing, under any race with the holders. Of two
/// threads that claim the entry, at most one gets it.
#[test]
fn old_handles() {
    check("carried old handles", 100, &[Bug::StaleHandle], || {
        let (alice, bob, carol) = (propagated("alice"), propagated("bob"), propagated("carol"));
        let slot = Arc::new(PropagatedSlot::vacant());
        let generation = slot.claim(&alice).expect("it is free");
        let next = {
            let slot = Arc::clone(&slot);
            spawn(move || {
                slot.release();
                let mine = slot.claim(&bob);
                if let Some(mine) = mine {
                    assert_eq!(slot.get(mine), Some(bob), "a claimed entry has the claimant's value");
                }
                mine
            })
        };
        let held = slot.hold(generation);
        let found = slot.get(generation);
        assert!(found.as_ref().is_none_or(|found| *found == alice), "another's value: {found:?}");
        assert!(!held || found.is_some(), "a held value is found");
        if held {
            slot.release();
        }
        let mine = slot.claim(&carol);
        let other = next.join().expect("no panic");
        assert!(mine.is_none() || other.is_none(), "one entry, two claimants");
    });
}
