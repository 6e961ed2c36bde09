//! Attacks on the limit of the writable space where it lies in a folder of the host's disk.
#![allow(clippy::disallowed_methods, reason = "tests look at the host")]

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::limits::{Bytes, Limit, Millis};
use rustix::fs::{Mode, OFlags, openat, statvfs};
use sandbox::{Exit, LimitName, Parts};

use crate::harness::{Done, Test, is_root};
use crate::place::{Place, Ran, Room, ran, view};

pub const TESTS: &[Test] = &[
    ("a_step_on_the_disk_is_as_one_in_memory", a_step_on_the_disk_is_as_one_in_memory),
    (
        "views_on_the_disk_are_overlays_on_every_kernel",
        views_on_the_disk_are_overlays_on_every_kernel,
    ),
    ("s_d03_bytes_on_the_disk_are_bounded", bytes_on_the_disk_are_bounded),
    ("shared_memory_beside_the_disk_is_bounded", shared_memory_beside_the_disk_is_bounded),
    ("s_d03_what_a_step_leaves_is_counted_at_its_end", what_a_step_leaves_is_counted_at_its_end),
    ("s_d03_what_lies_in_closed_folders_is_counted", what_lies_in_closed_folders_is_counted),
    ("s_d08_a_tree_that_is_too_deep_is_told_as_that", a_tree_that_is_too_deep_is_told_as_that),
    ("s_d03_what_is_named_at_the_end_is_counted", what_is_named_at_the_end_is_counted),
    ("s_d03_the_disk_keeps_its_reserve", the_disk_keeps_its_reserve),
    ("s_d04_files_on_the_disk_are_bounded", files_on_the_disk_are_bounded),
    ("s_d08_deep_folders_on_the_disk_are_counted", deep_folders_on_the_disk_are_counted),
];

/// A limit that is small beside what a disk takes in a tenth of a second, and large beside a control.
const LIMIT: u64 = 48 << 20;
/// What a step may be ahead of the watcher on the fastest disk: a second of it.
const AHEAD: u64 = 8 << 30;

fn limited(room: &Room, mut parts: Parts) -> Parts {
    parts.limits.disk = Limit::asked(Bytes(LIMIT));
    room.of(parts)
}

fn stopped(ran: &Ran) {
    assert_eq!(ran.outcome.exit, Exit::OutOfDisk, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.outcome.limits_hit, [LimitName::Disk]);
}

fn disk_mechanism(ran: &Ran) -> Vec<&str> {
    let all = ran.outcome.enforced.mechanisms.iter();
    all.filter(|one| one.detail.starts_with("disk ")).map(|one| one.mechanism.as_str()).collect()
}

fn a_step_on_the_disk_is_as_one_in_memory(place: &Place) -> Done {
    let script = "set -e; for f in /build /tmp /dev/shm; do stat -c '%a %u %g %Y' $f; echo $f > $f/x; cat $f/x; done; \
                  mkdir d; echo t > d/t; ln d/t d/u; stat -c '%a %u %g %h' d/t; ls -a /build; touch -d @5 d; stat -c %Y d";
    let memory = ran(place.script(script));
    let room = Room::make(place.folder());
    let disk = ran(room.of(place.script(script)));
    assert_eq!(
        (disk_mechanism(&memory), disk_mechanism(&disk)),
        (vec!["tmpfs"], vec!["watched-folder"])
    );
    let outcome = &disk.outcome.views[0];
    assert!(openat(outcome.dir.as_fd(), "d/u", OFlags::RDONLY, Mode::empty()).is_ok());
    assert_eq!(memory.ok(), disk.ok());
    Done::Passed
}

fn views_on_the_disk_are_overlays_on_every_kernel(place: &Place) -> Done {
    let source = place.source("on-disk", &[("d/e/f", "1"), ("g", "2")]);
    let room = Room::make(place.folder());
    let mut parts = room.of(place.perl(
        "print rename('d', 'x') ? 1 : $!+0, ' ', unlink('d/e/f') ? 1 : 0, rmdir('d/e') ? 1 : 0, rmdir('d') ? 1 : 0, mkdir('d') ? 1 : 0",
    ));
    parts.mounts = vec![view("/build", source.clone())];
    let ran = ran(parts);
    assert!(!ran.outcome.enforced.mechanisms.iter().any(|one| one.mechanism == "copy"));
    assert_eq!(ran.ok(), "18 1111");
    assert_eq!(fs::read_to_string(source.join("d/e/f")).expect("text"), "1");
    Done::Passed
}

fn bytes_on_the_disk_are_bounded(place: &Place) -> Done {
    for folder in ["/build", "/tmp"] {
        let room = Room::make(place.folder());
        let script = format!(
            "head -c 4194304 /dev/zero > {folder}/small && echo control; exec dd if=/dev/zero of={folder}/big bs=1M count=1048576"
        );
        let ran = ran(limited(&room, place.script(&script)));
        assert!(ran.stdout == "control\n", "{}", ran.stderr);
        stopped(&ran);
        let left =
            fs::metadata(room.0.join(if folder == "/tmp" { "tmp/big" } else { "build/big" }));
        assert!((1..AHEAD).contains(&left.expect("a file").len()), "{folder}");
    }
    // Shared memory is bounded by itself.
    let room = Room::make(place.folder());
    let kind = ran(room.of(place.script("stat -f -c '%T %b' /dev/shm"))).ok();
    assert!(kind.starts_with("tmpfs ") && !kind.ends_with(" 0\n"), "{kind}");
    assert_eq!(ran(place.script("echo next")).ok(), "next\n");
    Done::Passed
}

/// Also where it is given back before the end: half of 256 MiB are its limit.
fn shared_memory_beside_the_disk_is_bounded(place: &Place) -> Done {
    let given = |script: &str| {
        let room = Room::make(place.folder());
        let mut parts = room.of(place.script(script));
        parts.limits.memory = Some(Limit::default_of(Bytes(256 << 20)));
        parts.timeout = Millis(20_000);
        let ran = ran(parts);
        assert_eq!(disk_mechanism(&ran), ["watched-folder"]);
        ran
    };
    let act = |bytes: u64, then: &str| {
        format!("head -c {bytes} /dev/zero > /dev/shm/z {then} rm /dev/shm/z; echo passed")
    };
    assert_eq!(given(&act(100 << 20, "&&")).ok(), "passed\n", "control");
    // Above the limit and not refused: it is seen while the step sleeps.
    stopped(&given(&act(160 << 20, "&& sleep 600;")));
    let files = "mkdir '/dev/shm/d'; for (1..70000) { open(my $f, '>', \"/dev/shm/d/$_\") or die $! } sleep 600";
    let room = Room::make(place.folder());
    let mut parts = room.of(place.perl(files));
    parts.limits.memory = Some(Limit::default_of(Bytes(512 << 20)));
    parts.timeout = Millis(20_000);
    stopped(&ran(parts));
    // Refused, if at all, by memory, and then it does not pass.
    for _ in 0..if sandbox::host::look().limits.memory { 10 } else { 0 } {
        let ended = given(&act(400 << 20, "||"));
        let exit = ended.outcome.exit;
        assert!([Exit::OutOfDisk, Exit::OutOfMemory].contains(&exit), "{exit:?}");
    }
    Done::Passed
}

fn what_a_step_leaves_is_counted_at_its_end(place: &Place) -> Done {
    let room = Room::make(place.folder());
    let script = "head -c 104857600 /dev/zero > big; echo over";
    stopped(&ran(limited(&room, place.script(script))));
    let room = Room::make(place.folder());
    let half = ran(limited(&room, place.script("head -c 25165824 /dev/zero > big; ln big twin; dd if=/dev/null of=hole bs=1 count=0 seek=1T 2>/dev/null")));
    assert_eq!((half.outcome.exit, half.outcome.limits_hit.len()), (Exit::Exited(0), 0), "control");
    Done::Passed
}

/// Closed to kiln as to every other process of its user; whatever walk came before, the last one opens them.
fn what_lies_in_closed_folders_is_counted(place: &Place) -> Done {
    for mode in ["0", "0400", "0300"] {
        let script = |bytes: u64| {
            format!(
                "mkdir -p z/inner; head -c {bytes} /dev/zero > z/inner/big; chmod {mode} z/inner; chmod {mode} z"
            )
        };
        let room = Room::make(place.folder());
        stopped(&ran(limited(&room, place.script(&script(104_857_600)))));
        let room = Room::make(place.folder());
        let half = ran(limited(&room, place.script(&script(16_777_216))));
        assert_eq!(half.outcome.exit, Exit::Exited(0), "control: {mode} {}", half.stderr);
    }
    Done::Passed
}

fn a_tree_that_is_too_deep_is_told_as_that(place: &Place) -> Done {
    let room = Room::make(place.folder());
    let script = "for (1..4200) { mkdir 'd'; chdir 'd' or die }";
    for end in ["", " sleep 600"] {
        let room = if end.is_empty() { &room } else { &Room::make(place.folder()) };
        let ran = ran(limited(room, place.perl(&format!("{script}{end}"))));
        assert_eq!(ran.outcome.exit, Exit::TooDeep, "{}", ran.stderr);
    }
    Done::Passed
}

/// Written without a name, which no walk sees, and given one when the last walk of the living step is over.
fn what_is_named_at_the_end_is_counted(place: &Place) -> Done {
    let link = if cfg!(target_arch = "x86_64") { 265 } else { 37 };
    let named = |mib: u64| {
        let room = Room::make(place.folder());
        let script = format!(
            "use Fcntl; sysopen(my $f, '/build', 020200002, 0644) or die \"open: $!\"; \
             syswrite($f, 'x' x (1 << 20)) for 1..{mib}; select(undef, undef, undef, 2.5); \
             my ($from, $to) = ('/proc/self/fd/' . fileno($f), '/build/named'); \
             syscall({link}, -100, $from, -100, $to, 0x400) and die \"link: $!\"; print -s $to;"
        );
        ran(limited(&room, place.perl(&script)))
    };
    assert_eq!(named(24).ok(), (24 << 20).to_string(), "control");
    stopped(&named(96));
    Done::Passed
}

fn files_on_the_disk_are_bounded(place: &Place) -> Done {
    let room = Room::make(place.folder());
    let script = "my $n = 0; while (open(my $f, '>', \"/build/$n\")) { $n++ } sleep 600";
    stopped(&ran(limited(&room, place.perl(script))));
    Done::Passed
}

fn deep_folders_on_the_disk_are_counted(place: &Place) -> Done {
    let room = Room::make(place.folder());
    let script = "for (1..1200) { mkdir 'd'; mkdir 'e'; chdir 'd' or die } \
                  open(my $f, '>', 'f') or die; while (syswrite($f, 'x' x (1 << 20))) {}";
    stopped(&ran(limited(&room, place.perl(script))));
    Done::Passed
}

/// A small file system, gone at the end.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> Option<Small> {
        fs::create_dir(&at).expect("a folder");
        let options = ["-t", "tmpfs", "-o", "size=256M,mode=0755", "kiln-small"];
        let mounted = Command::new("mount").args(options).arg(&at).status();
        mounted.is_ok_and(|end| end.success()).then_some(Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(gone.is_ok_and(|end| end.success()));
    }
}

fn free(path: &Path) -> u64 {
    let room = statvfs(path).expect("a file system");
    room.f_bavail * room.f_frsize
}

fn the_disk_keeps_its_reserve(place: &Place) -> Done {
    if !is_root() {
        return Done::Ignored("only root can mount a small file system");
    }
    let Some(small) = Small::mount(place.folder().join("small")) else {
        return Done::Ignored("no file system may be mounted here");
    };
    let room = Room::make(&small.0);
    let on_it = |room: &Room, mut parts: Parts| {
        parts.limits.disk = Limit::asked(Bytes(200 << 20));
        room.of(parts)
    };
    let control = "head -c 1048576 /dev/zero > small && echo control";
    let probe = ran(on_it(&room, place.script(control)));
    if disk_mechanism(&probe) == ["tmpfs"] {
        return Done::Ignored("the small file system of this kernel cannot hold changes");
    }
    assert_eq!(probe.ok(), "control\n");
    let room = Room::make(&small.0);
    // Slow enough for a look at the disk in between, and without a name, which no walk sees.
    let script = "open(my $f, '>', 'f'); unlink 'f'; while (syswrite($f, 'x' x (1 << 18))) { select(undef, undef, undef, 0.004) } sleep 600";
    let ended = ran(on_it(&room, place.perl(script)));
    assert_eq!(ended.outcome.exit, Exit::OutOfHostDisk);
    assert_eq!(ended.outcome.limits_hit, [LimitName::Disk]);
    drop(ended);
    assert!(free(&small.0) > 200 << 20, "what it had is free again");
    Done::Passed
}
