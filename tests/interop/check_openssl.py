#!/usr/bin/env python3
"""Checks kiln's signature with the openssl program over the DSSE encoding (no Python package)."""

import base64
import pathlib
import subprocess
import tempfile

import case


def accepts(key, envelope):
    """Says whether openssl accepts the envelope's signature."""
    with tempfile.TemporaryDirectory() as folder:
        message, signature = pathlib.Path(folder, "message"), pathlib.Path(folder, "signature")
        message.write_bytes(case.pae(envelope))
        signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        ed25519 = "ED25519" in subprocess.run(
            ["openssl", "pkey", "-pubin", "-in", key, "-noout", "-text"], capture_output=True, text=True, check=True
        ).stdout.upper()
        if ed25519:
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin",
                       "-in", message, "-sigfile", signature]
        else:
            command = ["openssl", "dgst", "-sha256", "-verify", key, "-signature", signature, message]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main():
    folder, name, key = case.arguments()
    good = case.envelope(folder, name)
    results = [("as kiln wrote it", True, accepts(key, good))]
    results += [(what, False, accepts(key, bad)) for what, bad in case.bad_envelopes(good)]
    with tempfile.TemporaryDirectory() as other:
        private, public = f"{other}/private", f"{other}/public"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
        subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
        results.append(("another key", False, accepts(public, good)))
    case.report("openssl", results)


if __name__ == "__main__":
    main()
