//! The maps of a user namespace, `/proc/PID/uid_map` and `gid_map`: which ids there are.
//!
//! Source: user_namespaces(7).

/// Returns the ranges of ids that a map gives, first and last.
pub fn ranges(map: &str) -> impl Iterator<Item = (u64, u64)> {
    map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let first: u64 = fields.next()?.parse().ok()?;
        let count: u64 = fields.nth(1)?.parse().ok()?;
        (count > 0).then(|| (first, first + count - 1))
    })
}

/// Says whether a map gives these ids, all of them.
pub fn holds(map: &str, first: u32, count: u32) -> bool {
    let (first, last) = (u64::from(first), u64::from(first) + u64::from(count) - 1);
    ranges(map).any(|(from, to)| from <= first && last <= to)
}
