#!/usr/bin/env bash
# A stranger's first minutes: clones what is committed, and runs the commands of the README's first console block, as
# they stand there.
set -euo pipefail
cd "$(dirname "$0")/.."
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone/tellane"
cd "$clone/tellane"
mapfile -t commands < <(sed -n '/^```console$/,/^```$/p' README.md | sed '/^```console$/d; /^```$/,$d; s/ *#.*//')
[ "${#commands[@]}" -ge 2 ] || { echo "the README names no commands" >&2; exit 1; }
for command in "${commands[@]}"; do
  printf '\n$ %s\n' "$command"
  bash -c "$command" </dev/null
done
