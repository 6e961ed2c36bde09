//! What a step is not given by this backend, although the native one gives it: a list as data.
//!
//! A name here is a word for `require` in the configuration, which then refuses the backend.

/// One thing that a confined step lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A bound on what all its files take.
    Disk,
    /// Addresses that are the same in each run.
    FixedAddresses,
    /// A host name that is always the same.
    HostName,
    /// Queues and shared memory between processes (System V and POSIX).
    Ipc,
    /// A network interface of its own, with the address 127.0.0.1.
    Loopback,
    /// Process numbers that begin at 1 and tell nothing of others.
    PidNumbers,
    /// The folder `/proc`.
    Proc,
    /// Sockets that have a name.
    Sockets,
    /// Clocks since start that begin at zero.
    Uptime,
    /// A user number that is always the same, and an entry for it in `/etc/passwd`.
    UserNumber,
}

impl Lack {
    /// All of them, sorted.
    pub const ALL: [Lack; 10] = [
        Lack::Disk,
        Lack::FixedAddresses,
        Lack::HostName,
        Lack::Ipc,
        Lack::Loopback,
        Lack::PidNumbers,
        Lack::Proc,
        Lack::Sockets,
        Lack::Uptime,
        Lack::UserNumber,
    ];

    /// Returns its name, as `require` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Lack::FixedAddresses => "fixed-addresses",
            Lack::Disk => "disk",
            Lack::HostName => "host-name",
            Lack::Ipc => "ipc",
            Lack::Loopback => "loopback",
            Lack::PidNumbers => "pid-numbers",
            Lack::Proc => "proc",
            Lack::Sockets => "sockets",
            Lack::Uptime => "uptime",
            Lack::UserNumber => "user-number",
        }
    }

    /// Says what a step finds instead.
    pub fn instead(self) -> &'static str {
        match self {
            Lack::FixedAddresses => {
                "programs are loaded at random addresses where the container forbids fixed ones"
            }
            Lack::Disk => "one file is limited in size, all of them together are not",
            Lack::HostName => "uname tells the container's host name",
            Lack::Ipc => "System V and POSIX queues and shared memory answer ENOSYS",
            Lack::Loopback => "no socket can be made, so nothing listens on 127.0.0.1",
            Lack::PidNumbers => {
                "processes have the container's numbers, and whether a number is taken can be asked"
            }
            Lack::Proc => {
                "/proc is empty, and so are /dev/fd, /dev/stdin, /dev/stdout and /dev/stderr"
            }
            Lack::Sockets => "only connected pairs of local sockets can be made",
            Lack::Uptime => "clocks since start are the host's",
            Lack::UserNumber => "the user's number is its slot's, and /etc/passwd does not name it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacks_are_sorted_and_have_names_of_their_own() {
        let sorted = |left: &Lack, right: &Lack| left < right && left.name() < right.name();
        assert!(Lack::ALL.is_sorted_by(sorted));
    }
}
