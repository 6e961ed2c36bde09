//! What a step can tell of who started it: a probe under two callers that differ in everything.
//!
//! What differs must be exactly the list below, and each line of the list must stand in the threat model,
//! so that neither can grow in silence.
#![allow(clippy::disallowed_methods, reason = "the callers are programs: this one, made to differ")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::Mode;

use crate::harness::{Done, Test, is_root};
use crate::place::{Place, copy_of_this_program, ran, view};

pub const TESTS: &[Test] = &[
    ("what_tells_two_callers_apart_is_the_documented_list", what_tells_two_callers_apart),
    ("two_steps_of_one_caller_are_told_apart_by_less", two_steps_of_one_caller),
    ("clocks_begin_at_zero_also_under_a_caller_whose_clocks_are_shifted", under_shifted_clocks),
];

/// The word by which `main` knows that it is to be a caller.
pub const PROBE: &str = "--probe";

/// A thing that may differ (a `*` ends a beginning), the words of `docs/threat-model.md` that say so, and
/// whether it must differ here, so that the list cannot hold what has long been cured.
type Line = (&'static str, &'static str, bool);

const INODES: &str = "inode numbers";
const FOLDERS: &str = "order of names in a folder, and sizes of folders";
const LIMITS: &str = "hard limits that an unprivileged caller lowered";
const ID: &str = "which host id it has, and so whether kiln ran as root";

/// Two runs of one caller, each with a store of its own.
const BY_RUN: &[Line] = &[
    ("autogroup", "counters of the whole host", false),
    ("clock", "wall clock and uptime of the host", false),
    ("cookie of *", "numbers that the kernel gives one after the other to the whole host", false),
    ("inode *", INODES, true),
    ("mount device *", INODES, false),
    ("random", "random numbers", true),
    ("routing counters", "`/proc/net/stat/rt_cache`", false),
    ("timens_offsets", "wall clock and uptime of the host", false),
];
/// A store on another file system.
const BY_STORE: &[Line] = &[("order *", FOLDERS, false), ("size *", FOLDERS, false)];
/// Fewer processors.
const BY_PROCESSORS: &[Line] = &[("status Cpus_allowed*", "number of processors", false)];
/// Lowered hard limits that nobody here may raise. Pending signals are lowered as well, but not below what a
/// step gets.
const BY_LIMITS: &[Line] = &[
    ("limit Max core file size", LIMITS, true),
    ("limit Max file locks", LIMITS, true),
    ("limit Max locked memory", LIMITS, true),
    ("limit Max msgqueue size", LIMITS, true),
    ("limit Max processes", "most processes of a user", false),
    ("limit Max realtime timeout", LIMITS, true),
    ("limit Max resident set", LIMITS, true),
    ("limit Max stack size", LIMITS, true),
];
/// Less of a turn, which an unprivileged process cannot take back.
const BY_NICE: &[Line] = &[
    ("nice", "nice value and idle class of an unprivileged caller", true),
    ("scheduler", "nice value and idle class of an unprivileged caller", true),
];
/// Another user.
const BY_USER: &[Line] = &[
    ("gid_map", ID, true),
    ("ids", "groups of an unprivileged caller", true),
    ("mount kind /dev/*", "whether device nodes are its own", false),
    ("mount options /", ID, true),
    ("mount options /dev*", ID, true),
    ("mount options /proc/*", ID, true),
    ("mount options /tmp", ID, true),
    ("status Groups", "groups of an unprivileged caller", true),
    ("uid_map", ID, true),
];

/// Prints all that a program can ask about its process, a line each.
const SCRIPT: &str = r#"
    use POSIX ();
    sub say { my ($k, $v) = @_; $v =~ s/\n/;/g; print "$k=$v\n" }
    sub text { open(my $f, '<', $_[0]) or return 'none'; local $/; my $t = <$f>; $t // '' }
    sub call { my $n = shift; my $r = syscall($n, @_); $r == -1 ? 'error ' . ($! + 0) : $r }
    say('ids', "$< $> $( $)"); say('umask', sprintf('%o', umask)); say('folder', POSIX::getcwd()); say('pids', "$$ " . getppid());
    say("env $_", $ENV{$_}) for sort keys %ENV;
    say('nice', getpriority(0, 0)); say('scheduler', call(145, 0)); say('ioprio', call(252, 1, 0)); say('timerslack', call(157, 30, 0, 0, 0, 0));
    say('persona', call(135, 0xffffffff)); say('securebits', call(157, 27, 0, 0, 0, 0)); say('huge pages', call(157, 42, 0, 0, 0, 0));
    say('subreaper', do { my $n = "\0" x 8; call(157, 37, $n, 0, 0, 0); unpack('l', $n) }); say('tsc', do { my $n = "\0" x 8; call(157, 25, $n, 0, 0, 0); unpack('l', $n) });
    say('name', text('/proc/self/comm')); say('first name', text('/proc/1/comm')); say('first line', text('/proc/1/cmdline'));
    for (split /\n/, text('/proc/self/limits')) { next if /^Limit/; my $k = substr($_, 0, 25); $k =~ s/ +$//; say("limit $k", substr($_, 26, 42)) }
    for (split /\n/, text('/proc/self/status')) { my ($k, $v) = split /:\s*/, $_, 2; say("status $k", $v // '') if $k =~ /^(Umask|Tgid|Ngid|Pid|PPid|TracerPid|Uid|Gid|FDSize|Groups|NS.*|Kthread|Threads|SigQ|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap.*|NoNewPrivs|Seccomp.*|Speculation.*|Cpus_allowed.*|Mems_allowed.*|CoreDumping|THP_enabled)$/ }
    for my $f (qw(oom_score_adj coredump_filter cgroup uid_map gid_map setgroups loginuid sessionid attr/current timens_offsets projid_map autogroup)) { say($f, text("/proc/self/$f")) }
    for my $f (qw(key-users keys version filesystems sys/kernel/hostname sys/kernel/domainname sys/kernel/random/boot_id sys/user/max_user_namespaces net/dev net/unix net/route sysvipc/shm)) { say($f, join(' ', split ' ', text("/proc/$f"))) }
    say('hostname', text('/proc/sys/kernel/hostname'));
    for (split /\n/, text('/proc/self/mountinfo')) { my @f = split; my ($tail) = / - (.*)/; my ($kind, $from, $options) = split ' ', $tail; say("mount root $f[4]", $f[3]); say("mount flags $f[4]", $f[5]); say("mount kind $f[4]", "$kind $from"); say("mount device $f[4]", $f[2]); say("mount options $f[4]", $options) }
    for my $f ('/', '/usr', '/usr/bin/perl', '/build', '/build/a', '/build/sub', '/tmp', '/dev', '/dev/null', '/dev/shm', '/proc/self/fd/0', '/proc/self/fd/1') { my @s = stat $f; say("mode $f", sprintf('%o', $s[2])); say("owner $f", "$s[4] $s[5]"); say("links $f", $s[3]); say("size $f", $s[7]); say("time $f", $s[9]) unless $f =~ m{^/(proc|dev/null)}; say("inode $f", "$s[0] $s[1]") }
    for my $d ('/', '/build', '/usr/bin') { opendir(my $h, $d); my @n = readdir $h; say("order $d", "@n"); say("names $d", join ' ', sort @n) }
    say('descriptors', join ' ', map { readlink("/proc/self/fd/$_") =~ s/[0-9]+\]/N]/r } 0 .. 2);
    for my $l (split /\n/, text('/proc/self/maps')) { next unless $l =~ /\[(stack|vdso|heap)\]/; my ($a) = split /-/, $l; say("address $1", $a) }
    say('uname', join ' ', POSIX::uname()); say('tty', -t STDIN ? 'tty' : 'none'); say('session', POSIX::getpgrp()); say('locale', POSIX::setlocale(POSIX::LC_ALL(), ''));
    socket(my $socket, 2, 1, 0); say("cookie of $$_[0]", do { my $c = getsockopt($socket, 1, $$_[1]); defined $c ? unpack('Q', $c) : 'none' }) for ['socket', 57], ['network', 71];
    say('cookie of mount', do { my $b = "\0" x 256; my $p = '/'; my $r = syscall(332, -100, $p, 0, 0x4000, $b); $r ? 'none' : unpack('Q', substr($b, 144, 8)) });
    say('cookie of process', do { my $n = call(434, $$, 0); (stat "/proc/self/fd/$n")[1] // 'none' });
    say('routing counters', text('/proc/net/stat/rt_cache'));
    say('uptime', join ' ', map { $_ < 60 ? 'begins at zero' : $_ } (split ' ', text('/proc/uptime'))[0], map { my $t = "\0" x 16; call(228, $_, $t); unpack('q', $t) } 1, 7);
    say('clock', time); say('random', text('/proc/sys/kernel/random/uuid'));
"#;

/// Runs the probe in a place of its own and prints what it says: what `--probe` does.
pub fn probe(backwards: bool) {
    let before = rustix::process::umask(Mode::from(0o022));
    let place = Place::make();
    let mut files = vec![("a", "1"), ("b", "2"), ("sub/c", "3"), ("z", "4")];
    if backwards {
        files.reverse();
    }
    let source = place.source(if backwards { "other-source" } else { "source" }, &files);
    rustix::process::umask(before);
    let mut parts = place.perl(SCRIPT);
    parts.mounts = vec![view("/build", source)];
    print!("{}", ran(parts).ok());
}

/// Starts this program as a caller behind some other programs, in a folder for its place.
fn caller(behind: &str, folder: &Path, backwards: bool) -> BTreeMap<String, String> {
    let copy = copy_of_this_program(folder);
    let word = if backwards { "backwards" } else { "forwards" };
    let line = format!("{behind} {} {PROBE} {word}", copy.display());
    let ended = Command::new("/bin/sh")
        .args(["-c", &line])
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    let text = nameless(&String::from_utf8(ended.stdout).expect("text"));
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Takes the number of the slot out of what a step of root's said: it is the lowest that is free, and another kiln
/// of this host may have that just then.
fn nameless(said: &str) -> String {
    const FIRST_SLOT: u32 = 4_026_600_000;
    let map = said.lines().find_map(|line| line.strip_prefix("uid_map="));
    let outer = map.and_then(|map| map.split_whitespace().nth(1)).unwrap_or_default();
    let is_slot = outer.parse().is_ok_and(|outer: u32| outer >= FIRST_SLOT);
    if is_slot { said.replace(outer, "SLOT") } else { said.to_owned() }
}

/// Makes a folder that an ordinary user may write too.
pub fn folder(parent: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("kiln-caller-").tempdir_in(parent);
    let folder = folder.expect("a folder");
    if is_root() {
        std::os::unix::fs::chown(folder.path(), Some(1000), Some(1000)).expect("an owner");
    }
    folder
}

fn differing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeSet<String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// Holds what differs against the lists.
fn check((one, other): (&BTreeMap<String, String>, &BTreeMap<String, String>), lists: &[&[Line]]) {
    let got = differing(one, other);
    let lines: Vec<&Line> = lists.iter().flat_map(|list| list.iter()).collect();
    let fits = |(pattern, _, _): &Line, key: &str| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => *pattern == key,
    };
    let surplus: Vec<String> = got
        .iter()
        .filter(|key| !lines.iter().any(|line| fits(line, key)))
        .map(|key| format!("{key}: {:?} and {:?}", one.get(key), other.get(key)))
        .collect();
    assert!(surplus.is_empty(), "differs and is not on the list:\n{}", surplus.join("\n"));
    let documented = include_str!("../../../docs/threat-model.md");
    for line in lines {
        assert!(!line.2 || got.iter().any(|key| fits(line, key)), "never differs: {}", line.0);
        assert!(documented.contains(line.1), "not in the threat model: {}", line.1);
    }
}

/// Everything that a caller can hand down, changed.
fn odd(user: &str, folder: &Path) -> String {
    format!(
        "umask 077; cd /; echo 0x7f > /proc/self/coredump_filter; exec {user} prlimit --nofile=2000:3000 --stack=4000000:6000000 \
         --sigpending=5000:5000 --msgqueue=1000:1000 --memlock=65536:65536 --core=0:0 --rss=1000000000:1000000000 \
         --nproc=20000:20000 --locks=50:50 --rttime=9000000:9000000 taskset -c 0 setarch -R -B nice -n 10 ionice -c 3 chrt --idle 0 \
         env -i TMPDIR={} FOO=bar LANG=de_DE.UTF-8 TZ=Asia/Tokyo HOME=/nowhere",
        folder.display()
    )
}

/// Whether this process may raise a hard limit and lower a nice value: capabilities 24 and 23.
fn holds(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line");
    u64::from_str_radix(bits.trim(), 16).expect("a number") & (1 << capability) != 0
}

fn what_tells_two_callers_apart(_: &Place) -> Done {
    const SYS_NICE: u32 = 23;
    const SYS_RESOURCE: u32 = 24;
    let here = folder(&std::env::temp_dir().to_string_lossy());
    let plain = caller("umask 022; exec", here.path(), false);
    // The same user, changed in all that is not the user.
    let there = folder("/dev/shm");
    let other = caller(&odd("", there.path()), there.path(), true);
    let mut lists = vec![BY_RUN, BY_STORE, BY_PROCESSORS];
    if !holds(SYS_RESOURCE) {
        lists.push(BY_LIMITS);
    }
    if !holds(SYS_NICE) {
        lists.push(BY_NICE);
    }
    check((&plain, &other), &lists);
    if is_root() {
        // Another user too.
        let there = folder("/dev/shm");
        let user = "setpriv --reuid 1000 --regid 1000 --groups 1000,100,101";
        let other = caller(&odd(user, there.path()), there.path(), true);
        check((&plain, &other), &[BY_RUN, BY_STORE, BY_PROCESSORS, BY_LIMITS, BY_NICE, BY_USER]);
    }
    Done::Passed
}

fn two_steps_of_one_caller(_: &Place) -> Done {
    let here = folder(&std::env::temp_dir().to_string_lossy());
    let one = caller("exec", here.path(), false);
    check((&one, &caller("exec", here.path(), false)), &[BY_RUN]);
    Done::Passed
}

/// The offsets of a new time namespace are set against the machine's clocks, not against the caller's.
fn under_shifted_clocks(_: &Place) -> Done {
    let here = folder(&std::env::temp_dir().to_string_lossy());
    let one = caller("exec", here.path(), false);
    assert_eq!(
        one.get("uptime").map(String::as_str),
        Some("begins at zero begins at zero begins at zero")
    );
    let map = if is_root() { "" } else { "--user --map-root-user" };
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    let back = (uptime / 2).min(1000);
    for shift in [-back, 1000, 1_000_000] {
        let behind =
            format!("exec unshare {map} --time --fork --monotonic {shift} --boottime {shift}");
        let control = Command::new("/bin/sh")
            .args(["-c", &format!("{behind} cut -d. -f1 /proc/uptime")])
            .output()
            .expect("a shell");
        if !control.status.success() {
            return Done::Ignored("no time namespace can be made here");
        }
        let shown =
            String::from_utf8_lossy(&control.stdout).trim().parse::<i64>().expect("a number");
        assert!(shown.abs_diff(uptime + shift) < 600, "control: {shown} of {uptime} by {shift}");
        let other = caller(&behind, here.path(), false);
        assert_eq!(one.get("uptime"), other.get("uptime"), "shifted by {shift}");
    }
    Done::Passed
}
