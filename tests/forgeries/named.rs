//! Certificates, logs, timestamps and who is named: what vouches for the signer.

use serde_json::{Value, json};

use super::Must::{NotBegin, Refuse, Say, Test};
use super::authority::{Entry, IDENTITY, ISSUER, Wrong};
use super::scene::{BUILDER, Form, Scene, Signer};
use super::{AS_IT_IS, Forgery, Must, after, row};

const fn certified(
    class: &'static str,
    what: &'static str,
    forge: fn(&mut Scene<'_>),
    must: Must,
) -> Forgery {
    Forgery { class, what, form: Form::Certificate, set: AS_IT_IS, forge, must }
}

pub fn wrong(scene: &mut Scene<'_>, change: impl FnOnce(&mut Wrong)) {
    change(scene.certificate.as_mut().expect("a certificate signs"));
}

pub fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Replaces what follows a flag.
pub fn flag(scene: &mut Scene<'_>, name: &str, value: &str) {
    let at = scene.args.iter().position(|one| one == name).expect("the flag is there");
    scene.args[at + 1] = value.to_owned();
}

/// Trusts an identity by an entry, and names none by hand.
fn by_entry(scene: &mut Scene<'_>) {
    scene.args.truncate(4);
    scene.trust = identity_entry(IDENTITY, ISSUER, "");
}

pub fn identity_entry(identity: &str, issuer: &str, more: &str) -> String {
    format!(
        "[[trust]]\nname = \"ci\"\nidentity = \"{identity}\"\nissuer = \"{issuer}\"\n\
         builder-id = \"{BUILDER}\"\nmax-level = 2\n{more}\n"
    )
}

const fn entered(
    class: &'static str,
    what: &'static str,
    forge: fn(&mut Scene<'_>),
    must: Must,
) -> Forgery {
    Forgery { class, what, form: Form::Certificate, set: by_entry, forge, must }
}

pub const ROWS: [Forgery; 64] = [
    // A5: the entry is about this bundle, or it is none.
    certified(
        "A5",
        "a log entry of another digest",
        |s| wrong(s, |w| w.entry = Some(Entry::Digest)),
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "a log entry of another signature by the same key",
        |s| wrong(s, |w| w.entry = Some(Entry::Signature)),
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "a log entry of another certificate",
        |s| wrong(s, |w| w.entry = Some(Entry::Certificate)),
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "the whole entry of another statement",
        |s| {
            let mut other = s.clone();
            other.parameter("target", "other");
            let theirs = entry(&mut other.bundle()).clone();
            s.after(|b| *entry(b) = theirs);
        },
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "a checkpoint by another log's key",
        |s| wrong(s, |w| w.checkpoint = true),
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "no log entry",
        |s| s.after(|b| b["verificationMaterial"]["tlogEntries"] = json!([])),
        Refuse("KILN-0806"),
    ),
    certified(
        "A5",
        "no inclusion proof",
        |s| {
            s.after(|b| {
                entry(b).as_object_mut().expect("a map").remove("inclusionProof");
            })
        },
        Refuse("KILN-0806"),
    ),
    certified(
        "A5",
        "a body that nobody logged",
        |s| s.after(|b| entry(b)["canonicalizedBody"] = json!("e30=")),
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "hashes that lead elsewhere",
        |s| {
            s.after(|b| {
                entry(b)["inclusionProof"]["hashes"] =
                    json!(["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="])
            })
        },
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "the name of another log",
        |s| {
            s.after(|b| {
                entry(b)["logId"]["keyId"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            })
        },
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "a log that the root does not list",
        |s| s.root.as_mut().expect("a root")["tlogs"] = json!([]),
        Refuse("KILN-0803"),
    ),
    certified(
        "A5",
        "no log entry, where the root lists no log",
        |s| {
            s.root.as_mut().expect("a root")["tlogs"] = json!([]);
            s.after(|b| b["verificationMaterial"]["tlogEntries"] = json!([]));
        },
        Say("not recorded in a transparency log; time-stamped"),
    ),
    certified(
        "A5",
        "a second entry, which is false",
        |s| {
            s.after(|b| {
                let entries = &mut b["verificationMaterial"]["tlogEntries"];
                let mut two = entries[0].clone();
                two["canonicalizedBody"] = json!("e30=");
                entries.as_array_mut().expect("a list").push(two);
            })
        },
        Refuse("KILN-0803"),
    ),
    // A8: validity, of entries and of certificates.
    row(
        "A8",
        "a trust entry that has ended",
        |s| {
            s.trust =
                s.trust.replacen("max-level", "until = \"2020-01-01T00:00:00Z\"\nmax-level", 1)
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A8",
        "a trust entry that has not begun",
        |s| {
            s.trust = s.trust.replacen("max-level", "from = \"2049-01-01T00:00:00Z\"\nmax-level", 1)
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A8",
        "a trust entry that was revoked",
        |s| {
            s.trust =
                s.trust.replacen("max-level", "revoked = \"2020-01-01T00:00:00Z\"\nmax-level", 1)
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A8",
        "a revocation in the future",
        |s| {
            s.trust =
                s.trust.replacen("max-level", "revoked = \"2049-01-01T00:00:00Z\"\nmax-level", 1)
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A8",
        "a second entry for a revoked key",
        |s| {
            let good = s.trust.clone();
            s.trust =
                good.replacen("max-level", "revoked = \"2020-01-01T00:00:00Z\"\nmax-level", 1)
                    + &good;
        },
        Refuse("KILN-0802"),
    ),
    certified(
        "A8",
        "a certificate that ended before it signed",
        |s| wrong(s, |w| w.ended = true),
        Refuse("KILN-0802"),
    ),
    certified(
        "A8",
        "a certificate whose authority had ended",
        |s| {
            wrong(s, |w| w.authority_ended = true);
            s.root = Some(s.site.authority.root_with("ended-ca", "tsa"));
        },
        Refuse("KILN-0802"),
    ),
    certified(
        "A8",
        "an authority that the root lists as ended",
        |s| {
            s.root.as_mut().expect("a root")["certificateAuthorities"][0]["validFor"]["end"] =
                json!("2020-01-02T00:00:00Z")
        },
        Refuse("KILN-0802"),
    ),
    certified(
        "A8",
        "a log that the root lists as not yet begun",
        |s| {
            s.root.as_mut().expect("a root")["tlogs"][0]["publicKey"]["validFor"]["start"] =
                json!("2049-01-02T00:00:00Z")
        },
        Refuse("KILN-0803"),
    ),
    certified(
        "A8",
        "a certificate for servers",
        |s| wrong(s, |w| w.purpose = true),
        Refuse("KILN-0802"),
    ),
    entered(
        "A8",
        "an entry of an identity that had ended when it signed",
        |s| s.trust = identity_entry(IDENTITY, ISSUER, "until = \"2020-01-01T00:00:00Z\"\n"),
        Refuse("KILN-0802"),
    ),
    entered(
        "A8",
        "an entry of an identity that was revoked",
        |s| s.trust = identity_entry(IDENTITY, ISSUER, "revoked = \"2020-01-01T00:00:00Z\"\n"),
        Refuse("KILN-0802"),
    ),
    // A9: the clock's certificate.
    certified(
        "A9",
        "a timestamp by an authority that the root does not list",
        |s| wrong(s, |w| w.stamp_authority = true),
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "a timestamp of other bytes",
        |s| wrong(s, |w| w.stamp_other = true),
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "a timestamp by a certificate that is not for timestamps",
        |s| s.root = Some(s.site.authority.root_with("ca", "purpose-tsa")),
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "a timestamp by a certificate that had ended",
        |s| s.root = Some(s.site.authority.root_with("ca", "ended-tsa")),
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "a timestamp that names another certificate of the same key and number",
        |s| s.root = Some(s.site.authority.root_with("ca", "again-tsa")),
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "a clock that the root lists as ended",
        |s| {
            s.root.as_mut().expect("a root")["timestampAuthorities"][0]["validFor"]["end"] =
                json!("2020-01-02T00:00:00Z")
        },
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "no timestamp",
        |s| s.after(|b| b["verificationMaterial"]["timestampVerificationData"] = json!({})),
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "the timestamp of another bundle",
        |s| {
            let theirs = s.bundle()["verificationMaterial"]["timestampVerificationData"].clone();
            s.after(|b| b["verificationMaterial"]["timestampVerificationData"] = theirs);
        },
        Refuse("KILN-0802"),
    ),
    certified(
        "A9",
        "a second timestamp, which is false",
        |s| {
            let mut other = s.clone();
            wrong(&mut other, |w| w.stamp_authority = true);
            let theirs = other.bundle()["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0].clone();
            s.after(|b| {
                b["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
                    .as_array_mut()
                    .expect("a list")
                    .insert(0, theirs)
            });
        },
        Refuse("KILN-0802"),
    ),
    // A11: nothing that comes with the file is believed about who signed it.
    certified(
        "A11",
        "a certificate by another authority of the same name",
        |s| wrong(s, |w| w.authority = true),
        Refuse("KILN-0802"),
    ),
    certified(
        "A11",
        "that authority's certificate in the bundle",
        |s| {
            wrong(s, |w| w.authority = true);
            s.after(|b| {
                let leaf = b["verificationMaterial"]["certificate"].take();
                b["verificationMaterial"] =
                    json!({"x509CertificateChain": {"certificates": [leaf]}});
            });
        },
        Refuse("KILN-0806"),
    ),
    certified(
        "A11",
        "the stranger's root beside the file, and none named",
        |s| {
            s.args.drain(2..4);
            s.file("out.trusted_root.json", s.root.as_ref().expect("a root").to_string());
        },
        Refuse("KILN-0803"),
    ),
    row(
        "A11",
        "a stranger's public key in the bundle",
        |s| {
            s.signer = Signer::Stranger;
            let key = s.site.public(Signer::Stranger);
            s.after(|b| b["verificationMaterial"]["publicKey"]["rawBytes"] = json!(key));
        },
        Refuse("KILN-0806"),
    ),
    row(
        "A11",
        "a stranger's trust file beside the artifact",
        |s| {
            s.signer = Signer::Stranger;
            let entry = s.site.trust(Signer::Stranger, &format!("builder-id = \"{BUILDER}\""), 3);
            s.file("trust.toml", entry);
        },
        Refuse("KILN-0802"),
    ),
    after(
        "A11",
        "a key pinned from the bundle itself",
        |s| {
            let key = s.site.public(Signer::Builder);
            s.file("builder.pem", key);
            s.args = ["trust", "pin", "out", "--key", "builder.pem"].map(str::to_owned).to_vec();
        },
        |s| s.args.truncate(3),
        NotBegin("KILN-0103"),
    ),
    after(
        "A11",
        "a stranger's signature, pinned with the builder's key",
        |s| {
            let key = s.site.public(Signer::Builder);
            s.file("builder.pem", key);
            s.args = ["trust", "pin", "out", "--key", "builder.pem"].map(str::to_owned).to_vec();
        },
        |s| s.signer = Signer::Stranger,
        Refuse("KILN-0802"),
    ),
    // A12: exactly, or not.
    certified(
        "A12",
        "a pattern for the identity",
        |s| flag(s, "--identity", ".*@kiln\\.example"),
        Refuse("KILN-0802"),
    ),
    certified(
        "A12",
        "a wildcard for the identity",
        |s| flag(s, "--identity", "*"),
        Refuse("KILN-0802"),
    ),
    certified(
        "A12",
        "the identity without its last letter",
        |s| flag(s, "--identity", "builder@kiln.exampl"),
        Refuse("KILN-0802"),
    ),
    certified(
        "A12",
        "the identity in capitals",
        |s| flag(s, "--identity", "BUILDER@KILN.EXAMPLE"),
        Refuse("KILN-0802"),
    ),
    certified("A12", "an empty identity", |s| flag(s, "--identity", ""), Refuse("KILN-0802")),
    certified(
        "A12",
        "a certificate for a longer identity",
        |s| wrong(s, |w| w.identity = Some("builder@kiln.example.evil.example")),
        Refuse("KILN-0802"),
    ),
    certified(
        "A12",
        "a certificate for an identity before it",
        |s| wrong(s, |w| w.identity = Some("other-builder@kiln.example")),
        Refuse("KILN-0802"),
    ),
    certified(
        "A12",
        "a certificate that another issuer vouched for",
        |s| wrong(s, |w| w.issuer = Some("https://issuer.kiln.example.evil.example")),
        Refuse("KILN-0802"),
    ),
    certified(
        "A12",
        "a pattern for the issuer",
        |s| flag(s, "--issuer", "https://.*"),
        Refuse("KILN-0802"),
    ),
    certified("A12", "no issuer", |s| s.args.truncate(6), NotBegin("KILN-0103")),
    entered(
        "A12",
        "an entry with a pattern for an identity",
        |s| s.trust = identity_entry(".*", ISSUER, ""),
        Refuse("KILN-0802"),
    ),
    entered(
        "A12",
        "an entry with another issuer",
        |s| s.trust = identity_entry(IDENTITY, "https://other.example", ""),
        Refuse("KILN-0802"),
    ),
    entered(
        "A12",
        "an entry that wants a repository the certificate does not name",
        |s| {
            s.trust =
                identity_entry(IDENTITY, ISSUER, "source-repository = \"https://host.example/x\"\n")
        },
        Refuse("KILN-0802"),
    ),
    row(
        "A10",
        "SCTs, for certificates and without",
        AS_IT_IS,
        Test("a_bundle_that_lacks_a_part_is_refused"),
    ),
    certified(
        "A3",
        "another size beside the log's checkpoint",
        |s| s.after(|b| entry(b)["inclusionProof"]["treeSize"] = json!("7")),
        Refuse("KILN-0803"),
    ),
    certified(
        "A3",
        "another index in the log's proof",
        |s| s.after(|b| entry(b)["inclusionProof"]["logIndex"] = json!("7")),
        Refuse("KILN-0803"),
    ),
    certified(
        "A3",
        "a time that no log signed",
        |s| s.after(|b| entry(b)["integratedTime"] = json!("1790000000")),
        Refuse("KILN-0803"),
    ),
    certified(
        "A3",
        "a checkpoint that is signed in another name",
        |s| {
            s.after(|b| {
                let note = &mut entry(b)["inclusionProof"]["checkpoint"]["envelope"];
                let text = note.as_str().expect("a note").replace("\u{2014} ", "\u{2014} evil.");
                *note = json!(text);
            });
        },
        Refuse("KILN-0803"),
    ),
    after(
        "A23",
        "a policy to be learned, and a role that no policy has",
        learned,
        |s| input(s, json!({"annotations": {"role": "x] y"}})),
        Refuse("KILN-0804"),
    ),
    after(
        "A23",
        "a policy to be learned, and a list of dependencies that is not there",
        learned,
        |s| {
            input(
                s,
                json!({"name": "out.dependencies.json", "mediaType": "application/vnd.kiln.dependencies.v1+json"}),
            );
        },
        Refuse("KILN-0804"),
    ),
    after(
        "A23",
        "a policy to be learned, and a backend and purls of one's own",
        learned,
        |s| {
            s.statement["predicate"]["runDetails"]["kiln_backend"] = json!("x]\ny: [");
            input(s, json!({"uri": "pkg:deb/x@%zz", "annotations": {"role": "environment"}}));
            input(s, json!({"uri": "pkg:deb/*%22@1", "annotations": {"role": "environment"}}));
        },
        Say("digest: "),
    ),
    after(
        "A27",
        "a policy learned from a source whose query holds a token",
        learned,
        |s| s.parameter("source", "git+https://h.example/r?token=s3cret"),
        Refuse("KILN-0804"),
    ),
    after(
        "A27",
        "a policy learned from an input whose query holds a token",
        learned,
        |s| {
            input(
                s,
                json!({"name": "https://h.example/x?token=s3cret", "annotations": {"role": "environment"}}),
            );
        },
        Say("digest: "),
    ),
];

fn learned(scene: &mut Scene<'_>) {
    scene.args = ["policy", "init", "out"].map(str::to_owned).to_vec();
}

/// Adds an input to the statement.
fn input(scene: &mut Scene<'_>, more: Value) {
    let mut one = json!({"name": "x", "digest": {"sha256": "0".repeat(64)}});
    for (name, value) in more.as_object().expect("an object") {
        one[name] = value.clone();
    }
    let list = &mut scene.statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    list.as_array_mut().expect("a list").push(one);
}
