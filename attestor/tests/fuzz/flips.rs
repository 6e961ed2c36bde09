//! One bit of one byte, turned: of each kind of evidence, of the file, and of the receiver's own files.
//!
//! The rule: a changed byte of evidence or file is refused, or the verdict is the very same, to the last
//! letter of what is told. The second happens where the bytes differ and the meaning does not: white space
//! around JSON, a hint or key id, which nothing rests on, copies of numbers that a log's signed checkpoint
//! holds. A changed byte of what the receiver owns, trust, root or policy, may ask for more or less than he
//! wanted, for it is his to say; it makes no stranger's signature good, no other file, no revoked key, and
//! no statement that breaks two rules.
//!
//! Large files are sampled; the sample is printed and a seed fixes it.

use attestor::policy::Policy;
use attestor::sigstore::Root;
use attestor::trust::Trust;
use model::Digest;
use serde_json::{Value, json};

use crate::mutate::{Chance, flip};
use crate::stage::{Asked, CERTIFIED, ROOT, Stage, small};
use crate::support::ARTIFACT;
use attestor::dsse::PAYLOAD_TYPE;

const SEED: u64 = 4;
/// Most bytes of one file that are turned.
const SAMPLE_MAX: usize = 1_500;

/// Returns the places of a file that are turned: all, or a sample.
fn places(name: &str, length: usize, chance: &mut Chance) -> Vec<usize> {
    let mut all: Vec<usize> = (0..length).collect();
    if length > SAMPLE_MAX {
        all = (0..SAMPLE_MAX).map(|_| chance.below(length)).collect();
        all.sort_unstable();
        all.dedup();
    }
    println!("{name}: {} of {length} bytes, seed {SEED}: {all:?}", all.len());
    all
}

/// Calls `each` with the file, one bit of a byte turned, for each place.
fn turned(name: &str, bytes: &[u8], each: &mut dyn FnMut(usize, &[u8])) {
    let mut chance = Chance::new(SEED);
    for at in places(name, bytes.len(), &mut chance) {
        let mut changed = bytes.to_vec();
        flip(&mut chance, &mut changed, at);
        each(at, &changed);
    }
}

/// Evidence: each kind, with the question that accepts it as it is.
#[test]
fn no_changed_byte_turns_a_refusal_into_an_acceptance() {
    let stage = Stage::new();
    let by_key = |bytes: &[u8]| stage.verdict(&stage.by_key(bytes));
    let by_policy =
        |bytes: &[u8]| stage.verdict(&Asked { policy: Some(&stage.policy), ..stage.by_key(bytes) });
    let summary = |bytes: &[u8]| stage.verdict(&Asked { summary: true, ..stage.by_key(bytes) });
    let certified =
        |bytes: &[u8]| stage.verdict(&Asked { root: Some(&stage.root), ..stage.by_key(bytes) });
    let two = [stage.line(), stage.line()].concat();
    type Ask<'a> = &'a dyn Fn(&[u8]) -> crate::stage::Verdict;
    let rows: [(&str, Vec<u8>, Ask<'_>); 6] = [
        ("bundle by key", stage.bundle(), &by_key),
        ("bundle by key, with a policy", stage.bundle(), &by_policy),
        ("line", stage.line(), &by_key),
        ("two lines", two, &by_key),
        ("summary", stage.summary(), &summary),
        ("bundle by certificate", CERTIFIED.to_vec(), &certified),
    ];
    for (name, good, ask) in rows {
        let verdict = ask(&good);
        assert!(verdict.is_ok(), "{name}: {verdict:?}");
        let mut same = 0;
        turned(name, &good, &mut |at, changed| {
            let now = ask(changed);
            assert!(now.is_err() || now == verdict, "{name}, byte {at}: {now:?}");
            same += usize::from(now.is_ok());
        });
        println!("{name}: {same} changes had no meaning");
        // Were all accepted, or none even of those without a meaning, this test would see nothing.
        assert!(same * 4 < good.len(), "{name}: {same} of {} had no meaning", good.len());
    }
}

/// The rule's other half: what differs in bytes alone has the same verdict, and is not refused.
#[test]
fn a_change_without_a_meaning_has_the_same_verdict() {
    let stage = Stage::new();
    let good = String::from_utf8(stage.bundle()).unwrap();
    let verdict = stage.verdict(&stage.by_key(good.as_bytes()));
    let pretty = format!("{:#}", serde_json::from_str::<Value>(&good).unwrap());
    let hint = good.find("\"hint\":\"").unwrap() + 8;
    let other_hint = format!("{}x{}", &good[..hint], &good[hint..]);
    let slashes = good.replace("/", "\\/");
    let escaped = good.replacen("payload", "pay\\u006coad", 1);
    let url = {
        let mut bundle: Value = serde_json::from_str(&good).unwrap();
        for at in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
            let text = bundle.pointer(at).unwrap().as_str().unwrap();
            let text = text.replace('+', "-").replace('/', "_");
            *bundle.pointer_mut(at).unwrap() = json!(text);
        }
        bundle.to_string()
    };
    for (what, changed) in [
        ("white space", pretty),
        ("white space around", format!("\n {good}\t\r\n")),
        ("another hint", other_hint),
        ("slashes escaped", slashes),
        ("a name's letter escaped", escaped),
        ("base64 for addresses", url),
    ] {
        assert_ne!(changed, good, "{what}");
        assert_eq!(stage.verdict(&stage.by_key(changed.as_bytes())), verdict, "{what}");
    }
    // Inside base64 nothing may be added, nor inside the payload.
    for (what, changed) in [
        ("a space in base64", good.replacen("\"payload\":\"", "\"payload\":\" ", 1)),
        ("a line feed in base64", good.replacen("\"payload\":\"", "\"payload\":\"\\n", 1)),
        ("padding", good.replacen("\"sig\":\"", "\"sig\":\"=", 1)),
    ] {
        assert_ne!(changed, good, "{what}");
        assert!(stage.verdict(&stage.by_key(changed.as_bytes())).is_err(), "{what}");
    }
}

#[test]
fn no_changed_byte_of_the_file_is_believed() {
    let stage = Stage::new();
    let bundle = stage.bundle();
    let file = Asked { digest: Some(Digest::of(ARTIFACT)), ..stage.by_key(&bundle) };
    assert!(stage.verdict(&file).is_ok());
    turned("file", ARTIFACT, &mut |at, changed| {
        let digest = Some(Digest::of(changed));
        let told = stage.verdict(&Asked { digest, ..stage.by_key(&bundle) });
        assert!(told.is_err_and(|codes| codes.starts_with("NoStatement")), "byte {at}");
    });
    let changed = [ARTIFACT, b"\n"].concat();
    for other in [&ARTIFACT[1..], &changed, b""] {
        let digest = Some(Digest::of(other));
        assert!(stage.verdict(&Asked { digest, ..stage.by_key(&bundle) }).is_err());
    }
}

/// The receiver's own files: what is refused under them stays refused.
#[test]
fn no_changed_byte_of_the_receivers_files_makes_a_forgery_good() {
    let stage = Stage::new();
    let payload = small().to_string();
    let strangers = stage.stranger.bundle(PAYLOAD_TYPE, payload.as_bytes()).to_string();
    // Its key is in the trust file, revoked.
    let revoked = stage.judge.bundle(PAYLOAD_TYPE, payload.as_bytes()).to_string();
    let good = stage.bundle();
    let refused = |asked: &Asked<'_>| stage.verdict(asked).is_err();

    let file = stage.trust_file();
    let sound = Trust::parse(file.as_bytes()).unwrap();
    assert!(!refused(&Asked { trust: &sound, ..stage.by_key(&good) }), "the control");
    turned("trust.toml", file.as_bytes(), &mut |at, changed| {
        let Ok(trust) = Trust::parse(changed) else { return };
        for (what, evidence) in [("stranger", &strangers), ("revoked key", &revoked)] {
            let asked = Asked { trust: &trust, ..stage.by_key(evidence.as_bytes()) };
            assert!(refused(&asked), "{what}, byte {at}");
        }
        let other = Some(Digest::of(b"other"));
        assert!(refused(&Asked { trust: &trust, digest: other, ..stage.by_key(&good) }), "{at}");
    });

    turned("trusted_root.json", ROOT, &mut |at, changed| {
        let Ok(root) = Root::parse(changed) else { return };
        let other = Some(Digest::of(b"other"));
        let asked = Asked { root: Some(&root), digest: other, ..stage.by_key(CERTIFIED) };
        assert!(refused(&asked), "another file, byte {at}");
        // Another signature in the certificate's bundle, and another certificate's key.
        let mut forged: Value = serde_json::from_slice(CERTIFIED).unwrap();
        forged["dsseEnvelope"]["signatures"][0]["sig"] = json!("MEUCIQ==");
        let forged = forged.to_string();
        assert!(refused(&Asked { root: Some(&root), ..stage.by_key(forged.as_bytes()) }), "{at}");
    });

    let rules = "policy: 1\nlevel: 3\nbackend: docker\nsource:\n  uri: https://a.example/x\n";
    let by = |text: &[u8], evidence: &[u8]| {
        let Ok(policy) = Policy::parse(text) else { return true };
        refused(&Asked { policy: Some(&policy), ..stage.by_key(evidence) })
    };
    assert!(!by(b"policy: 1\nlevel: 1\n", &good), "the control");
    turned("policy.yaml", rules.as_bytes(), &mut |at, changed| {
        assert!(by(changed, &good), "three rules broken, byte {at}");
        assert!(by(changed, strangers.as_bytes()), "stranger, byte {at}");
    });
}
