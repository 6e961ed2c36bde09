//! Attacks on `files`, `processes`, `identity` and `syscalls`: out of the sandbox, or into kiln.
#![allow(clippy::disallowed_methods, reason = "controls start programs on the host")]

use std::fs;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;

use rustix::io::FdFlags;
use sandbox::{Cancel, Error, Exit, InjectedFile, MountProblem, Spec, SpecError};

use crate::harness::{Done, Test, is_root};
use crate::place::{Place, Ran, at, copy, ran, read_only, try_run, view};

pub const TESTS: &[Test] = &[
    ("s_a01_only_standard_descriptors_are_open", only_standard_descriptors_are_open),
    (
        "s_a02_no_folder_of_the_host_is_reached_by_descriptor",
        no_folder_of_the_host_is_reached_by_descriptor,
    ),
    ("s_a03_working_folder_in_proc_is_refused", working_folder_in_proc_is_refused),
    ("s_a04_first_process_cannot_be_read_or_written", first_process_cannot_be_read_or_written),
    ("s_a04_first_process_runs_from_a_sealed_copy", first_process_runs_from_a_sealed_copy),
    (
        "s_a05_environment_cannot_replace_kilns_own_folders",
        environment_cannot_replace_kilns_own_folders,
    ),
    ("s_a07_masked_and_read_only_paths_hold", masked_and_read_only_paths_hold),
    ("s_a08_nothing_can_be_mounted", nothing_can_be_mounted),
    ("s_a09_nothing_lies_above_the_root", nothing_lies_above_the_root),
    ("s_a09_the_root_cannot_be_changed", the_root_cannot_be_changed),
    ("s_a10_no_new_namespaces", no_new_namespaces),
    ("s_a11_set_id_programs_give_nothing", set_id_programs_give_nothing),
    ("s_a12_signals_stay_inside", signals_stay_inside),
    ("s_a13_no_keystroke_can_be_forged", no_keystroke_can_be_forged),
    ("s_a14_no_device_can_be_made", no_device_can_be_made),
    ("s_a15_no_socket_of_the_host_is_present", no_socket_of_the_host_is_present),
    ("s_a16_abstract_sockets_do_not_cross", abstract_sockets_do_not_cross),
    ("s_a17_odd_socket_families_do_not_exist", odd_socket_families_do_not_exist),
    ("s_a18_io_uring_does_not_exist", io_uring_does_not_exist),
    ("s_a19_unknown_and_x32_calls_do_not_exist", unknown_and_x32_calls_do_not_exist),
    ("s_a20_key_rings_do_not_exist", key_rings_do_not_exist),
    ("s_a21_no_control_group_of_the_host_is_named", no_control_group_of_the_host_is_named),
    ("s_a22_debugging_works_on_own_children_only", debugging_works_on_own_children_only),
    ("s_a24_inputs_cannot_be_linked_or_changed", inputs_cannot_be_linked_or_changed),
    ("s_a26_mount_points_never_follow_a_symlink", mount_points_never_follow_a_symlink),
    ("set_id_bits_cannot_be_set", set_id_bits_cannot_be_set),
    ("no_capability_is_left", no_capability_is_left),
    ("only_listed_places_are_writable", only_listed_places_are_writable),
    ("devices_of_the_host_are_used_and_not_changed", devices_of_the_host_are_used_and_not_changed),
];

/// Perl that makes system calls and prints each one's error number, or `ok`.
fn calls(place: &Place, script: &str) -> Vec<String> {
    let try_one =
        "sub try { my $r = syscall(shift, @_); print $r == -1 ? $!+0 : 'ok', \"\\n\" } my $n = 0;";
    let printed = ran(place.perl(&format!("{try_one} {script}"))).ok();
    printed.lines().map(str::to_owned).collect()
}

/// Opens something of the host and lets it leak into every program that this process starts.
fn leaky(path: &std::path::Path) -> fs::File {
    let file = fs::File::open(path).expect("something to leak");
    rustix::io::fcntl_setfd(file.as_fd(), FdFlags::empty()).expect("a flag");
    file
}

fn host_shell(script: &str) -> (bool, String) {
    let ran = Command::new("/bin/sh").args(["-c", script]).output().expect("a shell");
    (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
}

fn only_standard_descriptors_are_open(place: &Place) -> Done {
    let canary = place.source("canary-a01", &[("canary", "x")]);
    let leaked = leaky(&canary);
    assert!(host_shell("ls -l /proc/self/fd").1.contains("canary-a01"), "control: it leaks");
    let list = "opendir(D, '/proc/self/fd'); for (sort grep {!/^\\./} readdir D) { print \"$_ \", readlink(\"/proc/self/fd/$_\"), \"\\n\" }";
    let printed = ran(place.perl(list)).ok();
    drop(leaked);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "0 /dev/null");
    assert!(lines[1].starts_with("1 pipe:") && lines[2].starts_with("2 pipe:"), "{printed}");
    assert_eq!(lines[3..], ["3 /proc/2/fd"], "the listing itself and nothing else");
    Done::Passed
}

fn no_folder_of_the_host_is_reached_by_descriptor(place: &Place) -> Done {
    let canary = place.source("canary-a02", &[("host-canary", "x")]);
    let leaked = leaky(&canary);
    let (_, seen) = host_shell(
        "cd /proc/self/fd/$(ls -l /proc/self/fd | grep -o '[0-9]* -> .*canary-a02' | cut -d' ' -f1) && ls",
    );
    assert!(seen.contains("host-canary"), "control: reached by descriptor on the host");
    let script = "i=0; while [ $i -le 255 ]; do for p in self 1; do (cd /proc/$p/fd/$i && ls . .. ../..) ; done; \
                  i=$((i+1)); done 2>/dev/null; (cd /proc/1/root && ls; cd /proc/1/cwd && ls) 2>&1; true";
    let printed = ran(place.script(script)).ok();
    drop(leaked);
    assert!(!printed.contains("host-canary") && !printed.contains("canary-a02"), "{printed}");
    Done::Passed
}

fn working_folder_in_proc_is_refused(place: &Place) -> Done {
    let mut parts = place.script("true");
    assert!(Spec::check(parts.clone()).is_ok(), "control");
    for folder in ["/proc/self/fd/7", "/proc", "/dev/fd/7", "/kiln"] {
        parts.cwd = at(folder);
        assert_eq!(
            Spec::check(parts.clone()).err(),
            Some(SpecError::WorkingFolder { at: at(folder) })
        );
    }
    // Past the check by a symlink of the environment: refused where it is entered.
    let linked = place.source("linked-cwd", &[("f", "")]);
    symlink("/proc/self/fd/0", linked.join("there")).expect("a link");
    parts.mounts = vec![view("/build", linked)];
    parts.cwd = at("/build/there");
    assert!(matches!(try_run(parts), Err(Error::Setup { .. })));
    Done::Passed
}

fn first_process_cannot_be_read_or_written(place: &Place) -> Done {
    let script = "for f in exe environ mem maps cwd root fd ns/mnt; do \
                    if cat /proc/self/$f >/dev/null 2>&1 || ls -d /proc/self/$f/ >/dev/null 2>&1; then echo own $f; fi; \
                    if cat /proc/1/$f >/dev/null 2>&1 || ls /proc/1/$f/ >/dev/null 2>&1; then echo first $f; fi; done; \
                  (: >> /proc/1/exe) 2>/dev/null && echo wrote; (: >> /proc/1/mem) 2>/dev/null && echo wrote; true";
    let printed = ran(place.script(script)).ok();
    assert!(printed.contains("own exe") && printed.contains("own environ"), "control: {printed}");
    assert!(!printed.contains("first") && !printed.contains("wrote"), "{printed}");
    Done::Passed
}

/// Seen from the host, while the step runs: what a step reaches there is no program of the host.
fn first_process_runs_from_a_sealed_copy(place: &Place) -> Done {
    if !is_root() {
        return Done::Ignored("only root can look at a process that nobody may look at");
    }
    let word = format!("word_{}", std::process::id());
    let script = place.script(&format!("echo ready; sleep 600; : {word}"));
    let spec = Spec::check(script).expect("a request");
    let cancel = Cancel::new().expect("a button");
    let (button, mut seen) = (cancel.clone(), None);
    let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {
        button.trigger();
        // The step's own process is found by its words, and its parent is the first one.
        let numbers = fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
        let step = numbers.filter(|path| {
            fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.contains(&word))
        });
        let parents = step.filter_map(|path| {
            let status = fs::read_to_string(path.join("status")).ok()?;
            let parent =
                status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().to_owned();
            Some(format!("/proc/{parent}/exe"))
        });
        seen = parents.into_iter().find(|exe| {
            fs::read_link(exe)
                .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:kiln"))
        });
        if let Some(exe) = &seen {
            let image = fs::File::open(exe).expect("the image");
            let seals = rustix::fs::fcntl_get_seals(&image).expect("seals");
            let all = rustix::fs::SealFlags::WRITE
                | rustix::fs::SealFlags::SHRINK
                | rustix::fs::SealFlags::GROW
                | rustix::fs::SealFlags::SEAL;
            assert!(seals.contains(all), "{seals:?}");
        }
    });
    assert_eq!(outcome.expect("a run").exit, Exit::Cancelled);
    assert!(seen.is_some(), "the first process runs from a memory file");
    Done::Passed
}

fn environment_cannot_replace_kilns_own_folders(place: &Place) -> Done {
    for name in ["dev", "proc", "tmp", "build", "kiln"] {
        let root = place.source("bad-root", &[("etc/x", ""), ("sys", "a file")]);
        let mut parts = place.script("true");
        parts.root = root.clone();
        symlink("/tmp", root.join(name)).expect("a link");
        let Err(Error::Place { at: where_at, problem: MountProblem::EnvironmentNotAFolder }) =
            try_run(parts)
        else {
            panic!("{name} as a link was not refused");
        };
        assert_eq!(where_at, at(&format!("/{name}")));
    }
    // A folder of that name is covered by kiln's own.
    let mut parts = place.script("ls /dev /build");
    let copy = place.source("covered", &[("build/theirs", ""), ("dev/theirs", "")]);
    for entry in fs::read_dir(place.root()).expect("a folder") {
        let entry = entry.expect("an entry");
        host_shell(&format!("cp -a {} {}/", entry.path().display(), copy.display()));
    }
    parts.root = copy;
    assert!(!ran(parts).ok().contains("theirs"));
    Done::Passed
}

fn masked_and_read_only_paths_hold(place: &Place) -> Done {
    let script = "for f in acpi asound buddyinfo bus cmdline config.gz diskstats fs interrupts irq kallsyms kcore key-users \
                  keys kmsg latency_stats locks modules pressure sched_debug scsi softirqs sys/fs/aio-nr sys/fs/dentry-state \
                  sys/fs/file-nr sys/fs/inode-nr sys/fs/inode-state sys/fs/quota sys/kernel/pty/nr sysrq-trigger timer_list \
                  timer_stats vmcore vmstat zoneinfo; do p=/proc/$f; \
                    if [ -d $p ]; then for e in $p/*; do [ -e $e ] && echo full $p; done; \
                    elif [ -e $p ]; then [ -n \"$(head -c 1 $p 2>/dev/null)\" ] && echo full $p; \
                      (echo x > $p) 2>/dev/null && echo wrote $p; fi; done; \
                  for f in sys/kernel/hostname sys/kernel/core_pattern sys/vm/drop_caches sys/net/ipv4/ip_forward \
                    irq/default_smp_affinity; do p=/proc/$f; (echo x > $p) 2>/dev/null && echo wrote $p; done; \
                  cat /proc/sys/kernel/random/boot_id; [ -e /sys ] && echo sys; cat /proc/meminfo | head -c 8";
    let printed = ran(place.script(script)).ok();
    assert_eq!(printed, "00000000-0000-4000-8000-000000000000\nMemTotal");
    Done::Passed
}

fn nothing_can_be_mounted(place: &Place) -> Done {
    assert!(
        host_shell("unshare -Urm mount -t tmpfs none /tmp").0,
        "control: a mount in an own namespace"
    );
    // mount, bind, umount2, open_tree, move_mount, fsopen, fsmount, mount_setattr, statmount, listmount.
    let errors = calls(
        place,
        "my ($a, $b) = ('none', '/tmp'); try(165, $a, $b, my $t = 'tmpfs', 0, 0); try(165, my $f = '/usr', $b, 0, 4096, 0); \
         try(166, my $p = '/proc', 2); try(428, -100, $b, 1); try(429, 0, $b, 0, $b, 0); try(430, $t, 0); \
         try(432, 0, 0, 0); try(442, -100, $b, 0, 0, 0); try(457, 0, 0, 0, 0); try(458, 0, 0, 0, 0);",
    );
    assert_eq!(errors, vec!["1"; 10]);
    Done::Passed
}

fn the_root_cannot_be_changed(place: &Place) -> Done {
    assert!(
        host_shell("unshare -Ur sh -c 'perl -e \"exit(chroot(q(/usr)) ? 0 : 1)\"'").0,
        "control: chroot"
    );
    let errors = calls(
        place,
        "open(my $saved, '<', '/'); my $d = '/tmp'; try(161, $d); try(161, $d); try(155, $d, $d); \
         print chdir($saved) ? 'ok' : $!+0, \"\\n\"; try(308, fileno($saved), 0);",
    );
    // The saved root is still only our own root.
    assert_eq!(errors, ["1", "1", "1", "ok", "1"]);
    Done::Passed
}

fn nothing_lies_above_the_root(place: &Place) -> Done {
    let script = "ls -di / | { read i n; echo $i; } > /tmp/a; ls -di /.. /../.. /../../../../../.. | while read i n; do echo $i; done > /tmp/b; \
                  read want < /tmp/a; while read i; do [ $i = $want ] || echo OTHER $i; done < /tmp/b; \
                  n=0; while read a b c d at rest; do [ $at = / ] && n=$((n+1)); done < /proc/self/mountinfo; echo $n; \
                  ls /.. | while read e; do [ -e /$e ] || echo SEEN $e; done";
    assert_eq!(ran(place.script(script)).ok(), "1\n");
    let printed =
        ran(place.script("while read line; do echo $line; done < /proc/self/mountinfo")).ok();
    let canary = place.root();
    assert!(!printed.contains("/sys/fs/cgroup") && !printed.contains(" /dev/pts "), "{printed}");
    assert!(
        !ran(place
            .script(&format!("ls -d /..{0} /proc/1/root{0} 2>/dev/null; true", canary.display())))
        .ok()
        .contains("kiln")
    );
    Done::Passed
}

fn no_new_namespaces(place: &Place) -> Done {
    assert!(host_shell("unshare -U true").0, "control: a user namespace on the host");
    let flags = [
        "0x10000000",
        "0x20000000",
        "0x40000000",
        "0x00020000",
        "0x04000000",
        "0x08000000",
        "0x02000000",
        "0x80",
    ];
    let tries: String = flags.iter().map(|flag| format!("try(272, {flag});")).collect();
    assert_eq!(calls(place, &tries), vec!["1"; flags.len()], "unshare");
    assert_eq!(calls(place, "try(56, 0x10000011, 0, 0, 0, 0);"), ["1"], "clone");
    assert_eq!(calls(place, "try(435, 0, 0);"), ["38"], "clone3");
    let printed =
        ran(place.script("cat /proc/sys/user/max_user_namespaces; (true) && echo forked")).ok();
    assert_eq!(printed, "0\nforked\n");
    Done::Passed
}

fn set_id_programs_give_nothing(place: &Place) -> Done {
    let source = place.source("set-id", &[("note", "")]);
    let planted = source.join("id");
    copy(std::path::Path::new("/usr/bin/id"), &planted);
    if is_root() {
        // Root's own file: on the host it would make its caller root.
        std::os::unix::fs::chown(&planted, Some(0), Some(0)).expect("root's");
    }
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o6755)).expect("set-id");
    assert!(host_shell(&format!("test -u {}", planted.display())).0, "control: the bit is there");
    let mut parts = place.script("./id; cat /proc/self/status | while read k v; do [ $k = NoNewPrivs: ] && echo $v; done; true");
    parts.mounts = vec![view("/build", source)];
    let printed = ran(parts).ok();
    assert_eq!(
        printed,
        "uid=1000(kiln) gid=1000(kiln) groups=1000(kiln),65534\n1\n".replace(",65534", "")
    );
    Done::Passed
}

fn signals_stay_inside(place: &Place) -> Done {
    let mut canary = Command::new("sleep").arg("600").spawn().expect("a canary");
    let ended = ran(place.script(
        "sleep 60 & sleep 60 & kill -9 -1; kill -9 1; kill -9 $PPID; echo alive; kill -9 0",
    ));
    assert_eq!(ended.stdout, "alive\n", "{}", ended.stderr);
    assert_eq!(ended.outcome.exit, Exit::Signaled(9));
    let number = canary.id();
    let ended = ran(place.script(&format!(
        "kill -0 $$ && echo own; kill -0 {number} 2>/dev/null && echo host; true"
    )));
    assert_eq!(ended.ok(), "own\n");
    assert!(canary.try_wait().expect("a canary").is_none(), "the host's process lives");
    canary.kill().expect("a canary");
    canary.wait().expect("a canary");
    Done::Passed
}

fn no_keystroke_can_be_forged(place: &Place) -> Done {
    let errors = calls(
        place,
        "my $c = 'x'; my $room = \"\\0\" x 8; try(16, 1, 0x541b, $room); for my $fd (0, 1, 2) { try(16, $fd, 0x5412, $c); } \
         try(16, 0, 0x541c, $c); try(16, 0, 0xffffffff00005412, $c); print -t STDIN || -t STDOUT || -t STDERR ? 'tty' : 'none', \"\\n\"; \
         print open(my $t, '<', '/dev/tty') ? 'tty' : 'none', \"\\n\";",
    );
    assert_eq!(errors, ["ok", "1", "1", "1", "1", "1", "none", "none"]);
    Done::Passed
}

fn no_device_can_be_made(place: &Place) -> Done {
    let printed = ran(place.script(
        "mkfifo fifo && echo fifo; mknod c c 1 5 2>&1; mknod b b 8 0 2>&1; ls; echo x > /dev/null && head -c 2 /dev/zero | od -c 2>/dev/null; true",
    ))
    .ok();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "fifo", "control");
    assert!(lines[1].contains("not permitted") && lines[2].contains("not permitted"), "{printed}");
    assert_eq!(lines[3..], ["fifo"]);
    Done::Passed
}

fn no_socket_of_the_host_is_present(place: &Place) -> Done {
    let printed = ran(place.script(
        "[ -e /etc/passwd ] && echo control; for p in /run/docker.sock /var/run/docker.sock /run/containerd \
         /run/dbus /run/user /tmp/.X11-unix /tmp/ssh-agent /run/systemd /dev/log; do [ -e $p ] && echo $p; done; true",
    ))
    .ok();
    assert_eq!(printed, "control\n");
    Done::Passed
}

fn abstract_sockets_do_not_cross(place: &Place) -> Done {
    let name = format!("kiln-canary-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("a listener");
    assert!(UnixStream::connect_addr(&address).is_ok(), "control: reached on the host");
    let connect = format!(
        "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
         print connect(S, pack('S a*', AF_UNIX, \"\\0{name}\")) ? 'ok' : $!+0;"
    );
    assert_eq!(ran(place.perl(&connect)).ok(), "111");
    drop(listener);
    // The other way round: the step listens, the host calls.
    let listen = format!(
        "use Socket; $| = 1; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
         bind(S, pack('S a*', AF_UNIX, \"\\0{name}\")) or die; listen(S, 1) or die; \
         socket(C, PF_UNIX, SOCK_STREAM, 0); print connect(C, pack('S a*', AF_UNIX, \"\\0{name}\")) ? 'ready' : $!+0; \
         select(undef, undef, undef, 0.3);"
    );
    let spec = Spec::check(place.perl(&listen)).expect("a request");
    let mut seen = Vec::new();
    let outcome = sandbox::run(
        &spec,
        &sandbox::Backend::Native,
        &Cancel::new().expect("a button"),
        &mut |_, bytes: &[u8]| {
            seen.push((
                String::from_utf8_lossy(bytes).into_owned(),
                UnixStream::connect_addr(&address).is_ok(),
            ));
        },
    );
    assert_eq!(outcome.expect("a run").exit, Exit::Exited(0));
    assert_eq!(seen, [("ready".to_owned(), false)]);
    Done::Passed
}

fn odd_socket_families_do_not_exist(place: &Place) -> Done {
    // Control: local, IPv4, IPv6, routing netlink. Then ALG, PACKET, BLUETOOTH, VSOCK, audit netlink,
    // raw ICMP, a pair of IPv4 sockets.
    let errors = calls(
        place,
        "try(41, 1, 1, 0); try(41, 2, 1, 0); try(41, 10, 2, 0); try(41, 16, 3, 0); try(41, 38, 5, 0); try(41, 17, 3, 0); \
         try(41, 31, 3, 1); try(41, 40, 1, 0); try(41, 16, 3, 9); try(41, 2, 3, 1); my $p = \"\\0\" x 8; try(53, 2, 1, 0, $p);",
    );
    assert_eq!(errors, ["ok", "ok", "ok", "ok", "97", "97", "97", "97", "97", "1", "97"]);
    Done::Passed
}

fn io_uring_does_not_exist(place: &Place) -> Done {
    assert_eq!(
        calls(
            place,
            "my $p = \"\\0\" x 120; try(39); try(425, 1, $p); try(426, 0, 0, 0, 0, 0, 0); try(427, 0, 0, 0, 0);"
        ),
        ["ok", "38", "38", "38"]
    );
    Done::Passed
}

fn unknown_and_x32_calls_do_not_exist(place: &Place) -> Done {
    let errors = calls(
        place,
        "try(39); try(470); try(600); try(0x40000000 + 39); try(0x40000000 + 520, 0, 0, 0); try(323, 0); try(175, 0, 0, 0);",
    );
    assert_eq!(errors, ["ok", "38", "38", "38", "38", "38", "1"]);
    Done::Passed
}

fn key_rings_do_not_exist(place: &Place) -> Done {
    let errors = calls(
        place,
        "my ($t, $d) = ('user', 'kiln'); try(248, $t, $d, $d, 4, -3); try(249, $t, $d, 0, 0); try(250, 0, -3, 0);",
    );
    assert_eq!(errors, ["38", "38", "38"]);
    assert_eq!(ran(place.script("cat /proc/keys 2>/dev/null; true")).ok(), "");
    Done::Passed
}

fn debugging_works_on_own_children_only(place: &Place) -> Done {
    let errors = calls(
        place,
        "my $c = fork; if (!$c) { sleep 60; exit } try(101, 16, $c, 0, 0); waitpid($c, 0); try(101, 17, $c, 0, 0); kill 9, $c; \
         try(101, 16, 1, 0, 0); try(101, 16, 4000000, 0, 0);",
    );
    assert_eq!(errors, ["ok", "ok", "1", "3"]);
    Done::Passed
}

fn inputs_cannot_be_linked_or_changed(place: &Place) -> Done {
    let fixed = place.source("fixed", &[("lock.txt", "locked"), ("tool*", "#!/bin/sh\n")]);
    let sources = place.source("own", &[("mine.txt", "mine")]);
    let mut parts = place.script(
        "ln mine.txt link && echo x >> link && echo control; \
         t() { \"$@\" 2>&1 && echo DONE; }; \
         t ln vendor/lock.txt l1; t ln /usr/bin/env l2; t chmod +w vendor/lock.txt; t touch vendor/new; \
         t rm vendor/lock.txt; t mv vendor/lock.txt vendor/b; t touch /usr/bin/new; t chmod 777 /usr/bin/env; \
         (echo x >> vendor/lock.txt) 2>&1 && echo DONE; (echo x > /usr/bin/env) 2>&1 && echo DONE; \
         t touch /new; t mkdir /usr/lib/x; t rm /etc/passwd; t touch /dev/x; true",
    );
    parts.mounts = vec![view("/build", sources.clone()), read_only("/build/vendor", fixed.clone())];
    let Ran { stdout, .. } = ran(parts);
    assert!(stdout.starts_with("control\n"), "{stdout}");
    assert!(!stdout.contains("DONE"), "{stdout}");
    assert_eq!(stdout.matches("cross-device").count(), 2, "{stdout}");
    assert!(stdout.matches("ead-only file system").count() >= 8, "{stdout}");
    assert_eq!(fs::read_to_string(sources.join("mine.txt")).expect("text"), "mine");
    assert_eq!(fs::read_to_string(fixed.join("lock.txt")).expect("text"), "locked");
    assert!(!sources.join("link").exists() && !fixed.join("new").exists());
    Done::Passed
}

fn mount_points_never_follow_a_symlink(place: &Place) -> Done {
    let canary = place.source("canary-a26", &[("inside", "canary")]);
    let tree = place.source("linked", &[("real/file", "text"), ("plain", "text")]);
    symlink(&canary, tree.join("absolute")).expect("a link");
    symlink("real", tree.join("relative")).expect("a link");
    symlink("/nowhere", tree.join("dangling")).expect("a link");
    let input = place.source("input", &[("f", "input")]);
    let refused = |point: &str, source: std::path::PathBuf| {
        let mut parts = place.script("true");
        parts.mounts = vec![view("/build", tree.clone()), read_only(point, source)];
        matches!(try_run(parts), Err(Error::Place { .. }))
    };
    assert!(!refused("/build/real/new", input.clone()), "control: a plain path");
    for point in [
        "absolute/x",
        "relative/x",
        "dangling/x",
        "absolute",
        "relative",
        "dangling",
        "plain/x",
        "plain",
        "real",
    ] {
        assert!(refused(&format!("/build/{point}"), input.clone()), "folder at {point}");
        assert!(refused(&format!("/build/{point}"), input.join("f")), "file at {point}");
    }
    // The environment's /bin is a link.
    let mut parts = place.script("true");
    parts.mounts = vec![read_only("/bin/x", input.clone())];
    assert!(matches!(try_run(parts), Err(Error::Place { problem: MountProblem::NotAFolder, .. })));
    for point in ["absolute/x", "dangling", "relative/x"] {
        let mut parts = place.script("true");
        parts.mounts = vec![view("/build", tree.clone())];
        parts.files = vec![InjectedFile {
            at: at(&format!("/build/{point}")),
            bytes: b"x".to_vec(),
            mode: 0o644,
        }];
        assert!(try_run(parts).is_err(), "added file at {point}");
    }
    assert_eq!(fs::read_dir(&canary).expect("a folder").count(), 1);
    assert_eq!(fs::read_to_string(canary.join("inside")).expect("text"), "canary");
    assert_eq!(fs::read_dir(tree.join("real")).expect("a folder").count(), 1);
    Done::Passed
}

fn set_id_bits_cannot_be_set(place: &Place) -> Done {
    let printed = ran(place.script(
        "touch f; chmod 755 f && echo control; chmod 1777 f && echo sticky; chmod u+s f 2>/dev/null && echo SET; \
         chmod g+s f 2>/dev/null && echo SET; mkdir d; chmod 2755 d 2>/dev/null && echo SET; true",
    ))
    .ok();
    assert_eq!(printed, "control\nsticky\n");
    Done::Passed
}

fn no_capability_is_left(place: &Place) -> Done {
    let printed = ran(place.script(
        "while read k v; do case $k in Cap*) echo $v;; esac; done < /proc/self/status; chown 0 /build 2>/dev/null && echo CHOWN; \
         hostname evil 2>/dev/null && echo NAMED; date -s 2000-01-01 >/dev/null 2>&1 && echo CLOCK; \
         touch f; chown 1000:1000 f && echo control",
    ))
    .ok();
    assert_eq!(printed, "0000000000000000\n".repeat(5) + "control\n");
    Done::Passed
}

fn no_control_group_of_the_host_is_named(place: &Place) -> Done {
    // Often, since entering the group and hiding it could overtake one another.
    for _ in 0..20 {
        let printed = ran(place.script("cat /proc/self/cgroup")).ok();
        assert!(printed.lines().count() > 0, "control: there are groups");
        assert!(printed.lines().all(|line| line.ends_with(":/")), "{printed}");
    }
    Done::Passed
}

fn only_listed_places_are_writable(place: &Place) -> Done {
    let mut parts = place.perl(
        "open(M, '<', '/proc/self/mountinfo'); while (<M>) { my @f = split; my ($at, $o) = @f[4, 5]; \
         print \"$at\\n\" if $o !~ /(^|,)ro(,|$)/; \
         print \"suid $at\\n\" if $o !~ /nosuid/; print \"dev $at\\n\" if $o !~ /nodev/ && $at !~ m{^/dev/}; }",
    );
    parts.mounts = vec![read_only("/opt/tool", place.source("tool", &[("x", "")]))];
    let mut writable: Vec<String> = ran(parts).ok().lines().map(str::to_owned).collect();
    writable.sort();
    assert_eq!(writable, ["/build", "/dev/shm", "/proc", "/tmp"]);
    // Most of /proc/sys belongs to the host's root, which would refuse a write anyway: ask the mount.
    let frozen = ran(place.perl(
        "open(M, '<', '/proc/self/mountinfo'); while (<M>) { my @f = split; \
         print \"$f[4]\\n\" if $f[4] =~ m{^/proc/(bus|fs|irq|pressure|sys)$} && $f[5] =~ /(^|,)ro(,|$)/ }",
    ))
    .ok();
    for name in ["bus", "fs", "irq", "pressure", "sys"] {
        let there = std::path::Path::new("/proc").join(name).exists();
        assert_eq!(there, frozen.lines().any(|line| line == format!("/proc/{name}")), "{frozen}");
    }
    Done::Passed
}

/// The nodes in `/dev` are the host's own: what changed there would be seen by every other step.
fn devices_of_the_host_are_used_and_not_changed(place: &Place) -> Done {
    let state = || {
        let stat = rustix::fs::stat("/dev/null").expect("a device");
        (stat.st_mode, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
    };
    assert!(host_shell("touch /dev/null").0, "control: anybody may touch it");
    let before = state();
    let printed = ran(place.script(
        "for d in null zero full random urandom; do touch /dev/$d 2>/dev/null && echo TOUCHED $d; \
         touch -d @5 /dev/$d 2>/dev/null && echo DATED $d; chmod 600 /dev/$d 2>/dev/null && echo MODE $d; done; \
         echo x > /dev/null && echo x >> /dev/zero && echo written; head -c 1 /dev/urandom > /dev/null && echo read; \
         echo x > /dev/full 2>/dev/null || echo full",
    ))
    .ok();
    assert_eq!(printed, "written\nread\nfull\n");
    assert_eq!(state(), before);
    Done::Passed
}
