#!/usr/bin/env bash
# The short comparison as a smoke test: builds comparison/ and runs every row and every rate of every peer twice, briefly.
# Each row asserts its result: what was made was counted, or its loss is told. No time is asserted.
#
#   ci/comparison.sh [arguments of the comparison, --smoke if none are given]
set -euo pipefail
cd "$(dirname "$0")/../comparison"
[ $# -gt 0 ] || set -- --smoke
# Without --release the checks are the same, and fat LTO over 250 crates is spared.
cargo run --quiet -- "$@"
