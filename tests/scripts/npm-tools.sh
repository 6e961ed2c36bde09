# Read by interop.sh: npm's verifier, in target/tools/npm, in the versions of tests/interop/npm.

# The lock file has digests and no host: npm asks whatever registry it is set to.
npm_tools() {
  modules=$target/tools/npm
  wanted=$root/tests/interop/npm/package-lock.json
  if ! cmp -s "$wanted" "$modules/installed"; then
    heading "Tools, in $modules"
    mkdir -p "$modules"
    cp "$root/tests/interop/npm/package.json" "$wanted" "$modules"
    (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --cache "$target/tools/npm-cache")
    cp "$wanted" "$modules/installed"
  fi
}
