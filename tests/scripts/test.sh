#!/bin/sh
# All tests of the workspace. The end-to-end ones share one folder, deleted here at the end.
set -eu
cd "$(dirname "$0")/../.."
KILN_TESTS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kiln-tests.XXXXXX")
export KILN_TESTS_DIR
chmod 755 "$KILN_TESTS_DIR"
# An engine that the tests started ends with them; it takes its time, and leaves a mount of a namespace.
engine_ends() {
  [ ! -s "$KILN_TESTS_DIR/dockerd/pid" ] || tail --pid="$(cat "$KILN_TESTS_DIR/dockerd/pid")" -f /dev/null
  awk -v under="$KILN_TESTS_DIR/dockerd/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r left; do umount --lazy "$left"; done
}
trap 'engine_ends; chmod -R u+w "$KILN_TESTS_DIR" 2>/dev/null || :; rm -rf "$KILN_TESTS_DIR"' EXIT
trap 'exit 130' INT TERM
cargo build -p runner
cargo test --workspace --no-fail-fast "$@" || {
  ended=$?
  # What the catalogue found wrong, once more and last: a log is often read from its end.
  [ ! -e "$KILN_TESTS_DIR/failed" ] || cat "$KILN_TESTS_DIR/failed"
  exit "$ended"
}
