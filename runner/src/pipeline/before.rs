//! What earlier builds of the project put into the output folder: it tells a restored file from a new one.
//!
//! Only told, never believed: whether a file is right is asked of its bytes. The one thing that nothing else tells is which
//! order a statement answered; who lies here about that keeps an order of their own open.

use std::cell::OnceCell;

use model::digest::Digest;
use model::record::Record;
use model::relpath::Name;

use crate::cli::args::InputsLevel;
use crate::history::{self, Build};
use crate::store::{RecordEntry, Store};

/// The earlier builds of a project. Each is read where it is looked at: there may be many, and most questions are
/// answered by the newest.
#[derive(Debug)]
pub struct Before<'a> {
    store: &'a Store,
    kept: Vec<(RecordEntry, OnceCell<Option<Build>>)>,
}

impl<'a> Before<'a> {
    /// Finds them. What cannot be read says nothing.
    pub fn find(store: &'a Store, project: &Digest) -> Before<'a> {
        let kept = store.records(project).unwrap_or_default();
        Before { store, kept: kept.into_iter().map(|one| (one, OnceCell::new())).collect() }
    }

    /// Returns them, newest first.
    fn builds(&self) -> impl Iterator<Item = &Build> {
        let read = |entry: &RecordEntry| history::read(self.store, entry);
        self.kept
            .iter()
            .filter_map(move |(entry, build)| build.get_or_init(|| read(entry)).as_ref())
    }

    /// Returns the bytes that the last build with artifacts landed under a name.
    pub fn artifact(&self, name: &Name) -> Option<&Digest> {
        let last = self.builds().find(|build| !build.artifacts.is_empty())?;
        let artifact = last.artifacts.iter().find(|artifact| artifact.name == name.as_str());
        artifact.map(|artifact| &artifact.blob.digest)
    }

    /// Says whether the last statement about an artifact was signed by this key and said the same.
    pub fn signed(&self, record: &Record, signer: &str, level: InputsLevel) -> bool {
        let name = &record.observed.subject.name;
        let made = |build: &&Build| build.artifacts.iter().any(|made| made.name == *name);
        let Some(last) = self.builds().find(made) else { return false };
        let artifact = last.artifacts.iter().find(|artifact| artifact.name == *name);
        let by = artifact.and_then(|artifact| artifact.signed_by.as_deref());
        let said = last.records.iter().find(|said| said.observed.subject.name == *name);
        by == Some(signer)
            && said.is_some_and(|said| {
                says_the_same(said, record) && inputs_of(said, Some(level)).is_some()
            })
    }

    /// Says whether a build of this id answered the order of a Record, about the same artifact.
    pub fn answered(&self, build: &str, record: &Record) -> bool {
        let mut said = self.builds().filter(|one| one.id == build).flat_map(|one| &one.records);
        said.any(|said| {
            said.observed.subject == record.observed.subject && said.order == record.order
        })
    }

    /// Returns what the last build of the same plan exported as `NAME.inputs`.
    pub fn inputs(&self, record: &Record, level: InputsLevel) -> Option<Digest> {
        let plan = byproduct(record, "plan.json");
        let records = self.builds().flat_map(|build| &build.records);
        let mut same = records.filter(|one| plan.is_some() && byproduct(one, "plan.json") == plan);
        same.find_map(|one| inputs_of(one, Some(level)))
    }

    /// Says whether some build exported exactly this.
    pub fn exported(&self, digest: &Digest) -> bool {
        let mut records = self.builds().flat_map(|build| &build.records);
        records.any(|one| inputs_of(one, None) == Some(*digest))
    }
}

fn byproduct(record: &Record, name: &str) -> Option<Digest> {
    let mut found = record.observed.run.byproducts.iter();
    found.find(|one| one.name == name).map(|one| one.digest)
}

/// Returns the digest of `NAME.inputs`, with what it holds if that is asked.
fn inputs_of(record: &Record, level: Option<InputsLevel>) -> Option<Digest> {
    record.observed.run.byproducts.iter().find_map(|one| {
        let holds = one.annotations.get("inputs")?;
        level.is_none_or(|level| holds == level.as_str()).then_some(one.digest)
    })
}

/// Says whether two Records differ only in when and how their builds ran.
fn says_the_same(one: &Record, other: &Record) -> bool {
    let mut seen = one.observed.clone();
    seen.nonce = other.observed.nonce.clone();
    seen.run = other.observed.run.clone();
    seen == other.observed && one.observed.run.backend == other.observed.run.backend
}
