#!/bin/sh
# Verifiers written in Go read what kiln wrote, and kiln reads what one of them signed in a private
# Sigstore on loopback. Each must accept the good case and refuse the changed ones.
#
# The tools are built by the Go toolchain into target/tools/bin, in the versions and with the digests of
# tests/interop/go/TOOL/go.{mod,sum}.
set -eu
. "$(dirname "$0")/project.sh"
. "$(dirname "$0")/python-tools.sh"
. "$(dirname "$0")/npm-tools.sh"
. "$(dirname "$0")/judges.sh"

bin=$target/tools/bin
install_tool() { # name package, which may be called otherwise
  folder=$root/tests/interop/go/$1
  if [ -x "$bin/$1" ] && cmp -s "$folder/go.sum" "$bin/.$1.sum"; then return 0; fi
  heading "$1, into $bin"
  mkdir -p "$bin"
  (cd "$folder" && timed "$1" env GOFLAGS=-mod=readonly GOWORK=off go build -o "$bin/$1" "$2")
  cp "$folder/go.sum" "$bin/.$1.sum"
}
install_tool cosign github.com/sigstore/cosign/v3/cmd/cosign
install_tool slsa-verifier github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier
install_tool ampel github.com/carabiner-dev/ampel/cmd/ampel
install_tool fulcio github.com/sigstore/fulcio
install_tool rekor-server-posix github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix
install_tool timestamp-server github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server
python_tools
npm_tools
build_kiln
make_scratch
own_home home
export PYTHONDONTWRITEBYTECODE=1

cases=0
case_of() { # wanted (accepts or refuses) what command…
  wanted=$1 what=$2
  shift 2
  code=0
  "$@" >"$scratch/said" 2>&1 || code=$?
  case $wanted:$code in
  accepts:0 | refuses:[1-9]*) echo "  $wanted  $what" && cases=$((cases + 1)) ;;
  *) cat "$scratch/said" && fail "exit $code, but a verifier that is right $wanted: $what" ;;
  esac
}
flip() { # file: one bit in the middle of the last signature of a line or a bundle
  python3 - "$1" <<'PY'
import base64, re, sys
text = open(sys.argv[1]).read()
at = list(re.finditer(r'"sig" ?: ?"([^"]+)"', text))[-1]
raw = bytearray(base64.b64decode(at.group(1)))
raw[len(raw) // 2] ^= 1
text = text[: at.start(1)] + base64.b64encode(raw).decode() + text[at.end(1):]
open(sys.argv[1], "w").write(text)
PY
}

heading "A signed build"
mkdir "$scratch/hello"
cp "$root"/examples/hello/* "$scratch/hello"
cd "$scratch/hello"
commit_all hello
"$kiln" -q key generate
"$kiln" key export >../kiln.pem
"$kiln" build --locked --sign
cd kiln-out
cp hello.sigstore.json flipped.sigstore.json && flip flipped.sigstore.json
echo other >other
openssl ecparam -name prime256v1 -genkey -noout -out "$scratch/other.key"
openssl ec -in "$scratch/other.key" -pubout -out "$scratch/other.pem" 2>/dev/null

heading "cosign verify-blob-attestation, by key"
by_key() { # bundle key type file
  "$bin/cosign" verify-blob-attestation --bundle "$1" --key "$2" --insecure-ignore-tlog --type "$3" "$4"
}
case_of accepts "what kiln wrote" by_key hello.sigstore.json ../../kiln.pem slsaprovenance1 hello
case_of refuses "another file" by_key hello.sigstore.json ../../kiln.pem slsaprovenance1 other
case_of refuses "a flipped signature" by_key flipped.sigstore.json ../../kiln.pem slsaprovenance1 hello
case_of refuses "another key" by_key hello.sigstore.json ../../other.pem slsaprovenance1 hello
case_of refuses "another kind of statement" by_key hello.sigstore.json ../../kiln.pem spdx hello

heading "slsa-verifier verify-vsa"
address=https://dl.kiln.example/hello verifier=https://ci.kiln.example/verifier/v1
printf '[verifier]\nid = "%s"\n' "$verifier" >"$XDG_CONFIG_HOME/kiln/attestor.toml"
"$kiln" policy init hello >../policy.yaml
echo "uri: https://kiln.example/policy.yaml" >>../policy.yaml
"$kiln" -q verify hello --policy ../policy.yaml --resource-uri "$address" --vsa hello.vsa.jsonl
cp hello.vsa.jsonl flipped.vsa.jsonl && flip flipped.vsa.jsonl
summary() { # summary key verifier address level file
  "$bin/slsa-verifier" verify-vsa --attestation-path "$1" --public-key-path "$2" --verifier-id "$3" \
    --resource-uri "$4" --verified-level "$5" --subject-digest "sha256:$(sha256sum "$6" | cut -c1-64)"
}
level=SLSA_BUILD_LEVEL_1
case_of accepts "what kiln wrote" summary hello.vsa.jsonl ../../kiln.pem $verifier $address $level hello
case_of refuses "another file" summary hello.vsa.jsonl ../../kiln.pem $verifier $address $level other
case_of refuses "a flipped signature" summary flipped.vsa.jsonl ../../kiln.pem $verifier $address $level hello
case_of refuses "another key" summary hello.vsa.jsonl ../../other.pem $verifier $address $level hello
case_of refuses "another verifier" summary hello.vsa.jsonl ../../kiln.pem $verifier/x $address $level hello
case_of refuses "another address" summary hello.vsa.jsonl ../../kiln.pem $verifier $address/x $level hello
case_of refuses "a higher level" summary hello.vsa.jsonl ../../kiln.pem $verifier $address SLSA_BUILD_LEVEL_2 hello

heading "ampel verify, by key and a policy over provenance"
policy() { # name key builder
  "$venv/bin/python" "$root/tests/interop/verifiers.py" "$2" "$3" >"$scratch/$1.json"
}
builder=https://kiln.build/builders/local/v1
policy ampel ../../kiln.pem $builder
policy ampel-key ../../other.pem $builder
policy ampel-builder ../../kiln.pem $builder/x
cp hello.intoto.jsonl flipped.intoto.jsonl && flip flipped.intoto.jsonl
by_policy() { # policy key line file
  "$bin/ampel" verify "$4" --policy "$scratch/$1.json" --collector "jsonl:$3" --key "$2"
}
case_of accepts "what kiln wrote" by_policy ampel ../../kiln.pem hello.intoto.jsonl hello
case_of refuses "another file" by_policy ampel ../../kiln.pem hello.intoto.jsonl other
case_of refuses "a flipped signature" by_policy ampel ../../kiln.pem flipped.intoto.jsonl hello
case_of refuses "another key" by_policy ampel-key ../../other.pem hello.intoto.jsonl hello
case_of refuses "a key that the policy does not name" by_policy ampel-key ../../kiln.pem hello.intoto.jsonl hello
# The receiver's page has a policy of its own, to be copied as it stands.
sed -n '/^key=\$(awk/,/^ampel verify/p' "$root/docs/for-people-who-received-a-file.md" >"$scratch/page.sh"
by_page() { # file line
  mkdir -p "$scratch/page" && cp "$1" "$scratch/page/hello" && cp "$2" "$scratch/page/hello.intoto.jsonl"
  cp ../../kiln.pem "$scratch/page/builder.pem"
  (cd "$scratch/page" && PATH=$bin:$PATH sh "$scratch/page.sh")
}
case_of accepts "what kiln wrote, as the receiver's page says" by_page hello hello.intoto.jsonl
case_of refuses "another file, as the receiver's page says" by_page other hello.intoto.jsonl
case_of refuses "a flipped signature, as the receiver's page says" by_page hello flipped.intoto.jsonl
case_of refuses "another builder" by_policy ampel-builder ../../kiln.pem hello.intoto.jsonl hello

heading "The committed vectors"
timed "the vectors" "$venv/bin/python" "$root/tests/interop/verdicts.py" interop-go "$kiln" "$target/tools"

heading "A private Sigstore on loopback: cosign and kiln sign, everybody verifies"
python3 - hello.intoto.jsonl >"$scratch/statement.json" <<'PY'
import base64, json, sys
sys.stdout.buffer.write(base64.b64decode(json.loads(open(sys.argv[1]).readline())["payload"]))
PY
mkdir "$scratch/instance"
cat >"$scratch/keyless.sh" <<'SH'
#!/bin/sh
set -eu
cd "$1"
cosign=$2
# Twice: sigstore-python cannot read the first entry of a log (docs/interop.md).
for bundle in first.sigstore.json hello.sigstore.json; do
  "$cosign" attest-blob --yes --bundle "$bundle" --signing-config signing_config.json \
    --trusted-root trusted_root.json --identity-token "$(cat token)" --statement "$3" "$4"
done
exec sh "$5" "$1"
SH
"$venv/bin/python" "$root/tests/interop/private_sigstore.py" "$scratch/instance" "$bin" -- \
  sh "$scratch/keyless.sh" "$scratch/instance" "$bin/cosign" "$scratch/statement.json" "$PWD/hello" \
  "$root/tests/scripts/interop-keyless.sh"
cd "$scratch/instance"
cp "$scratch/hello/kiln-out/hello" "$scratch/hello/kiln-out/other" .
us=$(cat identity) them=$(cat other-identity) issuer=$(cat issuer)
instance=$scratch/instance
everybody_judges() { # bundle about hello, signed by $us
  cp "$1" flipped.sigstore.json && flip flipped.sigstore.json
  for who in $judges; do
    case_of accepts "$who: what was signed" $who "$1" "$us" "$issuer" hello
    case_of refuses "$who: another file" $who "$1" "$us" "$issuer" other
    case_of refuses "$who: a flipped signature" $who flipped.sigstore.json "$us" "$issuer" hello
    case_of refuses "$who: another identity" $who "$1" "$them" "$issuer" hello
    case_of refuses "$who: another issuer" $who "$1" "$us" "$issuer/x" hello
  done
}
timed "the verifiers" everybody_judges hello.sigstore.json
for bundle in kiln-log-2.sigstore.json kiln-log-1.sigstore.json; do
  heading "$bundle, which kiln signed"
  timed "the verifiers" everybody_judges "$bundle"
done
case_of refuses "kiln: the public instance's root" "$kiln" verify hello --bundle hello.sigstore.json \
  --identity "$us" --issuer "$issuer"

heading "$cases cases as they should be"
