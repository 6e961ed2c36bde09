//! Entries of both versions whose log is ours to sign with, one thing of each changed.

use ed25519_dalek::Signer as _;
use sigstore_types::bundle::{CheckpointData, InclusionPromise, InclusionProof, LogId};
use sigstore_types::{CanonicalizedBody, LogIndex, LogKeyId, Sha256Hash, SignedTimestamp};

use super::*;

const NAME: &str = "log.example";

struct Ours {
    key: ed25519_dalek::SigningKey,
    der: DerPublicKey,
    id: Vec<u8>,
}

impl Ours {
    /// A log whose key is known by name and key, or as version 1 has it by the key alone.
    fn new(seed: u8, named: bool) -> Ours {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let raw = key.verifying_key().to_bytes();
        let der = [&ED25519[..], &raw].concat();
        let id = match named {
            true => Digest::of(&[NAME.as_bytes(), b"\n\x01", &raw].concat()),
            false => Digest::of(&der),
        };
        Ours { key, id: id.as_bytes().to_vec(), der: DerPublicKey::new(der) }
    }

    fn log(&self) -> Log {
        Log::new(&self.id, &self.der).unwrap()
    }

    fn line(&self, name: &str, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let bytes = [&self.id[..HINT], &signature].concat();
        format!("\u{2014} {name} {}\n", BASE64_STANDARD.encode(bytes))
    }

    /// The third entry of five, below a checkpoint of this origin with these lines.
    fn entry(
        &self,
        kind: KindVersion,
        origin: &str,
        lines: &[(&Ours, &str)],
    ) -> TransparencyLogEntry {
        let text = format!("{origin}\n5\n{}\n", BASE64_STANDARD.encode([3; 32]));
        let lines: String = lines.iter().map(|(log, name)| log.line(name, &text)).collect();
        let body = format!(r#"{{"kind":"{}","apiVersion":"{}"}}"#, kind.kind(), kind.version());
        let index = LogIndex::new(2).unwrap();
        let note = CheckpointData::new(format!("{text}\n{lines}")).unwrap();
        TransparencyLogEntry::new(
            index,
            LogId::new(LogKeyId::new(self.id.clone())),
            kind,
            CanonicalizedBody::new(body.into_bytes()),
        )
        .with_inclusion_proof(InclusionProof::new(
            index,
            Sha256Hash::new([3; 32]),
            5,
            Vec::new(),
            note,
        ))
    }
}

fn promise() -> InclusionPromise {
    InclusionPromise::new(SignedTimestamp::new(vec![1]))
}

fn time() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_700_000_000).unwrap()
}

const FIRST: KindVersion = KindVersion::DsseV001;
const SECOND: KindVersion = KindVersion::HashedRekordV002;

#[test]
fn a_time_and_an_index_count_with_a_promise_alone() {
    let ours = Ours::new(1, false);
    let logs = [ours.log()];
    let good = ours.entry(FIRST, "log.example - 12", &[(&ours, NAME)]);
    let ask = |entry: &TransparencyLogEntry| check(std::slice::from_ref(entry), &logs);
    assert_eq!(ask(&good), Ok(()));
    assert_eq!(
        ask(&good.clone().with_inclusion_promise(promise()).with_integrated_time(time())),
        Ok(())
    );
    assert!(ask(&good.clone().with_integrated_time(time())).is_err(), "a time");
    let mut moved = good.clone();
    moved.log_index = LogIndex::new(900).unwrap();
    assert!(ask(&moved).is_err(), "an index");
    assert_eq!(ask(&moved.with_inclusion_promise(promise())), Ok(()), "a log in shards");
    let mut bare = good.clone();
    bare.inclusion_proof = None;
    assert!(ask(&bare).is_err(), "neither proof nor promise");
    let second = ours.entry(SECOND, NAME, &[(&ours, NAME)]);
    assert_eq!(ask(&second), Ok(()));
    assert!(ask(&second.with_inclusion_promise(promise())).is_err(), "a promise in version 2");
    let mut other = good.clone();
    other.kind_version = KindVersion::IntotoV002;
    assert!(ask(&other).is_err(), "of another kind");
    let mut outside = good.clone();
    outside.inclusion_proof.as_mut().unwrap().log_index = LogIndex::new(5).unwrap();
    assert!(ask(&outside.with_inclusion_promise(promise())).is_err(), "an index outside");
    assert!(check(&[good.clone(), good], &logs).is_err(), "twice");
}

#[test]
fn a_checkpoint_is_signed_in_the_name_of_its_log() {
    let (first, second, stranger) = (Ours::new(1, false), Ours::new(2, true), Ours::new(3, true));
    let logs = [first.log(), second.log()];
    let ask = |log: &Ours, kind, origin, lines: &[(&Ours, &str)]| {
        check(&[log.entry(kind, origin, lines)], &logs).is_ok()
    };
    assert!(ask(&second, SECOND, NAME, &[(&second, NAME)]));
    assert!(ask(&second, SECOND, NAME, &[(&stranger, "w.example"), (&second, NAME)]));
    for (what, log, kind, origin, lines) in [
        ("another name in the line", &second, SECOND, NAME, vec![(&second, "evil.example")]),
        ("a key of another name", &second, SECOND, "evil.example", vec![(&second, "evil.example")]),
        ("a tree's number in version 2", &second, SECOND, "log.example - 1", vec![(&second, NAME)]),
        ("no number of a tree", &first, FIRST, "log.example - x", vec![(&first, NAME)]),
        ("another log than is named", &first, FIRST, NAME, vec![(&second, NAME)]),
        ("two lines of it", &second, SECOND, NAME, vec![(&second, NAME), (&second, NAME)]),
        ("a stranger's alone", &second, SECOND, NAME, vec![(&stranger, NAME)]),
    ] {
        assert!(!ask(log, kind, origin, &lines), "{what}");
    }
    // A line of a log that is listed and did not sign this, beside one that holds.
    let mut entry = second.entry(SECOND, NAME, &[(&second, NAME)]);
    let proof = entry.inclusion_proof.as_mut().unwrap();
    let note = format!("{}{}", proof.checkpoint.envelope(), first.line(NAME, "another text"));
    proof.checkpoint = CheckpointData::new(note).unwrap();
    assert!(check(&[entry], &logs).is_err());
}
