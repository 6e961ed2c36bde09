#!/usr/bin/env python3
"""Parses kiln's further statements with PyPI in-toto-attestation, unknown fields refused.

The package has no message for the runtime trace: its members are compared with the specification's.
"""

import base64
import copy
import json

import case
from google.protobuf import json_format
from in_toto_attestation.predicates.link.v0 import link_pb2
from in_toto_attestation.predicates.scai.v0 import scai_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

PREFIX = "https://in-toto.io/attestation/"


def link(predicate):
    read = json_format.ParseDict(predicate, link_pb2.Link())
    for one in read.materials:
        ResourceDescriptor.copy_from_pb(one).validate()
    names = [one.name for one in read.materials]
    return bool(read.name and read.command and names) and len(set(names)) == len(names)


def scai(predicate):
    read = json_format.ParseDict(predicate, scai_pb2.AttributeReport())
    ResourceDescriptor.copy_from_pb(read.producer).validate()
    for one in read.attributes:
        ResourceDescriptor.copy_from_pb(one.evidence).validate()
    return bool(read.attributes) and all(one.attribute for one in read.attributes)


def test_result(predicate):
    read = json_format.ParseDict(predicate, test_result_pb2.TestResult())
    for one in read.configuration:
        ResourceDescriptor.copy_from_pb(one).validate()
    return read.result in ("PASSED", "WARNED", "FAILED") and bool(read.configuration)


def runtime_trace(predicate):
    parts = {"monitor": {"type", "tracePolicy"}, "monitoredProcess": {"hostID", "type", "event"},
             "monitorLog": {"network"}, "metadata": {"buildStartedOn", "buildFinishedOn"}}
    shape = {part: set(inner) for part, inner in predicate.items() if isinstance(inner, dict)}
    return predicate.keys() == parts.keys() and shape == parts and isinstance(predicate["monitorLog"]["network"], list)


KINDS = {"test-result/v0.1": test_result, "scai/v0.3": scai, "link/v0.3": link, "runtime-trace/v0.1": runtime_trace}


def accepts(statement, check):
    """Says whether the package reads and validates the statement and its predicate."""
    try:
        parsed = json_format.ParseDict(statement, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
        return check(statement["predicate"])
    except (json_format.ParseError, ValueError):
        return False


def main():
    folder, name, _ = case.arguments()
    lines = (folder / f"{name}.intoto.jsonl").read_text().splitlines()
    statements = [json.loads(base64.b64decode(json.loads(line)["payload"])) for line in lines]
    by_type = {one["predicateType"]: one for one in statements}
    results = []
    for kind, check in KINDS.items():
        good = by_type.get(PREFIX + kind, {})
        results.append((f"{kind} as kiln wrote it", True, accepts(good, check)))
        for what, change in [
            ("an unknown field", lambda s: s["predicate"].update(extra=1)),
            ("no subject", lambda s: s.update(subject=[])),
            ("another predicate", lambda s: s.update(predicate={"other": {}})),
        ]:
            bad = copy.deepcopy(good)
            change(bad)
            results.append((f"{kind}, {what}", False, accepts(bad, check)))
    case.report("in-toto-attestation", results)


if __name__ == "__main__":
    main()
