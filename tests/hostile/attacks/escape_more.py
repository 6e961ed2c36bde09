"""Group A, continued: kiln's own processes, sockets, calls by number, cgroups, keys, two steps."""

import ctypes
import mmap
import os
import socket
import sys
import time

from attack import BACKEND, LIBC, NULL, attack, breach_if, fails, has_proc, must_fail, others, raw

X86 = os.uname().machine == "x86_64"
NUMBERS = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434,
    "pidfd_getfd": 438, "process_madvise": 440, "kcmp": 312, "add_key": 248, "request_key": 249,
    "keyctl": 250, "mount": 165,
} if X86 else {
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_open": 434,
    "pidfd_getfd": 438, "process_madvise": 440, "kcmp": 272, "add_key": 217, "request_key": 218,
    "keyctl": 219, "mount": 40,
}
SECRETS = ("environ", "maps", "mem", "auxv", "stack", "syscall", "pagemap", "io", "smaps", "map_files",
           "fd", "fdinfo", "ns/mnt", "ns/net", "ns/user", "exe", "cwd", "root", "timerslack_ns")


def reads(path):
    """Says whether a file, folder or link of /proc can be looked into."""
    for call in (os.listdir, os.readlink, lambda name: open(name, "rb").read(1)):
        try:
            call(path)
            return True
        except (OSError, ValueError):
            pass
    return False


@attack("S-A04-own")
def looks_into_itself():
    if not has_proc():
        return
    seen = [name for name in SECRETS if reads(f"/proc/self/{name}")]
    breach_if(len(seen) < 10, f"this attack sees only {seen} of itself")


def write_one(path):
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, b"1")
    finally:
        os.close(file)


@attack("S-A04")
def writes_to_kiln():
    if BACKEND == "confined":
        breach_if(os.listdir("/proc"), "/proc holds something")
        return
    # An engine's own first process has the step's user, and nothing of kiln's.
    for name in SECRETS if BACKEND != "docker" else ():
        breach_if(reads(f"/proc/1/{name}"), f"/proc/1/{name} can be read")
    for number in filter(str.isdigit, os.listdir("/proc")):
        for flags in (os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
            fails(os.open, f"/proc/{number}/exe", flags, with_=("EACCES", "ETXTBSY", "EROFS", "EPERM", "ENOENT"))
    for name in () if BACKEND == "docker" else ("mem", "oom_score_adj", "timerslack_ns", "uid_map", "gid_map", "setgroups", "coredump_filter",
                 "clear_refs", "comm", "autogroup", "sched", "attr/current"):
        if os.path.exists(f"/proc/1/{name}"):
            fails(write_one, f"/proc/1/{name}", with_=("EACCES", "EPERM", "EROFS", "ENOENT", "EINVAL"))


class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def peek(number, address, length):
    room = ctypes.create_string_buffer(length)
    here, there = Span(ctypes.addressof(room), length), Span(address, length)
    got = raw(NUMBERS["process_vm_readv"], number, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return room.raw if got == length else got


@attack("S-A22")
def debugs():
    secret = ctypes.create_string_buffer(b"of the child")
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    # Debuggers need both, on own children.
    breach_if(raw(NUMBERS["ptrace"], 0x4206, child, 0, 0) != 0, "an own child cannot be traced")
    read = peek(child, ctypes.addressof(secret), 12)
    of_the_container = BACKEND == "confined" and read == "EPERM"  # its own filter, below CAP_SYS_PTRACE
    breach_if(read != b"of the child" and not of_the_container, f"reading an own child gave {read}")
    os.kill(child, 9)
    os.waitpid(child, 0)
    first = {"docker": [], "confined": others()}.get(BACKEND, [1])
    for number in [*first, *range(child + 1, child + 50), 30000]:
        for request in (16, 0x4206):  # ATTACH, SEIZE
            must_fail(f"trace {number}", NUMBERS["ptrace"], request, number, 0, 0, with_=("EPERM", "ESRCH"))
        breach_if(peek(number, ctypes.addressof(secret), 12) not in ("EPERM", "ESRCH"), f"{number} can be read")
    first = raw(NUMBERS["pidfd_open"], 1, 0)
    if BACKEND != "docker" and not isinstance(first, str):
        for descriptor in range(20):
            must_fail("pidfd_getfd", NUMBERS["pidfd_getfd"], first, descriptor, 0)
        must_fail("setns", 308 if X86 else 268, first, 0x20000)


def writes(path):
    """Says whether a file can be opened for writing that is not covered by an engine's null device."""
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    is_covered = BACKEND == "docker" and os.fstat(file).st_rdev == NULL
    os.close(file)
    return not is_covered


@attack("S-A07")
def reads_and_writes_masks():
    if BACKEND == "confined":
        breach_if(os.listdir("/proc") or os.path.exists("/sys"), "/proc or /sys holds something")
        return
    for name in ("acpi", "asound", "bootconfig", "config.gz", "cmdline", "interrupts", "kallsyms", "kcore", "keys", "kmsg",
                 "latency_stats", "modules", "sched_debug", "scsi", "sysrq-trigger", "timer_list", "timer_stats", "vmcore",
                 "kpagecount", "kpageflags", "kpagecgroup", "slabinfo", "vmallocinfo", "mtrr", "buddyinfo", "bus", "diskstats", "fs",
                 "irq", "locks", "pressure", "softirqs", "vmstat", "zoneinfo", "sys/fs/aio-nr", "sys/fs/dentry-state",
                 "sys/fs/file-nr", "sys/fs/inode-nr", "sys/fs/inode-state", "sys/fs/quota", "sys/kernel/pty/nr"):
        path = f"/proc/{name}"
        if os.path.isdir(path):
            breach_if(os.listdir(path), f"{path} holds {os.listdir(path)}")
        elif os.path.exists(path):
            try:
                with open(path, "rb") as file:
                    breach_if(file.read(1), f"{path} tells something")
            except PermissionError:
                pass
            # An engine covers a file with the null device, which takes everything and does nothing.
            if BACKEND != "docker" or os.stat(path).st_rdev != NULL:
                fails(os.open, path, os.O_WRONLY, with_=("EROFS", "EACCES", "EPERM"))
    for top in ("/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"):
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                if BACKEND == "docker" and os.lstat(path).st_rdev == NULL:
                    continue
                fails(os.open, path, os.O_WRONLY, with_=("EROFS", "EACCES", "EPERM", "ENOENT"))
    # Files of /proc outside those folders which act on the host.
    for folder, _, names in os.walk("/proc"):
        if folder.split("/")[2:3] and (folder.split("/")[2].isdigit() or folder.split("/")[2] in ("self", "thread-self", "sys")):
            continue
        for name in names:
            breach_if(writes(os.path.join(folder, name)), f"{folder}/{name} can be written")
    with open("/proc/sys/kernel/random/boot_id") as file:
        fixed = "" if BACKEND == "docker" else "00000000-0000-4000-8000-000000000000\n"
        breach_if(file.read() != fixed, "the boot id is the host's")
    breach_if(os.path.exists("/sys") and (BACKEND != "docker" or os.listdir("/sys")), "/sys is there")


ODD_FAMILIES = {
    "AX25": 3, "IPX": 4, "APPLETALK": 5, "X25": 9, "KEY": 15, "PACKET": 17, "RDS": 21, "PPPOX": 24, "LLC": 26,
    "CAN": 29, "TIPC": 30, "BLUETOOTH": 31, "IUCV": 32, "RXRPC": 33, "PHONET": 35, "CAIF": 37, "ALG": 38,
    "NFC": 39, "VSOCK": 40, "KCM": 41, "QIPCRTR": 42, "SMC": 43, "XDP": 44, "MCTP": 45,
}


NO_SOCKET = ("EAFNOSUPPORT", "EPERM", "EPROTONOSUPPORT")


@attack("S-A17-usual")
def makes_usual_sockets():
    if BACKEND == "confined":
        for one in socket.socketpair():
            one.close()
        return
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        socket.socket(family, socket.SOCK_STREAM).close()
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    for one in socket.socketpair():
        one.close()


@attack("S-A17")
def makes_odd_sockets():
    usual = {"UNIX": 1, "INET": 2, "INET6": 10, "NETLINK": 16} if BACKEND == "confined" else {}
    for name, family in {**ODD_FAMILIES, **usual}.items():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            for wide in (family, family | 1 << 32):
                must_fail(f"socket {name}", 41 if X86 else 198, wide, kind, 0, with_=NO_SOCKET)
    for protocol in range(1, 32):  # all of netlink but routing
        must_fail(f"netlink {protocol}", 41 if X86 else 198, 16, 3, protocol, with_=NO_SOCKET)
    for family in (socket.AF_INET, socket.AF_INET6):
        for protocol in (1, 58, 255):
            must_fail("raw socket", 41 if X86 else 198, family, socket.SOCK_RAW, protocol, with_=(*NO_SOCKET, "EACCES"))
        must_fail("ping socket", 41 if X86 else 198, family, socket.SOCK_DGRAM, 1, with_=(*NO_SOCKET, "EACCES"))


@attack("S-A20")
def uses_key_rings():
    serial = ctypes.c_long(-3)  # the session's
    for operation in range(0, 33):
        must_fail(f"keyctl {operation}", NUMBERS["keyctl"], operation, serial, 0, 0, 0, with_=("ENOSYS",))
    must_fail("add_key", NUMBERS["add_key"], b"user", b"canary", b"x", 1, serial, with_=("ENOSYS",))
    must_fail("request_key", NUMBERS["request_key"], b"user", b"canary", None, serial, with_=("ENOSYS",))


@attack("S-A21")
def uses_control_groups():
    os.makedirs("/tmp/cgroup", exist_ok=True)
    for kind in (b"cgroup", b"cgroup2"):
        must_fail("mount", NUMBERS["mount"], b"none", b"/tmp/cgroup", kind, 0, None)
    if has_proc():
        with open("/proc/self/cgroup") as lines:
            for line in lines:
                breach_if(line.rstrip("\n").split(":", 2)[2] != "/", f"a group of the host is named: {line}")
        found = [line for line in open("/proc/self/mountinfo") if " - cgroup" in line]
        if BACKEND == "docker":  # mounted, read-only, below what is covered
            found = [line for line in found if not line.split()[4].startswith("/sys/") or os.listdir("/sys")]
        breach_if(found, f"control groups are mounted: {found}")
    for folder, names, files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(folder, name) not in ("/proc", "/usr")]
        held = {"release_agent", "cgroup.procs", "notify_on_release"} & set(files)
        breach_if(held, f"{folder} holds {held}")


def in_child(act):
    """Runs something in a child, which a timer ends if the call waits; returns the child's status."""
    child = os.fork()
    if child == 0:
        import signal

        signal.setitimer(signal.ITIMER_REAL, 0.5)
        os._exit(act() & 0xFF)
    return os.waitpid(child, 0)[1]


def machine(code):
    """Returns a function of machine code."""
    room = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    room.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    function = ctypes.CFUNCTYPE(ctypes.c_long)(start)
    function.room = room
    return function


# mov eax, 20 (getpid of i386); int 0x80; ret
I386_GETPID = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"


@attack("S-A19-i386")
def calls_as_i386():
    """A second door to the same kernel, with other numbers: `int 0x80`."""
    status = in_child(lambda: 0 if machine(I386_GETPID)() > 0 else 1)
    breach_if(os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, "a call of i386 was answered")


@attack("S-A19-x32")
def calls_as_x32():
    for number in range(0, 600):
        if BACKEND == "docker":  # an engine's filter kills the caller
            status = in_child(lambda number=number: 0 if raw(0x40000000 + number, 0, 0, 0, 0, 0, 0) == "ENOSYS" else 1)
            breach_if(status != 0 and not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == 31), f"x32 {number}")
        else:
            must_fail(f"x32 {number}", 0x40000000 + number, 0, 0, 0, 0, 0, 0, with_=("ENOSYS",))
    for number in (0x80000000, 0xFFFFFFFF, -1, -2**31):
        refusals = ("ENOSYS", "EPERM") if BACKEND == "docker" else ("ENOSYS",)
        must_fail(f"number {number}", number, 0, 0, 0, with_=refusals)


@attack("S-A19")
def calls_every_number():
    """Each number with zeroes, in a child of its own, against the committed table."""
    with open("syscalls.txt") as lines:
        table = [line.split() for line in lines if line[:1].isdigit()]
    breach_if(len(table) != 601, f"the table has {len(table)} lines")
    wrong = []
    for number, _, wanted in table:
        # What waits goes to the kernel as well, once it was heard.
        wanted = "allow" if wanted == "wait" else wanted
        number, names = int(number), {1: "eperm", 38: "enosys", 97: "no-family"}

        def call():
            ctypes.set_errno(0)
            result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
            return ctypes.get_errno() if result == -1 else 0

        status = in_child(call)
        if os.WIFEXITED(status):
            got = names.get(os.WEXITSTATUS(status), "allow")
        else:  # the timer, or a fault within the call: it got through
            got = "killed" if os.WTERMSIG(status) == 31 else "allow"
        # uretprobe and uprobe: the kernel asks no filter about its own trampolines, and does nothing for
        # a caller that is none.
        if number in (335, 336):
            continue
        # An engine says of a number newer than its library what it says of unknown ones.
        if BACKEND == "docker" and {got, wanted} == {"eperm", "enosys"}:
            continue
        # What is let through may still be refused by the kernel, or unknown to it.
        if got != wanted and not (wanted == "allow" and got in ("eperm", "enosys")):
            wrong.append(f"{number}: {got} instead of {wanted}")
        if os.environ.get("SHOW"):
            print(number, got)
    breach_if(wrong, "; ".join(wrong))


def writable_folders():
    if not has_proc():
        return [at for at, *_ in os.walk("/") if os.access(at, os.W_OK)]
    found = set()
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            at = line.split()[4]
            if os.path.isdir(at) and os.access(at, os.W_OK):
                found.add(at)
    return sorted(found)


HELD = []


def meet(own, other, seconds):
    """Leaves sockets everywhere and looks for the other one's; returns where they met."""
    held = HELD
    folders = [f"{folder}/meet-" for folder in writable_folders()]
    if not has_proc():  # and no sockets: a file is enough
        for place in folders:
            open(place + own, "w").close()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for place in folders:
                if os.path.exists(place + other):
                    return place
            time.sleep(0.02)
        return None
    places = [*folders, "\0meet-"]
    for place in places:
        one = socket.socket(socket.AF_UNIX)
        one.bind(place + own)
        one.listen()
        held.append(one)
    server = socket.socket(socket.AF_INET)
    server.bind(("127.0.0.1", 4000 + ord(own[0])))
    server.listen()
    held.append(server)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for place in places:
            with socket.socket(socket.AF_UNIX) as one:
                if one.connect_ex(place + other) == 0:
                    return place
        with socket.socket(socket.AF_INET) as one:
            if one.connect_ex(("127.0.0.1", 4000 + ord(other[0]))) == 0:
                return "loopback"
        time.sleep(0.02)
    return None


@attack("S-A25-together")
def meets_itself():
    done, over = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(over[1])
        os.write(done[1], b"y" if meet("a", "b", 20) else b"n")
        os.read(over[0], 1)  # its sockets stay until the other has met them
        os._exit(0)
    breach_if(not meet("b", "a", 20), "two processes of one step cannot meet")
    breach_if(os.read(done[0], 1) != b"y", "two processes of one step cannot meet")
    os.close(over[1])
    os.waitpid(child, 0)


@attack("S-A25-first")
def meets_the_second():
    where = meet("a", "b", 2.5)
    breach_if(where, f"the steps met at {where!r}")


@attack("S-A25-second")
def meets_the_first():
    where = meet("b", "a", 2.5)
    breach_if(where, f"the steps met at {where!r}")


def signals():
    """Returns what `status` tells of signals."""
    import signal

    mask = lambda numbers: f"{sum(1 << number - 1 for number in numbers):x}"
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return {"SigBlk": mask(blocked), "SigIgn": mask(ignored), "SigPnd": mask(signal.sigpending()), "ShdPnd": "0"}


@attack("S-A27")
def inherits():
    import resource

    if has_proc():
        with open("/proc/self/status") as lines:
            facts = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    else:
        facts = signals()
    allowed = 1 << 12 | 1 << 24  # SIGPIPE and SIGXFSZ, which Python ignores by itself
    if BACKEND == "docker":
        # A daemon that posix_spawn started ignores libc's own 32 and 33, and hands that on.
        allowed |= 1 << 31 | 1 << 32
    for key in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd"):
        breach_if(int(facts[key], 16) & ~allowed, f"{key} is {facts[key]}")
    breach_if(max(resource.getrlimit(resource.RLIMIT_CORE)) > 1, "a core can be dumped")
    breach_if(resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 1024, "too many files")
    for name in ("/dev/tty", "/dev/console", "/dev/ptmx", "/dev/pts/0", "/dev/vcs", "/dev/tty0"):
        fails(os.open, name, os.O_RDWR, with_=("ENOENT", "ENXIO", "EACCES"))
    breach_if(os.fstat(0).st_rdev != NULL, "stdin is something")
    if not has_proc():
        breach_if(os.getsid(0) in (0, 1), "the session is somebody else's")
        return
    with open("/proc/self/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    breach_if(fields[4] != "0" or fields[3] == "0", f"terminal {fields[4]}, session {fields[3]}")


@attack("S-A28-own")
def changes_its_own_limits():
    import resource

    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    for number in (0, os.getpid(), child):
        limit = resource.prlimit(number, resource.RLIMIT_NOFILE)
        resource.prlimit(number, resource.RLIMIT_NOFILE, (min(100, limit[0]), limit[1]))
        os.sched_setaffinity(number, os.sched_getaffinity(number))
        # The one value that is not refused whatever the tests were started with.
        os.setpriority(os.PRIO_PROCESS, number, 19)
    os.kill(child, 9)


@attack("S-A28")
def starves_the_first_process():
    """It has the step's user, so the kernel alone would let a step do all of this to it."""
    import resource
    import signal

    for number in others() if BACKEND == "confined" else [1]:
        gone = ("ESRCH",) if number != 1 else ()
        for name in dir(resource):
            if name.startswith("RLIMIT_"):
                fails(resource.prlimit, number, getattr(resource, name), (0, 0), with_=("EPERM", *gone))
        for policy in (os.SCHED_IDLE, os.SCHED_BATCH):
            fails(os.sched_setscheduler, number, policy, os.sched_param(0), with_=("EPERM", *gone))
        fails(os.sched_setaffinity, number, {0}, with_=("EPERM", *gone))
        fails(os.setpriority, os.PRIO_PROCESS, number, 19, with_=("EPERM", *gone))
        must_fail("ioprio_set", 251 if X86 else 30, 1, number, 3 << 13, with_=("EPERM", *gone))
        for kind in [*range(1, 65), signal.SIGSTOP, signal.SIGKILL]:
            try:
                os.kill(number, kind)
            except OSError:
                pass
