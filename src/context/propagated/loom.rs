//! Loom model of a table entry: an old handle races with the entry's next use.

use super::{Propagated, Slot};
use crate::context::{Baggage, TraceState};
use crate::model::{check, spawn};
use crate::sync::Arc;
use crate::sync::plant::Bug;

fn propagated(user: &str) -> Arc<Propagated> {
    let baggage = Baggage::empty().with("user", user).expect("a good member");
    Arc::new(Propagated { state: TraceState::empty(), baggage })
}

/// A reader with a handle finds the value of that handle's turn or nothing, whatever the holders do meanwhile; two who
/// claim the entry never both get it.
#[test]
fn old_handles() {
    check("carried old handles", 100, &[Bug::StaleHandle], || {
        let (alice, bob, carol) = (propagated("alice"), propagated("bob"), propagated("carol"));
        let slot = Arc::new(Slot::vacant());
        let turn = slot.claim(&alice).expect("it is free");
        let next = {
            let slot = Arc::clone(&slot);
            spawn(move || {
                slot.release();
                let mine = slot.claim(&bob);
                if let Some(mine) = mine {
                    assert_eq!(slot.get(mine), Some(bob), "a claimed entry is its claimant's");
                }
                mine
            })
        };
        let held = slot.hold(turn);
        let found = slot.get(turn);
        assert!(found.as_ref().is_none_or(|found| *found == alice), "another's value: {found:?}");
        assert!(!held || found.is_some(), "what is held is found");
        if held {
            slot.release();
        }
        let mine = slot.claim(&carol);
        let other = next.join().expect("no panic");
        assert!(mine.is_none() || other.is_none(), "one entry, two claimants");
    });
}
