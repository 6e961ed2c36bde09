#!/bin/sh
# Long runs: many steps in one process, as this user and, when root, as an unprivileged one. Nothing may
# grow: descriptors, mounts, control groups, processes, temporary files, memory. Before that, random bytes
# for everything that the verifier reads, from another place of chance each time.
#
#   soak.sh [STEPS]     1,000 without a word; 20 inputs of each kind for each of them
set -eu
cd "$(dirname "$0")/../.."
steps=${1:-1000}
KILN_FUZZ_RUNS=$((steps * 20)) KILN_FUZZ_SEED=${KILN_FUZZ_SEED:-$(date +%s)} \
  cargo test -q -p attestor --test fuzz -- --nocapture no_bytes_at_all
cargo test -q -p sandbox --test attacks --no-run
KILN_SOAK_RUNS=$steps cargo test -q -p sandbox --test attacks -- many_runs_leave
