#!/usr/bin/env python3
"""Parses kiln's statement and its predicate with PyPI in-toto-attestation, unknown fields refused."""

import base64
import copy
import json

import case
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement


def accepts(statement):
    """Says whether the package reads and validates the statement and its provenance."""
    try:
        parsed = json_format.ParseDict(statement, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
        # Our extensions stand under kiln_ names in the predicate, where the specification allows
        # them; the package's message does not know them.
        predicate = provenance_pb2.Provenance()
        json_format.ParseDict(statement["predicate"], predicate, ignore_unknown_fields=True)
        definition = predicate.build_definition
        for dependency in definition.resolved_dependencies:
            ResourceDescriptor.copy_from_pb(dependency).validate()
        return bool(
            definition.build_type
            and definition.external_parameters.fields
            and len(definition.resolved_dependencies)
            and predicate.run_details.builder.id
            and predicate.run_details.metadata.invocation_id
        )
    except (json_format.ParseError, ValueError):
        return False


def main():
    folder, name, _ = case.arguments()
    good = json.loads(base64.b64decode(case.envelope(folder, name)["payload"]))
    results = [("as kiln wrote it", True, accepts(good))]

    def bad(what, change):
        statement = copy.deepcopy(good)
        change(statement)
        results.append((what, False, accepts(statement)))

    bad("another type", lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"))
    bad("no subject", lambda s: s.update(subject=[]))
    bad("a subject without a digest", lambda s: s["subject"][0].update(digest={}))
    bad("no predicate type", lambda s: s.update(predicateType=""))
    bad("an unknown field", lambda s: s.update(extra=1))
    bad("no builder", lambda s: s["predicate"]["runDetails"].update(builder={}))
    case.report("in-toto-attestation", results)


if __name__ == "__main__":
    main()
