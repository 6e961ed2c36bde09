#!/usr/bin/env python3
"""Asks npm's @sigstore/verify, and compares the file, which that library leaves to its callers.

    sigstore_js.py BUNDLE FILE PEM                       by a plain key
    sigstore_js.py BUNDLE FILE ROOT IDENTITY ISSUER      by a certificate

Exit 0 or 1. The library lies in target/tools/npm, beside the Python that runs this.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = pathlib.Path(sys.prefix).parent


def answer(bundle, **who):
    """Returns what the library says of a bundle: `accepted`, and the payload or why not."""
    question = {"bundle": bundle} | who
    done = subprocess.run(["node", HERE / "npm/verify.cjs", TOOLS / "npm"],
                          input=json.dumps([{name: str(value) for name, value in question.items()}]),
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"verify.cjs: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)[0]


def accepts(bundle, file, **who):
    """Says whether the library accepts the bundle and its payload names the file's digest."""
    said = answer(bundle, **who)
    if not said["accepted"]:
        print(said["why"], file=sys.stderr)
        return False
    wanted = hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
    subjects = json.loads(base64.b64decode(said["payload"]))["subject"]
    return any(one["digest"].get("sha256") == wanted for one in subjects)


def main():
    bundle, file, *who = sys.argv[1:]
    names = ["key"] if len(who) == 1 else ["root", "identity", "issuer"]
    return 0 if accepts(bundle, file, **dict(zip(names, who, strict=True))) else 1


if __name__ == "__main__":
    sys.exit(main())
