# Read by interop-keyless.sh, in the folder of a project that kiln signed without a key: what it signed so is
# believed wherever a key's signature is, by entries of the identity, and nobody else's is.

trust=$XDG_CONFIG_HOME/kiln/trust.toml
builder=https://kiln.build/builders/local/v1 verifier=https://kiln.build/verifiers/local/v1
says() { # words: of what was judged last
  tr -s ' \n' '  ' <judged | grep -qF -e "$1" || { cat judged && fail "it does not say \`$1\`"; }
}
as_entry() { # flags of trust add: the one entry of the identity, until `as_before`
  cp "$trust" keep/before.toml
  "$kiln" trust remove "$us" >/dev/null 2>&1 || fail "trust remove"
  "$kiln" trust add --identity "$us" --issuer "$issuer" "$@" >/dev/null || fail "trust add"
}
as_before() { cp keep/before.toml "$trust"; }

heading "A summary by an identity"
summary=keep/hello.vsa.sigstore.json
vsa() { # bundle address flags…
  bundle=$1 to=$2
  shift 2
  "$kiln" verify kiln-out/hello --bundle "$bundle" --resource-uri "$to" "$@"
}
judged refuses "a summary by an identity that is a builder" vsa $summary "$address"
says "the identity is not trusted for this verifier"
says "builder $builder (entry "
judged accepts "trust add --identity --verifier-id" "$kiln" trust add --identity "$us" --issuer "$issuer" \
  --verifier-id $verifier --name judge
judged accepts "a summary by an identity" vsa $summary "$address"
says "vouched for by $issuer"
says "recorded in a transparency log, signed at"
judged accepts "the same, of that policy" vsa $summary "$address" --policy keep/policy.yaml
judged refuses "the same of another address" vsa $summary "$address/x"
judged refuses "the same of a higher level" vsa $summary "$address" --level 2
judged refuses "the same under the root of another instance" vsa $summary "$address" \
  --trusted-root "$instance/other_root.json"
judged refuses "the same without its certificate" vsa keep/hello.vsa.jsonl "$address"
says "--bundle kiln-out/hello.sigstore.json"
cp $summary keep/flipped.vsa.sigstore.json && flip keep/flipped.vsa.sigstore.json
judged refuses "the same with a flipped signature" vsa keep/flipped.vsa.sigstore.json "$address"
judged accepts "the same by hand" vsa $summary "$address" --identity "$us" --issuer "$issuer"
judged refuses "the same by hand, at level 2" vsa $summary "$address" --level 2 --identity "$us" --issuer "$issuer"
judged refuses "the same by hand, of somebody else" vsa $summary "$address" --identity "$them" --issuer "$issuer"
judged refuses "the same by hand, of another issuer" vsa $summary "$address" --identity "$us" --issuer "$issuer/x"
judged refuses "the same by hand, by a pattern" vsa $summary "$address" --identity ".*" --issuer "$issuer"
judged accepts "inspect, of a summary" "$kiln" inspect $summary
for words in "result PASSED" "verifier $verifier" "resource $address" "levels SLSA_BUILD_LEVEL_1" "names $us" \
  "issuer $issuer" "signed at 20" "policy https://kiln.example/policy.yaml sha256:"; do
  says "$words"
done

heading "A statement that a policy requires, by an identity"
required() { # identity issuer
  printf 'policy: 1\nrequire:\n  - type: https://kiln.example/review\n    signer: {identity: "%s", issuer: "%s"}\n' \
    "$1" "$2" >keep/required.yaml
  "$kiln" verify kiln-out/hello --policy keep/required.yaml
}
judged accepts "by us" required "$us" "$issuer"
judged refuses "by somebody else" required "$them" "$issuer"
says "one signed by $us ($issuer)"
judged refuses "of another issuer" required "$us" "$issuer/x"
judged refuses "by a pattern" required ".*" "$issuer"

heading "A policy that names an identity as the signer"
judged accepts "policy init" "$kiln" policy init kiln-out/hello -o keep/learned.yaml
grep -qF "signer: {identity: \"$us\", issuer: \"$issuer\"}" keep/learned.yaml || fail "no identity was learned"
judged accepts "policy check" "$kiln" policy check keep/learned.yaml
judged accepts "by what was learned" "$kiln" verify kiln-out/hello --policy keep/learned.yaml
sed "s/$us/$them/" keep/learned.yaml >keep/theirs.yaml
judged refuses "by a policy that names somebody else" "$kiln" verify kiln-out/hello --policy keep/theirs.yaml
says "signed by $them ($issuer)"
says "signed by $us ($issuer)"
says "keep/theirs.yaml:$(grep -n signer: keep/theirs.yaml | cut -d: -f1):"
cp kiln-out/hello kiln-out/hello.sigstore.json "$instance/trusted_root.json" "$trust" keep
cat >keep/cases.yaml <<'YAML'
policy: learned.yaml
trust: trust.toml
trusted-root: trusted_root.json
cases:
  - {name: ours, bundle: hello.sigstore.json, file: hello, expect: accept}
YAML
judged accepts "policy test" "$kiln" policy test keep
sed -i 's/learned/theirs/; s/expect: accept/expect: {refuse: builders}/' keep/cases.yaml
judged accepts "policy test, where somebody else is named" "$kiln" policy test keep
sed -i 's/issuer:/issuerr:/' keep/theirs.yaml
judged refuses "policy check, of a signer without issuer" "$kiln" policy check keep/theirs.yaml
says "keep/theirs.yaml:$(grep -n signer: keep/theirs.yaml | cut -d: -f1):"

heading "A dependency by an identity"
# What is built above is the build file here, which so is a dependency with a statement of its own.
mkdir "$scratch/above"
cp kiln.yaml "$scratch/above/next.yaml"
cat >"$scratch/above/kiln.yaml" <<'YAML'
kiln: 1
name: above
environment:
  host: {packages: [coreutils]}
steps:
  - name: copy
    run: cp next.yaml out
    outputs: {out: out}
artifacts:
  - {file: copy.out}
YAML
(cd "$scratch/above" && "$kiln" -q lock && commit_all above && "$kiln" -q build --locked --sign) || fail "above"
below() { "$kiln" verify kiln-out/hello --deps "$scratch/above/kiln-out" "$@"; }
judged accepts "by its entry" below
says "kiln.yaml: L1"
judged refuses "under the root of another instance" below --trusted-root "$instance/other_root.json"
cp -r "$scratch/above/kiln-out" "$scratch/above/kept"
flip "$scratch/above/kiln-out/out.sigstore.json"
judged refuses "with a flipped signature" below
says "KILN-0822"
rm -r "$scratch/above/kiln-out" && mv "$scratch/above/kept" "$scratch/above/kiln-out"

heading "An entry of an identity has a span, and can be revoked"
as_entry --builder-id $builder --name us --until 2020-01-01T00:00:00Z
judged refuses "ended before it was signed" "$kiln" verify kiln-out/hello
says "the identity is no longer valid"
says "entry \`us\` in line "
says "trust.toml:"
as_before
as_entry --builder-id $builder --name us --from 2020-01-01T00:00:00Z
judged accepts "begun before it was signed" "$kiln" verify kiln-out/hello
as_before
as_entry --builder-id https://ci.example.org/kiln/v1 --name us
judged refuses "of another builder" "$kiln" verify kiln-out/hello
says "the identity is not trusted for this builder"
as_before
cp "$trust" keep/before.toml
judged accepts "trust remove --revoked" "$kiln" trust remove "$us" --revoked now
judged refuses "revoked after it was signed" "$kiln" verify kiln-out/hello
says "the identity was revoked"
judged refuses "the same by hand" "$kiln" verify kiln-out/hello --identity "$us" --issuer "$issuer"
judged refuses "a summary by who is revoked" vsa $summary "$address"
judged refuses "a required statement by who is revoked" required "$us" "$issuer"
echo >>hello.c
judged refuses "a build that would be signed by who is revoked" "$kiln" build --locked --sign --allow-dirty
says "error[KILN-0802]: the identity that would sign was revoked"
git checkout -q hello.c
as_before

judged accepts "inspect, of provenance" "$kiln" inspect kiln-out/hello
for words in "names $us" "issuer $issuer" "signed at 20"; do says "$words"; done
! grep -q "names key" judged || fail "it speaks of a key"
sh -c "$(sed -n 's/^ *to compare *//p' judged)" >/dev/null || fail "the line for sha256sum does not work"
judged refuses "without a root of the instance" env XDG_CONFIG_HOME="$scratch/nobody" "$kiln" verify kiln-out/hello \
  --identity "$us" --issuer "$issuer"
says "--trusted-root F"
