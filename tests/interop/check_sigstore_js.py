#!/usr/bin/env python3
"""Checks kiln's bundle with npm's @sigstore/verify, by key."""

import json
import pathlib
import subprocess
import tempfile

import case
import sigstore_js


def main():
    folder, name, key = case.arguments()
    good = folder / f"{name}.sigstore.json"
    whole = json.loads(good.read_text())
    results = [("as kiln wrote it", True, sigstore_js.accepts(good, folder / name, key=key))]
    with tempfile.TemporaryDirectory() as scratch:
        spoilt, other = pathlib.Path(scratch, "bundle"), pathlib.Path(scratch, "other")
        for what, envelope in case.bad_envelopes(case.envelope(folder, name)):
            spoilt.write_text(json.dumps(whole | {"dsseEnvelope": envelope}))
            results.append((what, False, sigstore_js.accepts(spoilt, folder / name, key=key)))
        other.write_text("other\n")
        results.append(("another file", False, sigstore_js.accepts(good, other, key=key)))
        private, public = pathlib.Path(scratch, "private"), pathlib.Path(scratch, "public")
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
        subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
        results.append(("another key", False, sigstore_js.accepts(good, folder / name, key=public)))
    case.report("@sigstore/verify", results)


if __name__ == "__main__":
    main()
