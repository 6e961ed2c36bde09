//! Attacks on `limits`, and the end of a step: time, kill, interruption, and nothing left behind.
#![allow(clippy::disallowed_methods, reason = "tests look at the host")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::isolation::Guarantee;
use model::limits::{Bytes, Count, Limit, MilliCpus, Millis};
use sandbox::probe::State;
use sandbox::{Cancel, Error, Exit, LimitName, Spec};

use crate::harness::{Done, Test, is_root};
use crate::place::{Place, copy_of_this_program, ran, try_run};

/// Far above what stopping a step takes on a host under load, and far below what the steps here sleep.
const STOPPED: Duration = Duration::from_secs(300);

pub const TESTS: &[Test] = &[
    ("s_d01_a_fork_bomb_is_bounded", a_fork_bomb_is_bounded),
    ("a_soft_limit_of_the_caller_is_not_the_steps", a_soft_limit_of_the_caller_is_not_the_steps),
    ("s_d02_memory_is_bounded_or_refused", memory_is_bounded_or_refused),
    ("queues_of_connections_do_not_evade_the_memory_limit", queues_are_bounded),
    ("processor_time_is_bounded_or_refused", processor_time_is_bounded_or_refused),
    ("a_step_leaves_no_control_group", a_step_leaves_no_control_group),
    ("s_d03_disk_is_bounded", disk_is_bounded),
    ("nobody_is_refused_space_and_passes", nobody_is_refused_space_and_passes),
    ("space_above_a_small_memory_ends_the_step", space_above_a_small_memory_ends_the_step),
    ("who_is_refused_a_process_is_told_of", who_is_refused_a_process_is_told_of),
    ("s_d05_output_is_cut_and_said_so", output_is_cut_and_said_so),
    ("s_d06_a_step_that_sleeps_is_stopped", a_step_that_sleeps_is_stopped),
    ("s_d06_a_step_that_ignores_term_is_killed", a_step_that_ignores_term_is_killed),
    ("s_d06_a_silent_step_is_stopped", a_silent_step_is_stopped),
    ("s_d07_a_daemon_does_not_hold_the_step", a_daemon_does_not_hold_the_step),
    ("s_d08_open_files_are_bounded", open_files_are_bounded),
    ("an_interrupted_step_dies_at_once", an_interrupted_step_dies_at_once),
    ("a_button_pressed_before_the_start_counts", a_button_pressed_before_the_start_counts),
    ("processors_are_pinned_or_refused", processors_are_pinned_or_refused),
    ("a_missing_program_is_an_error_of_its_own", a_missing_program_is_an_error_of_its_own),
    ("what_held_is_written_down", what_held_is_written_down),
    ("the_probe_agrees_with_a_run", the_probe_agrees_with_a_run),
    ("threads_run_steps_side_by_side", threads_run_steps_side_by_side),
];

fn a_fork_bomb_is_bounded(place: &Place) -> Done {
    let count = "my $n = 0; while ($n < 200) { my $p = fork; last unless defined $p; if (!$p) { sleep 600; exit } $n++ } print $n;";
    let ended = ran(place.perl(count));
    assert_eq!(
        (ended.stdout.as_str(), ended.outcome.left_processes),
        ("200", 200),
        "control: the default is enough"
    );
    let mut parts = place.perl(count);
    parts.limits.pids = Limit::asked(Count(40));
    let ended = ran(parts);
    let made: u32 = ended.stdout.parse().expect("a number");
    assert!((10..40).contains(&made), "{made}");
    assert_eq!(ended.outcome.left_processes, made);
    let mut parts = place.script("bomb() { bomb | bomb & }; bomb; sleep 600");
    parts.limits.pids = Limit::asked(Count(60));
    parts.timeout = Millis(500);
    let start = Instant::now();
    assert_eq!(ran(parts).outcome.exit, Exit::TimedOut { idle: false });
    assert!(start.elapsed() < STOPPED);
    assert_eq!(ran(place.script("echo next")).ok(), "next\n");
    Done::Passed
}

/// The kernel keeps the soft limits of whoever makes a user namespace for ever.
fn a_soft_limit_of_the_caller_is_not_the_steps(place: &Place) -> Done {
    let copy = copy_of_this_program(place.folder());
    let ended = std::process::Command::new("prlimit")
        .arg("--nproc=200:")
        .arg(copy)
        .args([FORKS, "300"])
        .env("TMPDIR", place.folder())
        .output()
        .expect("prlimit");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(said, "300", "{}", String::from_utf8_lossy(&ended.stderr));
    Done::Passed
}

/// The word by which `main` knows that it is to run a step that starts processes.
pub const FORKS: &str = "--forks";

/// Runs a step that starts as many processes and says how many it got: what `--forks` does.
pub fn forks(most: &str) {
    let place = Place::make();
    let count = format!(
        "my $n = 0; while ($n < {most}) {{ my $p = fork; last unless defined $p; if (!$p) {{ sleep 600; exit }} $n++ }} print $n;"
    );
    print!("{}", ran(place.perl(&count)).ok());
}

fn memory_is_bounded_or_refused(place: &Place) -> Done {
    let eat = "my $x = 'x' x (200 << 20); print length $x;";
    assert_eq!(ran(place.perl(eat)).ok(), (200 << 20).to_string(), "control");
    let mut parts = place.perl(eat);
    parts.limits.memory = Some(Limit::asked(Bytes(64 << 20)));
    match try_run(parts.clone()) {
        Ok(ended) => {
            assert_eq!(ended.outcome.exit, Exit::OutOfMemory);
            assert!(ended.outcome.usage.memory_peak.is_some_and(|peak| peak.0 <= 64 << 20));
        }
        Err(Error::Unenforceable { limit: LimitName::Memory }) => {
            parts.waived.insert(Guarantee::Limits);
            let ended = ran(parts);
            assert!(ended.outcome.enforced.absent.contains_key(&Guarantee::Limits));
            if is_root() {
                return Done::Ignored("root may not make a memory control group here");
            }
        }
        Err(other) => panic!("{other}"),
    }
    Done::Passed
}

/// What a step holds in queues of its loopback, in MiB: it fills connections until all stand or 200 MiB are held.
const QUEUES: &str = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die $!; bind($s, sockaddr_in(0, INADDR_LOOPBACK)) or die $!; \
    listen($s, 128) or die $!; my $at = getsockname($s); my (@kept, $held); my $piece = 'x' x 65536; \
    for (1 .. 100) { socket(my $c, PF_INET, SOCK_STREAM, 0) or die $!; connect($c, $at) or die $!; accept(my $d, $s) or die $!; \
    push @kept, $c, $d; while ($held < 200 << 20) { my $n = syscall(44, fileno $c, $piece, 65536, 0x40, 0, 0); last if $n <= 0; $held += $n } } \
    print int($held / (1 << 20)); $| = 1; print ''; ";

fn queues_are_bounded(place: &Place) -> Done {
    let held = |parts| ran(parts).stdout.parse::<u64>().unwrap_or_default();
    let free = held(place.perl(QUEUES));
    assert!(free >= 150, "control: {free} MiB lie in queues");
    let mut parts = place.perl(QUEUES);
    parts.limits.memory = Some(Limit::asked(Bytes(48 << 20)));
    if matches!(try_run(parts.clone()), Err(Error::Unenforceable { .. })) {
        return Done::Ignored("no memory control group may be made here");
    }
    // Either no more is taken, or the step is ended: what it said of itself is all it had.
    let bounded = held(parts);
    assert!(bounded <= 64, "{bounded} MiB lie in queues under 48");
    Done::Passed
}

fn processor_time_is_bounded_or_refused(place: &Place) -> Done {
    // A second of work, by two processes; the first word is said before it.
    let work = "$| = 1; print 'done '; fork; 1 while (times)[0] < 0.5; wait; print 'done'";
    assert_eq!(ran(place.perl(work)).ok().matches("done").count(), 3, "control");
    let mut parts = place.perl(work);
    parts.limits.cpu = Some(Limit::asked(MilliCpus(200)));
    let spec = Spec::check(parts.clone()).expect("a request");
    let (cancel, mut quotas) = (Cancel::new().expect("a button"), BTreeSet::new());
    let quota = |folder: &PathBuf| {
        let read = |name| fs::read_to_string(folder.join(name)).ok();
        read("cpu.max").or_else(|| read("cpu.cfs_quota_us"))
    };
    let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {
        quotas.extend(groups().iter().filter_map(quota));
    });
    match outcome {
        Ok(outcome) => {
            assert_eq!(outcome.exit, Exit::Exited(0));
            // A fifth of a processor; without the limit the two would have two. On a host with much
            // more to do than that, this says nothing, and the group itself does.
            let (wall, cpu) = (outcome.usage.wall, outcome.usage.cpu);
            assert!(wall >= cpu * 2, "{wall:?} for {cpu:?} of work");
            let fifth = |quota: &String| quota.starts_with("20000\n") || quota == "20000 100000\n";
            assert!(quotas.iter().any(fifth), "{quotas:?}");
            assert!(format!("{:?}", outcome.enforced).contains("cpu 0.2"));
        }
        Err(Error::Unenforceable { limit: LimitName::Cpu }) => {
            parts.waived.insert(Guarantee::Limits);
            ran(parts).ok();
            if is_root() {
                return Done::Ignored("root may not make a control group of processor time here");
            }
        }
        Err(other) => panic!("{other}"),
    }
    Done::Passed
}

/// Returns the control groups of this process's steps, wherever they are mounted.
fn groups() -> Vec<PathBuf> {
    fn find(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with(name) {
                found.push(entry.path());
            }
            find(&entry.path(), name, found);
        }
    }
    let mut found = Vec::new();
    find(Path::new("/sys/fs/cgroup"), &format!("kiln-{}-", std::process::id()), &mut found);
    found
}

fn a_step_leaves_no_control_group(place: &Place) -> Done {
    let cancel = Cancel::new().expect("a button");
    let (button, mut during) = (cancel.clone(), Vec::new());
    // The first process and the step; in the one of the next child, which waits, is that child alone.
    let of_the_step = |group: &PathBuf| {
        fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| text.lines().count() > 1)
    };
    for script in ["echo ready", "sleep 600 & echo ready", "echo ready; sleep 600"] {
        let spec = Spec::check(place.script(script)).expect("a request");
        let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {
            during.extend(groups().into_iter().filter(of_the_step));
            if script.ends_with("600") {
                button.trigger();
            }
        });
        outcome.expect("an outcome");
        let left: Vec<_> = during.iter().filter(|group| group.exists()).collect();
        assert!(left.is_empty(), "{script}: {left:?}");
    }
    sandbox::cool_down();
    assert_eq!(groups(), Vec::<PathBuf>::new());
    if during.is_empty() {
        return Done::Ignored("this user may make no control group here");
    }
    Done::Passed
}

fn disk_is_bounded(place: &Place) -> Done {
    for folder in ["/build", "/tmp", "/dev/shm"] {
        let mut parts = place.script(&format!("head -c 4194304 /dev/zero > {folder}/small && echo control; exec dd if=/dev/zero of={folder}/big bs=1M count=1024 2>/dev/null"));
        parts.limits.disk = Limit::asked(Bytes(16 << 20));
        let ended = ran(parts);
        assert_eq!(ended.stdout, "control\n");
        assert_eq!(ended.outcome.exit, Exit::OutOfDisk, "{folder}");
    }
    let mut parts = place.perl("my $n = 0; while (open(my $f, '>', \"/build/$n\")) { $n++; last if $n > 200000 } print $n;");
    parts.limits.disk = Limit::asked(Bytes(16 << 20));
    let ended = ran(parts);
    assert_eq!(
        (ended.stdout.as_str(), ended.outcome.exit),
        ("", Exit::OutOfDisk),
        "files without end"
    );
    Done::Passed
}

/// Fills up, gives all back, and passes, whatever it was told: as fast as it can.
fn nobody_is_refused_space_and_passes(place: &Place) -> Done {
    let burst = |what: &str| {
        format!(
            "my $r = 'given'; {what} \
             sub take {{ my $f; open($f, '>', \"$_[0]\") and (!$_[1] or (syswrite($f, 'x' x $_[1]) // 0) == $_[1]) and close $f or $r = 'refused' }} \
             print $r;"
        )
    };
    for (room, what, passes) in [
        (16, "take('/tmp/a', 8 << 20); unlink '/tmp/a';", true),
        (16, "take('/tmp/a', 8 << 20) for 1..200;", true),
        // Above the limit for a moment, and at most as long as a look takes.
        (16, "take('/tmp/a', 64 << 20); unlink '/tmp/a';", false),
        (16, "take(\"/build/$_\", 64 << 20) for 1..9; unlink \"/build/$_\" for 1..9;", false),
        (16, "take(\"/dev/shm/$_\", 64 << 20) for 1..64; unlink \"/dev/shm/$_\" for 1..64;", false),
        (1, "take(\"/tmp/$_\", 0) for 1..70000; unlink \"/tmp/$_\" for 1..70000;", false),
        (1, "take(\"/tmp/$_\", 0) for 1..140000; unlink \"/tmp/$_\" for 1..140000;", false),
    ] {
        let mut parts = place.perl(&burst(what));
        parts.limits.disk = Limit::asked(Bytes(room << 20));
        let ended = ran(parts);
        match ended.outcome.exit {
            Exit::Exited(0) => assert_eq!(ended.stdout, "given", "{what}"),
            exit => assert_eq!((exit, passes), (Exit::OutOfDisk, false), "{what}"),
        }
        let hit: &[_] = if passes { &[] } else { &ended.outcome.limits_hit };
        assert_eq!(ended.outcome.limits_hit, hit, "{what}");
    }
    Done::Passed
}

/// The headroom above the limit is larger than memory, so memory ends a step that fills it: always, and not
/// only where a look comes between.
fn space_above_a_small_memory_ends_the_step(place: &Place) -> Done {
    let given = |script: &str| {
        let mut parts = place.script(script);
        parts.limits.disk = Limit::asked(Bytes(40 << 20));
        parts.limits.memory = Some(Limit::asked(Bytes(64 << 20)));
        try_run(parts)
    };
    match given("head -c 30000000 /dev/zero > /tmp/z && rm /tmp/z && echo control") {
        Err(Error::Unenforceable { limit: LimitName::Memory }) => {
            return Done::Ignored("no memory control group may be made here");
        }
        control => assert_eq!(control.expect("a run").ok(), "control\n"),
    }
    for at in ["/tmp/z", "/dev/shm/z", "/build/z"] {
        for _ in 0..10 {
            let act = format!("head -c 200000000 /dev/zero > {at} || rm -f {at}; echo passed");
            let ended = given(&act).expect("a run");
            let (exit, hit) = (ended.outcome.exit, ended.outcome.limits_hit);
            match exit {
                Exit::OutOfMemory => assert!(hit.contains(&LimitName::Memory), "{hit:?}"),
                exit => assert_eq!(exit, Exit::OutOfDisk, "{at} {}{}", ended.stdout, ended.stderr),
            }
        }
    }
    // As many files as the headroom holds, which are memory as well.
    for _ in 0..10 {
        let mut parts = place.perl(
            "my $r = 'given'; for (1..140000) { open(my $f, '>', \"/tmp/$_\") or $r = 'refused' } unlink \"/tmp/$_\" for 1..140000; print $r",
        );
        parts.limits.disk = Limit::asked(Bytes(1 << 20));
        parts.limits.memory = Some(Limit::asked(Bytes(64 << 20)));
        let ended = ran(parts);
        let stopped = [Exit::OutOfDisk, Exit::OutOfMemory].contains(&ended.outcome.exit);
        assert!(stopped || ended.stdout == "given", "{:?} {}", ended.outcome.exit, ended.stdout);
    }
    Done::Passed
}

/// Also where it kills all that it started, waits for them, and passes.
fn who_is_refused_a_process_is_told_of(place: &Place) -> Done {
    let act = |most: u32| {
        format!(
            "my @p; while (@p < {most}) {{ my $p = fork; last unless defined $p; if (!$p) {{ sleep 600; exit }} push @p, $p }} \
             kill 9, @p; waitpid $_, 0 for @p; print @p < {most} ? 'refused' : 'given';"
        )
    };
    for (most, limit, said) in [(100, 40, "refused"), (3000, 2000, "refused"), (10, 200, "given")] {
        for _ in 0..3 {
            let mut parts = place.perl(&act(most));
            parts.limits.pids = Limit::asked(Count(limit));
            let ended = ran(parts);
            let hit: &[_] = if said == "refused" { &[LimitName::Pids] } else { &[] };
            assert_eq!(ended.outcome.limits_hit, hit, "{most} of {limit}");
            assert_eq!((ended.outcome.left_processes, ended.ok()), (0, said.to_owned()));
        }
    }
    Done::Passed
}

fn output_is_cut_and_said_so(place: &Place) -> Done {
    let mut parts = place.script("yes | head -c 8388608; yes err | head -c 8388608 >&2");
    let ended = ran(parts.clone());
    assert_eq!((ended.stdout.len(), ended.outcome.log_cut), (8 << 20, false), "control");
    parts.limits.log = Limit::default_of(Bytes(1 << 20));
    let ended = ran(parts);
    assert_eq!(ended.outcome.exit, Exit::Exited(0), "a step is not failed by its output");
    assert_eq!((ended.stdout.len() + ended.stderr.len(), ended.outcome.log_cut), (1 << 20, true));
    Done::Passed
}

fn timed(parts: sandbox::Parts) -> (Exit, Duration) {
    let start = Instant::now();
    let exit = ran(parts).outcome.exit;
    (exit, start.elapsed())
}

fn a_step_that_sleeps_is_stopped(place: &Place) -> Done {
    let mut parts = place.script("sleep 600");
    parts.timeout = Millis(300);
    let (exit, time) = timed(parts);
    assert_eq!(exit, Exit::TimedOut { idle: false });
    assert!(time >= Duration::from_millis(300) && time < STOPPED, "{time:?}");
    Done::Passed
}

fn a_step_that_ignores_term_is_killed(place: &Place) -> Done {
    let mut parts = place.script("trap '' TERM; while :; do sleep 600; done");
    parts.timeout = Millis(300);
    let (exit, time) = timed(parts);
    assert_eq!(exit, Exit::TimedOut { idle: false });
    assert!(time >= Duration::from_secs(2) && time < STOPPED, "after a grace: {time:?}");
    Done::Passed
}

fn a_silent_step_is_stopped(place: &Place) -> Done {
    let mut parts = place.script("for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; sleep 600");
    parts.limits.idle = Some(Limit::asked(Millis(800)));
    let (exit, time) = timed(parts);
    assert_eq!(exit, Exit::TimedOut { idle: true });
    assert!(time > Duration::from_millis(1500) && time < STOPPED, "{time:?}");
    Done::Passed
}

fn a_daemon_does_not_hold_the_step(place: &Place) -> Done {
    let (start, word) = (Instant::now(), word("daemon"));
    let ended = ran(place.perl(&format!(
        "use POSIX; for (1..3) {{ if (!fork) {{ POSIX::setsid(); $SIG{{$_}} = 'IGNORE' for qw(TERM HUP INT); if (!fork) {{ sleep 600 }} exit }} }} \
         wait for 1..3; print 'done'; # {word}",
    )));
    assert_eq!(ended.outcome.left_processes, 3);
    assert_eq!(ended.ok(), "done");
    assert!(start.elapsed() < STOPPED, "{:?}", start.elapsed());
    assert_eq!(alive(&word), 0);
    Done::Passed
}

fn open_files_are_bounded(place: &Place) -> Done {
    // It raises its own limit first, as far as that goes: 302 is prlimit64, of 7, the open files.
    let script = "my $l = pack('Q2', 0, 0); syscall(302, 0, 7, 0, $l) == 0 or die $!; my ($soft, $hard) = unpack('Q2', $l); \
        for my $most ($hard, 1 << 16) { my $new = pack('Q2', $most, $most); syscall(302, 0, 7, $new, 0) } \
        my @f; while (open(my $f, '<', '/dev/null')) { push @f, $f; last if @f > 5000 } print scalar @f;";
    let most = |parts| ran(parts).ok().parse::<u64>().expect("a number");
    let default = most(place.perl(script));
    assert!((1000..=1024).contains(&default), "{default}");
    let mut parts = place.perl(script);
    parts.limits.files = Limit::asked(Count(64));
    assert!(most(parts) <= 64);
    Done::Passed
}

/// Returns a word that no other process of this host has in its command line.
fn word(of: &str) -> String {
    format!("{of}_of_{:07}_", std::process::id())
}

/// Counts processes on this host whose command line holds `word`.
fn alive(word: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    entries
        .filter(|entry| {
            fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(word))
        })
        .count()
}

/// At once: it hears of nothing before it is dead, as it would in a grace.
fn an_interrupted_step_dies_at_once(place: &Place) -> Done {
    let word = word("interrupted");
    let script = format!(
        "trap 'echo heard' TERM INT HUP; (sleep 600; : {word}) & echo ready; while :; do sleep 600 & wait; done"
    );
    let spec = Spec::check(place.script(&script)).expect("a request");
    let cancel = Cancel::new().expect("a button");
    let (button, mut pressed, mut seen) = (cancel.clone(), None, 0);
    let mut said = String::new();
    let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, bytes| {
        said.push_str(&String::from_utf8_lossy(bytes));
        if pressed.is_none() {
            seen = alive(&word);
            pressed = Some(Instant::now());
            button.trigger();
        }
    });
    assert_eq!(outcome.expect("an outcome").exit, Exit::Cancelled);
    assert!(seen > 0, "control: it was alive");
    assert_eq!(said, "ready\n");
    assert!(pressed.expect("it was pressed").elapsed() < STOPPED);
    assert_eq!(alive(&word), 0);
    Done::Passed
}

fn a_button_pressed_before_the_start_counts(place: &Place) -> Done {
    let spec = Spec::check(place.script("sleep 600")).expect("a request");
    let cancel = Cancel::new().expect("a button");
    cancel.trigger();
    let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {})
        .expect("an outcome");
    assert_eq!(outcome.exit, Exit::Cancelled);
    Done::Passed
}

fn processors_are_pinned_or_refused(place: &Place) -> Done {
    let mut parts = place.script(
        "while read k v; do [ $k = Cpus_allowed_list: ] && echo $v; done < /proc/self/status; true",
    );
    parts.cpus = std::num::NonZeroU32::new(1);
    assert!(ran(parts.clone()).ok().trim().parse::<u32>().is_ok(), "one processor");
    parts.cpus = std::num::NonZeroU32::new(1023);
    assert!(matches!(try_run(parts), Err(Error::TooFewProcessors { asked: 1023, .. })));
    Done::Passed
}

fn a_missing_program_is_an_error_of_its_own(place: &Place) -> Done {
    assert_eq!(
        ran(place.program(&["true"])).outcome.exit,
        Exit::Exited(0),
        "control: found in PATH"
    );
    for name in ["no-such-program", "/no/such/program", "/etc/passwd"] {
        match try_run(place.program(&[name])) {
            Err(Error::Program { program, .. }) => assert_eq!(program, name),
            other => panic!("{name}: {:?}", other.map(|ran| ran.outcome.exit)),
        }
    }
    Done::Passed
}

fn what_held_is_written_down(place: &Place) -> Done {
    let enforced = ran(place.script("true")).outcome.enforced;
    for guarantee in Guarantee::ALL.into_iter().filter(|guarantee| guarantee.is_core()) {
        assert!(enforced.keeps(guarantee), "{guarantee}: {enforced:?}");
    }
    for guarantee in [Guarantee::Limits, Guarantee::Landlock] {
        assert!(
            enforced.keeps(guarantee) || enforced.absent.contains_key(&guarantee),
            "{guarantee}"
        );
    }
    Done::Passed
}

fn the_probe_agrees_with_a_run(place: &Place) -> Done {
    let enforced = ran(place.script("true")).outcome.enforced;
    let report = sandbox::probe::probe();
    assert!(report.is_ready() && report.missing().is_none(), "{report:?}");
    for finding in &report.findings {
        match &finding.state {
            State::Kept(mechanisms) => {
                assert!(!mechanisms.is_empty() && enforced.keeps(finding.guarantee));
                assert!(!enforced.absent.contains_key(&finding.guarantee));
            }
            State::Reduced { .. } => assert!(enforced.absent.contains_key(&finding.guarantee)),
            other => panic!("{other:?}"),
        }
    }
    Done::Passed
}

fn threads_run_steps_side_by_side(place: &Place) -> Done {
    let source = place.source("shared", &[("count", "0")]);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let source = source.clone();
            scope.spawn(move || {
                for _ in 0..3 {
                    let mut parts =
                        place.script(&format!("cat count; echo {number} > count; cat count"));
                    parts.mounts = vec![crate::place::view("/build", source.clone())];
                    assert_eq!(ran(parts).ok(), format!("0{number}\n"));
                }
            });
        }
    });
    Done::Passed
}
