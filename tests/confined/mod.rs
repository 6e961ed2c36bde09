//! The confined backend where it is for: an ordinary container, made by an engine of this machine.
//!
//! The image is what a native build of this machine was given as its environment, so it holds a
//! compiler, and the native and the confined build have the same inputs. Where no engine can be had the
//! tests say so and pass.

use std::path::Path;

use crate::support::container::Container;
use crate::support::{PACKAGES, Who, World, build_file, skipped};

/// Says why nothing is tested here, or returns the container.
macro_rules! container_or_skip {
    () => {
        match Container::get() {
            Ok(container) => container,
            Err(why) => {
                skipped("the confined backend", &why);
                return;
            }
        }
    };
}

#[test]
fn confined_builds_what_native_builds_and_says_how() {
    let container = container_or_skip!();
    let hello = "cp -r /examples/hello /p && cd /p && rm -rf kiln-out";
    let script = format!(
        "{hello} && kiln key generate && kiln build --backend confined --sign && \
         kiln inspect kiln-out/hello.intoto.jsonl && kiln verify kiln-out/hello && sha256sum kiln-out/hello"
    );
    let ran = container.run(&[], &script).exits(0);
    let native = World::warm(Who::Root);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello");
    native.run(&["cp", "-r", &format!("{example}/."), "."], &[]).exits(0);
    native.kiln(&["build", "--no-sign"]).exits(0);
    let digest = native.run(&["sha256sum", "kiln-out/hello"], &[]).exits(0).stdout;
    assert!(ran.stdout.contains(digest.trim()), "{digest}\n{}", ran.stdout);
    for words in [
        "backend      confined",
        "builders/local-confined/v1 (made on this machine, L1)",
        "files        chroot, copy, landlock",
        "processes    own-user, subreaper",
    ] {
        assert!(ran.says(words), "{words}\n{}", ran.stdout);
    }
}

#[test]
fn confined_needs_root_and_says_so() {
    let container = container_or_skip!();
    let build = "cp -r /examples/hello /dev/shm/p && cd /dev/shm/p && rm -rf kiln-out && \
                 KILN_STORE=/dev/shm/s kiln build --no-cache --backend confined";
    let ran = container
        .run(&["-u", "1000:1000", "-e", "HOME=/dev/shm", "--shm-size", "2g"], build)
        .exits(7);
    assert!(
        ran.says("KILN-0506") && ran.says("run kiln as root in the container"),
        "{}",
        ran.stderr
    );
    // A right that was taken away is named.
    let build = "cp -r /examples/hello /p && cd /p && rm -rf kiln-out && kiln build --no-cache --backend confined";
    let ran = container.run(&["--cap-drop", "MKNOD"], build).exits(7);
    assert!(ran.says("KILN-0506") && ran.says("--cap-add MKNOD"), "{}", ran.stderr);
    // A file system without devices is named.
    let build = format!("export KILN_STORE=/store && {build}");
    let ran = container.run(&["--tmpfs", "/store:nodev,exec,size=3g,mode=700"], &build).exits(7);
    assert!(ran.says("KILN-0506") && ran.says("nodev"), "{}", ran.stderr);
    // The native backend is not replaced by it.
    let ran = container
        .run(&[], "cp -r /examples/hello /p && cd /p && rm -rf kiln-out && kiln build --no-cache")
        .exits(7);
    assert!(ran.says("KILN-0502") && ran.says("seccomp=unconfined"), "{}", ran.stderr);
    assert!(ran.says("--backend confined"), "it would do here: {}", ran.stderr);
    // Not where the configuration or the project asks for what it lacks.
    for (require, more) in [("'require = [\"loopback\"]'", ""), ("", "disk: 1Gi")] {
        let limits =
            format!("sed -i 's/^  - name: build/&\\n    resources: {{{more}}}/' kiln.yaml");
        let build = format!(
            "mkdir -p /root/.config/kiln && echo {require} > /root/.config/kiln/config.toml && \
             cp -r /examples/hello /p && cd /p && rm -rf kiln-out && {limits} && kiln build --no-cache; kiln doctor"
        );
        let ran = container.run(&[], &build).exits(7);
        assert!(ran.says("KILN-0502") && !ran.says("--backend confined\n"), "{}", ran.stderr);
        assert!(!ran.says("provenance will say"), "{}", ran.stderr);
    }
    // What it lacks can be required.
    let build = "mkdir -p /root/.config/kiln && echo 'require = [\"loopback\"]' > /root/.config/kiln/config.toml \
                 && cp -r /examples/hello /p && cd /p && rm -rf kiln-out && kiln build --no-cache --backend confined";
    let ran = container.run(&[], build).exits(7);
    assert!(ran.says("KILN-0506") && ran.says("loopback"), "{}", ran.stderr);
}

#[test]
fn no_confined_step_escapes() {
    let container = container_or_skip!();
    let file = build_file("python3 /build/attacks.py out", "{out: out}", "[{file: attack.out}]");
    let script = format!(
        "mkdir -p /p/src && cd /p && cp /confined/attacks.py src/ && cat > kiln.yaml <<'END'\n{file}\nEND\n\
         kiln build --backend confined; cat kiln-out/out; kiln log ^0 attack; \
         echo CONTROL; mkdir -p /var/tmp; python3 src/attacks.py"
    );
    let ran = container.run(&[], &script).exits(0);
    let (inside, control) = ran.stdout.split_once("CONTROL\n").expect("both ran");
    assert!(inside.contains("held\n"), "{inside}\n{}", ran.stderr);
    assert!(!inside.contains(" did\n"), "{inside}");
    // Each attack that the container itself allows worked there, so each is a test.
    let worked = control.lines().filter(|line| line.ends_with(" did")).count();
    let refused: Vec<&str> = control.lines().filter(|line| !line.ends_with(" did")).collect();
    assert_eq!((worked, refused.len()), (24, 5), "{control}");
}

/// Whoever may write to a device may set its times to now. That is no attack on the root, and the next
/// step does not see it.
#[test]
fn a_confined_step_may_touch_a_device_and_the_next_sees_nothing_of_it() {
    if !Who::all().contains(&Who::Root) {
        println!("skipped: the confined backend needs root");
        return;
    }
    let world = World::warm(Who::Root);
    world.write("src/data", "some data\n");
    let run = "stat -c %Y /dev/null /dev > out; touch /dev/null";
    world.write("kiln.yaml", &build_file(run, "{out: out}", "[{file: attack.out}]"));
    for _ in 0..2 {
        world.kiln(&["build", "--no-cache", "--no-sign", "--backend", "confined"]).exits(0);
        assert_eq!(world.read("kiln-out/out"), "318211200\n318211200\n");
    }
}

#[test]
fn nothing_of_a_confined_step_survives_it() {
    let container = container_or_skip!();
    let ran = container
        .run(&["-e", "KILN_STORE=/var/own"], "mkdir /p && cd /p && python3 /confined/lives.py")
        .exits(0);
    let cases: Vec<&str> = ran.stdout.lines().collect();
    let wrong: Vec<&&str> = cases.iter().filter(|line| !line.ends_with(" held")).collect();
    assert!(wrong.is_empty() && cases.len() == 9, "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn doctor_in_a_container_says_what_refuses_and_what_to_change() {
    let container = container_or_skip!();
    let ran = container.run(&[], "kiln doctor").exits(7);
    for words in [
        "KILN-0502",
        "inside a container (docker), a seccomp filter around kiln, parts of /proc covered",
        "--security-opt seccomp=unconfined",
        "--cap-add SYS_ADMIN",
        "--backend confined works here",
        "pid-numbers",
    ] {
        assert!(ran.says(words), "{words}\n{}{}", ran.stdout, ran.stderr);
    }
    let ran = container.run(&["--security-opt", "seccomp=unconfined"], "kiln doctor").exits(7);
    assert!(ran.says("KILN-0502") && ran.says("systempaths=unconfined"), "{}", ran.stderr);
    // What it says is enough.
    let options = ["seccomp", "apparmor", "systempaths"].map(|name| format!("{name}=unconfined"));
    let options: Vec<&str> =
        options.iter().flat_map(|option| ["--security-opt", option.as_str()]).collect();
    let ran = container.run(&options, "kiln doctor").exits(7);
    assert!(ran.says("root lacks CAP_SYS_ADMIN") && !ran.says(" ready, "), "{}", ran.stdout);
    let may_mount = [&options[..], &["--cap-add", "SYS_ADMIN"]].concat();
    let ran = container.run(&may_mount, "kiln doctor").exits(0);
    assert!(ran.says(" ready, as root"), "{}", ran.stdout);
    let ran = container.run(&[], "kiln doctor --json").exits(7);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(told["ready"], false, "{told}");
    assert_eq!(told["host"]["seccompFilter"], true);
    assert_eq!(told["host"]["container"], "docker");
    assert_eq!(told["confined"]["ready"], true);
    assert_eq!(told["errors"][0]["code"], "KILN-0502");
    let guarantees = told["guarantees"].as_array().expect("a list");
    let missing = guarantees.iter().find(|one| one["state"] == "missing").expect("one is missing");
    let cause = missing["cause"].as_str().expect("a text");
    for fix in ["seccomp=unconfined", "systempaths=unconfined", "--cap-add SYS_ADMIN"] {
        assert!(cause.contains(fix), "{fix}: {cause}");
    }
    let ran = container.run(&["-u", "1000:1000", "-e", "HOME=/dev/shm"], "kiln doctor").exits(7);
    assert!(
        ran.says("KILN-0502") && ran.says("run kiln as root in the container"),
        "{}",
        ran.stderr
    );
}

/// The setting belongs to each user namespace, so it is set in one, and nobody else notices.
#[test]
fn doctor_names_the_kernel_setting_that_forbids_namespaces() {
    for who in Who::all() {
        let world = World::warm(who);
        let kiln = world.path("bin/kiln");
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec {} doctor",
            kiln.display()
        );
        let ran = world.run(&["unshare", "-Ur", "sh", "-c", &script], &[]).exits(7);
        assert!(ran.says("KILN-0503"), "{}", ran.stderr);
        assert!(ran.says("sysctl -w user.max_user_namespaces=15000"), "{}", ran.stderr);
        // Two things that are missing are named at once.
        let both = script.replace("exec", "mount --bind /dev/null /proc/version && exec");
        let ran = world.run(&["unshare", "-Urm", "sh", "-c", &format!("{both} --json")], &[]);
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a document");
        let guarantees = told["guarantees"].as_array().expect("a list").iter();
        let causes: String = guarantees.filter_map(|one| one["cause"].as_str()).collect();
        for fix in ["user.max_user_namespaces is 0", "systempaths=unconfined"] {
            assert!(causes.contains(fix), "{fix}: {causes}");
        }
        world.write("src/input", "x\n");
        world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
        let script = script.replace(" doctor", " build --no-cache");
        let ran = world.run(&["unshare", "-Ur", "sh", "-c", &script], &[]).exits(7);
        assert!(ran.says("KILN-0503"), "{}", ran.stderr);
    }
    assert!(PACKAGES.contains("python3"), "the container's attacks need it");
}

/// What an image left behind makes no container of a machine, and a namespace of its own makes one.
#[test]
fn doctor_calls_nothing_a_container_for_a_mere_file() {
    // Where a machine starts: linux/proc_ns.h.
    let first = [("pid", 4_026_531_836_u32), ("uts", 4_026_531_838), ("ipc", 4_026_531_839)];
    let is_machine = first.iter().chain(&[("cgroup", 4_026_531_835)]).all(|(kind, number)| {
        let ours = std::fs::read_link(format!("/proc/self/ns/{kind}"));
        ours.is_ok_and(|ours| ours == Path::new(&format!("{kind}:[{number}]")))
    });
    if !is_machine {
        return skipped("a mere file", "these tests are not in the namespaces of the machine");
    }
    for who in Who::all() {
        let world = World::warm(who);
        let kiln = world.path("bin/kiln");
        let kiln = kiln.display();
        let script = format!(
            "mount -t tmpfs none /run && : > /run/.containerenv && exec {kiln} doctor --json"
        );
        let told = |own: &[&str]| {
            let command = [&["unshare", "-r", "-m"], own, &["sh", "-c", &script]].concat();
            let ran = world.run(&command, &[]);
            let told: serde_json::Value = serde_json::from_str(&ran.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
            told["host"]["container"].clone()
        };
        assert!(told(&[]).is_null(), "{who:?}: {}", told(&[]));
        for own in ["-u", "-i", "-C"] {
            assert!(told(&[own]).is_string(), "{who:?} {own}");
        }
    }
}

#[test]
fn doctor_fixes_nothing_where_nothing_is_wrong() {
    let world = World::warm(Who::all()[0]);
    let ran = world.kiln(&["doctor", "--fix", "nonsense"]).exits(2);
    assert!(ran.says("apparmor, container, userns"), "{}", ran.stderr);
    let ran = world.kiln(&["doctor", "--fix", "userns"]).exits(0);
    assert!(ran.says("nothing to fix"), "{}", ran.stdout);
}
