//! The committed vectors: bytes that every verifier is given, and what ours says of each.
//!
//! ```text
//! tests/vectors/vectors.json    the list: file, question, answer
//! tests/vectors/hello, other    what they are about, or are not
//! tests/vectors/keys            public keys; the private ones are seeds in this file, worth nothing
//! tests/vectors/key             provenance by plain keys, good and spoilt
//! tests/vectors/summary         verification summaries
//! tests/vectors/layout          made by tests/interop/layout_vectors.py, with PyPI in-toto
//! tests/vectors/keyless         made by tests/interop/keyless_vectors.sh: certificates can not be made again;
//!                               spoilt.rs changes them
//! ```
//!
//! All but the last two, and what is spoilt of the last, are written by this file from a fixed record and fixed keys, always the same bytes;
//! `KILN_BLESS=1` writes them. The list is by hand. `make interop` and `make interop-go` put the same
//! questions to other people's verifiers, and docs/interop.md tells what came of it.
#![expect(
    clippy::disallowed_methods,
    reason = "writes the vectors when asked to, and the files of an attestor that it starts"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attestor::builder::{BuilderConfig, BuilderId};
use attestor::bundle;
use attestor::dsse::{PAYLOAD_TYPE, pae};
use attestor::links::layout;
use attestor::pipe::{Answer, EvidenceText, Request, Summarise};
use attestor::policy::{Question, decide};
use attestor::public_key::PublicKey;
use attestor::sigstore::{Identity, Root};
use attestor::statement::derive;
use attestor::trust::{Entry, Level, SpeaksFor, Trust, Who};
use attestor::verify::{Artifact, Evidence, Expected};
use attestor::vsa::Wanted;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use model::Digest;
use model::digest::Blob;
use model::platform::{Arch, Os, Platform};
use model::record::{Nonce, Subject};
use p256::ecdsa::signature::Signer as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::forger::Forger;
use crate::spoilt;
use crate::support::{ARTIFACT, Attestor, NOW, file, record};

const OTHER: &[u8] = b"goodbye, world\n";
const VERIFIER: &str = "https://verifier.example/v1";
const ADDRESS: &str = "https://dl.example/hello";
/// When the summaries were signed, whenever that was.
const JUDGED: &str = "2026-11-22T12:00:00Z";
/// Some time after the certificates were made.
const LATER: i64 = 1_900_000_000;

pub type Files = BTreeMap<String, Vec<u8>>;

/// One row of the list.
#[derive(Deserialize)]
struct Vector {
    name: String,
    file: String,
    artifact: String,
    accepted: bool,
    key: Option<String>,
    identity: Option<String>,
    issuer: Option<String>,
    root: Option<String>,
    verifier: Option<String>,
    address: Option<String>,
    level: Option<u8>,
    layout_key: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn vectors() -> Vec<Vector> {
    let list: Value = serde_json::from_slice(&read("vectors.json")).unwrap();
    let both =
        ["agreed", "contested"].map(|name| serde_json::from_value(list[name].clone()).unwrap());
    both.into_iter().flat_map(|some: Vec<Vector>| some).collect()
}

/// What kiln signs of a fixed record, on whatever platform this runs.
fn provenance() -> Vec<u8> {
    let mut record = record();
    record.observed.platform = Platform { os: Os::Linux, arch: Arch::Amd64 };
    derive(&record, &BuilderConfig::local()).unwrap().statement_bytes
}

/// Both files, as kiln writes them.
fn both(files: &mut Files, name: &str, forger: &Forger, payload: &[u8]) {
    let whole = forger.bundle(PAYLOAD_TYPE, payload).to_string();
    let read = bundle::read(whole.as_bytes()).unwrap().remove(0).envelope;
    let written = bundle::to_bundle(&read, &forger.public().id()).unwrap();
    files.insert(format!("{name}.sigstore.json"), written.into_bytes());
    files.insert(format!("{name}.intoto.jsonl"), read.to_line().unwrap().into_bytes());
}

pub fn changed(bytes: &[u8], at: &str) -> Value {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    let text = value.pointer_mut(at).unwrap();
    let mut raw = BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
    let middle = raw.len() / 2;
    raw[middle] ^= 1;
    *text = json!(BASE64_STANDARD.encode(raw));
    value
}

pub fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// Every generated file, by its name.
fn made() -> Files {
    let mut files = Files::new();
    let (one, two, other) = (Forger::p256(1), Forger::ed25519(1), Forger::p256(9));
    files.insert("hello".into(), ARTIFACT.to_vec());
    files.insert("other".into(), OTHER.to_vec());
    for (name, forger) in [("p256", &one), ("ed25519", &two), ("other", &other)] {
        files.insert(format!("keys/{name}.pem"), forger.public().to_pem().unwrap().into_bytes());
        if name != "other" {
            both(&mut files, &format!("key/{name}"), forger, &provenance());
        }
    }
    spoilt_signatures(&mut files, &other);
    odd_signatures(&mut files, &one, &two);
    spoilt_statements(&mut files, &one);
    spoilt_json(&mut files, &one);
    spoilt::certificates(&mut files);
    summaries(&mut files, &one, &two);
    files
}

/// The signature does not hold, or there are more or fewer than one.
fn spoilt_signatures(files: &mut Files, other: &Forger) {
    for (name, flipped) in [("p256", "flipped"), ("ed25519", "ed25519-flipped")] {
        for (end, at) in [
            ("sigstore.json", "/dsseEnvelope/signatures/0/sig"),
            ("intoto.jsonl", "/signatures/0/sig"),
        ] {
            let spoilt = line(&changed(&files[&format!("key/{name}.{end}")], at));
            files.insert(format!("key/{flipped}-signature.{end}"), spoilt);
        }
    }
    let (bundle, bare) =
        (files["key/p256.sigstore.json"].clone(), files["key/p256.intoto.jsonl"].clone());
    for (end, good, at) in
        [("sigstore.json", &bundle, "/dsseEnvelope"), ("intoto.jsonl", &bare, "")]
    {
        let payload = line(&changed(good, &format!("{at}/payload")));
        files.insert(format!("key/flipped-payload.{end}"), payload);
        let mut value: Value = serde_json::from_slice(good).unwrap();
        let signatures = value.pointer_mut(&format!("{at}/signatures")).unwrap();
        let mut second = signatures[0].clone();
        second["sig"] =
            json!(BASE64_STANDARD.encode(other.sign(&pae(PAYLOAD_TYPE, &provenance()))));
        *signatures = json!([signatures[0], second]);
        let two = line(&value);
        *value.pointer_mut(&format!("{at}/signatures")).unwrap() = json!([]);
        files.insert(format!("key/two-signatures.{end}"), two);
        files.insert(format!("key/no-signature.{end}"), line(&value));
    }
}

/// Signatures in another form: the other of the two that an ECDSA key has for each message, a number
/// longer than it needs to be, and bytes behind the end.
fn odd_signatures(files: &mut Files, one: &Forger, two: &Forger) {
    let (Forger::P256(key), bytes) = (one, pae(PAYLOAD_TYPE, &provenance())) else {
        unreachable!()
    };
    let signature: p256::ecdsa::Signature = key.sign(&bytes);
    let (r, s) = signature.split_scalars();
    let mirrored = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    let (der, raw) = (one.sign(&bytes), two.sign(&bytes));
    // One more zero in front of r, counted in both lengths, which DER forbids.
    let r_len = usize::from(der[3]);
    let mut padded = vec![0x30, der[1] + 1, 0x02, der[3] + 1, 0];
    padded.extend(&der[4..4 + r_len]);
    padded.extend(&der[4 + r_len..]);
    for (name, good, odd) in [
        ("mirrored", "p256", mirrored.to_der().as_bytes().to_vec()),
        ("padded", "p256", padded),
        ("trailing", "p256", [der.as_slice(), &[0]].concat()),
        ("plain-numbers", "p256", signature.to_bytes().to_vec()),
        ("ed25519-trailing", "ed25519", [raw.as_slice(), &[0]].concat()),
    ] {
        for (end, at) in [("sigstore.json", "/dsseEnvelope"), ("intoto.jsonl", "")] {
            let good = &files[&format!("key/{good}.{end}")];
            let mut value: Value = serde_json::from_slice(good).unwrap();
            *value.pointer_mut(&format!("{at}/signatures/0/sig")).unwrap() =
                json!(BASE64_STANDARD.encode(&odd));
            files.insert(format!("key/{name}.{end}"), line(&value));
        }
    }
}

/// The signature holds, over something that says nothing about the file.
fn spoilt_statements(files: &mut Files, one: &Forger) {
    let spoil = |change: fn(&mut Value)| {
        let mut statement: Value = serde_json::from_slice(&provenance()).unwrap();
        change(&mut statement);
        statement.to_string().into_bytes()
    };
    let digest = |name: &str, hex: &str| format!("\"{name}\":\"{hex}\"");
    let text = String::from_utf8(provenance()).unwrap();
    let ours = digest("sha256", &Digest::of(ARTIFACT).hex());
    let twice =
        text.replacen("\"predicateType\":", "\"predicateType\":\"x\",\"predicateType\":", 1);
    for (name, payload) in [
        ("statement-v0.1", spoil(|s| s["_type"] = json!("https://in-toto.io/Statement/v0.1"))),
        ("no-subject", spoil(|s| s["subject"] = json!([]))),
        (
            "other-predicate",
            spoil(|s| s["predicateType"] = json!("https://slsa.dev/provenance/v0.2")),
        ),
        ("extra-member", spoil(|s| s["extra"] = json!(1))),
        // Of the right length, which is what makes it a digest of another kind and not a broken one.
        ("sha512-only", text.replacen(&ours, &digest("sha512", &"0".repeat(128)), 1).into_bytes()),
        ("statement-member-twice", twice.into_bytes()),
    ] {
        assert_ne!(payload, provenance(), "{name}");
        both(files, &format!("key/{name}"), one, &payload);
    }
    let typed = one.bundle("application/json", &provenance());
    files.insert("key/other-payload-type.sigstore.json".into(), line(&typed));
    let about = text.replacen(&ours, &digest("sha256", &Digest::of(OTHER).hex()), 1);
    let about = one.envelope(PAYLOAD_TYPE, about.as_bytes());
    let good = files["key/p256.intoto.jsonl"].clone();
    files.insert("key/two-lines.intoto.jsonl".into(), [line(&about), good.clone()].concat());
    files.insert("key/bad-line.intoto.jsonl".into(), [good.as_slice(), b"{}\n"].concat());
}

/// The same envelope in JSON of another form.
fn spoilt_json(files: &mut Files, one: &Forger) {
    let good = String::from_utf8(files["key/p256.sigstore.json"].clone()).unwrap();
    let bare = String::from_utf8(files["key/p256.intoto.jsonl"].clone()).unwrap();
    let mut plain: Value = serde_json::from_str(&good).unwrap();
    for at in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let text = plain.pointer_mut(at).unwrap();
        let raw = BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
        *text = json!(BASE64_URL_SAFE.encode(raw));
    }
    let material = format!("{{\"hint\":\"{}\"}}", one.public().id().hint());
    for (name, text) in [
        ("url-safe.sigstore.json", plain.to_string() + "\n"),
        ("media-type.sigstore.json", good.replace("v0.3+json", "v0.9+json")),
        (
            "member-twice.sigstore.json",
            good.replacen("\"payload\":", "\"payload\":\"e30=\",\"payload\":", 1),
        ),
        ("no-signer.sigstore.json", good.replace(&format!("\"publicKey\":{material}"), "")),
        ("second-document.sigstore.json", good.clone() + "{}\n"),
        ("key-id.intoto.jsonl", bare.replace("\"keyid\":\"\"", "\"keyid\":\"somebody\"")),
    ] {
        assert!(text != good && text != bare, "{name}");
        files.insert(format!("key/{name}"), text.into_bytes());
    }
}

/// What an attestor says of the good statement, but for the time, which is fixed here.
fn summaries(files: &mut Files, one: &Forger, two: &Forger) {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(attestor::public_key::Algorithm::EcdsaP256);
    let configured = |name: &str, text: String| {
        std::fs::write(folder.path().join("config").join(name), text).unwrap();
    };
    configured("attestor.toml", format!("[verifier]\nid = \"{VERIFIER}\"\n"));
    configured(
        "trust.toml",
        format!(
            "[[trust]]\nname = \"test\"\nkey = \"\"\"\n{}\"\"\"\nbuilder-id = \"{}\"\nmax-level = 2\n",
            one.public().to_pem().unwrap(),
            attestor::builder::LOCAL_BUILDER_ID
        ),
    );
    let text = String::from_utf8(files["key/p256.intoto.jsonl"].clone()).unwrap();
    let asked = Summarise {
        subject: Subject { name: "hello".into(), blob: Blob::of(ARTIFACT) },
        evidence: vec![EvidenceText { text, manifest: None }],
        policy: "policy: 1\nuri: https://policies.example/hello\n".into(),
        resource_uri: ADDRESS.into(),
        dependencies: None,
        reproduced: false,
        nonce: Nonce::from_bytes([9; 16]),
        deadline: i64::MAX,
    };
    let Answer::Signed(signed) =
        attestor.ask(&Request::Summarise(Box::new(asked)), &[file(ARTIFACT)])
    else {
        panic!("the attestor refuses")
    };
    let said = bundle::read(signed.line.as_bytes()).unwrap().remove(0).envelope;
    let said = std::str::from_utf8(said.unverified_payload()).unwrap();
    let told: Value = serde_json::from_str(said).unwrap();
    let time = told["predicate"]["timeVerified"].as_str().unwrap();
    let passed = said.replace(time, JUDGED);
    let failed = passed.replace("\"PASSED\"", "\"FAILED\"");
    for (name, forger, payload) in
        [("p256", one, &passed), ("ed25519", two, &passed), ("failed", one, &failed)]
    {
        let envelope = forger.bundle(PAYLOAD_TYPE, payload.as_bytes()).to_string();
        let envelope = bundle::read(envelope.as_bytes()).unwrap().remove(0).envelope;
        let whole = bundle::to_bundle(&envelope, &forger.public().id()).unwrap();
        files.insert(format!("summary/{name}.vsa.sigstore.json"), whole.into_bytes());
        files.insert(format!("summary/{name}.vsa.jsonl"), envelope.to_line().unwrap().into_bytes());
    }
    for (end, at) in [("jsonl", ""), ("sigstore.json", "/dsseEnvelope")] {
        let good = &files[&format!("summary/p256.vsa.{end}")];
        let flipped = changed(good, &format!("{at}/signatures/0/sig"));
        files.insert(format!("summary/flipped.vsa.{end}"), line(&flipped));
    }
}

/// The same record and keys give the same bytes, those that are committed.
#[test]
fn the_committed_vectors_are_what_kiln_writes() {
    let files = made();
    if std::env::var_os("KILN_BLESS").is_some() {
        for (name, bytes) in &files {
            let path = folder().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let stale: Vec<&String> =
        files.iter().filter(|(name, bytes)| read(name) != **bytes).map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "stale; KILN_BLESS=1 writes them: {stale:?}");
}

fn follows(vector: &Vector, owner: &str) -> bool {
    let owner = PublicKey::from_pem(&String::from_utf8(read(owner)).unwrap()).unwrap();
    let digest = Digest::of(&read(&vector.artifact));
    let folder = folder().join(&vector.file);
    let link = |name: &str| std::fs::read(folder.with_file_name(name)).ok();
    layout::verify(&read(&vector.file), &[owner], &link, &digest, NOW).is_ok()
}

fn accepts(vector: &Vector) -> bool {
    if let Some(owner) = &vector.layout_key {
        return follows(vector, owner);
    }
    let key = vector.key.as_ref().map(|name| String::from_utf8(read(name)).unwrap());
    let key = key.map(|pem| PublicKey::from_pem(&pem).unwrap());
    let root = vector.root.as_ref().map(|name| Root::parse(&read(name)).unwrap());
    let identity = vector.identity.as_ref().map(|subject| Identity {
        subject: subject.clone(),
        issuer: vector.issuer.clone().unwrap(),
    });
    let mut trust = Trust::default();
    let summary = vector.address.as_ref().map(|address| Wanted {
        resource_uri: address.clone(),
        level: Level::from_number(vector.level.unwrap()).unwrap(),
        policy: None,
    });
    if let (Some(verifier), Some(key)) = (&vector.verifier, &key) {
        trust = Trust::of(vec![Entry {
            name: "test".into(),
            who: Who::Key(key.clone()),
            speaks_for: SpeaksFor::Verifier(BuilderId::new(verifier).unwrap()),
            max_level: Level::L3,
            from: None,
            until: None,
            revoked: None,
        }]);
    }
    let (bytes, artifact) = (read(&vector.file), read(&vector.artifact));
    let evidence = [Evidence { bytes: &bytes, manifest: None }];
    let decided = decide(&Question {
        artifact: Artifact { name: "hello", digest: Digest::of(&artifact) },
        evidence: &evidence,
        expected: Expected {
            trust: &trust,
            key: if summary.is_some() { None } else { key.as_ref() },
            identity: identity.as_ref(),
            root: root.as_ref(),
            source: None,
        },
        policy: None,
        summary: summary.as_ref(),
        now: if root.is_some() { LATER } else { NOW },
    });
    for reason in decided.as_ref().err().iter().flat_map(|refusal| refusal.reasons()) {
        assert!(reason.compared().is_some() && reason.help().is_some(), "{}", vector.name);
    }
    decided.is_ok()
}

#[test]
fn each_vector_is_answered_as_the_list_says() {
    let wrong: Vec<String> = vectors()
        .iter()
        .filter(|vector| accepts(vector) != vector.accepted)
        .map(|vector| vector.name.clone())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A file that nobody is asked about, or a row that stands on no page, would be a gap nobody sees.
#[test]
fn every_vector_is_on_the_list_and_on_the_page() {
    let listed: BTreeSet<String> = vectors().iter().map(|vector| vector.file.clone()).collect();
    let mut found = BTreeSet::new();
    for part in ["key", "summary", "keyless", "layout"] {
        for entry in std::fs::read_dir(folder().join(part)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                found.insert(format!("{part}/{name}/root.layout"));
            } else if !name.ends_with("root.json") && part != "layout" {
                found.insert(format!("{part}/{name}"));
            }
        }
    }
    assert_eq!(found, listed);
    let page = std::fs::read_to_string(folder().join("../../../docs/interop.md")).unwrap();
    for vector in vectors() {
        let row = page.lines().find(|row| row.starts_with(&format!("| {} |", vector.name)));
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/interop.md", vector.name));
        let told = row.split('|').nth(2).unwrap().trim().starts_with("accepts");
        assert_eq!(told, vector.accepted, "{row}");
    }
}
