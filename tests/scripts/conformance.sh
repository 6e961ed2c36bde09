#!/bin/sh
# Runs a checkout of sigstore-conformance against what kiln checks bundles with:
#
#   conformance.sh SUITE [CLIENT]
#
# SUITE is the folder that holds `test/assets/bundle-verify`; nothing of it is part of this project. Each
# case is run with the artifact's path and with its digest. A client that refuses everything passes most
# of the suite, so the cases that must be accepted are counted apart, and there have to be some.
set -eu

suite=$1/test/assets/bundle-verify
client=${2:-target/debug/examples/conformance}
identity=https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main
issuer=https://token.actions.githubusercontent.com

accepted=0 refused=0 wrong=0
for folder in "$suite"/*/; do
  name=$(basename "$folder")
  artifact=$suite/a.txt
  [ ! -e "$folder/artifact" ] || artifact=$folder/artifact
  set -- verify-bundle --bundle "$folder/bundle.sigstore.json"
  if [ -e "$folder/key.pub" ]; then
    set -- "$@" --key "$folder/key.pub"
  else
    subject=$identity from=$issuer
    [ ! -e "$folder/identity" ] || subject=$(cat "$folder/identity")
    [ ! -e "$folder/issuer" ] || from=$(cat "$folder/issuer")
    set -- "$@" --certificate-identity "$subject" --certificate-oidc-issuer "$from"
  fi
  [ ! -e "$folder/trusted_root.json" ] || set -- "$@" --trusted-root "$folder/trusted_root.json"
  digest=sha256:$(sha256sum "$artifact" | cut -c1-64)
  for what in "$artifact" "$digest"; do
    code=0
    why=$("$client" "$@" "$what" 2>&1) || code=$?
    case $name:$code in
    *_fail:1) refused=$((refused + 1)) ;;
    *_fail:*) wrong=$((wrong + 1)) && echo "WRONG $name $what: exit $code" ;;
    *:0) accepted=$((accepted + 1)) ;;
    *) wrong=$((wrong + 1)) && echo "WRONG $name $what: $why" ;;
    esac
  done
done
echo "conformance: $accepted accepted, $refused refused, $wrong wrong"
[ "$wrong" -eq 0 ] && [ "$accepted" -gt 0 ] && [ "$refused" -gt 0 ]
