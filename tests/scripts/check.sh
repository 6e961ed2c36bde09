#!/bin/sh
# Format, lints, house rules, dependencies. Nothing of this lives only in CI.
set -eu
cd "$(dirname "$0")/../.."
cargo fmt --all --check
cargo clippy -q --workspace --all-targets -- -D warnings
cargo test -q -p tests --lib -- tidy
tests/scripts/targets.sh
if command -v cargo-deny >/dev/null 2>&1; then
  cargo deny --offline check bans licenses sources
else
  echo "check: cargo-deny is not installed: of deny.toml only what tests/tidy/deny.rs asks was asked"
fi
