"""Group C: what differs between two hosts, users or runs. Prints facts; the test compares them."""

import os
import socket
import time

from attack import attack, breach_if

T0 = 318211200


@attack("S-C01")
def times():
    breach_if(os.environ.get("SOURCE_DATE_EPOCH") != str(T0), "SOURCE_DATE_EPOCH")
    for path, wanted in (("attack.py", T0 + 2), ("/usr/bin/env", T0), ("/usr", T0)):
        found = os.lstat(path).st_mtime
        breach_if(found != wanted, f"{path} has the time {found}")
    for at, folders, files in os.walk("/build"):
        for name in files:
            if name not in ("out", "facts"):
                found = os.lstat(os.path.join(at, name)).st_mtime
                breach_if(found not in (T0, T0 + 2), f"{at}/{name} has the time {found}")


@attack("S-C02")
def identity():
    mask = os.umask(0)
    os.umask(mask)
    domain = os.uname()
    print("host", socket.gethostname(), domain.nodename)
    print("ids", os.getresuid(), os.getresgid(), os.getgroups())
    print("umask", oct(mask), "cwd", os.getcwd(), "time zone", time.tzname)
    for name in ("HOME", "PWD", "TMPDIR", "PATH", "LANG", "TZ"):
        print(name, os.environ.get(name))
    for path in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        print(path, open(path).read() if os.path.exists(path) else None)
    owners = {(os.lstat(path).st_uid, os.lstat(path).st_gid) for path in ("/", "/usr", "/build", "/tmp", "attack.py")}
    print("owners", sorted(owners))


@attack("S-C03")
def process_ids():
    print("pid", os.getpid(), "parent", os.getppid(), "group", os.getpgrp(), "session", os.getsid(0))
    print("all", sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))


@attack("S-C08")
def modes():
    os.makedirs("tree/sub")
    for name, mode in (("a", 0o666), ("b", 0o777), ("c", 0o640), ("d", 0o400), ("sub/e", 0o755)):
        path = f"tree/{name}"
        with open(path, "w") as file:
            file.write(name)
        os.chmod(path, mode)
        os.utime(path, (1, 1))
    os.chmod("tree/sub", 0o700)
