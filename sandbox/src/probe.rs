//! What this host lets this user do, guarantee by guarantee, with the cause and the fix.
//!
//! It finds out by doing: a rehearsal builds a whole sandbox without an environment, seals it, and
//! ends where a program would be executed. Version numbers and settings are read only to explain a
//! refusal, never to foretell one.
//!
//! Changes nothing on the host and leaves nothing there. Does not catch: a limit of one environment
//! or input, such as a store on a file system that cannot be a lower layer.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use model::isolation::{Enforced, Guarantee};

use crate::confined::{self, Slots, purpose};
use crate::error::{Cause, Error};
use crate::host::{self, Facts, Settings};
use crate::native::rehearse::MOUNT_RIGHT;
use crate::native::{Doing, outer_owner, rehearse};

/// What was found on this host for this user.
#[derive(Debug)]
pub struct Report {
    /// One for each guarantee, in their order.
    pub findings: Vec<Finding>,
    /// What is worth knowing although it stops nothing.
    pub notes: Vec<Note>,
    /// Release of the running kernel.
    pub kernel: String,
    /// Whom checkouts must belong to: the fixed id of all steps, none where it is whoever makes them.
    pub outer: Option<(u32, u32)>,
}

/// What was found for one guarantee.
#[derive(Debug)]
pub struct Finding {
    /// The guarantee.
    pub guarantee: Guarantee,
    /// Whether it can be kept.
    pub state: State,
}

/// Whether a guarantee can be kept here.
#[derive(Debug)]
pub enum State {
    /// By these mechanisms, each with its detail.
    Kept(Vec<String>),
    /// Only in part, or an extra one not at all; why.
    Reduced {
        /// What does hold.
        kept: Vec<String>,
        /// What does not, and why.
        reason: String,
    },
    /// A core one not at all.
    Missing {
        /// What was refused.
        doing: Doing,
        /// Why, if it is known.
        cause: Cause,
        /// What the kernel answered.
        error: io::Error,
    },
    /// Not tried, because an earlier one is missing.
    NotReached,
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Core dumps are piped to a program on the host, which has had holes of its own.
    PipedCoreDumps {
        /// The pattern.
        pattern: String,
    },
    /// The rehearsal failed for a reason that is no guarantee's.
    RehearsalFailed {
        /// The error and its causes, for people.
        message: String,
    },
}

impl Report {
    /// Says whether a step can run here with every core guarantee.
    pub fn is_ready(&self) -> bool {
        let core = self.findings.iter().filter(|finding| finding.guarantee.is_core());
        core.map(|finding| &finding.state).all(|state| matches!(state, State::Kept(_)))
    }

    /// Says whether a guarantee holds in full.
    pub fn keeps(&self, guarantee: Guarantee) -> bool {
        let full = |finding: &Finding| matches!(finding.state, State::Kept(_));
        self.findings.iter().any(|finding| finding.guarantee == guarantee && full(finding))
    }

    /// Returns the first core guarantee that is missing, with its cause.
    pub fn missing(&self) -> Option<(Guarantee, &Cause)> {
        self.findings.iter().find_map(|finding| match &finding.state {
            State::Missing { cause, .. } => Some((finding.guarantee, cause)),
            State::Kept(_) | State::Reduced { .. } | State::NotReached => None,
        })
    }
}

/// Rehearses a step on this host, in namespaces.
pub fn probe() -> Report {
    let mut notes = core_dumps().into_iter().collect::<Vec<_>>();
    let findings = findings(rehearse(None), &mut notes);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Report { findings, notes, kernel, outer: outer_owner() }
}

/// Rehearses a step over `folder`, where checkouts lie or are to be made. As root it is tried whether each step
/// can have a user of its own; [`Report::outer`] says whom checkouts must belong to.
pub fn probe_in(folder: &Path) -> Report {
    match outer_owner().map(|_| rehearse(Some(folder))) {
        Some(Ok(enforced)) => {
            let mut notes = core_dumps().into_iter().collect::<Vec<_>>();
            let findings = findings(Ok(enforced), &mut notes);
            let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
            Report { findings, notes, kernel, outer: None }
        }
        Some(Err(_)) | None => probe(),
    }
}

/// Rehearses a step whose work folder is a view of `folder`; returns by which mechanism it is one.
///
/// # Errors
/// What this host or that file system lacks, see [`Error`].
pub fn view_of(folder: &Path) -> Result<&'static str, Error> {
    let enforced = rehearse(Some(folder))?;
    let copied = enforced.mechanisms.iter().any(|one| one.mechanism == "copy");
    Ok(if copied { "copy" } else { "overlay" })
}

/// Rehearses a confined step on this host.
pub fn confined(slots: &Slots) -> Report {
    let mut notes = Vec::new();
    let findings = findings(confined::rehearse(slots), &mut notes);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Report { findings, notes, kernel, outer: None }
}

fn findings(rehearsed: Result<Enforced, Error>, notes: &mut Vec<Note>) -> Vec<Finding> {
    match rehearsed {
        Ok(enforced) => Guarantee::ALL.map(|guarantee| held(guarantee, &enforced)).into(),
        Err(Error::Missing { guarantee, doing, cause, source }) => {
            let mut refused = Some(State::Missing { doing, cause, error: source });
            let state = |one| if one == guarantee { refused.take() } else { None };
            Guarantee::ALL.map(state).into_iter().zip(Guarantee::ALL).map(not_reached).collect()
        }
        Err(error) => {
            notes.push(Note::RehearsalFailed { message: chain(&error) });
            Guarantee::ALL.map(|guarantee| not_reached((None, guarantee))).into()
        }
    }
}

fn held(guarantee: Guarantee, enforced: &Enforced) -> Finding {
    let own = enforced.mechanisms.iter().filter(|one| one.guarantee == guarantee);
    let kept = own.map(|one| format!("{}: {}", one.mechanism, one.detail)).collect();
    let state = match enforced.absent.get(&guarantee) {
        Some(reason) => State::Reduced { kept, reason: reason.clone() },
        None => State::Kept(kept),
    };
    Finding { guarantee, state }
}

fn not_reached((state, guarantee): (Option<State>, Guarantee)) -> Finding {
    Finding { guarantee, state: state.unwrap_or(State::NotReached) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn core_dumps() -> Option<Note> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let pattern = pattern.trim();
    pattern.starts_with('|').then(|| Note::PipedCoreDumps { pattern: pattern.to_owned() })
}

/// Explains a refusal, from the kernel's answer and the settings that are known to cause it.
pub(crate) fn cause_of(doing: Doing, source: &io::Error) -> Cause {
    explain(doing, source.raw_os_error(), &host::settings())
}

/// Returns the cause of what was refused, and each other one that is known to refuse once that is mended: a
/// rehearsal ends with the first.
pub fn causes(first: &Cause, facts: &Facts) -> Vec<Cause> {
    let Settings { max_user_namespaces, unprivileged_clone, apparmor_restricts, root, .. } =
        facts.settings;
    let off = |setting, value, holds: bool| {
        (value == Some(0) && holds).then_some(Cause::KernelSetting { setting, value: 0 })
    };
    // What restricts unconfined programs alone says nothing of those in a container.
    let restricted = apparmor_restricts == Some(1) && !root && facts.container.is_none();
    let known = [
        off("user/max_user_namespaces", max_user_namespaces, true),
        off("kernel/unprivileged_userns_clone", unprivileged_clone, !root),
        restricted.then_some(Cause::AppArmor),
        facts.masked_proc.then_some(Cause::MaskedProc),
        facts.root_without_mount.then_some(Cause::NoRight { right: MOUNT_RIGHT }),
    ];
    let others = known.into_iter().flatten().filter(|cause| cause != first);
    std::iter::once(first.clone()).chain(others).collect()
}

fn explain(doing: Doing, errno: Option<i32>, settings: &Settings) -> Cause {
    let refused = matches!(errno, Some(libc::EPERM | libc::EACCES));
    let no_room = errno == Some(libc::ENOSPC);
    if settings.max_user_namespaces == Some(0) && (no_room || refused) {
        return Cause::KernelSetting { setting: "user/max_user_namespaces", value: 0 };
    }
    if refused && settings.unprivileged_clone == Some(0) && !settings.root {
        return Cause::KernelSetting { setting: "kernel/unprivileged_userns_clone", value: 0 };
    }
    if no_room && let Some(value) = settings.max_user_namespaces {
        return Cause::KernelSetting { setting: "user/max_user_namespaces", value };
    }
    // Nothing was refused: something does not hold although every call said so.
    if doing == Doing::ReadBack {
        return Cause::Unknown;
    }
    if doing == Doing::DeviceNode {
        return Cause::NoDevices;
    }
    // It lets the namespace be made and takes its rights away, so the refusal may come later.
    if refused && settings.apparmor_restricts == Some(1) && !settings.root {
        return Cause::AppArmor;
    }
    let frozen = errno == Some(libc::EROFS) && doing == Doing::NoMoreNamespaces;
    if frozen || (refused && doing == Doing::Proc) {
        return Cause::MaskedProc;
    }
    if settings.filtered && (refused || errno == Some(libc::ENOSYS)) {
        return Cause::OuterSeccomp;
    }
    match errno {
        Some(libc::ENOSYS | libc::EINVAL | libc::ENODEV | libc::EOPNOTSUPP) => Cause::NotInKernel,
        _ => Cause::Unknown,
    }
}

/// What to switch on, in one sentence.
impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::AppArmor => out.write_str(
                "AppArmor keeps unprivileged programs from using user namespaces: as root, run \
                 `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give kiln a profile \
                 that allows `userns`",
            ),
            Cause::OuterSeccomp => out.write_str(
                "a seccomp filter around kiln refuses it, as in a container: start the container \
                 with profiles that allow namespaces and mounts, such as `--security-opt \
                 seccomp=unconfined --security-opt apparmor=unconfined`",
            ),
            Cause::KernelSetting { setting, value } => {
                let name = setting.replace('/', ".");
                write!(out, "the kernel's setting {name} is {value}: as root, raise it with `sysctl -w {name}=…`")
            }
            Cause::NotInKernel => {
                out.write_str("the kernel is older than 5.12 or built without it: use a newer kernel")
            }
            Cause::MaskedProc => out.write_str(
                "the /proc here is partly covered or read-only, as in a container: start \
                 the container with `--security-opt systempaths=unconfined`",
            ),
            Cause::NotRoot => out.write_str(
                "the backend changes its root folder and its user, which root alone may: run kiln as \
                 root in the container",
            ),
            Cause::NoRight { right } => write!(
                out,
                "root lacks CAP_{right} here, which is needed to {}: start the container with \
                 `--cap-add {right}`",
                purpose(right)
            ),
            Cause::OldLandlock { running, least } => write!(
                out,
                "Landlock of ABI {least} is needed (Linux 6.2), and this kernel has {running} (0 is \
                 none): use a newer kernel, with `landlock` among its `lsm`"
            ),
            Cause::NoDevices => out.write_str(
                "device nodes on the store's file system cannot be opened: put the store on one that \
                 is not mounted `nodev`, with `--store`, in a container that may open /dev/null",
            ),
            Cause::DeviceRules { refused } => write!(
                out,
                "something around kiln refuses `{refused}`, such as rules on devices of a control group, or a \
                 mount `nodev`: start kiln without `DeviceAllow=` and `PrivateDevices=` in its unit, or with \
                 `--device` in its container"
            ),
            Cause::SocketRules { refused } => write!(
                out,
                "something around kiln refuses `{refused}`, such as rules of a control group or of Landlock: \
                 start kiln without `SocketBindDeny=`, `IPAddressDeny=` or a sandbox with rules on ports"
            ),
            Cause::Unknown => out.write_str("the cause is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { max_user_namespaces: Some(1000), ..Settings::default() }
    }

    #[test]
    fn all_that_stands_in_the_way_is_named_and_not_only_the_first() {
        let setting = |setting| Cause::KernelSetting { setting, value: 0 };
        let right = Cause::NoRight { right: "SYS_ADMIN" };
        let container = || Facts {
            settings: Settings { filtered: true, root: true, ..settings() },
            container: Some("docker"),
            masked_proc: true,
            root_without_mount: true,
            ..Facts::default()
        };
        let user = |apparmor_restricts| Settings {
            max_user_namespaces: Some(0),
            unprivileged_clone: Some(0),
            apparmor_restricts,
            ..settings()
        };
        let host = |settings| Facts { settings, ..Facts::default() };
        for (first, facts, others) in [
            (Cause::OuterSeccomp, container(), vec![Cause::MaskedProc, right.clone()]),
            (Cause::MaskedProc, container(), vec![right.clone()]),
            (right.clone(), Facts { masked_proc: false, ..container() }, Vec::new()),
            (
                setting("user/max_user_namespaces"),
                host(user(Some(1))),
                vec![setting("kernel/unprivileged_userns_clone"), Cause::AppArmor],
            ),
            (
                setting("user/max_user_namespaces"),
                Facts { container: Some("docker"), ..host(user(Some(1))) },
                vec![setting("kernel/unprivileged_userns_clone")],
            ),
            (
                setting("user/max_user_namespaces"),
                host(Settings { root: true, ..user(Some(1)) }),
                Vec::new(),
            ),
            (Cause::NotInKernel, host(settings()), Vec::new()),
        ] {
            let want: Vec<Cause> = std::iter::once(first.clone()).chain(others).collect();
            assert_eq!(causes(&first, &facts), want);
        }
    }

    #[test]
    fn each_known_cause_is_told_apart() {
        let userns = Doing::UserNamespace;
        let setting = |setting, value| Cause::KernelSetting { setting, value };
        for (doing, errno, settings, want) in [
            (
                userns,
                libc::ENOSPC,
                Settings { max_user_namespaces: Some(0), ..settings() },
                setting("user/max_user_namespaces", 0),
            ),
            (userns, libc::ENOSPC, settings(), setting("user/max_user_namespaces", 1000)),
            (
                userns,
                libc::EPERM,
                Settings { unprivileged_clone: Some(0), ..settings() },
                setting("kernel/unprivileged_userns_clone", 0),
            ),
            (
                Doing::IdMap,
                libc::EACCES,
                Settings { apparmor_restricts: Some(1), ..settings() },
                Cause::AppArmor,
            ),
            (
                Doing::Tmpfs,
                libc::EPERM,
                Settings { apparmor_restricts: Some(1), filtered: true, ..settings() },
                Cause::AppArmor,
            ),
            (
                userns,
                libc::EPERM,
                Settings { apparmor_restricts: Some(1), root: true, filtered: true, ..settings() },
                Cause::OuterSeccomp,
            ),
            (userns, libc::ENOSYS, Settings { filtered: true, ..settings() }, Cause::OuterSeccomp),
            (
                Doing::Proc,
                libc::EPERM,
                Settings { filtered: true, ..settings() },
                Cause::MaskedProc,
            ),
            (Doing::NoMoreNamespaces, libc::EROFS, settings(), Cause::MaskedProc),
            (Doing::Overlay, libc::ENODEV, settings(), Cause::NotInKernel),
            (
                Doing::ReadBack,
                libc::EPERM,
                Settings { filtered: true, ..settings() },
                Cause::Unknown,
            ),
            (Doing::DeviceNode, libc::EPERM, settings(), Cause::NoDevices),
            (userns, libc::EPERM, settings(), Cause::Unknown),
        ] {
            assert_eq!(explain(doing, Some(errno), &settings), want, "{doing}");
        }
    }
}
