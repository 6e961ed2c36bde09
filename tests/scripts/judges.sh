# Read by scripts that have a private Sigstore: who judges a bundle with a certificate, kiln and others. They
# need $instance, the folder with what clients are given.
#
# Each: bundle identity issuer file

judges="cosign_says kiln_says sigstore_python_says sigstore_js_says"

cosign_says() {
  "$target/tools/bin/cosign" verify-blob-attestation --bundle "$1" --trusted-root "$instance/trusted_root.json" \
    --certificate-identity "$2" --certificate-oidc-issuer "$3" --type slsaprovenance1 "$4"
}
kiln_says() {
  "$kiln" verify "$4" --bundle "$1" --trusted-root "$instance/trusted_root.json" --identity "$2" --issuer "$3"
}
sigstore_python_says() {
  "$target/tools/venv/bin/sigstore" --trust-config "$instance/client_trust_config.json" verify identity --offline \
    --bundle "$1" --cert-identity "$2" --cert-oidc-issuer "$3" "$4"
}
sigstore_js_says() {
  "$target/tools/venv/bin/python" "$root/tests/interop/sigstore_js.py" "$1" "$4" "$instance/trusted_root.json" "$2" "$3"
}
