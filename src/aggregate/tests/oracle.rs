//! Compares the fold with a list of values, in any order of recording and reading, through ring, spill and shared
//! counts.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Digits and highest value of the tested histograms: one that clamps nearly everything, one whose greater values take
/// two words, and one for all values.
const SHAPES: [(u8, u64); 3] = [(1, 1_000), (2, (1 << 50) - 1), (3, u64::MAX)];

/// An act of a test on these histograms.
#[derive(Clone, Debug)]
enum HistogramAct {
    Record(usize, u64),
    Run,
    Collect,
    Snapshot,
}

fn acts() -> impl Strategy<Value = Vec<HistogramAct>> {
    let value = (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift);
    let act = prop_oneof![
        60 => (0..SHAPES.len(), value).prop_map(|(series, value)| HistogramAct::Record(series, value)),
        1 => Just(HistogramAct::Run),
        1 => Just(HistogramAct::Collect),
        1 => Just(HistogramAct::Snapshot),
    ];
    prop::collection::vec(act, 0..600)
}

/// All values of each histogram, clamped as the histogram must clamp them.
#[derive(Default)]
struct Oracle {
    kept: [Vec<u64>; SHAPES.len()],
    clamped: u64,
}

impl Oracle {
    fn record(&mut self, series: usize, value: u64) {
        let highest = SHAPES[series].1;
        self.clamped += u64::from(value > highest);
        self.kept[series].push(value.min(highest));
    }

    /// Compares a snapshot with the lists. Buckets are compared only if no sample went through the shared counts, which
    /// keep the power of two alone.
    fn check(&self, bench: &mut Bench) -> Result<(), TestCaseError> {
        let snapshot = bench.step.snapshot();
        let ledger = bench.ledger();
        let samples = ledger.kind(Kind::Sample);
        let all = self.kept.iter().map(Vec::len).sum::<usize>() as u64;
        prop_assert_eq!((samples.recorded, samples.aggregated, samples.in_flight), (all, all, 0));
        prop_assert_eq!(ledger.clamped(), self.clamped);
        for (series, kept) in self.kept.iter().enumerate() {
            let view = snapshot.histogram(&format!("sizes_{series}"), &[]).expect("registered");
            prop_assert_eq!(view.count(), kept.len() as u64);
            prop_assert_eq!(view.buckets().map(|(_, _, count)| count).sum::<u64>(), view.count());
            prop_assert_eq!(view.sum_recorded(), kept.iter().map(|value| u128::from(*value)).sum::<u128>());
            if let (Some(min), Some(max)) = (kept.iter().min(), kept.iter().max()) {
                prop_assert_eq!((view.min, view.max), (*min, *max));
            }
            if ledger.coarse() == 0 {
                let mut buckets = BTreeMap::new();
                for value in kept {
                    *buckets.entry(view.layout.index(*value) as u32).or_insert(0) += 1;
                }
                prop_assert!(view.filled.iter().copied().eq(buckets), "{:?}", view);
            }
        }
        Ok(())
    }
}

#[test]
fn histograms_hold_what_a_list_of_values_holds() {
    // Samples on each path: ring, two words, spill, shared counts. A path that no case took would be untested.
    let paths: [Cell<u64>; 4] = Default::default();
    // No room, room for the first slot, for the first two, for all.
    let spills = prop_oneof![Just(0), Just(300), Just(8_000), Just(80_000)];
    proptest!(|(acts in acts(), spill_words in spills)| {
        let mut bench = bench_with(1 << 6, spill_words, FailPoints::default());
        let sizes: Vec<_> = SHAPES.iter().enumerate().map(|(series, (digits, highest))| {
            let name = format!("sizes_{series}");
            let builder = HistogramBuilder::new(&bench.instance, &name).digits(*digits).highest(*highest);
            builder.register().expect("a good name")
        }).collect();
        let mut oracle = Oracle::default();
        for act in acts {
            match act {
                HistogramAct::Record(series, value) => {
                    sizes[series].record(value);
                    oracle.record(series, value);
                }
                HistogramAct::Run => {
                    let before = bench.ledger().kind(Kind::Sample).aggregated;
                    let words = bench.step.run().words as u64;
                    let samples = bench.ledger().kind(Kind::Sample).aggregated - before;
                    prop_assert!((samples..=2 * samples).contains(&words));
                    paths[0].update(|ring| ring + samples);
                    paths[1].update(|wide| wide + words - samples);
                }
                HistogramAct::Collect => bench.step.collect(),
                HistogramAct::Snapshot => oracle.check(&mut bench)?,
            }
        }
        oracle.check(&mut bench)?;
        assert_balanced(&bench.ledger());
        let lanes = bench.instance.lanes.lanes();
        paths[2].update(|spilled| spilled + lanes.iter().map(|lane| lane.spill.samples()).sum::<u64>());
        paths[3].update(|shared| shared + bench.ledger().coarse());
        bench.instance.lanes.close(); // otherwise this thread would stay attached to this instance
    });
    assert!(paths.iter().all(|path| path.get() > 0), "{paths:?}");
}
