//! Step 6: artifacts, Records, signatures, files.
//!
//! Everything that would be written is compared first: what is right already is left alone, so a build
//! that found all its results writes nothing and signs nothing (decision 24). One that ran a step signs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::digest::{Blob, Digest};
use model::record::{Asked, Nonce, Record};
use model::relpath::{Name, RelPath};
use model::step::StepId;

use super::before::Before;
use super::beside;
use super::build::{AskedFor, FinishedArtifact, Signature, Wish, project_key, stories};
use super::freshness;
use super::out_folder::folder;
use super::prepare::Prepared;
use super::signing::Decided;
use super::sworn;
use crate::artifacts::{self, Made};
use crate::cli::{Session, lasting};
use crate::diagnostic::{Code, Diagnostic, Exit, StepKey};
use crate::evidence::{self, Built, RunFacts};
use crate::export::{
    Batch, Claim, Claimed, ExportError, Landed, OutFolder, Ready, SUMS_NAME, sums_text,
};
use crate::history::{self, ArtifactStory, Build};
use crate::plan::Artifact;
use crate::project::{BUILD_FILE, LOCK_FILE, Project};
use crate::report::{Event, State, Talk};
use crate::schedule::Ends;
use crate::sign::{self, Attestor};
use crate::source::SourceContent;
use crate::store::Store;
use crate::{claims, context, inputs, interrupt, refusal};

/// The run's own name and times.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its id.
    pub run: String,
    /// Seconds since 1970.
    pub started: i64,
    /// Seconds since 1970.
    pub finished: i64,
    /// The same moment, finer.
    pub ended: std::time::SystemTime,
}

/// Writes the lock where it would change; `prepare` has refused that under `--locked`.
pub fn write_lock(project: &Project, prepared: &Prepared) -> Result<(), Vec<Diagnostic>> {
    match &prepared.new_lock {
        Some(text) => lasting::write(&project.folder, LOCK_FILE, text.as_bytes()),
        None => Ok(()),
    }
}

/// Claims the output folder for this build, and waits as long as it is another's. Says whether it had to.
///
/// # Errors
/// A folder that cannot be made; exit 130 where the wait is interrupted.
pub fn claim(
    session: &Session,
    project: &Project,
    wish: &Wish,
    talk: &mut Talk,
) -> Result<(Claim, bool), Vec<Diagnostic>> {
    let folder = folder(session, project, wish);
    let mut waited = false;
    loop {
        let who = match Claim::attempt(&folder).map_err(|error| vec![refusal::export(&error)])? {
            Claimed::Mine(claim) => return Ok((claim, waited)),
            Claimed::Theirs(who) => who,
        };
        if !std::mem::replace(&mut waited, true) {
            let shown = model::text::escape(folder.as_os_str().as_encoded_bytes());
            let who = who.map_or("another build".to_owned(), |pid| format!("process {pid}"));
            talk.event(Event::Note(format!("{shown} is in use: waits for {who}")));
        }
        talk.tick();
        if !interrupt::pause(session.cancel()?) {
            return Err(vec![
                Diagnostic::new(Code::Interrupted, "the build was interrupted")
                    .why("it waited for the output folder"),
            ]);
        }
    }
}

/// Keeps a failed build for `kiln show` and `kiln log`, and returns what went wrong.
pub fn failed(
    store: &Store,
    project: &Project,
    prepared: &Prepared,
    facts: &Facts,
    ends: &Ends,
) -> Vec<Diagnostic> {
    let told = ends.failed.iter().flat_map(|(id, failure)| {
        failure.diagnostics.iter().map(move |diagnostic| placed(prepared, project, id, diagnostic))
    });
    let mut found: Vec<Diagnostic> = told.collect();
    if found.is_empty() {
        found.push(Diagnostic::new(Code::Interrupted, "the build was interrupted"));
    }
    let state = if ends.failed.values().any(|failure| failure.state == State::Failed) {
        State::Failed
    } else {
        State::Cancelled
    };
    let build = Build {
        id: facts.run.clone(),
        project: prepared.plan.name.clone(),
        started: facts.started,
        finished: facts.finished,
        state,
        steps: stories(ends),
        artifacts: Vec::new(),
        records: Vec::new(),
        errors: found.iter().map(Diagnostic::to_json).collect(),
    };
    let kept = history::keep(store, &project_key(project), &build, facts.ended)
        .and_then(|()| store.sync());
    if let Err(error) = kept {
        found.push(refusal::store(&error));
    }
    found
}

/// Returns what a step failed for with its place in the build file: the key that is to blame, else what
/// the step runs where that failed. What the host or the store refused stands nowhere in it.
///
/// `kiln run` has no option for most keys of a step, so there it is also said how to get a file that has
/// them.
fn placed(
    prepared: &Prepared,
    project: &Project,
    id: &StepId,
    diagnostic: &Diagnostic,
) -> Diagnostic {
    let key = diagnostic.key.as_ref();
    let of_the_step = matches!(diagnostic.code.exit(), Exit::Failed | Exit::Usage);
    let place = match &diagnostic.place {
        None if key.is_some() || of_the_step => prepared.manifest.place_in_step(&id.name, key),
        found => found.clone(),
    };
    let told = Diagnostic { place, ..diagnostic.clone() };
    if project.made_of.is_some() { by_option(told) } else { told }
}

/// Remedies in words of the build file, and the same in options of `kiln run`.
const BY_OPTION: [(&str, &str); 3] = [
    ("take it out of `outputs`", "leave the option out"),
    ("under `environment`:  host: {packages: [...]}", "with  --package NAME"),
    ("say what it is:  {path: …, as: file|dir|root}", "end the path of a folder with a slash"),
];

fn by_option(told: Diagnostic) -> Diagnostic {
    let in_options =
        |help: String| BY_OPTION.iter().fold(help, |help, (key, option)| help.replace(key, option));
    let told = Diagnostic { help: told.help.into_iter().map(in_options).collect(), ..told };
    let has_option = |key: &StepKey| matches!(key.key, "outputs" | "run");
    match &told.key {
        Some(key) if !has_option(key) => told.help(
            "no option does so; write it into what this prints:  kiln run --print-build-file …",
        ),
        _ => told,
    }
}

/// What the last step of the pipeline works on: what all steps before it made.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Flags and surroundings.
    pub session: &'a Session,
    /// The store.
    pub store: &'a Store,
    /// The project.
    pub project: &'a Project,
    /// Plan and inputs.
    pub prepared: &'a Prepared,
    /// What is wanted.
    pub wish: &'a Wish,
    /// Whether and by whom it is signed.
    pub signing: &'a Decided,
    /// The run's own name and times.
    pub facts: &'a Facts,
    /// What became of the steps.
    pub ends: &'a Ends,
}

/// Hands over what a build made; the attestor is one that was started before, if any was.
///
/// 1. Make the artifacts in the store, and a Record for each.
/// 2. Find out what is to be signed: all where a step ran, else whose evidence is absent or stale.
/// 3. Unless nothing ran and nothing is stale: export the inputs, sign, write the evidence.
/// 4. Put the artifacts in place; what is right already is left alone.
/// 5. Keep the build for `kiln show`, unless nothing was done.
///
/// # Errors
/// Everything that cannot be made, signed or written; what was there before is then still there.
pub fn hand_over(job: &Job<'_>, attestor: Option<Attestor<'_>>) -> Result<Handed, Vec<Diagnostic>> {
    // 1. Artifacts and Records.
    let made = artifacts::make(job.store, &job.prepared.plan, &job.ends.ran)
        .map_err(|error| vec![error])?;
    let folder = folder(job.session, job.project, job.wish);
    let out = OutFolder::open(&folder).map_err(|error| vec![refusal::export(&error)])?;
    let mut records = records(job, &made)?;
    // 2. Whose evidence is stale.
    let before = Before::find(job.store, &project_key(job.project));
    let ran = job.ends.ran.values().any(|ran| !ran.cached);
    let stale = freshness::due(&out, (&made, &records), job.signing, job.wish, &before, ran);
    let done = ran || !stale.is_empty();
    // 3. Evidence.
    let mut notes = Vec::new();
    let (mut signed_now, mut readied_then) = (None, None);
    if done {
        // What is signed because a step ran, or a further statement is asked for now, is no change of what was there.
        let changed = freshness::stale(&out, &made, &records, job.signing, job.wish, false);
        notes.extend(signed_anew(job, &out, &records, &changed, &before));
        (signed_now, readied_then) =
            sworn::sign_and_write(job, &out, &made, &mut records, &stale, attestor)?;
    } else if let Some(record) = records.first() {
        notes.extend(restore_inputs(job, &out, record, &before)?);
    }
    // 4. Artifacts.
    let ready = readied_then.map_or_else(|| readied(job.store, &out, &made), Ok)?;
    notes.extend(put(job, &out, (&made, ready), &before, done)?);
    notes.extend(reduced(job));
    notes.extend(waived(job));
    notes.extend(unsigned(job.signing, &made));
    // 5. Keep the build.
    let signatures: Vec<Option<Signature>> = (0..made.len())
        .map(|index| signature(job.signing, signed_now.as_deref(), !stale.contains(&index)))
        .collect();
    if done {
        keep(job, &made, records, &signatures).map_err(|error| vec![error])?;
    }
    let each = made.iter().zip(signatures);
    let artifacts = each.map(|(made, by)| beside::finished(&folder, made, job, by)).collect();
    Ok(Handed { artifacts, notes })
}

/// Says why nothing is signed.
fn unsigned(signing: &Decided, made: &[Made]) -> Option<String> {
    match signing {
        Decided::Without(Some(reason)) if !made.is_empty() => Some(format!("unsigned: {reason}")),
        Decided::Without(_) | Decided::With(_) => None,
    }
}

/// Returns whose the statement about an artifact is: of whoever signed now, unless what lay there stands.
fn signature(signing: &Decided, now: Option<&str>, before: bool) -> Option<Signature> {
    let Decided::With(signer) = signing else { return None };
    let now = now.filter(|_| !before).map(str::to_owned);
    now.or_else(|| signer.name()).map(|by| Signature { by, before })
}

/// Says once which default limits, or extra guarantees, the steps of this run did not have.
fn reduced(job: &Job<'_>) -> Vec<String> {
    let ran = job.ends.ran.values().filter(|ran| !ran.cached);
    let absent: BTreeSet<String> = ran
        .flat_map(|ran| {
            ran.result
                .enforced
                .absent
                .iter()
                .map(|(guarantee, reason)| format!("{guarantee}: {reason}"))
        })
        .collect();
    absent
        .into_iter()
        .map(|reason| format!("not every extra guarantee held: {reason} (kiln doctor)"))
        .collect()
}

/// Says of a build that waived a guarantee that its statement is another builder's.
fn waived(job: &Job<'_>) -> Option<String> {
    let names: Vec<&str> = job.wish.waived.iter().map(|one| one.as_str()).collect();
    let signed = matches!(job.signing, Decided::With(_)) && !names.is_empty();
    signed.then(|| {
        format!(
            "made without {names}: the statement says so and names another builder, so kiln verify tells it, and refuses \
             it unless the key is named (--key) or believed for that builder (kiln trust add)",
            names = names.join(", ")
        )
    })
}

/// What was handed over, and what is worth saying of it.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The artifacts.
    pub artifacts: Vec<FinishedArtifact>,
    /// Notes for people.
    pub notes: Vec<String>,
}

fn records(job: &Job<'_>, made: &[Made]) -> Result<Vec<Record>, Vec<Diagnostic>> {
    let run = run_facts(job)?;
    let source = Built {
        plan: &job.prepared.plan,
        ran: &job.ends.ran,
        inputs: &job.prepared.inputs,
        run: &run,
    };
    let one = |made: &Made| {
        let random = context::random().map_err(|error| {
            vec![
                Diagnostic::new(Code::Internal, "the kernel gives no random bytes")
                    .caused_by(&error),
            ]
        })?;
        let asked = asked(&job.wish.asked, &made.artifact);
        let nonce = Nonce::from_bytes(random);
        let mut record = evidence::record(&source, &made.artifact, made.blob, asked, nonce);
        if let Some(orders) = &job.wish.orders {
            record.order = orders.answered_by(&record.order).map_err(|error| vec![error])?;
            record.observed.nonce = record.order.nonce.clone();
            // With the reference that was ordered, if one was.
            record.observed.source.uri.clone_from(&record.order.source.uri);
        }
        Ok(record)
    };
    made.iter().map(one).collect()
}

fn shown(out: &OutFolder, name: &Name) -> String {
    let folder = out.path_of(name).parent().map(Path::to_owned).unwrap_or_default();
    model::text::escape(folder.as_os_str().as_encoded_bytes())
}

/// The artifacts and the list of their digests, on the disk but for their names.
#[derive(Debug)]
pub struct Readied<'a> {
    artifacts: Vec<Ready<'a>>,
    sums: Option<Ready<'a>>,
}

/// Makes the artifacts and the list of their digests ready to land.
pub(super) fn readied<'a>(
    store: &Store,
    out: &'a OutFolder,
    made: &[Made],
) -> Result<Readied<'a>, Vec<Diagnostic>> {
    let refuse = |error: ExportError| vec![refusal::export(&error)];
    let ready = |made: &Made| {
        out.ready(store, &made.artifact.name, &made.blob, made.executable).map_err(refuse)
    };
    let artifacts = made.iter().map(ready).collect::<Result<_, _>>()?;
    if made.is_empty() {
        return Ok(Readied { artifacts, sums: None });
    }
    // Those of other targets stay listed while they are what their line says.
    let other = |name: &Name| made.iter().all(|made| made.artifact.name != *name);
    let mut sums: BTreeMap<Name, Digest> = out.listed(&other).into_iter().collect();
    sums.extend(made.iter().map(|made| (made.artifact.name.clone(), made.blob.digest)));
    let text = sums_text(&sums);
    let sums = out.ready_bytes(&file_name(SUMS_NAME)?, text.as_bytes()).map_err(refuse)?;
    Ok(Readied { artifacts, sums: Some(sums) })
}

/// Lands the artifacts and the list of their digests.
fn put(
    job: &Job<'_>,
    out: &OutFolder,
    (made, readied): (&[Made], Readied<'_>),
    before: &Before<'_>,
    done: bool,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let mut notes = Vec::new();
    let mut written = Vec::new();
    let mut batch = Batch::new(out);
    for (made, ready) in made.iter().zip(readied.artifacts) {
        let name = &made.artifact.name;
        let landed = ready.landed(before.artifact(name));
        if landed == Landed::Restored && lies_in(out, name) {
            notes.push(format!("{name} was changed in {} and is restored", shown(out, name)));
        }
        if landed == Landed::Written && matches!(job.signing, Decided::Without(_)) {
            written.push(name);
        }
        batch.add(ready);
    }
    let mut told = None;
    if let Some(ready) = readied.sums {
        let there = Name::new(SUMS_NAME).is_ok_and(|name| lies_in(out, &name));
        if ready.landed(None) == Landed::Written && there && !done {
            told = Some(format!("{SUMS_NAME} was changed and is restored"));
        }
        batch.add(ready);
    }
    batch.land().map_err(|error| vec![refusal::export(&error)])?;
    notes.extend(written.into_iter().flat_map(|name| beside::forget_evidence(out, name)));
    notes.extend(told);
    Ok(notes)
}

/// Returns the request for one artifact.
pub(super) fn asked(how: &AskedFor, artifact: &Artifact) -> Asked {
    let name = artifact.name.to_string();
    match how {
        AskedFor::Target { overrides } => Asked::Build {
            build_file: RelPath::new(BUILD_FILE).unwrap_or_default(),
            target: name,
            matrix: artifact.choice_text(),
            overrides: overrides.clone(),
        },
        AskedFor::Command(Asked::Run {
            command, inputs, outputs, packages, environment, ..
        }) => Asked::Run {
            command: command.clone(),
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            packages: packages.clone(),
            environment: environment.clone(),
            target: name,
        },
        AskedFor::Command(other) => other.clone(),
    }
}

fn run_facts(job: &Job<'_>) -> Result<RunFacts, Vec<Diagnostic>> {
    let plan = inputs::plan_bytes(&job.prepared.plan)
        .map_err(|error| vec![Diagnostic::new(Code::Internal, error.to_string())])?;
    Ok(RunFacts {
        invocation: job.facts.run.clone(),
        started: job.facts.started,
        finished: job.facts.finished,
        // Filled in once something is written: hashing this program costs more than a build without changes.
        kiln_digest: Digest::of(b""),
        backend: job.wish.backend.name(),
        host: sign::host_facts(&job.session.context),
        claims: claims::read(&job.session.context),
        plan_digest: Digest::of(&plan),
        waivers: job.wish.waived.clone(),
    })
}

/// Stores the folders of the sources: a step whose result was found never brought them in, and the
/// export names them.
pub(super) fn stored(job: &Job<'_>) -> Result<(), Vec<Diagnostic>> {
    for source in job.prepared.scanned.sources.values() {
        if let SourceContent::Folder(tree) = &source.content {
            job.store.put_tree(tree).map_err(|error| vec![refusal::store(&error)])?;
        }
    }
    Ok(())
}

pub(super) fn inputs_name(job: &Job<'_>) -> String {
    format!("{}.inputs", job.prepared.plan.name)
}

pub(super) fn export(job: &Job<'_>) -> Result<Blob, Vec<Diagnostic>> {
    inputs::export(job.store, &job.prepared.plan, &job.ends.ran, job.wish.inputs).map_err(|error| {
        let told = Diagnostic::new(Code::StoreUnusable, error.to_string());
        vec![refusal::with_causes(told, &error)]
    })
}

fn land_inputs(job: &Job<'_>, out: &OutFolder, exported: &Blob) -> Result<(), Vec<Diagnostic>> {
    let name = file_name(&inputs_name(job))?;
    out.land(job.store, &name, exported, false, None)
        .map(|_| ())
        .map_err(|error| vec![refusal::export(&error)])
}

/// Puts `NAME.inputs` back where everything else is as it was, and says so.
fn restore_inputs(
    job: &Job<'_>,
    out: &OutFolder,
    record: &Record,
    before: &Before<'_>,
) -> Result<Option<String>, Vec<Diagnostic>> {
    let Ok(name) = Name::new(&inputs_name(job)) else { return Ok(None) };
    let there = freshness::digest(out, &name);
    let wanted = before.inputs(record, job.wish.inputs);
    if there.is_some() && (wanted.is_none() || there == wanted) {
        return Ok(None);
    }
    stored(job)?;
    land_inputs(job, out, &export(job)?)?;
    let partly = Name::new(&record.observed.subject.name).is_ok_and(|name| lies_in(out, &name));
    Ok(match there {
        // That of another target; the last one built has it.
        Some(there) if before.exported(&there) => None,
        Some(_) => Some(format!("{name} was changed in {} and is restored", shown(out, &name))),
        None if partly => {
            Some(format!("{name} was removed from {} and is restored", shown(out, &name)))
        }
        None => None,
    })
}

/// Says whose evidence somebody changed or took away: it is signed anew although nothing else is new.
fn signed_anew(
    job: &Job<'_>,
    out: &OutFolder,
    records: &[Record],
    stale: &[usize],
    before: &Before<'_>,
) -> Vec<String> {
    let Decided::With(signer) = job.signing else { return Vec::new() };
    let told = |record: &Record| {
        let name = Name::new(&record.observed.subject.name).ok()?;
        let same = signer.name().is_some_and(|by| before.signed(record, &by, job.wish.inputs))
            && lies_in(out, &name);
        same.then(|| {
            format!(
                "the evidence of {name} was changed in {} and is signed anew",
                shown(out, &name)
            )
        })
    };
    stale.iter().filter_map(|index| records.get(*index)).filter_map(told).collect()
}

fn lies_in(out: &OutFolder, name: &Name) -> bool {
    out.path_of(name).symlink_metadata().is_ok()
}

/// Returns the name of a file that is written beside an artifact.
pub(super) fn file_name(name: &str) -> Result<Name, Vec<Diagnostic>> {
    Name::new(name)
        .map_err(|error| vec![Diagnostic::new(Code::WrongValue, format!("`{name}` {error}"))])
}

fn keep(
    job: &Job<'_>,
    made: &[Made],
    records: Vec<Record>,
    signatures: &[Option<Signature>],
) -> Result<(), Diagnostic> {
    let story = |(made, signature): (&Made, &Option<Signature>)| ArtifactStory {
        name: made.artifact.name.to_string(),
        blob: made.blob,
        signed_by: signature.as_ref().map(|one| one.by.clone()),
        signed_before: signature.as_ref().is_some_and(|one| one.before),
    };
    let build = Build {
        id: job.facts.run.clone(),
        project: job.prepared.plan.name.clone(),
        started: job.facts.started,
        finished: job.facts.finished,
        state: State::Passed,
        steps: stories(job.ends),
        artifacts: made.iter().zip(signatures).map(story).collect(),
        records,
        errors: Vec::new(),
    };
    history::keep(job.store, &project_key(job.project), &build, job.facts.ended)
        .and_then(|()| job.store.sync())
        .map_err(|error| refusal::store(&error))
}
