//! A step sees its declared inputs, a fixed environment and no network; nothing of it survives.

use std::collections::BTreeMap;
use std::process::Child;

use model::Digest;
use model::reapi::decode_directory;
use model::tree::Node;
use serde_json::Value;

use crate::support::{Canaries, PACKAGES, Who, World};

/// Lists everything readable, one line each: kind, path, digest or target.
const WALKER: &str = r#"
import hashlib, os, stat
seen = []
def walk(folder):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if path in ("/proc", "/dev") or path in ("/build/walk", "/build/walk.part"):
            continue
        meta = os.lstat(path)
        if stat.S_ISLNK(meta.st_mode):
            seen.append(f"link\t{path}\t{os.readlink(path)}")
        elif stat.S_ISDIR(meta.st_mode):
            try:
                walk(path)
            except PermissionError:
                seen.append(f"closed\t{path}\t")
        elif stat.S_ISREG(meta.st_mode):
            try:
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
            except PermissionError:
                seen.append(f"closed\t{path}\t")
                continue
            kind = "program" if meta.st_mode & 0o111 else "file"
            seen.append(f"{kind}\t{path}\t{digest}")
        else:
            seen.append(f"other\t{path}\t")
walk("/")
open("walk.part", "w").write("\n".join(seen) + "\n")
os.rename("walk.part", "walk")
"#;

/// What a step can read that no tree of the provenance names, with the reason.
const UNNAMED: [(&str, &str); 1] =
    [("/kiln/script", "the step's own script: named as a dependency with the role `script`")];

#[test]
fn everything_readable_in_a_step_is_named_by_digest() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/walk.py", WALKER);
        world.write("src/sub/data", "some data\n");
        world.write(
            "kiln.yaml",
            &format!(
                "kiln: 1\nname: walk\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: \
                 {{packages: {PACKAGES}}}\nsteps:\n  - name: first\n    run: echo made > made\n    \
                 outputs: {{made: made}}\n  - name: walk\n    mount: {{src: .}}\n    from: \
                 {{first.made: from/made}}\n    run: python3 walk.py\n    outputs: {{walk: walk}}\n\
                 artifacts:\n  - {{file: walk.walk}}\n"
            ),
        );
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.key();
        world.kiln(&["build", "--sign"]).exits(0);
        let named = named_by(&world, &world.statement("walk"));
        let mut unnamed = Vec::new();
        let mut count = 0;
        for line in world.read("kiln-out/walk").lines() {
            count += 1;
            let path = line.split('\t').nth(1).expect("three fields");
            let listed = UNNAMED.iter().any(|(known, _)| *known == path);
            if named.get(path).is_none_or(|known| known != line) && !listed {
                unnamed.push(format!("{line}\n    instead of {:?}", named.get(path)));
            }
        }
        assert!(count > 1000, "the walk saw {count} entries only");
        assert!(
            unnamed.is_empty(),
            "{} of {count} entries as {who:?}:\n{}",
            unnamed.len(),
            unnamed.join("\n")
        );
    }
}

/// Returns what the provenance says the step saw, in the walker's words.
fn named_by(world: &World, statement: &Value) -> BTreeMap<String, String> {
    let definition = &statement["predicate"]["buildDefinition"];
    let mut named = BTreeMap::new();
    let environment = &definition["internalParameters"]["environments"]["default"]["sha256"];
    add_tree(world, environment, "", &mut named);
    let dependencies = definition["resolvedDependencies"].as_array().expect("a list");
    let sources = dependencies.iter().filter(|one| one["annotations"]["role"] == "source");
    let trees: Vec<&Value> = sources
        .filter(|one| one["annotations"]["digestOf"] == "reapi-v2-directory")
        .map(|one| &one["digest"]["sha256"])
        .collect();
    assert_eq!(trees.len(), 1, "one source: {dependencies:#?}");
    add_tree(world, trees[0], "/build", &mut named);
    let made = Digest::of(b"made\n").hex();
    named.insert("/build/from/made".to_owned(), format!("file\t/build/from/made\t{made}"));
    named
}

fn add_tree(world: &World, root: &Value, at: &str, named: &mut BTreeMap<String, String>) {
    let hex = root.as_str().expect("a digest");
    let output = world
        .command(
            &[
                world.path("bin/kiln").to_str().expect("UTF-8"),
                "store",
                "cat",
                &format!("sha256:{hex}"),
            ],
            &[],
        )
        .output()
        .expect("kiln starts");
    assert!(output.status.success(), "{hex}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(Digest::of(&output.stdout).hex(), hex);
    for (name, node) in decode_directory(&output.stdout).expect("a folder").entries() {
        let path = format!("{at}/{}", name.as_str());
        match node {
            Node::Directory(blob) => add_tree(world, &Value::from(blob.digest.hex()), &path, named),
            Node::Symlink(target) => {
                named.insert(path.clone(), format!("link\t{path}\t{target}"));
            }
            Node::File { blob, executable } => {
                let kind = if *executable { "program" } else { "file" };
                named.insert(path.clone(), format!("{kind}\t{path}\t{}", blob.digest.hex()));
            }
        }
    }
}

#[test]
fn step_cannot_reach_the_network() {
    for who in Who::all() {
        let world = World::warm(who);
        let script = "python3 - <<'END'\nimport socket\nprint(socket.if_nameindex())\n\
                      socket.getaddrinfo('canary.example', 443)\nEND\ntouch out";
        world.write("src/empty", "");
        world.write("kiln.yaml", &crate::support::build_file(script, "{out: out}", ""));
        world.kiln(&["lock"]).exits(0);
        let ran = world.kiln(&["build", "--no-sign"]).exits(1);
        assert!(ran.says("KILN-0403") && ran.says("canary.example"), "{}", ran.stderr);
        assert!(ran.says("(1, 'lo')") && !ran.says("(2, "), "{}", ran.stderr);
    }
}

/// The failed step says who wanted what and which input would serve; the passing one keeps it.
#[test]
fn a_blocked_network_is_told_with_process_and_remedy() {
    for who in Who::all() {
        let world = World::warm(who);
        let script = |address: &str, end: &str| {
            format!(
                "cp /usr/bin/python3 /tmp/cargo\n/tmp/cargo -c 'import socket\ntry: socket.create_connection((\"{address}\", 443))\n\
                 except OSError as error: open(\"out\", \"w\").write(str(error.errno))'\n{end}"
            )
        };
        world.write("src/empty", "");
        let file =
            |script: &str| crate::support::build_file(script, "{out: out}", "[{file: attack.out}]");
        world.write("kiln.yaml", &file(&script("192.0.2.1", "exit 101")));
        world.kiln(&["lock"]).exits(0);
        let ran = world.kiln(&["build", "--no-sign"]).exits(1);
        let (_, message) = ran.stderr.split_once("error[").expect("an error");
        let want = "KILN-0403]: step `attack` tried to reach the network
  --> kiln.yaml:9:7
   |
 9 |       cp /usr/bin/python3 /tmp/cargo
   |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  expected: all inputs present before the step starts
  got:      a TCP connection to 192.0.2.1:443 by process `cargo`; then exit
            status 101
why: it looks like a crate download, and the network is off in every step
help: keep a copy in the project; under `sources`:   crates: {local: crates}
      and in the step:       mount: {src: ., crates: .crates}
help: kiln will fetch it, but cannot yet:   crates: {lockfile: Cargo.lock}
help: whole log:  kiln log ^0 attack
";
        assert_eq!(message.trim_end(), want.trim_end());
        world.write("kiln.yaml", &file(&script("2001:db8::7", "")));
        world.key();
        let ran = world.kiln(&["build", "--sign", "--allow-dirty"]).exits(0);
        assert!(ran.says("asked in vain for [2001:db8::7]:443 by cargo"), "{}", ran.stderr);
        assert_eq!(world.read("kiln-out/out"), "101", "refused at once, as unreachable");
        let step = &world.statement("out")["predicate"]["runDetails"]["kiln_steps"]["listed"][0];
        assert_eq!(step["networkAttempts"], serde_json::json!(["[2001:db8::7]:443 by cargo"]));
    }
}

#[test]
fn two_steps_share_nothing() {
    let script = "for f in /tmp /var/tmp /dev/shm /build /run; do\n  if [ -e $f/marker ]; then echo \
                  \"$f remembers\" >&2; exit 1; fi\n  echo left > $f/marker || true\ndone\n\
                  test -e /tmp/marker\ntouch /build/out";
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/empty", "");
        let one = crate::support::build_file(script, "{out: out}", "");
        let second = one[one.find("  - name").expect("a step")..].replace("attack", "second");
        world.write("kiln.yaml", &format!("{one}{second}    needs: [attack]\n"));
        world.kiln(&["lock"]).exits(0);
        world.kiln(&["build", "--no-sign"]).exits(0);
        world.kiln(&["build", "--no-sign", "--no-cache"]).exits(0);
    }
}

#[test]
fn interrupt_leaves_nothing_behind() {
    for who in Who::all() {
        for signal in ["-INT", "-TERM"] {
            let world = World::cold(who);
            let canaries = Canaries::plant(&world);
            world.write("src/empty", "");
            let more = format!("    env: {{KILN_TEST: {}}}\n", world.token);
            let file = crate::support::build_file_with("sleep 1000", "{out: out}", "", &more);
            // The Essential packages have all that is needed.
            let file = file.replace(PACKAGES, "[]");
            world.write("kiln.yaml", &file);
            world.kiln(&["lock"]).exits(0);
            let kiln = world.path("bin/kiln");
            let kiln = kiln.to_str().expect("UTF-8");
            let mut child =
                world.command(&[kiln, "build", "--no-sign"], &[]).spawn().expect("it starts");
            let id = wait_for_step(&world, &mut child);
            // `timeout`, which is the child, hands the signal on.
            let number = child.id().to_string();
            let kill = std::process::Command::new("kill").args([signal, &number]).status();
            assert!(kill.expect("kill starts").success());
            let status = child.wait().expect("it ends");
            assert_eq!(status.code(), Some(130), "{who:?} {signal} while {id} ran");
            // How long it ran until then is known.
            let shown = world.kiln(&["show", "--json"]).exits(0).stdout;
            let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            let ran = shown
                .pointer("/steps/attack/wall_ms")
                .or(shown.pointer("/build/steps/attack/wall_ms"));
            assert!(ran.and_then(serde_json::Value::as_u64) > Some(0), "{shown:#}");
            let wrong = canaries.aftermath(&world);
            assert!(wrong.is_empty(), "{who:?} {signal}: {wrong:#?}");
        }
    }
}

/// While a large output is read into the store, no process of the step is left that could be stopped.
#[test]
fn interrupt_ends_the_taking_of_outputs() {
    for who in Who::all() {
        let world = World::cold(who);
        let canaries = Canaries::plant(&world);
        world.write("src/empty", "");
        let file = crate::support::build_file("truncate -s 12G out", "{out: out}", "");
        world.write("kiln.yaml", &file.replace(PACKAGES, "[]"));
        world.kiln(&["lock"]).exits(0);
        let kiln = world.path("bin/kiln");
        let kiln = kiln.to_str().expect("UTF-8");
        let mut child =
            world.command(&[kiln, "build", "--no-sign"], &[]).spawn().expect("it starts");
        // No file of the environment is so large.
        while half_written(&world) < 1 << 28 {
            assert!(child.try_wait().expect("it lives").is_none(), "it was not taken: {who:?}");
            std::thread::yield_now();
        }
        let number = child.id().to_string();
        let kill = std::process::Command::new("kill").args(["-INT", &number]).status();
        assert!(kill.expect("kill starts").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "{who:?}");
        // The environment and the log, and nothing of the output.
        assert!(object_bytes(&world) < 4 << 30, "{who:?}");
        let shown = world.kiln(&["show", "--json"]).exits(0).stdout;
        assert!(shown.contains("cancelled"), "{shown}");
        let wrong = canaries.aftermath(&world);
        assert!(wrong.is_empty(), "{who:?}: {wrong:#?}");
    }
}

fn object_bytes(world: &World) -> u64 {
    let info = world.kiln(&["store", "info", "--json"]).exits(0).stdout;
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    info.pointer("/bytes").and_then(serde_json::Value::as_u64).expect("a number")
}

/// Returns the size of the largest file that a run is writing.
fn half_written(world: &World) -> u64 {
    let below = |at: &std::path::Path| std::fs::read_dir(at).into_iter().flatten().flatten();
    let files = below(&world.store.join("tmp")).flat_map(|run| below(&run.path()));
    let sizes = files.filter_map(|file| file.metadata().ok());
    sizes.filter(|found| found.is_file()).map(|found| found.len()).max().unwrap_or(0)
}

/// Becomes the parent of whatever a command leaves behind, and tells how many that are.
const REAPER: &str = r#"
import ctypes, os, subprocess, sys
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
assert ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0) == 0
code = subprocess.run(sys.argv[1:]).returncode
left = 0
while True:
    try:
        os.waitpid(-1, 0)
        left += 1
    except ChildProcessError:
        break
print(f"left {left} after {code}")
"#;

#[test]
fn no_process_outlives_kiln() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("reaper.py", REAPER);
        let kiln = world.path("bin/kiln");
        let kiln = kiln.to_str().expect("UTF-8");
        world.key();
        // What signs is started beside the last step, whatever comes of that.
        let signed = ["--sign", "--output", "made"];
        for (more, command, code) in [
            (&["--no-sign"][..], "true", 0),
            (&["--no-sign"], "false", 1),
            (&signed, "echo > made", 0),
            (&signed, "exit 3", 1),
        ] {
            let start = ["python3", "reaper.py", kiln, "run", "--no-cache"];
            let all = [&start[..], more, &["--", "sh", "-c", command]].concat();
            let ran = world.run(&all, &[]).exits(0);
            let wanted = format!("left 0 after {code}\n");
            assert!(ran.stdout.ends_with(&wanted), "{who:?}: {}{}", ran.stdout, ran.stderr);
        }
    }
}

/// Waits until a process of the step runs, and returns its number.
fn wait_for_step(world: &World, build: &mut Child) -> String {
    let mark = format!("KILN_TEST={}", world.token);
    loop {
        for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&environ).contains(&mark) && command.starts_with(b"sleep\0")
            {
                return entry.file_name().to_string_lossy().into_owned();
            }
        }
        let ended = build.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the step never ran: {ended:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}
