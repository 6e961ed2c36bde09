# Read by the scripts beside it: a scratch folder, the kiln binary, and projects outside the tree.
#
# Everything that kiln keeps (key, configuration, store) goes below the scratch folder, which is
# deleted at the end; nothing of the user's own is read or written.

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
kiln=$target/debug/kiln

heading() { printf '\n\033[1m== %s\033[0m\n' "$1"; }
fail() { echo "$(basename "$0"): $1" >&2; exit 1; }

# Runs a command and tells how long it took.
timed() { # what command…
  timed_what=$1 timed_since=$(date +%s)
  shift
  "$@"
  echo "  $timed_what: $(($(date +%s) - timed_since)) s"
}

build_kiln() { # the profile of the tests: what they built is used again
  (cd "$root" && cargo build -q -p runner)
}

# Makes $scratch, removed at the end. Anybody may pass through it; its folders have their owners.
make_scratch() {
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/kiln-scratch.XXXXXX")
  chmod 755 "$scratch"
  trap 'chmod -R u+w "$scratch" 2>/dev/null || :; rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM
}

# Makes a home below $scratch and points kiln at it alone.
own_home() { # name
  home=$scratch/$1
  mkdir -p "$home/config" "$home/cache"
  export HOME="$home" XDG_CONFIG_HOME="$home/config" XDG_CACHE_HOME="$home/cache"
  unset KILN_STORE KILN_JSON KILN_QUIET KILN_VERBOSE KILN_OFFLINE KILN_LOCKED KILN_JOBS 2>/dev/null || :
}

# Makes the current folder a repository with one commit of everything in it.
commit_all() {
  git init -q .
  git add -A
  git -c user.name=kiln -c user.email=kiln@localhost -c commit.gpgsign=false \
    commit -q -m "$1" --date '2020-01-01T00:00:00Z'
}

# Runs a command that has to end with this exit code.
expect_exit() { # code command…
  wanted=$1
  shift
  got=0
  "$@" || got=$?
  [ "$got" -eq "$wanted" ] || fail "exit $got instead of $wanted: $*"
}
