#!/bin/sh
# Makes the vectors with certificates anew: attestor/tests/vectors/keyless.
#
#   keyless_vectors.sh TOOLS PYTHON
#
# TOOLS holds cosign and the servers (make interop-go), PYTHON runs private_sigstore.py. What is signed is
# the statement of the key vectors. The first bundle is the first entry of its log, which some readers
# stumble over; the other comes after it. Their keys end with the instance, so no two runs agree: afterwards
# write the port of the issuer into vectors.json and into the tests, and let KILN_BLESS=1 write the rest.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
tools=$1 python=$2
vectors=$root/attestor/tests/vectors
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/one" "$scratch/two"
"$python" - "$vectors/key/p256.intoto.jsonl" >"$scratch/statement.json" <<'PY'
import base64, json, sys
sys.stdout.buffer.write(base64.b64decode(json.loads(open(sys.argv[1]).readline())["payload"]))
PY
cat >"$scratch/sign.sh" <<'SH'
set -eu
cd "$1"
for name in hello later; do
  "$2" attest-blob --yes --bundle "$name.sigstore.json" --signing-config signing_config.json \
    --trusted-root trusted_root.json --identity-token "$(cat token)" --statement "$3" "$4"
done
SH
instance() { # folder command…
  folder=$scratch/$1
  shift
  "$python" "$root/tests/interop/private_sigstore.py" "$folder" "$tools" -- "$@"
}
instance one sh "$scratch/sign.sh" "$scratch/one" "$tools/cosign" "$scratch/statement.json" "$vectors/hello"
instance two true
for name in hello later; do install -m 644 "$scratch/one/$name.sigstore.json" "$vectors/keyless/"; done
install -m 644 "$scratch/one/trusted_root.json" "$vectors/keyless/trusted_root.json"
install -m 644 "$scratch/two/trusted_root.json" "$vectors/keyless/other_root.json"
echo "identity $(cat "$scratch/one/identity"), issuer $(cat "$scratch/one/issuer")"
