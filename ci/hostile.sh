#!/usr/bin/env bash
# Instructions a byte of saved snapshots of hostile shape, counted by callgrind, so that they repeat on a busy machine.
#
#   ci/hostile.sh   prints them for 128 KiB and 1 MiB of each shape, and fails above the bounds of benches/hostile.rs
#
# What takes time in the square of its length takes eight times as much a byte at the larger size, and fails there.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/instructions.sh --ready
program=$(cargo bench --bench hostile --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
[ -x "$program" ] || { echo "the bench does not build: cargo bench --bench hostile --no-run" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions a byte. $1 the shape, $2 its KiB.
per_byte() {
  local out bytes
  out=$(mktemp -p "$scratch")
  bytes=$(valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*' --callgrind-out-file="$out" \
    "$program" "$1" "$2" 2>"$out.log") || { cat "$out.log" >&2; return 1; }
  awk -v bytes="$bytes" '/^totals: / { printf "%.0f\n", $2 / bytes }' "$out"
}
export -f per_byte
export program scratch

failed=0
printf '%-52s %10s %10s %8s\n' 'instructions a byte' '128 KiB' '1 MiB' 'bound'
while read -r bound name; do
  mapfile -t found < <(printf '%s\0' 128 1024 | xargs -0 -P "$(nproc)" -I % bash -euc 'echo % "$(per_byte "$1" %)"' of "$name" | sort -n | cut -d ' ' -f 2)
  printf '%-52s %10s %10s %8s\n' "$name" "${found[0]}" "${found[1]}" "$bound"
  for instructions in "${found[@]}"; do
    [ "$instructions" -le "$bound" ] || { echo "$name: $instructions instructions a byte, $bound are allowed" >&2; failed=1; }
  done
done < <("$program" --list)
exit "$failed"
