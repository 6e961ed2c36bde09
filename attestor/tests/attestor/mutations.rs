//! Bundles with a certificate, bit by bit: nothing that differs from what was signed verifies.
//!
//! ```text
//! every byte      timestamp, checkpoint, root, proof, name of the log, signature: two bits of each
//! every 3rd byte  certificate, logged body, payload: one bit of each
//! every 2nd byte  the JSON as it lies in the file: one bit of each
//! ```
//!
//! There are no exceptions: a change that leaves the content what it was, as in the padding of base64 or
//! the white space of JSON, is not one that a single bit of these makes. None has what is passed over, as
//! signed notes have it: lines of a checkpoint by witnesses that the root does not list.

use attestor::sigstore::Root;
use attestor::trust::Trust;
use attestor::verify::{Artifact, Evidence, Expected, verify};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use serde_json::{Value, json};

use crate::certificates::{HELLO, ISSUER, NOW, ROOT, SUBJECT, by_hand};
use crate::vectors::read;

/// The log's first entry, a later one, and one whose timestamp holds its certificates.
const GOOD: [&str; 3] = ["hello", "later", "chain-in-timestamp"];

fn good(name: &str) -> Vec<u8> {
    read(&format!("keyless/{name}.sigstore.json"))
}

/// Returns which of these bundles verify.
fn believed(bundles: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<String> {
    let root = Root::parse(ROOT).unwrap();
    let (identity, trust) = (by_hand(SUBJECT, ISSUER), Trust::default());
    let expected = Expected {
        trust: &trust,
        key: None,
        identity: Some(&identity),
        root: Some(&root),
        source: None,
    };
    let artifact = Artifact { name: "hello", digest: Digest::from_hex(HELLO).unwrap() };
    let mut believed = Vec::new();
    for (what, bytes) in bundles {
        let evidence = Evidence { bytes: &bytes, manifest: None };
        if verify(&artifact, &evidence, &expected, NOW).is_ok() {
            believed.push(what);
        }
    }
    believed
}

/// Returns every text below a value, by its path.
fn texts(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.to_owned()),
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(at, one)| texts(one, &format!("{path}/{at}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, one)| texts(one, &format!("{path}/{name}"), found));
        }
        _ => (),
    }
}

/// Flips bits of one text of a bundle: of the bytes that it stands for, or of itself.
fn flipped(
    bundle: &Value,
    at: &str,
    decoded: bool,
    step: usize,
    bits: usize,
) -> Vec<(String, Vec<u8>)> {
    let text = bundle.pointer(at).unwrap().as_str().unwrap();
    let bytes = if decoded { BASE64_STANDARD.decode(text).unwrap() } else { text.into() };
    let mut all = Vec::new();
    for place in (0..bytes.len()).step_by(step) {
        for bit in (0..8).cycle().skip(place / step % 8).take(bits) {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1 << bit;
            let text = match decoded {
                true => BASE64_STANDARD.encode(bytes),
                // What is no text cannot stand in JSON.
                false => match String::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(_) => continue,
                },
            };
            let mut bundle = bundle.clone();
            *bundle.pointer_mut(at).unwrap() = json!(text);
            all.push((format!("{at} byte {place} bit {bit}"), bundle.to_string().into_bytes()));
        }
    }
    all
}

#[test]
fn no_bit_of_what_a_bundle_holds_can_be_changed() {
    for name in GOOD {
        let bundle: Value = serde_json::from_slice(&good(name)).unwrap();
        let as_it_is = (name.to_owned(), bundle.to_string().into_bytes());
        assert_eq!(believed(std::iter::once(as_it_is)), [name]);
        let mut paths = Vec::new();
        texts(&bundle, "", &mut paths);
        let mut count = 0;
        let mut wrong = Vec::new();
        for path in paths {
            let last = path.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap();
            let changed = match last {
                "envelope" | "mediaType" | "payloadType" | "kind" | "version" | "logIndex"
                | "treeSize" => flipped(&bundle, &path, false, 1, 2),
                "rawBytes" | "canonicalizedBody" | "payload" => flipped(&bundle, &path, true, 3, 1),
                "signedTimestamp" | "rootHash" | "hashes" | "keyId" | "sig" => {
                    flipped(&bundle, &path, true, 1, 2)
                }
                other => panic!("{other}: how is it to be changed?"),
            };
            count += changed.len();
            wrong.extend(believed(changed.into_iter()));
        }
        assert!(count > 2_000, "{name}: {count} changes");
        assert_eq!(wrong, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn no_byte_of_the_file_can_be_changed() {
    for name in GOOD {
        let bytes = good(name);
        let changed = (0..bytes.len()).step_by(2).map(|at| {
            let mut bytes = bytes.clone();
            let bit = at / 2 % 7;
            bytes[at] ^= 1 << bit;
            (format!("byte {at} bit {bit}"), bytes)
        });
        assert_eq!(believed(changed), Vec::<String>::new(), "{name}");
    }
}
