//! Identities outside provenance: verdicts, statements that a policy requires, dependencies, and the signer that a
//! policy names. What is tried on one place is tried on each.

use serde_json::json;

use super::Must::{NotBegin, Refuse};
use super::authority::{Entry, IDENTITY, ISSUER};
use super::named::{entry, flag, identity_entry, wrong};
use super::scene::{BUILDER, Form, Scene, VERIFIER};
use super::weighed::{policy, summary};
use super::{Forgery, Must};

const REVIEW: &str = "https://kiln.example/review/v1";

fn set(
    set: fn(&mut Scene<'_>),
    class: &'static str,
    what: &'static str,
    forge: fn(&mut Scene<'_>),
    must: Must,
) -> Forgery {
    Forgery { class, what, form: Form::Certificate, set, forge, must }
}

fn verifier_entry(identity: &str, issuer: &str, more: &str) -> String {
    let entry = identity_entry(identity, issuer, more);
    entry.replace(&format!("builder-id = \"{BUILDER}\""), &format!("verifier-id = \"{VERIFIER}\""))
}

/// A verdict by certificate, believed by an entry.
fn judged(scene: &mut Scene<'_>) {
    scene.args.truncate(4);
    summary(scene);
    scene.trust = verifier_entry(IDENTITY, ISSUER, "");
}

/// A verdict by certificate, by whom the receiver names by hand.
fn judged_by_hand(scene: &mut Scene<'_>) {
    summary(scene);
    scene.trust = String::new();
    flag(scene, "--level", "1");
}

/// Provenance by key, and a review that the policy requires by certificate.
fn reviewed(scene: &mut Scene<'_>) {
    scene.args.truncate(4);
    scene.trust += &verifier_entry(IDENTITY, ISSUER, "");
    policy(
        scene,
        &format!(
            "require: [{{type: \"{REVIEW}\", signer: {{identity: \"{IDENTITY}\", issuer: \"{ISSUER}\"}}}}]"
        ),
    );
    scene.with(&["--bundle", "out.sigstore.json", "--bundle", "review.json"]);
    lay_review(scene);
}

/// Signs the review anew, with what is wrong by now; the provenance is by key.
fn lay_review(scene: &mut Scene<'_>) {
    let mut review = scene.clone();
    review.certificate = Some(scene.certificate.unwrap_or_default());
    review.statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": scene.statement["subject"],
        "predicateType": REVIEW,
        "predicate": {"reviewed": true},
    });
    scene.file("review.json", review.bundle().to_string());
    scene.certificate = None;
}

/// Provenance by key of a file with a dependency, whose own provenance is by certificate.
fn depends(scene: &mut Scene<'_>) {
    scene.args.truncate(4);
    scene.trust += &identity_entry(IDENTITY, ISSUER, "");
    scene.with(&["--deps", "deps"]);
    lay_dependency(scene);
    let digest = json!({"sha256": model::Digest::of(b"dependency").hex()});
    let list = &mut scene.statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    list.as_array_mut()
        .expect("a list")
        .push(json!({"name": "dependency", "digest": digest, "annotations": {"role": "fetched"}}));
}

fn lay_dependency(scene: &mut Scene<'_>) {
    let mut other = scene.clone();
    other.certificate = Some(scene.certificate.unwrap_or_default());
    other.statement = scene.site.statement.clone();
    let digest = model::Digest::of(b"dependency").hex();
    other.statement["subject"] = json!([{"name": "dependency", "digest": {"sha256": digest}}]);
    scene.file("deps/dependency.sigstore.json", other.bundle().to_string());
    scene.certificate = None;
}

/// Provenance by certificate, and a policy that names its signer.
fn wanted(scene: &mut Scene<'_>) {
    scene.args.truncate(4);
    scene.trust = identity_entry(IDENTITY, ISSUER, "");
    signer(scene, &format!("{{identity: \"{IDENTITY}\", issuer: \"{ISSUER}\"}}"));
}

fn signer(scene: &mut Scene<'_>, signer: &str) {
    policy(scene, &format!("builders: [{{id: \"{BUILDER}\", signer: {signer}}}]"));
}

/// Writes the entry of the identity anew, whatever it is for.
fn retrust(scene: &mut Scene<'_>, identity: &str, issuer: &str, more: &str) {
    let at = scene.trust.rfind("[[trust]]").expect("an entry");
    let is_verifier = scene.trust[at..].contains("verifier-id");
    let new = if is_verifier { verifier_entry } else { identity_entry };
    scene.trust.truncate(at);
    scene.trust += &new(identity, issuer, more);
}

fn rewrite(scene: &mut Scene<'_>, from: &str, to: &str) {
    let at = scene.trust.rfind("[[trust]]").expect("an entry");
    let changed = scene.trust[at..].replacen(from, to, 1);
    assert_ne!(changed, scene.trust[at..], "{from} is not there");
    scene.trust.truncate(at);
    scene.trust += &changed;
}

/// Signs what the certificate is on anew, with something wrong.
fn resign(scene: &mut Scene<'_>, change: fn(&mut super::authority::Wrong)) {
    scene.certificate = Some(scene.certificate.unwrap_or_default());
    wrong(scene, change);
    if scene.files.contains_key("review.json") {
        lay_review(scene);
    } else if scene.files.contains_key("deps/dependency.sigstore.json") {
        lay_dependency(scene);
    }
}

/// What no entry of any place may fall for.
fn everywhere(
    place: fn(&mut Scene<'_>),
    names: [&'static str; 11],
    code: &'static str,
) -> Vec<Forgery> {
    type Change = fn(&mut Scene<'_>);
    let changes: [(&str, Change); 11] = [
        ("A12", |s| retrust(s, ".*", ISSUER, "")),
        ("A12", |s| retrust(s, "*@kiln.example", ISSUER, "")),
        ("A12", |s| retrust(s, "builder@kiln.exampl", ISSUER, "")),
        ("A12", |s| retrust(s, IDENTITY, "https://issuer.kiln.exampl", "")),
        ("A12", |s| resign(s, |w| w.identity = Some("builder@kiln.example.evil.example"))),
        ("A12", |s| resign(s, |w| w.issuer = Some("https://issuer.kiln.example.evil.example"))),
        ("A8", |s| retrust(s, IDENTITY, ISSUER, "until = \"2020-01-01T00:00:00Z\"\n")),
        ("A8", |s| retrust(s, IDENTITY, ISSUER, "revoked = \"2049-01-01T00:00:00Z\"\n")),
        ("A11", |s| s.root = Some(s.site.authority.root_with("false-ca", "tsa"))),
        ("A5", |s| resign(s, |w| w.checkpoint = true)),
        ("A5", |s| resign(s, |w| w.entry = Some(Entry::Digest))),
    ];
    let rows = changes.into_iter().zip(names);
    // A log that does not prove it has a code of its own where the signature itself is judged.
    rows.map(|((class, forge), what)| {
        let code = if class == "A5" && code == "KILN-0802" { "KILN-0803" } else { code };
        set(place, class, what, forge, Refuse(code))
    })
    .collect()
}

macro_rules! names {
    ($place:literal) => {
        [
            concat!($place, ", an entry with a pattern for an identity"),
            concat!($place, ", an entry with a wildcard for an identity"),
            concat!($place, ", an entry with the identity without its last letter"),
            concat!($place, ", an entry with the issuer without its last letter"),
            concat!($place, ", a certificate for a longer identity"),
            concat!($place, ", a certificate of a longer issuer"),
            concat!($place, ", an entry that had ended when it was signed"),
            concat!($place, ", an entry that is revoked, whenever"),
            concat!($place, ", under the root of another instance"),
            concat!($place, ", a checkpoint by another log's key"),
            concat!($place, ", a log entry of another digest"),
        ]
    };
}

/// Returns the rows.
pub fn rows() -> Vec<Forgery> {
    let mut all = everywhere(judged, names!("a summary"), "KILN-0802");
    all.extend(everywhere(reviewed, names!("a required statement"), "KILN-0804"));
    all.extend(everywhere(depends, names!("a dependency"), "KILN-0822"));
    all.extend([
        set(
            judged,
            "A17",
            "a summary by an identity that is believed as a builder",
            |s| s.trust = identity_entry(IDENTITY, ISSUER, ""),
            Refuse("KILN-0802"),
        ),
        set(
            judged,
            "A17",
            "a summary by an identity of another verifier",
            |s| rewrite(s, VERIFIER, "https://other.example/v1"),
            Refuse("KILN-0802"),
        ),
        set(
            depends,
            "A17",
            "provenance of a dependency by an identity that is believed as a verifier",
            |s| {
                rewrite(
                    s,
                    &format!("builder-id = \"{BUILDER}\""),
                    &format!("verifier-id = \"{BUILDER}\""),
                )
            },
            Refuse("KILN-0822"),
        ),
        set(
            judged,
            "A21",
            "a summary by an identity of a level above its entry's",
            |s| rewrite(s, "max-level = 2", "max-level = 1"),
            Refuse("KILN-0821"),
        ),
        set(
            judged,
            "A5",
            "a summary without its log entry",
            |s| s.after(|b| b["verificationMaterial"]["tlogEntries"] = json!([])),
            Refuse("KILN-0806"),
        ),
        set(
            judged,
            "A5",
            "a summary with the log entry of another",
            |s| {
                let mut other = s.clone();
                other.statement["predicate"]["verificationResult"] = json!("FAILED");
                let theirs = entry(&mut other.bundle()).clone();
                s.after(|b| *entry(b) = theirs);
            },
            Refuse("KILN-0803"),
        ),
        set(
            judged,
            "A3",
            "a summary without the certificate, as a bare line",
            |s| {
                s.evidence = Some(format!("{}\n", s.bundle()["dsseEnvelope"]).into_bytes());
            },
            Refuse("KILN-0802"),
        ),
        set(
            judged,
            "A21",
            "a summary, which says no source, where one is asked for",
            |s| s.with(&["--source", "https://git.example.org/acme"]),
            Refuse("KILN-0809"),
        ),
        set(
            judged_by_hand,
            "A21",
            "a summary by an identity by hand, at more than level 1",
            |s| flag(s, "--level", "2"),
            Refuse("KILN-0821"),
        ),
        set(
            judged_by_hand,
            "A12",
            "a summary by hand, a pattern for the identity",
            |s| flag(s, "--identity", ".*"),
            Refuse("KILN-0802"),
        ),
        set(
            judged_by_hand,
            "A8",
            "a summary by hand, by an identity that an entry revokes",
            |s| s.trust = verifier_entry(IDENTITY, ISSUER, "revoked = \"2020-01-01T00:00:00Z\"\n"),
            Refuse("KILN-0802"),
        ),
        set(
            judged_by_hand,
            "A10",
            "a summary by a key, where an identity is named by hand",
            |s| s.certificate = None,
            Refuse("KILN-0802"),
        ),
        set(
            wanted,
            "A12",
            "a policy with a pattern for its signer",
            |s| signer(s, &format!("{{identity: \".*\", issuer: \"{ISSUER}\"}}")),
            Refuse("KILN-0804"),
        ),
        set(
            wanted,
            "A12",
            "a policy with another issuer of its signer",
            |s| {
                signer(
                    s,
                    &format!("{{identity: \"{IDENTITY}\", issuer: \"https://other.example\"}}"),
                )
            },
            Refuse("KILN-0804"),
        ),
        set(
            wanted,
            "A12",
            "a policy without an issuer of its signer",
            |s| signer(s, &format!("{{identity: \"{IDENTITY}\"}}")),
            NotBegin("KILN-0820"),
        ),
        set(
            wanted,
            "A11",
            "a policy that names a signer whom no entry names",
            |s| s.trust = identity_entry("other@kiln.example", ISSUER, ""),
            Refuse("KILN-0802"),
        ),
    ]);
    all
}
