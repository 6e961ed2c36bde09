//! One step on this machine, in five numbered moves.
//!
//! 1. Know every input by digest, and so the Action.
//! 2. Believe a result of our own index, if there is one, the same backend made it and everything it
//!    names is there. The Action of native and docker is one, but the builder.id is not: a result that
//!    docker made is never signed for in the name of native. Whoever runs the same Action just now, in
//!    this build or another one of the store, is waited for.
//! 3. Ask once whether this host can run steps, and lay the inputs out: one checkout per tree, reused
//!    between steps and builds.
//! 4. Run it in the sandbox; nothing of it is alive afterwards.
//! 5. Capture the outputs through descriptors into fresh objects, and write the result.
//!
//! A step that failed, was stopped, or hit a limit leaves no result.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::{Arc, Once};

use model::digest::Blob;
use model::limits::Bytes;
use model::record::OutputRecord;
use model::relpath::{AbsPath, RelPath};
use model::step::{Epoch, Input, OutputKind, Run, SCRIPT_PATH, Step, StepId};
use model::text;
use model::tree::Directory;
use sandbox::{Backend, Cancel, Exit, InjectedFile, Mount, Outcome, Parts, Spec, Writable};

use super::capture::{self, Caps, CaptureError, Taking};
use super::log::{self, StepLog};
use super::refusal::Taken;
use super::{Ran, StepFailure, StepResult, refusal, report};
use crate::context::Context;
use crate::diagnostic::Diagnostic;
use crate::interrupt;
use crate::junit::Cases;
use crate::plan::action::{self, Known, Sealed};
use crate::report::{Event, Tail};
use crate::schedule::Done;
use crate::store::{self, ActionResult, Checkout, Held, Look, Owner, Scratch, Store, Tried, Turn};

/// What every step of a run shares.
pub struct Workshop<'a> {
    /// The store.
    pub store: &'a Store,
    /// The button that stops everything.
    pub cancel: &'a Cancel,
    /// What keeps the guarantees.
    pub backend: &'a Backend,
    /// The name of this run.
    pub run: String,
    /// Returns why this host cannot run steps; nothing where it can.
    pub ready: &'a (dyn Fn() -> Vec<Diagnostic> + Sync),
    /// Returns whom checkouts must belong to; the runner itself if none.
    pub owner: &'a (dyn Fn() -> Option<Owner> + Sync),
    /// Whether earlier results are believed.
    pub use_cache: bool,
    /// Where the clock is read.
    pub context: &'a Context,
    /// Whether it was said that a filter is around kiln.
    pub host_told: Once,
    /// Brings a source's files into the store; called before a step needs them, and cheap when they
    /// are there.
    pub bring: &'a (dyn Fn(&Known) -> Result<(), Vec<Diagnostic>> + Sync),
    /// Returns a folder of a source that was scanned and need not be in the store yet.
    pub scanned: &'a (dyn Fn(&Blob) -> Option<Directory> + Sync),
}

/// Runs one step, or finds its result.
///
/// # Errors
/// Says what failed, with everything a person needs to see.
pub fn execute(
    shop: &Workshop<'_>,
    step: &Step,
    done: &Done,
    tell: &dyn Fn(Event),
) -> Result<Ran, StepFailure> {
    let _span = tracing::debug_span!("step", id = %step.id).entered();
    // 1. Know every input by digest, and so the Action.
    let (environment, mounts) = resolve(step, done)?;
    tracing::trace!(environment = %environment.digest, ?mounts, "inputs");
    let load = |blob: &Blob| match (shop.scanned)(blob) {
        Some(folder) => Ok(folder),
        None => shop.store.load_directory(blob),
    };
    let sealed = action::seal(step, environment, &mounts, shop.backend.in_action(), &load)
        .map_err(|error| refusal::action(step, &error))?;
    // 2. Believe a result of our own index.
    if let Some(ran) = found(shop, step, &sealed, environment)? {
        return Ok(ran);
    }
    let _turn = turn(shop, step, &sealed, tell)?;
    if let Some(ran) = found(shop, step, &sealed, environment)? {
        return Ok(ran);
    }
    tracing::debug!(action = %sealed.digest, "to be run");
    // 3. Ask once whether this host can, lay the inputs out, and have the sandbox started meanwhile.
    shop.backend.warm_up();
    let wrong = (shop.ready)();
    if !wrong.is_empty() {
        return Err(refusal::before(wrong));
    }
    let laid = lay_out(shop, step, environment, &mounts)?;
    laid.touched().for_each(|name| tell(Event::Note(remade(name))));
    // The outcome, with its descriptors, goes before the folder that they lead into.
    let scratch = scratch(shop).map_err(|error| refusal::store(step, &error))?;
    let spec = Spec::check(parts(step, environment, &laid, scratch.as_ref()))
        .map_err(|error| refusal::spec(step, &error))?;
    // 4. Run it in the sandbox.
    shop.host_told
        .call_once(|| told_of_host(shop.backend).for_each(|note| tell(Event::Note(note))));
    tell(Event::Started { step: step.id.clone() });
    let started = shop.context.now();
    let mut kept = StepLog::new(shop.store);
    let outcome = sandbox::run(&spec, shop.backend, shop.cancel, &mut |_, bytes| {
        kept.put(bytes);
        tell(Event::Output { step: step.id.clone(), bytes: bytes.to_vec() });
    })
    .map_err(|error| refusal::sandbox(step, &error))?;
    let cut = cut(step, &outcome, tell);
    let (log_blob, tail) = kept.finish(cut).map_err(|error| refusal::store(step, &error))?;
    let told = |failure| StepFailure {
        wall_ms: wall_ms(&outcome),
        ..refusal::with_cut(failure, step, &outcome)
    };
    if outcome.exit != Exit::Exited(0) {
        let (cases, notes) = report::of_failed(shop.store, shop.cancel, step, &outcome);
        notes.into_iter().for_each(tell);
        let failure = told(refusal::exit(step, &outcome, tail, log_blob, &sealed));
        let detail = with_cases(failure.detail, cases.as_ref());
        return Err(StepFailure { detail, cases, ..failure });
    }
    // 5. Capture the outputs and write the result.
    let (outputs, mut warnings) = match capture_all(shop, step, &outcome) {
        Ok(captured) => captured,
        Err(wrong) => return Err(told(refusal::captured(wrong, tail, log_blob, &sealed))),
    };
    let result = result(shop, started, &outcome, log_blob, outputs);
    if outcome.limits_hit.is_empty() {
        keep(shop, step, &sealed, &result)?;
    } else {
        warnings.push(hit(&outcome));
    }
    for warning in warnings {
        tell(Event::Note(format!("step {}: {warning}", step.id)));
    }
    for (path, output) in &result.outputs {
        tracing::debug!(path = %text::escape(path.as_str().as_bytes()), ?output, "captured");
    }
    let (cases, notes) = report::of_result(shop.store, step, &result);
    notes.into_iter().for_each(tell);
    Ok(ran(step, sealed, environment, result, Some(tail), cases))
}

/// Returns the limit at which the log was cut, if it was, and tells whoever reads along.
fn cut(step: &Step, outcome: &Outcome, tell: &dyn Fn(Event)) -> Option<Bytes> {
    let limit = outcome.log_cut.then_some(step.limits.log.value)?;
    tell(Event::Output { step: step.id.clone(), bytes: log::mark(limit) });
    Some(limit)
}

/// Returns what an Action came to before, if that may be believed. Past the cache, only what this very
/// run made is.
fn found(
    shop: &Workshop<'_>,
    step: &Step,
    sealed: &Sealed,
    environment: Blob,
) -> Result<Option<Ran>, StepFailure> {
    let found = shop.store.action_get::<StepResult>(&sealed.digest);
    let found = found.map_err(|error| refusal::store(step, &error))?.map(|found| found.record);
    let mine = |found: &StepResult| shop.use_cache || found.run == shop.run;
    let found = found.filter(|found| found.may_stand_for(shop.backend) && mine(found));
    Ok(found.map(|found| {
        tracing::debug!(action = %sealed.digest, made_by = found.run, "found");
        let (cases, _) = report::of_result(shop.store, step, &found);
        ran(step, sealed.clone(), environment, found, None, cases)
    }))
}

/// Waits until nobody else runs the same Action.
fn turn(
    shop: &Workshop<'_>,
    step: &Step,
    sealed: &Sealed,
    tell: &dyn Fn(Event),
) -> Result<Turn, StepFailure> {
    let mut told = false;
    loop {
        let tried = shop.store.try_turn(&sealed.digest);
        let who = match tried.map_err(|error| refusal::store(step, &error))? {
            Tried::Mine(turn) => return Ok(turn),
            Tried::Ours => "another step of this build".to_owned(),
            Tried::Theirs(who) => who,
        };
        if !std::mem::replace(&mut told, true) {
            tell(Event::Note(format!("step {}: waits for {who}, which runs the same", step.id)));
        }
        if !interrupt::pause(shop.cancel) {
            return Err(refusal::interrupted(step));
        }
    }
}

fn ran(
    step: &Step,
    sealed: Sealed,
    environment: Blob,
    result: StepResult,
    tail: Option<Tail>,
    cases: Option<Cases>,
) -> Ran {
    let named = step.outputs.iter().map(|(name, output)| (name, &output.path));
    let outputs = named
        .filter_map(|(name, path)| result.outputs.get(path).map(|output| (name.clone(), *output)))
        .collect();
    Ran {
        action: sealed.digest,
        environment,
        sealed: Arc::new(sealed),
        outputs,
        note: with_cases(note(&result), cases.as_ref()),
        cases,
        cached: tail.is_none(),
        result,
        tail,
    }
}

fn resolve(step: &Step, done: &Done) -> Result<(Blob, Vec<Known>), StepFailure> {
    let done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let find = |input: &Input| -> Option<Known> {
        match input {
            Input::Tree(blob) => Some(Known::Tree(*blob)),
            Input::File { blob, executable } => {
                Some(Known::File { blob: *blob, executable: *executable })
            }
            Input::Output { step, output } => {
                done.get(step)?.outputs.get(output).map(|output| match output {
                    OutputRecord::File { blob, executable } => {
                        Known::File { blob: *blob, executable: *executable }
                    }
                    OutputRecord::Tree(blob) => Known::Tree(*blob),
                })
            }
        }
    };
    let lost = || refusal::internal(step, "an input of the step has no digest");
    let environment = match find(&step.environment) {
        Some(Known::Tree(blob)) => blob,
        Some(Known::File { .. }) | None => return Err(lost()),
    };
    let mounts = step
        .mounts
        .iter()
        .map(|mount| find(&mount.input).ok_or_else(lost))
        .collect::<Result<_, _>>()?;
    Ok((environment, mounts))
}

/// The checkouts of a step, held while it runs.
struct Laid {
    root: Checkout,
    mounts: Vec<Checkout>,
}

impl Laid {
    /// Returns the names of the checkouts that somebody had touched.
    fn touched(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.root).chain(&self.mounts).filter_map(Checkout::touched)
    }
}

fn remade(name: &str) -> String {
    format!("checkouts/{name} of the store had been changed; not used, made anew from its objects")
}

fn lay_out(
    shop: &Workshop<'_>,
    step: &Step,
    environment: Blob,
    mounts: &[Known],
) -> Result<Laid, StepFailure> {
    let owner = (shop.owner)();
    let root = shop
        .store
        .checkout(&environment, Look { seconds: model::T0_SECONDS, owner })
        .map_err(|error| refusal::store(step, &error))?;
    let mut laid = Laid { root, mounts: Vec::with_capacity(mounts.len()) };
    for (mount, known) in step.mounts.iter().zip(mounts) {
        let seconds = match mount.epoch {
            Epoch::Base => model::T0_SECONDS,
            Epoch::Source => model::SOURCE_SECONDS,
        };
        let look = Look { seconds, owner };
        if mount.epoch == Epoch::Source {
            (shop.bring)(known).map_err(refusal::before)?;
        }
        let checkout = match known {
            Known::Tree(blob) => shop.store.checkout(blob, look),
            Known::File { blob, executable } => shop.store.checkout_file(blob, *executable, look),
        };
        laid.mounts.push(checkout.map_err(|error| refusal::store(step, &error))?);
    }
    Ok(laid)
}

/// Makes a folder for what the step writes, for the backend that can use one.
fn scratch<'a>(shop: &Workshop<'a>) -> Result<Option<Scratch<'a>>, store::Error> {
    match shop.backend {
        Backend::Native => shop.store.scratch((shop.owner)()).map(Some),
        Backend::Docker(_) | Backend::Confined(_) => Ok(None),
    }
}

fn parts(step: &Step, environment: Blob, laid: &Laid, scratch: Option<&Scratch<'_>>) -> Parts {
    let mounts = step.mounts.iter().zip(&laid.mounts).map(|(mount, checkout)| Mount {
        at: mount.at.clone(),
        source: checkout.path().to_owned(),
        mode: mount.mode,
    });
    let script = match (&step.run, AbsPath::new(SCRIPT_PATH)) {
        (Run::Script { text, .. }, Ok(at)) => {
            Some(InjectedFile { at, bytes: text.clone().into_bytes(), mode: 0o555 })
        }
        _ => None,
    };
    Parts {
        root: laid.root.path().to_owned(),
        tree: environment.digest,
        mounts: mounts.collect(),
        files: script.into_iter().collect(),
        folders: Vec::new(),
        argv: action::argv(&step.run),
        env: step.env.clone(),
        cwd: work_folder(),
        limits: step.limits,
        timeout: step.timeout,
        cpus: step.cpus,
        widen: step.widen,
        waived: step.waived.clone(),
        scratch: scratch
            .map(|made| sandbox::Scratch { folder: made.path().to_owned(), always: false }),
    }
}

fn work_folder() -> AbsPath {
    AbsPath::new(model::step::WORK_FOLDER).unwrap_or_default()
}

/// Outputs and reports by path, and warnings about their names.
type Outputs = (BTreeMap<RelPath, OutputRecord>, Vec<String>);

/// Captures every output and report through the writable place that holds it.
fn capture_all(
    shop: &Workshop<'_>,
    step: &Step,
    outcome: &Outcome,
) -> Result<Outputs, Vec<Diagnostic>> {
    let outputs = step
        .outputs
        .iter()
        .map(|(name, output)| (Taken { key: "outputs", name, path: &output.path }, output.kind));
    let reports = step
        .reports
        .iter()
        .map(|(name, path)| (Taken { key: "reports", name, path }, OutputKind::File));
    let (mut found, mut warnings, mut wrong) = (BTreeMap::new(), Vec::new(), Vec::new());
    // What takes no room inside must not take more than the step's share outside.
    let caps = Caps { holes: step.limits.disk.value, ..Caps::default() };
    let taking = Taking::begin(shop.store, shop.cancel, caps);
    for (taken, kind) in outputs.chain(reports) {
        let Taken { name, path, .. } = taken;
        let Some((view, rest)) = place_of(outcome, path) else {
            wrong.push(refusal::unreachable(step, taken));
            continue;
        };
        match capture::capture(&taking, view.dir.as_fd(), &rest, kind) {
            Ok(captured) => {
                warnings.extend(captured.twins.iter().map(|twins| {
                    let (first, second) = (text::escape(twins.first.as_str().as_bytes()), text::escape(twins.second.as_str().as_bytes()));
                    format!("output `{name}`: `{first}` and `{second}` in {} are one name on some file systems", twins.folder)
                }));
                found.insert(path.clone(), captured.node);
            }
            Err(CaptureError::Cancelled) => return Err(vec![refusal::cancelled(step)]),
            Err(error) => {
                wrong.push(refusal::capture(step, taken, &error));
                if error.is_of_all() {
                    break;
                }
            }
        }
    }
    if wrong.is_empty() { Ok((found, warnings)) } else { Err(wrong) }
}

/// Returns the writable place that holds a path of the work folder, and the path inside it.
pub(super) fn place_of<'o>(
    outcome: &'o Outcome,
    path: &RelPath,
) -> Option<(&'o Writable, RelPath)> {
    let at = work_folder().join(path);
    let mut views = outcome.views.iter().rev();
    views.find_map(|view| at.strip_prefix(&view.at).map(|rest| (view, rest)))
}

fn result(
    shop: &Workshop<'_>,
    started: i64,
    outcome: &Outcome,
    log: Blob,
    outputs: BTreeMap<RelPath, OutputRecord>,
) -> StepResult {
    StepResult {
        run: shop.run.clone(),
        started,
        backend: shop.backend.name().to_owned(),
        wall_ms: wall_ms(outcome),
        log,
        log_cut: outcome.log_cut,
        outputs,
        enforced: outcome.enforced.clone(),
        left_processes: outcome.left_processes,
        network_attempts: outcome.network_attempts.iter().map(ToString::to_string).collect(),
        network_heard: outcome.network_heard,
    }
}

fn wall_ms(outcome: &Outcome) -> u64 {
    u64::try_from(outcome.usage.wall.as_millis()).unwrap_or(u64::MAX)
}

/// Writes the result into our own index, with the names of all that must be there for it to count.
fn keep(
    shop: &Workshop<'_>,
    step: &Step,
    sealed: &Sealed,
    result: &StepResult,
) -> Result<(), StepFailure> {
    let mut holds = vec![Held::Blob(result.log)];
    for output in result.outputs.values() {
        holds.push(match output {
            OutputRecord::File { blob, .. } => Held::Blob(*blob),
            OutputRecord::Tree(blob) => Held::Tree(*blob),
        });
    }
    shop.store
        .action_put(&sealed.digest, &ActionResult { record: result.clone(), holds })
        .map_err(|error| refusal::store(step, &error))
}

/// Returns the steps whose result is known already, as far as their inputs are.
pub fn foresee(store: &Store, plan: &crate::plan::Plan, backend: &Backend) -> BTreeSet<StepId> {
    let done = Done::default();
    let mut known = BTreeSet::new();
    for step in plan.order().unwrap_or_default().into_iter().filter_map(|id| plan.steps.get(id)) {
        let Ok((environment, mounts)) = resolve(step, &done) else { continue };
        let load = |blob: &Blob| store.load_directory(blob);
        let Ok(sealed) = action::seal(step, environment, &mounts, backend.in_action(), &load)
        else {
            continue;
        };
        if let Ok(Some(found)) = store.action_get::<StepResult>(&sealed.digest)
            && found.record.may_stand_for(backend)
        {
            let ran = ran(step, sealed, environment, found.record, None, None);
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(step.id.clone(), ran);
            known.insert(step.id.clone());
        }
    }
    known
}

/// What is said once where a filter is around kiln.
const FILTERED: &str = "a seccomp filter around kiln may refuse steps more than kiln does: their results are used again \
    only under such a filter, and say so";

/// Returns what is said once of the host.
fn told_of_host(backend: &sandbox::Backend) -> impl Iterator<Item = String> {
    let shared = |name: String| {
        format!(
            "the steps have the number of {}, a user of this host, who can read and change what they do: \
             the backend native has a user that nobody is",
            model::text::escape(name.as_bytes())
        )
    };
    let filtered = backend.is_filtered().then(|| FILTERED.to_owned());
    filtered.into_iter().chain(backend.shared_account().map(shared))
}

/// Says which limits a step met that passed all the same.
fn hit(outcome: &Outcome) -> String {
    let names: Vec<String> = outcome.limits_hit.iter().map(|limit| format!("`{limit}`")).collect();
    format!("it passed, but met its limit of {}; the result is not used again", names.join(", "))
}

/// Adds the counts of a test's report to the few words about it.
fn with_cases(words: Option<String>, cases: Option<&Cases>) -> Option<String> {
    let all: Vec<String> = words.into_iter().chain(cases.map(Cases::words)).collect();
    if all.is_empty() { None } else { Some(all.join("; ")) }
}

/// Most network attempts that a note on a passing step names.
const ATTEMPTS_SHOWN: usize = 3;

/// Says in a few words what is worth knowing of a step that passed.
fn note(result: &StepResult) -> Option<String> {
    let mut words = Vec::new();
    if !result.network_attempts.is_empty() {
        let some = result.network_attempts.iter().take(ATTEMPTS_SHOWN);
        let more = match result.network_attempts.len().saturating_sub(ATTEMPTS_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        // Kept escaped; whoever shows this note escapes it.
        let some = some.map(|one| text::unescape(one)).collect::<Vec<_>>().join(", ");
        words.push(format!("asked in vain for {some}{more}"));
    }
    if result.left_processes > 0 {
        words.push(format!("{} left processes killed", result.left_processes));
    }
    if result.log_cut {
        words.push("log cut at its limit".to_owned());
    }
    if words.is_empty() { None } else { Some(words.join("; ")) }
}
