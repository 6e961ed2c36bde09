#!/bin/sh
# Gives the readers of the verifier bytes that nobody wrote, led by the code that they reach (libFuzzer):
#
#   fuzz.sh [SECONDS] [TARGET...]     60 seconds for each target; without names all of them
#
# On the stable compiler: its coverage pass needs no flag of the nightly one. What is found lies in
# target/fuzz/TARGET-crash-…, and the inputs that led further in target/fuzz/corpus/TARGET, for the next run.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
command -v c++ >/dev/null || { echo "fuzz.sh needs a C++ compiler: apt-get install g++" >&2; exit 1; }

# The versions that kiln itself is built with.
cp Cargo.lock attestor/fuzz/Cargo.lock
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
  cargo build -q --release --manifest-path attestor/fuzz/Cargo.toml --target x86_64-unknown-linux-gnu \
  --target-dir target/fuzz/build
program=target/fuzz/build/x86_64-unknown-linux-gnu/release/attestor-fuzz

[ $# -ne 0 ] || set -- $(sed -n 's/^        name: "\(.*\)",$/\1/p' attestor/tests/fuzz/targets.rs)
for target in "$@"; do
  corpus=target/fuzz/corpus/$target
  mkdir -p "$corpus"
  log=target/fuzz/$target.log
  # The first run writes the seeds, which the second one reads.
  KILN_FUZZ_TARGET=$target KILN_FUZZ_SEEDS=$corpus "$program" -runs=0 >"$log" 2>&1 || { cat "$log"; exit 1; }
  if ! KILN_FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=1024 \
    -artifact_prefix="target/fuzz/$target-" -print_final_stats=1 "$corpus" >"$log" 2>&1; then
    tail -40 "$log"
    echo "FOUND by $target: target/fuzz/$target-*" >&2
    exit 1
  fi
  began=$(sed -n 's/.*INITED *cov: *\([0-9]*\).*/\1/p' "$log")
  ended=$(sed -n 's/.*DONE *cov: *\([0-9]*\).*/\1/p' "$log")
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%-12s %9s inputs, %s edges of code at first, %s at last\n' "$target" "$runs" "$began" "$ended"
done
