#!/usr/bin/env bash
# Measures, and makes the tables of PERF.md of it, between its two marks; the prose around them is not touched. This is
# the one command, from a clean clone; it wants a quiet machine with two processors. All figures stay in perf/record/.
#
#   ci/perf.sh              everything: the comparison, then instructions, latencies and memory
#   ci/perf.sh --short      the comparison alone, briefly, on the terminal; any other argument goes to the comparison, too
#   ci/perf.sh --page       measures nothing: the tables of what was kept last
#   ci/perf.sh --check      measures nothing: fails if the tables are not exactly what the kept records make of them, or
#                           if the prose names a subject nowhere, in backticks, that misses its target or loses to a peer
#   ci/perf.sh --self-test  measures nothing: shows that this check fails where it must (--check does, too)
#   ci/perf.sh --smoke      the whole of it as briefly as it goes, in a copy: page and records stay as they are (CI)
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p perf/record
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

compare() { (cd comparison && cargo run --quiet --release -- "$@"); }
# The same without the minutes that --release takes to build: for what measures nothing.
compare_unhurried() { (cd comparison && cargo run --quiet -- "$@"); }

# Instructions, latencies and memory, into the folder $1. $2: what cargo bench is told beside, $3: what the benches are.
other_records() {
  local bench
  ci/instructions.sh --into "$1/instructions.csv"
  for bench in latency memory; do
    # shellcheck disable=SC2086 # none or some words
    cargo bench --quiet $2 --bench "$bench" -- $3 --json "$1/$bench.json" >/dev/null
  done
}

# The comparison that was kept last in the folder $1.
kept_last() { find "$1/perf/record" -name '*-comparison.json' | sort | tail -n 1; }

# The tables of the page in the folder $2, of the comparison that was kept last beside it. $1 is the build that makes them.
page() {
  local root
  root=$(realpath "$2")
  "$1" --page "$root/PERF.md" --from "$(kept_last "$root")"
}

copy() { # of page and records, in $1
  mkdir -p "$1/perf"
  cp PERF.md "$1"
  cp -r perf/record "$1/perf"
}

# Fails if the page in the folder $1 is not what the records beside it make, and shows where.
is_made() {
  cp "$1/PERF.md" "$1/found"
  page compare_unhurried "$1" && diff "$1/found" "$1/PERF.md"
}

# A check that cannot fail is worth nothing: a page or a record that somebody changed must be found, prose not.
self_test() {
  local failures=0
  must() { # what is expected, what is done with the copy, to which file, what that is
    rm -rf "$scratch/copy"
    copy "$scratch/copy"
    page compare_unhurried "$scratch/copy"
    cp "$scratch/copy/$3" "$scratch/before"
    sed -i "$2" "$scratch/copy/$3"
    ! cmp -s "$scratch/before" "$scratch/copy/$3" || { echo "self-test: $4 is not there to be changed"; failures=$((failures + 1)); }
    local outcome=passes
    is_made "$scratch/copy" >"$scratch/said" || outcome=fails
    [ "$outcome" = "$1" ] || { echo "self-test: $4 $outcome"; failures=$((failures + 1)); }
  }
  must passes '1s/$/ or so/' PERF.md "prose that was changed"
  must fails 's/^\(| floor | empty loop | [0-9]*\)/\19/' PERF.md "a figure that was changed"
  must fails '/^| floor | empty loop /d' PERF.md "a line that was taken out"
  must fails 's/^\(empty loop,[0-9]*\)/\19/' perf/record/instructions.csv "a record that is newer than the page"
  [ "$failures" = 0 ] && echo "self-test: the check of the page fails where it must, and nowhere else"
}

check() {
  self_test
  copy "$scratch/page"
  if is_made "$scratch/page"; then
    echo "the tables of PERF.md are what ci/perf.sh makes of perf/record"
  else
    echo "PERF.md differs from what perf/record makes of it (> above): run ci/perf.sh --page" >&2
    return 1
  fi
  if compare_unhurried --unexplained "$PWD/PERF.md" --from "$(kept_last "$PWD")"; then
    echo "the prose of PERF.md names each subject that misses its target or loses to a peer"
  else
    echo "PERF.md must name each subject above in its prose, in backticks, and say why (if none is named, see the error)" >&2
    return 1
  fi
}

smoke() {
  local before root=$scratch/smoke
  before=$(cat PERF.md perf/record/* | cksum)
  ci/instructions.sh --ready
  mkdir -p "$root/perf/record"
  cp PERF.md "$root"
  ci/comparison.sh --keep "$root/perf/record/smoke-comparison.json"
  other_records "$root/perf/record" "--profile smoke" --short
  page compare_unhurried "$root"
  if grep 'Not measured\|not measured in this run\|unknown conditions' "$root/PERF.md"; then
    echo "ci/perf.sh: a page of all records lacks this" >&2
    return 1
  fi
  [ "$(cat PERF.md perf/record/* | cksum)" = "$before" ] || { echo "ci/perf.sh: --smoke changed page or records" >&2; return 1; }
  echo "a page of $(wc -l <"$root/PERF.md") lines was made of all records; the one that is kept has not changed"
}

case ${1:-} in
  '')
    ci/instructions.sh --ready # what it needs is missed now, and not behind the whole comparison
    # By the date of the day on which it begins. Its tables are on the page; here they would scroll by.
    compare --json "../perf/record/$(date -u +%F)-comparison.json" >/dev/null
    other_records perf/record "" ""
    page compare .
    ;;
  --page) page compare . ;;
  --check) check ;;
  --self-test) self_test ;;
  --smoke) smoke ;;
  *) compare "$@" ;;
esac
