"""Group D, continued: memory, disk, inodes, output, names, processors."""

import errno
import os
import resource
import sys
import time

from attack import attack, breach_if


@attack("S-D02")
def takes_memory():
    held = []
    for _ in range(16 << 10):
        held.append(b"x" * (1 << 20))
    breach_if(True, f"{len(held)} MiB")


@attack("S-D02-little")
def takes_little_memory():
    breach_if(len(b"x" * (32 << 20)) != 32 << 20, "nothing was taken")


def fill(folder):
    """Writes until the end; returns how many bytes, or none where there is no end."""
    written = 0
    with open(f"{folder}/big", "wb", buffering=0) as file:
        while written < 4 << 30:
            try:
                written += file.write(b"x" * (1 << 20))
            except OSError as error:
                breach_if(error.errno != errno.ENOSPC, f"{folder}: {error}")
                return written
    return None


@attack("S-D03")
def fills_the_disk():
    for folder in ("/build", "/tmp", "/dev/shm"):
        written = fill(folder)
        breach_if(written is None, f"{folder} has no end")
        print(f"{folder} took {written >> 20} MiB")
        if folder != "/dev/shm":
            os.unlink(f"{folder}/big")
    raise SystemExit(1)  # with the disk full, as a compiler would


@attack("S-D03-fallocate")
def reserves_the_disk():
    with open("/build/big", "wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 1 << 40)
        except OSError as error:
            breach_if(error.errno not in (errno.ENOSPC, errno.EFBIG), f"{error}")
            return
    breach_if(True, "a terabyte was reserved")


@attack("S-D04")
def takes_all_inodes():
    count = 0
    try:
        os.makedirs("/build/many")
        while count < 2_000_000:
            os.close(os.open(f"/build/many/{count}", os.O_CREAT | os.O_WRONLY))
            count += 1
    except OSError as error:
        breach_if(error.errno != errno.ENOSPC, f"{error}")
        return
    breach_if(True, f"{count} files")


@attack("S-D05")
def says_a_lot():
    line = b"x" * (1 << 16)
    for number in range(4096):  # 256 MiB
        os.write(1 + number % 2, line)


@attack("S-D08-descriptors")
def opens_everything():
    held = []
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
        breach_if(True, "the hard limit was raised")
    except (OSError, ValueError):
        pass
    try:
        while len(held) < 100_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        breach_if(error.errno != errno.EMFILE, f"{error}")
    breach_if(len(held) > 1024, f"{len(held)} descriptors")
    for one in held[10:]:
        os.close(one)


@attack("S-D08-links")
def makes_a_million_links():
    os.makedirs("tree")
    os.chdir("tree")
    count = 0
    try:
        while count < 1_000_000:
            os.symlink("x", f"{count:07}")
            count += 1
    except OSError as error:
        breach_if(error.errno != errno.ENOSPC, f"{error}")
    breach_if(count >= 1_000_000, f"{count} links")


@attack("S-D08-deep")
def nests_folders():
    os.makedirs("tree")
    os.chdir("tree")
    for _ in range(5000):
        os.mkdir("d")
        os.chdir("d")


@attack("S-D09-spins")
def spins():
    for _ in range(8 * os.cpu_count()):
        if os.fork() == 0:
            while True:
                pass
    while True:
        time.sleep(1000)


@attack("S-D09-works")
def works():
    total = 0
    for number in range(300_000):
        total += number * number
    sys.stdout.write(f"{total}\n")
