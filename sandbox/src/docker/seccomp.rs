//! The profile of allowed system calls, as a container engine reads it: JSON of names and conditions.
//!
//! Made from the table that the native filter is made from, so the two cannot drift apart. The
//! engine's language knows no "is none of" and allows one comparison for each argument in a rule, so
//! a refusal by value becomes a list of masked comparisons that together cover every other value.
//!
//! Differs from the native filter where the engine's library decides: a call that the library has no
//! name for is EPERM although a newer kernel has it, and an x32 number kills as a foreign
//! architecture does.
//!
//! Does no I/O. See the seccomp section of the OCI runtime specification.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::USER;
use crate::native::seccomp::{
    Check, FAMILIES, FIRST_PROCESS, MAKES_A_FILE, NEWEST, SET_ID, Verdict, name, verdicts,
};

/// Numbers that the table answers ENOSYS although it gives them no name: what is newer.
const ALLOW: &str = "SCMP_ACT_ALLOW";
const ERRNO: &str = "SCMP_ACT_ERRNO";
/// All of an argument's low half, which is what the kernel reads for the types in question.
const LOW: u32 = u32::MAX;

/// Returns the profile as the text that goes into the engine's request.
pub fn profile() -> String {
    let mut rules: Vec<Value> = Vec::new();
    let mut plain: BTreeMap<Option<i32>, Vec<&str>> = BTreeMap::new();
    for (number, verdict) in verdicts(false) {
        let Some(name) = name(number).filter(|_| number <= NEWEST) else { continue };
        match verdict {
            // Nobody listens here, so what waits elsewhere goes to the kernel at once.
            Verdict::Allow | Verdict::Wait => plain.entry(None).or_default().push(name),
            Verdict::Errno(errno) => plain.entry(Some(errno)).or_default().push(name),
            Verdict::If(check) => rules.extend(conditional(name, check)),
        }
    }
    for (errno, mut names) in plain {
        names.sort_unstable();
        rules.push(rule(&names, errno, &[]));
    }
    json!({
        "defaultAction": ERRNO,
        "defaultErrnoRet": libc::EPERM,
        "architectures": [ARCHITECTURE],
        "syscalls": rules,
    })
    .to_string()
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// One masked comparison: argument, mask, value.
type Masked = (u8, u32, u32);

fn rule(names: &[&str], errno: Option<i32>, conditions: &[Masked]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(argument, mask, value)| {
            json!({"index": argument, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})
        })
        .collect();
    let mut rule = json!({
        "names": names,
        "action": if errno.is_some() { ERRNO } else { ALLOW },
        "args": conditions,
    });
    if let (Some(errno), Some(members)) = (errno, rule.as_object_mut()) {
        members.insert("errnoRet".to_owned(), errno.into());
    }
    rule
}

/// Returns the rules of one call whose arguments decide. What no rule matches is EPERM.
fn conditional(name: &str, check: Check) -> Vec<Value> {
    let allow = |conditions: &[Masked]| rule(&[name], None, conditions);
    match check {
        Check::NoPointer { .. } | Check::NoMark { .. } => vec![allow(&[])],
        Check::OwnIds { first, none } => [USER, none]
            .into_iter()
            .flat_map(|user| [USER, none].map(|group| (user, group)))
            .map(|(user, group)| allow(&[(first, LOW, user), (first + 1, LOW, group)]))
            .collect(),
        Check::NoBits { argument, bits, errno } => {
            let mut rules = vec![allow(&[(argument, bits, 0)])];
            let each = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| bits & bit != 0);
            rules.extend(refused(name, errno, each.map(|bit| (argument, (bit, bit))), &[]));
            rules
        }
        // Only in the table of 32-bit programs, which no engine is given.
        Check::NoBitsOf { .. } => Vec::new(),
        Check::NoneOf { argument, values } => {
            others(values).map(|(mask, value)| allow(&[(argument, mask, value)])).collect()
        }
        Check::Whose { kinds } => kinds
            .iter()
            .flat_map(|kind| others(&FIRST_PROCESS).map(move |other| (*kind, other)))
            .map(|(kind, (mask, value))| allow(&[(0, LOW, kind), (1, mask, value)]))
            .collect(),
        Check::OneOf { argument, values, errno } => {
            let mut rules: Vec<Value> =
                values.iter().map(|value| allow(&[(argument, LOW, *value)])).collect();
            rules.extend(refused(name, errno, others(values).map(|other| (argument, other)), &[]));
            rules
        }
        Check::CreateMode { flags, mode } => {
            vec![allow(&[(flags, MAKES_A_FILE, 0)]), allow(&[(mode, SET_ID, 0)])]
        }
        Check::NodeMode { mode } => (0..16)
            .map(|kind| kind << 12)
            .filter(|kind| ![libc::S_IFCHR, libc::S_IFBLK].contains(kind))
            .map(|kind| allow(&[(mode, SET_ID | libc::S_IFMT, kind)]))
            .collect(),
        Check::Socket { family, protocol } => {
            let netlink = libc::AF_NETLINK.unsigned_abs();
            let route = libc::NETLINK_ROUTE.unsigned_abs();
            let mut rules: Vec<Value> =
                FAMILIES.iter().map(|known| allow(&[(family, LOW, *known)])).collect();
            rules.push(allow(&[(family, LOW, netlink), (protocol, LOW, route)]));
            let known: Vec<u32> = FAMILIES.into_iter().chain([netlink]).collect();
            let unknown = others(&known).map(|other| (family, other));
            let errno = libc::EAFNOSUPPORT;
            rules.extend(refused(name, errno, unknown, &[]));
            let other = others(&[route]).map(|other| (protocol, other));
            rules.extend(refused(name, errno, other, &[(family, LOW, netlink)]));
            rules
        }
    }
}

/// Returns rules that answer `errno` where one masked comparison and all of `with` hold. EPERM is
/// what happens anyway.
fn refused(
    name: &str,
    errno: i32,
    conditions: impl Iterator<Item = (u8, (u32, u32))>,
    with: &[Masked],
) -> Vec<Value> {
    if errno == libc::EPERM {
        return Vec::new();
    }
    conditions
        .map(|(argument, (mask, value))| {
            let mut all = with.to_vec();
            all.push((argument, mask, value));
            rule(&[name], Some(errno), &all)
        })
        .collect()
}

/// Returns masks and values that cover every 32-bit number but `values`, none of them twice: the
/// halves of the number line that hold none of them, from the highest bit down.
fn others(values: &[u32]) -> impl Iterator<Item = (u32, u32)> + use<> {
    let mut found = Vec::new();
    let mut open = vec![(0_u32, 0_u32)];
    while let Some((mask, prefix)) = open.pop() {
        if !values.iter().any(|value| value & mask == prefix) {
            found.push((mask, prefix));
        } else if mask != u32::MAX {
            let bit = 1 << (31 - mask.leading_ones());
            open.extend([(mask | bit, prefix | bit), (mask | bit, prefix)]);
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the profile answers to one call: none for allowed, else the number.
    fn answer(profile: &Value, call: &str, arguments: [u64; 6]) -> Option<i64> {
        let holds = |condition: &Value| {
            let number = |member: &str| condition[member].as_u64().unwrap();
            let argument = arguments[usize::try_from(number("index")).unwrap()];
            assert_eq!(condition["op"], "SCMP_CMP_MASKED_EQ");
            argument & number("value") == number("valueTwo")
        };
        let matching: Vec<&Value> = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["names"].as_array().unwrap().iter().any(|name| name == call))
            .filter(|rule| rule["args"].as_array().unwrap().iter().all(holds))
            .collect();
        let answers: std::collections::BTreeSet<Option<i64>> = matching
            .iter()
            .map(|rule| (rule["action"] == ERRNO).then(|| rule["errnoRet"].as_i64().unwrap()))
            .collect();
        assert!(answers.len() <= 1, "{call} has two answers: {matching:?}");
        answers.into_iter().next().unwrap_or_else(|| profile["defaultErrnoRet"].as_i64())
    }

    #[test]
    fn the_profile_gives_the_verdicts_of_the_table() {
        let profile: Value = serde_json::from_str(&profile()).unwrap();
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        let second = |value: u64| [0, value, 0, 0, 0, 0];
        let no_family = Some(i64::from(libc::EAFNOSUPPORT));
        for (call, arguments, want) in [
            ("read", first(0), None),
            ("mount", first(0), Some(1)),
            ("keyctl", first(0), Some(38)),
            ("io_uring_setup", first(0), Some(38)),
            ("io_setup", first(1), Some(38)),
            ("mmap", [0, 4096, 3, 0x22, 0, 0], None),
            ("mmap", [0, 4096, 3, 0x4_0022, 0, 0], Some(12)),
            ("memfd_create", second(0x3), None),
            ("memfd_create", second(0x5), Some(38)),
            ("shmget", [0, 4096, 0o1600, 0, 0, 0], None),
            ("shmget", [0, 4096, 0o5600, 0, 0, 0], Some(12)),
            ("clone3", first(0), Some(38)),
            ("clone", first(0x120_0011), None),
            ("clone", first(0x1000_0011), Some(1)),
            ("unshare", first(0x400), None),
            ("unshare", first(0x80), Some(1)),
            ("ioctl", second(0x5401), None),
            ("ioctl", second(0x5412), Some(1)),
            ("ioctl", second(0xffff_ffff_0000_5412), Some(1)),
            ("ioctl", second(0x541c), Some(1)),
            ("personality", first(0x8), None),
            ("personality", first(0x40_0000), Some(1)),
            ("socket", first(1), None),
            ("socket", first(2), None),
            ("socket", first(10), None),
            ("socket", first(16), None),
            ("socket", [16, 3, 9, 0, 0, 0], no_family),
            ("socket", first(38), no_family),
            ("socketpair", first(1), None),
            ("socketpair", first(2), no_family),
            ("fchmodat", [0, 0, 0o4755, 0, 0, 0], Some(1)),
            ("fchmodat", [0, 0, 0o755, 0, 0, 0], None),
            ("connect", first(3), None),
            ("sendto", [3, 0, 0, 0, 0xffff, 16], None),
            ("fchown", [3, 1000, 1000, 0, 0, 0], None),
            ("fchown", [3, 1000, 0xffff_ffff, 0, 0, 0], None),
            ("fchown", [3, 0, 1000, 0, 0, 0], Some(1)),
            ("fchmod", second(0o2755), Some(1)),
            ("mknodat", [0, 0, 0o20666, 0, 0, 0], Some(1)),
            ("mknodat", [0, 0, 0o60666, 0, 0, 0], Some(1)),
            ("mknodat", [0, 0, 0o10666, 0, 0, 0], None),
            ("openat", [0, 0, 0o101, 0o4755, 0, 0], Some(1)),
            ("openat", [0, 0, 0, 0o4755, 0, 0], None),
            ("openat", [0, 0, 0o101, 0o644, 0, 0], None),
        ] {
            assert_eq!(answer(&profile, call, arguments), want, "{call} {arguments:x?}");
        }
    }

    #[test]
    fn every_number_but_the_given_ones_is_covered_once() {
        for values in [vec![0], vec![1, 2, 10, 16], vec![0x5412, 0x541c], vec![u32::MAX]] {
            let cubes: Vec<(u32, u32)> = others(&values).collect();
            let covers =
                |number: u32| cubes.iter().filter(|(mask, value)| number & mask == *value).count();
            for value in &values {
                assert_eq!(covers(*value), 0);
                for near in [value ^ 1, value ^ 0x8000_0000, value.wrapping_add(1)] {
                    assert_eq!(covers(near), usize::from(!values.contains(&near)), "{near:x}");
                }
            }
        }
    }
}
