//! Loom models of the switch: under any race each change is made once, none is lost, and the switch never sticks.

use super::*;
use crate::model::check;
use crate::sync::Arc;
use ::loom::thread;

/// Checks that every change is in the log once, in the order in which the changes were made.
fn all_logged(switch: &SharedSwitch, made: u64) -> Vec<Transition> {
    assert_eq!(switch.changes.made(), made, "changes counted and made");
    let mut seen = 0;
    let logged: Vec<_> = std::iter::from_fn(|| switch.changes.next(&mut seen)).collect();
    assert_eq!(logged.len() as u64, made, "changes logged and made");
    let before = std::iter::once(State::Healthy).chain(logged.iter().map(|change| change.to));
    let after = logged.iter().map(|change| change.from).chain([switch.position().effective()]);
    assert!(before.eq(after), "a change begins where the one before it ended: {logged:?}");
    logged
}

fn on_thread<T: 'static>(
    switch: &Arc<SharedSwitch>,
    act: impl FnOnce(&SharedSwitch) -> T + 'static,
) -> thread::JoinHandle<T> {
    let switch = Arc::clone(switch);
    thread::spawn(move || act(&switch))
}

fn off(retry_at: u64) -> Arc<SharedSwitch> {
    let switch = Arc::new(SharedSwitch::default());
    assert!(switch.trip(State::Off, Cause::Dead, 0, retry_at));
    switch
}

/// Of three threads that begin a probe, one succeeds.
#[test]
fn one_probe_owner() {
    check("switch one probe owner", 300, &[Bug::PlainSwitch], || {
        let switch = off(1);
        let others = [10, 20].map(|lease| on_thread(&switch, move |switch| switch.begin_probe(1, lease)));
        let mut owners = vec![switch.begin_probe(1, 30)];
        owners.extend(others.map(|other| other.join().expect("no failure")));
        let owners: Vec<_> = owners.into_iter().flatten().collect();
        assert_eq!(owners, [switch.position()], "one owner, of the lease that stands");
        all_logged(&switch, 2);
    });
}

/// Expires a lease and begins a probe. Returns 1 or 0 for each of the two calls: success or not.
fn reclaim(switch: &SharedSwitch, lease: u64) -> [u64; 2] {
    let expired = switch.expire(10, 10);
    let probe = switch.begin_probe(10, lease);
    assert!(probe.is_none_or(|probe| probe.until == lease), "somebody else's lease");
    [expired, probe.is_some()].map(u64::from)
}

/// The owner of a probe is gone: of two threads that notice, one expires the lease, and one begins a new probe.
#[test]
fn reclaim_lost() {
    check("switch reclaim", 100, &[Bug::NoLease, Bug::PlainSwitch], || {
        let switch = off(1);
        assert!(switch.begin_probe(1, 10).is_some());
        let other = on_thread(&switch, |switch| reclaim(switch, 20));
        let mine = reclaim(&switch, 30);
        let theirs = other.join().expect("no failure");
        assert_eq!([mine[0] + theirs[0], mine[1] + theirs[1]], [1, 1], "leases taken, probes begun");
        assert_eq!(switch.position().state, State::Probing);
        all_logged(&switch, 4);
    });
}

/// A probe finishes just when its lease runs out: either it succeeds or another begins, never both.
#[test]
fn late_owner() {
    check("switch late owner", 10, &[Bug::PlainSwitch], || {
        let switch = off(1);
        let probe = switch.begin_probe(1, 10).expect("due");
        let late = on_thread(&switch, move |switch| u64::from(switch.settle(probe, 10)));
        let [expired, begun] = reclaim(&switch, 20);
        let settled = late.join().expect("no failure");
        assert_eq!((settled + expired, begun), (1, expired));
        let state = switch.position().state;
        assert_eq!(state, if settled == 1 { State::Healthy } else { State::Probing });
        all_logged(&switch, 2 + settled + expired + begun);
    });
}

/// The owner of a probe that is slow to read its position does not get the lease of the next probe.
#[test]
fn own_lease() {
    check("switch own lease", 20, &[Bug::OthersLease], || {
        let switch = off(1);
        let other = on_thread(&switch, |switch| reclaim(switch, 20));
        let slow = switch.begin_probe(1, 10);
        let [expired, begun] = other.join().expect("no failure");
        assert!(slow.is_none_or(|probe| probe.until == 10), "{slow:?}");
        all_logged(&switch, 1 + expired + begun + u64::from(slow.is_some()));
    });
}

/// Two faults race with a probe that succeeds: the worse fault stands.
#[test]
fn no_lost_trip() {
    check("switch no lost trip", 5_000, &[Bug::PlainSwitch], || {
        let switch = off(1);
        let probe = switch.begin_probe(1, 10).expect("due");
        let lesser =
            on_thread(&switch, |switch| u64::from(switch.trip(State::Degraded, Cause::Shedding, 2, 90)));
        let worse = on_thread(&switch, |switch| u64::from(switch.trip(State::Off, Cause::Stalled, 2, 90)));
        let settled = u64::from(switch.settle(probe, 2));
        let lesser = lesser.join().expect("no failure");
        assert_eq!(worse.join().expect("no failure"), 1, "nobody else switches off");
        let position = switch.position();
        assert_eq!((position.state, position.until), (State::Off, 90), "the fault was forgotten");
        all_logged(&switch, 2 + settled + lesser + 1);
    });
}

/// An override by the caller and a fault do not undo each other.
#[test]
fn override_and_fault_both_stand() {
    check("switch override and trip", 10, &[Bug::PlainSwitch, Bug::NumberApart], || {
        let switch = Arc::new(SharedSwitch::default());
        let caller = on_thread(&switch, |switch| u64::from(switch.force(Override::On, 1)));
        let other = on_thread(&switch, |switch| u64::from(switch.trip(State::Off, Cause::Stalled, 1, 9)));
        let made = caller.join().expect("no failure") + other.join().expect("no failure");
        let position = switch.position();
        assert_eq!((position.state, position.forced), (State::Off, Override::On));
        assert_eq!(made, 2);
        all_logged(&switch, made);
    });
}

/// Makes a change for the models of the log; its time is its number.
fn numbered(number: u64) -> Transition {
    Transition { from: State::Healthy, to: State::Off, cause: Cause::Manual, at_millis: number }
}

/// A writer that is late by a whole lap does not overwrite the newer entry, and a subscription that reads meanwhile
/// gets the changes in order, up to the last.
#[test]
fn late_writer() {
    check("switch late writer", 25_000, &[Bug::LateEntry], || {
        let changes = Arc::new(Changes::<2>::default());
        let writer = |numbers: &'static [u64]| {
            let changes = Arc::clone(&changes);
            thread::spawn(move || numbers.iter().for_each(|number| changes.note(*number, numbered(*number))))
        };
        let writers = [writer(&[0]), writer(&[1, 2])];
        let mut seen = 0;
        let mut got: Vec<_> = changes.next(&mut seen).into_iter().collect();
        writers.into_iter().for_each(|writer| writer.join().expect("no failure"));
        got.extend(std::iter::from_fn(|| changes.next(&mut seen)));
        let got: Vec<_> = got.iter().map(|change| change.at_millis).collect();
        assert!(got.is_sorted() && got.ends_with(&[1, 2]), "{got:?}");
        assert_eq!((seen, changes.made()), (3, 3));
    });
}
