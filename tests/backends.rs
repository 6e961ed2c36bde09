//! One contract over every backend: the same plan gives the same Action and the same bytes, a limit
//! is told in the same words, and a step finds nothing beyond what it was given.
//!
//! The native backend is what the other is held against. `KILN_TESTS_ENGINE` runs the same over
//! another engine, such as Podman's.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::engine::{Proxy, containers, engine, info, is_podman, staging};
use crate::support::{PACKAGES, Ran, Who, World};

/// A world whose kiln reaches the engine, and the way to it.
struct Place {
    world: World,
    proxy: Proxy,
    engine: &'static Path,
}

impl Place {
    fn new(test: &str, who: Who) -> Option<Place> {
        Place::doctored(test, who, "", "")
    }

    /// With an answer of the engine's changed on its way.
    fn doctored(test: &str, who: Who, what: &str, with: &str) -> Option<Place> {
        let engine = engine(test)?;
        let world = World::cold(who);
        let proxy = Proxy::listen(&world, engine, what, with);
        Some(Place { world, proxy, engine })
    }

    fn kiln(&self, arguments: &[&str]) -> Ran {
        self.world.kiln_with(arguments, &[("DOCKER_HOST", &self.proxy.host())])
    }

    /// Builds without a key on one backend, past the cache.
    fn build(&self, backend: &str) -> Ran {
        self.kiln(&["build", "--no-sign", "--no-cache", "--explain", "--backend", backend])
    }

    /// Fails if the engine or the store still has something of a run.
    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(containers(self.engine, &self.world), Vec::<String>::new(), "containers");
        assert_eq!(staging(&self.world), Vec::<String>::new(), "staging folders");
    }
}

/// The packages of these environments: few, since each test brings them into a store of its own.
const FEW: &str = "[python3]";

fn build_file(run: &str, outputs: &str, artifacts: &str) -> String {
    build_file_with(run, outputs, artifacts, "")
}

fn build_file_with(run: &str, outputs: &str, artifacts: &str, more: &str) -> String {
    crate::support::build_file_with(run, outputs, artifacts, more).replace(PACKAGES, FEW)
}

/// Returns the Action digests that `--explain` tells, short.
fn actions(ran: &Ran) -> Vec<String> {
    let words = ran.stderr.split_whitespace().collect::<Vec<_>>();
    let after = words.windows(2).filter(|pair| pair[0] == "action");
    after.map(|pair| pair[1].trim_end_matches(')').to_owned()).collect()
}

#[test]
fn every_example_gives_the_same_bytes_on_every_backend() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for who in Who::all() {
        for entry in fs::read_dir(&examples).expect("they are there").flatten() {
            if !entry.path().join("kiln.yaml").exists() {
                continue;
            }
            let Some(place) = Place::new("every example", who) else { return };
            for file in fs::read_dir(entry.path()).expect("it can be read").flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                place.world.write(&name, &fs::read_to_string(file.path()).expect("text"));
            }
            let native = place.build("native").exits(0);
            let sums = place.world.read("kiln-out/SHA256SUMS");
            let docker = place.build("docker").exits(0);
            assert_eq!(place.world.read("kiln-out/SHA256SUMS"), sums, "{}", entry.path().display());
            assert!(!actions(&native).is_empty(), "{}", native.stderr);
            assert_eq!(actions(&native), actions(&docker));
            place.is_clean();
        }
    }
}

const TELL: &str = include_str!("backends/tell.py");

#[test]
fn a_step_finds_the_same_place_on_every_backend() {
    for who in Who::all() {
        let Some(place) = Place::new("the same place", who) else { return };
        for (name, text) in [("data", "some data\n"), ("tool", "#!/bin/sh\n"), ("sub/deep", "x\n")]
        {
            place.world.write(&format!("src/{name}"), text);
        }
        let run = format!("chmod 755 src/tool\npython3 - > told <<'END'\n{TELL}END");
        let more = "    mount: {src: src}\n    env: {HOSTNAME: own, TERM: dumb}\n";
        let file = build_file_with(&run, "{told: told}", "[{file: attack.told}]", more);
        place.world.write("kiln.yaml", &file);
        let native = place.build("native").exits(0);
        let told = place.world.read("kiln-out/told");
        assert!(told.contains("loopback works") && told.contains("fifo works"), "control: {told}");
        let docker = place.build("docker").exits(0);
        let mut theirs = place.world.read("kiln-out/told");
        if is_podman(place.engine) {
            // It gives no owner to one: docs/backends.md.
            theirs = theirs.replace("entry /tmp drwxrwxrwt 0 0", "entry /tmp drwxrwxrwt 1000 1000");
        }
        assert_eq!(told, theirs);
        assert_eq!(actions(&native), actions(&docker));
        place.is_clean();
    }
}

/// What a step is refused or stopped for: name, command, keys of the step, the code.
const ENDS: [(&str, &str, &str, &str); 10] = [
    ("fails", "echo out; echo err >&2; exit 3", "", "KILN-0401"),
    ("no such program", "nonesuch", "", "KILN-0401"),
    ("killed", "kill -9 $$", "", "KILN-0401"),
    ("too long", "sleep 600", "    timeout: 2s\n", "KILN-0404"),
    (
        "deaf and too long",
        "trap '' TERM; while :; do sleep 1; done",
        "    timeout: 2s\n",
        "KILN-0404",
    ),
    ("silent", "sleep 600", "    resources: {idle: 2s}\n", "KILN-0404"),
    (
        "too much memory",
        "python3 -c 'x = bytearray(900 << 20)'",
        "    resources: {memory: 128Mi}\n",
        "KILN-0405",
    ),
    (
        "too much on disk",
        "i=0; while [ $i -lt 400 ]; do head -c 1000000 /dev/zero > f$i || exit 1; i=$((i+1)); done; sleep 600",
        "    resources: {disk: 100Mi}\n    timeout: 60s\n",
        "KILN-0406",
    ),
    ("a pipe as output", "mkfifo out", "", "KILN-0407"),
    ("a set-id output", "python3 -c 'import ctypes; pass'; mkdir out", "", "KILN-0402"),
];

#[test]
fn a_limit_is_told_in_the_same_words_on_every_backend() {
    for who in Who::all() {
        let Some(place) = Place::new("the same words", who) else { return };
        place.world.write("src/data", "some data\n");
        let needs_cgroup = who == Who::User;
        // An engine of a user's own makes no control groups of version 1, whatever it says.
        let owner = fs::metadata(place.engine).expect("its socket").uid();
        let counts = owner == 0 || info(place.engine)["CgroupVersion"] == "2";
        for (name, run, more, code) in ENDS {
            let file = build_file_with(run, "{out: out}", "[{file: attack.out}]", more);
            place.world.write("kiln.yaml", &file);
            let counted = counts || code != "KILN-0405";
            let (end, told) = if counted { (1, code) } else { (7, "KILN-0504") };
            let docker = place.build("docker").exits(end);
            assert!(docker.stderr.contains(told), "{name}: {}", docker.stderr);
            // Memory is not limited natively for somebody without a control group.
            if !(needs_cgroup && code == "KILN-0405") {
                let native = place.build("native").exits(1);
                assert!(native.stderr.contains(code), "{name}, native: {}", native.stderr);
            }
            place.is_clean();
        }
    }
}

/// One that is refused space may take no notice, and its result would say more of the limit than of its inputs.
#[test]
fn nobody_is_refused_a_byte_of_a_file_at_the_limit_and_passes() {
    let Some(place) = Place::new("a limit met in silence", Who::all()[0]) else { return };
    place.world.write("src/data", "some data\n");
    let more = "    resources: {disk: 64Mi}\n    timeout: 60s\n";
    let act = |mib: u64, then: &str| {
        let write = format!("trap '' XFSZ; head -c {} /dev/zero > big", mib << 20);
        format!("if {write}; then {then} echo given > out; else rm -f big; echo refused > out; fi")
    };
    let build = |run: &str| {
        let file = build_file_with(run, "{out: out}", "[{file: attack.out}]", more);
        place.world.write("kiln.yaml", &file);
        place.build("docker")
    };
    build(&act(32, "")).exits(0);
    assert_eq!(place.world.read("kiln-out/out"), "given\n", "control");
    // It stays: whatever came between, it is counted when the step is dead.
    let ran = build(&act(160, "")).exits(1);
    assert!(ran.stderr.contains("KILN-0406"), "{}", ran.stderr);
    // It goes at once: it was seen and stopped, or it was refused nothing.
    let ran = build(&act(160, "rm big;"));
    match ran.code {
        0 => assert_eq!(place.world.read("kiln-out/out"), "given\n", "{}", ran.stderr),
        _ => assert!(ran.stderr.contains("KILN-0406"), "{}", ran.stderr),
    }
    place.is_clean();
}

#[test]
fn output_is_the_same_and_cut_at_its_limit() {
    let Some(place) = Place::new("output", Who::all()[0]) else { return };
    place.world.write("src/data", "some data\n");
    let run = "echo first; head -c 300000 /dev/zero | tr '\\0' x; echo last; echo > out";
    let more = "    resources: {log: 4Ki}\n";
    place
        .world
        .write("kiln.yaml", &build_file_with(run, "{out: out}", "[{file: attack.out}]", more));
    let mut logs = Vec::new();
    for backend in ["native", "docker"] {
        place.build(backend).exits(0);
        logs.push(place.kiln(&["log", "^0", "attack"]).exits(0).stdout);
    }
    assert!(logs[0].contains("first") && !logs[0].contains("last"), "{}", logs[0].len());
    assert_eq!(logs[0], logs[1]);
}

/// An answer of the engine's that says something else than what was asked for, one field each.
const DOCTORED: [(&str, &str); 9] = [
    ("\"Privileged\":false", "\"Privileged\":true "),
    ("\"NetworkMode\":\"none\"", "\"NetworkMode\":\"host\""),
    ("\"ReadonlyRootfs\":true", "\"ReadonlyRootfs\":null"),
    ("\"CapDrop\":[\"ALL\"]", "\"CapDrop\":[\"KIL\"]"),
    ("\"no-new-privileges\"", "\"old-new-privileges"),
    ("\"User\":\"1000:1000\"", "\"User\":\"1000:0\"   "),
    ("\"RW\":false", "\"RW\":true "),
    ("\"Propagation\":\"rprivate\"", "\"Propagation\":\"rshared\" "),
    ("\"defaultErrnoRet\\\":1", "\"defaultErrnoRet\\\":0"),
];

#[test]
fn a_container_that_differs_in_one_field_is_never_started() {
    let mut looked = 0;
    for (what, with) in DOCTORED {
        let with = if with.len() == what.len() { with.to_owned() } else { format!("{with}\"") };
        let Some(place) = Place::doctored("one field", Who::all()[0], what, &with) else { return };
        place.world.write("src/data", "some data\n");
        let file = build_file("echo ran; echo > out", "{out: out}", "[{file: attack.out}]");
        place.world.write("kiln.yaml", &file);
        let ran = place.build("docker");
        if ran.code == 0 && is_podman(place.engine) && !place.proxy.changed() {
            println!("this engine does not say {what}");
            continue;
        }
        looked += 1;
        let ran = ran.exits(7);
        assert!(ran.stderr.contains("KILN-0505"), "{what}: {}", ran.stderr);
        assert!(!ran.stderr.contains("ran\n"), "{what}: {}", ran.stderr);
        assert!(!place.world.path("project/kiln-out/out").exists(), "{what}");
        place.is_clean();
    }
    assert!(looked >= DOCTORED.len() - 4, "{looked}");
}

/// S-A23: no key of a build file leads to a privilege, and the request holds none.
#[test]
fn nothing_in_a_build_file_leads_to_a_privilege_of_the_engine() {
    let Some(place) = Place::new("S-A23", Who::all()[0]) else { return };
    place.world.write("src/data", "some data\n");
    let keys = [
        "privileged: true",
        "network: host",
        "network_mode: host",
        "pid: host",
        "ipc: host",
        "devices: [/dev/kmsg]",
        "cap_add: [ALL]",
        "capabilities: [ALL]",
        "binds: [/:/host]",
        "volumes: [/:/host]",
        "security_opt: [seccomp=unconfined]",
        "userns: host",
        "user: root",
        "HostConfig: {Privileged: true}",
        "backend: docker",
        "runtime: runsc",
        "sysctls: {a: b}",
    ];
    for key in keys {
        let more = format!("    {key}\n");
        let file = build_file_with("echo > out", "{out: out}", "[{file: attack.out}]", &more);
        place.world.write("kiln.yaml", &file);
        place.build("docker").exits(2);
    }
    assert_eq!(place.proxy.created(), Vec::<Value>::new(), "a container was asked for");
    let file = build_file("echo > out", "{out: out}", "[{file: attack.out}]");
    place.world.write("kiln.yaml", &file);
    place.build("docker").exits(0);
    let asked = place.proxy.created();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    let host = asked["HostConfig"].as_object().expect("a host config");
    let staging = place.world.store.join("staging").display().to_string();
    for mount in host["Mounts"].as_array().expect("mounts") {
        assert_eq!(mount["Type"], "bind");
        assert!(mount["Source"].as_str().expect("a source").starts_with(&staging), "{mount}");
    }
    for (field, value) in [
        ("Privileged", Value::from(false)),
        ("NetworkMode", "none".into()),
        ("IpcMode", "private".into()),
        ("ReadonlyRootfs", true.into()),
        ("CapDrop", vec!["ALL"].into()),
    ] {
        assert_eq!(host[field], value, "{field}");
    }
    if !is_podman(place.engine) {
        let own = serde_json::json!({
            "net.ipv4.ip_unprivileged_port_start": "1024",
            "net.ipv4.ping_group_range": "1 0",
        });
        assert_eq!(host["Sysctls"], own);
    }
    for field in [
        "CapAdd",
        "Devices",
        "DeviceRequests",
        "Binds",
        "PidMode",
        "UTSMode",
        "Links",
        "VolumesFrom",
        "ExtraHosts",
        "GroupAdd",
        "Runtime",
        "DeviceCgroupRules",
        "PortBindings",
        "CgroupParent",
    ] {
        assert!(!host.contains_key(field), "{field}: {}", host[field]);
    }
    place.is_clean();
}

/// A build whose step has begun, and which goes on until it is ended.
struct Begun {
    child: std::process::Child,
    /// kiln's own number: `timeout` is what was started.
    kiln: u32,
}

impl Begun {
    fn start(place: &Place) -> Begun {
        place.world.write("src/data", "some data\n");
        let slow = build_file("echo begun; sleep 600", "{out: out}", "[{file: attack.out}]");
        place.world.write("kiln.yaml", &slow);
        let program = place.world.path("bin/kiln");
        let kiln = program.to_str().expect("UTF-8");
        let host = place.proxy.host();
        let arguments = [kiln, "build", "-v", "--no-sign", "--backend", "docker"];
        let mut child = place.world.command(&arguments, &[("DOCKER_HOST", &host)]);
        let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
        let mut said = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("begun") {
            line.clear();
            let count = std::io::BufRead::read_line(&mut said, &mut line).expect("text");
            assert!(count > 0, "it ended before the step began");
        }
        let [kiln] = children(child.id())[..] else { panic!("timeout starts one program") };
        Begun { child, kiln }
    }

    /// Kills kiln, and what it started before it if `all`.
    fn kill(mut self, all: bool) {
        let mut dying = if all { children(self.kiln) } else { Vec::new() };
        dying.push(self.kiln);
        let numbers: Vec<String> = dying.iter().map(ToString::to_string).collect();
        let killed = std::process::Command::new("kill").arg("-9").args(&numbers).status();
        assert!(killed.expect("kill starts").success(), "{numbers:?}");
        let _ = self.child.wait();
    }
}

/// Returns the numbers of a process's children.
fn children(of: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{of}\n");
    let numbers = fs::read_dir("/proc").expect("/proc is there").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |number: &u32| {
        let status = fs::read_to_string(format!("/proc/{number}/status"));
        status.is_ok_and(|status| status.contains(&parent))
    };
    numbers.filter(is_child).collect()
}

#[test]
fn what_a_killed_kiln_left_is_removed_by_the_next() {
    for who in Who::all() {
        let Some(place) = Place::new("a killed kiln", who) else { return };
        let begun = Begun::start(&place);
        assert_eq!(containers(place.engine, &place.world).len(), 1, "control: a container runs");
        // A build beside it, into a folder of its own, leaves the living one alone.
        let quick = build_file("echo > out", "{out: out}", "[{file: attack.out}]");
        place.world.write("kiln.yaml", &quick);
        place.kiln(&["build", "--no-sign", "--backend", "docker", "-o", "beside"]).exits(0);
        assert_eq!(containers(place.engine, &place.world).len(), 1, "the living one was removed");
        begun.kill(true);
        assert_eq!(containers(place.engine, &place.world).len(), 1, "control: it left one");
        place.build("docker").exits(0);
        place.is_clean();
    }
}

#[test]
fn container_of_a_killed_kiln_ends_by_itself() {
    for who in Who::all() {
        let Some(place) = Place::new("a killed kiln alone", who) else { return };
        let begun = Begun::start(&place);
        assert_eq!(containers(place.engine, &place.world).len(), 1, "control: a container runs");
        begun.kill(false);
        // Nobody builds: it goes all the same.
        while !containers(place.engine, &place.world).is_empty() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_interrupted_build_leaves_no_container() {
    let Some(place) = Place::new("an interrupted build", Who::all()[0]) else { return };
    place.world.write("src/data", "some data\n");
    let slow = build_file(
        "trap '' INT TERM; echo begun; while :; do sleep 1; done",
        "{out: out}",
        "[{file: attack.out}]",
    );
    place.world.write("kiln.yaml", &slow);
    let program = place.world.path("bin/kiln");
    let kiln = program.to_str().expect("UTF-8");
    let host = place.proxy.host();
    let arguments = [kiln, "build", "-v", "--no-sign", "--backend", "docker"];
    let mut child = place.world.command(&arguments, &[("DOCKER_HOST", &host)]);
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut said = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("begun") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).expect("text") > 0, "it ended");
    }
    place.world.run(&["pkill", "-INT", "-f", &format!("^{kiln}")], &[]);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest}");
    place.is_clean();
}

#[test]
fn evidence_names_the_backend_and_its_own_builder() {
    let Some(place) = Place::new("evidence", Who::all()[0]) else { return };
    place.world.write("src/data", "some data\n");
    let file = build_file("cp src/data out", "{out: out}", "[{file: attack.out}]");
    let file = file.replace("    outputs", "    mount: {src: src}\n    outputs");
    place.world.write("kiln.yaml", &file);
    place.kiln(&["lock"]).exits(0);
    place.world.commit();
    place.world.key();
    place.kiln(&["build", "--sign", "--backend", "docker"]).exits(0);
    let details = &place.world.statement("out")["predicate"]["runDetails"];
    assert_eq!(details["builder"]["id"], "https://kiln.build/builders/local-docker/v1");
    assert_eq!(details["kiln_backend"], "docker");
    let verified = place.kiln(&["verify", "kiln-out/out"]).exits(0);
    assert!(verified.says("local-docker/v1"), "{}", verified.stdout);
    let sealed = verified.stdout.lines().find(|line| line.starts_with(" sealed by docker: "));
    assert!(sealed.is_some_and(|line| line.contains("network-none")), "{}", verified.stdout);
    let json = place.kiln(&["verify", "--json", "kiln-out/out"]).exits(0).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let network = json.pointer("/files/0/enforced/network");
    assert_eq!(network, Some(&serde_json::json!(["network-none"])), "{json}");
    let told = place.kiln(&["inspect", "kiln-out/out"]).exits(0);
    assert!(told.says("backend      docker") && told.says("network-none"), "{}", told.stdout);
    // A result that the engine made is not signed for in the name of the native sandbox.
    let native = place.kiln(&["build", "--explain"]).exits(0);
    assert!(native.says("attack: passed"), "{}", native.stderr);
    let again = place.kiln(&["build", "--explain"]).exits(0);
    assert!(again.says("attack: cached"), "control: {}", again.stderr);
}

/// As root a container's user is the host's user 1000, who looks into it by `/proc/PID/root`.
#[test]
fn an_account_that_is_the_same_user_as_the_steps_is_told() {
    for who in Who::all() {
        let Some(place) = Place::new("an account that is the steps' user", who) else { return };
        place.world.write("src/data", "x\n");
        place
            .world
            .write("kiln.yaml", &build_file("echo a > out", "{out: out}", "[{file: attack.out}]"));
        place.kiln(&["lock"]).exits(0);
        let account = Command::new("getent").args(["passwd", "1000"]).output().expect("it starts");
        let account = String::from_utf8(account.stdout).expect("UTF-8");
        let name = account.split(':').next().filter(|name| !name.is_empty() && who == Who::Root);
        for (backend, name) in [("docker", name), ("native", None)] {
            let ran = place.build(backend).exits(0);
            let told = name.map(|name| format!("the steps have the number of {name}"));
            assert!(ran.says(told.as_deref().unwrap_or_default()), "{}", ran.stderr);
            assert_eq!(ran.says("have the number of"), told.is_some(), "{backend}: {}", ran.stderr);
        }
    }
}

#[test]
fn an_engine_that_does_not_answer_is_exit_7() {
    let world = World::cold(Who::all()[0]);
    world.write("src/data", "some data\n");
    let file = build_file("echo > out", "{out: out}", "[{file: attack.out}]");
    world.write("kiln.yaml", &file);
    let nowhere = format!("unix://{}", world.path("nowhere.sock").display());
    for (host, told) in [
        (nowhere.as_str(), "no container engine answers"),
        ("tcp://192.0.2.1:2375", "DOCKER_HOST names no socket of this host"),
    ] {
        let arguments = ["build", "--no-sign", "--backend", "docker"];
        let ran = world.kiln_with(&arguments, &[("DOCKER_HOST", host)]).exits(7);
        assert!(ran.says("KILN-0506") && ran.says(told), "{}", ran.stderr);
        assert!(!ran.says("running"), "no step began: {}", ran.stderr);
    }
}

/// Whoever is asked and says nothing is not waited for once the build is to stop.
#[test]
fn a_build_that_waits_for_a_silent_engine_stops_at_the_first_signal() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", &world.token);
        world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
        let socket = world.path("silent.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        who.give(&socket);
        let host = format!("unix://{}", socket.display());
        for signal in ["TERM", "INT"] {
            let kiln = crate::support::kiln().to_str().expect("UTF-8");
            let words = [kiln, "build", "--no-sign", "--backend", "docker"];
            let mut command = world.command(&words, &[("DOCKER_HOST", &host)]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().expect("it can be started");
            // It is asked, and says nothing.
            let (engine, _) = listener.accept().expect("kiln asks");
            let mut byte = [0];
            (&engine).read_exact(&mut byte).expect("a question");
            Command::new("kill")
                .args([&format!("-{signal}"), &child.id().to_string()])
                .status()
                .expect("kill");
            let ran = Ran::of(&child.wait_with_output().expect("it ends"));
            assert_eq!(ran.code, 130, "{signal}: {}", ran.stderr);
            assert!(ran.says("KILN-0410"), "{signal}: {}", ran.stderr);
            drop(engine);
        }
    }
}
