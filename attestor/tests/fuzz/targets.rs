//! The entry points: what is read from outside, each with its seeds and what must hold of any bytes.

use attestor::claims::{Statement, read_manifest};
use attestor::dsse::PAYLOAD_TYPE;
use attestor::policy::{Policy, learn};
use attestor::public_key::PublicKey;
use attestor::sigstore::Root;
use attestor::trust::Trust;
use attestor::verify::{Artifact, Evidence, Expected, verify};
use attestor::{bundle, story, vsa};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use serde_json::{Value, json};

use crate::stage::{Asked, CERTIFIED, POLICY, ROOT, Stage, Verdict, small, summary};
use crate::support::{ARTIFACT, NOW};

/// What came of an input, as far as it leads somewhere else than others did.
pub type Outcome = String;

/// One entry point.
pub struct Target {
    pub name: &'static str,
    pub seeds: fn(&Stage) -> Vec<Vec<u8>>,
    /// Words of the format.
    pub words: &'static [&'static str],
    pub run: fn(&Stage, &[u8]) -> Outcome,
}

pub const TARGETS: [Target; 14] = [
    Target {
        name: "envelope",
        seeds: |stage| vec![stage.line(), [stage.line(), stage.line()].concat()],
        words: &[
            "\"payload\":",
            "\"payloadType\":",
            "\"signatures\":",
            "\"sig\":",
            "\"keyid\":\"\",",
            "=",
        ],
        run: |stage, bytes| evidence(stage, bytes, &stage.line()),
    },
    Target {
        name: "bundle",
        seeds: |stage| vec![stage.bundle(), stage.line()],
        words: &[
            "\"mediaType\":",
            "\"hint\":",
            "\"publicKey\":",
            "\"certificate\":",
            "\"tlogEntries\":[],",
            "\"dsseEnvelope\":",
        ],
        run: |stage, bytes| evidence(stage, bytes, &stage.bundle()),
    },
    Target {
        name: "statement",
        seeds: |_| vec![small().to_string().into_bytes()],
        words: &[
            "\"subject\":",
            "\"sha256\":",
            "\"predicate\":",
            "\"builder\":",
            "\"waivers\":\"network\"",
            "\"kiln_enforced\":[]",
            "none",
        ],
        run: statement,
    },
    Target {
        name: "summary",
        seeds: |_| vec![summary().to_string().into_bytes()],
        words: &[
            "PASSED",
            "FAILED",
            "SLSA_BUILD_LEVEL_3",
            "\"resourceUri\":",
            "\"verifiedLevels\":",
        ],
        run: judged,
    },
    Target {
        name: "manifest",
        seeds: |_| {
            vec![json!({"version": 1, "dependencies": [{"name": "a", "digest": {"sha256": "a".repeat(64)}}]}).to_string().into_bytes()]
        },
        words: &["\"version\":", "\"dependencies\":", "\"digest\":", "\"sha256\":"],
        run: |_, bytes| format!("{:?}", read_manifest(bytes).map(|all| all.len()).map_err(short)),
    },
    Target {
        name: "policy",
        seeds: |_| vec![POLICY.into()],
        words: &[
            "policy: 1\n",
            "level: ",
            "source: ",
            "{any: true}",
            "{pattern: \".*\"}",
            "require: ",
            "&a ",
            "*a",
            "!!str ",
            "<<: ",
            "---\n",
            "%YAML 1.2\n",
            "reproduced-by: 2\n",
        ],
        run: policy,
    },
    Target {
        name: "expression",
        seeds: |_| {
            [
                "size(dependencies) < 10",
                "dependencies.all(d, size(d.digest) > 0)",
                "parameters.target == 'hello' ? true : false",
                "predicate.buildDefinition.buildType.matches('^https')",
                "level >= 1 && !(builder.startsWith('x'))",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec()
        },
        words: &[
            "dependencies",
            "predicate",
            ".all(x, ",
            ".exists(x, ",
            ".map(x, ",
            "size(",
            "matches('",
            "(((((",
            "!!!!",
            "[1,2]",
            "{'a':1}",
            " in ",
            " + ",
            "9223372036854775807",
            "1/0",
            "b'\\xff'",
            "? 1 : ",
        ],
        run: |stage, bytes| {
            let rule = json!(String::from_utf8_lossy(bytes));
            policy(stage, format!("policy: 1\nrules: [{{name: x, expr: {rule}}}]\n").as_bytes())
        },
    },
    Target {
        name: "trust",
        seeds: |stage| vec![stage.trust_file().into_bytes()],
        words: &[
            "[[trust]]\n",
            "revoked = \"2020-01-01T00:00:00Z\"\n",
            "max-level = 3\n",
            "builder-id = ",
            "verifier-id = ",
            "identity = \"a\"\n",
            "'''",
            "\"\"\"",
            "#",
        ],
        run: trust,
    },
    Target {
        name: "root",
        seeds: |_| vec![ROOT.to_vec()],
        words: &[
            "\"tlogs\":[],",
            "\"validFor\":",
            "\"start\":",
            "\"end\":\"2020-01-01T00:00:00Z\",",
            "\"certificateAuthorities\":",
            "PKIX_ED25519",
        ],
        run: root,
    },
    Target {
        name: "certified",
        seeds: |_| vec![CERTIFIED.to_vec()],
        words: &[
            "\"tlogEntries\":",
            "\"inclusionProof\":",
            "\"hashes\":[],",
            "\"logIndex\":\"7\",",
            "\"rfc3161Timestamps\":",
        ],
        run: |stage, bytes| certified(stage, bytes),
    },
    Target {
        name: "certificate",
        seeds: |_| vec![part(CERTIFICATE)],
        words: &[],
        run: |stage, bytes| certified(stage, &with(CERTIFICATE, bytes)),
    },
    Target {
        name: "timestamp",
        seeds: |_| vec![part(TIMESTAMP)],
        words: &[],
        run: |stage, bytes| certified(stage, &with(TIMESTAMP, bytes)),
    },
    Target {
        name: "log-entry",
        seeds: |_| vec![part(BODY)],
        words: &["\"digest\":", "\"content\":", "\"x509Certificate\":", "0.0.1"],
        run: |stage, bytes| certified(stage, &with(BODY, bytes)),
    },
    Target {
        name: "public-key",
        seeds: |stage| {
            [stage.builder.public(), crate::forger::Forger::p256(1).public()]
                .iter()
                .map(|key| key.to_pem().unwrap().into_bytes())
                .collect()
        },
        words: &[
            "-----BEGIN PUBLIC KEY-----\n",
            "-----END PUBLIC KEY-----\n",
            "PRIVATE",
            "MFkwEwYHKoZIzj0CAQ",
        ],
        run: |_, bytes| {
            format!(
                "{:?}",
                PublicKey::from_pem(&String::from_utf8_lossy(bytes)).map(|_| ()).map_err(short)
            )
        },
    },
];

const CERTIFICATE: &str = "/verificationMaterial/certificate/rawBytes";
const TIMESTAMP: &str =
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
const BODY: &str = "/verificationMaterial/tlogEntries/0/canonicalizedBody";

fn certified_bundle() -> Value {
    serde_json::from_slice(CERTIFIED).unwrap()
}

/// Returns a part of the certified bundle, decoded.
fn part(at: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(certified_bundle().pointer(at).unwrap().as_str().unwrap()).unwrap()
}

/// Returns that bundle with other bytes for a part.
fn with(at: &str, bytes: &[u8]) -> Vec<u8> {
    let mut bundle = certified_bundle();
    *bundle.pointer_mut(at).unwrap() = json!(BASE64_STANDARD.encode(bytes));
    bundle.to_string().into_bytes()
}

/// Digits do not lead anywhere else.
fn short(error: impl std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        told += &format!(": {one}");
        cause = one.source();
    }
    told.chars().filter(|letter| !letter.is_ascii_digit()).take(120).collect()
}

fn outcome(verdict: &Verdict) -> Outcome {
    match verdict {
        Ok(_) => "accepted".to_owned(),
        // Words only: a digest leads nowhere else than another one.
        Err(codes) => {
            let is_word =
                |word: &&str| word.len() < 30 && !word.contains(|c: char| c.is_ascii_digit());
            codes.split_whitespace().filter(is_word).take(40).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Any bytes for evidence by key: what is accepted is the good one's verdict, to the letter.
fn evidence(stage: &Stage, bytes: &[u8], good: &[u8]) -> Outcome {
    let verdict = stage.verdict(&stage.by_key(bytes));
    if verdict.is_ok() {
        assert_eq!(verdict, stage.verdict(&stage.by_key(good)), "another verdict");
    }
    let told = story::inspect(bytes, None).map(|all| all.len()).map_err(short);
    let read = bundle::read(bytes).map(|all| all.len()).map_err(short);
    format!("{} {told:?} {read:?}", outcome(&verdict))
}

/// Any bytes as what a believed builder signed: what is accepted says all that is needed.
fn statement(stage: &Stage, bytes: &[u8]) -> Outcome {
    let signed = stage.builder.bundle(PAYLOAD_TYPE, bytes).to_string().into_bytes();
    let verdict = stage.verdict(&stage.by_key(&signed));
    if verdict.is_ok() {
        assert!(says_enough(bytes), "accepted");
        let expected =
            Expected { trust: &stage.trust, key: None, identity: None, root: None, source: None };
        let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
        let evidence = Evidence { bytes: &signed, manifest: None };
        let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
        assert_eq!(verified.payload(), bytes);
        // What is learned from it is a policy.
        let learned = learn("hello", &verified, None);
        Policy::parse(learned.as_bytes()).unwrap_or_else(|wrong| panic!("{learned}\n{wrong:?}"));
    }
    let by_policy = stage.verdict(&Asked { policy: Some(&stage.policy), ..stage.by_key(&signed) });
    assert!(by_policy.is_err() || verdict.is_ok(), "a policy makes nothing good");
    let told = story::inspect(&signed, None).is_ok();
    let read = Statement::read(bytes).map(|_| ()).map_err(short);
    format!("{} {} {told} {read:?}", outcome(&verdict), outcome(&by_policy))
}

/// The same, by another parser and in fewer words than the verifier's own.
fn says_enough(bytes: &[u8]) -> bool {
    let Ok(says) = serde_json::from_slice::<Value>(bytes) else { return false };
    let (subject, hex) = (&says["subject"], Digest::of(ARTIFACT).hex());
    let run = &says["predicate"]["runDetails"];
    let build = &says["predicate"]["buildDefinition"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let waivers = build["externalParameters"]["waivers"].as_str().unwrap_or_default();
    says["_type"] == "https://in-toto.io/Statement/v1"
        && says["predicateType"] == "https://slsa.dev/provenance/v1"
        && list(subject).iter().any(|one| one["digest"]["sha256"] == hex.as_str())
        && run["builder"]["id"] == attestor::builder::LOCAL_BUILDER_ID
        && ["files", "network", "processes", "identity", "syscalls"].iter().all(|name| {
            let held = |one: &Value| one["guarantee"] == *name && one["mechanism"] != "";
            list(&run["kiln_enforced"]).iter().any(held)
                || waivers.split(',').any(|one| one == *name)
        })
        && !waivers.split(',').any(|one| one == "network")
        && !list(&build["resolvedDependencies"]).is_empty()
}

/// Any bytes as what a believed verifier signed.
fn judged(stage: &Stage, bytes: &[u8]) -> Outcome {
    let signed = stage.judge.bundle(PAYLOAD_TYPE, bytes).to_string().into_bytes();
    let verdict = stage.verdict(&Asked { summary: true, ..stage.by_key(&signed) });
    if verdict.is_ok() {
        let says: Value = serde_json::from_slice(bytes).unwrap();
        let (predicate, good) = (&says["predicate"], &summary()["predicate"]);
        for member in ["verificationResult", "resourceUri", "verifier"] {
            let id = |value: &Value| value[member].get("id").unwrap_or(&value[member]).clone();
            assert_eq!(id(predicate), id(good), "{member}");
        }
    }
    assert!(stage.verdict(&stage.by_key(&signed)).is_err(), "nobody asked for a summary");
    format!("{} {:?}", outcome(&verdict), vsa::read(bytes).map(|_| ()).map_err(short))
}

/// Any bytes as a policy: no policy makes a stranger's signature good, or another file's statement.
fn policy(stage: &Stage, bytes: &[u8]) -> Outcome {
    let policy = match Policy::parse(bytes) {
        Ok(policy) => policy,
        Err(wrong) => {
            return wrong
                .iter()
                .map(|one| format!("{:?}", one.wrong))
                .map(|text| {
                    text.chars()
                        .filter(|letter| !letter.is_ascii_digit())
                        .take(60)
                        .collect::<String>()
                })
                .collect();
        }
    };
    let payload = small().to_string();
    let forged = stage.stranger.bundle(PAYLOAD_TYPE, payload.as_bytes()).to_string();
    let asked = Asked { policy: Some(&policy), ..stage.by_key(forged.as_bytes()) };
    assert!(stage.verdict(&asked).is_err(), "a stranger's signature");
    let good = stage.bundle();
    let asked =
        Asked { policy: Some(&policy), digest: Some(Digest::of(b"other")), ..stage.by_key(&good) };
    assert!(stage.verdict(&asked).is_err(), "another file");
    outcome(&stage.verdict(&Asked { policy: Some(&policy), ..stage.by_key(&good) }))
}

/// Any bytes as a trust file: it makes neither a stranger's nor a changed signature good.
fn trust(stage: &Stage, bytes: &[u8]) -> Outcome {
    let trust = match Trust::parse(bytes) {
        Ok(trust) => trust,
        Err(error) => return short(error),
    };
    let payload = small().to_string();
    let forged = stage.stranger.bundle(PAYLOAD_TYPE, payload.as_bytes()).to_string();
    let asked = Asked { trust: &trust, ..stage.by_key(forged.as_bytes()) };
    assert!(stage.verdict(&asked).is_err(), "a stranger's signature");
    // What is read is written and read again as the same.
    for entry in trust.entries() {
        if let Ok(text) = entry.to_toml() {
            let again =
                Trust::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(again.entries(), std::slice::from_ref(entry));
        }
    }
    let good = stage.bundle();
    format!(
        "{} {}",
        trust.entries().len(),
        outcome(&stage.verdict(&Asked { trust: &trust, ..stage.by_key(&good) }))
    )
}

/// Any bytes as a trusted root: the bundle is accepted with its own signer, file and time, or not.
fn root(stage: &Stage, bytes: &[u8]) -> Outcome {
    let root = match Root::parse(bytes) {
        Ok(root) => root,
        Err(error) => return short(error),
    };
    let asked = Asked { root: Some(&root), ..stage.by_key(CERTIFIED) };
    let verdict = stage.verdict(&asked);
    let good = stage.verdict(&Asked { root: Some(&stage.root), ..stage.by_key(CERTIFIED) });
    if let (Ok(told), Ok(good)) = (&verdict, &good) {
        // A root that lists no log is asked for none; all else is the same.
        let log = |line: &&str| !line.contains("transparency log");
        let (told, good) = (told.lines().filter(log), good.lines().filter(log));
        assert_eq!(told.collect::<Vec<_>>(), good.collect::<Vec<_>>());
    }
    let other = Asked { digest: Some(Digest::of(b"other")), ..asked };
    assert!(stage.verdict(&other).is_err(), "another file");
    outcome(&verdict)
}

/// Any bytes as a bundle with a certificate: accepted with the seed's verdict, to the letter, or not.
fn certified(stage: &Stage, bytes: &[u8]) -> Outcome {
    let of = |bytes| stage.verdict(&Asked { root: Some(&stage.root), ..stage.by_key(bytes) });
    let verdict = of(bytes);
    if verdict.is_ok() {
        assert_eq!(verdict, of(CERTIFIED), "another verdict");
    }
    outcome(&verdict)
}
