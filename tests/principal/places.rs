//! What is not the attestor's own: a file in its socket's place, a folder or file that others can write, a pipe
//! for a log.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener};

use serde_json::json;

use super::{ADMIN, ATTESTOR, CONTROL, Host, OUTSIDER, can_be_others, program};
use crate::support::Ran;

impl Host {
    /// Tries to start an attestor; returns how it ended.
    fn try_to_listen(&self) -> Ran {
        let (places, socket) = (self.places(), self.socket());
        let mut all = vec![program(), "attestor", "listen"];
        all.extend(places.iter().map(String::as_str));
        self.run_as(ATTESTOR, &[&all[..], &["--socket", &socket]].concat())
    }

    fn mode(&self, name: &str, mode: u32) {
        let path = self.world.path(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("we are root");
    }
}

#[test]
fn nothing_but_a_socket_that_was_left_behind_gives_way_to_the_socket() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    host.stop();
    let socket = host.world.path("run/attestor");
    fs::remove_file(&socket).expect("it was left behind");
    let precious = host.world.path("tmp/precious");
    fs::write(&precious, "precious").expect("a file");
    for what in ["file", "link"] {
        match what {
            "file" => fs::write(&socket, "precious").expect("we are root"),
            _ => std::os::unix::fs::symlink(&precious, &socket).expect("we are root"),
        }
        // It could be written, as a socket that is listened at can be.
        chown(&socket, Some(ATTESTOR), Some(ATTESTOR)).expect("we are root");
        let told = host.try_to_listen().exits(7);
        assert!(told.says("KILN-0604") && told.says("is no socket"), "{what}: {}", told.stderr);
        assert_eq!(fs::read_to_string(&socket).expect("it is still there"), "precious", "{what}");
        fs::remove_file(&socket).expect("it is there");
    }
    // Nor a socket of another kind, which somebody has open.
    let other = UnixDatagram::bind(&socket).expect("the name is free");
    host.try_to_listen().exits(7);
    assert!(socket.exists(), "another's socket was removed");
    host.mode("run/attestor", 0o666);
    host.try_to_listen().exits(7);
    assert!(socket.exists(), "another's socket was removed");
    drop(other);
    fs::remove_file(&socket).expect("it is there");
    // The control: a socket that nobody listens at any more.
    drop(UnixListener::bind(&socket).expect("the name is free"));
    host.mode("run/attestor", 0o666);
    host.start();
    host.kiln_as(CONTROL, &["key", "show"]).exits(0);
}

/// Says whether it said so, however its lines were broken.
fn says(told: &Ran, words: &str) -> bool {
    told.stderr.split_whitespace().collect::<Vec<_>>().join(" ").contains(words)
}

/// Who can write there says who is heard, and what builder is spoken for.
#[test]
fn a_configuration_that_others_can_write_signs_nothing() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    let show = json!("show");
    let config = host.world.path("attestor/config");
    let file = config.join("attestor.toml");
    let whole = fs::read_to_string(&file).expect("we are root");
    let alone =
        "[builder]\nid = \"https://evil.example/v1\"\nwaived-id = \"https://evil.example/w\"\n";
    for (what, names) in [
        ("a folder that all can write", "attestor/config"),
        ("a file that all can write", "attestor/config/attestor.toml"),
        ("a state folder that all can write", "attestor/state"),
    ] {
        host.kiln_as(CONTROL, &["key", "show"]).exits(0);
        host.mode(names, 0o777);
        let answer = host.ask(CONTROL, &show, &[]).to_string();
        assert!(answer.contains("with mode 777"), "{what}: {answer}");
        host.stop();
        let told = host.try_to_listen();
        assert!(told.code != 0 && says(&told, "with mode 777"), "{what}: {}", told.stderr);
        host.mode(names, if names.ends_with("toml") { 0o644 } else { 0o700 });
        host.start();
    }
    // A stranger's file, which says as little as a file can.
    for (what, uid, text) in
        [("a stranger's file", OUTSIDER, alone), ("a stranger's table", OUTSIDER, &whole)]
    {
        fs::write(&file, text).expect("we are root");
        chown(&file, Some(uid), Some(uid)).expect("we are root");
        let answer = host.ask(CONTROL, &show, &[]).to_string();
        let words = format!("belongs to user {uid}");
        assert!(answer.contains(&words), "{what}: {answer}");
        host.stop();
        let told = host.try_to_listen();
        assert!(told.code == 2 && told.says("KILN-0105"), "{what}: {}", told.stderr);
        assert!(says(&told, &words), "{what}: {}", told.stderr);
        fs::write(&file, &whole).expect("we are root");
        chown(&file, Some(0), Some(0)).expect("we are root");
        host.start();
    }
    chown(&config, Some(OUTSIDER), Some(ATTESTOR)).expect("we are root");
    host.mode("attestor/config", 0o770);
    host.refuses(CONTROL, &show, &[], "configuration");
    chown(&config, Some(ATTESTOR), Some(ATTESTOR)).expect("we are root");
    host.mode("attestor/config", 0o700);
    // The control.
    host.kiln_as(ADMIN, &["key", "show"]).exits(0);
}

#[test]
fn a_log_that_is_no_file_is_refused_and_not_waited_for() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    assert!(host.check_log().exits(4).says("nothing was signed here"));
    let path = host.world.path("attestor/state/signed.log").display().to_string();
    host.run_as(ATTESTOR, &["mkfifo", &path]).exits(0);
    let told = host.check_log().exits(4);
    assert!(told.says("KILN-0710") && told.says("no regular file"), "{}", told.stderr);
}
