//! What lies beside an artifact: its evidence, by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::relpath::Name;

use super::build::{FinishedArtifact, Signature};
use super::further;
use super::hand_over::Job;
use crate::artifacts::Made;
use crate::export::OutFolder;
use crate::sign::Signed;

/// Takes away statements about earlier bytes of an artifact that is now unsigned: beside the new ones
/// they would only be refused.
pub fn forget_evidence(out: &OutFolder, artifact: &Name) -> Vec<String> {
    let suffixes = [".sigstore.json", ".intoto.jsonl", ".dependencies.json"];
    let paths = suffixes
        .iter()
        .filter_map(|suffix| Name::new(&format!("{artifact}{suffix}")).ok())
        .map(|name| out.path_of(&name));
    let removed = paths.filter(|path| std::fs::remove_file(path).is_ok()).count()
        + further::forget(out, artifact, &BTreeSet::new())
        + further::forget_links(out, artifact);
    if removed == 0 {
        Vec::new()
    } else {
        vec![format!(
            "{artifact} has new bytes and is unsigned: the statement about the old ones is removed"
        )]
    }
}

/// Returns what is written beside an artifact: what follows its name, and the bytes.
pub fn evidence_files(signed: &Signed) -> Vec<(String, &[u8])> {
    let mut files = vec![
        (".sigstore.json".to_owned(), signed.bundle.as_slice()),
        (".intoto.jsonl".to_owned(), signed.lines.as_slice()),
    ];
    let dependencies = signed.dependencies.as_deref();
    files.extend(dependencies.map(|bytes| (".dependencies.json".to_owned(), bytes)));
    files.extend(further::files(signed));
    files
}

/// Returns what is told of an artifact that was handed over.
pub fn finished(
    folder: &Path,
    made: &Made,
    job: &Job<'_>,
    signature: Option<Signature>,
) -> FinishedArtifact {
    let (wish, signing) = (job.wish, job.signing);
    let path = folder.join(made.artifact.name.as_str());
    let beside =
        |suffix: &str| -> PathBuf { folder.join(format!("{}{suffix}", made.artifact.name)) };
    let evidence = if signature.is_some() {
        let further = wish.attest.iter().map(|one| beside(&further::suffix(*one)));
        let link = further::link_name(wish, signing, &made.artifact.name);
        let link = link.map(|name| folder.join(name));
        let own = [beside(".sigstore.json"), beside(".intoto.jsonl")];
        own.into_iter().chain(further).chain(link).collect()
    } else {
        Vec::new()
    };
    FinishedArtifact { path, blob: made.blob, signature, evidence }
}

#[cfg(test)]
mod tests {
    use attestor::links::classic;
    use attestor::predicate::Further;
    use attestor::public_key::PublicKey;

    use super::*;
    use crate::manifest::beside;

    /// What is kept free of other artifacts' names is all that is written.
    #[test]
    fn every_name_that_is_written_is_one_that_no_artifact_has() {
        let signed = Signed {
            bundle: Vec::new(),
            lines: Vec::new(),
            link: None,
            further: Further::ALL.iter().map(|one| (*one, Vec::new())).collect(),
            dependencies: Some(Vec::new()),
            by: String::new(),
        };
        let mut written: Vec<String> =
            evidence_files(&signed).into_iter().map(|(suffix, _)| suffix).collect();
        let mut known = beside::suffixes();
        written.sort();
        known.sort();
        assert_eq!(written, known);
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let key = PublicKey::from_pem(pem).unwrap();
        assert_eq!(beside::link_of(&classic::file_name("a.b", &key)), Some("a.b"));
    }
}
