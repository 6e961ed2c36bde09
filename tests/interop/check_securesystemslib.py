#!/usr/bin/env python3
"""Checks kiln's envelope with PyPI securesystemslib, the library under in-toto and TUF."""

import copy

import case
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def without_id(public):
    """Returns the key under the empty id, which is that of kiln's signatures."""
    key = SSlibKey.from_crypto(public)
    return SSlibKey("", key.keytype, key.scheme, key.keyval)


def accepts(key, envelope):
    """Says whether the library accepts the envelope."""
    data = copy.deepcopy(envelope)  # from_dict changes its argument
    for signature in data["signatures"]:
        signature.setdefault("keyid", "")
    try:
        return len(Envelope.from_dict(data).verify([key], threshold=1)) == 1
    except (VerificationError, ValueError):  # the latter of two signatures under one key id
        return False


def main():
    folder, name, pem = case.arguments()
    good = case.envelope(folder, name)
    key = without_id(load_pem_public_key(pem.read_bytes()))
    other = without_id(ec.generate_private_key(ec.SECP256R1()).public_key())
    results = [("as kiln wrote it", True, accepts(key, good))]
    results += [(what, False, accepts(key, bad)) for what, bad in case.bad_envelopes(good)]
    results.append(("another key", False, accepts(other, good)))
    case.report("securesystemslib", results)


if __name__ == "__main__":
    main()
