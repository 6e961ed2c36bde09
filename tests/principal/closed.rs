//! The attestor's process, its key and its socket are out of reach: of steps, of builds, of others.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::{ATTESTOR, BUILDER, CONTROL, Host, OUTSIDER, can_be_others};
use crate::support::{Who, World, build_file};

/// Attaches to a process, the way a debugger does; exit 0 where it may.
const PTRACE: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
sys.exit(0 if libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0 else 1)  # PTRACE_SEIZE
";

#[test]
fn nobody_reads_the_attestors_memory_key_or_environment() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    let id = host.attestor_id().to_string();
    // Its own user as well: another process of that user is not the attestor.
    for uid in [BUILDER, CONTROL, OUTSIDER, ATTESTOR] {
        let seized = host.run_as(uid, &["python3", "-c", PTRACE, &id]);
        assert_eq!(seized.code, 1, "user {uid} attached to the attestor");
        for name in ["mem", "environ", "maps", "auxv", "stack"] {
            let path = format!("/proc/{id}/{name}");
            let read = host.run_as(uid, &["head", "-c1", &path]);
            assert_ne!(read.code, 0, "user {uid} reads {path}");
        }
        let list = host.run_as(uid, &["ls", &format!("/proc/{id}/fd")]);
        assert_ne!(list.code, 0, "user {uid} lists the attestor's descriptors");
    }
    for uid in [BUILDER, CONTROL, OUTSIDER] {
        for name in ["config/key.pem", "state/signed.log", "state/journal", "state/orders"] {
            let path = host.world.path(&format!("attestor/{name}")).display().to_string();
            assert_ne!(host.run_as(uid, &["cat", &path]).code, 0, "user {uid} reads {path}");
        }
    }
    // It can start nothing, and whatever ends it leaves no image of its memory.
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).expect("we are root");
    for limit in [
        "Max processes             0                    0",
        "Max core file size        0                    0",
    ] {
        assert!(limits.contains(limit), "{limits}");
    }
    // Nor reach a network: it signs with a key.
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("we are root");
    assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
    let ended = Command::new("kill").args(["-ABRT", &id]).status().expect("kill can be started");
    assert!(ended.success());
    let status = host.attestor.as_mut().expect("it runs").0.wait().expect("it ends");
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped(), "its memory was dumped");
}

/// Everything by which a CI system hands out an identity, and an agent of ssh.
const TOKENS: [&str; 19] = [
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "GITHUB_TOKEN",
    "GITLAB_OIDC_TOKEN",
    "CI_JOB_TOKEN",
    "CI_JOB_JWT_V2",
    "SIGSTORE_ID_TOKEN",
    "KILN_ID_TOKEN",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BUILDKITE_OIDC_TOKEN",
    "CIRCLE_OIDC_TOKEN",
    "CIRCLE_OIDC_TOKEN_V2",
    "GOOGLE_SERVICE_ACCOUNT_NAME",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "SPIFFE_ENDPOINT_SOCKET",
    "VAULT_ID_TOKEN",
    "SSH_AUTH_SOCK",
];

/// Looks for what a step must not have: variables, descriptors, sockets, files.
const LOOK: &str = r#"
import os, socket, sys
found = []
for name, value in os.environ.items():
    found.append(f"variable {name}={value}")
for process in os.listdir("/proc"):
    if process.isdigit():
        try:
            data = open(f"/proc/{process}/environ", "rb").read()
            found += [f"environ {part.decode()}" for part in data.split(b"\0") if part]
        except OSError:
            pass
for number in os.listdir("/proc/self/fd"):
    try:
        found.append(f"descriptor {number} {os.readlink(f'/proc/self/fd/{number}')}")
    except OSError:
        pass
for line in open("/proc/net/unix").read().splitlines()[1:]:
    found.append(f"socket {line}")
for path in PATHS:
    found.append(f"exists {path}" if os.path.lexists(path) else f"absent {path}")
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        found.append(f"connected {path}")
    except OSError:
        pass
open("out", "w").write("\n".join(found) + "\n")
"#;

fn looked_for(world: &World, paths: &[String]) {
    let paths: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    let look = LOOK.replace("PATHS", &format!("[{}]", paths.join(", ")));
    world.write("src/look.py", &look);
    let file = build_file("python3 src/look.py", "{out: out}", "[{file: attack.out}]");
    world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
}

#[test]
fn no_token_agent_or_signer_is_in_a_step() {
    for who in Who::all() {
        let world = World::warm(who);
        world.key();
        let agent = world.path("tmp/agent").display().to_string();
        let key = world.path("config/kiln/key.pem").display().to_string();
        looked_for(&world, &[agent.clone(), key, "/run/kiln/attestor".to_owned()]);
        let value = format!("token-{}", world.token);
        let mut env: Vec<(&str, &str)> =
            TOKENS.iter().map(|name| (*name, value.as_str())).collect();
        env.extend([("CI", "true"), ("GITHUB_ACTIONS", "true"), ("GITLAB_CI", "true")]);
        env.extend([("BUILDKITE", "true"), ("CIRCLECI", "true"), ("SOFTHSM2_CONF", &value)]);
        world.kiln_with(&["build", "--sign"], &env).exits(0);
        let seen = world.read("kiln-out/out");
        assert!(seen.contains("variable PATH="), "nothing was looked at: {seen}");
        assert!(!seen.contains(&value), "{seen}");
        for name in TOKENS.iter().chain(&["CI", "GITHUB_ACTIONS", "SOFTHSM2_CONF"]) {
            assert!(!seen.contains(&format!(" {name}=")), "{name} is in a step: {seen}");
        }
        for word in ["exists ", "connected ", "socket "] {
            assert!(!seen.contains(word), "{word}: {seen}");
        }
        // Nor in what is signed.
        let statement = world.statement("out").to_string();
        assert!(!statement.contains(&value), "{statement}");
    }
}

/// A step of a build that is signed at a socket influences nothing but its output's bytes.
#[test]
fn a_step_reaches_neither_the_socket_nor_the_key_of_a_listening_attestor() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let key = host.world.path("attestor/config/key.pem").display().to_string();
    let journal = host.world.path("attestor/state").display().to_string();
    looked_for(&host.world, &[host.socket(), key, journal]);
    let orders = host.order("out", BUILDER);
    host.build(&orders).exits(0);
    let seen = host.world.read("kiln-out/out");
    assert!(seen.contains(&format!("absent {}", host.socket())), "nothing was looked for: {seen}");
    for word in ["exists ", "connected ", "socket "] {
        assert!(!seen.contains(word), "{word}: {seen}");
    }
    assert!(!seen.contains(&host.world.token) || !seen.contains("variable KILN"), "{seen}");
    // Nothing that it wrote is anywhere in the statement but as the subject's digest.
    let statement = host.world.statement("out");
    let digest = model::Digest::of(seen.as_bytes()).hex();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.as_str());
    assert!(!statement.to_string().contains("absent "), "{statement}");
}
