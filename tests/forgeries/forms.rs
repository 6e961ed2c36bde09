//! The bytes of the evidence: formats, nothing at all, sizes, damage, duplicate members, kinds of keys.

use serde_json::{Value, json};

use super::Must::{NotBegin, Refuse, Same, Test};
use super::authority::base64;
use super::scene::{Form, OTHER_BUILDER, PAYLOAD_TYPE, Scene, Signer, pae};
use super::{AS_IT_IS, Forgery, Must, after, row};

/// What verifiers allow of one file: bytes of a bundle, lines, subjects, log entries.
const BUNDLE_BYTES_MAX: usize = 32 << 20;
const LINES_MAX: usize = 32;
const SUBJECTS_MAX: usize = 1024;
/// Memory for the rows about size, in KiB: several times the largest bundle, and no more.
const MEMORY_KIB: u64 = 1 << 20;

/// Failures that every form has to refuse in the same words.
type Failure = (&'static str, fn(&mut Scene<'_>), Must);
const FAILURES: [Failure; 8] = [
    ("a stranger's signature", |s| s.signer = Signer::Stranger, Refuse("KILN-0802")),
    ("a payload of another type", |s| s.payload_type = "text/plain".into(), Refuse("KILN-0808")),
    (
        "another predicate",
        |s| s.statement["predicateType"] = json!("https://a.example/x"),
        Refuse("KILN-0808"),
    ),
    (
        "a predicate that is no provenance",
        |s| s.statement["predicate"] = json!("x"),
        Refuse("KILN-0806"),
    ),
    ("another file's digest", |s| s.artifact.push(b'x'), Refuse("KILN-0801")),
    (
        "a builder that nobody knows",
        |s| s.statement["predicate"]["runDetails"]["builder"]["id"] = json!("https://a.example/x"),
        Refuse("KILN-0802"),
    ),
    ("an unknown parameter", |s| s.parameter("debug", "1"), Refuse("KILN-0811")),
    (
        "the network on",
        |s| s.statement["predicate"]["runDetails"]["kiln_enforced"] = json!([]),
        Refuse("KILN-0810"),
    ),
];

/// Requirements that hold for a key and for a certificate alike.
const ASKED: [Failure; 4] = [
    (
        "another source",
        |s| s.with(&["--source", "https://git.example.org/other"]),
        Refuse("KILN-0809"),
    ),
    ("a higher level", |s| s.with(&["--level", "3"]), Refuse("KILN-0804")),
    (
        "a rule of the policy",
        |s| {
            s.file("policy.yaml", "policy: 1\nbackend: docker\n");
            s.with(&["--policy", "policy.yaml"]);
        },
        Refuse("KILN-0804"),
    ),
    (
        "an attestation that the policy wants beside it",
        |s| {
            s.file("policy.yaml", "policy: 1\nrequire: [{type: \"https://a.example/x\"}]\n");
            s.with(&["--policy", "policy.yaml"]);
        },
        Refuse("KILN-0804"),
    ),
];

/// A4 and A10: each failure in each form.
pub fn every_form() -> Vec<Forgery> {
    let mut rows = Vec::new();
    for form in Form::ALL {
        for (what, forge, must) in FAILURES {
            // An identity that is named by hand speaks for any builder, at level 1.
            let by_hand = form == Form::Certificate && what.contains("builder");
            // With a certificate there is no stranger's key: those are rows of their own (A11, A12).
            let no_key = form == Form::Certificate && what.contains("stranger");
            // Of two lines the refusal of the one that came furthest is told: there the other file's.
            let furthest = form == Form::Lines && !what.contains("stranger");
            // The crates read a certificate's bundle, and refuse its type while they do.
            let read = form == Form::Certificate && what.contains("another type");
            let must = match (furthest, read) {
                (true, _) => Refuse("KILN-0801"),
                (_, true) => Refuse("KILN-0806"),
                (false, false) => must,
            };
            if !by_hand && !no_key {
                rows.push(Forgery { class: "A4", what, form, set: AS_IT_IS, forge, must });
            }
        }
    }
    for form in [Form::Bundle, Form::Certificate] {
        for (what, forge, must) in ASKED {
            rows.push(Forgery { class: "A10", what, form, set: AS_IT_IS, forge, must });
        }
    }
    rows
}

fn evidence(scene: &mut Scene<'_>, bytes: impl Into<Vec<u8>>) {
    scene.evidence = Some(bytes.into());
}

fn lines(scene: &mut Scene<'_>, count: usize) {
    scene.come_as(Form::Line);
    let line = format!("{}\n", scene.envelope());
    evidence(scene, line.repeat(count));
}

fn subjects(scene: &mut Scene<'_>, count: usize) {
    let right = scene.site.statement["subject"][0].clone();
    let other =
        |at| json!({"name": format!("f{at}"), "digest": {"sha256": model::Digest::of(b"x").hex()}});
    scene.statement["subject"] =
        Value::Array((1..count).map(other).chain([right]).collect::<Vec<_>>());
}

fn nested(scene: &mut Scene<'_>, depth: usize) {
    let mut value = json!("x");
    for _ in 0..depth {
        value = json!([value]);
    }
    scene.statement["predicate"]["runDetails"]["kiln_deep"] = value;
}

/// Spaces up to this many bytes in all.
fn padded(scene: &mut Scene<'_>, bytes: usize) {
    let mut text = scene.bundle().to_string().into_bytes();
    text.resize(bytes, b' ');
    evidence(scene, text);
}

fn number(scene: &mut Scene<'_>, text: &str) {
    scene.payload_text("\"runDetails\":{", &format!("\"runDetails\":{{\"kiln_number\":{text},"));
}

pub const ROWS: [Forgery; 58] = [
    // A13: nothing is no pass.
    row("A13", "no evidence at all", |s| s.name = "", Refuse("KILN-0801")),
    row("A13", "an empty evidence file", |s| evidence(s, ""), Refuse("KILN-0805")),
    row("A13", "white space for evidence", |s| evidence(s, " \n\t\n"), Refuse("KILN-0805")),
    row(
        "A13",
        "an empty line file",
        |s| {
            s.name = "out.intoto.jsonl";
            evidence(s, "\n\n");
        },
        Refuse("KILN-0805"),
    ),
    row("A13", "an empty object", |s| evidence(s, "{}"), Refuse("KILN-0806")),
    row("A13", "an empty list", |s| evidence(s, "[]"), Refuse("KILN-0806")),
    row("A13", "null", |s| evidence(s, "null"), Refuse("KILN-0806")),
    row(
        "A13",
        "no file to decide about",
        |s| s.args = vec!["verify".into()],
        NotBegin("KILN-0103"),
    ),
    row(
        "A13",
        "evidence that is named and absent",
        |s| s.with(&["--bundle", "absent.json"]),
        Refuse("KILN-0801"),
    ),
    row(
        "A13",
        "a folder in the evidence's place",
        |s| {
            s.name = "";
            s.file("out.sigstore.json/x", "x");
        },
        Refuse("KILN-0806"),
    ),
    row("A13", "a receiver who trusts nobody", |s| s.trust.clear(), Refuse("KILN-0802")),
    row(
        "A13",
        "a trust file that is not understood",
        |s| s.trust.push_str("[[trust]]\nwhat = 1\n"),
        NotBegin("KILN-0105"),
    ),
    row(
        "A13",
        "one file verified, one without evidence",
        |s| {
            s.file("other", "x");
            s.with(&["other"]);
        },
        Refuse("KILN-0801"),
    ),
    row(
        "A13",
        "an image layout without images",
        |s| {
            s.file("oci/oci-layout", "{\"imageLayoutVersion\": \"1.0.0\"}");
            s.file("oci/index.json", "{\"schemaVersion\": 2, \"manifests\": []}");
            s.args = ["verify", "oci"].map(str::to_owned).to_vec();
        },
        Refuse("KILN-0806"),
    ),
    after(
        "A13",
        "a table of no cases",
        |s| {
            s.file("policy.yaml", "policy: 1\n");
            let bundle = s.bundle().to_string();
            s.file("t/out.sigstore.json", bundle);
            s.file("t/out", s.artifact.clone());
            s.file("t/policy.yaml", "policy: 1\n");
            let trust = s.trust.clone();
            s.file("t/trust.toml", trust);
            s.file("t/cases.yaml", "policy: policy.yaml\ntrust: trust.toml\ncases:\n  - {name: it, file: out, bundle: out.sigstore.json, expect: accept}\n");
            s.args = ["policy", "test", "t"].map(str::to_owned).to_vec();
        },
        |s| s.file("t/cases.yaml", "policy: policy.yaml\ntrust: trust.toml\ncases: []\n"),
        NotBegin("KILN-0820"),
    ),
    // A22: sizes. One at the limit, one beyond, in bounded memory.
    after(
        "A22",
        "a bundle of more than 32 MiB",
        |s| {
            s.memory_kib = Some(MEMORY_KIB);
            padded(s, BUNDLE_BYTES_MAX);
        },
        |s| padded(s, BUNDLE_BYTES_MAX + 1),
        Refuse("KILN-0806"),
    ),
    after(
        "A22",
        "33 lines",
        |s| lines(s, LINES_MAX),
        |s| lines(s, LINES_MAX + 1),
        Refuse("KILN-0806"),
    ),
    after(
        "A22",
        "1,025 subjects",
        |s| subjects(s, SUBJECTS_MAX),
        |s| subjects(s, SUBJECTS_MAX + 1),
        Refuse("KILN-0806"),
    ),
    // The statement, its predicate and runDetails are three of 64 levels.
    after(
        "A22",
        "a payload of 65 levels",
        |s| nested(s, 61),
        |s| nested(s, 62),
        Refuse("KILN-0806"),
    ),
    after(
        "A22",
        "brackets without an end",
        |s| s.memory_kib = Some(MEMORY_KIB),
        |s| evidence(s, "[".repeat(1_000_000)),
        Refuse("KILN-0806"),
    ),
    after(
        "A22",
        "a million signatures",
        |s| s.memory_kib = Some(MEMORY_KIB),
        |s| {
            let many = format!("[{}{{}}]", "{},".repeat(1_000_000));
            s.rewrite("\"signatures\":[{", &format!("\"signatures\":{many},\"x\":[{{"));
        },
        Refuse("KILN-0806"),
    ),
    after(
        "A22",
        "a million members",
        |s| s.memory_kib = Some(MEMORY_KIB),
        |s| {
            let many: String = (0..1_000_000).map(|at| format!("\"{at}\":0,")).collect();
            evidence(s, format!("{{{many}\"x\":0}}"));
        },
        Refuse("KILN-0806"),
    ),
    Forgery {
        class: "A22",
        what: "33 log entries",
        form: Form::Certificate,
        set: AS_IT_IS,
        forge: |s| {
            s.after(|b| {
                let entries = &mut b["verificationMaterial"]["tlogEntries"];
                let one = entries[0].clone();
                *entries = Value::Array(vec![one; 33]);
            })
        },
        must: Refuse("KILN-0806"),
    },
    Forgery {
        class: "A22",
        what: "33 timestamps",
        form: Form::Certificate,
        set: AS_IT_IS,
        forge: |s| {
            s.after(|b| { let stamps = &mut b["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]; let one = stamps[0].clone(); *stamps = Value::Array(vec![one; 33]); })
        },
        must: Refuse("KILN-0806"),
    },
    // A23: damage.
    row(
        "A23",
        "half a bundle",
        |s| {
            let all = s.bundle().to_string().into_bytes();
            evidence(s, &all[..all.len() / 2]);
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A23",
        "a bundle in UTF-16",
        |s| {
            let all = s.bundle().to_string();
            evidence(s, all.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        },
        Refuse("KILN-0806"),
    ),
    row("A23", "zeros", |s| evidence(s, vec![0; 4096]), Refuse("KILN-0806")),
    row("A23", "bytes that are no text", |s| evidence(s, vec![0xff; 4096]), Refuse("KILN-0806")),
    row(
        "A23",
        "a payload that is no text",
        |s| s.payload = Some(vec![0xff; 64]),
        Refuse("KILN-0806"),
    ),
    row("A23", "a payload of one brace", |s| s.payload = Some(b"{".to_vec()), Refuse("KILN-0806")),
    row(
        "A23",
        "every field of the wrong type",
        |s| s.statement = json!({"_type": 1, "subject": {}, "predicateType": [], "predicate": 0}),
        Refuse("KILN-0806"),
    ),
    Forgery {
        class: "A23",
        what: "a certificate of a few bytes",
        form: Form::Certificate,
        set: AS_IT_IS,
        forge: |s| {
            s.after(|b| b["verificationMaterial"]["certificate"]["rawBytes"] = json!("MAA="))
        },
        must: Refuse("KILN-0802"),
    },
    Forgery {
        class: "A23",
        what: "a timestamp of a few bytes",
        form: Form::Certificate,
        set: AS_IT_IS,
        forge: |s| {
            s.after(|b| b["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] = json!("MAA="))
        },
        must: Refuse("KILN-0802"),
    },
    row(
        "A23",
        "every byte in turn, of everything that is read",
        AS_IT_IS,
        Test("no_changed_byte_turns_a_refusal_into_an_acceptance"),
    ),
    // A24: one member twice at each level, and numbers.
    row(
        "A24",
        "mediaType twice",
        |s| s.rewrite("\"mediaType\":", "\"mediaType\":\"x\",\"mediaType\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "a signature's member twice",
        |s| s.rewrite("\"sig\":", "\"sig\":\"AA==\",\"sig\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "the hint twice",
        |s| s.rewrite("\"hint\":", "\"hint\":\"x\",\"hint\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "predicate twice",
        |s| s.payload_text("\"predicate\":", "\"predicate\":{},\"predicate\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "sha256 twice in a subject",
        |s| s.payload_text("\"sha256\":", "\"sha256\":\"00\",\"sha256\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "builder twice",
        |s| s.payload_text("\"builder\":", "\"builder\":{\"id\":\"x\"},\"builder\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "a parameter twice",
        |s| s.payload_text("\"target\":", "\"target\":\"x\",\"target\":"),
        Refuse("KILN-0806"),
    ),
    row("A24", "a number beyond 2^53", |s| number(s, "9007199254740993"), Refuse("KILN-0806")),
    row("A24", "a number beyond 2^64", |s| number(s, "18446744073709551616"), Refuse("KILN-0806")),
    row("A24", "a number with a fraction", |s| number(s, "1.5"), Refuse("KILN-0806")),
    row("A24", "a number beyond all", |s| number(s, "1e999"), Refuse("KILN-0806")),
    row(
        "A24",
        "half a surrogate pair",
        |s| s.payload_text("\"runDetails\":{", "\"runDetails\":{\"kiln_x\":\"\\ud800\","),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "a byte order mark before the payload",
        |s| s.payload = Some([b"\xef\xbb\xbf", s.statement.to_string().as_bytes()].concat()),
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "a byte order mark before the bundle",
        |s| {
            let all = s.bundle().to_string();
            evidence(s, format!("\u{feff}{all}"));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "a NUL after the bundle",
        |s| {
            let all = s.bundle().to_string();
            evidence(s, format!("{all}\0"));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "a second document after the bundle",
        |s| {
            let all = s.bundle().to_string();
            evidence(s, all.repeat(2));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A24",
        "white space around everything that is not signed",
        |s| {
            let all = s.bundle();
            evidence(s, format!(" {all:#} \n"));
        },
        Same,
    ),
    // A25: the key fixes the algorithm.
    row(
        "A25",
        "an Ed25519 key, with P-256's hint",
        |s| {
            s.signer = Signer::Edwards;
            s.trust = s.site.trust(
                Signer::Builder,
                "builder-id = \"https://kiln.build/builders/local/v1\"",
                1,
            );
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A25",
        "an Ed25519 signature in the place of P-256's",
        |s| {
            let signed = pae(PAYLOAD_TYPE, s.statement.to_string().as_bytes());
            let sig = json!(base64(&s.site.sign(Signer::Stranger, &signed)[..64]));
            s.after(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = sig);
        },
        Refuse("KILN-0807"),
    ),
    after(
        "A25",
        "an ECDSA signature in the place of Ed25519's",
        |s| s.signer = Signer::Edwards,
        |s| {
            let signed = pae(PAYLOAD_TYPE, s.statement.to_string().as_bytes());
            let sig = json!(base64(&s.site.sign(Signer::Builder, &signed)));
            s.trust = s.site.trust(
                Signer::Edwards,
                "builder-id = \"https://kiln.build/builders/local/v1\"",
                1,
            );
            s.after(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = sig);
        },
        Refuse("KILN-0807"),
    ),
    after(
        "A25",
        "an RSA key for --key",
        by_key,
        |s| {
            let key = s.site.strange_key(&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
            s.file("builder.pem", key);
        },
        NotBegin("KILN-0703"),
    ),
    after(
        "A25",
        "a P-384 key for --key",
        by_key,
        |s| {
            let key = s.site.strange_key(&["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
            s.file("builder.pem", key);
        },
        NotBegin("KILN-0703"),
    ),
    after(
        "A25",
        "two keys in the file of one",
        by_key,
        |s| {
            let two = s.site.public(Signer::Stranger) + &s.site.public(Signer::Builder);
            s.file("builder.pem", two);
        },
        NotBegin("KILN-0703"),
    ),
    after(
        "A25",
        "a key that says it is the other algorithm's",
        by_key,
        |s| {
            let key = s.site.public(Signer::Edwards);
            s.file("builder.pem", key);
        },
        Refuse("KILN-0802"),
    ),
];

fn by_key(scene: &mut Scene<'_>) {
    let key = scene.site.public(Signer::Builder);
    scene.file("builder.pem", key);
    scene.with(&["--key", "builder.pem"]);
    // Not by the trust file, which knows the same key.
    scene.trust = scene.site.trust(Signer::Second, &format!("builder-id = \"{OTHER_BUILDER}\""), 1);
}
