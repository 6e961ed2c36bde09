//! The whole of a build, as the module's numbered steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use attestor::predicate::Further;
use model::digest::Blob;
use model::isolation::Guarantee;
use model::record::Asked;
use model::step::StepId;
use sandbox::Backend;

use super::further;
use super::hand_over::{self, Job};
use super::out_folder;
use super::own_output;
use super::prepare::{self, Prepared};
use super::ready::Readiness;
use super::select;
use super::signing::{self, Signing};
use super::survey::{Source, Surveyed, survey};
use super::sworn::Ahead;
use crate::cli::Session;
use crate::cli::args::InputsLevel;
use crate::diagnostic::{Code, Diagnostic};
use crate::execute::local::{self, Workshop};
use crate::export::Claim;
use crate::history::{self, StepStory};
use crate::live::{self, LiveLog};
use crate::orders::Orders;
use crate::plan::Plan;
use crate::plan::action::Known;
use crate::project::Project;
use crate::report::{Event, State, Talk};
use crate::schedule::{self, Ends};
use crate::source::{Project as SourceFolder, Scanned, SourceContent};
use crate::store::{Owner, Store};
use crate::{context, refusal};

/// What is wanted of a build.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where the build file comes from.
    pub from: Source,
    /// How far to go.
    pub mode: Mode,
    /// Steps or artifacts; empty for all.
    pub targets: Vec<String>,
    /// Combinations of the matrix, `axis=value`; empty for all.
    pub matrix: Vec<String>,
    /// Where artifacts go; without one, to `kiln-out` beside the build file.
    pub output: Option<PathBuf>,
    /// What keeps the guarantees.
    pub backend: Backend,
    /// Whether earlier results are believed.
    pub use_cache: bool,
    /// Whether and how to sign.
    pub signing: Signing,
    /// Sign although the source is dirty.
    pub allow_dirty: bool,
    /// Guarantees that may be absent.
    pub waived: BTreeSet<Guarantee>,
    /// What `NAME.inputs` holds.
    pub inputs: InputsLevel,
    /// What is stated besides the provenance.
    pub attest: BTreeSet<Further>,
    /// Whether a classic link is written as well.
    pub classic_link: bool,
    /// What the control plane ordered, where it did.
    pub orders: Option<Orders>,
    /// Makes what was asked for of an artifact's name and matrix choice.
    pub asked: AskedFor,
}

/// How the request for one artifact is told.
#[derive(Clone, Debug)]
pub enum AskedFor {
    /// A target of the build file.
    Target {
        /// What the command line set over the build file, as text.
        overrides: String,
    },
    /// A wrapped command; the target is filled in for each output.
    Command(Asked),
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Build.
    Build,
    /// Say what would run, and stop.
    Plan,
    /// Bring the inputs in, and stop.
    Fetch,
}

/// What a build came to.
#[derive(Debug)]
pub struct Finished {
    /// Its id; none where nothing was done.
    pub id: Option<String>,
    /// The plan.
    pub plan: Plan,
    /// What became of each step.
    pub steps: BTreeMap<StepId, StepStory>,
    /// What was handed over.
    pub artifacts: Vec<FinishedArtifact>,
    /// Notes for people.
    pub notes: Vec<String>,
}

/// What a build came to that did not pass.
#[derive(Debug)]
pub struct Failed {
    /// Its id; none where no step was to run yet.
    pub id: Option<String>,
    /// What became of each step; empty where none was to run yet.
    pub steps: BTreeMap<StepId, StepStory>,
    /// Everything that went wrong.
    pub errors: Vec<Diagnostic>,
}

impl From<Vec<Diagnostic>> for Failed {
    fn from(errors: Vec<Diagnostic>) -> Failed {
        Failed { id: None, steps: BTreeMap::new(), errors }
    }
}

/// One artifact that was handed over.
#[derive(Clone, Debug)]
pub struct FinishedArtifact {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub blob: Blob,
    /// Who signed for it.
    pub signature: Option<Signature>,
    /// The files beside it that hold the evidence.
    pub evidence: Vec<PathBuf>,
}

/// Who signed for an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key or the identity.
    pub by: String,
    /// Whether the statement lay there before, and stands: it is about an earlier build.
    pub before: bool,
}

/// Builds.
///
/// # Errors
/// Everything that went wrong, the failed steps among it.
pub fn build(
    session: &Session,
    project: &Project,
    wish: &Wish,
    talk: &mut Talk,
) -> Result<Finished, Failed> {
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    session.cancel()?;
    // 1. Read, and ask whether this host can.
    let begun = begin(session, project, wish, talk)?;
    let project = begun.project.as_ref().unwrap_or(project);
    let (surveyed, ready) = (begun.surveyed, begun.ready);
    further::check(wish, &surveyed.sketch)?;
    let store = session.store()?;
    ready.required(&store.run_path())?;
    // 2. Look at the sources, and decide about signing.
    let looked = prepare::look(session, project, &surveyed, &wish.waived, &store)?;
    let signing = wish.signing.decide(session, &store, &looked, wish)?;
    further::check_link(wish, &signing)?;
    further::check_names(&surveyed.sketch, &surveyed.manifest, &signing)?;
    let orders = signing::check_ordered(&signing, &surveyed.sketch, &looked.source(), wish)?;
    // 3. Bring in, and plan.
    let owner = || ready.owner(&store.run_path());
    let ready = || ready.rehearsed(&store.run_path()).to_vec();
    let prepared =
        prepare::bring_in(session, project, wish, surveyed, looked, &ready, &store, talk)?;
    hand_over::write_lock(project, &prepared)?;
    if wish.mode != Mode::Build {
        return Ok(preview(&store, prepared, project, wish)?);
    }
    signing::check_open(session, &store, &prepared.plan, wish, &orders)?;
    // 4. Run the plan.
    let run = run_id().map_err(one)?;
    let started = session.context.now();
    let ahead = Ahead::of(&signing, &session.context, prepared.plan.steps.len());
    let how = How { run: &run, ready: &ready, owner: &owner, ahead: &ahead };
    let ends = execute(session, &store, project, &prepared, wish, &how, talk)?;
    talk.end();
    // 5. Hand over.
    let facts = hand_over::Facts {
        run,
        started,
        finished: session.context.now(),
        ended: session.context.clock(),
    };
    if !ends.failed.is_empty() || !ends.unstarted.is_empty() {
        let errors = hand_over::failed(&store, project, &prepared, &facts, &ends);
        return Err(Failed { id: Some(facts.run), steps: stories(&ends), errors });
    }
    let job = Job {
        session,
        store: &store,
        project,
        prepared: &prepared,
        wish,
        signing: &signing,
        facts: &facts,
        ends: &ends,
    };
    let handed = hand_over::hand_over(&job, ahead.attestor())?;
    Ok(Finished {
        id: Some(facts.run),
        plan: prepared.plan,
        steps: stories(&ends),
        artifacts: handed.artifacts,
        notes: handed.notes,
    })
}

/// A build whose output folder is its own, where it has one.
struct Begun<'a> {
    surveyed: Surveyed,
    ready: Readiness<'a>,
    /// What the project is after a wait.
    project: Option<Project>,
    _claim: Option<Claim>,
}

/// Reads the build file, asks whether this host can do what it wants, and claims the output folder.
/// Whoever had to wait for that reads again: the files may be others by then.
fn begin<'a>(
    session: &'a Session,
    project: &Project,
    wish: &'a Wish,
    talk: &mut Talk,
) -> Result<Begun<'a>, Vec<Diagnostic>> {
    let read = |project: &Project| {
        let surveyed = survey(session, project, wish)?;
        let (manifest, required) = (Arc::clone(&surveyed.manifest), &session.config.require);
        let cancel = Some(session.cancel()?);
        let (backend, waived) = (&wish.backend, &wish.waived);
        let ready = Readiness::new(&surveyed.sketch, manifest, backend, waived, required, cancel);
        ready.stated()?;
        Ok::<_, Vec<Diagnostic>>((surveyed, ready))
    };
    let (surveyed, ready) = read(project)?;
    out_folder::check(session, project, wish, &surveyed)?;
    if wish.mode != Mode::Build {
        return Ok(Begun { surveyed, ready, project: None, _claim: None });
    }
    let note = own_output::note(session, project, wish, &surveyed)?;
    let (claim, waited) = hand_over::claim(session, project, wish, talk)?;
    if let Some(note) = note {
        talk.event(Event::Note(note));
    }
    if !waited || wish.from == Source::CommandLine {
        return Ok(Begun { surveyed, ready, project: None, _claim: Some(claim) });
    }
    let again = session.project()?;
    let (surveyed, ready) = read(&again)?;
    out_folder::check(session, &again, wish, &surveyed)?;
    Ok(Begun { surveyed, ready, project: Some(again), _claim: Some(claim) })
}

/// Returns the name of a new run: 128 random bits in hex.
fn run_id() -> Result<String, Diagnostic> {
    let random = context::random().map_err(|error| {
        Diagnostic::new(Code::Internal, "the kernel gives no random bytes").caused_by(&error)
    })?;
    Ok(model::record::Nonce::from_bytes(random).to_string())
}

/// What steps are run with besides the plan.
struct How<'a> {
    /// The name of this run.
    run: &'a str,
    /// Says why this host cannot run steps.
    ready: &'a (dyn Fn() -> Vec<Diagnostic> + Sync),
    /// Says whom checkouts must belong to.
    owner: &'a (dyn Fn() -> Option<Owner> + Sync),
    /// What is started meanwhile.
    ahead: &'a Ahead<'a>,
}

fn execute(
    session: &Session,
    store: &Store,
    project: &Project,
    prepared: &Prepared,
    wish: &Wish,
    &How { run, ready, owner, ahead }: &How<'_>,
    talk: &mut Talk,
) -> Result<Ends, Vec<Diagnostic>> {
    let cancel = session.cancel()?;
    let folder = SourceFolder::open(&project.folder)
        .map_err(|error| vec![select::source_error(&prepared.manifest, &error)])?;
    let bring = |known: &Known| bring(store, &folder, &prepared.scanned, known);
    let scanned = |blob: &Blob| prepare::folder_of(&prepared.scanned, blob);
    let shop = Workshop {
        store,
        cancel,
        backend: &wish.backend,
        ready,
        owner,
        run: run.to_owned(),
        use_cache: wish.use_cache,
        context: &session.context,
        host_told: std::sync::Once::new(),
        bring: &bring,
        scanned: &scanned,
    };
    let order = prepared.plan.order().unwrap_or_default();
    if let Err(error) = live::announce(store, run, project_key(project), &order) {
        tracing::debug!(%error, "this build cannot be followed");
    }
    let jobs = session.global.jobs.map_or_else(cores, usize::from);
    Ok(schedule::run(
        &prepared.plan,
        jobs,
        talk,
        || cancel.is_triggered(),
        |step, done, tell| {
            ahead.taken_up();
            let log = LiveLog::new(store, &step.id);
            local::execute(&shop, step, done, &|event| {
                match &event {
                    Event::Started { .. } => {
                        ahead.run();
                        let _ = log.start();
                    }
                    Event::Output { bytes, .. } => log.write(bytes),
                    _ => {}
                }
                tell(event);
            })
        },
    ))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Brings the files of a source into the store, each checked against what was hashed.
fn bring(
    store: &Store,
    folder: &SourceFolder,
    scanned: &Scanned,
    known: &Known,
) -> Result<(), Vec<Diagnostic>> {
    let root = match known {
        Known::Tree(blob) => blob,
        Known::File { blob, .. } => blob,
    };
    for source in scanned.sources.values().filter(|source| source.root() == *root) {
        let open = |file: &crate::source::ScannedFile| -> Result<_, Brought> {
            let opened = folder.open_file(&file.path).map_err(Brought::Source)?;
            Ok((opened.into(), Some(file.blob)))
        };
        let missing: Vec<_> =
            source.files().into_iter().filter(|file| !store.has_sized(&file.blob)).collect();
        store.import_many(&missing, open).map_err(|error| vec![error.told()])?;
        if let SourceContent::Folder(tree) = &source.content {
            store.put_tree(tree).map_err(|error| vec![refusal::store(&error)])?;
        }
    }
    Ok(())
}

/// Why a source's file could not be brought in.
#[derive(Debug, thiserror::Error)]
enum Brought {
    #[error("a source cannot be read")]
    Source(#[source] crate::source::SourceError),
    #[error("the store refused")]
    Store(#[from] crate::store::Error),
}

impl Brought {
    fn told(&self) -> Diagnostic {
        match self {
            Brought::Source(error) => select::source_told(error),
            Brought::Store(error) => refusal::store(error),
        }
    }
}

/// Says what would run, as far as that can be told before the first step: a step that reads another's
/// output has no digest until that one has its result.
fn preview(
    store: &Store,
    prepared: Prepared,
    project: &Project,
    wish: &Wish,
) -> Result<Finished, Vec<Diagnostic>> {
    if wish.mode == Mode::Fetch {
        let folder = SourceFolder::open(&project.folder)
            .map_err(|error| vec![select::source_error(&prepared.manifest, &error)])?;
        for source in prepared.scanned.sources.values() {
            bring(store, &folder, &prepared.scanned, &Known::Tree(source.root()))?;
        }
        store.sync().map_err(|error| vec![refusal::store(&error)])?;
    }
    let known = local::foresee(store, &prepared.plan, &wish.backend);
    let story = |cached: bool| StepStory {
        state: if cached { State::Cached } else { State::Queued },
        detail: None,
        action: None,
        log: None,
        wall_ms: 0,
        cached_from: None,
        cases: None,
    };
    let steps =
        prepared.plan.steps.keys().map(|id| (id.clone(), story(known.contains(id)))).collect();
    Ok(Finished { id: None, plan: prepared.plan, steps, artifacts: Vec::new(), notes: Vec::new() })
}

/// Returns what became of each step, for the history.
pub(super) fn stories(ends: &Ends) -> BTreeMap<StepId, StepStory> {
    let ran = ends.ran.iter().map(|(id, ran)| {
        let story = StepStory {
            state: if ran.cached { State::Cached } else { State::Passed },
            detail: ran.note.clone(),
            action: Some(ran.action),
            log: Some(ran.result.log),
            wall_ms: ran.result.wall_ms,
            cached_from: ran.cached.then(|| ran.result.run.clone()),
            cases: ran.cases.clone(),
        };
        (id.clone(), story)
    });
    let failed = ends.failed.iter().map(|(id, failure)| {
        let story = StepStory {
            state: failure.state,
            detail: failure.detail.clone(),
            action: failure.action,
            log: failure.log_blob,
            wall_ms: failure.wall_ms,
            cached_from: None,
            cases: failure.cases.clone(),
        };
        (id.clone(), story)
    });
    let unstarted = ends.unstarted.iter().map(|(id, state)| {
        let story = StepStory {
            state: *state,
            detail: None,
            action: None,
            log: None,
            wall_ms: 0,
            cached_from: None,
            cases: None,
        };
        (id.clone(), story)
    });
    ran.chain(failed).chain(unstarted).collect()
}

/// Returns the name under which the builds of a project are kept.
pub(super) fn project_key(project: &Project) -> model::Digest {
    history::project_key(&project.folder)
}
