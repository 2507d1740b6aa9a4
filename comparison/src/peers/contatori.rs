//! contatori: a counter is 64 padded shards. Its labels are fields chosen as the program is written.

use crate::row::{CALLS, CALLS_2T, Row};
use crate::subject;
use contatori::counters::monotone::Monotone;
use contatori::counters::{CounterValue, Observable};

fn value(counter: &Monotone) -> u64 {
    match counter.value() {
        CounterValue::Unsigned(value) => value,
        other => panic!("a monotone counter that shows {other:?}"),
    }
}

pub(super) fn rows() -> Vec<Row> {
    static ONE: Monotone = Monotone::new();
    static TWO: Monotone = Monotone::new();
    vec![
        Row::one(subject::COUNTER, "Monotone::add", CALLS, |_| ONE.add(1)).exact(|| value(&ONE)),
        Row::two(subject::COUNTER_2T, "Monotone::add", CALLS_2T, |_| TWO.add(1)).exact(|| value(&TWO)),
    ]
}
