//! The core of the catalogue where the host does not help: what holds there is held by the sandbox.
//!
//! Settings of the kernel that make attacks harder are switched off, as far as root can and the host
//! has them, and put back by a process of its own as soon as this one is gone, however it ends. Where
//! the host has them off already, the ordinary run was there, and nothing is changed.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::arena::Arena;
use super::needs::host_lets_type;
use super::{Act, cases, run};
use crate::support::backend::Backend;
use crate::support::{Who, skipped};

/// Whether a terminal takes what is typed into it by a call.
const TYPING: &str = "dev/tty/legacy_tiocsti";
/// Settings, and the value under which the host helps least.
const SETTINGS: [(&str, &str); 7] = [
    (TYPING, "1"),
    ("fs/protected_fifos", "0"),
    ("fs/protected_hardlinks", "0"),
    ("fs/protected_regular", "0"),
    ("fs/protected_symlinks", "0"),
    ("kernel/io_uring_disabled", "0"),
    ("kernel/yama/ptrace_scope", "0"),
];

/// Rows that one of the settings would help with.
const CORE: [&str; 10] =
    ["S-A04", "S-A13", "S-A18", "S-A22", "S-A24", "S-A26", "S-E01-out", "S-E13", "S-F02", "S-F03"];

/// Puts settings back when its input ends: also when the tests are killed.
const KEEPER: &str = "import sys\n\
    lines = sys.stdin.read().splitlines()\n\
    for line in lines:\n\
    \x20   name, value = line.split(' ', 1)\n\
    \x20   open('/proc/sys/' + name, 'w').write(value)\n";

/// Settings that are off until it is dropped.
struct Off(Child);

impl Off {
    fn switch(changes: &[(&'static str, &'static str, String)]) -> Off {
        // In a session of its own: what kills the tests kills their whole process group.
        let mut keeper = Command::new("setsid")
            .args(["/usr/bin/python3", "-c", KEEPER])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python starts");
        let input = keeper.stdin.as_mut().expect("a pipe");
        for (name, _, before) in changes {
            writeln!(input, "{name} {before}").expect("the keeper listens");
        }
        // Before it is switched: other cases ask at the same time what the host has by itself.
        host_lets_type();
        for (name, wanted, _) in changes {
            fs::write(format!("/proc/sys/{name}"), wanted).expect("root may set it");
        }
        Off(keeper)
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the keeper ends");
    }
}

fn value(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_owned())
}

#[test]
fn promises_hold_where_the_host_does_not_help() {
    let helping: Vec<(&str, &str, String)> = SETTINGS
        .iter()
        .filter_map(|(name, wanted)| Some((*name, *wanted, value(name)?)))
        .filter(|(_, wanted, now)| now != wanted)
        .collect();
    if !Who::all().contains(&Who::Root) {
        skipped("a host that does not help", &format!("only root may change {helping:?}"));
        return;
    }
    println!("switched off for this test: {helping:?}");
    let off = Off::switch(&helping);
    let mut wrong = Vec::new();
    for backend in Backend::here() {
        let mut arena = Arena::open(*backend);
        // What the host does not have, it cannot be made to have.
        arena.is_helped = value(TYPING).is_none();
        let rows = cases::all().filter(|case| {
            let built = matches!(case.act, Act::Step | Act::Attack(_) | Act::Host(_));
            built && CORE.contains(&case.id)
        });
        wrong.extend(run::failures(&arena, rows));
    }
    drop(off);
    for (name, _, before) in &helping {
        assert_eq!(value(name).as_ref(), Some(before), "{name} was not put back");
    }
    assert!(wrong.is_empty(), "where the host does not help:\n{}", wrong.join("\n"));
}
