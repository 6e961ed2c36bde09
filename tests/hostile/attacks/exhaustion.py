"""Group D: more than a step's share."""

import os
import signal
import sys
import time

from attack import attack, breach_if


@attack("S-D01")
def forks_without_end():
    """Children wait; there must be a last one."""
    count = 0
    try:
        while count < 100_000:
            if os.fork() == 0:
                time.sleep(1000)
                os._exit(0)
            count += 1
    except OSError:
        pass
    breach_if(count >= 5_000, f"{count} processes")


@attack("S-D01-bomb")
def forks_like_a_bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass


@attack("S-D06")
def sleeps_through_everything():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1000)


@attack("S-D07")
def leaves_a_daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            while True:  # keeps stdout open
                sys.stdout.flush()
                time.sleep(0.2)
        os._exit(0)
    os.wait()
