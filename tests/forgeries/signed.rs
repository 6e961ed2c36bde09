//! A trusted key signed it, and yet: types, subjects, names, parameters, kinds. And signatures that are
//! none.

use serde_json::{Value, json};

use super::Must::{Refuse, Same, Say};
use super::authority::base64;
use super::scene::{OTHER_BUILDER, PAYLOAD_TYPE, Scene, Signer, pae};
use super::{AS_IT_IS, Forgery, Must, row};

fn subject(scene: &mut Scene<'_>, subject: Value) {
    scene.statement["subject"] = subject;
}

fn digest(scene: &Scene<'_>) -> String {
    model::Digest::of(&scene.artifact).hex()
}

fn build<'a>(scene: &'a mut Scene<'_>) -> &'a mut Value {
    &mut scene.statement["predicate"]["buildDefinition"]
}

/// Puts other bytes in the signature's place. The hint stays that of the trusted key.
fn signature(scene: &mut Scene<'_>, bytes: &[u8]) {
    let sig = json!(base64(bytes));
    scene.after(|bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = sig);
}

fn right_signature(scene: &Scene<'_>, signer: Signer) -> Vec<u8> {
    let payload = scene.statement.to_string();
    scene.site.sign(signer, &pae(PAYLOAD_TYPE, payload.as_bytes()))
}

/// Turns DER into the 64 bytes of r and s.
fn raw(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = &rest[2 + length..];
    }
    out
}

pub const ROWS: [Forgery; 66] = [
    row(
        "A1",
        "payload type application/json",
        |s| s.payload_type = "application/json".into(),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "payload type text/plain",
        |s| s.payload_type = "text/plain".into(),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "payload type in capitals",
        |s| s.payload_type = PAYLOAD_TYPE.to_uppercase(),
        Refuse("KILN-0808"),
    ),
    row("A1", "payload type with a parameter", |s| s.payload_type += ";v=1", Refuse("KILN-0808")),
    row(
        "A1",
        "payload type of in-toto links",
        |s| s.payload_type = "application/vnd.in-toto.link+json".into(),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "another payload type, put there after signing",
        |s| s.after(|b| b["dsseEnvelope"]["payloadType"] = json!("text/plain")),
        Refuse("KILN-0807"),
    ),
    row(
        "A1",
        "statement of type v0.1",
        |s| s.statement["_type"] = json!("https://in-toto.io/Statement/v0.1"),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "statement of an unknown type",
        |s| s.statement["_type"] = json!("https://in-toto.io/Statement/v2"),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "provenance v0.2",
        |s| s.statement["predicateType"] = json!("https://slsa.dev/provenance/v0.2"),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "provenance v1.0, as some write it",
        |s| s.statement["predicateType"] = json!("https://slsa.dev/provenance/v1.0"),
        Refuse("KILN-0808"),
    ),
    row(
        "A1",
        "unknown build type",
        |s| build(s)["buildType"] = json!("https://a.example/x"),
        Refuse("KILN-0808"),
    ),
    row(
        "A2",
        "a second payload, first in the envelope",
        |s| s.rewrite("\"payload\":", "\"payload\":\"e30=\",\"payload\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A2",
        "a second payload under an escaped name",
        |s| s.rewrite("\"payload\":", "\"p\\u0061yload\":\"e30=\",\"payload\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A2",
        "a second subject, first in the payload",
        |s| s.payload_text("\"subject\":", "\"subject\":[],\"subject\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A2",
        "two statements in one payload",
        |s| s.payload = Some(s.statement.to_string().repeat(2).into_bytes()),
        Refuse("KILN-0806"),
    ),
    row(
        "A2",
        "a second envelope in the bundle",
        |s| s.rewrite("\"dsseEnvelope\":", "\"dsseEnvelope\":{},\"dsseEnvelope\":"),
        Refuse("KILN-0806"),
    ),
    row(
        "A2",
        "a message signature beside the envelope",
        |s| s.after(|b| b["messageSignature"] = json!({})),
        Refuse("KILN-0806"),
    ),
    row(
        "A3",
        "the trusted key's hint over a stranger's signature",
        |s| {
            s.signer = Signer::Stranger;
            let hint = json!({"publicKey": {"hint": s.site.hint(Signer::Builder)}});
            s.after(|b| b["verificationMaterial"] = hint);
        },
        Refuse("KILN-0807"),
    ),
    row(
        "A3",
        "the trusted key's id over a stranger's signature",
        |s| {
            s.signer = Signer::Stranger;
            let id = json!(format!("SHA256:{}", s.site.hint(Signer::Builder)));
            s.after(|b| b["dsseEnvelope"]["signatures"][0]["keyid"] = id);
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A3",
        "a stranger's hint over the right signature",
        |s| s.after(|b| b["verificationMaterial"]["publicKey"]["hint"] = json!("nobody")),
        Same,
    ),
    row(
        "A3",
        "a stranger's key id over the right signature",
        |s| s.after(|b| b["dsseEnvelope"]["signatures"][0]["keyid"] = json!("nobody")),
        Same,
    ),
    row(
        "A3",
        "annotations of one's own in the bundle",
        |s| s.after(|b| b["annotations"] = json!({"verified": "true"})),
        Refuse("KILN-0806"),
    ),
    row(
        "A14",
        "no list of signatures",
        |s| {
            s.after(|b| {
                b["dsseEnvelope"].as_object_mut().expect("a map").remove("signatures");
            })
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A14",
        "an empty list of signatures",
        |s| s.after(|b| b["dsseEnvelope"]["signatures"] = json!([])),
        Refuse("KILN-0806"),
    ),
    row(
        "A14",
        "an empty text for a signature",
        |s| s.after(|b| b["dsseEnvelope"]["signatures"] = json!([""])),
        Refuse("KILN-0806"),
    ),
    row("A14", "a signature of no bytes", |s| signature(s, b""), Refuse("KILN-0806")),
    row("A14", "a signature of one byte", |s| signature(s, b"\0"), Refuse("KILN-0807")),
    row("A14", "a signature of zeros", |s| signature(s, &[0; 64]), Refuse("KILN-0807")),
    row(
        "A14",
        "r and s of zero",
        |s| signature(s, &[0x30, 6, 2, 1, 0, 2, 1, 0]),
        Refuse("KILN-0807"),
    ),
    row(
        "A14",
        "r and s bare, not in DER",
        |s| {
            let der = right_signature(s, Signer::Builder);
            signature(s, &raw(&der));
        },
        Refuse("KILN-0807"),
    ),
    row(
        "A14",
        "a byte after the signature",
        |s| {
            let mut der = right_signature(s, Signer::Builder);
            der.push(0);
            signature(s, &der);
        },
        Refuse("KILN-0807"),
    ),
    row(
        "A14",
        "the signature of another payload",
        |s| {
            let other = s.site.sign(Signer::Builder, &pae(PAYLOAD_TYPE, b"{}"));
            signature(s, &other);
        },
        Refuse("KILN-0807"),
    ),
    row(
        "A14",
        "a signature over the bare payload",
        |s| {
            let bare = s.site.sign(Signer::Builder, s.statement.to_string().as_bytes());
            signature(s, &bare);
        },
        Refuse("KILN-0807"),
    ),
    row(
        "A14",
        "two signatures, one of them good",
        |s| {
            s.after(|b| {
                let one = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"] = json!([one, {"sig": "AA=="}]);
            })
        },
        Refuse("KILN-0806"),
    ),
    row("A15", "no subject", |s| subject(s, json!([])), Refuse("KILN-0806")),
    row(
        "A15",
        "a subject without digest",
        |s| subject(s, json!([{"name": "out"}])),
        Refuse("KILN-0806"),
    ),
    row(
        "A15",
        "a subject with an empty set of digests",
        |s| subject(s, json!([{"name": "out", "digest": {}}])),
        Refuse("KILN-0806"),
    ),
    row(
        "A15",
        "md5 and sha1 only",
        |s| subject(s, json!([{"name": "out", "digest": {"md5": "00", "sha1": "00"}}])),
        Refuse("KILN-0801"),
    ),
    row(
        "A15",
        "sha512 only",
        |s| subject(s, json!([{"name": "out", "digest": {"sha512": "00"}}])),
        Refuse("KILN-0801"),
    ),
    row(
        "A15",
        "the file's digest under another algorithm's name",
        |s| {
            let hex = digest(s);
            subject(s, json!([{"name": "out", "digest": {"sha3_256": hex}}]));
        },
        Refuse("KILN-0801"),
    ),
    row(
        "A15",
        "the digest in capitals",
        |s| {
            let hex = digest(s).to_uppercase();
            subject(s, json!([{"name": "out", "digest": {"sha256": hex}}]));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A15",
        "half of the digest",
        |s| {
            let hex = digest(s)[..32].to_owned();
            subject(s, json!([{"name": "out", "digest": {"sha256": hex}}]));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A15",
        "the right name with another file's digest",
        |s| {
            let hex = model::Digest::of(b"other").hex();
            subject(s, json!([{"name": "out", "digest": {"sha256": hex}}]));
        },
        Refuse("KILN-0801"),
    ),
    row("A15", "another file", |s| s.artifact.push(b'x'), Refuse("KILN-0801")),
    row("A15", "an empty file", |s| s.artifact.clear(), Refuse("KILN-0801")),
    row(
        "A16",
        "a name that climbs",
        |s| s.statement["subject"][0]["name"] = json!("dir/../out"),
        Refuse("KILN-0806"),
    ),
    row(
        "A16",
        "a name that is a path",
        |s| s.statement["subject"][0]["name"] = json!("/out"),
        Refuse("KILN-0806"),
    ),
    row(
        "A16",
        "a name that is `..`",
        |s| s.statement["subject"][0]["name"] = json!(".."),
        Refuse("KILN-0806"),
    ),
    row(
        "A16",
        "a name with a line feed, which is shown escaped",
        |s| s.statement["subject"][0]["name"] = json!("out\nis verified"),
        Say("under the name out\\\\x0ais verified"),
    ),
    row(
        "A16",
        "an empty name",
        |s| s.statement["subject"][0]["name"] = json!(""),
        Refuse("KILN-0806"),
    ),
    row(
        "A16",
        "one name for two digests",
        |s| {
            let one = s.statement["subject"][0].clone();
            let mut two = one.clone();
            two["digest"]["sha256"] = json!(model::Digest::of(b"other").hex());
            subject(s, json!([one, two]));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A17",
        "another builder.id, by a key that is trusted for its own",
        |s| s.statement["predicate"]["runDetails"]["builder"]["id"] = json!(OTHER_BUILDER),
        Refuse("KILN-0802"),
    ),
    row(
        "A17",
        "the right builder.id, by the key of another trusted builder",
        |s| s.signer = Signer::Second,
        Refuse("KILN-0802"),
    ),
    row(
        "A17",
        "the right builder.id, by a verifier's key",
        |s| s.signer = Signer::Judge,
        Refuse("KILN-0802"),
    ),
    row(
        "A17",
        "an empty builder.id",
        |s| s.statement["predicate"]["runDetails"]["builder"]["id"] = json!(""),
        Refuse("KILN-0802"),
    ),
    row(
        "A17",
        "no builder",
        |s| {
            s.statement["predicate"]["runDetails"]
                .as_object_mut()
                .expect("a map")
                .remove("builder");
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A17",
        "a higher level than the key is trusted for",
        |s| s.with(&["--level", "3"]),
        Refuse("KILN-0804"),
    ),
    row("A18", "a parameter of one's own", |s| s.parameter("debug", "1"), Refuse("KILN-0811")),
    row(
        "A18",
        "a parameter that is no text",
        |s| build(s)["externalParameters"]["dirty"] = json!(false),
        Refuse("KILN-0806"),
    ),
    row(
        "A18",
        "a parameter that is missing",
        |s| {
            build(s)["externalParameters"].as_object_mut().expect("a map").remove("commit");
        },
        Refuse("KILN-0806"),
    ),
    row("A18", "a waived network", |s| s.parameter("waivers", "network"), Refuse("KILN-0810")),
    row(
        "A28",
        "a publish attestation",
        |s| s.statement["predicateType"] = json!("https://docs.pypi.org/attestations/publish/v1"),
        Refuse("KILN-0808"),
    ),
    row(
        "A28",
        "a test result",
        |s| s.statement["predicateType"] = json!("https://in-toto.io/attestation/test-result/v0.1"),
        Refuse("KILN-0808"),
    ),
    row(
        "A28",
        "a link",
        |s| s.statement["predicateType"] = json!("https://in-toto.io/attestation/link/v0.3"),
        Refuse("KILN-0808"),
    ),
    row(
        "A28",
        "a summary by the builder's key",
        |s| s.statement["predicateType"] = json!("https://slsa.dev/verification_summary/v1"),
        Refuse("KILN-0821"),
    ),
    row(
        "A28",
        "kinds are judged by their own rules in every file",
        AS_IT_IS,
        Must::Test("further_statements_stand_for_no_provenance_and_hurt_none"),
    ),
];
