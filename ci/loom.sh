#!/usr/bin/env bash
# Every loom model, through all its executions but for the few that name a bound on preemptions; each must also find its planted bugs. Prints what each explored.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg tellane_loom"
export CARGO_TARGET_DIR=target/loom # another cfg: the normal build's artifacts stay valid
unset LOOM_MAX_PREEMPTIONS LOOM_MAX_PERMUTATIONS LOOM_MAX_DURATION # unbounded

out=$(mktemp)
trap 'rm -f "$out"' EXIT
cargo test --profile loom --lib loom -- --nocapture --test-threads=1 2>&1 | tee "$out"

echo
grep -o 'model .*' "$out"
awk '
    match($0, /model .*: [0-9]+ executions/) { models++; split(substr($0, RSTART), part, ": "); total += part[2] + 0 }
    { kills += gsub(/; killed /, "") }
    END { printf "loom: %d models, %d executions, %d mutants killed\n", models, total, kills }
' "$out"
