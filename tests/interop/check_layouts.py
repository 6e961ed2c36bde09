#!/usr/bin/env python3
"""Has in-toto-verify and `kiln verify --layout` judge the same layouts and links: they must agree.

    check_layouts.py KILN

Layouts and links are made by PyPI in-toto, in both envelopes. The last cases are those where kiln is
stricter on purpose; each says so.
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import case
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from in_toto.models.layout import Inspection, Layout, Step
from in_toto.models.link import Link
from in_toto.models.metadata import Envelope, Metablock
from securesystemslib.signer import CryptoSigner

FILE = b"the product\n"


def digest(data):
    return {"sha256": hashlib.sha256(data).hexdigest()}


def key_dict(signer):
    return {"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}


class World:
    """Two steps: `fetch` makes src/a, `build` makes out of it. What a case changes, it changes here."""

    def __init__(self):
        self.owner = CryptoSigner(Ed25519PrivateKey.generate())
        self.keys = [CryptoSigner(Ed25519PrivateKey.generate()), CryptoSigner(ec.generate_private_key(ec.SECP256R1())),
                     CryptoSigner(Ed25519PrivateKey.generate())]
        self.dsse = True
        self.threshold = 1
        self.signers = {"fetch": [0], "build": [1]}
        self.allowed = {"fetch": [0], "build": [1]}
        self.links = {"fetch": ({}, {"src/a": digest(b"a"), "src/b": digest(b"b")}),
                      "build": ({"src/a": digest(b"a")}, {"out": digest(FILE), "log": digest(b"log")})}
        self.rules = {"fetch": ([], ["CREATE src/*", "DISALLOW *"]),
                      "build": (["MATCH src/a WITH PRODUCTS FROM fetch", "DISALLOW *"],
                                ["REQUIRE out", "CREATE out", "ALLOW l[!x]g", "DISALLOW *"])}
        self.days = 1
        self.expires = None
        self.inspect = []
        self.checked_by = None
        self.after = lambda folder: None

    def envelope(self, content, signer):
        made = Envelope.from_signable(content) if self.dsse else Metablock(signed=content)
        made.create_signature(signer)
        return made

    def write(self, folder):
        steps = []
        for name, (materials, products) in self.rules.items():
            pubkeys = [self.keys[index].public_key.keyid for index in self.allowed[name]]
            step = Step(name=name, pubkeys=pubkeys, threshold=self.threshold if name == "build" else 1)
            step.expected_materials = [rule.split() for rule in materials]
            step.expected_products = [rule.split() for rule in products]
            steps.append(step)
        keys = {signer.public_key.keyid: key_dict(signer) for signer in self.keys}
        layout = Layout(steps=steps, inspect=self.inspect, keys=keys)
        layout.set_relative_expiration(days=self.days)
        layout.expires = self.expires or layout.expires
        self.envelope(layout, self.owner).dump(str(folder / "root.layout"))
        for name, (materials, products) in self.links.items():
            for index in self.signers[name]:
                link = Link(name=name, materials=materials, products=products, command=["x\\n", "é\n"])
                keyid = self.keys[index].public_key.keyid
                self.envelope(link, self.keys[index]).dump(str(folder / f"{name}.{keyid[:8]}.link"))
        public = (self.checked_by or self.owner)._private_key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "owner.pub").write_bytes(pem)
        (folder / "out").write_bytes(FILE)
        self.after(folder)


def both(kiln, world):
    """Returns what in-toto-verify and kiln say."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        world.write(folder)
        tool = shutil.which("in-toto-verify", path=pathlib.Path(sys.executable).parent)
        theirs = [tool, "--layout", "root.layout", "--verification-keys", "owner.pub", "--link-dir", "."]
        ours = [kiln, "verify", "--layout", "root.layout", "--layout-key", "owner.pub", "out"]
        return [subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
                for command in (theirs, ours)]


def flip(name):
    """Changes one byte of the first signature of a file."""
    def change(folder):
        path = next(folder.glob(name))
        data = json.loads(path.read_text())
        signature = data["signatures"][0]
        if "payload" in data:
            signature["sig"] = case.changed_byte(signature["sig"])
        else:
            signature["sig"] = ("0" if signature["sig"][0] != "0" else "1") + signature["sig"][1:]
        path.write_text(json.dumps(data))
    return change


def cases():
    """Yields a name, whether it must be accepted, and how it changes a world."""
    def rules(step, materials=None, products=None):
        def change(world):
            old = world.rules[step]
            world.rules[step] = (old[0] if materials is None else materials, old[1] if products is None else products)
        return change

    def link(step, materials=None, products=None):
        def change(world):
            old = world.links[step]
            world.links[step] = (old[0] if materials is None else materials, old[1] if products is None else products)
        return change

    def change(**values):
        return lambda world: world.__dict__.update(values)

    def threshold(signers, allowed, wanted):
        return lambda world: world.__dict__.update(
            threshold=wanted, signers={"fetch": [0], "build": signers}, allowed={"fetch": [0], "build": allowed})

    yield "as it should be", True, change()
    yield "another material", False, link("build", materials={"src/a": digest(b"x")})
    yield "a product too many", False, link("build", products={"out": digest(FILE), "more": digest(b"m")})
    yield "no product", False, link("build", products={})
    yield "a flipped link", False, change(after=flip("build.*.link"))
    yield "a flipped layout", False, change(after=flip("root.layout"))
    yield "another owner", False, change(checked_by=CryptoSigner(Ed25519PrivateKey.generate()))
    yield "expired", False, change(days=-1)
    yield "a link by a key the step does not name", False, threshold([0], [1], 1)
    yield "two of two", True, threshold([1, 2], [1, 2], 2)
    yield "one of two", False, threshold([1], [1, 2], 2)
    yield "one of two, one flipped", False, lambda world: (
        threshold([1, 2], [1, 2], 2)(world), change(after=flip("build.*.link"))(world))
    yield "one key named twice", False, threshold([1], [1, 1], 2)
    yield "no link", False, change(after=lambda folder: next(folder.glob("fetch.*.link")).unlink())
    yield "a link that is a layout", False, change(
        after=lambda folder: shutil.copy(folder / "root.layout", next(folder.glob("build.*.link"))))
    yield "MATCH with prefixes", True, rules("build", materials=["MATCH a IN src WITH PRODUCTS IN src FROM fetch", "DISALLOW *"])
    yield "MATCH with a slash", True, rules("build", materials=["MATCH * IN src/ WITH PRODUCTS IN src/ FROM fetch", "DISALLOW *"])
    yield "MATCH in another folder", False, rules("build", materials=["MATCH a IN src WITH PRODUCTS IN lib FROM fetch", "DISALLOW *"])
    yield "MATCH with materials", False, rules("build", materials=["MATCH src/a WITH MATERIALS FROM fetch", "DISALLOW *"])
    yield "MATCH from nowhere", False, rules("build", materials=["MATCH src/a WITH PRODUCTS FROM other", "DISALLOW *"])
    yield "small letters", True, rules("build", materials=["match src/a with products from fetch", "disallow *"])
    yield "a star over a slash", True, rules("build", materials=["ALLOW s*a", "DISALLOW *"])
    yield "a question mark", True, rules("build", products=["ALLOW ?ut", "ALLOW l?g", "DISALLOW *"])
    yield "a set", False, rules("build", products=["ALLOW [a-n]ut", "ALLOW log", "DISALLOW *"])
    yield "REQUIRE is no pattern", False, rules("build", products=["REQUIRE o*", "ALLOW *"])
    yield "REQUIRE after it was taken", False, rules("build", products=["ALLOW out", "REQUIRE out", "ALLOW *"])
    yield "CREATE of what was there", False, lambda world: (
        link("build", materials={"src/a": digest(b"a"), "out": digest(FILE)})(world),
        rules("build", materials=["ALLOW *"])(world))
    yield "MODIFY", True, lambda world: (
        link("build", materials={"out": digest(b"before")})(world),
        rules("build", ["ALLOW *"], ["MODIFY out", "ALLOW log", "DISALLOW *"])(world))
    yield "MODIFY of the same bytes", False, lambda world: (
        link("build", materials={"out": digest(FILE)})(world),
        rules("build", ["ALLOW *"], ["MODIFY out", "ALLOW log", "DISALLOW *"])(world))
    yield "DELETE", True, rules("build", materials=["DELETE src/a", "DISALLOW *"])
    yield "DELETE of what is still there", False, lambda world: (
        link("build", materials={"out": digest(FILE)})(world), rules("build", ["DELETE out", "DISALLOW *"], ["ALLOW *"])(world))
    yield "what no rule takes is allowed", True, rules("build", materials=["ALLOW nothing"])


def main():
    kiln = sys.argv[1]
    results = []
    for name, wanted, change in cases():
        for dsse in (True, False):
            world = World()
            world.dsse = dsse
            change(world)
            theirs, ours = both(kiln, world)
            form = "DSSE" if dsse else "Metablock"
            results.append((f"{name}, {form}, in-toto-verify", wanted, theirs))
            results.append((f"{name}, {form}, kiln", wanted, ours))
    # Stricter on purpose: an inspection runs a command, and the file itself is looked at.
    world = World()
    world.inspect = [Inspection(name="look", run=["true"])]
    theirs, ours = both(kiln, world)
    results += [("an inspection, in-toto-verify", True, theirs), ("an inspection, kiln", False, ours)]
    world = World()
    world.after = lambda folder: (folder / "out").write_bytes(b"other bytes")
    theirs, ours = both(kiln, world)
    results += [("another file, in-toto-verify", True, theirs), ("another file, kiln", False, ours)]
    case.report("layouts", results)


if __name__ == "__main__":
    main()
