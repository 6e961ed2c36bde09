//! Landlock: a second line for `files`, used wherever the kernel has it.
//!
//! All rights of the running interface are handled, none left to best effort: the interface is asked
//! of the kernel first, and the set of rights is exactly its own, so what is reported is what holds.
//! Interface 1 is not used: it forbids moving a file between two folders, which builds do.
//!
//! Network rights are left to the network namespace. Writing to `/proc` is left to its read-only
//! mounts, so that a host with Landlock and one without look alike to a step.
//! See <https://docs.kernel.org/userspace-api/landlock.html>.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use model::AbsPath;
use model::step::Widen;

use super::error::{Doing, Failure, Naming};
use super::lists;
use super::sys;

/// Oldest interface that is used, see above.
const LEAST: i32 = 2;
/// Newest interface that this file knows the rights of.
const NEWEST: i32 = 8;

/// Returns the interface that would be used on this kernel.
pub fn usable() -> Option<i32> {
    let running = sys::landlock_abi();
    (running >= LEAST).then_some(running.min(NEWEST))
}

/// Restricts this process and its children; returns the interface enforced, none where it is absent.
///
/// A nested step keeps the scopes only: rules on files forbid every change of mounts.
pub fn restrict(widen: Widen, writable: &[AbsPath]) -> Result<Option<i32>, Failure> {
    let Some(running) = usable() else { return Ok(None) };
    let abi = ABI::from(running);
    if widen.nested {
        if Scope::from_all(abi).is_empty() {
            return Ok(None);
        }
        scope_only(abi).or_fail(Doing::Landlock, "scopes")?;
    } else {
        enforce(abi, writable).or_fail(Doing::Landlock, "")?;
    }
    Ok(Some(running))
}

fn scope_only(abi: ABI) -> io::Result<()> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let created = ruleset.scope(Scope::from_all(abi)).and_then(Ruleset::create).map_err(refused)?;
    created.restrict_self().map(drop).map_err(refused)
}

fn enforce(abi: ABI, writable: &[AbsPath]) -> io::Result<()> {
    let all = AccessFs::from_all(abi);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .map_err(refused)?;
    let scopes: BitFlags<Scope> = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes).map_err(refused)?;
    }
    let created = ruleset.create().map_err(refused)?;
    let no_ioctl = !(all & AccessFs::IoctlDev);
    let file_write = AccessFs::from_write(abi) & AccessFs::from_file(abi) & no_ioctl;
    let created = allow(created, "/", AccessFs::from_read(abi))?;
    let mut created = allow(created, "/proc", AccessFs::from_read(abi) | file_write)?;
    for at in writable {
        created = allow(created, &format!("/{}", at.below_root().as_str()), all & no_ioctl)?;
    }
    for (name, _, _) in lists::DEVICES {
        created = allow(created, &format!("/dev/{name}"), file_write | AccessFs::ReadFile)?;
    }
    created.restrict_self().map(drop).map_err(refused)
}

fn allow(
    ruleset: RulesetCreated,
    at: &str,
    rights: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let place = PathFd::new(at).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))?;
    ruleset.add_rule(PathBeneath::new(place, rights)).map_err(refused)
}

/// The library's error holds the kernel's only as text; the pipe carries numbers.
fn refused(_: RulesetError) -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}
