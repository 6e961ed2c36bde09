"""Group E: outputs that are not what they seem."""

import os
import shutil
import socket
import stat

from attack import BACKEND, attack, breach_if


@attack("S-E01-file")
def output_is_a_link():
    os.symlink("/etc/passwd", "result")


@attack("S-E01-itself")
def output_is_a_link_to_itself():
    os.symlink("result", "result")


@attack("S-E01-dangling")
def output_is_a_dangling_link():
    os.symlink("nowhere", "result")


@attack("S-E01-out")
def output_is_a_link_out():
    os.symlink("../../x", "result")


def tree():
    os.makedirs("tree/sub")
    with open("tree/sub/file", "w") as file:
        file.write("content\n")


@attack("S-E01-dir")
def folder_with_links():
    tree()
    os.symlink("/etc/passwd", "tree/absolute")
    os.symlink("../../x", "tree/out")
    os.symlink("itself", "tree/itself")
    os.symlink("nowhere", "tree/dangling")


@attack("S-E01-inner")
def folder_with_a_link_inside():
    tree()
    os.symlink("sub/file", "tree/inner")


@attack("S-E02")
def folder_with_a_fifo():
    tree()
    os.mkfifo("tree/fifo")


def binds(path):
    """Makes a socket; says whether one could be made, which confined steps cannot: no output is as good."""
    try:
        socket.socket(socket.AF_UNIX).bind(path)
    except OSError:
        breach_if(BACKEND != "confined", "no socket can be made")
        return False
    return True


@attack("S-E03")
def folder_with_a_socket():
    tree()
    if not binds("tree/socket"):
        shutil.rmtree("tree")


@attack("S-E03-file")
def output_is_a_socket():
    binds("result")


@attack("S-E04")
def output_is_missing():
    with open("resolt", "w") as file:
        file.write("the wrong name")


@attack("S-E04-kind")
def output_is_of_the_wrong_kind():
    os.makedirs("result")


@attack("S-E04-extra")
def more_than_is_declared():
    with open("result", "w") as file:
        file.write("declared\n")
    with open("extra", "w") as file:
        file.write("undeclared\n")


def with_mode(mode):
    with open("result", "w") as file:
        file.write("x\n")
    try:
        os.chmod("result", mode)
    except PermissionError:
        pass
    if os.lstat("result").st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
        return
    # The filter refused to set such a bit at all, which is as good: say so by no output.
    os.unlink("result")


@attack("S-E05-setuid")
def output_is_setuid():
    with_mode(0o4755)


@attack("S-E05-setgid")
def output_is_setgid():
    with_mode(0o2755)


@attack("S-E05-sticky")
def output_is_sticky():
    with_mode(0o1644)


@attack("S-E05-world")
def output_is_world_writable():
    with open("result", "w") as file:
        file.write("x\n")
    os.chmod("result", 0o666)
    breach_if(os.lstat("result").st_mode & 0o777 != 0o666, "chmod did nothing")


@attack("S-E06")
def output_has_an_attribute():
    with open("result", "w") as file:
        file.write("x\n")
    try:
        os.setxattr("result", "user.hidden", b"more than the content")
    except OSError:
        os.unlink("result")  # refused at the source, which is as good: no output
