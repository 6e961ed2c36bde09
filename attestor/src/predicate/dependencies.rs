//! `resolvedDependencies`: every input of a build with its digest and the part it played.
//!
//! Above a threshold the list would make the statement larger than logs and registries take. Then
//! it moves as a whole into the dependency manifest, a file beside the artifact, and the statement
//! keeps the sources, the build file, the locks and the manifest's digest (decision 21). Nothing is
//! left out in either form.
//!
//! Pure; the order is that of the Record's sorted dependencies, whatever order they came in.
//! Source: in-toto attestation, resource_descriptor.md and digest_set.md.

use std::collections::BTreeMap;

use model::Digest;
use model::record::{Dependency, DigestOf, Record, Role};
use serde::Serialize;

/// Most entries in a statement (decision 21).
pub(crate) const ENTRIES_MAX: usize = 1000;
/// Most bytes of the list in a statement: 256 KiB (decision 21).
pub(crate) const LIST_BYTES_MAX: usize = 256 << 10;

/// The media type of the dependency manifest.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.kiln.dependencies.v1+json";
/// The role that the manifest's entry has.
pub(crate) const MANIFEST_ROLE: &str = "manifest";
/// What follows the artifact's name in the manifest's.
pub const MANIFEST_SUFFIX: &str = ".dependencies.json";

/// An in-toto ResourceDescriptor.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uri: Option<String>,
    pub(crate) digest: DigestSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// An in-toto DigestSet: algorithm to bare lower-case hex.
pub(crate) type DigestSet = BTreeMap<&'static str, String>;

/// The dependency manifest: the whole list, as it would have stood in the statement.
#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    dependencies: &'a [Descriptor],
}

/// The dependency manifest as a file beside the artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyManifest {
    /// Its file name.
    pub name: String,
    /// Its content, JSON with a final newline.
    pub bytes: Vec<u8>,
}

/// The list for the statement, and the manifest if the list is in it.
pub(crate) struct Listed {
    pub(crate) entries: Vec<Descriptor>,
    pub(crate) manifest: Option<DependencyManifest>,
}

/// Returns the DigestSet of one SHA-256.
pub(crate) fn sha256(digest: &Digest) -> DigestSet {
    BTreeMap::from([("sha256", digest.hex())])
}

/// Lists what went in.
///
/// # Errors
/// None in practice: the members are texts.
pub(crate) fn list(record: &Record) -> Result<Listed, serde_json::Error> {
    let mut dependencies: Vec<&Dependency> = record.observed.dependencies.iter().collect();
    dependencies.sort();
    let all: Vec<Descriptor> = dependencies.iter().map(|one| descriptor(record, one)).collect();
    if all.len() <= ENTRIES_MAX && serde_json::to_vec(&all)?.len() <= LIST_BYTES_MAX {
        return Ok(Listed { entries: all, manifest: None });
    }
    let mut bytes = serde_json::to_vec(&Manifest { version: 1, dependencies: &all })?;
    bytes.push(b'\n');
    let name = format!("{}{MANIFEST_SUFFIX}", record.observed.subject.name);
    let stays = |role: Role| matches!(role, Role::Source | Role::BuildFile | Role::Lock);
    let kept = dependencies.iter().filter(|one| stays(one.role)).take(ENTRIES_MAX - 1);
    let mut entries: Vec<Descriptor> = kept.map(|one| descriptor(record, one)).collect();
    entries.push(Descriptor {
        name: name.clone(),
        uri: None,
        digest: sha256(&Digest::of(&bytes)),
        media_type: Some(MANIFEST_MEDIA_TYPE.to_owned()),
        annotations: BTreeMap::from([
            ("role".to_owned(), MANIFEST_ROLE.to_owned()),
            ("entries".to_owned(), all.len().to_string()),
        ]),
    });
    Ok(Listed { entries, manifest: Some(DependencyManifest { name, bytes }) })
}

fn descriptor(record: &Record, one: &Dependency) -> Descriptor {
    let mut digest = sha256(&one.digest);
    for (algorithm, id) in [("gitCommit", &one.git_commit), ("gitTree", &one.git_tree)] {
        if let Some(id) = id {
            digest.insert(algorithm, id.to_string());
        }
    }
    let mut annotations = BTreeMap::from([
        ("role".to_owned(), one.role.as_str().to_owned()),
        ("kind".to_owned(), one.kind.clone()),
    ]);
    if one.digest_of == DigestOf::ReapiV2Directory {
        annotations.insert("digestOf".to_owned(), "reapi-v2-directory".to_owned());
    }
    let source = &record.order.source;
    let is_project = one.role == Role::Source && one.git_commit.is_some();
    if is_project && one.git_commit == source.commit && !source.subfolder.is_here() {
        annotations.insert("subfolder".to_owned(), source.subfolder.as_str().to_owned());
    }
    Descriptor {
        name: one.name.clone(),
        uri: one.uri.clone(),
        digest,
        media_type: None,
        annotations,
    }
}
