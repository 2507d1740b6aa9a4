#!/usr/bin/env bash
# Instructions and cache figures of each hot call, counted by valgrind, so that they repeat on a busy machine.
#
#   ci/instructions.sh              measures, and rewrites perf/record/instructions.csv; commit it with what changed it
#   ci/instructions.sh --check      measures, and fails if a call takes over 5 % and over half an instruction more than there
#   ci/instructions.sh --into FILE  measures into FILE, and leaves the record alone
#   ci/instructions.sh --ready      measures nothing: fails if valgrind is missing and cannot be installed
#   ci/instructions.sh --self-test  measures nothing: shows that the comparison fails where it must (--check does, too)
#
# The tool is callgrind, not cachegrind: both have the same simulated caches, but cachegrind counts the whole process,
# and the aggregator is a thread of it. Callgrind counts only inside the function that --toggle-collect names, thread
# by thread. Figures per call are those of one run divided by its calls; the loop around them is among them, and stands in
# the file as a row of its own. One run: a look-up of labels takes some instructions more or less in each process, by where
# its texts lie, and the difference of two runs would double that. The caches' sizes are given, so that they are no matter
# of the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

record=perf/record/instructions.csv
calls=1000 # of so many calls the longest records still fit a ring
install="apt-get install -y --no-install-recommends valgrind"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

need_valgrind() {
  command -v valgrind >/dev/null && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "valgrind is missing: $install" >&2; exit 1; }
  echo "installs valgrind: $install" >&2
  apt-get update -qq && $install -qq >/dev/null
}

# One run: its total events, on one line. $1 the program, $2 the number of the call, $3 its name, $4 how many calls.
run() {
  local out=$scratch/$2.$4
  valgrind --tool=callgrind --cache-sim=yes --I1=32768,8,64 --D1=32768,8,64 --LL=8388608,16,64 \
    --collect-atstart=no --toggle-collect='*measured*' --callgrind-out-file="$out" "$1" "$3" "$4" \
    >"$out.log" 2>&1 || { cat "$out.log" >&2; return 1; }
  grep -qx 'events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw' "$out" || { echo "other events in $out" >&2; return 1; }
  sed -n 's/^totals: //p' "$out" >"$out.totals"
}
export -f run
export scratch

measure() { # into the file $1
  need_valgrind
  local program names at
  program=$(cargo bench --bench instructions --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
  [ -x "$program" ] || { echo "the bench does not build: cargo bench --bench instructions --no-run" >&2; exit 1; }
  mapfile -t names < <("$program" --list)
  for at in "${!names[@]}"; do
    printf '%s\0' "$program" "$at" "${names[at]}" "$calls"
  done | xargs -0 -n 4 -P "$(nproc)" bash -euc 'run "$@"' run
  {
    echo "# clock $("$program" --clock), $(valgrind --version)"
    echo "# $("$program" --conditions ci/instructions.sh)"
    echo "call,instructions,data_reads,data_writes,l1_instruction_misses,l1_data_read_misses,l1_data_write_misses"
    for at in "${!names[@]}"; do
      awk -v name="${names[at]}" -v n="$calls" '{
        printf "%s", name
        for (event = 1; event <= 6; event++) printf ",%.3f", $event / n
        print ""
      }' "$scratch/$at.$calls.totals"
    done
  } >"$1"
}

# Fails if a call of $2 takes more than in $1, or is not in both. Calls that read a clock cannot be compared between
# machines whose kernels trust another one: then they are left out, and it says so.
compare() {
  awk -F , '
    /^# clock/ { sub(/^# clock /, ""); clock[++files] = $1; next }
    /^#/ || /^call,/ { next }
    NR == FNR { old[$1] = $2; next }
    !($1 in old) { printf "%s: not in the record\n", $1; bad = 1; next }
    { seen[$1] = 1; more = $2 - old[$1] }
    clock[1] != clock[2] && /^(timer|span|log with)/ { left_out++; next }
    more > 0.5 && more > 0.05 * old[$1] {
      printf "%s: %.1f instructions, %.1f in the record\n", $1, $2, old[$1]; bad = 1; next
    }
    more < -0.5 && more < -0.05 * old[$1] { printf "%s: %.1f instructions, down from %.1f\n", $1, $2, old[$1] }
    END {
      for (name in old) if (!(name in seen)) { printf "%s: in the record, but not measured\n", name; bad = 1 }
      if (left_out) printf "%d calls not compared: clock %s here, %s in the record\n", left_out, clock[2], clock[1]
      exit bad
    }' "$1" "$2"
}

# The record with the figure of its last call changed by the awk expression $1.
changed() {
  awk -F , -v OFS=, -v last="$(tail -n 1 "$record" | cut -d , -f 1)" "\$1 == last { \$2 = $1 } { print }" "$record"
}

# A check that cannot fail is worth nothing: against a record that is lower by more than is allowed, it must.
self_test() {
  local failures=0 last
  last=$(tail -n 1 "$record" | cut -d , -f 1)
  must() { # what is expected, the record to compare with, what it is
    local outcome=passes
    compare "$2" "$record" >"$scratch/said" || outcome=fails
    [ "$outcome" = "$1" ] || { echo "self-test: $3 $outcome"; failures=$((failures + 1)); }
    [ "$outcome" = passes ] || grep -qF "$last" "$scratch/said" ||
      { echo "self-test: $3 does not name the call"; failures=$((failures + 1)); }
  }
  changed '$2 / 1.06 - 1.01' >"$scratch/lower"
  changed '$2 - 0.49' >"$scratch/by_half"
  changed '$2 / 1.04' >"$scratch/by_little"
  changed '2 * $2 + 10' >"$scratch/higher"
  sed '$d' "$record" >"$scratch/without"
  sed 's/^span root,\([0-9]*\).*/span root,1/; s/^# clock [a-z]*/# clock other/' "$record" >"$scratch/clock"
  must passes "$record" "what has not changed"
  must fails "$scratch/lower" "a call that grew by 6 % and an instruction"
  must passes "$scratch/by_half" "a call that grew by less than half an instruction"
  must passes "$scratch/by_little" "a call that grew by 4 %"
  must passes "$scratch/higher" "a call that shrank"
  must passes "$scratch/clock" "a span by another clock"
  must fails "$scratch/without" "a call that is not in the record"
  [ "$failures" = 0 ] && echo "self-test: the comparison fails where it must, and nowhere else"
}

case ${1:-} in
  --self-test) self_test ;;
  --check)
    self_test
    measure "$scratch/now.csv"
    if compare "$record" "$scratch/now.csv"; then
      echo "$(grep -vc '^#\|^call,' "$record") calls take no more instructions than $record says"
    else
      head -qn 2 "$record" "$scratch/now.csv" >&2
      echo "on purpose? then run ci/instructions.sh, and commit $record with what changed it" >&2
      exit 1
    fi
    ;;
  '')
    measure "$scratch/now.csv"
    [ ! -e "$record" ] || compare "$record" "$scratch/now.csv" || true
    cp "$scratch/now.csv" "$record"
    ;;
  --into) measure "$2" ;;
  --ready) need_valgrind ;;
  *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac
