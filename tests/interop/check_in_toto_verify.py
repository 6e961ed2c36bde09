#!/usr/bin/env python3
"""Checks kiln's classic link with PyPI in-toto's in-toto-verify, by a layout of this script's own.

The layout has one step, the artifact's, and an inspection that compares the artifact that was handed
over with the step's product.
"""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import case
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from in_toto.models.layout import Inspection, Layout, Step
from in_toto.models.metadata import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey


def layout(name, key):
    """Returns a layout by which `key` may make the artifact `name`, from a build file and a lock."""
    step = Step(name=name, pubkeys=[key["keyid"]], threshold=1, expected_command=["kiln", "build", name])
    for rule in ["REQUIRE kiln.yaml", "ALLOW kiln.yaml", "ALLOW kiln.lock", "ALLOW source:*", "ALLOW script:*",
                 "ALLOW environment:*", "DISALLOW *"]:
        step.add_material_rule_from_string(rule)
    for rule in [f"REQUIRE {name}", f"CREATE {name}", "DISALLOW *"]:
        step.add_product_rule_from_string(rule)
    look = Inspection(name="look", run=["true"])
    look.add_material_rule_from_string(f"MATCH {name} WITH PRODUCTS FROM {name}")
    look.add_material_rule_from_string(f"DISALLOW {name}")
    made = Layout(steps=[step], inspect=[look], keys={key["keyid"]: key})
    made.set_relative_expiration(days=1)
    return made


def key_dict(public):
    key = SSlibKey.from_crypto(public)
    return {"keyid": key.keyid, **key.to_dict()}


def accepts(made, link_name, link, artifact, name):
    """Says whether in-toto-verify accepts the artifact by this layout and link."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "links").mkdir()
        (folder / "product").mkdir()
        (folder / "product" / name).write_bytes(artifact)
        (folder / "links" / link_name).write_text(json.dumps(link))
        owner = Ed25519PrivateKey.generate()
        envelope = Envelope.from_signable(made)
        envelope.create_signature(CryptoSigner(owner))
        envelope.dump(str(folder / "root.layout"))
        pem = owner.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "owner.pub").write_bytes(pem)
        tool = shutil.which("in-toto-verify", path=pathlib.Path(sys.executable).parent)
        command = [tool, "--layout", "../root.layout", "--verification-keys", "../owner.pub", "--link-dir", "../links"]
        return subprocess.run(command, cwd=folder / "product", capture_output=True, check=False).returncode == 0


def main():
    folder, name, pem = case.arguments()
    key = key_dict(load_pem_public_key(pem.read_bytes()))
    link_name = f"{name}.{key['keyid'][:8]}.link"
    link = json.loads((folder / link_name).read_text())
    artifact = (folder / name).read_bytes()
    made = layout(name, key)

    def changed(change):
        bad = json.loads(json.dumps(link))
        change(bad)
        return bad

    def flip(bad):
        bad["signatures"][0]["sig"] = case.changed_byte(bad["signatures"][0]["sig"])

    def payload(bad):
        inner = json.loads(base64.b64decode(bad["payload"]))
        inner["products"][name]["sha256"] = "0" * 64
        bad["payload"] = base64.b64encode(json.dumps(inner).encode()).decode()

    other = key_dict(Ed25519PrivateKey.generate().public_key())
    results = [
        ("as kiln wrote it", True, accepts(made, link_name, link, artifact, name)),
        ("a changed artifact", False, accepts(made, link_name, link, artifact + b"\n", name)),
        ("a flipped signature", False, accepts(made, link_name, changed(flip), artifact, name)),
        ("another payload", False, accepts(made, link_name, changed(payload), artifact, name)),
        ("another key's layout", False, accepts(layout(name, other), link_name, link, artifact, name)),
        ("a step of another name", False, accepts(layout("other", key), link_name, link, artifact, name)),
    ]
    case.report("in-toto-verify", results)


if __name__ == "__main__":
    main()
