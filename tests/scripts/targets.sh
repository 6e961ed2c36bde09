#!/bin/sh
# Compiles the verifier, `model` and `attestor` without features, for the systems that files are received
# on. Only where their standard library is installed: it says which were looked at and which were not.
set -eu
cd "$(dirname "$0")/../.."
for target in aarch64-unknown-linux-gnu aarch64-apple-darwin x86_64-apple-darwin \
  x86_64-pc-windows-gnu x86_64-pc-windows-msvc; do
  if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    cargo check -q -p model -p attestor --no-default-features --target "$target"
    echo "targets: the verifier compiles for $target"
  else
    echo "targets: $target was not looked at:  rustup target add $target"
  fi
done
