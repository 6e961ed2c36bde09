//! Whether what lies in the output folder is what a build would put there.
//!
//! Evidence is fresh if it verifies under the configured signer, is about the artifact's bytes, and its
//! `buildDefinition` is the one that would be signed now: so a new commit with the same bytes is
//! signed anew, and a build that ran no step is not. Of the run only what the caller chose is
//! compared: the backend, and what `NAME.inputs` holds.
//!
//! Fresh evidence stands only where no step ran: of a run that took place no earlier statement speaks. And under an order
//! of the control plane only what was signed under that very order stands, or the order would stay open.

use std::io::Read;

use attestor::bundle::{self, Attestation};
use model::digest::Digest;
use model::record::Record;
use model::relpath::Name;

use crate::artifacts::Made;
use crate::export::OutFolder;
use crate::sign::{self, Signer};
use crate::store;

use super::before::Before;
use super::build::Wish;
use super::further;
use super::signing::Decided;

/// Largest evidence file that is read, in bytes.
const EVIDENCE_BYTES_MAX: u64 = 64 << 20;

/// Returns the artifacts that are to be signed, by position; `ran` says whether a step was run. A statement does not say
/// which order it answers, but it names its build, and that one's Record is kept.
pub fn due(
    out: &OutFolder,
    (made, records): (&[Made], &[Record]),
    signing: &Decided,
    wish: &Wish,
    before: &Before<'_>,
    ran: bool,
) -> Vec<usize> {
    let Decided::With(_) = signing else { return Vec::new() };
    if ran {
        return (0..made.len()).collect();
    }
    let mut due = stale(out, made, records, signing, wish, true);
    if wish.orders.is_some() {
        let answered = |record: &Record| {
            let name = format!("{}.sigstore.json", record.observed.subject.name);
            read(out, &name)
                .and_then(|bytes| sign::invocation(&bytes))
                .is_some_and(|build| before.answered(&build, record))
        };
        let open = records.iter().enumerate().filter(|(_, record)| !answered(record));
        due.extend(open.map(|(index, _)| index));
        due.sort_unstable();
        due.dedup();
    }
    due
}

/// Returns the artifacts whose evidence is absent or not what would be signed now, by position.
/// Nothing is stale where nothing is signed. `further` says whether that is asked of what is stated
/// besides the provenance as well.
pub fn stale(
    out: &OutFolder,
    made: &[Made],
    records: &[Record],
    signing: &Decided,
    wish: &Wish,
    further: bool,
) -> Vec<usize> {
    let Decided::With(signer) = signing else { return Vec::new() };
    let fresh = |made: &Made, record: &Record| -> bool {
        let read = |suffix: &str| read(out, &format!("{}{suffix}", made.artifact.name));
        let (Some(bundle), Some(line)) = (read(".sigstore.json"), read(".intoto.jsonl")) else {
            return false;
        };
        let listed = read(".dependencies.json");
        let same = |evidence: &[u8]| {
            sign::says_the_same(signer, record, evidence, listed.as_deref(), wish.inputs.as_str())
        };
        // A line has no certificate: it is the bundle's own envelope then, or it is nothing.
        let line_holds = match &**signer {
            Signer::Key { .. } => same(&line),
            Signer::Identity { .. } => begins_with(&line, &bundle),
        };
        same(&bundle) && line_holds && (!further || further::is_fresh(out, made, wish, signer))
    };
    let pairs = made.iter().zip(records).enumerate();
    pairs.filter(|(_, (made, record))| !fresh(made, record)).map(|(index, _)| index).collect()
}

/// Says whether the first line is the bundle's envelope.
fn begins_with(lines: &[u8], whole: &[u8]) -> bool {
    let (lines, whole) = (bundle::read(lines).ok(), bundle::read(whole).ok());
    let first = |all: Option<Vec<Attestation>>| all.and_then(|all| all.into_iter().next());
    first(lines).zip(first(whole)).is_some_and(|(line, whole)| line.envelope == whole.envelope)
}

/// Returns the digest of a plain file of the output folder; a link, or anything else, has none.
pub fn digest(out: &OutFolder, name: &Name) -> Option<Digest> {
    let path = out.path_of(name);
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(path).ok()?;
    store::hash_file(&file, &mut |_| ()).ok().map(|blob| blob.digest)
}

/// Returns a plain file of the output folder; a link, or anything else, is none.
pub(super) fn read(out: &OutFolder, name: &str) -> Option<Vec<u8>> {
    let path = out.path_of(&Name::new(name).ok()?);
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(EVIDENCE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
