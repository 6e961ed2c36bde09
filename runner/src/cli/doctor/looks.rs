//! What the guarantees rest on, one look each: what was found, whether it is good, and the fix.
//!
//! A look explains; it never decides whether a step can run. The rehearsal does that.

use std::collections::BTreeSet;

use model::T0_SECONDS;
use sandbox::host::Facts;
use sandbox::probe::{self, Report};
use sandbox::{Backend, Cause, EngineError};

use crate::cli::Session;
use crate::config::Required;
use crate::diagnostic::Diagnostic;
use crate::manifest::Manifest;
use crate::pipeline::{self, Readiness};
use crate::plan::Plan;
use crate::store::{self, Owner, Store};

/// The store, or why it cannot be used.
pub type Opened = Result<Store, Vec<Diagnostic>>;

/// A clock before this moment, 2026-01-01, is wrong: this program is younger.
const CLOCK_SECONDS_MIN: i64 = 1_767_225_600;
/// Free space below which the store's file system is called nearly full, in bytes: 1 GiB.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// What lets namespaces be made inside a container.
pub const OPEN_CONTAINER: &str = "start the container with  --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, and where kiln is root in it --cap-add SYS_ADMIN";

/// One thing that was looked at.
pub struct Look {
    /// Its name.
    pub name: &'static str,
    /// Whether it is as it should be; none where it is neither.
    pub verdict: Option<bool>,
    /// What was found.
    pub detail: String,
    /// What to change, a line each.
    pub help: Vec<String>,
}

impl Look {
    fn new(name: &'static str, verdict: Option<bool>, detail: impl Into<String>) -> Look {
        Look { name, verdict, detail: detail.into(), help: Vec::new() }
    }

    fn help(mut self, help: impl Into<String>) -> Look {
        self.help.push(help.into());
        self
    }
}

/// Looks at everything.
pub fn all(session: &Session, facts: &Facts, native: &Report, store: &Opened) -> Vec<Look> {
    vec![
        user_namespaces(facts, native),
        apparmor(facts, native),
        container(facts, native),
        control_groups(facts),
        space(session, store),
        views(store, native),
        clock(session),
        engine(session),
    ]
}

fn user_namespaces(facts: &Facts, native: &Report) -> Look {
    let settings = &facts.settings;
    let most = settings.max_user_namespaces;
    let shown = match (most, native.missing()) {
        (None, _) => "the kernel has none".to_owned(),
        (Some(0), _) => "user.max_user_namespaces allows none".to_owned(),
        (Some(most), None) => format!("kiln makes its own, of at most {most}"),
        (Some(most), Some((_, cause))) => {
            format!("{}, though a setting allows {most}", namespaces_refused(cause))
        }
    };
    let look = Look::new("userns", Some(native.is_ready()), shown);
    match (most, settings.unprivileged_clone) {
        (Some(0), _) => look.help("as root:  sysctl -w user.max_user_namespaces=15000"),
        (_, Some(0)) if !settings.root => {
            look.help("as root:  sysctl -w kernel.unprivileged_userns_clone=1")
        }
        _ => look,
    }
}

/// Says who refuses what a step needs of namespaces.
fn namespaces_refused(cause: &Cause) -> String {
    match cause {
        Cause::AppArmor => "refused by AppArmor".to_owned(),
        Cause::OuterSeccomp => "refused by a seccomp filter around kiln".to_owned(),
        Cause::KernelSetting { setting, value } => {
            format!("refused by {} = {value}", setting.replace('/', "."))
        }
        Cause::MaskedProc => "of no use, since parts of /proc are covered".to_owned(),
        Cause::NotInKernel => "of no use to this kernel".to_owned(),
        Cause::DeviceRules { .. } | Cause::SocketRules { .. } => {
            "of no use under rules around kiln".to_owned()
        }
        Cause::NotRoot
        | Cause::NoRight { .. }
        | Cause::OldLandlock { .. }
        | Cause::NoDevices
        | Cause::Unknown => "refused, and the kernel does not say why".to_owned(),
    }
}

fn apparmor(facts: &Facts, native: &Report) -> Look {
    let look = |verdict, detail: &str| Look::new("apparmor", verdict, detail);
    match facts.settings.apparmor_restricts {
        None | Some(0) => look(Some(true), "does not restrict user namespaces"),
        Some(_) if native.is_ready() => look(Some(true), "restricts user namespaces, not kiln's"),
        Some(_) => look(Some(false), "restricts user namespaces, and has no profile for kiln")
            .help("sudo kiln doctor --fix apparmor"),
    }
}

fn container(facts: &Facts, native: &Report) -> Look {
    let parts = [
        facts.container.map(|engine| format!("inside a container ({engine})")),
        facts.settings.filtered.then(|| "a seccomp filter around kiln".to_owned()),
        facts.masked_proc.then(|| "parts of /proc covered".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return Look::new("container", Some(true), "none, and no seccomp filter around kiln");
    }
    let shut = facts.settings.filtered || facts.masked_proc;
    let good = native.is_ready() || !shut;
    let look = Look::new("container", Some(good), parts.join(", "));
    if good { look } else { look.help(OPEN_CONTAINER) }
}

fn control_groups(facts: &Facts) -> Look {
    let limits = &facts.limits;
    let named = [(limits.pids, "pids"), (limits.memory, "memory"), (limits.cpu, "cpu")];
    let able: Vec<&str> = named.iter().filter(|(able, _)| *able).map(|(_, name)| *name).collect();
    let mounted = limits.mounted.unwrap_or("nothing");
    match limits.kind {
        Some(kind) if able.len() == named.len() => {
            Look::new("cgroups", Some(true), format!("{kind}: {}", able.join(", ")))
        }
        kind => {
            let used = kind.map_or("no group may be made".to_owned(), |kind| {
                format!("{kind} limits only {}", able.join(", "))
            });
            let look = Look::new("cgroups", None, format!("{mounted} mounted, {used}"));
            match (facts.container, facts.settings.root) {
                (Some(_), _) => look.help("limit the container instead:  --memory, --pids-limit"),
                (None, true) => look.help("mount the controllers, or run under systemd"),
                (None, false) => look.help("systemd-run --user --scope -p Delegate=yes kiln build"),
            }
        }
    }
}

fn space(session: &Session, store: &Opened) -> Look {
    let path = session.context.store.display().to_string();
    if let Err(found) = store {
        let headline = found.first().map(|one| one.headline.clone()).unwrap_or_default();
        return Look::new("store", Some(false), headline).help("name another folder:  --store DIR");
    }
    match rustix::fs::statvfs(&session.context.store) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let detail = format!("{path}, {} MB free", free / 1_000_000);
            let look = Look::new("store", Some(free >= FREE_BYTES_MIN), detail);
            if free < FREE_BYTES_MIN { look.help("free some space:  kiln store gc") } else { look }
        }
        Err(error) => Look::new("store", Some(false), format!("{path}: {error}")),
    }
}

/// A view of an empty tree in the store, laid out and made as for a step.
fn views(store: &Opened, native: &Report) -> Look {
    let look = |verdict, detail: String| Look::new("views", verdict, detail);
    let Ok(store) = store else {
        return look(None, "not tried, since there is no store".to_owned());
    };
    if !native.is_ready() {
        return look(None, "not tried, since no step can run".to_owned());
    }
    let owner = native.outer.map(|(uid, gid)| Owner { uid, gid });
    let tree = store
        .import_bytes(&[])
        .and_then(|empty| store.checkout(&empty, store::Look { seconds: T0_SECONDS, owner }));
    let tree = match tree {
        Ok(tree) => tree,
        Err(error) => return look(Some(false), error.to_string()),
    };
    match probe::view_of(tree.path()) {
        Ok("overlay") => look(Some(true), "overlays on the store's file system".to_owned()),
        Ok(_) => look(None, "copies: the tmpfs of this kernel keeps no user attributes".to_owned())
            .help("slower for large sources; Linux 6.6 and later make overlays"),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            look(Some(false), format!("{error}: {}", cause.unwrap_or_default()))
                .help("put the store on another file system:  --store DIR")
        }
    }
}

fn clock(session: &Session) -> Look {
    let now = session.context.now();
    let shown = jiff::Timestamp::from_second(now).map(|at| at.to_string()).unwrap_or_default();
    let look = Look::new("clock", Some(now >= CLOCK_SECONDS_MIN), shown);
    if now < CLOCK_SECONDS_MIN {
        return look.help("set it: provenance and key validity depend on it");
    }
    look
}

/// Holds what the steps of the current project ask against this host; outside of one what any step asks,
/// which is told only where it is not here.
pub fn project(session: &Session) -> Option<(Look, Vec<Diagnostic>)> {
    let of_any = || pipeline::asked_of_any(&Backend::Native);
    let Ok(found) = session.project() else {
        let look = Look::new("steps", Some(false), "what every step asks is not here");
        return Some((look, of_any())).filter(|(_, wrong)| !wrong.is_empty());
    };
    let look = |verdict, detail: String| Look::new("project", verdict, detail);
    let Ok((manifest, plan)) = pipeline::sketch(&found) else {
        let look = look(None, "its build file cannot be read".to_owned());
        return Some((look.help("see why:  kiln build --plan"), of_any()));
    };
    let ready = asked(session, &plan, manifest, &Backend::Native);
    let name = &plan.name;
    Some(match ready.len() {
        0 => (look(Some(true), format!("`{name}`: its steps ask nothing that is not here")), ready),
        _ => (look(Some(false), format!("`{name}`: its steps ask for what is not here")), ready),
    })
}

/// Says whether the backend `confined` would do here: it can run, and neither the configuration nor the
/// current project asks for what it lacks.
pub fn confined_serves(session: &Session, confined: &Report) -> bool {
    let backend = Backend::Confined(session.slots());
    let holds = |required: &Required| match required {
        Required::Guarantee(guarantee) => confined.keeps(*guarantee),
        Required::Given(lack) => !backend.lacks().contains(lack),
    };
    let project = session.project().ok().and_then(|found| pipeline::sketch(&found).ok());
    confined.is_ready()
        && session.config.require.iter().all(holds)
        && project
            .is_none_or(|(manifest, plan)| asked(session, &plan, manifest, &backend).is_empty())
}

fn asked(session: &Session, plan: &Plan, manifest: Manifest, backend: &Backend) -> Vec<Diagnostic> {
    let (waived, required) = (BTreeSet::new(), &session.config.require);
    Readiness::new(plan, manifest.into(), backend, &waived, required, None).asked()
}

/// Looks for the container engine of `--backend docker`. A host without one lacks nothing else.
fn engine(session: &Session) -> Look {
    match sandbox::look_at_engine(&session.engine()) {
        Ok(facts) => {
            let detail =
                format!("{} at {}, for --backend docker", facts.words(), facts.socket.display());
            let look = Look::new("engine", Some(true), detail);
            match sandbox::sweep(&session.engine()) {
                Ok(()) => look,
                Err(error) => {
                    look.help(format!("what a killed build left is still there: {error}"))
                }
            }
        }
        Err(error) => {
            let absent = matches!(&error, EngineError::NoEngine { source: None, .. });
            let told = crate::execute::engine(&error, error.to_string());
            let look = Look::new("engine", (!absent).then_some(false), error.to_string());
            told.help.into_iter().fold(look, Look::help)
        }
    }
}
