"""What the interop checks share: reading what kiln wrote, and telling good from bad cases.

A check runs a positive case and at least three negative ones, so that a tool which accepts anything
fails the check.
"""

import base64
import copy
import json
import pathlib
import sys

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def arguments():
    """Returns the folder of artifacts, the artifact's name and the public key's file."""
    folder, name, key = sys.argv[1:]
    return pathlib.Path(folder), name, pathlib.Path(key)


def envelope(folder, name):
    """Reads the DSSE envelope from the bare line and insists that the bundle holds the same."""
    lines = (folder / f"{name}.intoto.jsonl").read_text().splitlines()
    assert len(lines) == 1, "one line"
    bare = json.loads(lines[0])
    bundle = json.loads((folder / f"{name}.sigstore.json").read_text())
    inner = bundle["dsseEnvelope"]
    for part in ("payload", "payloadType"):
        assert bare[part] == inner[part], f"the bundle has another {part}"
    assert [s["sig"] for s in bare["signatures"]] == [s["sig"] for s in inner["signatures"]]
    assert len(bare["signatures"]) == 1, "one signature"
    return bare


def changed_byte(text):
    """Returns base64 text whose bytes differ in one bit in the middle."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


def bad_envelopes(good):
    """Yields a name and an envelope that nobody may accept."""
    for part in ("payload", "signature", "type", "subject"):
        bad = copy.deepcopy(good)
        if part == "payload":
            bad["payload"] = changed_byte(bad["payload"])
        elif part == "signature":
            bad["signatures"][0]["sig"] = changed_byte(bad["signatures"][0]["sig"])
        elif part == "type":
            bad["payloadType"] = "application/json"
        else:
            statement = json.loads(base64.b64decode(bad["payload"]))
            statement["subject"][0]["digest"]["sha256"] = "0" * 64
            bad["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        yield f"another {part}", bad


def pae(envelope):
    """Returns the bytes that are signed. Source: DSSE v1, protocol.md."""
    kind, body = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def report(tool, results):
    """Prints each case and exits 1 if one is not as it must be. results: (case, wanted, got)."""
    failed = 0
    for case, wanted, got in results:
        good = wanted == got
        failed += not good
        word = "accepted" if got else "refused"
        print(f"{tool}: {case}: {word}{'' if good else '   WRONG'}")
    negatives = sum(not wanted for _, wanted, _ in results)
    assert negatives >= 3 and len(results) > negatives, "a check needs one good and three bad cases"
    sys.exit(1 if failed else 0)
