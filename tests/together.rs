//! Builds at the same time: nothing runs twice, and nobody writes into another's output folder.

use serde_json::Value;

use crate::support::{Ran, Who, World};

/// Starts kiln in each of the folders that it is given, one after another, each as soon as the one before
/// said a word, or its step began; then does to each what it is told, lets the steps end, and prints what
/// became of all as JSON. A step ends when its `sleep` is killed, and not before, however slow the host is.
///
/// A line of the plan: folder, word to wait for, what is done once all were started (`kill`, `int`,
/// `later` for another build file, nothing), arguments.
const DRIVER: &str = r#"
import json, os, signal, subprocess, sys, threading
kiln, plan, mark = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].encode()
def read(pid, name):
    try:
        return open(f"/proc/{pid}/{name}", "rb").read()
    except OSError:
        return b""
def let_steps_end():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if read(pid, "cmdline").startswith(b"sleep\0") and mark in read(pid, "environ"):
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
class One:
    def __init__(self, folder, word, arguments):
        self.folder, self.lines, self.heard = folder, [], threading.Event()
        self.out = open(f"{folder}/stdout-{len(arguments)}-{id(self)}", "w+")
        self.run = subprocess.Popen([kiln, *arguments], cwd=folder, stdout=self.out, stderr=subprocess.PIPE, text=True)
        self.word, self.reader = word, threading.Thread(target=self.read)
        self.reader.start()
    def read(self):
        for line in self.run.stderr:
            self.lines.append(line)
            if self.word in line or "has begun" in line:
                self.heard.set()
        self.heard.set()
    def end(self):
        code = self.run.wait()
        self.reader.join()
        self.out.seek(0)
        os.unlink(self.out.name)
        return {"pid": self.run.pid, "code": code, "stdout": self.out.read(), "stderr": "".join(self.lines)}
runs = []
for folder, word, _, arguments in plan:
    runs.append(One(folder, word, arguments))
    runs[-1].heard.wait()
for one, (_, _, act, _) in zip(runs, plan):
    if act == "kill":
        one.run.kill()
    if act == "later":
        os.rename(f"{one.folder}/later", f"{one.folder}/kiln.yaml")
    if act == "int":
        one.run.send_signal(signal.SIGINT)
        one.run.wait()
while any(one.run.poll() is None for one in runs):
    let_steps_end()
print(json.dumps([one.end() for one in runs]))
"#;

/// What a kiln of the driver's came to.
struct Ended {
    pid: u64,
    code: i64,
    told: Value,
    stderr: String,
}

impl Ended {
    /// Returns the state of a step.
    fn state(&self, step: &str) -> &str {
        self.told["steps"][step]["state"].as_str().unwrap_or("none")
    }
}

fn drive(world: &World, plan: &[(&str, &str, &str, &[&str])]) -> Vec<Ended> {
    let project = world.path("project");
    let folder = |below: &str| project.join(below).to_str().expect("UTF-8").to_owned();
    let plan: Vec<_> = plan
        .iter()
        .map(|(below, word, act, arguments)| {
            serde_json::json!([folder(below), word, act, arguments])
        })
        .collect();
    let kiln = world.path("bin/kiln");
    let plan = Value::Array(plan).to_string();
    let driver = ["python3", "-c", DRIVER, kiln.to_str().expect("UTF-8"), &plan, &world.token];
    let ran: Ran = world.run(&driver, &[]).exits(0);
    let ends: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let text = |end: &Value, key: &str| end[key].as_str().expect("text").to_owned();
    ends.iter()
        .map(|end| Ended {
            pid: end["pid"].as_u64().expect("a number"),
            code: end["code"].as_i64().expect("a number"),
            told: serde_json::from_str(&text(end, "stdout")).unwrap_or(Value::Null),
            stderr: text(end, "stderr"),
        })
        .collect()
}

/// A project in a folder of its own. Its step says a word, lasts until it is let go, and is of this world
/// alone; only the project's name differs.
fn project(world: &World, below: &str) {
    world.write(&format!("{below}/src/input"), "x\n");
    world.write(
        &format!("{below}/kiln.yaml"),
        &format!(
            "kiln: 1\nname: {below}\nsources: {{src: {{local: src}}}}\nsteps:\n  - name: slow\n    env: {{KILN_TEST: {}}}\n    \
             run: |\n      echo has begun\n      sleep 1000 || true\n      cp input out\n    outputs: {{out: out}}\n\
             artifacts: [{{file: slow.out}}]\n",
            world.token
        ),
    );
    world.kiln(&["-C", below, "lock"]).exits(0);
}

const BUILD: &[&str] = &["-v", "build", "--no-sign", "--json"];

#[test]
fn two_builds_never_run_one_action_at_once() {
    for who in Who::all() {
        let world = World::warm(who);
        project(&world, "one");
        project(&world, "two");
        let ends =
            drive(&world, &[("one", "has begun", "", BUILD), ("two", "waits for", "", BUILD)]);
        let [one, two] = ends.as_slice() else { panic!("two") };
        assert_eq!((one.code, two.code), (0, 0), "{}{}", one.stderr, two.stderr);
        assert_eq!((one.state("slow"), two.state("slow")), ("passed", "cached"), "{who:?}");
        let by = two.told["steps"]["slow"]["cached_from"].as_str();
        assert_eq!(by, one.told["id"].as_str(), "{who:?}");
        let waits = format!("step slow: waits for process {}, which runs the same", one.pid);
        assert_eq!(two.stderr.matches(&waits).count(), 1, "{}", two.stderr);
    }
}

#[test]
fn a_killed_build_gives_its_turn_and_its_folder_back() {
    for who in Who::all() {
        let world = World::warm(who);
        project(&world, "one");
        project(&world, "two");
        // The second waits for the action, the third for the output folder of the first.
        let ends = drive(
            &world,
            &[
                ("one", "has begun", "kill", BUILD),
                ("two", "waits for", "", BUILD),
                ("one", "is in use", "", BUILD),
            ],
        );
        let [one, two, three] = ends.as_slice() else { panic!("three") };
        assert_eq!((one.code, two.code, three.code), (-9, 0, 0), "{}{}", two.stderr, three.stderr);
        // One of the two runs it, the other finds it.
        let mut states = [two.state("slow"), three.state("slow")];
        states.sort_unstable();
        assert_eq!(states, ["cached", "passed"], "{who:?}: {}{}", two.stderr, three.stderr);
        assert_eq!(world.read("one/kiln-out/out"), "x\n");
    }
}

#[test]
fn the_second_build_of_a_project_waits_and_then_has_nothing_to_do() {
    for who in Who::all() {
        let world = World::warm(who);
        project(&world, "one");
        let ends =
            drive(&world, &[("one", "has begun", "", BUILD), ("one", "is in use", "", BUILD)]);
        let [one, two] = ends.as_slice() else { panic!("two") };
        assert_eq!((one.code, two.code), (0, 0), "{}{}", one.stderr, two.stderr);
        let waits = format!("kiln-out is in use: waits for process {}", one.pid);
        assert_eq!(two.stderr.matches(&waits).count(), 1, "{}", two.stderr);
        assert_eq!((one.state("slow"), two.state("slow")), ("passed", "cached"), "{who:?}");
        let lists = world.kiln(&["-C", "one", "show", "--json"]).exits(0);
        assert!(lists.says(one.told["id"].as_str().expect("an id")), "the second kept no build");
    }
}

#[test]
fn a_wait_for_the_output_folder_can_be_interrupted() {
    for who in Who::all() {
        let world = World::warm(who);
        project(&world, "one");
        let ends =
            drive(&world, &[("one", "has begun", "", BUILD), ("one", "is in use", "int", BUILD)]);
        let [one, two] = ends.as_slice() else { panic!("two") };
        assert_eq!((one.code, two.code), (0, 130), "{}{}", one.stderr, two.stderr);
        let why = &two.told["errors"][0]["why"];
        assert_eq!(why, "it waited for the output folder", "{:#}", two.told);
        assert_eq!(world.read("one/kiln-out/out"), "x\n");
    }
}

/// The second reads the build file again: what it was started with may not be what is there.
#[test]
fn whoever_waited_builds_what_is_there_then() {
    let world = World::warm(Who::all()[0]);
    project(&world, "one");
    let later = world.read("one/kiln.yaml").replace("cp input out", "echo later > out");
    world.write("one/later", &later);
    let ends =
        drive(&world, &[("one", "has begun", "", BUILD), ("one", "is in use", "later", BUILD)]);
    assert_eq!((ends[0].code, ends[1].code), (0, 0), "{}", ends[1].stderr);
    assert_eq!(world.read("one/kiln-out/out"), "later\n", "{}", ends[1].stderr);
}

/// What it then asks for is refused as it would have been at once.
#[test]
fn whoever_waited_writes_over_no_build_file_that_came_meanwhile() {
    let world = World::warm(Who::all()[0]);
    project(&world, "one");
    let named = "[{file: slow.out, name: kiln.yaml}]";
    let later = world.read("one/kiln.yaml").replace("[{file: slow.out}]", named);
    world.write("one/later", &later);
    let here = [BUILD, &["-o", "."]].concat();
    let here = here.as_slice();
    let ends =
        drive(&world, &[("one", "has begun", "", here), ("one", "is in use", "later", here)]);
    assert_eq!((ends[0].code, ends[1].code), (0, 2), "{}", ends[1].stderr);
    assert!(ends[1].told.to_string().contains("written over kiln.yaml"), "{:#}", ends[1].told);
    assert_eq!(world.read("one/kiln.yaml"), later);
}

#[test]
fn steps_of_one_action_run_once_in_a_build() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        world.write(
            "kiln.yaml",
            &format!(
                "kiln: 1\nname: twins\nsources: {{src: {{local: src}}}}\nmatrix: {{axis: [a, b]}}\nsteps:\n  - name: same\n    \
                 run: |\n      echo {}\n      sleep 2\n      cp input out\n    outputs: {{out: out}}\n  - name: again\n    \
                 run: |\n      echo {}\n      sleep 2\n      cp input out\n    outputs: {{other: out}}\n\
                 artifacts: [{{file: same.out, name: \"out-{{matrix.axis}}\"}}]\n",
                world.token, world.token
            ),
        );
        world.kiln(&["lock"]).exits(0);
        for arguments in [&["--jobs", "4"][..], &["--jobs", "4", "--no-cache"]] {
            let mut all = vec!["build", "--no-sign", "--json"];
            all.extend(arguments);
            let ran = world.kiln(&all).exits(0);
            let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
            let steps = told["steps"].as_object().expect("steps");
            let count = |state: &str| steps.values().filter(|step| step["state"] == state).count();
            assert_eq!((count("passed"), count("cached")), (1, 3), "{who:?}: {told:#}");
        }
    }
}
