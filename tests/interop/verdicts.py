#!/usr/bin/env python3
"""Asks verifiers about the committed vectors, and holds their answers against ours.

    verdicts.py page                        is docs/interop.md what the list says?
    verdicts.py interop KILN TOOLS          kiln and the verifiers that `make interop` has
    verdicts.py interop-go KILN TOOLS       those that `make interop-go` has

The list, attestor/tests/vectors/vectors.json, says of each vector whether it is to be accepted. On those that
are `agreed` nobody may say otherwise. A `contested` one has a `rule` by which it is judged, and under `differs`
which verifier is known to say otherwise and why; it is written by hand, so nothing gets on it unseen. Whatever
else a verifier says otherwise fails, with its name, and so does one that has come to agree. The page is written
from the list, with KILN_BLESS=1; as each cell of it is asked in one of the two targets, it tells what is so.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile

import verifiers

ROOT = verifiers.HERE.parent.parent
VECTORS = ROOT / "attestor/tests/vectors"
PAGE = ROOT / "docs/interop.md"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_list():
    """Returns the vectors, with paths: those on which all agree, and the others."""
    known = json.loads((VECTORS / "vectors.json").read_text())
    for vector in known["agreed"] + known["contested"]:
        vector["path"] = VECTORS / vector["file"]
        vector["artifact_path"] = VECTORS / vector["artifact"]
        vector["digest"] = hashlib.sha256(vector["artifact_path"].read_bytes()).hexdigest()
        for name in ("key", "root", "layout_key"):
            if name in vector:
                vector[f"{name}_path"] = VECTORS / vector[name]
    return known["agreed"], known["contested"]


def differs(verifier, vector):
    """Says why a verifier is known to say otherwise than kiln, or nothing."""
    return vector.get("differs", {}).get(verifier.name)


def check_list(agreed, contested):
    """Refuses a list that could hide something."""
    names = collections.Counter(vector["name"] for vector in agreed + contested)
    assert max(names.values()) == 1, "a name stands twice"
    for vector in agreed:
        assert not {"rule", "differs"} & set(vector), f"{vector['name']} is not agreed"
    for vector in contested:
        assert vector["rule"] and vector["differs"], f"{vector['name']} is not contested"
        for name in vector["differs"]:
            verifier = next(one for one in verifiers.ALL if one.name == name)
            assert name != "kiln", "kiln differs from itself"
            assert verifiers.why_not(verifier, vector) is None, f"{name} is never asked about {vector['name']}"
    for verifier in verifiers.ALL:
        asked = [vector for vector in agreed if verifiers.why_not(verifier, vector) is None]
        good = sum(vector["accepted"] for vector in asked)
        assert good >= 1 and len(asked) - good >= 3, f"{verifier.name}: one good and three bad vectors at least"


def page(agreed, contested):
    """Returns the page."""
    reasons = []
    names = [one.name for one in verifiers.ALL]
    head = f"| Vector | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}\n"
    text = HEAD + versions() + VECTOR + AGREED.format(count=len(agreed)) + head + rows(agreed, reasons)
    text += CONTESTED + head + rows(contested, reasons) + "\n"
    for vector in contested:
        text += f"- **{vector['name']}**. {vector['rule']}\n"
        text += "".join(f"  {name}: {why}\n" for name, why in vector["differs"].items())
    text += "\n## Not asked\n\n"
    text += "\n".join(f"- {LETTERS[at]}: {name}: {why}." for at, (name, why) in enumerate(reasons)) + "\n"
    return text + TAIL


def rows(vectors, reasons):
    """Returns the rows of a table; why one is not asked is added to the reasons."""
    word = {True: "accepts", False: "refuses"}
    text = ""
    for vector in vectors:
        cells = []
        for verifier in verifiers.ALL:
            why = verifiers.why_not(verifier, vector)
            if why is not None:
                if (verifier.name, why) not in reasons:
                    reasons.append((verifier.name, why))
                cells.append(f"– {LETTERS[reasons.index((verifier.name, why))]}")
            elif differs(verifier, vector):
                cells.append(f"**{word[not vector['accepted']]}**")
            else:
                cells.append(word[vector["accepted"]])
        text += f"| {vector['name']} | {' | '.join(cells)} |\n"
    return text


def versions():
    """A line for each verifier: which version, from the files that pin it."""
    pins = (verifiers.HERE / "requirements.txt").read_text()
    pip = lambda name: re.search(rf"^{name}==(\S+)", pins, re.M).group(1)
    npm = json.loads((verifiers.HERE / "npm/package.json").read_text())["dependencies"]
    go = lambda name: re.search(r"^require \S+ v(\S+)", (verifiers.HERE / f"go/{name}/go.mod").read_text(), re.M).group(1)
    told = {
        "kiln": ("this one", "`kiln verify`, exit 0 or 4"),
        "openssl": ("the host's", "the signature over the DSSE encoding"),
        "securesystemslib": (pip("securesystemslib"), "`Envelope.verify`, threshold 1"),
        "in-toto-verify": (pip("in-toto"), "`--verification-keys`, the layout's owner"),
        "sigstore-python": (pip("sigstore"), "`sigstore verify identity --offline`, own trust configuration"),
        "@sigstore/verify": (npm["@sigstore/verify"], "`Verifier.verify`; by key with no thresholds"),
        "cosign": (go("cosign"), "`verify-blob-attestation --type slsaprovenance1`; by key with `--insecure-ignore-tlog`"),
        "slsa-verifier": (go("slsa-verifier"), "`verify-vsa`"),
        "ampel": (go("ampel"), "`verify` by a policy that names the key and the builder"),
    }
    return "".join(f"| {name} | {version} | {what} |\n" for name, (version, what) in told.items())


def run(group, kiln, tools):
    agreed, contested = read_list()
    check_list(agreed, contested)
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        asked = verifiers.Asked(pathlib.Path(scratch), pathlib.Path(kiln).resolve(), pathlib.Path(tools).resolve())
        for verifier in verifiers.ALL:
            if verifier.name not in verifiers.GROUPS[group]:
                continue
            counted = collections.Counter()
            for vector in agreed + contested:
                if verifiers.why_not(verifier, vector) is not None:
                    continue
                known = differs(verifier, vector) is not None
                got = verifier.accepts(asked, vector)
                counted["accepts" if got else "refuses"] += 1
                counted["differs, as is known"] += known
                if got != (vector["accepted"] != known):
                    other = ", and the list says that it differs" if known else ""
                    wrong.append(f"{verifier.name} {'accepts' if got else 'refuses'}: {vector['name']}{other}")
            print(f"  {verifier.name}: " + ", ".join(f"{what} {count}" for what, count in counted.items() if count))
    for one in wrong:
        print(f"WRONG {one}", file=sys.stderr)
    return 1 if wrong else 0


def compare_page():
    agreed, contested = read_list()
    check_list(agreed, contested)
    wanted = page(agreed, contested)
    if os.environ.get("KILN_BLESS"):
        PAGE.write_text(wanted)
    if PAGE.exists() and PAGE.read_text() == wanted:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is stale; KILN_BLESS=1 writes it", file=sys.stderr)
    return 1


HEAD = """# Interop: who says what

Written by `KILN_BLESS=1 tests/interop/verdicts.py page`, from the list of vectors in
`attestor/tests/vectors/vectors.json`. `make interop` and `make interop-go` put every vector to every verifier
that can read it, and fail with the names where one says otherwise than this page.

| Verifier | Version | How it is asked |
|---|---|---|
"""
VECTOR = """
A vector is bytes and a question: this evidence, this file, this key or identity. Most are written by a test from a
fixed record and fixed keys (`attestor/tests/attestor/vectors.rs`); layouts by PyPI's in-toto
(`tests/interop/layout_vectors.py`); those with a certificate were made by `tests/interop/keyless_vectors.sh` in a
private Sigstore whose keys are gone. `–`: it is not asked; the letter says why.
"""
AGREED = """
## On which all agree

{count} vectors on which no verifier says otherwise than kiln. None may: there is no exception that could be
entered here.

"""
CONTESTED = """
## Beyond

What kiln is held to besides, where at least one verifier is known to be laxer, or stricter than the format; it
stands in **bold**. Below each is the rule by which kiln judges, and what the other does.

"""
TAIL = """
## What else is run

Vectors are old bytes. Both targets also build `examples/hello`, sign it afresh and have other tools read that,
with changed ones beside it: `make interop` with keys in a file, a token and an agent, and with classic links and
layouts, judged by in-toto-verify and by kiln alike; `make interop-go` in a private Sigstore on loopback. There
too each tool has one case that it must accept and three at least that it must refuse.
"""


def main():
    if sys.argv[1:] == ["page"]:
        return compare_page()
    if len(sys.argv) == 4 and sys.argv[1] in verifiers.GROUPS:
        return run(*sys.argv[1:])
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
