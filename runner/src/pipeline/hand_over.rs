//! Step 6: artifacts, Records, signatures, files.
//!
//! Everything that would be written is compared first: what is right already is left alone, so a
//! build that found all its results writes nothing and signs nothing (decision 24).

use std::path::{Path, PathBuf};

use model::digest::Digest;
use model::record::{Asked, Nonce, Record};
use model::relpath::{Name, RelPath};

use super::build::{AskedFor, Finished, FinishedArtifact, Wish, project_key, stories};
use super::freshness;
use super::prepare::Prepared;
use super::signing::Decided;
use crate::artifacts::{self, Made};
use crate::cli::{Session, lasting};
use crate::diagnostic::{Code, Diagnostic};
use crate::evidence::{self, RunFacts};
use crate::export::{Landed, OutFolder, SUMS_NAME, sums_text};
use crate::history::{self, ArtifactStory, Build};
use crate::project::{BUILD_FILE, LOCK_FILE, Project};
use crate::report::{State, Talk};
use crate::schedule::Ends;
use crate::sign::{self, Signed};
use crate::store::Store;
use crate::{claims, context, inputs, refusal};

/// The run's own name and times.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its id.
    pub run: String,
    /// Seconds since 1970.
    pub started: i64,
    /// Seconds since 1970.
    pub finished: i64,
}

/// Writes the lock where it would change; `prepare` has refused that under `--locked`.
pub fn write_lock(project: &Project, prepared: &Prepared) -> Result<(), Vec<Diagnostic>> {
    match &prepared.new_lock {
        Some(text) => lasting::write(&project.folder, LOCK_FILE, text.as_bytes()),
        None => Ok(()),
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
        let place = prepared.places.get(id);
        failure.diagnostics.iter().map(move |diagnostic| match (&diagnostic.place, place) {
            (None, Some(place)) => diagnostic.clone().at(place.clone()),
            _ => diagnostic.clone(),
        })
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
    let kept = history::keep(store, &project_key(project), &build).and_then(|()| store.sync());
    if let Err(error) = kept {
        found.push(refusal::store(&error));
    }
    found
}

/// Hands over what a build made.
///
/// # Errors
/// Everything that cannot be made, signed or written; what was there before is then still there.
#[expect(
    clippy::too_many_arguments,
    reason = "the last step of the pipeline takes what all steps before it made"
)]
pub fn hand_over(
    session: &Session,
    store: &Store,
    project: &Project,
    prepared: Prepared,
    wish: &Wish,
    signing: Decided,
    facts: &Facts,
    ends: &Ends,
    talk: &mut Talk,
) -> Result<Finished, Vec<Diagnostic>> {
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    let made = artifacts::make(store, &prepared.plan, &ends.ran).map_err(one)?;
    let folder = project.folder.join(&wish.output);
    let out = OutFolder::open(&folder).map_err(|error| one(refusal::export(&error)))?;
    let run = run_facts(session, &prepared, wish, facts)?;
    let mut records = Vec::with_capacity(made.len());
    for made in &made {
        let nonce = Nonce::from_bytes(context::random().map_err(|error| {
            one(Diagnostic::new(Code::Internal, "no random bytes").caused_by(&error))
        })?);
        records.push(evidence::record(
            &prepared.plan,
            &made.artifact,
            made.blob,
            asked(&wish.asked, made),
            &ends.ran,
            &prepared.inputs,
            &run,
            nonce,
        ));
    }
    let stale = freshness::stale(&out, &made, &records, &signing);
    let all_cached = ends.ran.values().all(|ran| ran.cached);
    let mut notes: Vec<String> = Vec::new();
    if !stale.is_empty() || !all_cached {
        sign_and_write(
            session,
            store,
            &out,
            &prepared,
            wish,
            &signing,
            &made,
            &mut records,
            &stale,
            ends,
            run,
        )?;
    }
    let last = history::builds(store, &project_key(project))
        .ok()
        .and_then(|builds| builds.into_iter().find(|build| !build.artifacts.is_empty()));
    let before = |name: &Name| {
        last.as_ref()
            .and_then(|last| last.artifacts.iter().find(|artifact| artifact.name == name.as_str()))
            .map(|artifact| &artifact.blob.digest)
    };
    for made in &made {
        let wrote = out
            .land(
                store,
                &made.artifact.name,
                &made.blob,
                made.executable,
                before(&made.artifact.name),
            )
            .map_err(|error| one(refusal::export(&error)))?;
        if wrote == Landed::Restored {
            notes.push(format!(
                "{} was changed in {} and is restored",
                made.artifact.name,
                wish.output.display()
            ));
        }
    }
    let sums = sums_text(made.iter().map(|made| (&made.artifact.name, &made.blob.digest)));
    if !made.is_empty() {
        land_bytes(&out, SUMS_NAME, sums.as_bytes())?;
    }
    let signed_by = match &signing {
        Decided::With(signer) => Some(signer.id.clone()),
        Decided::Without(reason) => {
            notes.extend(
                reason
                    .iter()
                    .filter(|_| !made.is_empty())
                    .map(|reason| format!("unsigned: {reason}")),
            );
            None
        }
    };
    if !all_cached || !stale.is_empty() {
        keep(store, project, &prepared, facts, ends, &made, &records, signed_by.as_deref())
            .map_err(one)?;
    }
    let _ = talk;
    let artifacts = made.iter().map(|made| finished(&folder, made, signed_by.as_deref())).collect();
    Ok(Finished {
        id: Some(facts.run.clone()),
        plan: prepared.plan,
        steps: stories(ends),
        artifacts,
        notes,
    })
}

fn asked(how: &AskedFor, made: &Made) -> Asked {
    let name = made.artifact.name.to_string();
    match how {
        AskedFor::Target { overrides } => Asked::Build {
            build_file: RelPath::new(BUILD_FILE).unwrap_or_default(),
            target: name,
            matrix: made.artifact.choice_text(),
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

fn run_facts(
    session: &Session,
    prepared: &Prepared,
    wish: &Wish,
    facts: &Facts,
) -> Result<RunFacts, Vec<Diagnostic>> {
    let plan = inputs::plan_bytes(&prepared.plan)
        .map_err(|error| vec![Diagnostic::new(Code::Internal, error.to_string())])?;
    Ok(RunFacts {
        invocation: facts.run.clone(),
        started: facts.started,
        finished: facts.finished,
        kiln_digest: Digest::of(b""),
        host: sign::host_facts(&session.context),
        claims: claims::read(&session.context),
        plan_digest: Digest::of(&plan),
        waivers: wish.waived.clone(),
    })
}

/// Exports the inputs, signs what is stale, and writes the evidence.
#[expect(
    clippy::too_many_arguments,
    reason = "the last step of the pipeline takes what all steps before it made"
)]
fn sign_and_write(
    session: &Session,
    store: &Store,
    out: &OutFolder,
    prepared: &Prepared,
    wish: &Wish,
    signing: &Decided,
    made: &[Made],
    records: &mut [Record],
    stale: &[usize],
    ends: &Ends,
    run: RunFacts,
) -> Result<(), Vec<Diagnostic>> {
    let exported =
        inputs::export(store, &prepared.plan, &ends.ran, wish.inputs).map_err(|error| {
            vec![refusal::with_causes(
                Diagnostic::new(Code::StoreUnusable, error.to_string()),
                &error,
            )]
        })?;
    let inputs_name = format!("{}.inputs", prepared.plan.name);
    let kiln_digest =
        sign::program_digest(&session.context).map_err(|diagnostic| vec![diagnostic])?;
    let level = format!("{:?}", wish.inputs).to_ascii_lowercase();
    for record in records.iter_mut() {
        record.observed.run.kiln_digest = kiln_digest;
        record.observed.run.byproducts.push(evidence::inputs_byproduct(
            &inputs_name,
            exported.digest,
            &level,
        ));
        record.observed.run.byproducts.sort();
    }
    let _ = run;
    // The objects are on the disk before anything speaks of them.
    store.sync().map_err(|error| vec![refusal::store(&error)])?;
    if let Decided::With(_) = signing {
        let wanted: Vec<(&Record, &Made)> = stale
            .iter()
            .filter_map(|index| Some((records.get(*index)?, made.get(*index)?)))
            .collect();
        let signed =
            sign::sign(&session.context, store, &wanted).map_err(|diagnostic| vec![diagnostic])?;
        for ((_, made), signed) in wanted.iter().zip(&signed) {
            for (suffix, bytes) in evidence_files(signed) {
                land_bytes(out, &format!("{}{suffix}", made.artifact.name), bytes)?;
            }
        }
    }
    if !made.is_empty() {
        let name = Name::new(&inputs_name)
            .map_err(|error| vec![Diagnostic::new(Code::Internal, error.to_string())])?;
        out.land(store, &name, &exported, false, None)
            .map_err(|error| vec![refusal::export(&error)])?;
    }
    Ok(())
}

fn land_bytes(out: &OutFolder, name: &str, bytes: &[u8]) -> Result<(), Vec<Diagnostic>> {
    let name = Name::new(name)
        .map_err(|error| vec![Diagnostic::new(Code::WrongValue, format!("`{name}` {error}"))])?;
    out.land_bytes(&name, bytes, None).map(|_| ()).map_err(|error| vec![refusal::export(&error)])
}

fn evidence_files(signed: &Signed) -> Vec<(&'static str, &[u8])> {
    let mut files = vec![
        (".sigstore.json", signed.bundle.as_slice()),
        (".intoto.jsonl", signed.line.as_slice()),
    ];
    files.extend(signed.dependencies.as_deref().map(|bytes| (".dependencies.json", bytes)));
    files
}

#[expect(clippy::too_many_arguments, reason = "the history names all that a build came to")]
fn keep(
    store: &Store,
    project: &Project,
    prepared: &Prepared,
    facts: &Facts,
    ends: &Ends,
    made: &[Made],
    records: &[Record],
    signed_by: Option<&str>,
) -> Result<(), Diagnostic> {
    let build = Build {
        id: facts.run.clone(),
        project: prepared.plan.name.clone(),
        started: facts.started,
        finished: facts.finished,
        state: State::Passed,
        steps: stories(ends),
        artifacts: made
            .iter()
            .map(|made| ArtifactStory {
                name: made.artifact.name.to_string(),
                blob: made.blob,
                signed_by: signed_by.map(str::to_owned),
            })
            .collect(),
        records: records.to_vec(),
        errors: Vec::new(),
    };
    history::keep(store, &project_key(project), &build)
        .and_then(|()| store.sync())
        .map_err(|error| refusal::store(&error))
}

fn finished(folder: &Path, made: &Made, signed_by: Option<&str>) -> FinishedArtifact {
    let path = folder.join(made.artifact.name.as_str());
    let beside =
        |suffix: &str| -> PathBuf { folder.join(format!("{}{suffix}", made.artifact.name)) };
    let evidence = if signed_by.is_some() {
        vec![beside(".sigstore.json"), beside(".intoto.jsonl")]
    } else {
        Vec::new()
    };
    FinishedArtifact { path, blob: made.blob, signed_by: signed_by.map(str::to_owned), evidence }
}
