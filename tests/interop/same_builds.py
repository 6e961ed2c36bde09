#!/usr/bin/env python3
"""Compares kiln-out folders: every artifact and every buildDefinition must be the same in all.

    same_builds.py FOLDER FOLDER…

Reads the bare statement beside each artifact and takes nothing of it on trust: the subject's digest
must be that of the artifact's bytes. Prints one line for each artifact; exit 1 at the first
difference, with the path into the JSON where it lies.
"""

import base64
import hashlib
import json
import pathlib
import sys

SUFFIX = ".intoto.jsonl"


def read(folder):
    """Returns name -> (sha256 of the artifact, its buildDefinition)."""
    found = {}
    for line in sorted(folder.glob("*" + SUFFIX)):
        name = line.name[: -len(SUFFIX)]
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        statement = json.loads(base64.b64decode(json.loads(line.read_text())["payload"]))
        subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        if subjects.get(name) != digest:
            sys.exit(f"{line}: the subject is not {name} with sha256:{digest}")
        found[name] = (digest, statement["predicate"]["buildDefinition"])
    if not found:
        sys.exit(f"{folder}: no artifact with a statement")
    return found


def difference(left, right, at="buildDefinition"):
    """Returns where two JSON values differ, or None."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            if key not in left or key not in right:
                return f"{at}.{key}: only in one"
            if inner := difference(left[key], right[key], f"{at}.{key}"):
                return inner
        return None
    if isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            return f"{at}: {len(left)} against {len(right)} entries"
        pairs = enumerate(zip(left, right))
        return next((d for i, (a, b) in pairs if (d := difference(a, b, f"{at}[{i}]"))), None)
    return None if left == right else f"{at}: {left!r} against {right!r}"


def main():
    folders = [pathlib.Path(argument) for argument in sys.argv[1:]]
    builds = [read(folder) for folder in folders]
    first = builds[0]
    for folder, build in zip(folders[1:], builds[1:]):
        if build.keys() != first.keys():
            sys.exit(f"{folder}: other artifacts: {sorted(build)} against {sorted(first)}")
        for name, (digest, definition) in build.items():
            if digest != first[name][0]:
                sys.exit(f"{folder}/{name}: sha256:{digest} against sha256:{first[name][0]}")
            if where := difference(first[name][1], definition):
                sys.exit(f"{folder}/{name}: {where}")
    for name, (digest, definition) in first.items():
        entries = len(definition["resolvedDependencies"])
        print(f"{name}: {len(builds)} times sha256:{digest}, one buildDefinition ({entries} dependencies)")


if __name__ == "__main__":
    main()
