//! Bundles with a certificate of which one part is changed, and one that is whole: its timestamp holds
//! the certificate of who gave it, which nobody signs either.
//!
//! Made from what a private Sigstore signed (`tests/interop/keyless_vectors.sh`); nothing is signed here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::vectors::{Files, changed, line, read};

const ENTRIES: &str = "/verificationMaterial/tlogEntries";
const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";
const NOTE: &str = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";
const TIMES: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
const TIME: &str =
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";

/// Where the parts of the good timestamp stand.
mod at {
    /// The number in the state of the answer.
    pub const STATE: usize = 8;
    /// The version of what is signed.
    pub const VERSION: usize = 34;
    /// The last byte of the name of the digest algorithm.
    pub const DIGEST: usize = 49;
    /// The list of certificates, which is empty.
    pub const CERTIFICATES: usize = 238;
    /// The set of signers, of one.
    pub const SIGNERS: usize = 240;
    /// The last byte of the name of the signature algorithm.
    pub const ALGORITHM: usize = 595;
    /// The lengths of everything around both, of two bytes each.
    pub const LENGTHS: [usize; 4] = [2, 11, 26, 30];
}

fn put(bundle: &Value, at: &str, value: Value) -> Value {
    let mut bundle = bundle.clone();
    let (above, name) = at.rsplit_once('/').unwrap();
    let above = bundle.pointer_mut(above).unwrap_or_else(|| panic!("{at}"));
    match above.as_array_mut() {
        Some(list) => list[name.parse::<usize>().unwrap()] = value,
        None => above[name] = value,
    }
    bundle
}

fn twice(bundle: &Value, at: &str) -> Value {
    let one = bundle.pointer(at).unwrap()[0].clone();
    put(bundle, at, json!([one, one]))
}

fn bytes(bundle: &Value, at: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(bundle.pointer(at).unwrap().as_str().unwrap()).unwrap()
}

fn grow(token: &mut [u8], by: usize) {
    for at in at::LENGTHS {
        let length = u16::from_be_bytes([token[at], token[at + 1]]) + u16::try_from(by).unwrap();
        token[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

/// Puts certificates into a timestamp that has none.
fn holding(token: &[u8], certificates: &[u8]) -> Vec<u8> {
    let at = at::CERTIFICATES;
    assert_eq!(token[at..at + 2], [0xa0, 0], "no certificates yet");
    let mut grown = token.to_vec();
    let length = u16::try_from(certificates.len()).unwrap().to_be_bytes();
    let list = [&[0xa0, 0x82, length[0], length[1]], certificates].concat();
    grow(&mut grown, list.len() - 2);
    grown.splice(at..at + 2, list);
    grown
}

/// Puts a second signer into a timestamp, behind the first, with another signature.
fn signed_twice(token: &[u8]) -> Vec<u8> {
    let at = at::SIGNERS;
    assert_eq!(token[at..at + 2], [0x31, 0x82], "a set");
    let signer = token[at + 4..].to_vec();
    let mut grown = token.to_vec();
    grow(&mut grown, signer.len());
    let length = u16::try_from(2 * signer.len()).unwrap().to_be_bytes();
    grown[at + 2..at + 4].copy_from_slice(&length);
    grown.extend(signer);
    let last = grown.last_mut().unwrap();
    // The set is in order still.
    *last = last.checked_add(1).unwrap();
    grown
}

/// The certificates of who gives timestamps, the first of which signs.
fn clock() -> Vec<Vec<u8>> {
    let root: Value = serde_json::from_slice(&read("keyless/trusted_root.json")).unwrap();
    let chain = "/timestampAuthorities/0/certChain/certificates";
    let chain = root.pointer(chain).unwrap().as_array().unwrap();
    chain.iter().map(|one| bytes(one, "/rawBytes")).collect()
}

/// A bundle with a certificate, of which one part is missing, changed or belongs elsewhere.
pub fn certificates(files: &mut Files) {
    let (first, good) = (read("keyless/hello.sigstore.json"), read("keyless/later.sigstore.json"));
    let first: Value = serde_json::from_slice(&first).unwrap();
    let payload = changed(&good, "/dsseEnvelope/payload");
    let signature = changed(&good, "/dsseEnvelope/signatures/0/sig");
    let good: Value = serde_json::from_slice(&good).unwrap();
    for (name, bundle) in [
        ("flipped-signature", signature),
        ("flipped-payload", payload),
        ("no-log", put(&good, ENTRIES, json!([]))),
        ("no-timestamp", put(&good, TIMES, json!([]))),
        ("other-entry", put(&good, ENTRIES, first.pointer(ENTRIES).unwrap().clone())),
        ("entry-twice", twice(&good, ENTRIES)),
        ("timestamp-twice", twice(&good, TIMES)),
        ("key-id", put(&good, "/dsseEnvelope/signatures/0/keyid", json!("somebody"))),
        ("unknown-member", put(&good, "/verificationMaterial/tlogEntries/0/note", json!("x"))),
    ] {
        files.insert(format!("keyless/{name}.sigstore.json"), line(&bundle));
    }
    entries(files, &good);
    timestamps(files, &good);
}

/// What stands in a log's entry beside what the log signed.
fn entries(files: &mut Files, good: &Value) {
    let note = good.pointer(NOTE).unwrap().as_str().unwrap();
    let (entry, proof) =
        (|name: &str| format!("{ENTRIES}/0/{name}"), |n: &str| format!("{PROOF}/{n}"));
    let line_of =
        |name: &str| note.replace("\u{2014} log.kiln.example", &format!("\u{2014} {name}"));
    let second = note.rsplit_once("\n\n").unwrap().1;
    let witness = BASE64_STANDARD.encode([7; 76]);
    for (name, at, value) in [
        ("root-hash", proof("rootHash"), json!(BASE64_STANDARD.encode([0; 32]))),
        ("tree-size", proof("treeSize"), json!("3")),
        ("proof-index", proof("logIndex"), json!("0")),
        ("unsigned-time", entry("integratedTime"), json!("1795713678")),
        ("future-time", entry("integratedTime"), json!("9999999999")),
        ("entry-kind", entry("kindVersion"), json!({"kind": "dsse", "version": "0.0.1"})),
        (
            "promise",
            entry("inclusionPromise"),
            json!({"signedEntryTimestamp": BASE64_STANDARD.encode([1; 64])}),
        ),
        (
            "checkpoint-witness",
            NOTE.to_owned(),
            json!(format!("{note}\u{2014} w.example {witness}\n")),
        ),
        ("checkpoint-name", NOTE.to_owned(), json!(line_of("evil.example"))),
        ("checkpoint-tail", NOTE.to_owned(), json!(format!("{note}\nand more\n"))),
        ("checkpoint-line-twice", NOTE.to_owned(), json!(format!("{note}{second}"))),
    ] {
        files.insert(format!("keyless/{name}.sigstore.json"), line(&put(good, &at, value)));
    }
}

/// What stands in a timestamp beside what its authority signed.
fn timestamps(files: &mut Files, good: &Value) {
    let (token, chain) = (bytes(good, TIME), clock());
    let [leaf, above, ..] = chain.as_slice() else { panic!("{}", chain.len()) };
    let other = |at: usize, byte: u8| {
        let mut token = token.clone();
        assert_ne!(token[at], byte);
        token[at] = byte;
        token
    };
    let middle = |bytes: &[u8], flip: u8| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() / 2;
        bytes[at] ^= flip;
        bytes
    };
    let signer = bytes(good, "/verificationMaterial/certificate/rawBytes");
    for (name, token) in [
        ("certificate-in-timestamp", holding(&token, leaf)),
        ("chain-in-timestamp", holding(&token, &[leaf.as_slice(), above].concat())),
        ("timestamp-certificate-flipped", holding(&token, &middle(leaf, 1))),
        ("timestamp-certificate-foreign", holding(&token, &signer)),
        ("timestamp-certificate-further", holding(&token, &[leaf.as_slice(), &signer].concat())),
        ("timestamp-state", other(at::STATE, 1)),
        ("timestamp-version", other(at::VERSION, 1)),
        ("timestamp-digests", other(at::DIGEST, 2)),
        ("timestamp-algorithm", other(at::ALGORITHM, 3)),
        ("timestamp-signers", signed_twice(&token)),
    ] {
        let bundle = put(good, TIME, json!(BASE64_STANDARD.encode(token)));
        files.insert(format!("keyless/{name}.sigstore.json"), line(&bundle));
    }
}
