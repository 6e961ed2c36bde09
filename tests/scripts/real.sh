#!/bin/sh
# Builds unmodified upstream sources twice as root and twice as an unprivileged user, each time with
# its own home, store and checkout: every artifact and every buildDefinition must be the same.
# Started by somebody else than root, it does that one's two builds and says so.
set -eu
. "$(dirname "$0")/project.sh"

build_kiln
make_scratch
install -m 755 "$kiln" "$scratch/kiln"
kiln=$scratch/kiln

heading "Sources, by the host's apt"
sh "$root/tests/scripts/sources.sh" "$scratch/sources" lua5.4 hello

# One build in its own world; leaves kiln-out behind and prints nothing but what kiln says.
one_build() { # package example user round
  world=$scratch/$3-$4-$2
  mkdir -p "$world/home/config" "$world/home/cache" "$world/checkout"
  cp "$root/examples/real/$2/kiln.yaml" "$world/checkout"
  [ ! -f "$root/examples/real/$2/kiln.lock" ] || cp "$root/examples/real/$2/kiln.lock" "$world/checkout"
  cp -R "$scratch/sources/$1" "$world/checkout/upstream"
  prefix=
  if [ "$3" = user ] && [ "$(id -u)" -eq 0 ]; then
    chown -R 1000:1000 "$world"
    prefix='setpriv --reuid 1000 --regid 1000 --clear-groups'
  fi
  (
    cd "$world/checkout"
    # shellcheck disable=SC2086 # a prefix of words
    in_world() { $prefix env -i PATH="$PATH" HOME="$world/home" XDG_CONFIG_HOME="$world/home/config" \
      XDG_CACHE_HOME="$world/home/cache" "$kiln" "$@"; }
    [ -f kiln.lock ] || in_world lock
    in_world -q key generate
    in_world build --locked --sign
    for statement in kiln-out/*.intoto.jsonl; do in_world -q verify "${statement%.intoto.jsonl}"; done
  )
}

if [ "$(id -u)" -eq 0 ]; then users='root user'; else users=user; fi
for pair in lua5.4:lua hello:hello; do
  outputs=
  for user in $users; do
    for round in 1 2; do
      heading "${pair#*:}, as $user, round $round"
      one_build "${pair%:*}" "${pair#*:}" "$user" "$round"
      outputs="$outputs $world/checkout/kiln-out"
    done
  done
  heading "${pair#*:}: are they the same?"
  # shellcheck disable=SC2086 # a list of folders
  python3 "$root/tests/interop/same_builds.py" $outputs
done
[ "$users" = 'root user' ] || echo "real: not root, so only the unprivileged half was done"
