//! What the filter of a confined step refuses more: no namespace of its own shields these calls.
//!
//! A few instructions in front of the native program, which then decides about everything else. So a
//! confined step reaches less than a native one, never more.
//!
//! Does no I/O.

use super::program::{self, Instruction};
use super::table;

/// Calls that are refused, with the answer and the reason.
const LESS: &[(&str, i32, &[libc::c_long])] = &[
    (
        "The network is the container's own: no socket of any family.",
        libc::EAFNOSUPPORT,
        &[libc::SYS_socket],
    ),
    (
        "Without sockets nothing needs a name, and a name of a pair could be found from outside.",
        libc::EPERM,
        &[libc::SYS_accept, libc::SYS_accept4, libc::SYS_bind, libc::SYS_connect, libc::SYS_listen],
    ),
    (
        "Queues and shared memory of the container would be shared with it and would stay.",
        libc::ENOSYS,
        &[
            libc::SYS_mq_getsetattr,
            libc::SYS_mq_notify,
            libc::SYS_mq_open,
            libc::SYS_mq_timedreceive,
            libc::SYS_mq_timedsend,
            libc::SYS_mq_unlink,
            libc::SYS_msgctl,
            libc::SYS_msgget,
            libc::SYS_msgrcv,
            libc::SYS_msgsnd,
            libc::SYS_semctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_shmdt,
            libc::SYS_shmget,
        ],
    ),
];

/// Types of pairs that stay connected to each other for ever (`SOCK_STREAM`, `SOCK_SEQPACKET`). One of
/// `SOCK_DGRAM` can send to any name.
const PAIRS: [u32; 2] = [libc::SOCK_STREAM.unsigned_abs(), libc::SOCK_SEQPACKET.unsigned_abs()];
/// `SOCK_TYPE_MASK` of linux/net.h: above it are flags.
const TYPE: u32 = 0xf;

/// Returns the filter program of a confined step with the user and group `own`.
pub fn confined_program(own: u32) -> Vec<Instruction> {
    use program::{AND, JUMP_EQUAL, LOAD, NUMBER, low, refuse};
    let mut out = vec![(LOAD, 0, 0, NUMBER)];
    for (why, errno, calls) in LESS {
        debug_assert!(!why.is_empty());
        for call in *calls {
            out.extend([(JUMP_EQUAL, 0, 1, number(*call)), refuse(*errno)]);
        }
    }
    out.extend([
        (JUMP_EQUAL, 0, 5, number(libc::SYS_socketpair)),
        (LOAD, 0, 0, low(1)),
        (AND, 0, 0, TYPE),
        (JUMP_EQUAL, 2, 0, PAIRS[0]),
        (JUMP_EQUAL, 1, 0, PAIRS[1]),
        refuse(libc::EAFNOSUPPORT),
    ]);
    out.extend(program::unheard_program(own));
    out
}

/// Returns how many calls get through, some only with the right arguments.
pub fn confined_count() -> usize {
    let less: usize = LESS.iter().map(|(_, _, calls)| calls.len()).sum();
    table::allowed_count(false) - less
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::program::tests::answer;
    use super::super::program::{ALLOW, ERRNO, NATIVE};
    use super::*;

    /// A user of a step's.
    const OWN: u32 = 1_879_100_002;

    #[test]
    fn a_confined_step_reaches_less_and_never_more() {
        let (native, confined) = (program::unheard_program(OWN), confined_program(OWN));
        let mut less = 0;
        for call in 0..=table::NEWEST + 5 {
            for arguments in [[0; 6], [1; 6], [u64::MAX; 6]] {
                let before = answer(&native, NATIVE, call, arguments);
                let now = answer(&confined, NATIVE, call, arguments);
                assert!(now == before || now & 0xffff_0000 == ERRNO, "{call}");
            }
            let refused = LESS.iter().find(|(_, _, calls)| calls.contains(&call.into()));
            if let Some((_, errno, _)) = refused {
                assert_eq!(answer(&confined, NATIVE, call, [1; 6]), ERRNO | errno.unsigned_abs());
                less += 1;
            }
        }
        assert_eq!(less, table::allowed_count(false) - confined_count());
    }

    #[test]
    fn only_pairs_that_stay_pairs_can_be_made() {
        let pair = |family: u64, kind: u64| {
            answer(
                &confined_program(OWN),
                NATIVE,
                number(libc::SYS_socketpair),
                [family, kind, 0, 0, 0, 0],
            )
        };
        let (unix, refused) = (1, ERRNO | libc::EAFNOSUPPORT.unsigned_abs());
        for flags in [0, 0x800, 0x8_0000, 0x8_0800] {
            assert_eq!(pair(unix, 1 | flags), ALLOW);
            assert_eq!(pair(unix, 5 | flags), ALLOW);
            // Datagrams, and raw, which is another word for them.
            assert_eq!(pair(unix, 2 | flags), refused);
            assert_eq!(pair(unix, 3 | flags), refused);
            assert_eq!(pair(30, 1 | flags), refused, "TIPC");
        }
    }

    #[test]
    fn another_architecture_is_still_killed() {
        let confined = confined_program(OWN);
        assert_eq!(answer(&confined, 0x4000_0003, 0, [0; 6]), 0x8000_0000);
        assert!(confined.len() < 4096, "the kernel takes no more");
    }
}
