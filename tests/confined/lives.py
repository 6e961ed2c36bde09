"""Runs confined builds in a container that try to outlive their end, and looks for what is left.

Prints one line a case: `held`, or what was found. Waits by looking, never by sleeping.
"""

import os
import signal
import subprocess

STORE = os.environ["KILN_STORE"]
# Each pid namespace has a block of users of its own.
BLOCK = 1_879_100_001 + os.stat("/proc/self/ns/pid").st_ino % (1 << 24) * 128
FIRST, LAST = BLOCK + 1, BLOCK + 64
# One for each of those.
KILLERS = range(BLOCK + 65, BLOCK + 129)
# The kernel's, and the store of the other tests' containers.
OTHERS = ("/proc", "/sys", "/var/kiln")
HEAD = "kiln: 1\nname: lives\nenvironment:\n  host: {packages: [python3]}\nsteps:\n"
BUILD = ["kiln", "build", "--backend", "confined", "--no-cache", "--no-sign"]

DAEMON = """
import os, signal
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        open("/build/alive", "w").close()
        signal.pause()
    os._exit(0)
while not os.path.exists("/build/alive"):
    pass
os.makedirs("/build/deep")
os.chdir("/build/deep")
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
os.chdir("/build")
os.mkdir("shut")
open("shut/file", "w").close()
os.chmod("shut", 0)
for place in ("/tmp/left", "/dev/shm/left"):
    open(place, "w").close()
os.symlink("/etc", "/build/link")
open("out", "w").write("ok\\n")
"""
KILL_ALL = """
import os
try:
    os.kill(-1, 9)
except OSError:
    pass
open("out", "w").write("ok\\n")
"""
HANG = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
os.setpgid(0, 0)
signal.pause()
"""


def step(text, more=""):
    body = "".join(f"      {line}\n" for line in text.strip().splitlines())
    with open("step.py", "w", encoding="utf-8") as file:
        file.write(text)
    outputs = "    outputs: {out: out}\nartifacts:\n  - {file: lives.out}\n"
    with open("kiln.yaml", "w", encoding="utf-8") as file:
        file.write(f"{HEAD}  - name: lives\n    run: |\n      python3 - <<'END'\n{body}      END\n{more}{outputs}")


def of_steps():
    """Returns the living processes that have a user of a step's."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/status", encoding="utf-8") as file:
                lines = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue
        users = [int(user) for user in lines["Uid"].split()]
        # Not the one that kills them, which is theirs in one role only and ends at once.
        if users[0] not in KILLERS and any(FIRST <= user <= LAST for user in users) and "Z" not in lines["State"]:
            found.append(int(name))
    return found


def left():
    """Returns everything that is left of steps: processes, files of their users, folders of theirs."""
    found = [f"process {pid}" for pid in of_steps()]
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in OTHERS]
        for name in folders + files:
            path = os.path.join(folder, name)
            if FIRST <= os.lstat(path).st_uid <= LAST:
                found.append(path)
    slots = os.path.join(STORE, "confined")
    for slot in os.listdir(slots):
        for name in os.listdir(os.path.join(slots, slot)):
            root = os.path.join(slots, slot, name)
            steps = ("build", "tmp", "kiln", "dev/shm")
            found += [place for place in steps if os.path.exists(os.path.join(root, place))]
            found += [name] if not name.startswith(("root-", "seal-root-")) else []
    return found


def told(name, wrong):
    print(name, "held" if not wrong else wrong, flush=True)


def build(code):
    ran = subprocess.run(BUILD, capture_output=True, text=True, check=False)
    return [] if ran.returncode == code else [f"exit {ran.returncode}: {ran.stderr}"]


def started():
    """Starts a build and returns once its step has two processes."""
    running = subprocess.Popen(BUILD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(of_steps()) < 3 and running.poll() is None:
        pass
    return running


def main():
    step(DAEMON)
    told("daemon", build(0) + left())
    slot = os.path.join(STORE, "confined/slot-00")
    root = next(name for name in os.listdir(slot) if name.startswith("root-"))
    passwd = os.path.join(slot, root, "etc/passwd")
    made = os.stat(passwd).st_ino
    step(KILL_ALL)
    told("kill-all", build(1) + left())
    step(HANG, "    timeout: 2s\n")
    told("hang", build(1) + left())
    step("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n",
         "    timeout: 2s\n    resources: {pids: 64}\n")
    told("bomb", build(1) + left())
    step(HANG)
    running = started()
    running.send_signal(signal.SIGINT)
    told("cancel", ([] if running.wait() == 130 else [f"exit {running.returncode}"]) + left())
    # A kiln that is killed cannot clean up: its step ends all the same, and the next build removes the rest.
    running = started()
    running.kill()
    running.wait()
    while of_steps():
        pass
    step("open('out', 'w').write('ok\\n')")
    told("killed", build(0) + left())
    # Its warden too: the next build ends the step.
    step(HANG)
    running = started()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if file.read().startswith(b"kiln: sandbox child"):
                    os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue
    running.kill()
    running.wait()
    survivors = set(of_steps())
    running = subprocess.Popen(BUILD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not set(of_steps()) - survivors and running.poll() is None:
        pass
    together = survivors & set(of_steps())
    running.send_signal(signal.SIGINT)
    wrong = [f"{together} lived beside the next step"] if together else []
    wrong += [] if running.wait() == 130 else [f"exit {running.returncode}"]
    told("warden", wrong + left() + ([] if survivors else ["nothing survived to be found"]))
    told("reused", [] if os.stat(passwd).st_ino == made else ["the prepared root was made again"])
    with open(passwd, "a", encoding="utf-8") as file:
        file.write("changed\n")
    step("assert 'changed' not in open('/etc/passwd').read()\nopen('out', 'w').write('ok\\n')")
    told("changed-root", build(0) + left())


main()
