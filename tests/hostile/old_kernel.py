"""Starts a program under a filter that answers as a kernel without some system calls would.

    python3 old_kernel.py openat2,close_range -- kiln build

This is outside kiln, so nothing in kiln knows of it and no user can switch a fallback on. A name
`unshare:time` refuses only the time namespace, with EINVAL, as a kernel without it does. The filter
is inherited: the step runs on the same old kernel.
"""

import ctypes
import errno
import os
import sys

PLACE = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
NUMBERS = {
    "clone3": (435, 435), "close_range": (436, 436), "openat2": (437, 437), "renameat2": (316, 276),
    "mount_setattr": (442, 442), "copy_file_range": (326, 285), "statx": (332, 291),
    "faccessat2": (439, 439), "memfd_create": (319, 279), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "landlock_create_ruleset": (444, 444), "seccomp": (317, 277),
    "unshare": (272, 97), "sendfile": (40, 71), "epoll_pwait2": (441, 441), "fchmodat2": (452, 452),
}
ARCHITECTURE = (0xC000003E, 0xC00000B7)[PLACE]
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
NEWTIME = 0x80


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]


def program(names):
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURE), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for name in names:
        if name == "unshare:time":
            code += [(EQUAL, 0, 4, NUMBERS["unshare"][PLACE]), (LOAD, 0, 0, 16), (ANY_BIT, 0, 1, NEWTIME),
                     (RETURN, 0, 0, ERRNO | errno.EINVAL), (LOAD, 0, 0, 0)]
        else:
            code += [(EQUAL, 0, 1, NUMBERS[name][PLACE]), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    return code + [(RETURN, 0, 0, ALLOW)]


def main():
    names, separator, *command = sys.argv[1:]
    if separator != "--":
        sys.exit(2)
    code = program(names.split(","))
    array = (Instruction * len(code))(*code)
    libc = ctypes.CDLL(None, use_errno=True)
    whole = Program(len(code), array)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(whole), 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


main()
