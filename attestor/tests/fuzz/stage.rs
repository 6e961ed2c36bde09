//! Who believes whom, and the good evidence that everything starts from.

use attestor::builder::{BuilderId, LOCAL_BUILDER_ID};
use attestor::dsse::PAYLOAD_TYPE;
use attestor::policy::{Accepted, Policy, Question, decide};
use attestor::sigstore::{Identity, Root};
use attestor::trust::{Entry, Level, SpeaksFor, Trust, Who};
use attestor::verify::{Artifact, Evidence, Expected, SignedBy};
use attestor::vsa::Wanted;
use model::Digest;
use serde_json::{Value, json};

use crate::forger::{Forger, statement};
use crate::support::{ARTIFACT, NOW};

/// A bundle that a private Sigstore made, its root, and what it is about.
pub const CERTIFIED: &[u8] = include_bytes!("../vectors/keyless/hello.sigstore.json");
pub const ROOT: &[u8] = include_bytes!("../vectors/keyless/trusted_root.json");
const CERTIFIED_DIGEST: &str = "853ff93762a06ddbf722c4ebe9ddd66d8f63ddaea97f521c3ecc20da7c976020";
const SUBJECT: &str = "builder@kiln.example";
const ISSUER: &str = "http://127.0.0.1:46411";
/// Some time after that was signed.
const LATER: i64 = 1_900_000_000;
const VERIFIER: &str = "https://verifier.example/v1";
const ADDRESS: &str = "https://dl.example/hello";

/// What is the same for all inputs.
pub struct Stage {
    pub builder: Forger,
    pub judge: Forger,
    pub stranger: Forger,
    pub trust: Trust,
    pub root: Root,
    pub policy: Policy,
    pub identity: Identity,
    pub wanted: Wanted,
}

/// What is asked about some evidence.
pub struct Asked<'a> {
    pub evidence: &'a [u8],
    pub trust: &'a Trust,
    pub policy: Option<&'a Policy>,
    /// By certificate: the root. Otherwise by key.
    pub root: Option<&'a Root>,
    /// Whether a summary may stand in the provenance's place.
    pub summary: bool,
    /// The file, where it is another.
    pub digest: Option<Digest>,
}

/// The whole of a verdict: accepted with everything that is told of it, or refused with its codes.
pub type Verdict = Result<String, String>;

fn entry(forger: &Forger, speaks_for: SpeaksFor, max_level: Level) -> Entry {
    Entry {
        name: "test".into(),
        who: Who::Key(forger.public()),
        speaks_for,
        max_level,
        from: None,
        until: None,
        revoked: None,
    }
}

fn builder_id() -> BuilderId {
    BuilderId::new(LOCAL_BUILDER_ID).unwrap()
}

impl Stage {
    pub fn new() -> Stage {
        let (builder, judge) = (Forger::ed25519(1), Forger::ed25519(5));
        let verifier = BuilderId::new(VERIFIER).unwrap();
        let trust = Trust::of(vec![
            entry(&builder, SpeaksFor::Builder(builder_id()), Level::L1),
            entry(&judge, SpeaksFor::Verifier(verifier), Level::L2),
        ]);
        Stage {
            builder,
            judge,
            stranger: Forger::ed25519(9),
            trust,
            root: Root::parse(ROOT).unwrap(),
            policy: Policy::parse(POLICY.as_bytes()).unwrap(),
            identity: Identity { subject: SUBJECT.into(), issuer: ISSUER.into() },
            wanted: Wanted { resource_uri: ADDRESS.into(), level: Level::L2, policy: None },
        }
    }

    /// Returns the file as `trust.toml` has it, with a key that is revoked and one that is not yet valid.
    pub fn trust_file(&self) -> String {
        let good = entry(&self.builder, SpeaksFor::Builder(builder_id()), Level::L1);
        let revoked = Entry {
            revoked: Some(NOW - 1),
            ..entry(&self.judge, SpeaksFor::Builder(builder_id()), Level::L1)
        };
        [good, revoked].map(|one| one.to_toml().unwrap()).join("\n")
    }

    pub fn bundle(&self) -> Vec<u8> {
        self.builder.bundle(PAYLOAD_TYPE, small().to_string().as_bytes()).to_string().into_bytes()
    }

    pub fn line(&self) -> Vec<u8> {
        let line = self.builder.envelope(PAYLOAD_TYPE, small().to_string().as_bytes());
        format!("{line}\n").into_bytes()
    }

    pub fn summary(&self) -> Vec<u8> {
        let text = summary().to_string();
        self.judge.bundle(PAYLOAD_TYPE, text.as_bytes()).to_string().into_bytes()
    }

    /// Returns what is asked of evidence by key.
    pub fn by_key<'a>(&'a self, evidence: &'a [u8]) -> Asked<'a> {
        Asked {
            evidence,
            trust: &self.trust,
            policy: None,
            root: None,
            summary: false,
            digest: None,
        }
    }

    /// Decides, and tells the whole verdict.
    pub fn verdict(&self, asked: &Asked<'_>) -> Verdict {
        let by_certificate = asked.root.is_some();
        let digest = match (asked.digest, by_certificate) {
            (Some(digest), _) => digest,
            (None, true) => Digest::from_hex(CERTIFIED_DIGEST).unwrap(),
            (None, false) => Digest::of(ARTIFACT),
        };
        let decided = decide(&Question {
            artifact: Artifact { name: "hello", digest },
            evidence: &[Evidence { bytes: asked.evidence, manifest: None }],
            expected: Expected {
                trust: asked.trust,
                key: None,
                identity: by_certificate.then_some(&self.identity),
                root: asked.root,
                source: None,
            },
            policy: asked.policy,
            summary: asked.summary.then_some(&self.wanted),
            now: if by_certificate { LATER } else { NOW },
        });
        let decision = decided.map_err(|refusal| {
            let told = refusal.reasons().map(|reason| {
                let mut told = format!("{:?} {reason}", reason.code());
                let mut cause = std::error::Error::source(reason);
                while let Some(one) = cause {
                    told += &format!(": {one}");
                    cause = one.source();
                }
                told
            });
            told.collect::<Vec<_>>().join("; ")
        })?;
        let (signer, checks, payload) = match &decision.accepted {
            Accepted::Provenance(verified) => {
                let signer = match verified.signer() {
                    SignedBy::Key(key) => key.to_string(),
                    SignedBy::Identity(one) => format!("{} {}", one.subject, one.issuer),
                };
                (signer, verified.checks(), Digest::of(verified.payload()).to_string())
            }
            Accepted::Summary(summary) => {
                let said = format!("{:?}", summary.summary());
                (summary.signer().to_string(), summary.checks(), said)
            }
        };
        let checks: Vec<&str> = checks.iter().map(|check| check.detail.as_str()).collect();
        let rules: Vec<&str> = decision.held.iter().map(|held| held.rule.as_str()).collect();
        Ok(format!("{signer}\n{}\n{payload}\n{}\n{rules:?}", decision.level, checks.join("\n")))
    }
}

/// A statement as small as a good one can be.
pub fn small() -> Value {
    let mut small = statement();
    let predicate = &mut small["predicate"];
    predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap().truncate(1);
    predicate["buildDefinition"].as_object_mut().unwrap().remove("internalParameters");
    let finished = predicate["runDetails"]["metadata"]["finishedOn"].clone();
    let core = ["files", "network", "processes", "identity", "syscalls"]
        .map(|name| json!({"guarantee": name, "mechanism": "m"}));
    predicate["runDetails"] = json!({
        "builder": {"id": LOCAL_BUILDER_ID},
        "kiln_backend": "native",
        "kiln_enforced": core,
        "metadata": {"finishedOn": finished},
    });
    small
}

/// A summary of the same file.
pub fn summary() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "hello", "digest": {"sha256": Digest::of(ARTIFACT).hex()}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": VERIFIER},
            "timeVerified": "2026-11-22T12:00:00Z",
            "resourceUri": ADDRESS,
            "policy": {"uri": "https://policies.example/hello", "digest": {"sha256": Digest::of(b"p").hex()}},
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
            "slsaVersion": "1.2",
        },
    })
}

/// A policy that the small statement meets, with something of every kind.
pub const POLICY: &str = "policy: 1
name: it
level: 1
builders:
  - {id: \"https://kiln.build/builders/local/v1\", min-level: 1}
source: {uri: \"https://git.example.org/acme/hello\", commit: {pattern: \"[0-9a-f]{40}\"}}
hermetic: true
backend: [native, docker]
max-age: 400d
dependencies: {deny: [{purl: \"pkg:deb/debian/xz-utils\", version: \">=5.6.0, <5.6.2\", why: a back door}]}
rules:
  - {name: few, expr: \"size(dependencies) < 10 && dependencies.all(d, size(d.digest) > 0)\"}
";
