//! Attacks on `network` and `files`: what a step can see, reach or remember.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "controls listen on the host"
)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use sandbox::Protocol;

use crate::harness::{Done, Test};
use crate::place::{Place, at, ran, read_only, view};

/// What a host under load takes no longer than, and a wait for an answer does: the kernel asks for a
/// connection for two minutes.
const NO_WAIT: Duration = Duration::from_secs(60);
/// The same for a question to a resolver under [`PATIENT`]: each is asked for half a minute.
const NO_WAIT_FOR_NAMES: Duration = Duration::from_secs(25);
/// Lets a program wait long for each answer of a resolver, so that a wait is told from a host under load.
const PATIENT: (&str, &str) = ("RES_OPTIONS", "timeout:30 attempts:1");

pub const TESTS: &[Test] = &[
    ("s_b01_step_cannot_reach_the_network", step_cannot_reach_the_network),
    ("s_b02_look_ups_are_refused_at_once_and_told", look_ups_are_refused_at_once_and_told),
    ("s_b01_connections_by_address_are_told", connections_by_address_are_told),
    ("s_b01_odd_and_flooding_connections_do_no_harm", odd_and_flooding_connections_do_no_harm),
    ("s_b02_odd_and_flooding_questions_do_no_harm", odd_and_flooding_questions_do_no_harm),
    ("s_b03_the_hosts_loopback_is_not_the_steps", the_hosts_loopback_is_not_the_steps),
    ("s_b04_the_hosts_files_are_absent", the_hosts_files_are_absent),
    ("s_b05_b07_the_hosts_variables_are_absent", the_hosts_variables_are_absent),
    ("s_b06_undeclared_siblings_are_absent", undeclared_siblings_are_absent),
    ("s_b08_nothing_is_remembered", nothing_is_remembered),
    ("s_b08_reading_leaves_no_mark", reading_leaves_no_mark),
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
    assert!(start.elapsed() < NO_WAIT, "no wait for a time-out");
    assert_eq!(printed, "ok\n101 101\n101 101\n101 101\n101 101\n101\n");
    Done::Passed
}

fn look_ups_are_refused_at_once_and_told(place: &Place) -> Done {
    let mut parts = place.perl(
        "print defined gethostbyname('localhost') ? 'control' : 'none', \"\\n\"; \
         print defined gethostbyname('canary.kiln.example') ? 'FOUND' : 'none', \"\\n\"; \
         print defined gethostbyname('other.kiln.example') ? 'FOUND' : 'none', \"\\n\";",
    );
    parts.env.insert(PATIENT.0.to_owned(), PATIENT.1.to_owned());
    let start = Instant::now();
    let ended = ran(parts);
    assert!(start.elapsed() < NO_WAIT_FOR_NAMES, "refused at once, not after a time-out");
    let told: Vec<String> =
        ended.outcome.network_attempts.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["canary.kiln.example by perl", "other.kiln.example by perl"]);
    assert_eq!(ended.ok(), "control\nnone\nnone\n");
    Done::Passed
}

/// Each way to an address is refused by the kernel at once and told with who wanted it; what stays inside
/// is neither.
fn connections_by_address_are_told(place: &Place) -> Done {
    let script = "use Socket; my $v6 = pack('S n N a16 N', AF_INET6, 443, 0, \"\\x20\\x01\\x0d\\xb8\" . \"\\0\" x 11 . \"\\1\", 0); \
        my $mapped = pack('S n N a16 N', AF_INET6, 81, 0, \"\\0\" x 10 . \"\\xff\\xff\" . inet_aton('192.0.2.9'), 0); \
        socket(U, PF_UNIX, SOCK_STREAM, 0); print connect(U, pack_sockaddr_un('/tmp/none')) ? 'ok' : $!+0, ' '; \
        socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(8080, INADDR_LOOPBACK)); listen(L, 1); \
        socket(C, PF_INET, SOCK_STREAM, 0); print connect(C, sockaddr_in(8080, INADDR_LOOPBACK)) ? 'ok' : $!+0, ' '; print defined send(C, 'x', 0) ? 'ok' : $!+0, ' '; \
        socket(D, PF_INET, SOCK_DGRAM, 0); print defined send(D, 'x', 0, sockaddr_in(8081, INADDR_LOOPBACK)) ? 'ok' : $!+0, \"\\n\"; \
        socket(my $a, PF_INET, SOCK_STREAM, 0); print connect($a, sockaddr_in(80, inet_aton('192.0.2.1'))) ? 'ok' : $!+0, ' '; \
        socket(my $b, PF_INET, SOCK_DGRAM, 0); print connect($b, sockaddr_in(123, inet_aton('192.0.2.2'))) ? 'ok' : $!+0, ' '; \
        print defined send($b, 'x', 0, sockaddr_in(53, inet_aton('192.0.2.3'))) ? 'ok' : $!+0, ' '; \
        socket(my $c, PF_INET6, SOCK_STREAM, 0); print connect($c, $v6) ? 'ok' : $!+0, ' '; print connect($c, $mapped) ? 'ok' : $!+0, ' '; \
        socket(my $d, PF_INET6, SOCK_DGRAM, 0); print defined send($d, 'x', 0, $v6) ? 'ok' : $!+0, ' '; \
        my $x = 'x'; my $io = pack('P Q', $x, 1); my @to = map { scalar sockaddr_in(7, inet_aton(\"192.0.2.1$_\")) } 0, 1; \
        my @m = map { pack('P L x4 P Q Q2 L x4', $_, 16, $io, 1, 0, 0, 0) } @to; my $many = $m[1] . pack('Q', 0); \
        print syscall(46, fileno($b), $m[0], 0) == -1 ? $!+0 : 'ok', ' '; print syscall(307, fileno($b), $many, 1, 0) == -1 ? $!+0 : 'ok', \"\\n\"; \
        $0 = \"odd\\e[31m\\nname\"; socket(my $e, PF_INET, SOCK_STREAM, 0); connect($e, sockaddr_in(22, inet_aton('169.254.169.254')));";
    let start = Instant::now();
    let ended = ran(place.perl(script));
    assert!(start.elapsed() < NO_WAIT, "at once");
    let told: Vec<String> =
        ended.outcome.network_attempts.iter().map(ToString::to_string).collect();
    let command = ended.outcome.network_attempts.iter().find(|one| one.host == "192.0.2.1");
    assert!(command.is_some_and(|one| one.command.starts_with("/usr/bin/perl -e use")));
    let protocols = ended.outcome.network_attempts.iter().map(|one| one.protocol);
    let udp = protocols.filter(|protocol| *protocol == Some(Protocol::Udp)).count();
    let all_known = ended.outcome.network_attempts.iter().all(|one| one.protocol.is_some());
    assert_eq!(ended.ok(), "2 ok ok ok\n101 101 101 101 101 101 101 101\n");
    assert!(all_known && udp == 4, "{udp} by UDP");
    let want = [
        "169.254.169.254:22 by odd\\x1b[31m\\x0aname",
        "192.0.2.1:80 by perl",
        "192.0.2.10:7 by perl",
        "192.0.2.11:7 by perl",
        "192.0.2.2:123 by perl",
        "192.0.2.3:53 by perl",
        "192.0.2.9:81 by perl",
        "[2001:db8::1]:443 by perl",
    ];
    assert_eq!(told, want);
    Done::Passed
}

fn odd_and_flooding_connections_do_no_harm(place: &Place) -> Done {
    // Wrong pointers and lengths, a caller killed while it waits, a filter of the step's own, and a flood
    // from four processes at once; after each the first process still answers.
    let script = "use Socket; $| = 1; my $good = sockaddr_in(80, inet_aton('192.0.2.1')); socket(S, PF_INET, SOCK_STREAM, 0); my $fd = fileno(S); \
        for my $try ([0, 16], [1, 16], [0xffffffffffffff00, 16], [$good, 0], [$good, 1], [$good, -1], [$good, 0x7fffffff], [\"\\2\", 200], ['x' x 200, 200]) { syscall(42, $fd, @$try) } \
        syscall(42, 99, $good, 16); my $x = 'x'; syscall(44, $fd, $x, 1, 0, 1, 16); syscall(44, $fd, $x, 1, 0, $good, -5); \
        my $prog = pack('S C C L', 6, 0, 0, 0x7fff0000); my $f = pack('S x6 P', 1, $prog); \
        my $r = syscall(317, 1, 8, $f); print $r == -1 ? $!+0 : 'LISTENS', ' '; $r = syscall(317, 1, 0, $f); print $r == -1 ? $!+0 : 'ok', \"\\n\"; \
        my @all; for my $n (1 .. 4) { my $p = fork; if (!$p) { for my $i (1 .. 2000) { socket(my $s, PF_INET, SOCK_DGRAM, 0); connect($s, sockaddr_in($i, inet_aton(\"198.51.100.$n\"))) } exit 0 } push @all, $p } \
        for (1 .. 50) { my $p = fork; if (!$p) { while (1) { connect(S, $good) } } kill 9, $p; waitpid($p, 0) } \
        waitpid($_, 0) for @all; print defined gethostbyname('after.example') ? 'FOUND' : 'none', ' '; \
        socket(my $s, PF_INET, SOCK_STREAM, 0); print connect($s, $good) ? 'ok' : $!+0";
    let ended = ran(place.perl(script));
    assert_eq!(ended.outcome.network_attempts.len(), 256);
    // 16: the one listener there can be is kiln's.
    assert_eq!(ended.ok(), "16 ok\nnone 101");
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

/// Access times are the one thing of a file that a reader may move.
fn reading_leaves_no_mark(place: &Place) -> Done {
    let source = place.source("marked", &[("d/f", "x")]);
    let look = "stat -c %X /etc /etc/passwd /bin/sh /usr/bin /input /input/d /input/d/f /build/d /build/d/f";
    let script = |script: &str| {
        let mut parts = place.script(script);
        parts.mounts = vec![view("/build", source.clone()), read_only("/input", source.clone())];
        ran(parts).ok()
    };
    let still = "4102444800\n".repeat(9);
    let read = format!(
        "{look}; ls -R /etc /usr/bin /input /build > /dev/null; cat /etc/passwd /input/d/f /build/d/f > /dev/null; {look}"
    );
    assert_eq!(script(&read), still.repeat(2));
    assert_eq!(script(look), still);
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
