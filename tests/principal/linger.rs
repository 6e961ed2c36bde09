//! Nobody holds up the attestor by descriptors that keep whoever closes them waiting.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use serde_json::json;

use super::{
    ADMIN, ASK, BUILDER, CONTROL, Host, OUTSIDER, Running, STRANGER, can_be_others, command_as,
};

/// Connections that are left behind: more than there are workers.
const LEFT: &str = "20";

impl Host {
    fn signal(&self, name: &str) {
        let id = self.attestor_id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().expect("kill can be started");
        assert!(sent.success());
    }

    /// Leaves connections behind, before the attestor looks at any of them.
    fn linger(&self, uid: u32) -> Running {
        let (socket, ready) = (self.socket(), self.world.path(&format!("tmp/ready-{uid}")));
        let shown = ready.display().to_string();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(self.world.path("tmp"), open).expect("we are root");
        self.signal("-STOP");
        let arguments = ["python3", ASK, "linger", &socket, LEFT, &shown];
        let mut holds = Running::start(&mut command_as(uid, &arguments));
        while !ready.exists() {
            assert!(holds.is_there(), "user {uid} left nothing");
            std::thread::yield_now();
        }
        self.signal("-CONT");
        holds
    }
}

impl Running {
    fn is_there(&mut self) -> bool {
        self.0.try_wait().expect("it is our child").is_none()
    }
}

#[test]
fn who_has_no_role_does_not_connect() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    let socket = host.socket();
    let refused = host.run_as(STRANGER, &["python3", "-c", connect, &socket]);
    assert!(refused.code == 1 && refused.says("PermissionError"), "{}", refused.stderr);
    let told = host.kiln_as(STRANGER, &["key", "show"]).exits(5);
    assert!(told.says("KILN-0706") && told.says("cannot reach the attestor"), "{}", told.stderr);
    // The controls: the table's users, and a group of it.
    for uid in [BUILDER, CONTROL, ADMIN, OUTSIDER] {
        host.run_as(uid, &["python3", "-c", connect, &socket]).exits(0);
    }
}

#[test]
fn what_is_left_in_connections_keeps_nobody_waiting() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    // Those without a role, one with, and all of them together.
    let mut all: Vec<Running> =
        [OUTSIDER, BUILDER, 0].into_iter().map(|uid| host.linger(uid)).collect();
    host.kiln_as(CONTROL, &["key", "show"]).exits(0);
    host.kiln_as(ADMIN, &["key", "show"]).exits(0);
    for holds in &mut all {
        assert!(holds.is_there(), "it was waited for until the end");
    }
    // Nor is it counted for ever: the user has its connections again.
    while host.ask(BUILDER, &json!("show"), &[]).to_string().contains("connections already") {
        assert!(all[1].is_there(), "it was waited for until the end");
    }
}

#[test]
fn a_subject_that_lingers_is_refused_at_once() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let request = json!({"attest": {"predicate_type": "https://example.org/p/v1", "predicate": "{}",
        "subjects": [{"name": "out", "blob": {"digest": model::Digest::of(b""), "size": 0}}],
        "nonce": "07".repeat(16), "deadline": 4_000_000_000_i64}});
    let path = host.world.path("tmp/request.json");
    fs::write(&path, request.to_string()).expect("a file");
    let (socket, path) = (host.socket(), path.display().to_string());
    let told = command_as(CONTROL, &["python3", ASK, "hand", &socket, &path]).output();
    let told = told.expect("it can be started");
    assert_eq!(told.status.signal(), None, "it was waited for until the end");
    assert!(String::from_utf8_lossy(&told.stdout).contains("no regular file"), "{told:?}");
}
