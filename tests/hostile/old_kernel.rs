//! The core of the catalogue on an old kernel: calls that newer kernels brought are answered ENOSYS.
//!
//! A filter around kiln does it, so the very binary that ships is tested, nothing in it knows of the
//! test, and no build file, variable or flag can switch a fallback on. What has no sound fallback must
//! be refused with exit 7 instead.

use super::arena::{Arena, StepOf};
use super::{Act, Case, cases, run};
use crate::support::Who;
use crate::support::backend::Backend;

/// Calls that kiln, its library or the step may use and that have a fallback. Without `sendfile` the
/// sandbox child runs from a read-only descriptor instead of a sealed copy; without Landlock its
/// second line is missing, and the first one must hold alone.
const FALLBACKS: &str = "openat2,close_range,renameat2,clone3,copy_file_range,statx,faccessat2,\
                         fchmodat2,sendfile,epoll_pwait2,landlock_create_ruleset,unshare:time";
/// Calls that have none: without them a guarantee cannot be kept.
const NEEDED: [&str; 4] = ["mount_setattr", "pidfd_open", "seccomp", "unshare"];

/// Rows that ask for the very calls, or that take the sandbox by another way in.
const NOT_HERE: [&str; 4] = ["S-A13", "S-A18-node", "S-A19", "S-E05-openat2"];

fn is_core(case: &Case) -> bool {
    let built = matches!(case.act, Act::Step | Act::Attack(_) | Act::Host(_));
    built && !NOT_HERE.contains(&case.id)
}

#[test]
fn promises_hold_on_an_old_kernel() {
    let picked = std::env::var("KILN_CASE").unwrap_or_default();
    let run = |who: Who| {
        let mut arena = Arena::open(Backend::native(who));
        arena.on_a_kernel_without(FALLBACKS);
        let groups = [&cases::ESCAPE, &cases::CAPTURE, &cases::INPUTS];
        let rows = groups.into_iter().flat_map(|group| group.cases);
        run::failures(&arena, rows.filter(|case| is_core(case) && case.id.starts_with(&picked)))
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            Who::all().into_iter().map(|who| scope.spawn(move || run(who))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a case panicked")).collect()
    });
    assert!(wrong.is_empty(), "on an old kernel:\n{}", wrong.join("\n"));
}

#[test]
fn a_kernel_without_what_is_needed_is_refused() {
    for who in Who::all() {
        let mut arena = Arena::open(Backend::native(who));
        let step = StepOf { name: "attack", more: "", run: "cp victim out", outputs: "{out: out}" };
        arena.write_steps("sources: {src: {local: src}}", &[step], "[{file: attack.out}]");
        let control = arena.build();
        assert_eq!(control.code, 0, "{control:?}");
        for calls in NEEDED {
            arena.on_a_kernel_without(calls);
            arena.clear();
            let ran = arena.kiln(&["build", "--no-sign", "--no-cache"]);
            assert!(ran.code == 7 && ran.says("KILN-05"), "{calls} as {who:?}: {ran:?}");
            assert!(arena.artifact("out").is_none(), "{calls} as {who:?}");
            let wrong = arena.canaries.aftermath(&arena.world);
            assert!(wrong.is_empty(), "{calls} as {who:?}: {wrong:#?}");
        }
    }
}

#[test]
fn no_evidence_tells_of_a_time_namespace_that_was_not_made() {
    for who in Who::all() {
        let mut arena = Arena::open(Backend::native(who));
        let step = StepOf { name: "attack", more: "", run: "cp victim out", outputs: "{out: out}" };
        arena.write_steps("sources: {src: {local: src}}", &[step], "[{file: attack.out}]");
        for told in [true, false] {
            if !told {
                arena.on_a_kernel_without("unshare:time");
            }
            let ran = arena.kiln(&["build", "--no-sign", "--no-cache"]);
            assert_eq!(ran.code, 0, "{ran:?}");
            let shown = arena.kiln(&["show", "--json"]);
            assert_eq!(shown.stdout.contains("time-namespace"), told, "{who:?}: {shown:?}");
        }
    }
}
