#!/bin/sh
# Builds examples/hello and hands its statement to other people's tools, which must accept it and
# refuse changed ones. The tools live in target/tools, in the versions of requirements.txt.
set -eu
. "$(dirname "$0")/project.sh"

venv=$target/tools/venv
wanted=$root/tests/interop/requirements.txt
if ! cmp -s "$wanted" "$venv/installed"; then
  heading "Tools, in $venv"
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$venv/installed"
fi

heading "A signed build"
build_kiln
make_scratch
export PYTHONDONTWRITEBYTECODE=1
for algorithm in p256 ed25519; do
  own_home "home-$algorithm"
  mkdir "$scratch/$algorithm"
  cp "$root"/examples/hello/* "$scratch/$algorithm"
  cd "$scratch/$algorithm"
  commit_all hello
  "$kiln" -q key generate --algorithm "$algorithm"
  "$kiln" key export >"$scratch/$algorithm.pem"
  "$kiln" build --locked --sign
  heading "Other tools, $algorithm"
  "$venv/bin/python" "$root/tests/interop/check_openssl.py" kiln-out hello "$scratch/$algorithm.pem"
  "$venv/bin/python" "$root/tests/interop/check_securesystemslib.py" kiln-out hello "$scratch/$algorithm.pem"
  "$venv/bin/python" "$root/tests/interop/check_in_toto.py" kiln-out hello "$scratch/$algorithm.pem"
done
