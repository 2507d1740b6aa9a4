#!/usr/bin/env bash
# Measures, and makes the tables of PERF.md of it, between its two marks; the prose around them is not touched. This is
# the one command, from a clean clone; it wants a quiet machine with two processors. All figures stay in perf/record/.
#
#   ci/perf.sh           everything: the comparison, then instructions, latencies and memory
#   ci/perf.sh --short   the comparison alone, briefly, on the terminal; any other argument goes to the comparison, too
#   ci/perf.sh --page    measures nothing: the tables of what was kept last
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p perf/record

compare() { (cd comparison && cargo run --quiet --release -- "$@"); }

if [ $# = 0 ]; then
  # By the date of the day on which it begins. Its tables are on the page; here they would scroll by.
  compare --json "../perf/record/$(date -u +%F)-comparison.json" >/dev/null
  ci/instructions.sh
  for bench in latency memory; do
    cargo bench --quiet --bench "$bench" -- --json "$PWD/perf/record/$bench.json" >/dev/null
  done
elif [ "$1" != --page ]; then
  compare "$@"
  exit
fi
kept=$(ls perf/record/*-comparison.json | tail -n 1)
compare --page ../PERF.md --from "../$kept"
