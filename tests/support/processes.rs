//! Builds under a limit of all processes of a user, who also runs other tests at the same time.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Ran, USER};

/// How often a build is tried that is said to be left too few processes.
pub const TRIES_MAX: usize = 40;

/// Lets one test at a time meet the limit of its user.
pub fn of_processes() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says whether a build was refused before its step, or kiln before the build, with the remedy.
pub fn are_few(ran: &Ran) -> bool {
    ran.code == 7 && ran.says("ulimit -u") && !ran.says("cannot set up the sandbox")
}

/// Runs until others of the user leave enough, or for as often as is tried.
pub fn tried_often(run: impl Fn() -> Ran) -> Ran {
    let mut ran = run();
    for _ in 0..TRIES_MAX {
        if !are_few(&ran) {
            break;
        }
        ran = run();
    }
    ran
}

/// Runs until others of the user leave enough. While they have many it is tried again, since those of other tests
/// end; where they have few, for as often as is tried.
pub fn once_there_are_enough(run: impl Fn() -> Ran) -> Ran {
    let mut tries = 0;
    loop {
        let were_many = others_have_many();
        let ran = run();
        if !are_few(&ran) || tries == TRIES_MAX {
            return ran;
        }
        tries += usize::from(!were_many && !others_have_many());
    }
}

/// Says whether so many threads may be charged to the user that a limit of these tests leaves a step too few: the
/// user's own, and those of numbers that users get for their containers, as kiln counts them.
fn others_have_many() -> bool {
    const MANY: u64 = 100;
    const SUBORDINATE: u32 = 100_000;
    let threads = |status: &str| {
        let word = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u32>().ok()
        };
        let is_theirs = word("Uid:").is_some_and(|uid| uid == USER || uid >= SUBORDINATE);
        if is_theirs { u64::from(word("Threads:").unwrap_or(1)) } else { 0 }
    };
    let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
    let told = processes.filter_map(|one| fs::read_to_string(one.path().join("status")).ok());
    told.map(|status| threads(&status)).sum::<u64>() > MANY
}
