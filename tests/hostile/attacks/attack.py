"""Runs one attack by its id and prints `contained`, or `BREACH: …`.

    python3 attack.py S-A01

The same program runs inside a step, where it must be contained, and outside as the control, where
the same attack must get through: an attack that can do nothing anywhere shows nothing.
What the attacks need to know of the test's world stands in the environment: CANARY (a file of the
host), SERVICE_PORT (a service on the host's loopback), SOCKET (a Unix socket of the host),
ABSTRACT (an abstract one), BACKEND (a column of the table).
"""

import ctypes
import errno
import importlib
import os
import sys
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)
ATTACKS = {}
BACKEND = os.environ.get("BACKEND", "native")
NULL = os.makedev(1, 3)


class Breach(Exception):
    """Something got through."""


def attack(name):
    def add(function):
        ATTACKS[name] = function
        return function

    return add


def breach_if(condition, what):
    if condition:
        raise Breach(what)


def raw(number, *arguments):
    """Makes a system call; returns 0 or above, or the name of the error."""
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *wide)
    return result if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "E?")


def must_fail(what, number, *arguments, with_=("EPERM", "ENOSYS", "EACCES")):
    result = raw(number, *arguments)
    breach_if(result not in with_, f"{what} gave {result}")


def fails(call, *arguments, with_=()):
    """Calls and returns the name of the error; a success is a breach."""
    try:
        call(*arguments)
    except OSError as error:
        name = errno.errorcode.get(error.errno, "E?")
        breach_if(with_ and name not in with_, f"{call.__name__}{arguments} gave {name}")
        return name
    raise Breach(f"{call.__name__}{arguments} succeeded")


def has_proc():
    """Says whether there is a /proc, which only a confined step may lack."""
    there = os.path.exists("/proc/self/status")
    breach_if(not there and BACKEND != "confined", "there is no /proc")
    return there


def others():
    """Returns process numbers that are somebody else's."""
    found = {1}
    for number in range(1, 40_000):
        try:
            os.kill(number, 0)
        except PermissionError:
            found.add(number)
        except ProcessLookupError:
            pass
    return sorted(found)


def main():
    for name in os.listdir():  # each module adds its attacks
        if name.endswith(".py") and name != "attack.py":
            importlib.import_module(name[:-3])

    try:
        ATTACKS[sys.argv[1]]()
        print("contained", flush=True)
    except Breach as breach:
        print(f"BREACH: {breach}", flush=True)
        sys.exit(1)
    except Exception:  # an attack that does not run shows nothing
        traceback.print_exc(file=sys.stdout)
        sys.exit(1)


if __name__ == "__main__":
    sys.modules["attack"] = sys.modules["__main__"]
    os.umask(0o022)
    main()
