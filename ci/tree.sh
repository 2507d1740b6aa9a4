#!/usr/bin/env bash
# The default build's whole tree stays under 30 crates.
set -euo pipefail
cd "$(dirname "$0")/.."
count=$(cargo tree --edges normal --prefix none | sort -u | wc -l)
echo "$count crates in the default build"
[ "$count" -lt 30 ]
