#!/bin/sh
# Builds examples/hello and hands its statement to other people's tools, which must accept it and
# refuse changed ones. The tools live in target/tools, in the versions of tests/interop/requirements.txt and
# tests/interop/npm. Then the committed vectors: docs/interop.md.
set -eu
. "$(dirname "$0")/project.sh"
. "$(dirname "$0")/python-tools.sh"
. "$(dirname "$0")/npm-tools.sh"

timed "Python tools" python_tools
timed "npm tools" npm_tools

check_all() { # name: what other tools say of the build in the current folder
  for tool in openssl securesystemslib in_toto sigstore_js; do
    "$venv/bin/python" "$root/tests/interop/check_$tool.py" kiln-out hello "$scratch/$1.pem"
  done
}

build_and_check() { # name: examples/hello, signed by whatever the home's attestor.toml names
  mkdir "$scratch/$1"
  cp "$root"/examples/hello/* "$scratch/$1"
  cd "$scratch/$1"
  commit_all hello
  "$kiln" key export >"$scratch/$1.pem"
  "$kiln" build --locked --sign
  "$kiln" verify kiln-out/hello --key "$scratch/$1.pem"
  heading "Other tools, $1"
  check_all "$1"
}

heading "A signed build"
build_kiln
make_scratch
export PYTHONDONTWRITEBYTECODE=1
for algorithm in p256 ed25519; do
  own_home "home-$algorithm"
  "$kiln" -q key generate --algorithm "$algorithm"
  build_and_check "$algorithm"
done

heading "Keys in a token"
module=$(dpkg -L libsofthsm2 2>/dev/null | grep '/libsofthsm2\.so$' | head -n 1)
[ -n "$module" ] || module=/usr/lib64/pkcs11/libsofthsm2.so
for kind in EC:prime256v1 EC:edwards25519; do
  name=token-${kind#EC:}
  own_home "home-$name"
  mkdir -p "$home/tokens" "$XDG_CONFIG_HOME/kiln" && chmod 700 "$XDG_CONFIG_HOME/kiln"
  printf 'directories.tokendir = %s\n' "$home/tokens" >"$home/softhsm2.conf"
  export SOFTHSM2_CONF="$home/softhsm2.conf"
  softhsm2-util --init-token --free --label release --so-pin 12345678 --pin 1234 >/dev/null
  pkcs11-tool --module "$module" --token-label release --login --pin 1234 \
    --keypairgen --key-type "$kind" --label kiln --id 01 >/dev/null 2>&1
  (umask 077 && echo 1234 >"$home/pin")
  printf '[signer]\nkind = "pkcs11"\nmodule = "%s"\ntoken = "release"\nkey = "kiln"\npin-file = "%s"\n' \
    "$module" "$home/pin" >"$XDG_CONFIG_HOME/kiln/attestor.toml"
  build_and_check "$name"
done

heading "Keys of an ssh agent"
agents=
# shellcheck disable=SC2154 # of project.sh
trap 'kill $agents 2>/dev/null || :; chmod -R u+w "$scratch" 2>/dev/null || :; rm -rf "$scratch"' EXIT
for kind in ecdsa ed25519; do
  name=agent-$kind
  own_home "home-$name"
  mkdir -p "$XDG_CONFIG_HOME/kiln" && chmod 700 "$XDG_CONFIG_HOME/kiln"
  ssh-keygen -q -t "$kind" -N '' -f "$home/id"
  eval "$(ssh-agent -a "$home/agent")" >/dev/null
  agents="$agents $SSH_AGENT_PID"
  ssh-add -q "$home/id"
  printf '[signer]\nkind = "ssh-agent"\nkey = "%s"\n' "$(ssh-keygen -l -f "$home/id" | cut -d' ' -f2)" \
    >"$XDG_CONFIG_HOME/kiln/attestor.toml"
  build_and_check "$name"
done

heading "Further statements and a classic link"
own_home home-further
mkdir "$scratch/further"
cp "$root"/examples/hello/* "$scratch/further"
cd "$scratch/further"
printf 'tests:\n  - {name: greets, from: {build.hello: hello}, run: ./hello}\n' >>kiln.yaml
commit_all hello
"$kiln" -q key generate --algorithm ed25519
"$kiln" key export >"$scratch/further.pem"
"$kiln" build --locked --attest test-result,scai,link,runtime-trace,in-toto-link
"$venv/bin/python" "$root/tests/interop/check_statements.py" kiln-out hello "$scratch/further.pem"
"$venv/bin/python" "$root/tests/interop/check_in_toto_verify.py" kiln-out hello "$scratch/further.pem"

heading "Layouts, judged by in-toto-verify and by kiln"
"$venv/bin/python" "$root/tests/interop/check_layouts.py" "$kiln"

heading "The committed vectors, judged by kiln, openssl and the tools of PyPI and npm"
"$venv/bin/python" "$root/tests/interop/layout_vectors.py"
"$venv/bin/python" "$root/tests/interop/verdicts.py" page
timed "the vectors" "$venv/bin/python" "$root/tests/interop/verdicts.py" interop "$kiln" "$target/tools"
