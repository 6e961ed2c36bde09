#!/usr/bin/env python3
"""Writes the vectors with layouts and links: attestor/tests/vectors/layout, made by PyPI in-toto.

The keys are fixed and of Ed25519, so the bytes are always the same: those that are committed are compared,
and written with KILN_BLESS=1. Of the many cases of check_layouts.py these are the ones of each kind.
"""

import filecmp
import os
import pathlib
import shutil
import sys
import tempfile

import check_layouts
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from in_toto.models.layout import Inspection
from securesystemslib.signer import CryptoSigner

FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "attestor/tests/vectors/layout"


def fixed(seed):
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)))


def cases():
    """Yields a folder's name and how it changes a world."""
    def change(**values):
        return lambda world: world.__dict__.update(values)

    yield "good", change()
    yield "metablock", change(dsse=False)
    yield "two-of-two", change(threshold=2, signers={"fetch": [0], "build": [1, 2]}, allowed={"fetch": [0], "build": [1, 2]})
    yield "one-of-two", change(threshold=2, allowed={"fetch": [0], "build": [1, 2]})
    yield "other-material", lambda world: world.links.update(
        build=({"src/a": check_layouts.digest(b"x")}, world.links["build"][1]))
    yield "flipped-layout", change(after=check_layouts.flip("root.layout"))
    yield "flipped-link", change(after=check_layouts.flip("build.*.link"))
    yield "expired", change(expires="2020-01-01T00:00:00Z")
    yield "foreign-key", change(signers={"fetch": [0], "build": [0]})
    yield "no-link", change(after=lambda folder: next(folder.glob("fetch.*.link")).unlink())
    yield "inspection", change(inspect=[Inspection(name="look", run=["true"])])


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, change in cases():
        world = check_layouts.World()
        world.owner, world.keys, world.expires = fixed(1), [fixed(2), fixed(3), fixed(4)], "2100-01-01T00:00:00Z"
        change(world)
        (folder / name).mkdir()
        world.write(folder / name)
        for shared in ("owner.pub", "out"):
            (folder / name / shared).replace(folder / shared)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        made = pathlib.Path(scratch, "layout")
        write(made)
        if os.environ.get("KILN_BLESS"):
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(made, FOLDER)
        names = lambda folder: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        if names(made) == names(FOLDER):
            if filecmp.cmpfiles(made, FOLDER, names(made), shallow=False)[1:] == ([], []):
                return 0
    print("attestor/tests/vectors/layout is stale; KILN_BLESS=1 writes it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
