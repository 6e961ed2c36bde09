//! What is mounted is what was asked for, and what was written can be read afterwards.

use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, openat};
use sandbox::{Exit, InjectedFile, Writable};

use crate::harness::{Done, Test};
use crate::place::{Place, at, ran, read_only, view};

pub const TESTS: &[Test] = &[
    ("step_runs_and_its_output_is_read", step_runs_and_its_output_is_read),
    (
        "writable_places_are_read_after_the_step_is_dead",
        writable_places_are_read_after_the_step_is_dead,
    ),
    ("files_can_be_added_to_what_is_read_only", files_can_be_added_to_what_is_read_only),
    ("a_view_takes_every_change", a_view_takes_every_change),
    ("use_is_measured", use_is_measured),
];

fn read(view: &Writable, path: &str) -> String {
    let file = openat(view.dir.as_fd(), path, OFlags::RDONLY, Mode::empty()).expect("a file");
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).expect("text");
    text
}

fn step_runs_and_its_output_is_read(place: &Place) -> Done {
    let ran = ran(place.script("echo out; echo err >&2; exit 3"));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(ran.outcome.exit, Exit::Exited(3));
    Done::Passed
}

fn writable_places_are_read_after_the_step_is_dead(place: &Place) -> Done {
    let sources = place.source("app", &[("main.c", "int main;"), ("dir/deep.txt", "deep")]);
    let nested = place.source("lib", &[("lib.c", "lib")]);
    let fixed = place.source("vendor", &[("v.txt", "vendored")]);
    let mut parts = place.script(
        "set -e; cat main.c dir/deep.txt third/lib.c vendor/v.txt /opt/tool/lib.c added; \
         echo changed > main.c; echo new > dir/new; rm dir/deep.txt; echo more > third/lib.c; echo t > /opt/tool/t",
    );
    parts.mounts = vec![
        view("/build", sources.clone()),
        view("/build/third", nested.clone()),
        read_only("/build/vendor", fixed),
        view("/opt/tool", nested.clone()),
    ];
    parts.files =
        vec![InjectedFile { at: at("/build/added"), bytes: b"added".to_vec(), mode: 0o644 }];
    let ran = ran(parts);
    let views = ran.outcome.views.iter().map(|view| view.at.to_string()).collect::<Vec<_>>();
    assert_eq!(views, ["/build", "/build/third", "/opt/tool"], "{}", ran.stderr);
    assert_eq!(read(&ran.outcome.views[0], "main.c"), "changed\n");
    assert_eq!(read(&ran.outcome.views[0], "dir/new"), "new\n");
    assert!(
        openat(&ran.outcome.views[0].dir, "dir/deep.txt", OFlags::RDONLY, Mode::empty()).is_err()
    );
    assert_eq!(read(&ran.outcome.views[1], "lib.c"), "more\n");
    assert_eq!(read(&ran.outcome.views[2], "t"), "t\n");
    assert_eq!(std::fs::read_to_string(sources.join("main.c")).expect("text"), "int main;");
    assert_eq!(ran.ok(), "int main;deeplibvendoredlibadded");
    Done::Passed
}

fn files_can_be_added_to_what_is_read_only(place: &Place) -> Done {
    let fixed = place.source("added-to", &[("a/one", "1"), ("config", "theirs")]);
    let file = |path: &str| InjectedFile { at: at(path), bytes: b"ours".to_vec(), mode: 0o444 };
    let mut parts = place.script(
        "cat vendor/a/one vendor/config vendor/a/b/new /etc/tool/conf /usr/bin/added; \
         for f in vendor/config vendor/a/b/new vendor/x /etc/tool/conf /usr/bin/x; do (echo x > $f) 2>/dev/null && echo WROTE $f; done; \
         (rm -rf vendor/a) 2>/dev/null; ls vendor/a",
    );
    parts.mounts = vec![read_only("/build/vendor", fixed.clone())];
    parts.files =
        ["/build/vendor/config", "/build/vendor/a/b/new", "/etc/tool/conf", "/usr/bin/added"]
            .map(file)
            .into();
    assert_eq!(ran(parts).ok(), "1oursoursoursoursb\none\n");
    assert_eq!(std::fs::read_to_string(fixed.join("config")).expect("text"), "theirs");
    Done::Passed
}

fn a_view_takes_every_change(place: &Place) -> Done {
    let source =
        place.source("all", &[("d/e/f", "1"), ("g", "2"), ("tool*", "#!/bin/sh\necho tool\n")]);
    let mut parts = place.script(
        "set -e; ./tool; rm -rf d; mkdir d; ls d; echo new > d/f; mv g d/g; ln d/g d/h; ln -s g d/s; chmod +x d/g; \
         mkdir -p deep/er; mv deep/er top; cat d/f d/g d/h d/s; ls; touch -d @5 d/f; stat -c %Y d/f",
    );
    parts.mounts = vec![view("/build", source.clone())];
    let printed = ran(parts).ok();
    assert_eq!(printed, "tool\nnew\n222d\ndeep\ntool\ntop\n5\n");
    assert_eq!(std::fs::read_to_string(source.join("d/e/f")).expect("text"), "1");
    // A folder that came with the source cannot be renamed: the same answer for everybody.
    let mut parts =
        place.perl("print rename('d', 'x') ? 1 : $!+0, ' ', rename('d/e/f', 'y') ? 1 : $!+0");
    parts.mounts = vec![view("/build", source)];
    let ran = ran(parts);
    // A copy, on a kernel whose tmpfs keeps no attributes, can be renamed: the documented difference.
    let copied = ran.outcome.enforced.mechanisms.iter().any(|one| one.mechanism == "copy");
    assert_eq!(ran.ok(), if copied { "1 2" } else { "18 1" });
    Done::Passed
}

fn use_is_measured(place: &Place) -> Done {
    let usage = ran(place.perl("my $n = 0; $n += $_ for 1..3000000; print $n")).outcome.usage;
    assert!(usage.cpu.as_millis() > 10 && usage.wall.as_millis() > 10, "{usage:?}");
    Done::Passed
}
