"""Group E, continued: names, twins, holes, closed files, links, growing files."""

import errno
import os
import shutil
import socket
import struct
import time

from attack import BACKEND, attack, breach_if

NAMES = ["line\nbreak", "tab\there", "\x1b[31mred", "x" * 255, "-rf", "trailing ", "*", "?", "a\\b", "'quote\"",
         "\u202eright-to-left", "$(touch x)", ".hidden", "..dots", "\u00e9"]


@attack("S-E07")
def odd_names():
    os.makedirs("tree")
    for name in NAMES:
        with open(f"tree/{name}", "w") as file:
            file.write(name)


@attack("S-E07-bytes")
def name_that_is_not_utf8():
    os.makedirs("tree")
    with open(b"tree/\xff-name", "w") as file:
        file.write("x")


@attack("S-E07-target")
def target_that_is_not_utf8():
    os.makedirs("tree")
    os.symlink(b"\xff-target", b"tree/link")


@attack("S-E08")
def names_that_differ_by_case():
    os.makedirs("tree/Sub")
    for name in ("A", "a", "sub"):
        with open(f"tree/{name}", "w") as file:
            file.write(name)


def with_holes(path, size):
    """Makes a file of holes. Where the size of one file is limited the kernel refuses it: no output."""
    with open(path, "wb") as file:
        try:
            file.truncate(size)
        except OSError as error:
            breach_if(error.errno != errno.EFBIG or BACKEND not in ("docker", "confined"), f"{error}")
            os.unlink(path)
            return False
        file.write(b"x" * 4096)
    return True


@attack("S-E09")
def mostly_holes():
    with_holes("result", 100 << 30)


@attack("S-E09-tree")
def many_holes():
    os.makedirs("tree")
    if not all([with_holes(f"tree/{number}", 10 << 30) for number in range(10)]):
        shutil.rmtree("tree")


@attack("S-E09-small")
def few_holes():
    with open("result", "wb") as file:
        file.truncate(1 << 20)


@attack("S-E10")
def closed_files():
    os.makedirs("tree/closed/inner")
    for name in ("tree/file", "tree/closed/file", "tree/closed/inner/file"):
        with open(name, "w") as file:
            file.write(name)
        os.chmod(name, 0)
    for name in ("tree/closed/inner", "tree/closed"):
        os.chmod(name, 0)
    os.chmod("tree", 0o111)


@attack("S-E10-file")
def closed_file():
    with open("result", "w") as file:
        file.write("closed\n")
    os.chmod("result", 0)


@attack("S-E11")
def hard_links():
    os.makedirs("tree")
    with open("tree/one", "w") as file:
        file.write("content\n")
    os.link("tree/one", "tree/two")


@attack("S-E11-apart")
def no_hard_links():
    os.makedirs("tree")
    for name in ("one", "two"):
        with open(f"tree/{name}", "w") as file:
            file.write("content\n")


@attack("S-E12")
def nothing_much():
    os.makedirs("tree/empty")
    os.makedirs("tree/dots")
    for name in ("tree/file", "tree/dots/.one", "tree/dots/..two"):
        open(name, "w").close()


@attack("S-E13")
def parent_is_a_link():
    os.makedirs("/tmp/elsewhere")
    with open("/tmp/elsewhere/result", "w") as file:
        file.write("from elsewhere\n")
    os.symlink("/tmp/elsewhere", "parent")


@attack("S-E13-host")
def parent_leads_to_the_host():
    os.symlink(os.path.dirname(os.environ["CANARY"]), "parent")


@attack("S-E13-swap")
def parent_is_swapped_at_the_end():
    os.makedirs("real")
    with open("real/result", "w") as file:
        file.write("real\n")
    os.makedirs("/tmp/elsewhere")
    with open("/tmp/elsewhere/result", "w") as file:
        file.write("from elsewhere\n")
    if os.fork() == 0:  # outlives the step's main process, as long as it is let
        os.setsid()
        while True:
            for target in ("real", "/tmp/elsewhere"):
                os.symlink(target, "next")
                os.rename("next", "parent")
    while not os.path.lexists("parent"):
        time.sleep(0.01)


@attack("S-E13-plain")
def parent_is_a_folder():
    os.makedirs("parent")
    with open("parent/result", "w") as file:
        file.write("plain\n")


@attack("S-E14")
def grows_on():
    with open("result", "w") as file:
        file.write("start\n")
    if os.fork() == 0:
        os.setsid()
        with open("result", "a", buffering=1) as file:
            while True:
                file.write("more\n")
    while os.stat("result").st_size < 1000:
        time.sleep(0.01)


@attack("S-E14-map")
def grows_on_through_memory():
    import mmap

    with open("result", "wb") as file:
        file.write(bytes(1 << 20))
    if os.fork() == 0:
        os.setsid()
        with open("result", "r+b") as file, mmap.mmap(file.fileno(), 0) as room:
            while True:
                for at in range(0, 1 << 20, 4096):
                    room[at] = (room[at] + 1) & 0xFF


def acl(user):
    """The kernel's form of an access list with one more user (posix_acl_xattr.h)."""
    rows = [(1, 7, 0xFFFFFFFF), (2, 7, user), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 5, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def with_attribute(path, name, value):
    try:
        os.setxattr(path, name, value)
    except OSError:
        (os.rmdir if os.path.isdir(path) else os.unlink)(path)  # refused at the source: no output


@attack("S-E06-list")
def output_has_an_access_list():
    open("result", "w").close()
    with_attribute("result", "system.posix_acl_access", acl(1000))


@attack("S-E06-default-list")
def folder_has_a_default_list():
    os.makedirs("tree")
    with_attribute("tree", "system.posix_acl_default", acl(1000))


@attack("S-E06-capability")
def output_has_capabilities():
    open("result", "w").close()
    with_attribute("result", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0))


@attack("S-E06-folder")
def folder_has_an_attribute():
    os.makedirs("tree/sub")
    with_attribute("tree/sub", "user.hidden", b"x")


@attack("S-E06-opaque")
def folder_looks_like_an_overlays():
    """Marks of overlayfs, made by hand: a view's capture must not believe or keep them."""
    os.makedirs("tree/sub")
    for name in ("user.overlay.opaque", "user.overlay.redirect", "user.overlay.metacopy", "trusted.overlay.opaque"):
        try:
            os.setxattr("tree/sub", name, b"y")
        except OSError:
            continue
        return
    os.rmdir("tree/sub")
    os.rmdir("tree")


@attack("S-E03-device")
def folder_with_a_whiteout():
    os.makedirs("tree")
    for make in (lambda: os.mknod("tree/device", 0o020600, 0), lambda: os.mknod("tree/null", 0o020666, os.makedev(1, 3))):
        try:
            make()
            return
        except OSError:
            pass
    os.rmdir("tree")  # refused at the source: no output


@attack("S-E02-file")
def output_is_a_fifo():
    os.mkfifo("result")


@attack("S-E02-held")
def output_is_a_fifo_with_a_writer():
    os.mkfifo("result")
    if os.fork() == 0:
        os.setsid()
        os.open("result", os.O_RDWR)
        while True:
            time.sleep(1000)
    socket.socketpair()


@attack("S-E05-folder")
def folder_is_setgid():
    os.makedirs("tree/sub")
    try:
        os.chmod("tree/sub", 0o2755)
    except PermissionError:
        os.rmdir("tree/sub")
        os.rmdir("tree")
        return
    breach_if(not os.stat("tree/sub").st_mode & 0o2000, "nothing was set")


@attack("S-E05-openat2")
def output_is_setuid_behind_a_pointer():
    """openat2 takes its mode from memory, where no filter can look."""
    import ctypes

    from attack import raw

    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    result = raw(437, -100, b"result", how, 24)
    if isinstance(result, int):
        breach_if(not os.stat("result").st_mode & 0o4000, "nothing was set")


@attack("S-E09-disk")
def more_holes_than_disk():
    with_holes("result", 1 << 30)


@attack("S-E10-parent")
def parent_is_closed():
    os.makedirs("parent/inner")
    with open("parent/result", "w") as file:
        file.write("behind\n")
    os.chmod("parent", 0)


@attack("S-E10-work")
def work_folder_is_closed():
    with open("result", "w") as file:
        file.write("behind\n")
    os.chmod("/build", 0)


@attack("S-E03-whiteout")
def folder_with_a_renames_whiteout():
    """RENAME_WHITEOUT leaves a character device without asking for one."""
    from attack import raw

    os.makedirs("/tmp/tree")
    open("/tmp/tree/file", "w").close()
    number = 316 if os.uname().machine == "x86_64" else 276
    os.makedirs("tree")
    for folder in ("tree", "/tmp/tree"):
        open(f"{folder}/file", "w").close()
        raw(number, -100, f"{folder}/file".encode(), -100, f"{folder}/moved".encode(), 4)
    # Only a view refuses it; where it was made it has to be refused at capture.
    if os.path.exists("tree/moved"):
        return
    os.unlink("tree/file")
    os.rmdir("tree")


@attack("S-E07-shown")
def odd_name_that_is_refused():
    os.makedirs("tree/\x1b[2J\u202e\r\n::error::x")
    os.mkfifo("tree/\x1b[2J\u202e\r\n::error::x/\x1b]8;;http:x\x07fifo")
