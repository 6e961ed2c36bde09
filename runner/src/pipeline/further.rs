//! The statements that are asked for besides the provenance: `--attest`.
//!
//! What a build can never say is refused before anything runs. Each statement has a bundle of its own,
//! `X.PREDICATE.sigstore.json`, and a line in `X.intoto.jsonl` after the provenance's.

use std::collections::BTreeSet;

use attestor::bundle;
use attestor::links::classic;
use attestor::predicate::Further;
use attestor::public_key::{Algorithm, PublicKey};
use model::relpath::{NAME_BYTES_MAX, Name};

use super::build::Wish;
use super::freshness;
use super::signing::Decided;
use crate::artifacts::Made;
use crate::diagnostic::{Code, Diagnostic};
use crate::export::OutFolder;
use crate::manifest::{Manifest, beside};
use crate::plan::Plan;
use crate::sign::{Signed, Signer};

/// Refuses what this build could never say.
///
/// # Errors
/// KILN-0114 for a test result without a test, and for a trace by a backend that does not listen.
pub fn check(wish: &Wish, plan: &Plan) -> Result<(), Vec<Diagnostic>> {
    let mut wrong = Vec::new();
    let has_test = plan.steps.values().any(|step| step.test);
    if wish.attest.contains(&Further::TestResult) && !has_test {
        let told = "there is no test, so there is no test result to attest";
        wrong.push(
            Diagnostic::new(Code::WrongValue, told)
                .help("write a test under `tests`, or leave it out of:  --attest"),
        );
    }
    if wish.attest.contains(&Further::RuntimeTrace) && wish.backend != sandbox::Backend::Native {
        let told = format!(
            "backend `{}` does not hear where a step wants to go, so there is no trace to attest",
            wish.backend.name()
        );
        wrong.push(
            Diagnostic::new(Code::WrongValue, told)
                .help("use kiln's own sandbox:  --backend native")
                .help("or leave runtime-trace out of:  --attest"),
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Refuses an artifact that cannot be signed, since a file of its evidence could have no name.
///
/// # Errors
/// KILN-0105 with the longest name.
pub fn check_names(
    plan: &Plan,
    manifest: &Manifest,
    signing: &Decided,
) -> Result<(), Vec<Diagnostic>> {
    let longest = beside::suffixes().iter().map(String::len).max().unwrap_or_default();
    let most = NAME_BYTES_MAX.saturating_sub(longest);
    let long = plan.artifacts.iter().position(|one| one.name.as_str().len() > most);
    let (Decided::With(_), Some(at)) = (signing, long) else { return Ok(()) };
    let name = plan.artifacts.get(at).map(|one| one.name.to_string()).unwrap_or_default();
    let told = Diagnostic::new(
        Code::WrongValue,
        format!("an artifact's name is too long for the files of its evidence: {name}"),
    )
    .expected(format!("at most {most} bytes, for a build that is signed"))
    .got(format!("{} bytes", name.len()))
    .help("give it another `name`, or build without evidence:  --no-sign");
    // With a matrix or with targets it is not told which of the lines it is.
    let written = (plan.artifacts.len() == manifest.artifacts.len())
        .then(|| manifest.artifacts.get(at).map(|one| manifest.place(one.at)))
        .flatten();
    Err(vec![match written {
        Some(place) => told.at(place),
        None => told,
    }])
}

/// Refuses a classic link by a key that makes none.
///
/// # Errors
/// KILN-0114.
pub fn check_link(wish: &Wish, signing: &Decided) -> Result<(), Vec<Diagnostic>> {
    match signing {
        Decided::With(signer) if wish.classic_link => {
            match signer.key().map(PublicKey::algorithm) {
                Some(Algorithm::Ed25519) => Ok(()),
                None => Err(vec![
                    Diagnostic::new(
                        Code::WrongValue,
                        "a classic in-toto link needs an Ed25519 key",
                    )
                    .got("an attestor that signs with certificates")
                    .help("have the same stated in a bundle:  --attest link"),
                ]),
                Some(Algorithm::EcdsaP256) => Err(vec![
                    Diagnostic::new(
                        Code::WrongValue,
                        "a classic in-toto link needs an Ed25519 key",
                    )
                    .got("an ECDSA P-256 key")
                    .help(
                        "with a key file, make one:  kiln key rotate --algorithm ed25519; with an agent or \
                         a token, name its Ed25519 key in attestor.toml",
                    )
                    .help("or have the same stated in a bundle:  --attest link"),
                ]),
            }
        }
        Decided::With(_) | Decided::Without(_) => Ok(()),
    }
}

/// Returns the name of the classic link, where one is wanted.
pub fn link_name(wish: &Wish, signing: &Decided, artifact: &Name) -> Option<String> {
    match signing {
        Decided::With(signer) if wish.classic_link => {
            signer.key().map(|key| classic::file_name(artifact.as_str(), key))
        }
        Decided::With(_) | Decided::Without(_) => None,
    }
}

/// Says whether the classic link that is wanted lies beside the artifact.
fn has_link(out: &OutFolder, made: &Made, signer: &Signer) -> bool {
    let name = made.artifact.name.as_str();
    let Some(key) = signer.key() else { return false };
    freshness::read(out, &classic::file_name(name, key))
        .is_some_and(|bytes| classic::speaks(&bytes, key, name, &made.blob.digest))
}

/// Returns what follows the artifact's name in the name of a statement's bundle.
pub fn suffix(further: Further) -> String {
    format!(".{}.sigstore.json", further.as_str())
}

/// Says whether each wanted statement lies beside the artifact, signed by `signer` about its bytes, and
/// stands in the line file as well.
pub fn is_fresh(out: &OutFolder, made: &Made, wish: &Wish, signer: &Signer) -> bool {
    if wish.classic_link && !has_link(out, made, signer) {
        return false;
    }
    let read = |suffix: &str| freshness::read(out, &format!("{}{suffix}", made.artifact.name));
    let Some(lines) = read(".intoto.jsonl").and_then(|bytes| bundle::read(&bytes).ok()) else {
        return false;
    };
    wish.attest.iter().all(|further| {
        let Some(bytes) = read(&suffix(*further)) else { return false };
        let kept = bundle::read(&bytes).ok();
        let Some([kept]) = kept.as_deref() else { return false };
        signer.names(&bytes, further.predicate_type(), &made.blob.digest)
            && lines.iter().any(|line| line.envelope == kept.envelope)
    })
}

/// Returns the bundles of the further statements: what follows the artifact's name, and the bytes.
pub fn files(signed: &Signed) -> impl Iterator<Item = (String, &[u8])> {
    signed.further.iter().map(|(further, bundle)| (suffix(*further), bundle.as_slice()))
}

/// Takes away the classic links about earlier bytes of an artifact, whoever signed them. Returns how many. A
/// file of that name that says something else is left alone.
pub fn forget_links(out: &OutFolder, artifact: &Name) -> usize {
    let path = out.path_of(artifact);
    let entries = path.parent().map(std::fs::read_dir).into_iter().flatten().flatten().flatten();
    let is_link = |name: &str| {
        let rest = name.strip_prefix(artifact.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let key = rest.and_then(|rest| rest.strip_suffix(".link"));
        key.is_some_and(|key| key.len() == 8 && key.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let says_so = |name: &str| {
        let read = freshness::read(out, name).and_then(|bytes| bundle::read(&bytes).ok());
        read.is_some_and(|all| all.iter().all(|one| one.claims_link()))
    };
    let gone = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| is_link(name) && says_so(name))
            && std::fs::remove_file(entry.path()).is_ok()
    };
    entries.filter(gone).count()
}

/// Takes away the further statements about earlier bytes of an artifact, but for those in `but`.
/// Returns how many there were. A file of that name that says something else is left alone.
pub fn forget(out: &OutFolder, artifact: &Name, but: &BTreeSet<Further>) -> usize {
    let gone = |further: &&Further| {
        let name = format!("{artifact}{}", suffix(**further));
        let read = freshness::read(out, &name).and_then(|bytes| bundle::read(&bytes).ok());
        let ours =
            read.is_some_and(|all| all.iter().all(|one| one.claims_type(further.predicate_type())));
        let path = Name::new(&name).ok().map(|name| out.path_of(&name));
        ours && path.is_some_and(|path| std::fs::remove_file(path).is_ok())
    };
    Further::ALL.iter().filter(|further| !but.contains(further)).filter(gone).count()
}
