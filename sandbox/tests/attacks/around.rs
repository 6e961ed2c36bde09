//! What surrounds kiln: control groups and rules of Landlock that it did not make, and that go down to its steps.
#![allow(
    clippy::disallowed_methods,
    reason = "the callers are programs: this one, in groups of its own"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use landlock::{
    ABI, Access, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
};
use model::isolation::Guarantee;
use sandbox::{Cause, LimitName, probe};

use crate::callers;
use crate::harness::{Done, Test, is_root};
use crate::place::{Place, copy_of_this_program, ran};

pub const TESTS: &[Test] = &[
    ("a_kill_for_memory_by_a_limit_around_kiln_fails_the_step", killed_by_a_limit_around),
    ("devices_that_rules_around_kiln_refuse_are_refused_before_a_step", devices_refused),
    ("a_loopback_that_rules_around_kiln_refuse_is_refused_before_a_step", loopback_refused),
];

/// The word by which `main` knows that it is to rehearse, behind rules of its own if the next one says so.
pub const REHEARSE: &str = "--rehearse";
/// The same for a step that takes 300 MiB, or goes on without.
pub const EAT: &str = "--eat";

/// What a caller says where Landlock knows no ports.
const NO_PORTS: &str = "no rules on ports";

/// Runs that step and prints how it ended: what `--eat` does.
pub fn eat() {
    let place = Place::make();
    let eater = "my $n = 300 << 20; if (!fork) { my $x = 'x' x $n; print 'had it'; exit } wait; print 'went on' if $?;";
    let ended = ran(place.perl(eater));
    let hit = ended.outcome.limits_hit.contains(&LimitName::Memory);
    print!("{} {:?} {hit}", ended.stdout, ended.outcome.exit);
}

/// Rehearses a step and prints what is missing: what `--rehearse` does.
pub fn rehearse(behind: &str) {
    if behind == "landlock" {
        let least = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let Ok(rules) = least.handle_access(AccessNet::from_all(ABI::V4)) else {
            print!("{NO_PORTS}");
            return;
        };
        let created = rules.create().expect("a ruleset").no_new_privs(true);
        let status = created.restrict_self().expect("it is restricted");
        assert_eq!(status.ruleset, landlock::RulesetStatus::FullyEnforced);
    }
    match probe::probe().missing() {
        None => print!("nothing"),
        Some((guarantee, Cause::DeviceRules { refused } | Cause::SocketRules { refused })) => {
            print!("{guarantee}: {refused}");
        }
        Some((guarantee, cause)) => print!("{guarantee}: {cause:?}"),
    }
}

/// A control group of version 1 or 2 that goes with this.
struct Around(PathBuf);

impl Around {
    /// Makes one where `controller` is; none where that cannot be.
    fn make(controller: &str) -> Option<Around> {
        let first = Path::new("/sys/fs/cgroup").join(controller);
        let top = if first.is_dir() { first } else { "/sys/fs/cgroup".into() };
        let folder = top.join(format!("kiln-test-around-{}", std::process::id()));
        fs::create_dir(&folder).ok().map(|()| Around(folder))
    }

    fn set(&self, name: &str, value: &str) -> bool {
        fs::write(self.0.join(name), value).is_ok()
    }

    /// Starts a copy of this program in it, as somebody.
    fn caller(&self, user: &str, words: &str) -> String {
        said(&format!("echo $$ > {}/cgroup.procs; ", self.0.display()), user, words)
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

const ROOT: &str = "";
const USER: &str = "setpriv --reuid 1000 --regid 1000 --clear-groups";

/// Starts a copy of this program after some words of a shell; returns what it says.
fn said(before: &str, user: &str, words: &str) -> String {
    // Where the other user can go too.
    let folder = callers::folder(&std::env::temp_dir().to_string_lossy());
    let copy = copy_of_this_program(folder.path());
    let line = format!("{before} exec {user} {} {words}", copy.display());
    let Output { status, stdout, stderr } = Command::new("/bin/sh")
        .args(["-c", &line])
        .env("TMPDIR", folder.path())
        .output()
        .expect("a shell");
    assert!(status.success(), "{line}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// With groups of its own for its steps, as root, and without.
fn killed_by_a_limit_around(_: &Place) -> Done {
    if !is_root() {
        return Done::Ignored("done by root's run, as both");
    }
    let Some(group) = Around::make("memory") else {
        return Done::Ignored("no group can be made here");
    };
    for user in [ROOT, USER] {
        assert_eq!(group.caller(user, EAT), "had it Exited(0) false", "control");
    }
    let most = (128 << 20).to_string();
    if !group.set("memory.limit_in_bytes", &most) && !group.set("memory.max", &most) {
        return Done::Ignored("memory cannot be limited here");
    }
    // Else it is swapped out.
    let _ = group.set("memory.memsw.limit_in_bytes", &most) || group.set("memory.swap.max", "0");
    for user in [ROOT, USER] {
        let told = group.caller(user, EAT);
        assert_eq!(told, "went on OutOfMemoryAround false", "{user}");
    }
    Done::Passed
}

fn devices_refused(_: &Place) -> Done {
    if !is_root() {
        return Done::Ignored("done by root's run, as both");
    }
    let rehearse = format!("{REHEARSE} plain");
    let Some(group) = Around::make("devices") else {
        return Done::Ignored("no group can be made here");
    };
    for user in [ROOT, USER] {
        assert_eq!(group.caller(user, &rehearse), "nothing", "control");
    }
    if !group.set("devices.deny", "c 1:9 w") {
        return Done::Ignored(
            "control groups of version 2 have their rules on devices from programs of BPF",
        );
    }
    for user in [ROOT, USER] {
        let told = group.caller(user, &rehearse);
        assert_eq!(told, format!("{}: /dev/urandom to write", Guarantee::Files), "{user}");
    }
    Done::Passed
}

fn loopback_refused(_: &Place) -> Done {
    // As this run's own user.
    assert_eq!(said("", ROOT, &format!("{REHEARSE} plain")), "nothing", "control");
    let told = said("", ROOT, &format!("{REHEARSE} landlock"));
    if told == NO_PORTS {
        return Done::Ignored("Landlock has no rules on ports here");
    }
    assert_eq!(told, format!("{}: bind 127.0.0.1", Guarantee::Network));
    Done::Passed
}
