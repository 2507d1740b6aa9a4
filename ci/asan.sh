#!/usr/bin/env bash
# The tests that go through unsafe code, under AddressSanitizer and LeakSanitizer. Nightly Rust; std need not be built.
# The fork test is left out: a child that exits leaves behind what the threads it does not have were holding.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="-Zsanitizer=address"
cargo +nightly test --target x86_64-unknown-linux-gnu --target-dir target/asan \
  --lib --test threads --test accounting --test shutdown --test families --test faults
