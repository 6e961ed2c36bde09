"""Group F: what a step does to its inputs, and steps that wait while the host does something."""

import os
import signal
import time

from attack import attack, breach_if, fails

CLOSED = ("EROFS", "EPERM", "EACCES")


@attack("S-F01-waits")
def waits_for_a_signal():
    heard = []
    signal.signal(signal.SIGUSR1, lambda *_: heard.append(True))  # by which the host sees that it waits
    while not heard:
        time.sleep(0.01)


@attack("S-F01-reads")
def reads_what_it_was_promised():
    with open("data") as file:
        breach_if(file.read() != "as it was hashed\n", "other bytes than were hashed")


@attack("S-F03")
def reads_links_as_text():
    wanted = {"absolute": os.environ["CANARY"], "outward": "../../../../outside", "itself": "itself",
              "dangling": "nowhere", "sub/up": "../victim"}
    for name, target in wanted.items():
        breach_if(os.readlink(name) != target, f"{name} is {os.readlink(name)}")
    for name in ("absolute", "outward", "itself", "dangling"):
        breach_if(os.path.exists(name), f"{name} leads somewhere")
    breach_if(not os.path.samefile("sub/up", "victim"), "a link within the tree leads nowhere")


@attack("S-F09")
def changes_inputs():
    for path in ("/usr/bin/env", "/etc/passwd", "/usr/lib", "/etc", "/"):
        fails(os.chmod, path, 0o777, with_=CLOSED)
        fails(os.chown, path, 1000, 1000, with_=CLOSED)
        fails(os.utime, path, (1, 1), with_=CLOSED)
        fails(os.setxattr, path, "user.x", b"x", with_=(*CLOSED, "EOPNOTSUPP"))
    for folder in ("/usr", "/etc", "/usr/bin", "/", "/kiln", "/dev", "/proc"):
        fails(os.mkdir, f"{folder}/new", with_=(*CLOSED, "ENOENT"))
        fails(os.symlink, "x", f"{folder}/new", with_=(*CLOSED, "ENOENT"))
    for path in ("/usr/bin/env", "/etc/passwd", "/kiln/script"):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            fails(os.open, path, flags, with_=(*CLOSED, "ETXTBSY"))
        fails(os.truncate, path, 0, with_=(*CLOSED, "ETXTBSY"))
        fails(os.rename, path, "/tmp/taken", with_=(*CLOSED, "EXDEV"))
    # Its own view it may change, in every way.
    os.chmod("victim", 0o600)
    os.rename("victim", "other")
    with open("other", "w") as file:
        file.write("changed by the step\n")
    os.unlink("other")
