#!/bin/sh
# Measures the release build and prints the report. Takes minutes and some 7 GB of scratch space.
set -eu
. "$(dirname "$0")/project.sh"
(cd "$root" && cargo build -q --release -p runner -p benches)
make_scratch
own_home home
sh "$root/tests/scripts/sources.sh" "$scratch/sources" lua5.4
echo "host: $(uname -r), $(nproc) processors, $(date -u +%Y-%m-%d)"
"$target/release/benches" all "$scratch" "$scratch/sources/lua5.4"
