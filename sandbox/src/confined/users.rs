//! The users of confined steps: a range of numbers that no account has, one for each slot.
//!
//! A step is known by its user: whatever runs under that number is the step's, and nothing else is.
//! A second number is the killer's: a process that takes it as its real user and the step's as its
//! effective one may signal every process of the step, and none of them may signal it back (kill(2)). Each slot
//! has one of its own: killers of one number would signal each other, where steps end at one moment.
//!
//! Numbers are the host's, whatever container they are used in, and a host sees the processes of all its
//! containers. So each pid namespace has a block of numbers of its own, found from the namespace's own
//! number: no kiln takes another's steps for its own, and limits by user count one container only.
//!
//! Never 0, never "nobody". Does no killing itself. See credentials(7).
//! Does not catch: two containers with few numbers, mapped to the same ones of the host.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::id_map::{holds, ranges};
use serde::{Deserialize, Serialize};

/// How many steps can run at once: far above the processors of any machine that builds.
pub const SLOTS: u32 = 64;
/// The first number of the first block, if it is mapped: beyond what distributions and engines hand out,
/// and beside the one that native steps have.
const PREFERRED: u32 = 1_879_100_001;
/// How many blocks there are; namespaces that live at one time have numbers that lie close together.
const BLOCKS: u64 = 1 << 24;
/// Numbers from one block to the next: two for each slot. The first of a block is the last of the one before.
const BLOCK: u32 = 2 * SLOTS;
/// "nobody", which other services share. The range ends below it.
const NOBODY: u32 = 65_534;
/// Below it lie the accounts of systems and people.
const LEAST: u32 = 60_000;

/// The two users of one running step. The group of each has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// The step's.
    pub step: u32,
    /// The killer's real one; no process keeps it.
    pub killer: u32,
}

impl Users {
    /// Returns the users of a slot, or none where too few numbers are mapped here.
    pub fn of(slot: u32) -> Option<Users> {
        let map = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
        let first = first(&map("uid_map"), &map("gid_map"), namespace)?;
        let step = first + 1 + slot;
        (slot < SLOTS).then_some(Users { step, killer: step + SLOTS })
    }

    /// Returns the numbers of the living processes that have the step's user in any role.
    pub fn alive(self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that is gone meanwhile does not live.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if lives_as(&status, self.step) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

/// Says whether a process's status names `user` as real, effective, saved or file user. A dead one that
/// nobody has reaped holds nothing any more.
fn lives_as(status: &str, user: u32) -> bool {
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let dead = line("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
    let mut users = line("Uid:").unwrap_or_default().split_whitespace();
    !dead && users.any(|one| one.parse() == Ok(user))
}

/// Returns the first of a run of numbers that both maps hold, for a pid namespace.
fn first(uids: &str, gids: &str, namespace: u64) -> Option<u32> {
    let count = 1 + BLOCK;
    let both = |first: u32| holds(uids, first, count) && holds(gids, first, count);
    let last = ranges(uids).map(|(_, last)| last).max()?.min(u64::from(NOBODY) - 1);
    let highest = u32::try_from(last).ok()?.checked_sub(count - 1);
    let block = u32::try_from(namespace % BLOCKS).ok()?;
    [Some(PREFERRED + block * BLOCK), highest]
        .into_iter()
        .flatten()
        .find(|first| *first >= LEAST && both(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_never_root_nobody_or_an_account() {
        let whole = "         0          0 4294967295\n";
        for (uids, gids, want) in [
            (whole, whole, Some(PREFERRED)),
            ("0 100000 65536\n", "0 100000 65536\n", Some(NOBODY - 1 - BLOCK)),
            ("0 100000 65536\n", "0 100000 65500\n", None),
            ("0 1000 1\n", "0 1000 1\n", None),
            ("0 1000 1\n1 100000 1000\n", "0 1000 1\n1 100000 1000\n", None),
            ("", "", None),
        ] {
            assert_eq!(first(uids, gids, BLOCKS), want, "{uids:?} {gids:?}");
        }
        // The blocks of neighbours do not meet, and the last one ends below the highest number there is.
        let block = |namespace| first(whole, whole, namespace).expect("all are mapped");
        assert!(block(8) >= block(7) + BLOCK);
        assert!(block(BLOCKS - 1).checked_add(BLOCK).is_some_and(|last| last < u32::MAX));
        let own = (0..=SLOTS).filter_map(Users::of).flat_map(|users| [users.step, users.killer]);
        let own: Vec<u32> = own.collect();
        assert!(own.iter().all(|user| *user >= LEAST && *user != NOBODY));
        // No number is had twice: whoever has it may be signalled by all others that do.
        let apart: std::collections::BTreeSet<&u32> = own.iter().collect();
        assert_eq!(apart.len(), own.len());
        assert_eq!(Users::of(SLOTS), None);
    }

    #[test]
    fn a_process_is_the_steps_in_any_role_until_it_is_dead() {
        let status =
            |state: &str, users: &str| format!("Name:\tx\nState:\t{state}\nUid:\t{users}\n");
        for (status, want) in [
            (status("R (running)", "7\t7\t7\t7"), true),
            (status("S (sleeping)", "1\t7\t1\t1"), true),
            (status("D (disk sleep)", "1\t1\t7\t1"), true),
            (status("T (stopped)", "1\t1\t1\t7"), true),
            (status("Z (zombie)", "7\t7\t7\t7"), false),
            (status("R (running)", "77\t70\t17\t1"), false),
            (String::new(), false),
        ] {
            assert_eq!(lives_as(&status, 7), want, "{status}");
        }
    }
}
