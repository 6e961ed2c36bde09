//! Two steps at the same time: neither hears of the other, whatever the kernel keeps by file or by user.
//!
//! The first step holds something, says so, and goes on until it is stopped; the second one looks for it
//! meanwhile. Each first proves on itself that what it holds can be felt.
#![allow(clippy::disallowed_methods, reason = "a test copies a folder with the host's programs")]

use std::sync::mpsc::channel;

use model::limits::{Count, Limit};
use sandbox::{Backend, Cancel, Exit, Parts, Spec, Stream};

use crate::harness::{Done, Test, is_root};
use crate::place::{Place, ran, read_only, view};

pub const TESTS: &[Test] = &[
    ("a_lock_on_a_shared_file_is_not_felt_by_another_step", locks),
    ("a_lock_spells_nothing_to_another_step", spelled),
    ("a_watch_on_a_shared_file_does_not_tell_of_another_step", watches),
    ("what_a_step_takes_of_its_users_share_is_not_felt_by_another", quotas),
    ("pools_of_the_host_are_out_of_reach", pools),
    ("pipes_of_one_step_do_not_shrink_those_of_another", pipes),
    ("as_root_steps_at_the_same_time_are_different_users", users),
    ("a_checkout_of_the_fixed_id_is_used_as_that_one_and_told", fixed_id),
    ("the_priority_of_all_of_a_user_is_out_of_reach", priorities),
];

/// What a step of `parts` reads, whoever else reads it.
const READ_ONLY: &str = "'/usr', '/usr/bin/cat', '/etc', '/etc/passwd', '/etc/hosts', '/opt', \
    '/build/vendor', '/build/vendor/d', '/build/vendor/d/f', '/build/one', '/build/app', '/build/app/a'";

/// A request with every kind of input.
fn request(place: &Place, script: &str) -> Parts {
    let mut parts = place.perl(script);
    let vendor = place.folder().join("shared-vendor");
    parts.mounts = vec![
        read_only("/build/vendor", vendor.clone()),
        read_only("/build/one", vendor.join("d/g")),
        view("/build/app", place.folder().join("shared-app")),
    ];
    parts
}

fn lay_out(place: &Place) {
    place.source("shared-vendor", &[("d/f", "one"), ("d/g", "two")]);
    place.source("shared-app", &[("a", "1")]);
}

/// What the first step does once it holds what it holds: it goes on, and says so again and again.
const GO_ON: &str = "print \"ready\\n\"; while (1) { select(undef, undef, undef, 0.05); look(); print \"tick\\n\" }";

/// Runs `first` until it says `ready`, then all of `second`, then lets `first` look twice more and stops it.
/// Returns what both said.
fn beside(first: Parts, second: Parts) -> (String, String) {
    let (ready, is_ready) = channel();
    let cancel = Cancel::new().expect("a button");
    let spec = Spec::check(first).expect("a sensible request");
    std::thread::scope(|scope| {
        let button = &cancel;
        let running = scope.spawn(move || {
            let mut said = String::new();
            let ended = sandbox::run(&spec, &Backend::Native, button, &mut |stream, bytes| {
                let text = String::from_utf8_lossy(bytes);
                said.push_str(&text);
                if stream == Stream::Stdout && said.contains("ready\n") {
                    // Nobody listens any more once it is to be stopped.
                    let _ = ready.send(());
                }
            });
            // However it ended, nobody waits for it in vain.
            drop(ready);
            (ended.expect("a run").exit, said)
        });
        if is_ready.recv().is_err() {
            panic!("never ready: {:?}", running.join());
        }
        let second = ran(second).ok();
        while is_ready.try_recv().is_ok() {}
        // The first one may have begun before the second ended.
        for _ in 0..2 {
            is_ready.recv().expect("it goes on");
        }
        cancel.trigger();
        let (exit, said) = running.join().expect("a run");
        assert_eq!(exit, Exit::Cancelled, "{said}");
        (said.replace("tick\n", ""), second)
    })
}

fn locks(place: &Place) -> Done {
    lay_out(place);
    // As root device nodes are the step's own as well.
    let devices = if is_root() { ", '/dev/null', '/dev/zero', '/dev/urandom'" } else { "" };
    let paths = format!("({READ_ONLY}{devices})");
    let hold = format!(
        "use Fcntl ':flock'; $| = 1; my @held; for my $p {paths} {{ open(my $f, '<', $p) or die \"$p: $!\"; \
         flock($f, LOCK_EX | LOCK_NB) or die \"$p: $!\"; push @held, $f; open(my $g, '<', $p); \
         print \"not felt by itself: $p\\n\" if flock($g, LOCK_EX | LOCK_NB) }} \
         sub look {{}} {GO_ON}"
    );
    let seek = format!(
        "use Fcntl ':flock'; for my $p {paths} {{ open(my $f, '<', $p) or die \"$p: $!\"; \
         print \"$p \" unless flock($f, LOCK_EX | LOCK_NB) }}"
    );
    let (held, felt) = beside(request(place, &hold), request(place, &seek));
    assert_eq!((held.as_str(), felt.as_str()), ("ready\n", ""));
    Done::Passed
}

/// Locks of an open file description are shown in `/proc/locks` to every process of the host: where such a
/// lock begins is for its holder to choose.
fn spelled(place: &Place) -> Done {
    // 37 is F_OFD_SETLK, and the structure one of `struct flock`: type, whence, start, length, process.
    let hold = format!(
        "use Fcntl; $| = 1; open(my $f, '+>', '/tmp/spell') or die $!; \
         for my $byte (unpack 'C*', 'kiln') {{ my $lock = pack('s2 x4 q2 l x4', 1, 0, 7770000 + $byte * 10, 1, 0); \
         fcntl($f, 37, $lock) or die \"lock: $!\" }} \
         sub look {{}} {GO_ON}"
    );
    let hear = "open(my $l, '<', '/proc/locks') or exit; print for grep { /OFDLCK/ && / 777\\d{4} / } <$l>";
    let said = std::fs::read_to_string("/proc/locks").expect("the host's own");
    let used = said.lines().any(|line| line.contains("OFDLCK") && line.contains(" 777"));
    assert!(!used, "control: nobody else uses these");
    let (_, heard) = beside(place.perl(&hold), place.perl(hear));
    assert_eq!(heard, "");
    Done::Passed
}

fn watches(place: &Place) -> Done {
    lay_out(place);
    let devices = if is_root() { ", '/dev/null'" } else { "" };
    let paths = format!("({READ_ONLY}{devices})");
    // 294 and 254 are inotify_init1 and inotify_add_watch; 0xfff is every event.
    let watch = format!(
        "use Fcntl; $| = 1; my $n = syscall(294, 04000); open(my $i, '<&=', $n) or die $!; \
         for my $p {paths} {{ syscall(254, $n, my $copy = $p, 0xfff) >= 0 or die \"$p: $!\" }} \
         sub drain {{ my $all = 0; my $got; while (sysread($i, $got, 65536)) {{ $all += length $got }} $all }} \
         open(my $own, '<', '/build/vendor/d/f'); close $own; print \"not felt by itself\\n\" unless drain(); \
         sub look {{ print \"heard\\n\" if drain() }} {GO_ON}"
    );
    let act = format!(
        "for my $p {paths} {{ open(my $f, '<', $p) or die \"$p: $!\"; sysread($f, my $x, 1); stat $f; close $f; \
         if (opendir(my $d, $p)) {{ my @n = readdir $d }} }} system('/usr/bin/cat', '/etc/passwd')"
    );
    let (heard, _) = beside(request(place, &watch), request(place, &act));
    assert_eq!(heard, "ready\n");
    Done::Passed
}

/// Takes all it can of each thing that is counted by user and has a ceiling, and tells how much that was.
const TAKE: &str = "$| = 1; my @kept; my $n = 0; while ((my $i = syscall(294, 0)) >= 0) { $n++ } print \"instances $n\\n\"; \
    my $pages = 0; my $at = syscall(9, 0, 64 << 20, 3, 0x22, -1, 0); \
    while ($pages < 16384 && syscall(149, $at + 4096 * $pages, 4096) == 0) { $pages++ } print \"locked $pages\\n\"; ";

fn quotas(place: &Place) -> Done {
    let hold = format!("{TAKE} sub look {{}} {GO_ON}");
    let (first, second) = beside(place.perl(&hold), place.perl(TAKE));
    assert_eq!(first.strip_suffix("ready\n"), Some(second.as_str()));
    assert_eq!(second, "instances 16\nlocked 256\n");
    Done::Passed
}

/// Queues of asynchronous input and output, and huge pages, are the host's, and no limit of a step counts them.
fn pools(place: &Place) -> Done {
    // 9 is mmap (of no file, which a kernel would refuse otherwise), 319 memfd_create, 29 shmget, 206 io_setup.
    let script = "sub try { my $r = syscall(shift, @_); print $r == -1 ? $! + 0 : 'ok', ' ' } my ($c, $m) = (pack('Q', 0), 'm'); \
        try(319, $m, 1); try(29, 0, 4096, 0600); try(9, 0, 2 << 20, 3, 0x40002, -1, 0); try(319, $m, 5); try(29, 0, 2 << 20, 05600); \
        try(206, 128, $c); try(209, 0, 0, 0);";
    assert_eq!(ran(place.perl(script)).ok(), "ok ok 12 38 12 38 38 ", "two controls, and refusals");
    Done::Passed
}

fn pipes(place: &Place) -> Done {
    if !is_root() {
        return Done::Ignored("without root all steps are one user to the kernel's count of pipes");
    }
    // 1032 is F_GETPIPE_SZ; a user with too many pages in pipes gets short ones.
    let hold = "$| = 1; sub look {} my @kept; my $size = 65536; \
        while ($size == 65536 && pipe(my $r, my $w)) { $size = fcntl($r, 1032, 0); push @kept, $r, $w } \
        print \"not felt by itself\\n\" if $size == 65536; ";
    let look = "pipe(my $r, my $w); print fcntl($r, 1032, 0)";
    let mut first = place.perl(&format!("{hold}{GO_ON}"));
    first.limits.files = Limit::asked(Count(4096));
    let (held, seen) = beside(first, place.perl(look));
    assert_eq!((held.as_str(), seen.as_str()), ("ready\n", "65536"));
    Done::Passed
}

/// What a step sees of its own user: the map, and who owns what it is given and what it makes.
const WHO: &str = "open(my $m, '<', '/proc/self/uid_map'); print join(' ', split ' ', <$m>), \"\\n\"; open(my $n, '>', '/build/app/new'); close $n; \
    chmod(0600, '/build/app/a') or die $!; print join(' ', map { join ':', (stat $_)[4, 5] } '/usr/bin/cat', '/etc', '/build/vendor/d/f', '/build/one', \
    '/build/app/a', '/build/app/new', '/tmp'), \"\\n\"; ";

fn users(place: &Place) -> Done {
    lay_out(place);
    let hold = format!("$| = 1; sub look {{}} {WHO} {GO_ON}");
    let (first, second) = beside(request(place, &hold), request(place, WHO));
    let lines = |said: &str| said.lines().map(str::to_owned).collect::<Vec<_>>();
    let (first, second) = (lines(&first), lines(&second));
    assert_eq!(first[1], ["1000:1000"; 7].join(" "), "as every ordinary user sees it");
    assert_eq!(first[1], second[1]);
    assert_eq!(first[0] != second[0], is_root(), "{} and {}", first[0], second[0]);
    Done::Passed
}

/// Where mounts cannot show other owners, checkouts belong to the fixed id: the step runs as that.
fn fixed_id(place: &Place) -> Done {
    let Some((uid, gid)) = sandbox::outer_owner() else {
        return Done::Ignored("without root there is one user");
    };
    lay_out(place);
    let fixed = place.folder().join("of-the-fixed-id");
    let shell = format!(
        "cp -a {0} {1} && chown -hR {uid}:{gid} {1}",
        place.root().display(),
        fixed.display()
    );
    let made = std::process::Command::new("/bin/sh").args(["-c", &shell]).status();
    assert!(made.expect("a shell").success());
    let mut parts = place.script("cat /proc/self/uid_map; stat -c %u:%g /usr/bin/cat");
    parts.root = fixed.clone();
    let ended = ran(parts);
    std::fs::remove_dir_all(fixed).expect("it is ours");
    let told = |one: &&model::isolation::Mechanism| one.mechanism == "outer-user";
    let told = ended.outcome.enforced.mechanisms.iter().find(told).map(|one| one.detail.clone());
    assert!(told.is_some_and(|detail| detail.starts_with("one for all steps")));
    let said = ended.ok();
    assert!(said.contains(&format!(" {uid} ")) && said.ends_with("1000:1000\n"), "{said}");
    Done::Passed
}

fn priorities(place: &Place) -> Done {
    // By process and by group of its own it works; by user the first process would be reached too.
    let script = "sub told { $_[0] ? 'ok' : $! + 0 } print told(setpriority(0, 0, 3)), ' ', told(setpriority(1, 0, 4)), ' ', \
        told(setpriority(2, 0, 5)), ' ', told(setpriority(2, $<, 5)), \"\\n\"; \
        sub io { told(syscall(251, @_, 2 << 13 | 7) == 0) } print io(1, 0), ' ', io(2, 0), ' ', io(3, 0), ' ', io(3, $<), \"\\n\"; \
        print getpriority(0, 1), ' ', syscall(252, 1, 1) & 7";
    let said = ran(place.perl(script)).ok();
    let (mine, first) = said.rsplit_once('\n').expect("lines");
    assert_eq!(mine, "ok ok 1 1\nok ok 1 1");
    assert!(first.starts_with("0 ") && first != "0 7", "{first}");
    Done::Passed
}
