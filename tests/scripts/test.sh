#!/bin/sh
# All tests of the workspace. The end-to-end ones share one folder, deleted here at the end.
set -eu
cd "$(dirname "$0")/../.."
KILN_TESTS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kiln-tests.XXXXXX")
export KILN_TESTS_DIR
chmod 755 "$KILN_TESTS_DIR"
# An engine that the tests started ends with them, and takes its time to unmount what it made.
engine_ends() {
  [ ! -s "$KILN_TESTS_DIR/dockerd/pid" ] || tail --pid="$(cat "$KILN_TESTS_DIR/dockerd/pid")" -f /dev/null
}
trap 'engine_ends; chmod -R u+w "$KILN_TESTS_DIR" 2>/dev/null || :; rm -rf "$KILN_TESTS_DIR"' EXIT
trap 'exit 130' INT TERM
cargo build -p runner
cargo test --workspace --no-fail-fast "$@"
