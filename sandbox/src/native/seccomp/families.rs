//! A filter for a process of kiln's own that is to open no sockets but some: what holds a key, or a token.
//!
//! By the family of the socket, since that is what the kernel shows; where it may connect to is not. A ring
//! of `io_uring` opens sockets without this call, so there is none of it either, and no call by the numbers
//! of another architecture.
//!
//! Does no I/O.

use super::program::{
    self, ALLOW, ARCHITECTURE, Instruction, JUMP_EQUAL, KILL_PROCESS, LOAD, NATIVE, NUMBER, RETURN,
    low, refuse,
};

/// The first number of x32, which are the native ones with this bit.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Returns the filter program: sockets of `families`, and every other call.
pub fn families_program(families: &[i32]) -> Vec<Instruction> {
    let mut out = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, NATIVE),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    out.extend([(program::JUMP_ANY_BIT, 0, 1, X32), refuse(libc::ENOSYS)]);
    out.extend([(JUMP_EQUAL, 0, 1, number(libc::SYS_io_uring_setup)), refuse(libc::EPERM)]);
    out.extend([(JUMP_EQUAL, 1, 0, number(libc::SYS_socket)), (RETURN, 0, 0, ALLOW)]);
    out.push((LOAD, 0, 0, low(0)));
    for family in families {
        out.extend([(JUMP_EQUAL, 0, 1, family.unsigned_abs()), (RETURN, 0, 0, ALLOW)]);
    }
    out.push(refuse(libc::EAFNOSUPPORT));
    out
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::program::ERRNO;
    use super::super::program::tests::answer;
    use super::*;

    #[test]
    fn only_sockets_of_the_families_can_be_made() {
        let none = ERRNO | libc::EAFNOSUPPORT.unsigned_abs();
        let socket = |families: &[i32], family: u64| {
            let call = number(libc::SYS_socket);
            answer(&families_program(families), NATIVE, call, [family, 1, 0, 0, 0, 0])
        };
        let (host, net) = ([libc::AF_UNIX], [libc::AF_UNIX, libc::AF_INET]);
        for family in 0..64 {
            let is =
                |known: &[i32]| known.iter().any(|one| u64::from(one.unsigned_abs()) == family);
            assert_eq!(socket(&host, family) == ALLOW, is(&host), "{family}");
            assert_eq!(socket(&net, family) == ALLOW, is(&net), "{family}");
            assert!([ALLOW, none].contains(&socket(&host, family)));
        }
        // The kernel takes the family as 32 bits, and so does the filter.
        assert_eq!(socket(&host, (1 << 32) | 2), none);
    }

    #[test]
    fn no_other_way_to_a_socket_is_left_open() {
        let program = families_program(&[libc::AF_UNIX]);
        let call = |number| answer(&program, NATIVE, number, [2, 1, 0, 0, 0, 0]);
        assert_eq!(call(number(libc::SYS_io_uring_setup)), ERRNO | libc::EPERM.unsigned_abs());
        assert_eq!(call(number(libc::SYS_read)), ALLOW);
        assert_eq!(call(number(libc::SYS_connect)), ALLOW, "of what there is a socket for");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(call(X32 | number(libc::SYS_socket)), ERRNO | libc::ENOSYS.unsigned_abs());
        assert_eq!(answer(&program, 0x4000_0003, 102, [0; 6]), KILL_PROCESS);
    }
}
