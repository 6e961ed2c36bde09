#!/usr/bin/env python3
"""Writes reapi.json: Remote Execution API v2 messages as Google's protobuf library encodes them.

    reapi_vectors.py > reapi.json         (needs PyPI protobuf)

The messages are declared here from the published field numbers, so that the bytes come from an
encoder that shares nothing with `model/src/reapi.rs`. The values are what the test feeds to ours.
"""

import hashlib
import json

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STRING, INT64, INT32, BOOL, MESSAGE = 9, 3, 5, 8, 11

# message -> [(field, number, type or message name, repeated)]
MESSAGES = {
    "Digest": [("hash", 1, STRING, False), ("size_bytes", 2, INT64, False)],
    "FileNode": [("name", 1, STRING, False), ("digest", 2, "Digest", False), ("is_executable", 4, BOOL, False)],
    "DirectoryNode": [("name", 1, STRING, False), ("digest", 2, "Digest", False)],
    "SymlinkNode": [("name", 1, STRING, False), ("target", 2, STRING, False)],
    "Directory": [
        ("files", 1, "FileNode", True),
        ("directories", 2, "DirectoryNode", True),
        ("symlinks", 3, "SymlinkNode", True),
    ],
    "Variable": [("name", 1, STRING, False), ("value", 2, STRING, False)],
    "Platform": [("properties", 1, "Variable", True)],
    "Command": [
        ("arguments", 1, STRING, True),
        ("environment_variables", 2, "Variable", True),
        ("working_directory", 6, STRING, False),
        ("output_paths", 7, STRING, True),
    ],
    "Duration": [("seconds", 1, INT64, False), ("nanos", 2, INT32, False)],
    "Action": [
        ("command_digest", 1, "Digest", False),
        ("input_root_digest", 2, "Digest", False),
        ("timeout", 6, "Duration", False),
        ("do_not_cache", 7, BOOL, False),
        ("platform", 10, "Platform", False),
    ],
}


def classes():
    file = descriptor_pb2.FileDescriptorProto(name="reapi.proto", package="reapi", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            added.type = MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                added.type_name = f".reapi.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"reapi.{name}")) for name in MESSAGES}


KIND = classes()


def digest(content):
    return KIND["Digest"](hash=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def blob(content):
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def directory(entries):
    """entries: name -> ("file", content, executable) | ("dir", message bytes) | ("link", target)."""
    out, value = KIND["Directory"](), {}
    for name in sorted(entries, key=lambda name: name.encode()):
        kind, *rest = entries[name]
        if kind == "file":
            out.files.add(name=name, digest=digest(rest[0]), is_executable=rest[1])
            value[name] = {"file": blob(rest[0]), "executable": rest[1]}
        elif kind == "dir":
            out.directories.add(name=name, digest=digest(rest[0]))
            value[name] = {"directory": blob(rest[0])}
        else:
            out.symlinks.add(name=name, target=rest[0])
            value[name] = {"symlink": rest[0]}
    return out.SerializeToString(deterministic=True), value


def command(arguments, environment, folder, outputs):
    out = KIND["Command"](arguments=arguments, working_directory=folder, output_paths=sorted(outputs))
    for name in sorted(environment):
        out.environment_variables.add(name=name, value=environment[name])
    value = {"arguments": arguments, "environment": environment, "folder": folder, "outputs": outputs}
    return out.SerializeToString(deterministic=True), value


def action(command_bytes, root_bytes, milliseconds, platform):
    out = KIND["Action"](command_digest=digest(command_bytes), input_root_digest=digest(root_bytes), do_not_cache=True)
    out.timeout.SetInParent()
    out.timeout.seconds, out.timeout.nanos = milliseconds // 1000, milliseconds % 1000 * 1_000_000
    for name in sorted(platform):
        out.platform.properties.add(name=name, value=platform[name])
    value = {
        "command": blob(command_bytes),
        "root": blob(root_bytes),
        "timeout_ms": milliseconds,
        "platform": platform,
    }
    return out.SerializeToString(deterministic=True), value


def main():
    empty, empty_value = directory({})
    leaf, leaf_value = directory({"x": ("file", b"", False), "run": ("file", b"#!/bin/sh\n", True)})
    names = {
        "a": ("file", b"a", False),
        "a.b": ("file", b"ab", True),
        "a-b": ("dir", leaf),
        "A": ("link", "../x"),
        "\u00e9": ("link", "/abs/\u00fc"),
        "\U0001f980": ("file", b"crab" * 1000, False),
        "z" * 255: ("dir", empty),
        "with space": ("file", b"\x00\xff" * 70, False),
    }
    mixed, mixed_value = directory(names)
    many, many_value = directory({f"f{n}": ("file", b"%d" % n, n % 3 == 0) for n in range(24)})
    plain, plain_value = command(["/bin/true"], {}, "", [])
    full, full_value = command(
        ["/bin/sh", "-eu", "/kiln/script", ""],
        {"PATH": "/usr/bin", "EMPTY": "", "LANG": "C.UTF-8", "\u00dc": "\u00fc"},
        "build",
        ["out/b", "out/a", "out"],
    )
    first, first_value = action(plain, empty, 3_600_000, {})
    second, second_value = action(full, mixed, 1_500, {"os": "linux", "arch": "amd64", "profile": "kiln/1"})
    third, third_value = action(full, many, 0, {"empty": ""})
    vectors = [
        ("directory", "empty", empty_value, empty),
        ("directory", "leaf", leaf_value, leaf),
        ("directory", "mixed", mixed_value, mixed),
        ("directory", "many", many_value, many),
        ("command", "plain", plain_value, plain),
        ("command", "full", full_value, full),
        ("action", "first", first_value, first),
        ("action", "second", second_value, second),
        ("action", "third", third_value, third),
    ]
    print("[")
    lines = [
        json.dumps({"message": message, "name": name, "value": value, "bytes": encoded.hex()}, sort_keys=True)
        for message, name, value, encoded in vectors
    ]
    print(",\n".join(lines))
    print("]")


if __name__ == "__main__":
    main()
