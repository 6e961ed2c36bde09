//! Many steps in one process leave nothing behind: no descriptor, mount, control group, process, file,
//! and no memory.
#![allow(clippy::disallowed_methods, reason = "tests look at the host and read how long to go on")]

use std::fs;
use std::time::Instant;

use sandbox::{Backend, Cancel, Exit, Parts, Spec};

use crate::harness::{Done, Test};
use crate::place::{Place, Room};

pub const TESTS: &[Test] = &[("many_runs_leave_nothing_behind", many_runs_leave_nothing_behind)];

/// How many steps, unless `KILN_SOAK_RUNS` asks for more.
const RUNS: usize = 200;
/// What the process may have grown by between the first tenth and the end: less than a page for each
/// step of the shortest run, and the allocator's own pieces are larger than that.
const GROWTH_KIB: u64 = 1024;

/// The mounts there are, those of whoever else works on this host among them.
fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo").expect("mounts").lines().count()
}

/// What could grow: descriptors, control groups, zombies, temporary files.
fn residue(place: &Place) -> [usize; 4] {
    let mut groups = 0;
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let own = format!("kiln-{}-", std::process::id());
                groups += usize::from(entry.file_name().to_string_lossy().starts_with(&own));
                folders.push(entry.path());
            }
        }
    }
    let children = fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()))
        .unwrap_or_default();
    let files = fs::read_dir(place.folder()).expect("a folder").count();
    // User namespaces that show an owner as another are kept for later steps: one for each slot, and which is free
    // is for the other kilns of this host to say.
    let kept = |link: &std::path::Path| link.to_string_lossy().starts_with("user:[");
    let open = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let open = open.filter(|one| !fs::read_link(one.path()).is_ok_and(|link| kept(&link))).count();
    [open, groups, children.split_whitespace().count(), files]
}

/// What there is once the next child is started and in its group: the same for a hundred looks.
fn at_rest(place: &Place) -> [usize; 4] {
    let mut looks = vec![residue(place)];
    while looks.len() < 100 {
        let look = residue(place);
        looks.retain(|seen| *seen == look);
        looks.push(look);
    }
    residue(place)
}

fn memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn one(parts: Parts) -> Exit {
    let spec = Spec::check(parts).expect("a request");
    let cancel = Cancel::new().expect("a button");
    sandbox::run(&spec, &Backend::Native, &cancel, &mut |_, _| {}).expect("a run").exit
}

/// Some end well, some fail, some leave processes, some are stopped, half of them on the disk.
fn many_runs_leave_nothing_behind(place: &Place) -> Done {
    let runs = std::env::var("KILN_SOAK_RUNS").ok().and_then(|text| text.parse().ok());
    let runs: usize = runs.unwrap_or(RUNS);
    let run = |number: usize| {
        let (script, want) = match number % 10 {
            0 => ("sleep 600 & echo x > x; exit 3", Exit::Exited(3)),
            1 => ("echo x; echo y >&2; kill -9 $$", Exit::Signaled(9)),
            _ => ("true", Exit::Exited(0)),
        };
        let parts = place.script(script);
        let got = if number.is_multiple_of(2) {
            one(parts)
        } else {
            one(Room::make(place.folder()).of(parts))
        };
        assert_eq!(got, want);
    };
    let start = Instant::now();
    (0..runs / 10).for_each(run);
    let before = (at_rest(place), memory_kib(), mounts());
    (runs / 10..runs).for_each(run);
    let after = (at_rest(place), memory_kib(), mounts());
    println!("{runs} steps in {:.0?}: {before:?} before, {after:?} after", start.elapsed());
    assert_eq!(before.0, after.0);
    // What each step of one kind left would be more than others mount meanwhile: a container engine does.
    let left = runs / 10 * 9 / 10;
    assert!(after.2 < before.2 + left, "mounts: {} before, {} after", before.2, after.2);
    assert!(after.1 <= before.1 + GROWTH_KIB, "memory: {} KiB, then {} KiB", before.1, after.1);
    Done::Passed
}
