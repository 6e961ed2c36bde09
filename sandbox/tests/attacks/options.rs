//! Attacks on what an option widens: it gives exactly one thing, and everything else holds as before.
#![allow(clippy::disallowed_methods, reason = "tests read programs of the host and write files")]

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::isolation::Guarantee;
use model::limits::{Bytes, Count, Limit, Millis};
use sandbox::{Backend, Cancel, Engine, Error, Exit, LimitName, Parts, Spec, Widen};

use crate::harness::{Done, Test};
use crate::place::{Place, at, copy, ran, read_only, try_run, view};

pub const TESTS: &[Test] = &[
    ("fakeroot_is_root_with_six_capabilities", fakeroot_is_root_with_six_capabilities),
    ("fakeroot_widens_nothing_else", fakeroot_widens_nothing_else),
    ("userland_fakeroot_works_with_and_without", userland_fakeroot_works_with_and_without),
    ("s_a10_nested_makes_namespaces_and_is_told", nested_makes_namespaces_and_is_told),
    ("nested_cannot_uncover_or_change_what_kiln_mounted", nested_cannot_uncover_or_change),
    ("nested_cannot_mount_what_shows_the_host", nested_cannot_mount_what_shows_the_host),
    ("nested_reaches_no_network_and_no_host", nested_reaches_no_network_and_no_host),
    ("nested_changes_neither_inputs_nor_limits", nested_changes_neither_inputs_nor_limits),
    ("nested_processes_end_with_the_step", nested_processes_end_with_the_step),
    ("bwrap_works_in_a_nested_step_only", bwrap_works_in_a_nested_step_only),
    ("i386_runs_with_the_option_only", i386_runs_with_the_option_only),
    ("abi32_has_a_table_of_its_own", abi32_has_a_table_of_its_own),
    ("other_backends_refuse_what_they_cannot_widen", other_backends_refuse_what_they_cannot_widen),
    ("cpus_pin_the_affinity_and_are_told", cpus_pin_the_affinity_and_are_told),
    ("more_cpus_than_there_are_is_refused", more_cpus_than_there_are_is_refused),
];

const NESTED: Widen = Widen { nested: true, fakeroot: false, abi32: false };
const FAKEROOT: Widen = Widen { nested: false, fakeroot: true, abi32: false };
const ABI32: Widen = Widen { nested: false, fakeroot: false, abi32: true };

fn with(widen: Widen, parts: Parts) -> Parts {
    Parts { widen, ..parts }
}

/// Copies programs of the host and their libraries into one folder; none if the host lacks one.
fn tools(place: &Place, name: &str, files: &[&str]) -> Option<PathBuf> {
    let folder = place.source(name, &[]);
    for file in files {
        let path = ["/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu/libfakeroot"]
            .iter()
            .map(|at| Path::new(at).join(file))
            .find(|path| path.exists())?;
        for from in crate::place::libraries_of(&path).into_iter().chain([path]) {
            let to = folder.join(from.file_name().expect("a name"));
            copy(&from, &to);
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
    }
    Some(folder)
}

/// The start of every script that goes into namespaces of its own: `try` prints an error's number.
const NEST: &str = "sub try { my $r = syscall(shift, @_); print $r == -1 ? $!+0 : 'ok', \"\\n\" } \
    sub put { open(my $f, '>', $_[0]) or return $!+0; syswrite($f, $_[1]) // return $!+0; close($f) ? 'ok' : $!+0 } \
    sub nest { my $u = $> + 0; my $g = $) + 0; my $r = syscall(272, 0x10000000 | shift); die \"unshare $!\" if $r == -1; \
      put('/proc/self/setgroups', 'deny'); put('/proc/self/uid_map', \"0 $u 1\"); put('/proc/self/gid_map', \"0 $g 1\"); } \
    my ($none, $tmpfs, $z) = ('none', 'tmpfs', 0); my ($ns, $net, $pid, $uts, $ipc, $cg) = (0x20000, 0x40000000, 0x20000000, 0x4000000, 0x8000000, 0x2000000); ";

fn nest(place: &Place, script: &str) -> Vec<String> {
    let ended = ran(with(NESTED, place.perl(&format!("{NEST} {script}"))));
    ended.ok().lines().map(str::to_owned).collect()
}

fn fakeroot_is_root_with_six_capabilities(place: &Place) -> Done {
    let script = "id -u; id -g; umask 0; touch f d; chmod 0 f; cat f && echo read; \
                  while read k v; do case $k in Cap*) echo $k $v;; esac; done < /proc/self/status; cat /proc/self/status | \
                  while read k v; do case $k in CapEff:|CapBnd:|NoNewPrivs:) echo $k $v;; esac; done";
    let caps = |bits: &str| {
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let lines: String = sets.iter().map(|set| format!("{set}: {bits}\n")).collect();
        format!("{lines}CapEff: {bits}\nCapBnd: {bits}\nNoNewPrivs: 1\n")
    };
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, SETGID 6, SETUID 7.
    let ended = ran(with(FAKEROOT, place.script(script)));
    let told = ended.outcome.enforced.clone();
    assert_eq!(ended.ok(), format!("0\n0\nread\n{}", caps("00000000000000db")));
    let own = told.mechanisms.iter().find(|one| one.mechanism == "capabilities").expect("told");
    assert_eq!(
        (own.guarantee, own.detail.as_str()),
        (Guarantee::Identity, "chown dac_override fowner fsetid setgid setuid")
    );
    // Without it: the fixed user, and no way to read a file without permission.
    let plain = ran(place.script(&script.replace("cat f &&", "cat f 2>/dev/null ||")));
    assert!(plain.outcome.enforced.mechanisms.iter().any(|one| one.mechanism == "no-capabilities"));
    assert_eq!(plain.ok(), format!("1000\n1000\nread\n{}", caps("0000000000000000")));
    Done::Passed
}

fn fakeroot_widens_nothing_else(place: &Place) -> Done {
    let tool = place.source("tool", &[("x", "x")]);
    let mut parts = place.perl(
        "sub try { my $r = syscall(shift, @_); print $r == -1 ? $!+0 : 'ok', \"\\n\" } \
         my ($f, $tmpfs, $t, $hi) = ('/build/f', 'tmpfs', '/tmp', 'h'); open(F, '>', $f); close F; \
         try(92, $f, 0, 0); try(92, $f, 1, 0); try(92, $f, 65534, 65534); try(105, 0); try(105, 1000); try(116, 0, 0); \
         try(165, $tmpfs, $t, $tmpfs, 0, 0); try(272, 0x10000000); try(272, 0x20000); try(161, $t); try(170, $hi, 1); \
         try(90, $f, 04755); try(133, my $d = '/build/d', 020666, 0x103); try(321, 0, 0, 0); try(101, 16, 1, 0, 0); \
         for ('/usr/bin/new', '/opt/tool/x', '/etc/passwd', '/proc/sys/kernel/hostname', '/proc/sys/vm/drop_caches', \
              '/proc/sys/user/max_user_namespaces', '/proc/sys/net/ipv4/ip_forward', '/proc/sysrq-trigger', '/proc/1/mem', '/dev/new') \
           { print open(my $w, '>', $_) ? \"WROTE $_\" : 'refused', \"\\n\" } \
         for ('/proc/1/environ', '/proc/1/maps', '/proc/kcore', '/proc/kmsg') { my $n; open(my $r, '<', $_) and sysread($r, $n, 1); print $n ? \"READ $_\" : 'nothing', \"\\n\" } \
         print readlink('/proc/1/exe') // 'none', \"\\n\"; print -e '/proc/1/root/etc' ? 'SEEN' : 'none', \"\\n\"; \
         use Socket; print socket(my $p, 17, SOCK_RAW, 0) ? 'PACKET' : $!+0, \"\\n\"; print socket(my $i, PF_INET, SOCK_RAW, 1) ? 'RAW' : $!+0, \"\\n\"; \
         socket(my $s, PF_INET, SOCK_STREAM, 0); print connect($s, sockaddr_in(80, inet_aton('192.0.2.1'))) ? 'ok' : $!+0, \"\\n\"; ",
    );
    parts.mounts = vec![read_only("/opt/tool", tool)];
    let printed = ran(with(FAKEROOT, parts)).ok();
    let mut want = vec!["ok", "1", "1", "ok", "22", "1"];
    want.extend(["1"; 9]);
    want.extend(["refused"; 10]);
    want.extend(["nothing"; 4]);
    want.extend(["none", "none", "97", "1", "101"]);
    assert_eq!(printed.lines().collect::<Vec<_>>(), want);
    Done::Passed
}

fn userland_fakeroot_works_with_and_without(place: &Place) -> Done {
    let Some(folder) = tools(place, "fakeroot", &["faked-sysv", "libfakeroot-sysv.so"]) else {
        return Done::Ignored("the host has no fakeroot");
    };
    let script = "set -- $(/opt/fakeroot/faked-sysv | tr : ' '); touch f; chown 7:8 f || echo refused; \
        FAKEROOTKEY=$1 LD_PRELOAD=/opt/fakeroot/libfakeroot-sysv.so sh -c 'chown 7:8 f && mknod dev c 1 3 && stat -c \"%u:%g\" f && stat -c %F dev && id -u'; kill $2";
    let script = script.replace(
        "$(/opt/fakeroot/faked-sysv | tr : ' ')",
        "$(IFS=:; set -- $(/opt/fakeroot/faked-sysv); echo $1 $2)",
    );
    for widen in [Widen::default(), FAKEROOT] {
        let mut parts = with(widen, place.script(&script));
        parts.mounts = vec![read_only("/opt/fakeroot", folder.clone())];
        assert_eq!(ran(parts).ok(), "refused\n7:8\ncharacter special file\n0\n", "{widen:?}");
    }
    Done::Passed
}

fn nested_makes_namespaces_and_is_told(place: &Place) -> Done {
    let script = "nest($ns | $net | $pid | $uts | $ipc | $cg); try(165, $none, my $t = '/tmp', $tmpfs, 0, 0); try(170, my $h = 'inner', 5); \
                  my $pid = fork; if (!$pid) { print \"first $$ $<\\n\"; exit 0 } waitpid($pid, 0);";
    let ended = ran(with(NESTED, place.perl(&format!("$| = 1; {NEST} {script}"))));
    let told = ended.outcome.enforced.clone();
    assert_eq!(ended.ok(), "ok\nok\nfirst 1 0\n");
    let said = |word: &str| told.mechanisms.iter().any(|one| one.detail.contains(word));
    assert!(said("(nested)"), "{told:?}");
    assert!(!told.mechanisms.iter().any(|one| one.mechanism == "max-user-namespaces"));
    assert!(told.absent.get(&Guarantee::Landlock).is_some_and(|why| why.contains("nested")));
    let own = ran(with(NESTED, place.script("cat /proc/sys/user/max_user_namespaces"))).ok();
    assert_ne!(own, "0\n");
    // Without the option: in `s_a10_no_new_namespaces`.
    Done::Passed
}

/// Fresh namespaces give no way past the locks of the outer ones.
fn nested_cannot_uncover_or_change(place: &Place) -> Done {
    let script = "mkdir '/tmp/a'; mkdir '/tmp/b'; open(F, '>', '/tmp/file'); close F; nest($ns); \
        my ($root, $usr, $proc, $sys, $dev, $tool, $a, $b, $file) = ('/', '/usr', '/proc', '/proc/sys', '/dev', '/opt/tool', '/tmp/a', '/tmp/b', '/tmp/file'); \
        my ($name) = grep { -e '/proc/' . $_ } ('kcore', 'kallsyms', 'keys', 'modules', 'timer_list'); my $mask = '/proc/' . $name; \
        print \"control\\n\"; try(165, $none, $b, $tmpfs, 0, 0); try(165, $proc, $a, $none, 4096 | 16384, 0); \
        print \"rw\\n\"; for my $at ($root, $usr, $sys, $tool, $mask, $dev, \"$a/sys\") { try(165, $none, $at, $none, 0x1020, 0); try(165, $none, $at, $none, 0x20, 0) } \
        print \"attr\\n\"; for my $at ($root, $usr, $sys, $tool, $mask) { my $attr = pack('Q4', 0, 1, 0, 0); try(442, -100, $at, 0, $attr, 32) } \
        print \"off\\n\"; for my $at ($usr, $proc, $sys, $mask, $tool, \"$a/$name\", \"$a/sys\") { try(166, $at, 2) } \
        print \"move\\n\"; try(165, $mask, $file, $none, 8192, 0); try(165, $sys, $b, $none, 8192, 0); try(165, $tool, $b, $none, 8192, 0); \
        print \"peel\\n\"; try(165, $proc, $b, $none, 4096, 0); try(428, -100, $proc, 1); try(428, -100, $root, 1); \
        print \"write\\n\"; for my $at ('/proc/sys/kernel/core_pattern', \"$a/sys/kernel/core_pattern\", \"$a/sysrq-trigger\", '/usr/bin/new', '/opt/tool/x', '/etc/passwd', '/new', '/dev/new') \
          { print put($at, 'x') eq 'ok' ? \"WROTE $at\" : 'refused', \"\\n\" } \
        for my $at ($mask, \"$a/$name\", '/proc/kallsyms', \"$a/keys\") { my $n; open(my $r, '<', $at) and sysread($r, $n, 1); print $n ? \"READ $at\" : 'nothing', \"\\n\" }";
    let tool = place.source("tool", &[("x", "x")]);
    let mut parts = with(NESTED, place.perl(&format!("{NEST} {script}")));
    parts.mounts = vec![read_only("/opt/tool", tool.clone())];
    let printed = ran(parts).ok();
    let mut want = vec!["control", "ok", "ok", "rw"];
    want.extend(["1"; 14]);
    want.push("attr");
    want.extend(["1"; 5]);
    want.push("off");
    want.extend(["22"; 7]);
    want.push("move");
    want.extend(["22"; 3]);
    want.push("peel");
    want.extend(["22"; 3]);
    want.push("write");
    want.extend(["refused"; 8]);
    want.extend(["nothing"; 4]);
    assert_eq!(printed.lines().collect::<Vec<_>>(), want);
    assert_eq!(fs::read_to_string(tool.join("x")).expect("the tool"), "x");
    Done::Passed
}

fn nested_cannot_mount_what_shows_the_host(place: &Place) -> Done {
    // A fresh proc would be without masks; a fresh sysfs shows devices; the others are the host's own.
    let printed = nest(
        place,
        "mkdir '/tmp/m'; nest($ns | $net | $pid | $uts | $ipc | $cg); $| = 1; my $m = '/tmp/m'; my $child = fork; if (!$child) { \
         for my $kind ('tmpfs', 'proc', 'sysfs', 'devtmpfs', 'debugfs', 'tracefs', 'securityfs', 'bpf', 'ext4', 'configfs', 'pstore', 'efivarfs', 'nfsd') { \
           my $k = $kind; print \"$k \"; my $r = syscall(165, $none, $m, $k, 0, 0); print $r == -1 ? ($! == 19 ? 1 : $!+0) : 'ok', \"\\n\" } \
         print 'fsopen '; my $p = 'proc'; my $fd = syscall(430, $p, 0); if ($fd == -1) { print $!+0, \"\\n\" } else { my $r = syscall(431, $fd, 6, 0, 0, 0); $r = syscall(432, $fd, 0, 0) if $r != -1; print $r == -1 ? $!+0 : 'ok', \"\\n\" } exit 0 } waitpid($child, 0);",
    );
    assert_eq!(printed[0], "tmpfs ok", "control");
    for line in &printed[1..] {
        assert!(line.ends_with(" 1"), "{line}");
    }
    assert_eq!(printed.len(), 14);
    Done::Passed
}

fn nested_reaches_no_network_and_no_host(place: &Place) -> Done {
    let printed = nest(
        place,
        "use Socket; sub reach { socket(my $s, PF_INET, SOCK_STREAM, 0); connect($s, sockaddr_in(80, inet_aton($_[0]))) ? 'REACHED' : $!+0 } \
         print reach('192.0.2.1'), \"\\n\"; for my $n ('net', 'mnt', 'user', 'pid') { print open(my $f, '<', \"/proc/1/ns/$n\") ? 'OPENED' : 'refused', \"\\n\" } \
         print -e '/proc/1/root/etc' ? 'SEEN' : 'none', \"\\n\"; \
         my $h = 'x'; try(170, $h, 1); try(165, $none, my $t = '/tmp', $tmpfs, 0, 0); try(161, $t); \
         open(my $own, '<', '/proc/self/ns/user'); try(308, fileno($own), 0); open(my $net0, '<', '/proc/self/ns/net'); try(308, fileno($net0), 0); \
         nest($ns | $net | $uts | $ipc); print reach('192.0.2.1'), \"\\n\"; open(N, '<', '/proc/self/net/dev'); my @l = grep { /:/ } <N>; print scalar(@l), \"\\n\"; \
         try(308, fileno($own), 0x10000000); try(308, fileno($net0), 0x40000000); \
         print socket(my $p, 17, SOCK_RAW, 0) ? 'PACKET' : $!+0, \"\\n\"; \
         try(133, my $d = '/tmp/d', 020666, 0x103); try(321, 0, 0, 0); try(298, 0, 0, -1, -1, 0); try(304, -100, 0, 0); try(250, 0, 0, 0); try(175, 0, 0, 0); \
         print put('/proc/1/oom_score_adj', '0') eq 'ok' ? 'WROTE' : 'refused', \"\\n\"; print kill(0, 1) ? 'first' : $!+0, \"\\n\"; ",
    );
    let want = [
        "101", "refused", "refused", "refused", "refused", "none", "1", "1", "1", "22", "1", "101",
        "1", "1", "1", "97", "1", "1", "1", "1", "38", "1", "refused",
    ];
    assert_eq!(printed[..want.len()], want);
    Done::Passed
}

fn nested_changes_neither_inputs_nor_limits(place: &Place) -> Done {
    let source = place.source("source-nested", &[("f", "mine")]);
    let script = "mkdir '/tmp/u'; mkdir '/tmp/w'; nest($ns | $cg); \
        my ($over, $usr, $opt) = ('overlay', '/usr', 'lowerdir=/usr,upperdir=/tmp/u,workdir=/tmp/w,userxattr'); \
        try(165, $over, $usr, $over, 0, $opt); print put('/usr/bin/new', 'x'), \"\\n\"; print put('/usr/bin/true', 'x'), \"\\n\"; \
        print put('/build/f', 'theirs'), \"\\n\";";
    let mut parts = with(NESTED, place.perl(&format!("{NEST} {script}")));
    parts.mounts = vec![view("/build", source.clone())];
    let printed = ran(parts).ok();
    assert_eq!(printed.lines().collect::<Vec<_>>(), ["ok"; 4], "control: an overlay of its own");
    assert_eq!(fs::read_to_string(source.join("f")).expect("the source"), "mine");
    assert!(!place.root().join("usr/bin/new").exists());
    assert!(fs::metadata(place.root().join("usr/bin/true")).expect("a file").len() > 1);
    // The next step sees nothing of it either.
    assert_eq!(ran(place.script("[ -e /usr/bin/new ] || echo none")).ok(), "none\n");
    nested_raises_no_limit(place);
    Done::Passed
}

/// Mounts every kind of control group, and writes into whatever it may.
const RAISE: &str = "mkdir '/tmp/c'; nest($ns | $cg); my $c = '/tmp/c'; \
    for my $set (['cgroup2', ''], ['cgroup', 'pids'], ['cgroup', 'memory'], ['cgroup', 'cpu,cpuacct']) { my ($k, $o) = @$set; \
      next if syscall(165, $none, $c, my $kind = $k, 0, my $data = $o) == -1; \
      opendir(my $d, $c); for my $f (sort readdir $d) { next unless $f =~ /max|limit|procs|tasks|quota|release|control|freeze|threads/; \
        for my $v ($f =~ /procs|tasks/ ? (0) : $f =~ /freeze/ ? () : ('max', '+pids', '+memory')) { \
          print \"WROTE $k $f\\n\" if put(\"$c/$f\", $v) eq 'ok' } } syscall(166, $c, 2) }";

/// A step may do as it likes with its own group, which has no limits: they lie one above.
fn nested_raises_no_limit(place: &Place) {
    let raise = |then: &str| with(NESTED, place.perl(&format!("$| = 1; {NEST} {RAISE} {then}")));
    let own = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.procs"];
    let mut parts = raise(
        "my $n = 0; while ($n < 60) { my $p = fork; last unless defined $p; if (!$p) { sleep 600; exit } $n++ } print \"$n\\n\";",
    );
    parts.limits.pids = Limit::asked(Count(40));
    let ended = ran(parts);
    // Also where its group of version 2 has others below: the one with the limit counts what it refuses.
    assert!(ended.outcome.limits_hit.contains(&LimitName::Pids), "{:?}", ended.outcome.limits_hit);
    let printed = ended.ok();
    let mut lines: Vec<&str> = printed.lines().collect();
    let made: u32 = lines.pop().and_then(|last| last.parse().ok()).expect("a number");
    assert!((10..40).contains(&made), "{printed}");
    for line in lines {
        let file = line.strip_prefix("WROTE cgroup2 ");
        assert!(file.is_some_and(|file| own.contains(&file)), "{printed}");
    }
    let mut parts = raise("my $x = 'x' x (200 << 20); print length $x;");
    parts.limits.memory = Some(Limit::asked(Bytes(64 << 20)));
    match try_run(parts) {
        Ok(ended) => assert_eq!(ended.outcome.exit, Exit::OutOfMemory, "{}", ended.stdout),
        Err(Error::Unenforceable { limit: LimitName::Memory }) => {}
        Err(other) => panic!("{other}"),
    }
    // One that freezes itself, and kiln's first process with it, is stopped like any other.
    let freeze = "syscall(165, $none, $c, my $kind = 'cgroup2', 0, my $data = ''); my $r = put(\"$c/cgroup.freeze\", 1); sleep 1; print $r eq 'ok' ? 'FROZE' : 'refused';";
    let mut parts = raise(freeze);
    parts.timeout = Millis(5000);
    let ended = ran(parts);
    let refused = ended.outcome.exit == Exit::Exited(0) && ended.stdout.ends_with("refused");
    assert!(
        refused || ended.outcome.exit == Exit::TimedOut { idle: false },
        "{:?}: {}",
        ended.outcome.exit,
        ended.stdout
    );
}

fn nested_processes_end_with_the_step(place: &Place) -> Done {
    let script = "nest($pid | $ns); my $child = fork; if (!$child) { close STDOUT; close STDERR; $SIG{TERM} = $SIG{HUP} = 'IGNORE'; if (!fork) { sleep 600 } sleep 600 } print 'left';";
    let ended = ran(with(NESTED, place.perl(&format!("{NEST} {script}"))));
    assert_eq!(ended.outcome.exit, Exit::Exited(0));
    assert!(ended.outcome.left_processes >= 1, "{}", ended.outcome.left_processes);
    Done::Passed
}

fn bwrap_works_in_a_nested_step_only(place: &Place) -> Done {
    let Some(folder) = tools(place, "nest", &["bwrap"]) else {
        return Done::Ignored("the host has no bwrap");
    };
    let script = "/opt/nest/bwrap --unshare-all --hostname inner --ro-bind / / --tmpfs /tmp --uid 0 --gid 0 \
                  sh -c 'hostname; id -u; [ -w /usr ] || echo sealed'";
    let mut parts = place.script(script);
    parts.mounts = vec![read_only("/opt/nest", folder)];
    parts.env.insert("LD_LIBRARY_PATH".into(), "/opt/nest".into());
    let without = ran(parts.clone());
    assert_ne!(without.outcome.exit, Exit::Exited(0), "{}", without.stdout);
    assert_eq!(ran(with(NESTED, parts)).ok(), "inner\n0\nsealed\n");
    Done::Passed
}

/// A whole 32-bit program: its code, behind the shortest header that the kernel takes.
fn elf32(code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let length = 84 + u32::try_from(code.len()).expect("short");
    let mut out = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    for word in [1, BASE + 84, 52, 0, 0] {
        out.extend(u32::to_le_bytes(word));
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, length, length, 5, 0x1000] {
        out.extend(u32::to_le_bytes(word));
    }
    out.extend(code);
    out
}

/// Makes one 32-bit call and exits with its error number, 0 for none.
fn call32(number: u32, arguments: &[u32]) -> Vec<u8> {
    let mut code = Vec::new();
    // mov eax, ebx, ecx, edx, esi; int 0x80.
    let values = std::iter::once(&number).chain(arguments);
    for (register, value) in [0xb8, 0xbb, 0xb9, 0xba, 0xbe].into_iter().zip(values) {
        code.push(register);
        code.extend(value.to_le_bytes());
    }
    code.extend([0xcd, 0x80]);
    // xor ebx, ebx; test eax, eax; jns +4; neg eax; mov ebx, eax; mov eax, 1 (exit); int 0x80.
    code.extend([
        0x31, 0xdb, 0x85, 0xc0, 0x79, 0x04, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80,
    ]);
    elf32(&code)
}

/// Makes a folder with a `program` that can be run as soon as it is there.
fn folder_with(place: &Place, program: &[u8]) -> PathBuf {
    let folder = place.source("abi32", &[("written*", "")]);
    fs::write(folder.join("written"), program).expect("a program");
    copy(&folder.join("written"), &folder.join("program"));
    folder
}

fn run32(place: &Place, widen: Widen, program: &[u8]) -> Exit {
    let folder = folder_with(place, program);
    let mut parts = with(widen, place.program(&["/opt/abi32/program"]));
    parts.mounts = vec![read_only("/opt/abi32", folder)];
    ran(parts).outcome.exit
}

/// Says whether the host itself runs such a program.
fn host_runs_32_bit(place: &Place) -> bool {
    let folder = folder_with(place, &call32(20, &[]));
    std::process::Command::new(folder.join("program")).status().is_ok_and(|status| status.success())
}

fn i386_runs_with_the_option_only(place: &Place) -> Done {
    let program = call32(20, &[]);
    if !host_runs_32_bit(place) {
        let mut parts = with(ABI32, place.script("true"));
        parts.limits = place.script("true").limits;
        assert!(matches!(try_run(parts), Err(Error::CannotWiden { option: "abi32", .. })));
        return Done::Ignored("the kernel runs no 32-bit programs: seen refused");
    }
    assert_eq!(run32(place, Widen::default(), &program), Exit::Signaled(libc::SIGSYS));
    assert_eq!(run32(place, NESTED, &program), Exit::Signaled(libc::SIGSYS));
    assert_eq!(run32(place, ABI32, &program), Exit::Exited(0));
    let ended = ran(with(ABI32, place.script("true")));
    let told = |one: &model::isolation::Mechanism| one.detail.contains("(abi32)");
    assert!(ended.outcome.enforced.mechanisms.iter().any(told));
    Done::Passed
}

fn abi32_has_a_table_of_its_own(place: &Place) -> Done {
    if !host_runs_32_bit(place) {
        return Done::Ignored("the kernel runs no 32-bit programs");
    }
    let (eperm, enosys, no_family) = (1, 38, 97);
    for (number, arguments, want) in [
        // getpid, and socket of IPv4: controls.
        (20, [0; 3], 0),
        (359, [2, 1, 0], 0),
        // socketcall with a good socket request behind the pointer; AF_ALG; mount; umount2; unshare; setns.
        (102, [1, 0x0804_8000, 0], enosys),
        (359, [38, 5, 0], no_family),
        (21, [0; 3], eperm),
        (52, [0x0804_8000, 0, 0], eperm),
        (310, [0x1000_0000, 0, 0], eperm),
        (346, [0; 3], eperm),
        // clone with a new user namespace, clone3, keyctl, io_uring_setup, bpf, ptrace of the first process.
        (120, [0x1000_0011, 0, 0], eperm),
        (435, [0; 3], enosys),
        (288, [0; 3], enosys),
        (425, [1, 0, 0], enosys),
        (357, [0; 3], eperm),
        (26, [16, 1, 0], eperm),
        // vm86, modify_ldt, iopl, a number that no kernel has, an x32 number.
        (166, [0; 3], eperm),
        (123, [0; 3], eperm),
        (110, [3, 0, 0], eperm),
        (9999, [0; 3], enosys),
        (0x4000_0000 + 20, [0; 3], enosys),
    ] {
        for widen in [ABI32, Widen { nested: true, ..ABI32 }] {
            let got = run32(place, widen, &call32(number, &arguments));
            assert_eq!(got, Exit::Exited(want), "call {number} with {arguments:x?}, {widen:?}");
        }
    }
    // SHMGET by ipc, also with a version: a huge page, of which this host has none or some, is not asked for.
    let no_memory = 12;
    for (arguments, want) in [
        ([23, 0, 4096, 0o1600], 0),
        ([23, 0, 4096, 0o5600], no_memory),
        ([0x0001_0017, 0, 4096, 0o5600], no_memory),
    ] {
        let got = run32(place, ABI32, &call32(117, &arguments));
        assert_eq!(got, Exit::Exited(want), "ipc with {arguments:x?}");
    }
    // x32 numbers from a 64-bit program, with the option too.
    let printed = ran(with(
        ABI32,
        place.perl("my $r = syscall(0x40000000 + 39); print $r == -1 ? $!+0 : 'ok'"),
    ));
    assert_eq!(printed.ok(), "38");
    Done::Passed
}

fn other_backends_refuse_what_they_cannot_widen(place: &Place) -> Done {
    for (option, widen) in [("nested", NESTED), ("fakeroot", FAKEROOT), ("abi32", ABI32)] {
        let spec = Spec::check(with(widen, place.script("true"))).expect("a sensible request");
        let cancel = Cancel::new().expect("a button");
        let engine = Engine { sockets: Vec::new(), staging: "/".into() };
        let slots = sandbox::Slots { folder: "/".into() };
        for backend in [Backend::Docker(engine), Backend::Confined(slots)] {
            let refused = sandbox::run(&spec, &backend, &cancel, &mut |_, _| {});
            assert!(
                matches!(&refused, Err(Error::CannotWiden { option: named, .. }) if *named == option),
                "{refused:?}"
            );
        }
    }
    Done::Passed
}

fn cpus_pin_the_affinity_and_are_told(place: &Place) -> Done {
    let mut parts = place.script(
        "while read k v; do [ $k = Cpus_allowed_list: ] && echo $v; done < /proc/self/status; true",
    );
    parts.cpus = NonZeroU32::new(1);
    let ended = ran(parts);
    let told = |one: &model::isolation::Mechanism| {
        one.mechanism == "affinity" && one.detail == "1 processor"
    };
    assert!(ended.outcome.enforced.mechanisms.iter().any(told));
    let list = ended.ok();
    assert!(!list.contains(['-', ',']), "{list}");
    Done::Passed
}

fn more_cpus_than_there_are_is_refused(place: &Place) -> Done {
    let mut parts = place.script("true");
    parts.cpus = NonZeroU32::new(1024);
    assert!(matches!(try_run(parts), Err(Error::TooFewProcessors { asked: 1024, .. })));
    let _ = at("/build");
    Done::Passed
}
