//! From the table of verdicts to filter instructions.
//!
//! The number line is cut into segments of one verdict each, ascending. A segment is two
//! instructions: if the number is above its end skip, else return. A verdict by argument is a small
//! block in that place. Every path returns, no jump is longer than one block, none goes back.
//!
//! Does no I/O.

use std::collections::BTreeMap;

use super::table::{self, Check, NEWEST, Verdict};

/// One instruction: code, jump if true, jump if false, operand (`struct sock_filter`).
pub type Instruction = (u16, u8, u8, u32);

// Codes of classic BPF, linux/bpf_common.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// Answers, linux/seccomp.h.
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_X86_64` of linux/audit.h. Another architecture is killed: its numbers mean other calls.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64` of linux/audit.h.
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// Returns the filter program of the profile.
pub fn program() -> Vec<Instruction> {
    let verdicts = table::verdicts();
    let mut out = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, NATIVE),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
    ];
    for (end, verdict) in segments(&verdicts) {
        let block = block(verdict);
        let skip = u8::try_from(block.len()).unwrap_or(u8::MAX);
        out.push((JUMP_GREATER, skip, 0, end));
        out.extend(block);
    }
    out.push((RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()));
    out
}

/// Cuts 0 to the newest known number into runs of one verdict; each with its last number.
fn segments(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    let mut runs: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=NEWEST {
        let verdict = verdicts.get(&number).copied().unwrap_or(Verdict::Errno(libc::EPERM));
        match runs.last_mut() {
            Some((end, same)) if *same == verdict => *end = number,
            _ => runs.push((number, verdict)),
        }
    }
    runs
}

fn block(verdict: Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![(RETURN, 0, 0, ALLOW)],
        Verdict::Errno(errno) => vec![refuse(errno)],
        Verdict::If(check) => check_block(check),
    }
}

fn refuse(errno: i32) -> Instruction {
    (RETURN, 0, 0, ERRNO | errno.unsigned_abs())
}

/// Place of the low half of an argument; both architectures are little endian.
fn low(argument: u8) -> u32 {
    16 + 8 * u32::from(argument)
}

fn check_block(check: Check) -> Vec<Instruction> {
    let allow = (RETURN, 0, 0, ALLOW);
    match check {
        Check::NoBits { argument, bits } => vec![
            (LOAD, 0, 0, low(argument)),
            (JUMP_ANY_BIT, 0, 1, bits),
            refuse(libc::EPERM),
            allow,
        ],
        Check::NoneOf { argument, values } => {
            let mut out = vec![(LOAD, 0, 0, low(argument))];
            for value in values {
                out.extend([(JUMP_EQUAL, 0, 1, *value), refuse(libc::EPERM)]);
            }
            out.push(allow);
            out
        }
        Check::OneOf { argument, values, errno } => {
            let mut out = vec![(LOAD, 0, 0, low(argument))];
            for value in values {
                out.extend([(JUMP_EQUAL, 0, 1, *value), allow]);
            }
            out.push(refuse(errno));
            out
        }
        Check::CreateMode { flags, mode } => vec![
            (LOAD, 0, 0, low(flags)),
            (JUMP_ANY_BIT, 1, 0, table::MAKES_A_FILE),
            allow,
            (LOAD, 0, 0, low(mode)),
            (JUMP_ANY_BIT, 0, 1, table::SET_ID),
            refuse(libc::EPERM),
            allow,
        ],
        Check::NodeMode { mode } => vec![
            (LOAD, 0, 0, low(mode)),
            (JUMP_ANY_BIT, 0, 1, table::SET_ID),
            refuse(libc::EPERM),
            (AND, 0, 0, libc::S_IFMT),
            (JUMP_EQUAL, 1, 0, libc::S_IFCHR),
            (JUMP_EQUAL, 0, 1, libc::S_IFBLK),
            refuse(libc::EPERM),
            allow,
        ],
        Check::Socket { family, protocol } => socket_block(family, protocol),
    }
}

fn socket_block(family: u8, protocol: u8) -> Vec<Instruction> {
    let allow = (RETURN, 0, 0, ALLOW);
    let mut out = vec![(LOAD, 0, 0, low(family))];
    for known in table::FAMILIES {
        out.extend([(JUMP_EQUAL, 0, 1, known), allow]);
    }
    out.extend([
        (JUMP_EQUAL, 1, 0, libc::AF_NETLINK.unsigned_abs()),
        refuse(libc::EAFNOSUPPORT),
        (LOAD, 0, 0, low(protocol)),
        (JUMP_EQUAL, 0, 1, libc::NETLINK_ROUTE.unsigned_abs()),
        allow,
        refuse(libc::EAFNOSUPPORT),
    ]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, on one call.
    fn answer(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&architecture.to_le_bytes());
        data.extend_from_slice(&0u64.to_le_bytes());
        arguments.iter().for_each(|argument| data.extend_from_slice(&argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let (code, jt, jf, k) = program[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => {
                    let place = k as usize;
                    accumulator = u32::from_le_bytes(data[place..place + 4].try_into().unwrap());
                }
                AND => accumulator &= k,
                JUMP_EQUAL => at += branch(accumulator == k),
                JUMP_GREATER => at += branch(accumulator > k),
                JUMP_ANY_BIT => at += branch(accumulator & k != 0),
                RETURN => return k,
                _ => panic!("no such code {code:#x}"),
            }
        }
    }

    fn native(number: libc::c_long, arguments: [u64; 6]) -> u32 {
        answer(&program(), NATIVE, u32::try_from(number).unwrap(), arguments)
    }

    const EPERM: u32 = ERRNO | 1;
    const ENOSYS: u32 = ERRNO | 38;
    const NO_FAMILY: u32 = ERRNO | 97;

    #[test]
    fn every_number_gets_the_verdict_of_the_table() {
        let (program, verdicts) = (program(), table::verdicts());
        for number in 0..=NEWEST {
            let got = answer(&program, NATIVE, number, [0; 6]);
            match verdicts.get(&number) {
                None => assert_eq!(got, EPERM, "{number}"),
                Some(Verdict::Allow) => assert_eq!(got, ALLOW, "{number}"),
                Some(Verdict::Errno(errno)) => {
                    assert_eq!(got, ERRNO | errno.unsigned_abs(), "{number}")
                }
                Some(Verdict::If(_)) => {}
            }
        }
    }

    #[test]
    fn unknown_and_x32_numbers_do_not_exist() {
        let program = program();
        for number in [NEWEST + 1, 600, 1 << 30, (1 << 30) + 1, (1 << 30) + 520, u32::MAX] {
            assert_eq!(answer(&program, NATIVE, number, [0; 6]), ENOSYS, "{number}");
        }
    }

    #[test]
    fn another_architecture_is_killed() {
        assert_eq!(answer(&program(), 0x4000_0003, 0, [0; 6]), KILL_PROCESS);
    }

    #[test]
    fn arguments_decide_where_the_table_says_so() {
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        let second = |value: u64| [0, value, 0, 0, 0, 0];
        for (number, arguments, want) in [
            (libc::SYS_clone, first(0x1200011), ALLOW),
            (libc::SYS_clone, first(0x1000_0011), EPERM),
            (libc::SYS_unshare, first(0x400), ALLOW),
            (libc::SYS_unshare, first(0x80), EPERM),
            (libc::SYS_unshare, first(0x2_0000), EPERM),
            (libc::SYS_ioctl, second(0x5401), ALLOW),
            (libc::SYS_ioctl, second(0x5412), EPERM),
            (libc::SYS_ioctl, second(0xffff_ffff_0000_5412), EPERM),
            (libc::SYS_ioctl, second(0x541c), EPERM),
            (libc::SYS_socket, first(1), ALLOW),
            (libc::SYS_socket, first(2), ALLOW),
            (libc::SYS_socket, first(10), ALLOW),
            (libc::SYS_socket, first(16), ALLOW),
            (libc::SYS_socket, [16, 3, 9, 0, 0, 0], NO_FAMILY),
            (libc::SYS_socket, first(38), NO_FAMILY),
            (libc::SYS_socket, first(17), NO_FAMILY),
            (libc::SYS_socketpair, first(1), ALLOW),
            (libc::SYS_socketpair, first(2), NO_FAMILY),
            (libc::SYS_fchmodat, [0, 0, 0o4755, 0, 0, 0], EPERM),
            (libc::SYS_fchmodat, [0, 0, 0o755, 0, 0, 0], ALLOW),
            (libc::SYS_fchmod, second(0o2755), EPERM),
            (libc::SYS_fchmod, second(0o1777), ALLOW),
            (libc::SYS_mknodat, [0, 0, 0o20666, 0, 0, 0], EPERM),
            (libc::SYS_mknodat, [0, 0, 0o60666, 0, 0, 0], EPERM),
            (libc::SYS_mknodat, [0, 0, 0o10666, 0, 0, 0], ALLOW),
            (libc::SYS_mknodat, [0, 0, 0o104755, 0, 0, 0], EPERM),
            (libc::SYS_openat, [0, 0, 0, 0o4755, 0, 0], ALLOW),
            (libc::SYS_openat, [0, 0, 0o100, 0o4755, 0, 0], EPERM),
            (libc::SYS_openat, [0, 0, 0o101, 0o755, 0, 0], ALLOW),
            (libc::SYS_personality, first(0xffff_ffff), ALLOW),
            (libc::SYS_personality, first(0x4_0000), ALLOW),
            (libc::SYS_personality, first(0x40_0000), EPERM),
        ] {
            assert_eq!(native(number, arguments), want, "call {number} with {arguments:x?}");
        }
    }

    #[test]
    fn no_jump_leaves_the_program() {
        let program = program();
        assert!(program.len() < 4096, "the kernel takes no more");
        for (at, (code, jt, jf, _)) in program.iter().enumerate() {
            if code & 0x07 == 0x05 {
                assert!(at + 1 + usize::from(*jt.max(jf)) < program.len());
            }
        }
    }
}
