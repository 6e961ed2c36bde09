//! Dependencies that have attestations of their own, verified by the same trust.
//!
//! A dependency is looked up by its digest among the attestations that were given; what they say of
//! themselves only finds them, and each is verified before anything of it is used. A summary by a believed
//! verifier, about the dependency's own address, cuts the walk: who made it has walked already.
//!
//! Bounded: [`DEPTH_MAX`] levels and [`COUNT_MAX`] dependencies. What lies beyond was not looked at, and
//! that is a refusal, not a pass; so is a list of inputs that moved to a file of its own and is not at hand. A dependency without attestation is told as such and refuses nothing:
//! some leaf always has none.
//!
//! Pure. Source: SLSA v1.2, verifying artifacts, step 3.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::Digest;
use model::address::without_credentials;
use serde::Deserialize;

use crate::bundle::{self, Attestation, EvidenceError};
use crate::claims::{self, Dependency, SUBJECTS_MAX, Statement};
use crate::sigstore::Root;
use crate::strict_json::{self, Caps};
use crate::trust::{Level, Trust};
use crate::verdict::{Code, Reason};
use crate::verify::{self, Artifact, Expected, Verified};
use crate::vsa::{self, Wanted};

/// Most levels of dependencies.
pub const DEPTH_MAX: usize = 8;
/// Most dependencies with attestations.
pub const COUNT_MAX: usize = 512;
/// Most bytes of all attestations of dependencies together.
pub const BYTES_MAX: usize = 64 << 20;
/// Most subjects of all of them together.
const SUBJECTS_ALL_MAX: usize = 256 << 10;
const CAPS: Caps =
    Caps { bytes: crate::statement::STATEMENT_BYTES_MAX, depth: 64, values: 1 << 20 };

/// Attestations of dependencies, found by what they are about. Nobody signed that: it is held once, whatever
/// number of subjects it says it has, and bounded as a whole.
#[derive(Debug, Default)]
pub struct Dependencies {
    attestations: Vec<Attestation>,
    /// Places in it.
    found: BTreeMap<Digest, Vec<usize>>,
    /// Lists of inputs that moved out of their statements, by what they hash to.
    lists: BTreeMap<Digest, Vec<Dependency>>,
    bytes: usize,
    subjects: usize,
}

/// Why attestations of dependencies are not taken.
#[derive(Debug, thiserror::Error)]
pub enum DependenciesError {
    /// A file that is no evidence.
    #[error("it is no evidence")]
    Evidence(#[source] EvidenceError),
    /// A statement about more than any that is believed.
    #[error("a statement in it has {got} subjects, more than {SUBJECTS_MAX}")]
    Subjects {
        /// How many.
        got: usize,
    },
    /// More subjects than are looked at.
    #[error("all attestations of dependencies together have more than {SUBJECTS_ALL_MAX} subjects")]
    AllSubjects,
    /// More bytes than are looked at.
    #[error("all files that are looked at are larger than 64 MiB together")]
    Bytes,
}

/// What came of one dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its provenance, or a summary of it, was verified.
    Verified {
        /// The level that is believed.
        level: Level,
        /// Whether somebody else's verdict was taken.
        by_summary: bool,
    },
    /// It has attestations, and none of them verifies.
    Refused {
        /// Why, escaped.
        why: String,
        /// Whether it is the signer who is not believed, for this builder or now.
        by_trust: bool,
    },
    /// It is a list of inputs, and not at hand or no list: which there are is not known.
    NoList,
    /// It lies deeper, or there are more, than is looked at.
    Beyond,
}

/// One dependency that has attestations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyVerdict {
    /// Its name or address, escaped.
    pub name: String,
    /// What its bytes hash to.
    pub digest: Digest,
    /// How far below the file it lies, from 1.
    pub depth: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of all dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Those that have attestations, nearest first.
    pub verdicts: Vec<DependencyVerdict>,
    /// How many have none.
    pub unattested: usize,
}

#[derive(Deserialize)]
struct Head {
    subject: Vec<SubjectIn>,
}

#[derive(Deserialize)]
struct SubjectIn {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

impl Dependencies {
    /// Adds the attestations of one file, or the list of inputs that it is, if it is either by its content;
    /// returns whether it is.
    ///
    /// # Errors
    /// A file that claims to be one and is none, and more subjects or bytes than are looked at.
    pub fn offer(&mut self, bytes: &[u8]) -> Result<bool, DependenciesError> {
        if bundle::claims_to_be(bytes) || claims::read_manifest(bytes).is_ok() {
            return self.add(bytes).map(|()| true);
        }
        self.count(bytes).map(|()| false)
    }

    /// Counts the bytes of a file, whatever is in it.
    fn count(&mut self, bytes: &[u8]) -> Result<(), DependenciesError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BYTES_MAX { Err(DependenciesError::Bytes) } else { Ok(()) }
    }

    /// Adds the attestations of one file, or the list of inputs that it is.
    ///
    /// # Errors
    /// A file that is neither, and more subjects or bytes than are looked at.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), DependenciesError> {
        self.count(bytes)?;
        if let Ok(list) = claims::read_manifest(bytes) {
            self.lists.insert(Digest::of(bytes), list);
            return Ok(());
        }
        for attestation in bundle::read(bytes).map_err(DependenciesError::Evidence)? {
            let payload = attestation.envelope.unverified_payload();
            let Ok(head) = strict_json::parse_as::<Head>(payload, &CAPS) else { continue };
            if head.subject.len() > SUBJECTS_MAX {
                return Err(DependenciesError::Subjects { got: head.subject.len() });
            }
            self.subjects += head.subject.len();
            if self.subjects > SUBJECTS_ALL_MAX {
                return Err(DependenciesError::AllSubjects);
            }
            let digests = head.subject.iter().filter_map(|one| one.digest.get("sha256"));
            let digests: BTreeSet<Digest> =
                digests.filter_map(|hex| Digest::from_hex(hex).ok()).collect();
            if digests.is_empty() {
                continue;
            }
            for digest in digests {
                self.found.entry(digest).or_default().push(self.attestations.len());
            }
            self.attestations.push(attestation);
        }
        Ok(())
    }

    /// Verifies all that a statement depends on and that has attestations, by the entries of this trust and
    /// under this root: who was named by hand was named for the file alone.
    pub fn walk(
        &self,
        verified: &Verified<Statement>,
        trust: &Trust,
        root: Option<&Root>,
        now: i64,
    ) -> Tree {
        let expected = Expected { trust, key: None, identity: None, root, source: None };
        let mut tree = Tree::default();
        let mut seen: BTreeSet<Digest> =
            verified.value().subjects.iter().filter_map(|one| one.digest).collect();
        let mut waiting: VecDeque<(usize, Dependency)> = VecDeque::new();
        self.below(verified, 1, &mut waiting, &mut tree);
        while let Some((depth, one)) = waiting.pop_front() {
            let Some(digest) = one.sha256() else {
                tree.unattested += 1;
                continue;
            };
            if !seen.insert(digest) {
                continue;
            }
            let Some(places) = self.found.get(&digest) else {
                tree.unattested += 1;
                continue;
            };
            let attestations = places.iter().map(|place| &self.attestations[*place]);
            let beyond = depth > DEPTH_MAX || tree.verdicts.len() >= COUNT_MAX;
            let outcome = if beyond {
                Outcome::Beyond
            } else {
                let (outcome, verified) = judge(&one, digest, attestations, &expected, now);
                if let Some(verified) = verified {
                    self.below(&verified, depth + 1, &mut waiting, &mut tree);
                }
                outcome
            };
            let name = without_credentials(one.uri.as_deref().unwrap_or(&one.name));
            let name = model::text::escape(name.as_bytes());
            tree.verdicts.push(DependencyVerdict { name, digest, depth, outcome });
            if beyond {
                break;
            }
        }
        tree
    }

    /// Adds what a statement names as its inputs: of a list that moved, all that it holds.
    fn below(
        &self,
        verified: &Verified<Statement>,
        depth: usize,
        waiting: &mut VecDeque<(usize, Dependency)>,
        tree: &mut Tree,
    ) {
        let statement = verified.value();
        let Some(entry) = statement.manifest() else {
            waiting.extend(statement.dependencies.iter().map(|one| (depth, one.clone())));
            return;
        };
        // Both were found by the digest that the statement names.
        let given = || entry.sha256().and_then(|digest| self.lists.get(&digest));
        let listed = verified.listed().or_else(|| given().map(Vec::as_slice));
        let sound =
            |list: &&[Dependency]| !list.is_empty() && list.iter().all(Dependency::is_pinned);
        if let Some(listed) = listed.filter(sound) {
            let all = statement
                .dependencies
                .iter()
                .filter(|one| !std::ptr::eq(*one, entry))
                .chain(listed);
            waiting.extend(all.map(|one| (depth, one.clone())));
            return;
        }
        let name = model::text::escape(entry.name.as_bytes());
        let digest = entry.sha256().unwrap_or_else(|| Digest::of(b""));
        tree.verdicts.push(DependencyVerdict { name, digest, depth, outcome: Outcome::NoList });
    }
}

fn judge<'a>(
    one: &Dependency,
    digest: Digest,
    attestations: impl Iterator<Item = &'a Attestation>,
    expected: &Expected<'a>,
    now: i64,
) -> (Outcome, Option<Verified<Statement>>) {
    let artifact = Artifact { name: &one.name, digest };
    let (summaries, others): (Vec<&Attestation>, Vec<_>) =
        attestations.partition(|attestation| vsa::is_summary(attestation));
    let mut last = None;
    let resource_uri = one.uri.clone().unwrap_or_default();
    let wanted = Wanted { resource_uri, level: Level::L1, policy: None };
    for judged in vsa::judge(&artifact, summaries, expected, &wanted, now) {
        match judged {
            Ok(summary) => {
                return (Outcome::Verified { level: summary.level(), by_summary: true }, None);
            }
            Err(refusal) => last = Some(refusal),
        }
    }
    for attestation in others {
        match verify::judge(&artifact, attestation, None, expected, now) {
            Ok(verified) => {
                let outcome = Outcome::Verified { level: verified.level(), by_summary: false };
                return (outcome, Some(verified));
            }
            Err(refusal) => last = Some(refusal),
        }
    }
    let reason = last.as_ref().and_then(|refusal| refusal.reasons().next());
    let why = reason.map_or_else(|| "nothing speaks for it".to_owned(), Reason::whole);
    let by_trust = reason.is_some_and(|reason| reason.code() == Code::SignerNotTrusted);
    (Outcome::Refused { why, by_trust }, None)
}

impl DependencyVerdict {
    /// Returns why it stands in the way, escaped; nothing where it does not.
    pub fn why(&self) -> String {
        match &self.outcome {
            Outcome::Refused { why, .. } => why.clone(),
            Outcome::NoList => "this list of inputs is not at hand".to_owned(),
            Outcome::Beyond => "it lies deeper, or there are more, than is looked at".to_owned(),
            Outcome::Verified { .. } => String::new(),
        }
    }
}

impl Tree {
    /// Returns the first that stands in the way: refused, or not looked at.
    pub fn first_bad(&self) -> Option<&DependencyVerdict> {
        self.verdicts.iter().find(|one| !matches!(one.outcome, Outcome::Verified { .. }))
    }

    /// Counts what was really verified, by SLSA's name of the level.
    pub fn levels(&self) -> BTreeMap<String, u32> {
        let mut levels = BTreeMap::new();
        for one in &self.verdicts {
            if let Outcome::Verified { level, .. } = one.outcome {
                *levels.entry(vsa::name_of(level)).or_default() += 1;
            }
        }
        levels
    }
}
