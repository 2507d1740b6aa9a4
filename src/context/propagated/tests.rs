//! The table of trace state and baggage: holds, generations and reused entries.

use super::*;

fn propagated(user: &str) -> Arc<Propagated> {
    let baggage = Baggage::empty().with("user", user).expect("a good member");
    Arc::new(Propagated { state: TraceState::empty(), baggage })
}

fn user(handle: PropagatedHandle) -> Option<String> {
    handle.get()?.baggage.get("user").map(str::to_owned)
}

#[test]
fn an_entry_lasts_as_long_as_its_holds() {
    let first = Hold::new(&propagated("alice")).expect("there is room");
    let handle = first.handle();
    let second = Hold::upgrade(handle).expect("it is held");
    drop(first);
    assert_eq!(user(handle).as_deref(), Some("alice"));
    let kept = second.into_handle();
    assert_eq!(user(kept).as_deref(), Some("alice"));
    drop(Hold::from_handle(kept));
    assert_eq!(user(handle), None);
    assert!(Hold::upgrade(handle).is_none());
    assert_eq!(user(PropagatedHandle(0)), None);
}

#[test]
fn an_old_handle_never_finds_the_next_value() {
    let slot = PropagatedSlot::vacant();
    let first = slot.claim(&propagated("alice")).expect("it is free");
    assert_eq!(slot.claim(&propagated("bob")), None, "it is in use");
    slot.release();
    let second = slot.claim(&propagated("bob")).expect("it is free again");
    assert_ne!(first, second);
    assert!(slot.get(first).is_none() && !slot.hold(first));
    assert_eq!(slot.get(second), Some(propagated("bob")));
    slot.state.store(GENERATION_MAX << 32, Ordering::Relaxed);
    assert_eq!(slot.claim(&propagated("carol")), Some(1), "generations wrap, and 0 is none");
}

#[test]
fn the_table_grows_with_the_holds_that_are_open_at_once() {
    let before = TABLE.count();
    for number in 0..10_000 {
        let name = number.to_string();
        let hold = Hold::new(&propagated(&name)).expect("there is room");
        assert_eq!(user(hold.handle()), Some(name));
    }
    // Other tests run at the same time and may have entries open.
    assert!(TABLE.count() - before < 1_000, "{} entries for one that is open", TABLE.count() - before);
    let many: Vec<_> = (0..100).map(|n: u32| Hold::new(&propagated(&n.to_string())).expect("room")).collect();
    for (number, hold) in many.iter().enumerate() {
        assert_eq!(user(hold.handle()), Some(number.to_string()));
    }
}
