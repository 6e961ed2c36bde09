"""Speaks with a listening attestor as a program that keeps to no rule of kiln's.

    ask.py ask SOCKET REQUEST [FILE…]     sends the JSON in REQUEST with the files' descriptors; prints the answer
    ask.py between SOCKET OURS SAVED      stands between a build and the attestor, keeps the request in SAVED,
                                          makes SAVED.busy when the user has too many connections, and
                                          SAVED.gone when a build does not wait for the attestor's end
    ask.py stall SOCKET COUNT READY       opens COUNT connections, sends half a header, waits to be killed
    ask.py many SOCKET COUNT REQUEST      sends it COUNT times, each by a connection of its own; prints the answers
    ask.py raw SOCKET HEX                 sends these bytes; prints what comes
    ask.py linger SOCKET COUNT READY      leaves COUNT connections to whoever is listened to by, in each a descriptor
                                          that lingers when its last holder closes it; makes READY and holds its peers
    ask.py hand SOCKET REQUEST            sends the JSON in REQUEST with such a descriptor; prints the answer
    ask.py start listen|stdin PATH MODE CMD…   binds PATH and starts CMD with the socket, as a service manager does
"""

import array
import os
import select
import signal
import socket
import struct
import sys


def whole(peer, size):
    data = b""
    while len(data) < size:
        piece = peer.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return data


def connect(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def send(peer, body, descriptors):
    header = struct.pack(">II", len(body), len(descriptors))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        peer.sendmsg([header], rights)
        peer.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before anything was read; the answer says why


def receive(peer):
    try:
        header = whole(peer, 8)
    except ConnectionResetError:
        return None
    return header and whole(peer, struct.unpack(">II", header)[0])


def ask(path, request, *files):
    peer = connect(path)
    body = open(request, "rb").read()
    send(peer, body, [os.open(file, os.O_RDONLY) for file in files])
    answer = receive(peer)
    if answer is None:
        sys.exit("no answer")
    sys.stdout.buffer.write(answer)


def between(path, ours, saved):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(ours + ".new")
    listener.listen(8)
    os.rename(ours + ".new", ours)
    while True:
        build, _ = listener.accept()
        attestor = connect(path)
        while True:
            header, descriptors, _, _ = socket.recv_fds(build, 8, 64)
            if not header:
                ends = select.poll()
                ends.register(build, 0)
                if ends.poll(0):
                    open(saved + ".gone", "w").close()
                break
            body = whole(build, struct.unpack(">II", header)[0])
            if b'"sign"' in body[:16]:
                open(saved, "wb").write(body)
            send(attestor, body, descriptors)
            answer = receive(attestor)
            if b"connections already" in answer:
                open(saved + ".busy", "w").close()
            build.sendall(struct.pack(">II", len(answer), 0) + answer)
        try:
            attestor.shutdown(socket.SHUT_WR)
            attestor.recv(1)
        except OSError:
            pass  # it was refused, and closed by the other end
        attestor.close()
        build.close()


def stall(path, count, ready):
    peers = [connect(path) for _ in range(int(count))]
    for peer in peers:
        peer.sendall(b"\0\0\0\1")
    open(ready, "w").close()
    signal.pause()


def many(path, count, request):
    body = open(request, "rb").read()
    for _ in range(int(count)):
        peer = connect(path)
        send(peer, body, [])
        print((receive(peer) or b"no answer").decode())
        # It counts until the other end has closed it, which kiln waits for as well.
        try:
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)
        except OSError:
            pass  # it was refused, and closed by the other end
        peer.close()


def raw(path, text):
    peer = connect(path)
    peer.sendall(bytes.fromhex(text))
    answer = receive(peer)
    if answer is None:
        sys.exit("no answer")
    sys.stdout.buffer.write(answer)


def lingering():
    """Returns an end of a connection that keeps whoever closes it waiting for an hour, and the other end."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    ours.connect(listener.getsockname())
    theirs, _ = listener.accept()
    ours.setblocking(False)
    try:
        while True:
            ours.send(b"x" * 65536)
    except BlockingIOError:
        pass  # nobody reads, so what was sent last waits
    return ours, theirs


def hold(ready):
    open(ready, "w").close()
    signal.alarm(120)  # so that a test that fails does end
    signal.pause()


def linger(path, count, ready):
    held = []
    for _ in range(int(count)):
        ours, theirs = lingering()
        peer = connect(path)
        # A header that announces nothing, and the descriptor with it.
        send(peer, b"", [ours.fileno()])
        ours.close()
        held += [peer, theirs]
    hold(ready)


def hand(path, request):
    signal.alarm(120)  # so that a test that fails does end
    ours, theirs = lingering()
    peer = connect(path)
    body = open(request, "rb").read()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ours.fileno()]))]
    peer.sendmsg([struct.pack(">II", len(body), 1)], rights)
    ours.close()  # before the attestor can have closed its own, which then is the last
    peer.sendall(body)
    answer = receive(peer)
    if answer is None:
        sys.exit("no answer")
    sys.stdout.buffer.write(answer)
    theirs.close()


def start(how, path, mode, *command):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    os.chmod(path, int(mode, 8))
    number = 0 if how == "stdin" else 3
    if number == listener.fileno():
        os.set_inheritable(number, True)
    else:
        os.dup2(listener.fileno(), number)
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"} if number else {}
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    verbs = [ask, between, stall, many, raw, linger, hand, start]
    {verb.__name__: verb for verb in verbs}[sys.argv[1]](*sys.argv[2:])
