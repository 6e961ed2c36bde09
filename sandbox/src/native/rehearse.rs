//! A step without an environment: everything is done but the last exec, for the probe.
//!
//! It takes the same way as a real step, so that it cannot drift from it. It has no program, so it
//! ends with "no such program", which is its success.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::AbsPath;
use model::isolation::{Enforced, Guarantee};
use model::limits::{Limits, Millis};
use rustix::thread::{CapabilitySet, capabilities};

use super::cgroup::Host;
use super::enforced::enforced;
use super::error::Doing;
use super::order::order_without_environment;
use super::outer::outer_owner;
use super::run::{carry_out_order, explain};
use super::setup::place;
use super::share;
use crate::cancel::Cancel;
use crate::error::{Cause, Error};
use crate::spec::{Mount, MountMode, Parts, Widen};

/// Longest time of a rehearsal, which takes milliseconds.
const TIMEOUT: Millis = Millis(10_000);
/// A program that no empty root holds.
const NO_PROGRAM: &str = "/kiln/rehearsal";

/// The right to mount, without `CAP_`.
pub const MOUNT_RIGHT: &str = "SYS_ADMIN";

/// Rehearses, with a view of a folder of the host if one is named; returns what held.
pub fn rehearse(over: Option<&Path>) -> Result<Enforced, Error> {
    let failed = |source| Error::Setup { doing: Doing::Watch, operand: String::new(), source };
    let cancel = Cancel::new().map_err(failed)?;
    let mut parts = parts();
    parts.mounts.extend(over.map(|folder| Mount {
        at: place("build"),
        source: folder.to_owned(),
        mode: MountMode::View,
    }));
    let host = Host::get();
    let share = share::take(&parts.limits, true, &cancel)?;
    let ordered = order_without_environment(&parts, host, share)?;
    let done = carry_out_order(&parts, &ordered, &cancel, &mut |_, _| {})?;
    match (done.seen.failure, done.seen.facts) {
        (Some(failure), Some(facts)) if failure.doing == Doing::Execute => {
            refuse_without_right()?;
            Ok(enforced(&facts, &parts, host, &ordered))
        }
        (Some(failure), _) => Err(explain(failure)),
        (None, _) => Err(Error::ChildLost),
    }
}

/// Says whether we may mount, or need not: root opens a step's inputs before it gives up being root.
pub fn has_right() -> bool {
    let held =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    held || outer_owner().is_none()
}

fn refuse_without_right() -> Result<(), Error> {
    if has_right() {
        return Ok(());
    }
    let source = std::io::Error::from_raw_os_error(libc::EPERM);
    let (doing, cause) = (Doing::OpenSource, Cause::NoRight { right: MOUNT_RIGHT });
    Err(Error::Missing { guarantee: Guarantee::Files, doing, cause, source })
}

/// A request for a step without an environment and without a program.
pub fn parts() -> Parts {
    Parts {
        root: PathBuf::new(),
        tree: model::Digest::of(b""),
        mounts: Vec::new(),
        files: Vec::new(),
        folders: Vec::new(),
        argv: vec![NO_PROGRAM.to_owned()],
        env: BTreeMap::new(),
        cwd: AbsPath::default(),
        limits: Limits::default(),
        timeout: TIMEOUT,
        cpus: None,
        widen: Widen::default(),
        // What is short by the caller's limits is told as what is reduced, and refused before a step.
        waived: BTreeSet::from([Guarantee::Limits]),
        scratch: None,
    }
}
