//! The user on the host that a step runs as, when kiln itself runs as root.
//!
//! Never root and never the shared "nobody": one fixed high id that no account has. Inside it shows
//! as 1000:1000, as in rootless mode, where the outer id is the user's own. Checkouts must belong to
//! it to look alike in both modes, so whoever makes them asks here.

use std::fs;
use std::sync::OnceLock;

/// The id, if the host maps it: beyond what distributions and container engines hand out.
const PREFERRED: u32 = 1_879_100_000;
/// "nobody", which other services share.
const NOBODY: u32 = 65_534;

/// Returns the owner of checkouts and of steps on the host; none where kiln is an ordinary user, or
/// root over no other id, and the owner is that user.
pub fn outer_owner() -> Option<(u32, u32)> {
    static OWNER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *OWNER.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let uid = pick(&fs::read_to_string("/proc/self/uid_map").ok()?)?;
        let gid = pick(&fs::read_to_string("/proc/self/gid_map").ok()?)?;
        Some((uid, gid))
    })
}

/// Picks an id out of a map: the preferred one, else the highest that is neither 0 nor "nobody".
fn pick(map: &str) -> Option<u32> {
    let ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first: u64 = fields.next()?.parse().ok()?;
            let count: u64 = fields.nth(1)?.parse().ok()?;
            (count > 0).then(|| (first, first + count - 1))
        })
        .collect();
    let mapped =
        |id: u32| ranges.iter().any(|(first, last)| (*first..=*last).contains(&u64::from(id)));
    if mapped(PREFERRED) {
        return Some(PREFERRED);
    }
    let highest = ranges.iter().map(|(_, last)| *last).max()?;
    let highest = u32::try_from(highest).unwrap_or(u32::MAX - 1);
    [highest, highest.checked_sub(1)?]
        .into_iter()
        .find(|id| *id != 0 && *id != NOBODY && mapped(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_id_is_never_root_or_nobody() {
        for (map, want) in [
            ("         0          0 4294967295\n", Some(PREFERRED)),
            ("0 100000 65536\n", Some(65_535)),
            ("0 100000 65535\n", Some(65_533)),
            ("0 1000 1\n", None),
            ("0 1000 1\n1 100000 1000\n", Some(1000)),
            ("", None),
        ] {
            assert_eq!(pick(map), want, "{map:?}");
        }
    }
}
