//! Attacks on `network` and `files`: what a step can see, reach or remember.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "controls listen on the host"
)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{Done, Test};
use crate::place::{Place, at, ran, view};

pub const TESTS: &[Test] = &[
    ("s_b01_step_cannot_reach_the_network", step_cannot_reach_the_network),
    ("s_b02_look_ups_are_refused_at_once_and_told", look_ups_are_refused_at_once_and_told),
    ("s_b02_odd_and_flooding_questions_do_no_harm", odd_and_flooding_questions_do_no_harm),
    ("s_b03_the_hosts_loopback_is_not_the_steps", the_hosts_loopback_is_not_the_steps),
    ("s_b04_the_hosts_files_are_absent", the_hosts_files_are_absent),
    ("s_b05_b07_the_hosts_variables_are_absent", the_hosts_variables_are_absent),
    ("s_b06_undeclared_siblings_are_absent", undeclared_siblings_are_absent),
    ("s_b08_nothing_is_remembered", nothing_is_remembered),
    ("s_b09_a_server_left_behind_is_gone", a_server_left_behind_is_gone),
    ("s_b11_the_kernels_log_is_absent", the_kernels_log_is_absent),
];

fn step_cannot_reach_the_network(place: &Place) -> Done {
    // Control: its own loopback answers. Then a public address, a private one, the metadata address.
    let script = "use Socket; \
        sub tcp { socket(my $s, PF_INET, SOCK_STREAM, 0); connect($s, sockaddr_in($_[1], inet_aton($_[0]))) ? 'ok' : $!+0 } \
        sub udp { socket(my $s, PF_INET, SOCK_DGRAM, 0); send($s, 'x', 0, sockaddr_in(53, inet_aton($_[0]))) ? 'ok' : $!+0 } \
        socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(8080, INADDR_LOOPBACK)); listen(L, 1); print tcp('127.0.0.1', 8080), \"\\n\"; \
        for ('192.0.2.1', '10.0.0.1', '169.254.169.254', '8.8.8.8') { print tcp($_, 80), ' ', udp($_), \"\\n\" } \
        socket(my $s, PF_INET6, SOCK_STREAM, 0); print connect($s, pack('S n N a16 N', AF_INET6, 80, 0, \"\\x20\\x01\\x0d\\xb8\" . \"\\0\" x 12, 0)) ? 'ok' : $!+0, \"\\n\";";
    let start = Instant::now();
    let printed = ran(place.perl(script)).ok();
    assert!(start.elapsed() < Duration::from_secs(10), "no wait for a time-out");
    assert_eq!(printed, "ok\n101 101\n101 101\n101 101\n101 101\n101\n");
    Done::Passed
}

fn look_ups_are_refused_at_once_and_told(place: &Place) -> Done {
    let start = Instant::now();
    let ended = ran(place.perl(
        "print defined gethostbyname('localhost') ? 'control' : 'none', \"\\n\"; \
         print defined gethostbyname('canary.kiln.example') ? 'FOUND' : 'none', \"\\n\"; \
         print defined gethostbyname('other.kiln.example') ? 'FOUND' : 'none', \"\\n\";",
    ));
    assert!(start.elapsed() < Duration::from_secs(4), "refused at once, not after a time-out");
    let hosts: Vec<&str> =
        ended.outcome.network_attempts.iter().map(|attempt| attempt.host.as_str()).collect();
    assert_eq!(hosts, ["canary.kiln.example", "other.kiln.example"]);
    assert_eq!(ended.ok(), "control\nnone\nnone\n");
    Done::Passed
}

fn odd_and_flooding_questions_do_no_harm(place: &Place) -> Done {
    let ended = ran(place.perl(
        "use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); my $to = sockaddr_in(53, INADDR_LOOPBACK); \
         my $head = pack('n6', 1, 0x0100, 1, 0, 0, 0); \
         for my $q ('', 'x', \"\\0\" x 5000, $head, $head . \"\\xc0\\x0c\\0\\1\\0\\1\", $head . \"\\x3f\" x 600, \"\\xff\" x 512) { send(S, $q, 0, $to) } \
         for my $n (1..3000) { send(S, $head . pack('C/a* x n2', \"flood$n\", 1, 1), 0, $to) } \
         send(S, $head . pack('C/a* x n2', \"\\e[31mred\", 1, 1), 0, $to); \
         print defined gethostbyname('after.example') ? 'FOUND' : 'none';",
    ));
    assert!(ended.outcome.network_attempts.len() <= 256);
    assert!(ended.outcome.network_attempts.iter().all(|attempt| !attempt.host.contains('\u{1b}')));
    assert_eq!(ended.ok(), "none");
    Done::Passed
}

fn the_hosts_loopback_is_not_the_steps(place: &Place) -> Done {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "control: reached on the host"
    );
    let script = format!(
        "use Socket; socket(S, PF_INET, SOCK_STREAM, 0); print connect(S, sockaddr_in({port}, INADDR_LOOPBACK)) ? 'ok' : $!+0, \"\\n\"; \
         socket(my $s, PF_INET6, SOCK_STREAM, 0); print connect($s, pack('S n N a16 N', AF_INET6, {port}, 0, \"\\0\" x 15 . \"\\1\", 0)) ? 'ok' : $!+0;"
    );
    let printed = ran(place.perl(&script)).ok();
    // 111 refused; 99 where the kernel has no IPv6 address on a fresh loopback.
    assert!(matches!(printed.as_str(), "111\n111" | "111\n99" | "111\n97"), "{printed}");
    Done::Passed
}

fn the_hosts_files_are_absent(place: &Place) -> Done {
    let canary = place.source("canary-b04", &[("secret", "x")]);
    assert!(canary.join("secret").exists(), "control");
    let script = format!(
        "ls / | while read n; do echo $n; done; for p in {} /home /root /etc/shadow /etc/machine-id /boot /mnt /srv /sys /run; do [ -e $p ] && echo SEEN $p; done; true",
        canary.display()
    );
    let printed = ran(place.script(&script)).ok();
    let want =
        ["bin", "build", "dev", "etc", "kiln", "lib", "lib64", "opt", "proc", "tmp", "usr", "var"];
    let seen: Vec<&str> = printed.lines().collect();
    assert!(seen.iter().all(|name| want.contains(name)), "{printed}");
    Done::Passed
}

fn the_hosts_variables_are_absent(place: &Place) -> Done {
    assert!(
        std::env::vars_os().any(|(name, _)| name == "CARGO" || name == "TMPDIR" || name == "PATH"),
        "control"
    );
    let mut parts = place.program(&["/usr/bin/env"]);
    let want: String = parts.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    assert_eq!(ran(parts.clone()).ok(), want);
    parts.argv = ["/bin/cat", "/proc/self/environ"].map(str::to_owned).to_vec();
    assert_eq!(ran(parts).ok(), want.replace('\n', "\0"));
    let printed = ran(place.script("for p in /proc/[0-9]*; do cat $p/cmdline; done 2>/dev/null; cat /proc/1/environ 2>/dev/null; true")).ok();
    assert!(
        !printed.contains("attacks") && !printed.contains('/') || printed.contains("/bin/sh"),
        "{printed}"
    );
    assert!(!printed.contains("TMPDIR=/tmp/kiln"), "{printed}");
    Done::Passed
}

fn undeclared_siblings_are_absent(place: &Place) -> Done {
    let tree = place.source("siblings", &[("app/main", "m"), ("secret/key", "k")]);
    let script = format!(
        "cat main && echo; for p in ../secret/key {0}/secret/key /build/../secret/key ../../../../../..{0}/secret/key; do \
         [ -e $p ] && echo SEEN $p; done; true",
        tree.display()
    );
    let mut parts = place.script(&script);
    parts.mounts = vec![view("/build", tree.join("app"))];
    assert_eq!(ran(parts).ok(), "m\n");
    Done::Passed
}

fn nothing_is_remembered(place: &Place) -> Done {
    let source = place.source("memory", &[("f", "x")]);
    let mut parts = place.script(
        "for d in /tmp /build /dev/shm /var/tmp /tmp/cargo-home; do if [ -e $d/note ]; then echo SEEN $d; fi; \
         (echo x > $d/note) 2>/dev/null && echo wrote $d; done; true",
    );
    parts.mounts = vec![view("/build", source)];
    parts.folders = vec![at("/tmp/cargo-home")];
    let first = ran(parts.clone()).ok();
    assert_eq!(first, "wrote /tmp\nwrote /build\nwrote /dev/shm\nwrote /tmp/cargo-home\n");
    assert_eq!(ran(parts).ok(), first);
    Done::Passed
}

fn a_server_left_behind_is_gone(place: &Place) -> Done {
    let serve = "use Socket; socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(8081, INADDR_LOOPBACK)) or die; listen(L, 1); \
                 socket(my $s, PF_INET, SOCK_STREAM, 0); print connect($s, sockaddr_in(8081, INADDR_LOOPBACK)) ? 'ok' : $!+0; \
                 if (!fork) { close STDOUT; sleep 600 }";
    let ended = ran(place.perl(serve));
    assert_eq!(ended.outcome.left_processes, 1);
    assert_eq!(ended.ok(), "ok", "control");
    let call = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); print connect($s, sockaddr_in(8081, INADDR_LOOPBACK)) ? 'ok' : $!+0;";
    assert_eq!(ran(place.perl(call)).ok(), "111");
    Done::Passed
}

fn the_kernels_log_is_absent(place: &Place) -> Done {
    let printed = ran(place.perl(
        "my $b = \"\\0\" x 100; my $r = syscall(103, 3, $b, 100); print $r == -1 ? $!+0 : 'ok', \"\\n\"; \
         print -e '/dev/kmsg' ? 'SEEN' : 'none', \"\\n\"; open(N, '<', '/proc/net/dev'); my @l = grep { /:/ } <N>; print scalar(@l);",
    ))
    .ok();
    assert_eq!(printed, "1\nnone\n1");
    Done::Passed
}
