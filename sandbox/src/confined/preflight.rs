//! Whether this backend can work here, and which of the known reasons it is if not.
//!
//! Asked before anything is made, so that the answer names the cause and not a later consequence of it.
//! What is asked here is asked of the kernel; what holds in the end is read back in the shut-in step.

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

use crate::error::{Cause, Error};
use crate::native::error::Doing;
use crate::native::landlock;

/// Least Landlock interface: the first in which every way to change a file's content is covered
/// (3, Linux 6.2, brought truncation).
pub const LANDLOCK_LEAST: i32 = 3;

/// The rights of root that are used, with what each is for. An ordinary container has all of them.
const RIGHTS: [(&str, CapabilitySet, &str); 9] = [
    ("CHOWN", CapabilitySet::CHOWN, "give the work folder to the step's user"),
    ("DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE, "remove what the step shut"),
    ("FOWNER", CapabilitySet::FOWNER, "set times of what is the step's"),
    ("KILL", CapabilitySet::KILL, "stop the step before it has its user"),
    ("MKNOD", CapabilitySet::MKNOD, "make /dev/null"),
    ("SETGID", CapabilitySet::SETGID, "take the step's group"),
    ("SETPCAP", CapabilitySet::SETPCAP, "give up rights for good"),
    ("SETUID", CapabilitySet::SETUID, "take the step's user"),
    ("SYS_CHROOT", CapabilitySet::SYS_CHROOT, "change the root folder"),
];

/// Says what is missing, if anything is.
///
/// # Errors
/// [`Error::Missing`], with the cause.
pub fn check() -> Result<(), Error> {
    let root = rustix::process::geteuid().is_root();
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    judge(root, held, landlock::usable().unwrap_or(0))
}

fn judge(root: bool, held: CapabilitySet, running: i32) -> Result<(), Error> {
    let refused = |doing: Doing, cause| {
        let guarantee = doing.guarantee().unwrap_or(model::isolation::Guarantee::Identity);
        let source = io::Error::from_raw_os_error(libc::EPERM);
        Err(Error::Missing { guarantee, doing, cause, source })
    };
    if !root {
        return refused(Doing::OwnUser, Cause::NotRoot);
    }
    if let Some((right, _, _)) = RIGHTS.iter().find(|(_, right, _)| !held.contains(*right)) {
        return refused(Doing::RootRight, Cause::NoRight { right });
    }
    if running < LANDLOCK_LEAST {
        return refused(Doing::LandlockCore, Cause::OldLandlock { running, least: LANDLOCK_LEAST });
    }
    Ok(())
}

/// Returns what a right is for.
pub fn purpose(right: &str) -> &'static str {
    RIGHTS.iter().find(|(name, _, _)| *name == right).map_or("mount", |(_, _, purpose)| purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_can_be_missing_is_named() {
        let all = RIGHTS.iter().fold(CapabilitySet::empty(), |all, (_, right, _)| all | *right);
        let cause = |answer: Result<(), Error>| match answer {
            Err(Error::Missing { cause, .. }) => Some(cause),
            Err(_) => None,
            Ok(()) => None,
        };
        assert!(judge(true, all, LANDLOCK_LEAST).is_ok());
        assert_eq!(cause(judge(false, all, 7)), Some(Cause::NotRoot));
        for (name, right, purpose) in RIGHTS {
            assert_eq!(cause(judge(true, all - right, 7)), Some(Cause::NoRight { right: name }));
            assert!(!purpose.is_empty());
        }
        let old = Cause::OldLandlock { running: 2, least: LANDLOCK_LEAST };
        assert_eq!(cause(judge(true, all, 2)), Some(old));
    }
}
