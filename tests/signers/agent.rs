//! A key that an agent of ssh holds: OpenSSH's own agent.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{accepted_by_all, build, configure, keys_are_not_made_here, refused, world};
use crate::support::{Who, World};

/// An agent of a world's own, ended with it.
struct Agent<'a> {
    world: &'a World,
    socket: String,
    process: Child,
}

impl<'a> Agent<'a> {
    fn new(world: &'a World) -> Agent<'a> {
        let socket = world.path("tmp/agent").display().to_string();
        let mut command = world.command(&["ssh-agent", "-D", "-a", &socket], &[]);
        let process = command.stdout(Stdio::null()).spawn().expect("openssh-client is installed");
        let agent = Agent { world, socket, process };
        while agent.ssh_add(&["-l"]) == 2 {
            std::thread::yield_now();
        }
        agent
    }

    fn env(&self) -> [(&str, &str); 1] {
        [("SSH_AUTH_SOCK", &self.socket)]
    }

    fn ssh_add(&self, arguments: &[&str]) -> i32 {
        self.world.run(&[&["ssh-add"][..], arguments].concat(), &self.env()).code
    }

    /// Makes a key, gives it to the agent, and returns its fingerprint.
    fn key(&self, kind: &[&str], name: &str) -> String {
        let path = self.world.path(&format!("tmp/{name}")).display().to_string();
        let made = ["ssh-keygen", "-q", "-N", "", "-C", "a comment", "-f", &path];
        self.world.run(&[&made[..], kind].concat(), &[]).exits(0);
        assert_eq!(self.ssh_add(&["-q", &path]), 0);
        let listed = self.world.run(&["ssh-keygen", "-l", "-f", &path], &[]).exits(0).stdout;
        listed.split_whitespace().nth(1).expect("a fingerprint").to_owned()
    }

    fn configure(&self, key: &str, socket: Option<&str>) {
        let socket = socket.map(|path| format!("socket = \"{path}\"\n")).unwrap_or_default();
        configure(
            self.world,
            &format!("[signer]\nkind = \"ssh-agent\"\nkey = \"{key}\"\n{socket}"),
        );
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.process.wait();
    }
}

#[test]
fn a_key_of_an_ssh_agent_signs_what_all_accept() {
    for who in Who::all() {
        for kind in [&["-t", "ecdsa", "-b", "256"][..], &["-t", "ed25519"]] {
            let world = world(who);
            let agent = Agent::new(&world);
            let key = agent.key(kind, "id");
            agent.configure(&key, None);
            accepted_by_all(&world, &agent.env());
            keys_are_not_made_here(&world, &agent.env());
            // By a socket that the configuration names, without any variable.
            agent.configure(&key, Some(&agent.socket));
            fs::remove_dir_all(world.path("project/kiln-out")).expect("it was built");
            build(&world, &[]).exits(0);
        }
    }
}

#[test]
fn an_agent_that_cannot_sign_is_told_with_the_remedy() {
    for who in Who::all() {
        let world = world(who);
        let agent = Agent::new(&world);
        let key = agent.key(&["-t", "ed25519"], "id");
        let told = |code, words: &[&str]| refused(&world, &agent.env(), code, 5, words);
        agent.configure(&key, None);
        refused(&world, &[], "KILN-0701", 5, &["no ssh agent is named", "SSH_AUTH_SOCK"]);
        let gone = world.path("tmp/gone").display().to_string();
        let elsewhere = [("SSH_AUTH_SOCK", gone.as_str())];
        refused(&world, &elsewhere, "KILN-0701", 5, &["reach the ssh agent at", "start the agent"]);
        for (kind, name, got) in [
            (&["-t", "ecdsa", "-b", "384"][..], "wide", "ecdsa-sha2-nistp384"),
            (&["-t", "rsa", "-b", "2048"], "old", "ssh-rsa"),
        ] {
            agent.configure(&agent.key(kind, name), None);
            told("KILN-0703", &[&format!("is of type {got}; offered are"), "ssh-keygen -t"]);
        }
        agent.configure(&key, None);
        assert_eq!(agent.ssh_add(&["-q", "-d", &world.path("tmp/id").display().to_string()]), 0);
        told("KILN-0701", &[&format!("holds no key {key}; it holds: SHA256:"), "ssh-add FILE"]);
        // A key that wants a person's word, where nobody can be asked.
        let id = world.path("tmp/id").display().to_string();
        assert_eq!(agent.ssh_add(&["-q", "-c", &id]), 0);
        told("KILN-0703", &["the ssh agent refused", "ssh-add -X"]);
        assert!(!world.path("project/kiln-out/made.intoto.jsonl").exists());
    }
}

/// Stands before a real agent and has it sign something else.
const LIAR: &str = r#"
import os, socket, struct, sys
real, ours = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(ours + ".new")
listener.listen(8)
os.rename(ours + ".new", ours)
def whole(peer, size):
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            return None
        data += piece
    return data
while True:
    peer, _ = listener.accept()
    head = whole(peer, 4)
    if head is None:
        continue
    body = bytearray(whole(peer, struct.unpack(">I", head)[0]))
    if body[0] == 13:
        body[-5] ^= 1  # the last byte of what is signed; four bytes of flags follow
    agent = socket.socket(socket.AF_UNIX)
    agent.connect(real)
    agent.sendall(head + body)
    head = whole(agent, 4)
    peer.sendall(head + whole(agent, struct.unpack(">I", head)[0]))
    peer.close()
"#;

#[test]
fn an_agent_that_signs_other_bytes_is_refused() {
    let world = world(Who::all()[0]);
    let agent = Agent::new(&world);
    let key = agent.key(&["-t", "ecdsa", "-b", "256"], "id");
    let liar: PathBuf = world.path("tmp/liar");
    let between = liar.display().to_string();
    let mut command = world.command(&["python3", "-c", LIAR, &agent.socket, &between], &[]);
    let mut process = command.spawn().expect("python3 is installed");
    while !liar.exists() {
        std::thread::yield_now();
    }
    agent.configure(&key, Some(&between));
    let ran = build(&world, &[]);
    Command::new("kill").arg(process.id().to_string()).status().expect("kill can be started");
    let _ = process.wait();
    let ran = ran.exits(5);
    assert!(ran.says("KILN-0703") && ran.says("is no signature by the key"), "{}", ran.stderr);
    // What was got ready meanwhile has gone too, the artifact as well.
    let left = std::fs::read_dir(world.path("project/kiln-out"));
    assert_eq!(left.into_iter().flatten().count(), 0, "something lies in kiln-out");
}
