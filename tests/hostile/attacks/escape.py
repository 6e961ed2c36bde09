"""Group A: out of the sandbox."""

import ctypes
import os
import signal
import socket
import stat
import struct
import time

from attack import BACKEND, LIBC, NULL, attack, breach_if, fails, has_proc, must_fail, others, raw

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
CALLS = {
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "clone": 56,
    "clone3": 435, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "mount_setattr": 442, "mknodat": 259, "io_uring_setup": 425, "io_setup": 206,
    "setns": 308,
} if os.uname().machine == "x86_64" else {
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "clone": 220,
    "clone3": 435, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "mount_setattr": 442, "mknodat": 33, "io_uring_setup": 425, "io_setup": 0,
    "setns": 268,
}


@attack("S-A01")
def inherited_descriptors():
    if not has_proc():
        for number in range(4096):
            try:
                found = os.fstat(number)
            except OSError:
                continue
            breach_if(number > 2, f"descriptor {number} is open")
            harmless = found.st_rdev == NULL or stat.S_ISFIFO(found.st_mode) or os.path.samestat(found, os.stat("out"))
            breach_if(not harmless, f"descriptor {number} is {found}")
        return
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the one of the listing itself
        breach_if(int(name) > 2, f"descriptor {name} is {target}")
        harmless = target == "/dev/null" or target.startswith(("pipe:", "/build/", "/dev/pts"))
        breach_if(not harmless, f"descriptor {name} is {target}")


@attack("S-A02")
def walks_out_of_a_descriptor():
    canary = os.environ["CANARY"].lstrip("/")
    for number in range(256):
        try:
            os.chdir(f"/proc/self/fd/{number}")
        except OSError:
            continue
        for depth in range(12):
            path = "../" * depth + canary
            breach_if(os.path.exists(path), f"descriptor {number} leads to {path}")
    for depth in range(12):
        os.chdir("/")
        breach_if(os.path.exists("../" * depth + canary), "the canary is there")


@attack("S-A08")
def mounts():
    os.makedirs("/tmp/at", exist_ok=True)
    must_fail("mount tmpfs", CALLS["mount"], b"none", b"/tmp/at", b"tmpfs", 0, None)
    must_fail("bind", CALLS["mount"], b"/usr", b"/tmp/at", None, 4096, None)
    must_fail("remount", CALLS["mount"], None, b"/", None, 4096 | 32, None)
    must_fail("umount", CALLS["umount2"], b"/proc", 2)
    must_fail("fsopen", CALLS["fsopen"], b"tmpfs", 0)
    must_fail("open_tree", CALLS["open_tree"], -100, b"/", 1)
    must_fail("fspick", CALLS["fspick"], -100, b"/", 0)
    for name in ("move_mount", "fsconfig", "fsmount", "mount_setattr"):
        must_fail(name, CALLS[name], -1, b"", -1, b"", 0, with_=("EPERM", "ENOSYS", "EACCES"))


@attack("S-A09")
def changes_root():
    saved = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.makedirs("/tmp/root", exist_ok=True)
    must_fail("chroot", CALLS["chroot"], b"/tmp/root")
    os.fchdir(saved)
    for _ in range(32):
        os.chdir("..")
    must_fail("second chroot", CALLS["chroot"], b".")
    must_fail("pivot_root", CALLS["pivot_root"], b".", b"/tmp/root", with_=("EPERM", "ENOSYS", "EACCES"))
    canary = os.environ["CANARY"].lstrip("/")
    breach_if(os.path.exists(canary), "the host's root was reached")


@attack("S-A10")
def makes_namespaces():
    must_fail("unshare user", CALLS["unshare"], CLONE_NEWUSER)
    must_fail("unshare mount", CALLS["unshare"], CLONE_NEWNS)
    for what, flags in (("user", CLONE_NEWUSER), ("mount", CLONE_NEWNS)):
        result = raw(CALLS["clone"], flags | signal.SIGCHLD, 0, 0, 0, 0)
        if result == 0:
            os._exit(0)
        breach_if(result not in ("EPERM", "ENOSYS"), f"clone {what} gave {result}")
    must_fail("clone3", CALLS["clone3"], ctypes.create_string_buffer(88), 88, with_=("ENOSYS",))
    own = os.open("/proc/self/ns/mnt" if has_proc() else "/", os.O_RDONLY)
    must_fail("setns", CALLS["setns"], own, 0)


def status():
    with open("/proc/self/status") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)


def rights():
    """Returns what `status` tells of rights, by asking the kernel where there is no /proc."""
    if has_proc():
        return status()
    head = ctypes.create_string_buffer(struct.pack("II", 0x20080522, 0), 8)
    sets = ctypes.create_string_buffer(24)
    breach_if(raw(125 if os.uname().machine == "x86_64" else 90, head, sets) != 0, "the rights cannot be read")
    low = struct.unpack("6I", sets.raw)
    bound = sum(1 << right for right in range(64) if LIBC.prctl(23, right, 0, 0, 0) == 1)
    held = [low[at] | low[at + 3] << 32 for at in range(3)]
    names = ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")
    facts = {name: f"{value:x}" for name, value in zip(names, (*held, bound, 0))}
    return {**facts, "NoNewPrivs": str(LIBC.prctl(39, 0, 0, 0, 0)), "Uid": "\t".join(map(str, os.getresuid()))}


@attack("S-A11")
def gains_privilege():
    facts = rights()
    breach_if(facts["NoNewPrivs"] != "1", "privileges can be gained")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        breach_if(int(facts[name], 16) != 0, f"{name} is {facts[name]}")
    breach_if(len(set(facts["Uid"].split())) != 1, f"ids differ: {facts['Uid']}")
    with open("/usr/bin/env", "rb") as program, open("/tmp/planted", "wb") as copy:
        copy.write(program.read())
    try:
        os.chmod("/tmp/planted", 0o6755)
    except PermissionError:
        breach_if(os.stat("/tmp/planted").st_mode & 0o6000, "a set-user-id bit was set")
    # The second line; an engine draws it for /tmp alone, and in a container nothing can be mounted.
    for folder in {"docker": ["/tmp"], "confined": []}.get(BACKEND, ["/", "/build", "/tmp"]):
        breach_if(not os.statvfs(folder).f_flag & os.ST_NOSUID, f"{folder} honours setuid")


@attack("S-A12")
def kills_everything():
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(child, 0)
    for number in (1, os.getppid(), *(others() if BACKEND == "confined" else ())):
        for _ in range(3):
            try:
                os.kill(number, signal.SIGKILL)
            except (PermissionError, ProcessLookupError):
                pass
    os.kill(0, signal.SIGKILL)


@attack("S-A13")
def types_into_the_terminal():
    for number in (0, 1, 2):
        breach_if(os.isatty(number), f"descriptor {number} is a terminal")
        for request in (0x5412, 0x5412 | 1 << 32, 0x541C):  # TIOCSTI, with high bits, TIOCLINUX
            for byte in b"touch owned\n":
                result = LIBC.ioctl(number, ctypes.c_ulong(request), ctypes.byref(ctypes.c_char(byte)))
                breach_if(result == 0, f"ioctl {request:#x} on {number}")
    fails(os.open, "/dev/tty", os.O_RDWR)


@attack("S-A14")
def makes_devices():
    for folder in ("/tmp", "/build", "/dev"):
        for mode, device in ((0o020666, os.makedev(1, 5)), (0o060666, os.makedev(8, 0))):
            fails(os.mknod, f"{folder}/device", mode, device, with_=("EPERM", "EACCES", "EROFS", "ENOSYS"))


@attack("S-A15")
def finds_sockets_of_the_host():
    places = ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock",
              "/run/dbus/system_bus_socket", "/tmp/.X11-unix", "/run/user", "/run/systemd/private",
              os.environ["SOCKET"]]
    for place in places:
        breach_if(os.path.exists(place), f"{place} is there")
    for folder, _, files in os.walk("/run"):
        breach_if(files, f"{folder} holds {files}")


@attack("S-A16")
def connects_to_an_abstract_socket():
    if BACKEND == "confined" and not has_proc():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            fails(socket.socket, socket.AF_UNIX, kind, with_=("EAFNOSUPPORT",))
        one, _other = socket.socketpair()
        fails(one.connect, "\0" + os.environ["ABSTRACT"])
        fails(one.bind, "\0" + os.environ["ABSTRACT"] + "-back")
        return
    fails(socket.socket(socket.AF_UNIX).connect, "\0" + os.environ["ABSTRACT"],
          with_=("ECONNREFUSED", "EPERM", "EACCES"))
    back = socket.socket(socket.AF_UNIX)
    back.bind("\0" + os.environ["ABSTRACT"] + "-back")
    back.listen()
    back.settimeout(1.5)
    try:
        back.accept()
    except TimeoutError:
        return
    breach_if(True, "the host came in")


@attack("S-A18")
def uses_io_uring():
    must_fail("io_uring_setup", CALLS["io_uring_setup"], 8, ctypes.create_string_buffer(120), with_=("ENOSYS",))
    # Its elder, whose queues all programs of the host share.
    must_fail("io_setup", CALLS["io_setup"], 128, ctypes.create_string_buffer(8), with_=("ENOSYS",))


@attack("S-A24")
def writes_through_links():
    paths = [path for path in ("/usr/bin/env", "/bin/sh", "/etc/passwd") if os.path.exists(path)]
    breach_if(len(paths) < 2, "this attack finds nothing to write to")
    for path in paths:
        fails(os.link, path, "/build/link", with_=("EXDEV", "EROFS", "EPERM", "EACCES"))
        fails(os.open, path, os.O_WRONLY, with_=("EROFS", "EACCES", "EPERM", "ETXTBSY"))
        fails(os.chmod, path, 0o777, with_=("EROFS", "EPERM", "EACCES"))
        fails(os.unlink, path, with_=("EROFS", "EPERM", "EACCES", "EBUSY"))
    fails(os.open, "/usr/planted", os.O_WRONLY | os.O_CREAT, with_=("EROFS", "EACCES", "EPERM"))
    # A source lies in a private view: this may work, and nobody else may see it.
    try:
        os.link("victim", "victim-link")
        os.chmod("victim-link", 0o666)
    except OSError:
        pass
    with open("victim", "a") as victim:
        victim.write("changed by the step\n")
