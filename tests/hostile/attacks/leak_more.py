"""Group B, continued: servers left behind, the host's papers, the kernel's log."""

import os
import socket
import time

from attack import BACKEND, attack, breach_if, fails, has_proc, must_fail

X86 = os.uname().machine == "x86_64"
PORT = 8099


def serve():
    server = socket.socket(socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", PORT))
    server.listen()
    return server


def answers():
    with socket.socket(socket.AF_INET) as one:
        return one.connect_ex(("127.0.0.1", PORT)) == 0


@attack("S-B09-leaves")
def leaves_a_server():
    server = serve()
    breach_if(not answers(), "this attack serves nothing")
    if os.fork() == 0:
        os.setsid()
        for number in (0, 1, 2):
            os.close(number)
        while server:
            time.sleep(1000)


@attack("S-B09-calls")
def calls_the_server():
    breach_if(answers(), "a server of an earlier step answered")


@attack("S-B09-beside")
def calls_a_server_beside():
    server = serve()  # two steps at once may both have this port
    end = time.monotonic() + 1.5
    server.settimeout(0.1)
    while time.monotonic() < end:
        try:
            server.accept()
            breach_if(True, "another step came in")
        except TimeoutError:
            pass


@attack("S-B10")
def reads_the_hosts_papers():
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/shadow", "/etc/gshadow",
                 "/etc/ssh", "/etc/ld.so.preload", "/etc/fstab", "/etc/mtab", "/etc/localtime", "/etc/timezone",
                 "/etc/ssl/private"):
        if os.path.lexists(path):
            text = os.readlink(path) if os.path.islink(path) else ""
            breach_if(text not in ("/proc/mounts", "../proc/self/mounts", "/usr/share/zoneinfo/Etc/UTC"), f"{path} is there")
    if os.path.exists("/etc/hostname"):
        with open("/etc/hostname") as file:
            breach_if(file.read().strip() != "localhost", "/etc/hostname is the host's")
    with open("/etc/passwd") as lines:
        users = {line.split(":")[0] for line in lines}
    breach_if(not users <= {"root", "nobody", "kiln", "build", "builder"}, f"users: {users}")
    for folder in ("/root", "/home", "/mnt", "/srv"):
        breach_if(os.path.exists(folder) and os.listdir(folder), f"{folder} holds something")
    with open("/etc/hosts") as lines:
        hosts = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    breach_if(not set(hosts) <= {"127.0.0.1", "::1"}, f"hosts: {hosts}")
    with open("/etc/resolv.conf") as lines:
        servers = [line.strip() for line in lines if line.startswith("nameserver")]
    breach_if(servers != ["nameserver 127.0.0.1"], f"resolvers: {servers}")
    # A confined step has the container's: `host-name`, in the list of what it lacks.
    breach_if(socket.gethostname() != "localhost" and BACKEND != "confined", socket.gethostname())


@attack("S-B11")
def reads_the_kernels_log():
    for action in range(0, 11):
        must_fail(f"syslog {action}", 103 if X86 else 116, action, None, 0)
    for path in ("/dev/kmsg", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/log"):
        fails(os.open, path, os.O_RDONLY, with_=("ENOENT",))
    for name in ("kallsyms", "kmsg", "modules", "keys", "timer_list"):
        if os.path.exists(f"/proc/{name}"):
            with open(f"/proc/{name}", "rb") as file:
                breach_if(file.read(1), f"/proc/{name} tells something")
    if not has_proc():
        breach_if(os.listdir("/proc"), "/proc holds something")
        return
    with open("/proc/net/dev") as lines:
        names = [line.split(":")[0].strip() for line in lines if ":" in line]
    breach_if(names != ["lo"], f"interfaces: {names}")
    for name in ("tcp", "tcp6", "udp6", "unix", "raw", "packet", "netlink", "arp", "route", "ipv6_route"):
        path = f"/proc/net/{name}"
        if os.path.exists(path):
            with open(path) as lines:
                found = [line for line in list(lines)[1:] if "lo" not in line.split()]
            known = name in ("netlink",) or not found
            breach_if(not known, f"{path} tells {found}")
