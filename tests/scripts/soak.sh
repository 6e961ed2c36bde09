#!/bin/sh
# Long runs: many steps in one process, as this user and, when root, as an unprivileged one. Nothing may
# grow: descriptors, mounts, control groups, processes, temporary files, memory.
#
#   soak.sh [STEPS]     1,000 without a word
set -eu
cd "$(dirname "$0")/../.."
cargo test -q -p sandbox --test attacks --no-run
KILN_SOAK_RUNS=${1:-1000} cargo test -q -p sandbox --test attacks -- many_runs_leave
