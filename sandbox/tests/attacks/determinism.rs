//! What a step can notice is the same on every host, for every user and every time.

use sandbox::InjectedFile;

use crate::harness::{Done, Test};
use crate::place::{Place, at, ran, read_only, view};

pub const TESTS: &[Test] = &[
    ("s_c01_times_are_fixed", times_are_fixed),
    ("s_c02_names_and_ids_are_fixed", names_and_ids_are_fixed),
    ("s_c03_process_numbers_are_fixed", process_numbers_are_fixed),
    ("s_c06_addresses_are_fixed", addresses_are_fixed),
    ("s_c08_the_callers_umask_is_not_inherited", the_callers_umask_is_not_inherited),
    ("the_control_group_has_no_name", the_control_group_has_no_name),
    ("s_c10_uptime_starts_at_zero", uptime_starts_at_zero),
    ("output_can_be_reopened_by_name", output_can_be_reopened_by_name),
    ("signals_of_the_caller_are_not_inherited", signals_of_the_caller_are_not_inherited),
    ("limits_of_the_host_are_not_inherited", limits_of_the_host_are_not_inherited),
];

fn times_are_fixed(place: &Place) -> Done {
    let source = place.source("times", &[("dir/f", "x")]);
    let library = place.source("library", &[("g", "x")]);
    let mut parts = place.script(
        "stat -c '%n %Y %a %u:%g' / /usr /bin /etc/passwd /build /build/dir /build/dir/f /build/deep /build/deep/er \
         /build/added /build/one /tmp /tmp/home /kiln /kiln/script /opt /opt/a /opt/a/tool /opt/a/tool/g /dev /dev/shm; echo $SOURCE_DATE_EPOCH",
    );
    parts.mounts = vec![
        view("/build", source),
        view("/build/deep/er", library.clone()),
        view("/build/one", library.join("g")),
        read_only("/opt/a/tool", library),
    ];
    parts.files = vec![
        InjectedFile { at: at("/kiln/script"), bytes: b"#!/bin/sh\n".to_vec(), mode: 0o555 },
        InjectedFile { at: at("/build/added"), bytes: b"x".to_vec(), mode: 0o644 },
    ];
    parts.folders = vec![at("/tmp/home")];
    let printed = ran(parts).ok();
    let (t0, sources) = (318_211_200, 318_211_202);
    let mut want = String::new();
    for (name, time, mode) in [
        ("/", t0, "755"),
        ("/usr", t0, "755"),
        ("/bin", t0, "777"),
        ("/etc/passwd", t0, "644"),
        ("/build", sources, "755"),
        ("/build/dir", sources, "755"),
        ("/build/dir/f", sources, "644"),
        ("/build/deep", t0, "755"),
        ("/build/deep/er", sources, "755"),
        ("/build/added", t0, "644"),
        ("/build/one", sources, "644"),
        ("/tmp", t0, "1777"),
        ("/tmp/home", t0, "755"),
        ("/kiln", t0, "755"),
        ("/kiln/script", t0, "555"),
        ("/opt", t0, "755"),
        ("/opt/a", t0, "755"),
        ("/opt/a/tool", sources, "755"),
        ("/opt/a/tool/g", sources, "644"),
        ("/dev", t0, "755"),
        ("/dev/shm", t0, "1777"),
    ] {
        want += &format!("{name} {time} {mode} 1000:1000\n");
    }
    assert_eq!(printed, want + "318211200\n");
    Done::Passed
}

fn names_and_ids_are_fixed(place: &Place) -> Done {
    let printed = ran(place.script(
        "hostname; cat /proc/sys/kernel/domainname; id; echo $HOME $PWD $TMPDIR; umask; echo $0 $#",
    ))
    .ok();
    assert_eq!(
        printed,
        "localhost\n(none)\nuid=1000(kiln) gid=1000(kiln) groups=1000(kiln)\n/build /build /tmp\n0022\n/bin/sh 0\n"
    );
    Done::Passed
}

fn process_numbers_are_fixed(place: &Place) -> Done {
    let script = "echo $$ $PPID; read pid name state ppid group session rest < /proc/self/stat; echo $group $session; \
                  for p in /proc/[0-9]*; do echo ${p#/proc/}; done";
    assert_eq!(ran(place.script(script)).ok(), "2 1\n2 2\n1\n2\n");
    Done::Passed
}

fn addresses_are_fixed(place: &Place) -> Done {
    let run =
        || ran(place.script("while read a b c d e f; do echo $a $f; done < /proc/self/maps")).ok();
    assert_eq!(run(), run());
    Done::Passed
}

fn the_callers_umask_is_not_inherited(place: &Place) -> Done {
    let script = "touch f; mkdir d; stat -c %a f d . /kiln";
    let want = "644\n755\n755\n755\n";
    for mask in [0o000, 0o077, 0o777] {
        let before = rustix::process::umask(rustix::fs::Mode::from(mask));
        let printed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ran(place.script(script)).ok()
        }));
        rustix::process::umask(before);
        assert_eq!(printed.expect("a run"), want, "umask {mask:o}");
    }
    Done::Passed
}

/// Whether the step entered its group before or after its namespace is seen here.
fn the_control_group_has_no_name(place: &Place) -> Done {
    for _ in 0..20 {
        let printed = ran(place.program(&["/bin/cat", "/proc/self/cgroup"])).ok();
        for line in printed.lines() {
            assert!(line.ends_with(":/"), "{printed}");
        }
    }
    Done::Passed
}

fn uptime_starts_at_zero(place: &Place) -> Done {
    let printed = ran(place.script("read up idle < /proc/uptime; echo ${up%%.*}")).ok();
    let seconds: u64 = printed.trim().parse().expect("a number");
    assert!(seconds < 60, "{seconds} s");
    Done::Passed
}

fn output_can_be_reopened_by_name(place: &Place) -> Done {
    let ended = ran(place
        .script("echo one > /dev/stdout; echo two > /dev/stderr; echo three > /proc/self/fd/1"));
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("one\nthree\n", "two\n"));
    Done::Passed
}

fn signals_of_the_caller_are_not_inherited(place: &Place) -> Done {
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let ignored = own.lines().find(|line| line.starts_with("SigIgn:")).expect("a line");
    assert!(!ignored.ends_with("0000000000000000"), "control: this program ignores SIGPIPE");
    let printed = ran(place.program(&["/bin/cat", "/proc/self/status"])).ok();
    for key in ["SigBlk:", "SigIgn:", "SigPnd:", "ShdPnd:"] {
        let line = printed.lines().find(|line| line.starts_with(key)).expect("a line");
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    Done::Passed
}

fn limits_of_the_host_are_not_inherited(place: &Place) -> Done {
    let printed = ran(place.script(
        "ulimit -S -n; ulimit -S -s; ulimit -S -c; ulimit -H -c; ulimit -S -t; ulimit -S -f",
    ))
    .ok();
    assert_eq!(printed, "1024\n8192\n0\n0\nunlimited\nunlimited\n");
    Done::Passed
}
