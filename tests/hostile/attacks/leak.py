"""Group B: what a step can see, reach or remember."""

import os
import socket
import time

from attack import BACKEND, attack, breach_if, fails, has_proc

FIXED = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/build",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": "318211200",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# What the test's own build file sets, and what the shell and Python add by themselves.
OF_THE_TEST = {"CANARY", "SERVICE_PORT", "SOCKET", "ABSTRACT", "KILN_TEST", "BACKEND"}
OF_THE_SHELL = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}


def interfaces():
    return [name for _, name in socket.if_nameindex()]


def has_sockets():
    """Says whether a socket can be made, which only a confined step cannot."""
    if BACKEND != "confined" or has_proc():
        return True
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            fails(socket.socket, family, kind, with_=("EAFNOSUPPORT",))
    return False


@attack("S-B01")
def dials_out():
    if not has_sockets():
        return
    breach_if(interfaces() != ["lo"], f"interfaces: {interfaces()}")  # before anything is sent
    for address in ("192.0.2.1", "10.255.255.1", "169.254.169.254"):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as out:
                out.settimeout(30)  # whoever waited that long is told none of these
                fails(out.connect, (address, 80), with_=("ENETUNREACH", "EHOSTUNREACH", "EPERM", "EACCES"))
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as out:
        fails(out.connect, ("2001:db8::1", 80))


@attack("S-B02")
def floods_the_resolver():
    """Odd questions to the step's own resolver, if there is one; the step must live on."""
    servers = []
    if os.path.exists("/etc/resolv.conf"):
        with open("/etc/resolv.conf") as lines:
            servers = [line.split()[1] for line in lines if line.startswith("nameserver")]
    for server in servers:
        breach_if(not server.startswith("127.") and server != "::1", f"the resolver is {server}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for number in range(600):
            odd = (b"", b"\0", b"\xff" * 12, bytes([number % 256]) * (number % 1400), b"\xc0\x0c" * 30)
            try:
                out.sendto(odd[number % 5], ("127.0.0.1", 53))
            except OSError:
                pass
    breach_if(not os.path.exists("/proc/1"), "pid 1 is gone")


@attack("S-B02-name")
def looks_up_a_name():
    os.environ["RES_OPTIONS"] = "timeout:30 attempts:1"  # so that a wait is told from a host under load
    start = time.monotonic()
    try:
        socket.getaddrinfo("canary.example", 80)
    except OSError:
        breach_if(time.monotonic() - start > 25, "the refusal took its time")
        raise SystemExit(1)
    breach_if(True, "a name was found")


@attack("S-B03")
def reaches_a_service_of_the_host():
    if not has_sockets():
        return
    port = int(os.environ["SERVICE_PORT"])
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as out:
            out.settimeout(2)
            fails(out.connect, (address, port))


@attack("S-B04")
def reads_the_host():
    for path in (os.environ["CANARY"], "/etc/shadow", "/etc/machine-id", "/var/lib/dpkg/status", "/sys/kernel"):
        breach_if(os.path.exists(path), f"{path} is there")
    for folder in ("/home", "/root", "/var/log", "/srv", "/mnt", "/media", "/opt"):
        for at, _, files in os.walk(folder):
            breach_if(files, f"{at} holds {files}")


@attack("S-B05")
def reads_the_callers_environment():
    allowed = FIXED.keys() | OF_THE_TEST | OF_THE_SHELL
    for name, value in os.environ.items():
        breach_if("canary-secret" in value, f"{name} holds the secret")
        breach_if(name not in allowed, f"{name} is set")
    for name, value in FIXED.items():
        breach_if(os.environ.get(name) != value, f"{name} is {os.environ.get(name)!r}")
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            for part in ("environ", "cmdline"):
                try:
                    with open(f"/proc/{entry}/{part}", "rb") as file:
                        breach_if(b"canary-secret" in file.read(), f"/proc/{entry}/{part}")
                except OSError:
                    pass


@attack("S-B06")
def reads_an_undeclared_sibling():
    host = os.path.dirname(os.path.dirname(os.environ["CANARY"]))
    for path in ("../undeclared/file", "/build/../undeclared/file", f"{host}/project/undeclared/file",
                 "/proc/self/cwd/../undeclared/file", "../kiln.yaml", "kiln.yaml"):
        breach_if(os.path.exists(path), f"{path} is there")


@attack("S-B07")
def reads_variables_that_change_programs():
    for name in os.environ:
        prefixes = ("HTTP", "http", "NO_PROXY", "no_proxy", "GIT_", "LD_", "XDG_", "KILN_STORE", "CI")
        breach_if(name.startswith(prefixes), f"{name} is set")
        breach_if(name.startswith("PYTHON") and name not in FIXED, f"{name} is set")


@attack("S-B08")
def remembers():
    """Runs in two steps: what one leaves the other must not find."""
    places = ("/tmp", "/var/tmp", os.environ["HOME"], "/dev/shm", "/build", "/run")
    for folder in {os.path.realpath(place) for place in places}:
        marker = os.path.join(folder, "marker")
        breach_if(os.path.exists(marker), f"{marker} is there")
        try:
            with open(marker, "w") as file:
                file.write("left")
        except OSError:
            continue
    breach_if(not os.path.exists("/tmp/marker"), "this attack cannot write")


DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@attack("S-B08-marks")
def marks_devices():
    """Whoever may write to a file may set its times to now, and so leave a word for whoever looks later."""
    for path in DEVICES:
        try:
            os.utime(path)
        except OSError:
            pass
    print(*(os.stat(path).st_mtime_ns for path in DEVICES), time.time_ns())


@attack("S-B08-looks")
def looks_for_marks():
    with open("in/mark") as file:
        *marks, when = map(int, file.readline().split())
    for path, mark in zip(DEVICES, marks):
        found = os.stat(path).st_mtime_ns
        breach_if(found == mark and abs(when - mark) < 60 * 10**9, f"{path} was marked by another step")
