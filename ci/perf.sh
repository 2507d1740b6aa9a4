#!/usr/bin/env bash
# Measures, and puts the figures into PERF.md between its two marks, with what they were measured on. Takes half a
# minute; run it on a quiet machine. The raw figures of every round go to perf/record/.
set -euo pipefail
cd "$(dirname "$0")/.."
date=$(date -u +%F)
mkdir -p perf/record
raw=perf/record/$date.csv
commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain -- src benches Cargo.toml Cargo.lock)" ] || commit="$commit and uncommitted changes"
figures=$(cargo bench --quiet --bench ratios -- --csv "$PWD/$raw" "$@")
cpu=$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)
{
  sed '/<!-- figures -->/q' PERF.md
  echo
  echo "Command \`ci/perf.sh${*:+ $*}\`, commit $commit, $(rustc --version), $(nproc) x $cpu"
  echo "(virtual, shared), load $(cut -d ' ' -f 1 /proc/loadavg), $date. Raw figures: [$raw]($raw)."
  echo
  echo "$figures"
  echo
  sed -n '/<!-- end of figures -->/,$p' PERF.md
} > PERF.md.new
mv PERF.md.new PERF.md
