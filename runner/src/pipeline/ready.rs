//! Whether this host and this plan go together, decided before anything is brought in or run.
//!
//! Two halves. What can be answered by looking (processors, limits, options, what the configuration
//! requires) is answered first, for every step of the plan. What takes a rehearsal, or a question to a
//! container engine, is asked once: when the first environment would be read from the host, or the first
//! step would run. So a build that finds everything done asks nothing, and runs where no step could.
//!
//! `kiln doctor` asks the same and tells it with the same words.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use model::isolation::Guarantee;
use model::limits::Limits;
use model::relpath::Ident;
use model::step::{StepId, Widen};
use sandbox::probe::{self, Report};
use sandbox::{Asks, Backend, Cancel, EngineFacts};

use crate::config::Required;
use crate::diagnostic::{Code, Diagnostic};
use crate::execute::{engine, of_sandbox, of_sandbox_anywhere, unready};
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::store::Owner;

/// What a plan asks of its host.
#[derive(Debug)]
pub struct Readiness<'a> {
    backend: &'a Backend,
    waived: &'a BTreeSet<Guarantee>,
    required: &'a BTreeSet<Required>,
    /// What ends the wait for an engine; none where nothing is asked of one.
    cancel: Option<&'a Cancel>,
    steps: Vec<Wants>,
    manifest: Arc<Manifest>,
    /// What the one rehearsal found, over the folder where checkouts lie.
    rehearsed: OnceLock<Report>,
    wrong: OnceLock<Vec<Diagnostic>>,
}

/// What one step of the build file asks; its instances ask the same.
#[derive(Debug)]
struct Wants {
    id: StepId,
    limits: Limits,
    cpus: Option<NonZeroU32>,
    widen: Widen,
}

impl<'a> Readiness<'a> {
    /// Notes what the steps of `plan` ask; `manifest` knows where that is written.
    pub fn new(
        plan: &Plan,
        manifest: Arc<Manifest>,
        backend: &'a Backend,
        waived: &'a BTreeSet<Guarantee>,
        required: &'a BTreeSet<Required>,
        cancel: Option<&'a Cancel>,
    ) -> Readiness<'a> {
        let mut steps: BTreeMap<&Ident, Wants> = BTreeMap::new();
        for step in plan.steps.values() {
            steps.entry(&step.id.name).or_insert_with(|| Wants {
                id: step.id.clone(),
                limits: step.limits,
                cpus: step.cpus,
                widen: step.widen,
            });
        }
        let steps = steps.into_values().collect();
        let (rehearsed, wrong) = (OnceLock::new(), OnceLock::new());
        Readiness { backend, waived, required, cancel, steps, manifest, rehearsed, wrong }
    }

    /// Refuses what can be seen by looking.
    ///
    /// # Errors
    /// Exit 7, each with the place of the key: too few processors, a written limit that cannot be kept,
    /// an option that this backend or host cannot give, something that the configuration requires and that
    /// the backend lacks.
    pub fn stated(&self) -> Result<(), Vec<Diagnostic>> {
        let mut wrong = self.asked();
        wrong.extend(self.lacking());
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Returns what of the steps' own wishes cannot be had; a container engine is not asked.
    pub fn asked(&self) -> Vec<Diagnostic> {
        let one = |step: &Wants| {
            let refused = step.asks(self.waived).refused(self.backend);
            let told = refused.iter().map(|error| self.told(step, error)).collect::<Vec<_>>();
            let options = self.against_landlock(step).into_iter();
            options.chain(self.native_only(step)).chain(told)
        };
        self.steps.iter().flat_map(one).collect()
    }

    /// Rehearses a step, once, or asks the engine; returns what is wrong, and nothing where a step can
    /// run. A guarantee that was waived is left to the sandbox, which knows how to go on without it.
    ///
    /// `folder` lies where checkouts do: as root it decides whether each step has a user of its own.
    pub fn rehearsed(&self, folder: &Path) -> &[Diagnostic] {
        self.wrong.get_or_init(|| match self.report_there(folder) {
            Some(report) => match report.missing() {
                Some((guarantee, _)) if self.waived.contains(&guarantee) => Vec::new(),
                _ => unready(report),
            },
            None => self.asked_engine().err().unwrap_or_default(),
        })
    }

    /// Returns whom checkouts must belong to; the runner itself if none.
    pub fn owner(&self, folder: &Path) -> Option<Owner> {
        let owner = match self.backend {
            Backend::Native => self.there(folder).outer,
            Backend::Confined(_) | Backend::Docker(_) => sandbox::outer_owner(),
        };
        owner.map(|(uid, gid)| Owner { uid, gid })
    }

    /// Returns what a rehearsal found; none for a backend that is asked instead.
    fn report_there(&self, folder: &Path) -> Option<&Report> {
        match self.backend {
            Backend::Native => Some(self.there(folder)),
            Backend::Confined(slots) => Some(self.rehearsed.get_or_init(|| probe::confined(slots))),
            Backend::Docker(_) => None,
        }
    }

    fn there(&self, folder: &Path) -> &Report {
        self.rehearsed.get_or_init(|| probe::probe_in(folder))
    }

    fn asked_engine(&self) -> Result<EngineFacts, Vec<Diagnostic>> {
        let (Backend::Docker(asked), Some(cancel)) = (self.backend, self.cancel) else {
            return Err(Vec::new());
        };
        let facts = sandbox::engine_ready(asked, self.waived, cancel)
            .map_err(|error| vec![engine(&error, error.to_string())])?;
        let one = |step: &Wants| {
            let short = step.asks(self.waived).refused_by_engine(&facts);
            short.iter().map(|error| self.told(step, error)).collect::<Vec<_>>()
        };
        let wrong: Vec<Diagnostic> = self.steps.iter().flat_map(one).collect();
        if wrong.is_empty() { Ok(facts) } else { Err(wrong) }
    }

    /// Refuses a nested step where the configuration requires Landlock.
    fn against_landlock(&self, step: &Wants) -> Option<Diagnostic> {
        let landlock = Required::Guarantee(Guarantee::Landlock);
        if !step.widen.nested || !self.required.contains(&landlock) {
            return None;
        }
        let headline =
            format!("step `{}` is `nested`, and the configuration requires `landlock`", step.id);
        let told = Diagnostic::new(Code::BackendCannot, headline)
            .why("rules of Landlock on files forbid every mount that a nested step could make")
            .help("leave `nested` out, or take `landlock` out of `require` in config.toml");
        Some(self.at(step, told.key("nested")))
    }

    /// Refuses options that only the native backend has, on any other.
    fn native_only(&self, step: &Wants) -> Option<Diagnostic> {
        let Widen { nested, fakeroot, abi32 } = step.widen;
        let options = [("nested", nested), ("fakeroot", fakeroot), ("abi32", abi32)];
        let native = *self.backend == Backend::Native;
        let (option, _) = options.into_iter().find(|(_, on)| *on && !native)?;
        let name = self.backend.name();
        let headline = format!("the {name} backend cannot do `{option}` of step `{}`", step.id);
        let told = Diagnostic::new(Code::BackendCannot, headline)
            .help(format!("leave `{option}` or --backend out"));
        Some(self.at(step, told.key(option)))
    }

    fn told(&self, step: &Wants, error: &sandbox::Error) -> Diagnostic {
        self.at(step, of_sandbox(&step.id.to_string(), error))
    }

    /// Returns a refusal with the place of the key that asked.
    fn at(&self, step: &Wants, told: Diagnostic) -> Diagnostic {
        match self.manifest.place_in_step(&step.id.name, told.key.as_ref()) {
            Some(place) => told.at(place),
            None => told,
        }
    }

    /// Returns what the configuration requires and the backend never gives.
    fn lacking(&self) -> impl Iterator<Item = Diagnostic> {
        self.required.iter().filter_map(|required| match required {
            Required::Given(lack) if self.backend.lacks().contains(lack) => {
                Some(not_given(self.backend, *required))
            }
            Required::Given(_) | Required::Guarantee(_) => None,
        })
    }

    /// Refuses where this host does not keep a guarantee that the configuration requires, also one that was
    /// waived on the command line. Nothing is rehearsed where none is required; what is rehearsed here is not
    /// rehearsed again before the first step, so `folder` lies where checkouts do.
    ///
    /// # Errors
    /// Exit 7 for each that is not kept.
    pub fn required(&self, folder: &Path) -> Result<(), Vec<Diagnostic>> {
        let mut guarantees = self.required.iter().filter_map(|required| match required {
            Required::Guarantee(guarantee) => Some(*guarantee),
            Required::Given(_) => None,
        });
        let Some(first) = guarantees.next() else { return Ok(()) };
        let kept: Box<dyn Fn(Guarantee) -> bool> = match self.report_there(folder) {
            Some(report) => Box::new(|guarantee| report.keeps(guarantee)),
            None => {
                let facts = self.asked_engine()?;
                Box::new(move |guarantee| engine_keeps(&facts, guarantee))
            }
        };
        let short = std::iter::once(first).chain(guarantees).filter(|one| !kept(*one));
        let wrong: Vec<Diagnostic> =
            short.map(|one| not_kept(self.backend, one).help("see why:  kiln doctor")).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Returns what no build on this host could have: what a step asks that says nothing of its own.
pub fn asked_of_any(backend: &Backend) -> Vec<Diagnostic> {
    let (limits, waived) = (Limits::default(), BTreeSet::new());
    let asks = Asks { limits: &limits, cpus: None, widen: Widen::default(), waived: &waived };
    asks.refused(backend).iter().map(of_sandbox_anywhere).collect()
}

impl Wants {
    fn asks<'s>(&'s self, waived: &'s BTreeSet<Guarantee>) -> Asks<'s> {
        Asks { limits: &self.limits, cpus: self.cpus, widen: self.widen, waived }
    }
}

fn not_given(backend: &Backend, required: Required) -> Diagnostic {
    Diagnostic::new(
        Code::BackendCannot,
        format!(
            "the backend `{}` does not give a step `{required}`, which the configuration requires",
            backend.name()
        ),
    )
    .help("leave --backend out, on a host that can do without it")
    .help(format!("or take `{required}` out of `require` in config.toml"))
}

/// Says that a guarantee is not kept here although the configuration requires it, and whose fault that is.
pub fn not_kept(backend: &Backend, guarantee: Guarantee) -> Diagnostic {
    let take_out = format!("take `{guarantee}` out of `require` in config.toml");
    let (code, who) = match backend {
        Backend::Native => (Code::SandboxFailed, "this host".to_owned()),
        Backend::Docker(_) | Backend::Confined(_) => {
            (Code::BackendCannot, format!("the backend `{}`", backend.name()))
        }
    };
    let headline = format!("{who} cannot keep `{guarantee}`, which the configuration requires");
    let told = Diagnostic::new(code, headline);
    match backend {
        Backend::Native => told.help(take_out),
        Backend::Docker(_) | Backend::Confined(_) => {
            told.help("leave --backend out, on a host that can do without it").help(take_out)
        }
    }
}

/// Says what a container engine keeps, by its own word. None applies Landlock.
fn engine_keeps(facts: &EngineFacts, guarantee: Guarantee) -> bool {
    match guarantee {
        Guarantee::Landlock => false,
        Guarantee::Limits => facts.limits_memory && facts.limits_pids && facts.limits_cpu,
        Guarantee::Syscalls => facts.filters,
        Guarantee::Files | Guarantee::Network | Guarantee::Processes | Guarantee::Identity => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_keep_what_is_required_is_named() {
        let engine = sandbox::Engine { sockets: Vec::new(), staging: "/s".into() };
        let native = not_kept(&Backend::Native, Guarantee::Landlock);
        let docker = not_kept(&Backend::Docker(engine), Guarantee::Landlock);
        assert_eq!((native.code, docker.code), (Code::SandboxFailed, Code::BackendCannot));
        assert!(native.headline.starts_with("this host cannot keep `landlock`"));
        assert!(docker.headline.starts_with("the backend `docker` cannot keep `landlock`"));
    }
}
