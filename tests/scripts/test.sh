#!/bin/sh
# All tests of the workspace. The end-to-end ones share one folder, deleted here at the end.
set -eu
cd "$(dirname "$0")/../.."
KILN_TESTS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kiln-tests.XXXXXX")
export KILN_TESTS_DIR
chmod 755 "$KILN_TESTS_DIR"
trap 'chmod -R u+w "$KILN_TESTS_DIR" 2>/dev/null || :; rm -rf "$KILN_TESTS_DIR"' EXIT
trap 'exit 130' INT TERM
cargo build -p runner
cargo test --workspace --no-fail-fast "$@"
