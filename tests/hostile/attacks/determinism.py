"""Group C: what differs between two hosts, users or runs. Prints facts; the test compares them."""

import os
import socket
import time

from attack import attack, breach_if, has_proc

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
    # An engine lists the step's own group a second time.
    print("ids", os.getresuid(), os.getresgid(), sorted(set(os.getgroups()) - {os.getgid()}))
    print("umask", oct(mask), "cwd", os.getcwd(), "time zone", time.tzname)
    for name in ("HOME", "PWD", "TMPDIR", "PATH", "LANG", "TZ"):
        print(name, os.environ.get(name))
    for path in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        print(path, open(path).read() if os.path.exists(path) else None)
    owners = {(os.lstat(path).st_uid, os.lstat(path).st_gid) for path in ("/usr", "/build", "/tmp", "attack.py")}
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


def count_of(ranges):
    count = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


@attack("S-C05")
def processors_and_memory():
    """True numbers, and the same by every way of asking."""
    allowed = len(os.sched_getaffinity(0))
    said = int(os.popen("nproc").read())
    breach_if(said != allowed, f"{said} by nproc, {allowed} by affinity")
    breach_if(os.cpu_count() < allowed, f"{os.cpu_count()} by sysconf, {allowed} by affinity")
    if not has_proc():  # and no other way of asking
        return allowed
    with open("/proc/self/status") as lines:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    count = count_of(facts["Cpus_allowed_list"])
    breach_if(count != allowed, f"{count} by status, {allowed} by affinity")
    with open("/proc/cpuinfo") as lines:
        known = sum(1 for line in lines if line.startswith("processor"))
    breach_if(known != os.cpu_count() or known < allowed, f"{known} by cpuinfo, {os.cpu_count()} by sysconf")
    with open("/proc/meminfo") as lines:
        kilobytes = int(next(lines).split()[1])
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    breach_if(kilobytes != pages, f"{kilobytes} kB by meminfo, {pages} kB by sysinfo")
    return allowed


@attack("S-C05-pinned")
def one_processor():
    allowed = processors_and_memory()
    breach_if(allowed != 1, f"pinned to {allowed}")


@attack("S-C06")
def addresses():
    with open("/proc/self/maps") as lines:
        for line in lines:
            fields = line.split()
            print(fields[0].split("-")[0], fields[1], fields[5] if len(fields) > 5 else "")


@attack("S-C07")
def locale_and_zone():
    import locale

    locale.setlocale(locale.LC_ALL, "")
    names = ["b", "A", "a", "B", "\u00e4", "Z", "_", "1"]
    print(sorted(names, key=locale.strxfrm), sorted(names), locale.getlocale())
    print(time.strftime("%Z %z", time.localtime(0)), time.localtime(0).tm_hour)
    print(os.popen("printf 'b\\nA\\na\\nB\\n_\\n' | sort").read().split())


@attack("S-C10")
def clocks_and_random_numbers():
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    breach_if(up > 120 and not os.environ.get("OLD_KERNEL"), f"up for {up} s")
    with open("/proc/sys/kernel/random/boot_id") as file:
        print(file.read())


@attack("S-C09")
def times_of_outputs():
    os.makedirs("tree/sub")
    for name, at in (("a", 1), ("sub/b", 2**31), ("sub/c", time.time())):
        with open(f"tree/{name}", "w") as file:
            file.write(name)
        os.utime(f"tree/{name}", (at, at))
    os.utime("tree/sub", (5, 5))
    os.utime("tree", (6, 6))
