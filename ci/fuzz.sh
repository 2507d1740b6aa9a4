#!/usr/bin/env bash
# Fuzzes every target for a while, then plants a bug in it and asserts that the target finds it.
#
#   ci/fuzz.sh [seconds per target, 20 if not given]
#
# A planted bug counts as found if the target fails on an input that it found from nothing, without the seeds, and
# that the unspoilt build survives.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
patience=120 # seconds for a planted bug; each takes a few at most
unset TELLANE_PLANT
checks=(decode:TrustLength round_trip:CutWide ring_vs_vecdeque:RoomOffByOne ring_vs_vecdeque:NoWrap propagation:LaxHex
    saved:WideColumn)

rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# Two target directories, so that the two builds do not evict each other.
clean() { cargo +nightly fuzz "$1" --target-dir fuzz/target "${@:2}"; }
planted() {
    RUSTFLAGS="${RUSTFLAGS:-} --cfg tellane_plant" cargo +nightly fuzz "$1" --target-dir fuzz/target/planted "${@:2}"
}

# The options of all runs of a target. Corpus and artifacts go to the scratch directory: each run starts afresh.
options() {
    printf '%s\n' -print_final_stats=1 -timeout=10 "-artifact_prefix=$2/"
    [[ ! -e fuzz/$1.dict ]] || echo "-dict=fuzz/$1.dict"
}
executions() { sed -n 's/^stat::number_of_executed_units: *//p' "$1" | head -n 1; }
complaint() { grep -a -A 1 -m 1 'panicked at' "$1" | tail -n 1 | sed 's/^assertion .* failed: //' || true; }
verdict() { # passed or failed, log, line
    echo "$3"
    if [[ $1 == passed ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        tail -n 40 "$2"
    fi
}

for build in clean planted; do
    "$build" build >"$scratch/build" 2>&1 || { cat "$scratch/build"; exit 1; }
done

for target in decode round_trip ring_vs_vecdeque propagation saved; do
    at=$scratch/clean/$target log=$scratch/$target.log
    mkdir -p "$at/corpus"
    mapfile -t options < <(options "$target" "$at")
    if clean run "$target" "$at/corpus" "fuzz/seeds/$target" -- "${options[@]}" "-max_total_time=$seconds" >"$log" 2>&1; then
        verdict passed "$log" "$target: $(executions "$log") executions in $seconds s, no finding"
    else
        mkdir -p fuzz/artifacts && find "$at" -maxdepth 1 -type f -exec cp {} fuzz/artifacts/ \;
        verdict failed "$log" "$target: a finding, kept in fuzz/artifacts/: $(complaint "$log")"
    fi
done

for check in "${checks[@]}"; do
    target=${check%:*} bug=${check#*:}
    at=$scratch/planted/$bug log=$scratch/$bug.log
    mkdir -p "$at/corpus"
    mapfile -t options < <(options "$target" "$at")
    begun=$SECONDS
    if TELLANE_PLANT=$bug planted run "$target" "$at/corpus" -- "${options[@]}" -seed=1 "-max_total_time=$patience" >"$log" 2>&1; then
        verdict failed "$log" "$target: planted $bug was not found in $(executions "$log") executions"
        continue
    fi
    took=$((SECONDS - begun))
    input=$(find "$at" -maxdepth 1 -name 'crash-*' | head -n 1)
    if ! grep -aq "^planted $bug\$" "$log" || [[ -z $input ]]; then
        verdict failed "$log" "$target: the run with $bug failed for another reason"
    elif ! clean run "$target" "$input" >"$log.clean" 2>&1; then
        verdict failed "$log.clean" "$target: what found $bug fails without it, too"
    else
        verdict passed "$log" \
            "$target: planted $bug found after $(executions "$log") executions, $took s: $(complaint "$log")"
    fi
done

echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
