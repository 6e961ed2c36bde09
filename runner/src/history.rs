//! What builds left behind to be shown later: one document for each build that did something.
//!
//! It holds what `kiln show` and `kiln log` tell, and the Records, so that a build made without a key
//! can be signed afterwards. A build that found everything done and changed nothing leaves none.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use model::digest::{Blob, Digest};
use model::record::Record;
use model::step::StepId;
use serde::{Deserialize, Serialize};

use crate::junit::Cases;
use crate::report::State;
use crate::store::{self, Held, Store, UnixMillis};

/// Largest document that is read, in bytes.
const BUILD_BYTES_MAX: u64 = 256 << 20;

/// One build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Its id, 32 hex digits.
    pub id: String,
    /// The project's name.
    pub project: String,
    /// Seconds since 1970.
    pub started: i64,
    /// Seconds since 1970.
    pub finished: i64,
    /// What it came to.
    pub state: State,
    /// Its steps, by name.
    pub steps: BTreeMap<StepId, StepStory>,
    /// What it handed over.
    pub artifacts: Vec<ArtifactStory>,
    /// What is sworn to, or could be, one for each artifact.
    pub records: Vec<Record>,
    /// What went wrong.
    pub errors: Vec<serde_json::Value>,
}

/// One step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepStory {
    /// What it came to.
    pub state: State,
    /// A few words more.
    pub detail: Option<String>,
    /// Its Action.
    pub action: Option<Digest>,
    /// What it wrote.
    pub log: Option<Blob>,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// The build that ran it, where its result was found.
    pub cached_from: Option<String>,
    /// What the report of a test says.
    pub cases: Option<Cases>,
}

/// One artifact of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactStory {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub blob: Blob,
    /// The key that signed for it.
    pub signed_by: Option<String>,
    /// Whether that was for an earlier build, of which the statement lay there and stands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_before: bool,
}

/// Returns the name under which a project's builds are kept: a digest of its folder.
pub fn project_key(folder: &std::path::Path) -> Digest {
    Digest::of(folder.as_os_str().as_encoded_bytes())
}

/// Keeps a build, and with it the logs and artifacts that it names.
///
/// # Errors
/// As the store.
pub fn keep(
    store: &Store,
    project: &Digest,
    build: &Build,
    now: SystemTime,
) -> Result<(), store::Error> {
    let logs = build.steps.values().filter_map(|step| step.log);
    let artifacts = build.artifacts.iter().map(|artifact| artifact.blob);
    let holds: Vec<Held> = logs.chain(artifacts).map(Held::Blob).collect();
    let bytes = serde_json::to_vec(build).map_err(store::Error::Encode)?;
    // Finer than what the build tells: two of one second have an order.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let made = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    store.put_record(project, made, &bytes, holds).map(|_| ())
}

/// Returns the builds of a project, newest first; one that cannot be read any more is left out.
///
/// # Errors
/// As the store.
pub fn builds(store: &Store, project: &Digest) -> Result<Vec<Build>, store::Error> {
    Ok(read_all(store, &store.records(project)?))
}

fn read_all(store: &Store, entries: &[store::RecordEntry]) -> Vec<Build> {
    entries.iter().filter_map(|entry| read(store, entry)).collect()
}

/// Returns one build; none where it cannot be read any more.
pub fn read(store: &Store, entry: &store::RecordEntry) -> Option<Build> {
    let bytes = store.read(&entry.record.digest, BUILD_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns the builds of all projects, newest first; one that cannot be read any more is left out.
///
/// # Errors
/// As the store.
pub fn all_builds(store: &Store) -> Result<Vec<Build>, store::Error> {
    Ok(read_all(store, &store.all_records()?))
}

/// Picks a build by offset (`^0` the last) or by the beginning of its id.
pub fn pick<'a>(builds: &'a [Build], name: &str) -> Option<&'a Build> {
    match name.strip_prefix('^') {
        Some(offset) => offset.parse::<usize>().ok().and_then(|offset| builds.get(offset)),
        None if name.len() >= 4 => builds.iter().find(|build| build.id.starts_with(name)),
        None => None,
    }
}
