#!/usr/bin/env bash
# The comparison as a smoke test: builds comparison/, runs every row and every rate of every peer twice, briefly, and
# makes a page of it. Each row asserts its result: what was made was counted, or its loss is told. No time is asserted.
# And the tables of PERF.md must be what is made of the kept records (ci/perf.sh --check).
#
#   ci/comparison.sh [--keep FILE] [arguments of the comparison, --smoke if none are given]
#
# A peer that hangs is told by name after a minute (comparison/src/process.rs); whatever else hangs, by the timeout here.
set -euo pipefail
cd "$(dirname "$0")/../comparison"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
json=$scratch/comparison.json
if [ "${1:-}" = --keep ]; then
  json=$(realpath "$2")
  shift 2
fi
[ $# -gt 0 ] || set -- --smoke

# Without --release the checks are the same, and fat LTO over 250 crates is spared.
cargo test --quiet
cargo build --quiet
../ci/perf.sh --check
code=0
timeout --kill-after=10 900 cargo run --quiet -- "$@" --json "$json" 2> >(tee "$scratch/said" >&2) || code=$?
if [ "$code" != 0 ]; then
  [ "$code" != 124 ] || echo "ci/comparison.sh: hung, ended after 900 s" >&2
  echo "ci/comparison.sh: failed ($code); the last it said: $(tr '\r' '\n' <"$scratch/said" | tail -n 1)" >&2
  exit 1
fi

cp ../PERF.md "$scratch"
cargo run --quiet -- --page "$scratch/PERF.md" --from "$json"
if [ "$*" = --smoke ] && grep 'not measured in this run' "$scratch/PERF.md"; then
  echo "ci/comparison.sh: a target has lost its row, its floor or its peer: see above, and comparison/src/targets.rs" >&2
  exit 1
fi
