"""What a confined step must not be able to do. Prints one line an attack: its name, and `did` or the error.

Run as an ordinary program of the container it is the control: there every attack works that is not marked.
"""

import ctypes
import errno
import fcntl
import os
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def family(kind):
    return lambda: socket.socket(kind, socket.SOCK_DGRAM).close()


def write(path):
    def attack():
        with open(path, "a", encoding="utf-8") as file:
            file.write("")

    return attack


def pair_that_reaches_anybody():
    """A datagram socket of a pair can leave its partner and speak to any name."""
    one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        one.sendto(b"x", "\0kiln-attack")
    except ConnectionRefusedError:
        # Nobody has that name just now; whoever had it would have been reached.
        pass


def rename_environment():
    os.rename("/etc/passwd", "/etc/passwd2")
    os.rename("/etc/passwd2", "/etc/passwd")


def device():
    os.mknod("/build/node", 0o20666, os.makedev(1, 3))


def set_user_bit():
    with open("/build/tool", "w", encoding="utf-8"):
        pass
    os.chmod("/build/tool", 0o4755)
    if not os.stat("/build/tool").st_mode & 0o4000:
        raise OSError(errno.EPERM, "")


def link_out():
    os.link("/etc/passwd", "/build/linked")


def ask_device():
    """Asks a device of the host's kernel for a number of its own (RNDGETENTCNT). Nothing but Landlock stops it."""
    with open("/dev/random", "rb") as random:
        fcntl.ioctl(random, 0x80045200, bytes(4))


ATTACKS = {
    "ask-device": ask_device,
    "write-root": write("/new"),
    "write-etc": write("/etc/new"),
    "write-environment": write("/etc/passwd"),
    "write-dev": write("/dev/new"),
    "write-var-tmp": write("/var/tmp/new"),
    "chmod-environment": lambda: os.chmod("/etc/passwd", 0o644),
    "rename-environment": rename_environment,
    "link-environment": link_out,
    "chroot": lambda: os.chroot("/"),
    "become-root": lambda: os.setuid(0),
    "other-groups": lambda: os.setgroups([0]),
    "device": device,
    "set-user-bit": set_user_bit,
    "signal-root": lambda: os.kill(1, 0),
    "inet": family(socket.AF_INET),
    "inet6": family(socket.AF_INET6),
    "unix": family(socket.AF_UNIX),
    "netlink": family(socket.AF_NETLINK),
    "datagram-pair": pair_that_reaches_anybody,
    "shared-memory": lambda: call(29, 0x6B696C6E, 4096, 0o1666),
    "message-queue": lambda: call(68, 0x6B696C6E, 0o1666),
    "posix-queue": lambda: call(240, b"kiln-attack", 0o102, 0o600, None),
    "proc": lambda: open("/proc/self/status", encoding="utf-8").close(),
}

# The container refuses these by itself, so they are no test of ours; a step must not do them either.
REFUSED_ANYWAY = {
    "key-ring": lambda: call(250, 0, -3, 0),
    "namespace": lambda: call(272, 0x10000000),
    "io-uring": lambda: call(425, 1, None),
    "mount": lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None),
}


def main():
    os.makedirs("/build", exist_ok=True)
    held = True
    for name, attack in {**ATTACKS, **REFUSED_ANYWAY}.items():
        try:
            attack()
            print(name, "did")
            held = False
        except OSError as error:
            print(name, errno.errorcode.get(error.errno, error.errno))
    ids = {*os.getresuid(), *os.getresgid(), *os.getgroups()}
    print("ids", *sorted(ids))
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as out:
            out.write("held\n" if held and len(ids) == 1 and 0 not in ids else "broken\n")


main()
