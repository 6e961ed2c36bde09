//! What `verify` answers: a list of checks, each with its outcome, and a reason for each that failed.
//!
//! A refusal is data, not text: the edge turns a [`Code`] into its `KILN-08##` and prints expected
//! and got. Nothing is left to be guessed from a sentence.

use std::fmt;

use crate::bundle::EvidenceError;
use crate::claims::ClaimsError;
use crate::policy::Broken;
use crate::sigstore::{Kind, SigstoreError};
use crate::trust::EntryPlace;

/// What was looked at, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The bundle or line file can be read.
    Evidence,
    /// A believed key made the signature.
    Signature,
    /// The payload is a provenance statement of a kind we know, with parameters we know.
    Statement,
    /// The statement names the file's digest.
    Digest,
    /// The key may speak for this builder.
    Builder,
    /// It was built from the source that was expected.
    Source,
    /// The network was off and every input is named by digest.
    Hermetic,
    /// It stands in a transparency log.
    Log,
    /// A rule of the policy.
    Policy,
    /// A verification summary says what is wanted.
    Summary,
}

/// One check.
#[derive(Debug)]
pub struct Check {
    /// What was looked at.
    pub subject: Subject,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found, for people; escaped.
    pub detail: String,
}

/// What came of one check.
#[derive(Debug)]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It does not, and the file is refused.
    Failed(Reason),
    /// Nobody asked for it, or there is nothing to look at.
    NotApplicable,
}

/// The checks of a file that is refused. At least one failed.
#[derive(Debug, thiserror::Error)]
#[error("the file is refused")]
pub struct Refusal {
    /// All checks that were made, in order.
    pub checks: Vec<Check>,
}

/// Why a check failed. The number is the last two digits of the message's code `KILN-08##`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// KILN-0801: no statement names this digest.
    NoStatement = 1,
    /// KILN-0802: the signer is not trusted, or not for this builder, or not now.
    SignerNotTrusted = 2,
    /// KILN-0803: no log proves that the entry stands in it.
    LogEntryMissing = 3,
    /// KILN-0804: a rule of the policy is not met.
    PolicyRefused = 4,
    /// KILN-0805: the evidence file is empty.
    EvidenceEmpty = 5,
    /// KILN-0806: the evidence or the statement can not be read.
    EvidenceMalformed = 6,
    /// KILN-0807: a trusted key is named, and the signature does not hold.
    SignatureBroken = 7,
    /// KILN-0808: a statement of another kind.
    WrongKind = 8,
    /// KILN-0809: built from another source than expected.
    SourceDiffers = 9,
    /// KILN-0810: the network was not off, or an input is not named by digest.
    NotHermetic = 10,
    /// KILN-0811: a parameter that this verifier does not know.
    UnknownParameter = 11,
    /// KILN-0821: a verification summary that does not say what is wanted.
    SummaryRefused = 21,
}

/// Why a check failed, with what was compared.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The evidence can not be read.
    #[error("the evidence can not be read")]
    Evidence(#[source] EvidenceError),
    /// No believed key made the signature.
    #[error("it is not signed by a key you have accepted")]
    Signer {
        /// How many keys were tried.
        tried: usize,
        /// The key that the bundle names, unsigned, if it names one.
        named: Option<String>,
    },
    /// It is signed with a certificate, and no identity was named.
    #[error("it is signed with a certificate, and no identity is named or has an entry")]
    NoIdentity,
    /// The certificate is for an identity that no trust entry names.
    #[error("it is signed by an identity you have not accepted")]
    UnknownIdentity {
        /// The identities that have entries, and where.
        expected: String,
        /// Whom the certificate names and who vouched, escaped.
        got: String,
    },
    /// It is signed with a certificate, and there is no trusted root to check it with.
    #[error("it is signed with a certificate, and there is no trusted root to check it with")]
    NoRoot,
    /// A key was named, and a certificate signed.
    #[error("it is signed with a certificate, not with the key that was named")]
    NoKey {
        /// The key that was named.
        wanted: String,
    },
    /// An identity was named, and a plain key signed.
    #[error("it comes without a certificate, so no identity is known to have signed it")]
    NoCertificate {
        /// The identity that was named, escaped.
        wanted: String,
    },
    /// The certificate, the log or the timestamps do not hold.
    #[error("what vouches for the signature is refused")]
    Sigstore(#[source] SigstoreError),
    /// The bundle names an accepted key, but the signature is not over these bytes.
    #[error("the signature does not match the statement: one of them was changed")]
    Broken {
        /// The key.
        key: String,
    },
    /// The payload's type is another.
    #[error("the payload's type is not that of an in-toto statement")]
    PayloadType {
        /// What it is, escaped.
        got: String,
    },
    /// The statement can not be read or is of another kind.
    #[error("the statement is refused")]
    Statement(#[source] ClaimsError),
    /// A build type that this verifier does not know, so it can not judge the parameters.
    #[error("the build type is not known")]
    BuildType {
        /// What it is, escaped.
        got: String,
    },
    /// A parameter that the build type does not have.
    #[error("parameter `{name}` is not known to the build type")]
    UnknownParameter {
        /// The parameter, escaped.
        name: String,
    },
    /// A parameter that is absent or no text.
    #[error("parameter `{name}` is absent or no text")]
    BadParameter {
        /// The parameter.
        name: &'static str,
    },
    /// No subject has the file's digest.
    #[error("no statement names this digest")]
    Digest {
        /// The file's.
        expected: String,
        /// The subjects', escaped.
        got: String,
    },
    /// The signer is believed, but not for this builder or verifier.
    #[error("the {who} is not trusted for this {role}")]
    Builder {
        /// `key` or `identity`.
        who: &'static str,
        /// `builder` or `verifier`.
        role: &'static str,
        /// What it is trusted for, and by which entries.
        expected: String,
        /// The statement's, escaped.
        got: String,
    },
    /// The entry begins later.
    #[error("the {who} is not yet valid")]
    NotYetValid {
        /// `key` or `identity`.
        who: &'static str,
        /// The entry.
        entry: EntryPlace,
        /// From when on, in seconds since 1970.
        from: i64,
        /// When it was signed, where that is sworn to; else now counts.
        signed: Option<i64>,
    },
    /// The entry has ended.
    #[error("the {who} is no longer valid")]
    Expired {
        /// `key` or `identity`.
        who: &'static str,
        /// The entry.
        entry: EntryPlace,
        /// Until when, in seconds since 1970.
        until: i64,
        /// When it was signed, where that is sworn to; else now counts.
        signed: Option<i64>,
    },
    /// The entry was revoked.
    #[error("the {who} was revoked")]
    Revoked {
        /// `key` or `identity`.
        who: &'static str,
        /// The entry.
        entry: EntryPlace,
        /// When, in seconds since 1970.
        since: i64,
    },
    /// Another source or commit.
    #[error("it was built from another source")]
    Source {
        /// What was asked for.
        expected: String,
        /// What the statement says, escaped.
        got: String,
    },
    /// The source was changed after the commit.
    #[error("it was built from changed files, not from the commit as it is")]
    Dirty,
    /// The commit is another than that of the sources.
    #[error("the statement contradicts itself: source `{name}` is not of the commit that it names")]
    Commit {
        /// The parameter, escaped.
        named: String,
        /// The source, escaped.
        name: String,
        /// The commit that the source has, escaped.
        got: String,
    },
    /// A core guarantee that neither held in every step nor was waived by name.
    #[error("the statement does not say that these held in every step: {missing}")]
    NotEnforced {
        /// The guarantees.
        missing: String,
        /// Those that did hold.
        held: String,
        /// What was waived, escaped.
        waived: String,
    },
    /// An input without a digest.
    #[error("input `{name}` is not named by a digest")]
    NotPinned {
        /// Its name, escaped.
        name: String,
    },
    /// No inputs at all.
    #[error("the statement names no inputs")]
    NoInputs,
    /// The manifest that was given is not the one that the statement names.
    #[error("the dependency manifest is another than the statement names")]
    Manifest {
        /// The statement's.
        expected: String,
        /// The file's.
        got: String,
    },
    /// A rule of the policy is not met.
    #[error(transparent)]
    Policy(Broken),
    /// A verification summary says something else than is wanted.
    #[error("the verification summary {what}")]
    Summary {
        /// What is wrong with it.
        what: &'static str,
        /// What is wanted.
        expected: String,
        /// What it says, escaped.
        got: String,
    },
    /// A summary stands in for a policy, and its verifier was named by hand.
    #[error("the verification summary is by somebody named by hand, and such stands for no policy")]
    SummaryByHand {
        /// Who could stand for it.
        expected: String,
        /// Who was named.
        got: String,
    },
    /// The manifest that was given can not be read.
    #[error("the dependency manifest can not be read")]
    ManifestUnreadable(#[source] ClaimsError),
}

impl Subject {
    /// Returns its name, as `kiln verify` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Evidence => "evidence",
            Subject::Signature => "signature",
            Subject::Statement => "statement",
            Subject::Digest => "digest",
            Subject::Builder => "builder",
            Subject::Source => "source",
            Subject::Hermetic => "hermetic",
            Subject::Log => "log",
            Subject::Policy => "policy",
            Subject::Summary => "summary",
        }
    }
}

impl Refusal {
    /// Returns the reasons, in the order of the checks.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.checks.iter().filter_map(|check| match &check.outcome {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Ok | Outcome::NotApplicable => None,
        })
    }
}

impl Reason {
    /// Returns the message's code.
    pub fn code(&self) -> Code {
        match self {
            Reason::Evidence(EvidenceError::Empty) => Code::EvidenceEmpty,
            Reason::Evidence(_) | Reason::ManifestUnreadable(_) => Code::EvidenceMalformed,
            Reason::Statement(ClaimsError::Kind { .. })
            | Reason::PayloadType { .. }
            | Reason::BuildType { .. } => Code::WrongKind,
            Reason::Statement(_) | Reason::BadParameter { .. } => Code::EvidenceMalformed,
            Reason::Broken { .. } => Code::SignatureBroken,
            Reason::Sigstore(error) => match error.kind {
                Kind::Malformed => Code::EvidenceMalformed,
                Kind::Signature => Code::SignatureBroken,
                Kind::Artifact => Code::NoStatement,
                Kind::Log => Code::LogEntryMissing,
                Kind::Identity | Kind::Certificate | Kind::Time => Code::SignerNotTrusted,
            },
            Reason::UnknownParameter { .. } => Code::UnknownParameter,
            Reason::Digest { .. } => Code::NoStatement,
            Reason::Signer { .. }
            | Reason::NoIdentity
            | Reason::UnknownIdentity { .. }
            | Reason::NoRoot
            | Reason::NoKey { .. }
            | Reason::NoCertificate { .. }
            | Reason::Builder { .. }
            | Reason::NotYetValid { .. }
            | Reason::Expired { .. }
            | Reason::Revoked { .. } => Code::SignerNotTrusted,
            Reason::Source { .. } | Reason::Commit { .. } | Reason::Dirty => Code::SourceDiffers,
            Reason::NotEnforced { .. }
            | Reason::NotPinned { .. }
            | Reason::NoInputs
            | Reason::Manifest { .. } => Code::NotHermetic,
            Reason::Policy(_) => Code::PolicyRefused,
            Reason::Summary { .. } | Reason::SummaryByHand { .. } => Code::SummaryRefused,
        }
    }

    /// Returns what was expected and what was got, where two values were compared.
    pub fn compared(&self) -> Option<(String, String)> {
        let time = |seconds: &i64| {
            jiff::Timestamp::from_second(*seconds)
                .map_or_else(|_| seconds.to_string(), |time| time.to_string())
        };
        let signing = |signed: &Option<i64>| match signed {
            Some(signed) => format!("signed {}", time(signed)),
            None => "now".to_owned(),
        };
        let pair = |expected: &str, got: &str| {
            let got = if got.is_empty() { "an empty text" } else { got };
            Some((expected.to_owned(), got.to_owned()))
        };
        match self {
            Reason::Digest { expected, got }
            | Reason::Builder { expected, got, .. }
            | Reason::UnknownIdentity { expected, got }
            | Reason::Source { expected, got }
            | Reason::Summary { expected, got, .. }
            | Reason::SummaryByHand { expected, got }
            | Reason::Manifest { expected, got } => pair(expected, got),
            Reason::Policy(broken) => pair(&broken.expected, &broken.got),
            Reason::PayloadType { got } => pair(crate::dsse::PAYLOAD_TYPE, got),
            Reason::BuildType { got } => {
                use crate::predicate::provenance::{BUILD_TYPE_BUILD, BUILD_TYPE_RUN};
                Some((format!("{BUILD_TYPE_BUILD} or {BUILD_TYPE_RUN}"), got.clone()))
            }
            Reason::Signer { tried, named } => Some((
                format!("one of {tried} accepted keys"),
                named.as_ref().map_or_else(
                    || "another key".to_owned(),
                    |key| format!("{key}, or so the file says"),
                ),
            )),
            Reason::NotYetValid { entry, from, signed, .. } => {
                pair(&format!("a time from {} on, by {entry}", time(from)), &signing(signed))
            }
            Reason::Expired { entry, until, signed, .. } => {
                pair(&format!("a time until {}, by {entry}", time(until)), &signing(signed))
            }
            Reason::Revoked { who, entry, since } => {
                let (a, got) = (if *who == "key" { "a" } else { "an" }, time(since));
                pair(&format!("{a} {who} in force"), &format!("revoked {got}, by {entry}"))
            }
            Reason::Sigstore(error) => {
                let said = || Some((error.kind.wanted().to_owned(), error.reason.clone()));
                error.compared.clone().or_else(said)
            }
            Reason::NoKey { wanted } => pair(wanted, "a certificate"),
            Reason::NoCertificate { wanted } => pair(wanted, "no certificate"),
            Reason::Evidence(error) => error.compared(),
            Reason::Statement(error) | Reason::ManifestUnreadable(error) => Some(error.compared()),
            Reason::NoIdentity
            | Reason::NoRoot
            | Reason::Broken { .. }
            | Reason::UnknownParameter { .. }
            | Reason::BadParameter { .. }
            | Reason::Dirty
            | Reason::Commit { .. }
            | Reason::NotEnforced { .. }
            | Reason::NotPinned { .. }
            | Reason::NoInputs => self.asked(),
        }
    }

    /// Returns what is asked of every statement and signature, and what came in its place.
    fn asked(&self) -> Option<(String, String)> {
        let pair = |expected: &str, got: &str| Some((expected.to_owned(), got.to_owned()));
        match self {
            Reason::UnknownParameter { name } => {
                pair("only parameters that docs/buildtypes/ names, whose meaning is known", name)
            }
            Reason::BadParameter { name } => pair(
                &format!("a text for `{name}`, as every parameter has one"),
                "none, or no text",
            ),
            Reason::NoRoot => pair("a trusted root to check the certificate with", "none"),
            Reason::NoIdentity => {
                pair("an identity named by --identity or by an entry of trust.toml", "none")
            }
            Reason::Broken { key } => {
                pair(&format!("a signature by {key} over these bytes"), "one over others")
            }
            Reason::Dirty => pair("dirty: false", "dirty: true, or no plain answer"),
            Reason::Commit { named, got, .. } => pair(named, got),
            Reason::NotEnforced { held, waived, .. } => pair(
                "all of files, network, processes, identity and syscalls held in every step, or waived by \
                 name; network is never waived",
                &format!("held: {held}; waived: {waived}"),
            ),
            Reason::NotPinned { .. } => pair(
                "a sha256, gitCommit or gitTree of every input",
                "an input with none of these that is well formed",
            ),
            Reason::NoInputs => pair("at least one input, named by digest", "an empty list"),
            _ => None,
        }
    }

    /// Returns the entry of the trust file that is to blame, where one is.
    pub fn entry(&self) -> Option<&EntryPlace> {
        match self {
            Reason::NotYetValid { entry, .. }
            | Reason::Expired { entry, .. }
            | Reason::Revoked { entry, .. } => Some(entry),
            _ => None,
        }
    }

    /// Returns it in one line, with what was expected and what was got.
    pub fn whole(&self) -> String {
        match self.compared() {
            Some((expected, got)) => format!("{self}: expected {expected}, got {got}"),
            None => self.to_string(),
        }
    }
}

impl Kind {
    /// Returns what is asked for where it is of this kind that something does not hold.
    fn wanted(self) -> &'static str {
        match self {
            Kind::Malformed => "a bundle of version 0.3, in the form that is accepted",
            Kind::Identity => "a certificate for the identity that is believed",
            Kind::Certificate => {
                "a certificate that leads to one of the trusted root and was valid when it signed"
            }
            Kind::Log => "a proof that it stands in a log which the trusted root lists",
            Kind::Time => "a time of signing, by a log or a clock of the trusted root",
            Kind::Signature => "a signature over these bytes",
            Kind::Artifact => "a subject with the file's digest",
        }
    }
}

impl Code {
    /// Returns the whole code, `KILN-08##`.
    pub fn number(self) -> u16 {
        800 + self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KILN-{:04}", self.number())
    }
}
