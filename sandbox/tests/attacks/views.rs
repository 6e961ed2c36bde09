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
