#!/bin/sh
# kiln signs without a key in a private Sigstore that runs; kiln and cosign verify. Then everything that can
# go wrong on the way, each with its code, and nothing half written.
#
#   interop-keyless.sh INSTANCE      started by interop-go.sh, by way of private_sigstore.py
set -eu
. "$(dirname "$0")/project.sh"
. "$(dirname "$0")/judges.sh"
instance=$1
us=$(cat "$instance/identity") them=$(cat "$instance/other-identity") issuer=$(cat "$instance/issuer")
ci=$(cat "$instance/ci")
make_scratch
own_home home
mkdir -p "$XDG_CONFIG_HOME/kiln"
chmod 700 "$XDG_CONFIG_HOME/kiln"

cases=0
done_with() { echo "  $1" && cases=$((cases + 1)); }
configure() { # signing config, trusted root, line of the token
  {
    printf '[signer]\nkind = "keyless"\nsigning-config = "%s/%s.json"\n' "$instance" "$1"
    printf 'trusted-root = "%s/%s.json"\n%s\n' "$instance" "$2" "$3"
  } >"$XDG_CONFIG_HOME/kiln/attestor.toml"
}
by_file="token-file = \"$instance/token\""
signs() { # what, variables…: a build that is signed, told to be by us
  what=$1
  shift
  rm -rf kiln-out
  env "$@" "$kiln" --json build --locked --sign >told.json 2>said || { cat said && fail "$what"; }
  grep -q "\"signed_by\": \"$us ($issuer)\"" told.json || fail "$what: not told whose signature it is"
  leaks_nothing "$what" said told.json "$XDG_STATE_HOME"
  done_with "signs     $what"
}
refuses() { # exit, code, words, what, variables…: nothing is signed, and nothing is left
  wanted=$1 code=$2 words=$3 what=$4
  shift 4
  rm -rf kiln-out
  got=0
  env "$@" "$kiln" build --locked --sign >told.json 2>said || got=$?
  [ "$got" -eq "$wanted" ] || { cat said && fail "exit $got instead of $wanted: $what"; }
  grep -q "error\[$code\]" said || { cat said && fail "not $code: $what"; }
  tr -s ' \n' '  ' <said | grep -qF "$words" || { cat said && fail "it does not say \`$words\`: $what"; }
  [ ! -e kiln-out ] || fail "something is left of: $what"
  leaks_nothing "$what" said told.json "$XDG_STATE_HOME"
  done_with "refuses   $what"
}
leaks_nothing() { # what, where…: the token's signature, or a secret of the job
  what=$1
  shift
  for secret in $(cut -d. -f3 "$instance"/*token) a-secret-of-the-job; do
    ! grep -rqF "$secret" "$@" 2>/dev/null || fail "a secret stands in what is told or kept: $what"
  done
}
export XDG_STATE_HOME="$scratch/home/state"
mkdir -p "$XDG_STATE_HOME" "$scratch/hello"
cp "$root"/examples/hello/* "$scratch/hello"
cd "$scratch/hello"
printf 'told.json\nsaid\njudged\nkeep\n' >.gitignore
commit_all hello

judged() { # accepts or refuses, what, command…
  wanted=$1 what=$2
  shift 2
  got=0
  "$@" >judged 2>&1 || got=$?
  case $wanted:$got in
  accepts:0 | refuses:[1-9]*) done_with "$wanted   $what" ;;
  *) cat judged && fail "exit $got, but a verifier that is right $wanted: $what" ;;
  esac
}
flip() { # file: one bit in the middle of the last signature
  python3 - "$1" <<'PY'
import base64, re, sys
text = open(sys.argv[1]).read()
at = list(re.finditer(r'"sig" ?: ?"([^"]+)"', text))[-1]
raw = bytearray(base64.b64decode(at.group(1)))
raw[len(raw) // 2] ^= 1
open(sys.argv[1], "w").write(text[: at.start(1)] + base64.b64encode(raw).decode() + text[at.end(1):])
PY
}
all_judge() { # log: what was built last, by both
  cd kiln-out
  cp hello.sigstore.json flipped.sigstore.json && flip flipped.sigstore.json
  echo other >other
  for who in cosign_says kiln_says; do
    judged accepts "$who, $1: what was signed" $who hello.sigstore.json "$us" "$issuer" hello
    judged refuses "$who, $1: another file" $who hello.sigstore.json "$us" "$issuer" other
    judged refuses "$who, $1: a flipped signature" $who flipped.sigstore.json "$us" "$issuer" hello
    judged refuses "$who, $1: another identity" $who hello.sigstore.json "$them" "$issuer" hello
    judged refuses "$who, $1: another issuer" $who hello.sigstore.json "$us" "$issuer/x" hello
  done
  cd ..
  # For whoever else judges when the servers are gone.
  cp kiln-out/hello.sigstore.json "$instance/kiln-$1.sigstore.json"
}

heading "kiln signs without a key: a log of version 2"
configure signing_config trusted_root "$by_file"
signs "by a token in a file"
all_judge log-2
cp -r kiln-out keep
# What changes nothing signs nothing, and a line or a bundle that was touched is signed anew.
"$kiln" -q build --locked --sign && cmp -s keep/hello.sigstore.json kiln-out/hello.sigstore.json ||
  fail "signed again although nothing changed"
done_with "signs     nothing where nothing changed"
# An entry of one's own trust, as the attestor writes it, believes what is signed from then on.
"$kiln" key show --trust >"$scratch/trust.toml"
flip kiln-out/hello.sigstore.json
"$kiln" -q build --locked --sign
judged accepts "kiln_says: what was mended" kiln_says kiln-out/hello.sigstore.json "$us" "$issuer" kiln-out/hello
mv "$scratch/trust.toml" "$XDG_CONFIG_HOME/kiln/trust.toml"
cp "$instance/trusted_root.json" "$XDG_CONFIG_HOME/kiln/trusted_root.json"
judged accepts "kiln verify, by an entry of the trust file" "$kiln" verify kiln-out/hello
echo '{"reviewed": true}' >keep/review.json
"$kiln" --json attest kiln-out/hello --predicate keep/review.json --type https://kiln.example/review >told.json
grep -q "\"subject\": \"$us\"" told.json && [ -s kiln-out/hello.review.sigstore.json ] || fail "kiln attest"
done_with "signs     kiln attest, and says whose signature it is"
"$kiln" -q build --locked --sign --attest scai,link
for bundle in kiln-out/hello.scai.sigstore.json kiln-out/hello.link.sigstore.json; do
  grep -q rfc3161Timestamps "$bundle" || fail "$bundle has no timestamp"
  done_with "signs     $(basename "$bundle")"
done

# A verdict about it, signed without a key as well: the attestor judges the certificate by its own root.
printf 'policy: 1\nuri: https://kiln.example/policy.yaml\nhermetic: true\n' >keep/policy.yaml
address=https://dl.kiln.example/hello
judged accepts "kiln verify --vsa, by a policy" "$kiln" verify kiln-out/hello --policy keep/policy.yaml \
  --resource-uri "$address" --vsa keep/hello.vsa.jsonl
python3 - keep/hello.vsa.sigstore.json <<'PY' || fail "the verdict is not PASSED, or has no certificate"
import base64, json, sys
read = json.loads(open(sys.argv[1]).readline())
statement = json.loads(base64.b64decode(read.get("dsseEnvelope", read)["payload"]))
sys.exit(statement["predicate"]["verificationResult"] != "PASSED")
PY

. "$root/tests/scripts/interop-identities.sh"

heading "kiln signs without a key: a log of version 1"
configure signing_config_v1 trusted_root "$by_file"
# Twice: sigstore-python cannot read the first entry of a log (docs/interop.md).
signs "the first entry"
signs "by a token in a file"
grep -q inclusionPromise kiln-out/hello.sigstore.json || fail "no promise of a log of version 1"
all_judge log-1

heading "Where the token comes from"
configure signing_config trusted_root ""
signs "SIGSTORE_ID_TOKEN, found" SIGSTORE_ID_TOKEN="$(cat "$instance/token")"
github="ACTIONS_ID_TOKEN_REQUEST_URL=$ci/github?api-version=2.0"
signs "GitHub, found" GITHUB_ACTIONS=true "$github" ACTIONS_ID_TOKEN_REQUEST_TOKEN=a-secret-of-the-job
buildkite="BUILDKITE=true BUILDKITE_AGENT_ENDPOINT=$ci/buildkite BUILDKITE_JOB_ID=0192-ab"
# shellcheck disable=SC2086
signs "Buildkite, found" $buildkite BUILDKITE_AGENT_ACCESS_TOKEN=a-secret-of-the-job
for named in gitlab circleci; do
  configure signing_config trusted_root "token = \"$named\""
  signs "$named, named" SIGSTORE_ID_TOKEN="$(cat "$instance/token")"
done
configure signing_config trusted_root 'token-variable = "MINE"'
signs "a variable, named" MINE="$(cat "$instance/token")"
refuses 5 KILN-0701 "MINE is not set" "another variable than the one named" SIGSTORE_ID_TOKEN="$(cat "$instance/token")"

heading "What goes wrong, and is told"
configure signing_config trusted_root ""
refuses 5 KILN-0701 "there is no identity token" "no token"
refuses 5 KILN-0701 "id-token: write" "GitHub, without the permission" GITHUB_ACTIONS=true
refuses 5 KILN-0709 "GitHub gave no identity token: 401" "GitHub, of another job" GITHUB_ACTIONS=true "$github" \
  ACTIONS_ID_TOKEN_REQUEST_TOKEN=a-wrong-one
configure signing_config trusted_root "token-file = \"$instance/expired-token\""
refuses 5 KILN-0703 "the identity token ran out at" "a token that ran out"
configure signing_config trusted_root "token-file = \"$instance/audience-token\""
refuses 5 KILN-0703 "for \`somebody else\` and not for \`sigstore\`" "a token for somebody else"
configure signing_config trusted_root "$(printf '%s\naudience = "somebody else"' "token-file = \"$instance/audience-token\"")"
refuses 5 KILN-0709 "refused: Fulcio returned HTTP 4" "a token that fulcio is not for"
# A token of the right words and another signature.
sed 's/\.[^.]*$/.AAAA/' "$instance/token" >keep/forged
configure signing_config trusted_root "token-file = \"$PWD/keep/forged\""
refuses 5 KILN-0709 "refused: Fulcio returned HTTP 4" "a token that its issuer did not sign"
configure signing_config_down trusted_root "$by_file"
refuses 6 KILN-0708 "Connection refused" "fulcio does not answer"
configure signing_config_redirects trusted_root "$by_file"
refuses 5 KILN-0709 "fulcio at http://127.0.0.1:" "fulcio says to ask elsewhere"
[ ! -e "$instance/elsewhere" ] || fail "the token went where a redirect told"
configure signing_config_echoes trusted_root "$by_file"
refuses 5 KILN-0709 "[token]" "fulcio tells the token"
configure signing_config_refusing trusted_root "$by_file"
refuses 5 KILN-0709 "refused: Rekor returned HTTP 404" "rekor takes nothing"
configure signing_config_fails trusted_root "$by_file"
refuses 6 KILN-0708 "TSA returned status 500" "the timestamp authority is out of order"
configure signing_config_cleartext trusted_root "$by_file"
refuses 5 KILN-0703 "neither https nor of this host" "the token would go over the network in cleartext"
configure signing_config other_root "$by_file"
refuses 5 KILN-0709 "does not hold under the trusted root" "the root of another instance"
configure signing_config trusted_root "$by_file"
signs "after all that"

heading "By TLS"
configure signing_config_tls trusted_root "$by_file"
refuses 6 KILN-0708 "UnknownIssuer" "an authority that the host does not know"
signs "by a name and an authority that the attestor is told" SSL_CERT_FILE="$instance/tls.pem"

leaks_nothing "all that is kept" "$XDG_CACHE_HOME" kiln-out
heading "As a user that may start no thread, and by an attestor on a socket"
if [ "$(id -u)" -eq 0 ]; then
  as=$scratch/attestor
  mkdir -p "$as/config" "$as/state"
  cp "$instance/token" "$instance/signing_config.json" "$instance/trusted_root.json" "$as/config"
  cat >"$as/config/attestor.toml" <<TOML
[builder]
id = "https://ci.example.org/kiln/v1"
waived-id = "https://ci.example.org/kiln-waived/v1"
[listen]
build = [1001]
control = [0]
[signer]
kind = "keyless"
signing-config = "$as/config/signing_config.json"
trusted-root = "$as/config/trusted_root.json"
token-file = "$as/config/token"
TOML
  cp "$instance/signing_config_tls.json" "$as/config/signing_config.json"
  cp "$instance/tls.pem" "$as/config"
  chmod 700 "$as/config" "$as/state" && chown -R 1000:1000 "$as"
  SSL_CERT_FILE=$as/config/tls.pem setpriv --reuid 1000 --regid 1000 --clear-groups "$kiln" attestor listen --config-dir "$as/config" \
    --state-dir "$as/state" --socket "$as/socket" &
  attestor=$!
  trap 'kill $attestor 2>/dev/null || :; chmod -R u+w "$scratch" 2>/dev/null || :; rm -rf "$scratch"' EXIT
  until [ -S "$as/socket" ]; do kill -0 $attestor || fail "the attestor ended"; done
  "$kiln" --attestor "unix:$as/socket" --json attest kiln-out/hello --predicate keep/review.json \
    --type https://kiln.example/review >told.json || :
  grep -q "\"subject\": \"$us\"" told.json || { cat told.json && fail "the attestor on a socket did not sign"; }
  done_with "signs     an attestor on a socket, as a user of its own"
fi

heading "$cases cases of keyless signing as they should be"
