//! What is weighed: several attestations, thresholds, age, summaries, and what a verdict leaves unsaid.

use serde_json::{Value, json};

use super::Must::{NotBegin, Refuse, Same, Say, Test};
use super::scene::{ADDRESS, BUILDER, OTHER_BUILDER, Scene, Signer, VERIFIER};
use super::{AS_IT_IS, Forgery, after, row};

/// Adds a policy.
pub fn policy(scene: &mut Scene<'_>, rules: &str) {
    scene.file("policy.yaml", format!("policy: 1\n{rules}\n"));
    if !scene.args.iter().any(|one| one == "--policy") {
        scene.with(&["--policy", "policy.yaml"]);
    }
}

/// Two builders, each with a key of its own, of equal definitions: `reproduced-by: 2` is met.
fn reproduced(scene: &mut Scene<'_>) {
    policy(scene, "reproduced-by: 2");
    second(scene, Signer::Second, OTHER_BUILDER);
    scene.with(&["--bundle", "out.sigstore.json", "--bundle", "second.json"]);
}

/// Lays a second attestation beside the first.
fn second(scene: &mut Scene<'_>, signer: Signer, builder: &str) {
    let mut other = scene.clone();
    other.signer = signer;
    other.statement["predicate"]["runDetails"]["builder"]["id"] = json!(builder);
    other.statement["predicate"]["runDetails"]["metadata"]["invocationId"] = json!("another");
    scene.file("second.json", other.bundle().to_string());
}

/// A summary of the file by a trusted verifier.
pub fn summary(scene: &mut Scene<'_>) {
    scene.signer = Signer::Judge;
    scene.statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": scene.statement["subject"],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": VERIFIER},
            "timeVerified": "2026-01-01T00:00:00Z",
            "resourceUri": ADDRESS,
            "policy": {"uri": "https://verifier.example/p", "digest": {"sha256": model::Digest::of(b"policy: 1\n").hex()}},
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
            "slsaVersion": "1.2",
        },
    });
    scene.with(&["--resource-uri", ADDRESS, "--level", "2"]);
}

/// A summary by a policy with these rules, by which the receiver verifies too; as fresh as the build.
fn judged_by(scene: &mut Scene<'_>, rules: &str) {
    let finished = scene.statement["predicate"]["runDetails"]["metadata"]["finishedOn"].clone();
    summary(scene);
    says(scene, "timeVerified", finished);
    scene.args.truncate(4);
    by_rules(scene, rules);
}

/// Has both the verifier and the receiver use a policy with these rules.
fn by_rules(scene: &mut Scene<'_>, rules: &str) {
    policy(scene, rules);
    let digest = model::Digest::of(&scene.files["policy.yaml"]).hex();
    scene.statement["predicate"]["policy"]["digest"]["sha256"] = json!(digest);
}

/// Names the verifier's key by hand.
fn by_hand(scene: &mut Scene<'_>) {
    let key = scene.site.public(Signer::Judge);
    scene.file("judge.pem", key);
    scene.with(&["--key", "judge.pem"]);
}

fn says(scene: &mut Scene<'_>, member: &str, value: serde_json::Value) {
    scene.statement["predicate"][member] = value;
}

/// An image layout whose one image the statement is about.
pub fn image(scene: &mut Scene<'_>) {
    image_with(scene, &json!({"layers": []}));
}

/// The same with these members in the signed manifest.
pub fn image_with(scene: &mut Scene<'_>, more: &Value) {
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let mut text = json!({"schemaVersion": 2, "mediaType": manifest});
    for (name, value) in more.as_object().expect("an object") {
        text[name] = value.clone();
    }
    let text = text.to_string();
    let subject = model::Digest::of(text.as_bytes());
    scene.statement["subject"] = json!([{"name": "out", "digest": {"sha256": subject.hex()}}]);
    let mut blob = |text: &str| {
        let digest = model::Digest::of(text.as_bytes());
        scene.files.insert(format!("oci/blobs/sha256/{}", digest.hex()), text.as_bytes().to_vec());
        digest.to_string()
    };
    blob(&text);
    let empty = blob("{}");
    let bundle = scene.bundle().to_string();
    let mut blob = |text: &str| {
        let digest = model::Digest::of(text.as_bytes());
        scene.files.insert(format!("oci/blobs/sha256/{}", digest.hex()), text.as_bytes().to_vec());
        digest.to_string()
    };
    let layer = blob(&bundle);
    let referrer = json!({
        "schemaVersion": 2, "mediaType": manifest, "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": kind, "digest": layer, "size": bundle.len()}],
        "subject": {"mediaType": manifest, "digest": subject, "size": text.len()},
    });
    let referrer = referrer.to_string();
    let (size, referrer) = (referrer.len(), blob(&referrer));
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": manifest, "digest": subject, "size": text.len()},
        {"mediaType": manifest, "digest": referrer, "size": size},
    ]});
    scene.file("oci/oci-layout", "{\"imageLayoutVersion\": \"1.0.0\"}");
    scene.file("oci/index.json", index.to_string());
    scene.args = ["verify", "oci"].map(str::to_owned).to_vec();
}

/// Rewrites one digest of the layout's index.
fn index(scene: &mut Scene<'_>, digest: &str) {
    let text = String::from_utf8(scene.files["oci/index.json"].clone()).expect("JSON is text");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("it was written as JSON");
    index["manifests"][1]["digest"] = json!(digest);
    scene.file("oci/index.json", index.to_string());
}

pub const ROWS: [Forgery; 59] = [
    // A6: distinct builders with distinct keys.
    after(
        "A6",
        "the same bundle twice",
        reproduced,
        |s| {
            let one = s.bundle().to_string();
            s.file("second.json", one);
        },
        Refuse("KILN-0804"),
    ),
    after(
        "A6",
        "another run of the same builder",
        reproduced,
        |s| second(s, Signer::Builder, BUILDER),
        Refuse("KILN-0804"),
    ),
    after(
        "A6",
        "another builder.id by the same key",
        reproduced,
        |s| {
            let entry =
                s.site.trust(Signer::Builder, &format!("builder-id = \"{OTHER_BUILDER}\""), 2);
            s.trust += &entry;
            second(s, Signer::Builder, OTHER_BUILDER);
        },
        Refuse("KILN-0804"),
    ),
    after(
        "A6",
        "another key that speaks for the same builder",
        reproduced,
        |s| second(s, Signer::Edwards, BUILDER),
        Refuse("KILN-0804"),
    ),
    after(
        "A6",
        "a second builder whom nobody trusts",
        reproduced,
        |s| second(s, Signer::Stranger, OTHER_BUILDER),
        Refuse("KILN-0804"),
    ),
    after(
        "A6",
        "a second builder that says another definition",
        reproduced,
        |s| {
            let mut other = s.clone();
            other.parameter("target", "other");
            second(&mut other, Signer::Second, OTHER_BUILDER);
            s.files = other.files;
        },
        Refuse("KILN-0804"),
    ),
    row(
        "A6",
        "one key under two ids, for a layout's threshold",
        AS_IT_IS,
        Test("one_key_under_two_ids_is_one_functionary"),
    ),
    // A7.
    after(
        "A7",
        "a threshold of none",
        reproduced,
        |s| policy(s, "reproduced-by: 0"),
        NotBegin("KILN-0820"),
    ),
    after(
        "A7",
        "a threshold of one",
        reproduced,
        |s| policy(s, "reproduced-by: 1"),
        NotBegin("KILN-0820"),
    ),
    after(
        "A7",
        "a threshold below none",
        reproduced,
        |s| policy(s, "reproduced-by: -1"),
        NotBegin("KILN-0820"),
    ),
    after(
        "A7",
        "a threshold without a number",
        reproduced,
        |s| policy(s, "reproduced-by:"),
        NotBegin("KILN-0820"),
    ),
    after(
        "A7",
        "a threshold beyond what can be counted",
        reproduced,
        |s| policy(s, "reproduced-by: 17"),
        NotBegin("KILN-0820"),
    ),
    after(
        "A7",
        "a level of none",
        |s| policy(s, "level: 1"),
        |s| policy(s, "level: 0"),
        NotBegin("KILN-0820"),
    ),
    row(
        "A7",
        "a layout's threshold of none",
        AS_IT_IS,
        Test("what_is_not_understood_is_refused_where_others_look_away"),
    ),
    // A19: one attestation has to meet all.
    after(
        "A19",
        "the right source by one, the right builder by another",
        |s| {
            policy(
                s,
                &format!(
                    "builders: [{{id: \"{OTHER_BUILDER}\"}}]\nparameters: {{target: {{any: true}}, buildFile: {{any: true}}, source: {{any: true}}, commit: {{any: true}}}}"
                ),
            );
            second(s, Signer::Second, OTHER_BUILDER);
            s.with(&["--bundle", "out.sigstore.json", "--bundle", "second.json"]);
        },
        |s| {
            let mut other = s.clone();
            other.parameter("overrides", "x=y");
            second(&mut other, Signer::Second, OTHER_BUILDER);
            s.files = other.files;
        },
        Refuse("KILN-0804"),
    ),
    after(
        "A19",
        "a good one about another file beside a broken one about this",
        |s| s.with(&["--bundle", "out.sigstore.json"]),
        |s| {
            let mut other = s.clone();
            other.statement["subject"][0]["digest"]["sha256"] =
                json!(model::Digest::of(b"other").hex());
            s.file("second.json", other.bundle().to_string());
            s.signer = Signer::Stranger;
            s.with(&["--bundle", "second.json"]);
        },
        Refuse("KILN-0801"),
    ),
    after(
        "A19",
        "a stranger's beside the good one",
        |s| s.with(&["--bundle", "out.sigstore.json"]),
        |s| {
            second(s, Signer::Stranger, BUILDER);
            s.with(&["--bundle", "second.json"]);
        },
        Same,
    ),
    after(
        "A19",
        "unreadable evidence beside the good one",
        |s| s.with(&["--bundle", "out.sigstore.json"]),
        |s| {
            s.file("second.json", "{");
            s.with(&["--bundle", "second.json"]);
        },
        Refuse("KILN-0806"),
    ),
    // A20.
    after(
        "A20",
        "an old build, where the policy says since when",
        |s| policy(s, "not-before: 2020-01-01T00:00:00Z"),
        |s| policy(s, "not-before: 2049-01-01T00:00:00Z"),
        Refuse("KILN-0804"),
    ),
    after(
        "A20",
        "an old build, where the policy says how old",
        |s| policy(s, "max-age: 1d"),
        |s| {
            s.statement["predicate"]["runDetails"]["metadata"]["finishedOn"] =
                json!("2020-01-01T00:00:00Z")
        },
        Refuse("KILN-0804"),
    ),
    after(
        "A20",
        "a build that says it is from the future",
        |s| policy(s, "max-age: 1d"),
        |s| {
            s.statement["predicate"]["runDetails"]["metadata"]["finishedOn"] =
                json!("2049-01-01T00:00:00Z")
        },
        Refuse("KILN-0804"),
    ),
    after(
        "A20",
        "a build that does not say when",
        |s| policy(s, "max-age: 1d"),
        |s| {
            s.statement["predicate"]["runDetails"]["metadata"]
                .as_object_mut()
                .expect("a map")
                .remove("finishedOn");
        },
        Refuse("KILN-0804"),
    ),
    // A21.
    after(
        "A21",
        "a summary that says FAILED",
        summary,
        |s| says(s, "verificationResult", json!("FAILED")),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a summary that says passed in small letters",
        summary,
        |s| says(s, "verificationResult", json!("passed")),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a summary of another address",
        summary,
        |s| says(s, "resourceUri", json!("https://dl.example.org/evil")),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a summary of a lower level",
        summary,
        |s| says(s, "verifiedLevels", json!(["SLSA_BUILD_LEVEL_1"])),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a summary of a level of the source track",
        summary,
        |s| says(s, "verifiedLevels", json!(["SLSA_SOURCE_LEVEL_3"])),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a summary of no level",
        summary,
        |s| says(s, "verifiedLevels", json!([])),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a level above what its verifier is trusted for",
        summary,
        |s| {
            says(s, "verifiedLevels", json!(["SLSA_BUILD_LEVEL_3"]));
            *s.args.last_mut().expect("a level") = "3".into();
        },
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a summary by a verifier of another name",
        summary,
        |s| says(s, "verifier", json!({"id": "https://other.example/v1"})),
        Refuse("KILN-0802"),
    ),
    after(
        "A21",
        "a summary by a builder's key",
        summary,
        |s| s.signer = Signer::Builder,
        Refuse("KILN-0802"),
    ),
    after(
        "A21",
        "the summary of another file",
        summary,
        |s| s.artifact.push(b'x'),
        Refuse("KILN-0801"),
    ),
    after(
        "A21",
        "a summary by another policy",
        |s| {
            summary(s);
            s.args.truncate(4);
            policy(s, "");
            s.file("policy.yaml", "policy: 1\n");
        },
        |s| policy(s, "level: 1"),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a verifier named by hand, for what a policy asks",
        |s| judged_by(s, "enforce: [network]"),
        by_hand,
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "the same, of a level below the policy's",
        |s| judged_by(s, "level: 2"),
        |s| {
            by_hand(s);
            says(s, "verifiedLevels", json!(["SLSA_BUILD_LEVEL_1"]));
        },
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "a level of the policy above what the verifier is trusted for",
        |s| {
            judged_by(s, "level: 2");
            says(s, "verifiedLevels", json!(["SLSA_BUILD_LEVEL_3"]));
        },
        |s| by_rules(s, "level: 3"),
        Refuse("KILN-0804"),
    ),
    after(
        "A21",
        "a level that no builder of the policy has",
        |s| judged_by(s, "level: 1\nbuilders: [{id: \"https://b.example/v1\", min-level: 2}]"),
        |s| says(s, "verifiedLevels", json!(["SLSA_BUILD_LEVEL_1"])),
        Refuse("KILN-0804"),
    ),
    after(
        "A21",
        "a summary older than the policy says",
        |s| judged_by(s, "max-age: 1d"),
        |s| says(s, "timeVerified", json!("2020-01-01T00:00:00Z")),
        Refuse("KILN-0804"),
    ),
    after(
        "A21",
        "a summary of no time, where the policy says how old",
        |s| judged_by(s, "max-age: 1d"),
        |s| says(s, "timeVerified", json!(null)),
        Refuse("KILN-0804"),
    ),
    after(
        "A21",
        "a summary from before the policy's time",
        |s| judged_by(s, "not-before: 2026-01-01T00:00:00Z"),
        |s| says(s, "timeVerified", json!("2025-12-31T23:59:59Z")),
        Refuse("KILN-0804"),
    ),
    after(
        "A21",
        "a summary without a wanted address",
        summary,
        |s| s.args.truncate(2),
        Refuse("KILN-0821"),
    ),
    after(
        "A21",
        "provenance for a summary: levels in a statement of one's own",
        summary,
        |s| s.statement["predicateType"] = json!("https://slsa.dev/provenance/v1"),
        Refuse("KILN-0806"),
    ),
    // A26: names that lead out.
    after(
        "A26",
        "a digest in an image layout that climbs",
        image,
        |s| index(s, "sha256:../../../../out"),
        Refuse("KILN-0806"),
    ),
    after(
        "A26",
        "a digest of another algorithm that climbs",
        image,
        |s| index(s, "../x:00"),
        Refuse("KILN-0806"),
    ),
    after(
        "A26",
        "a blob that is not what its name says",
        image,
        |s| {
            let blobs: Vec<String> =
                s.files.keys().filter(|name| name.contains("blobs")).cloned().collect();
            for name in blobs {
                s.file(&name, "{}x");
            }
        },
        Refuse("KILN-0806"),
    ),
    after(
        "A26",
        "a case of a policy's table that climbs",
        |s| table(s, "out.sigstore.json"),
        |s| table(s, "../out.sigstore.json"),
        NotBegin("KILN-0820"),
    ),
    row(
        "A26",
        "a trust file that is a link or that others can write",
        AS_IT_IS,
        Test("a_trust_file_that_others_can_write_is_not_believed"),
    ),
    row(
        "A26",
        "kept keys, whose file names are digests",
        AS_IT_IS,
        Test("rotation_loses_neither_key_and_keeps_the_old_ones_trust"),
    ),
    // A27.
    row(
        "A27",
        "credentials in addresses, wherever they stand in a statement",
        AS_IT_IS,
        Test("addresses_with_credentials_are_found_wherever_they_stand"),
    ),
    row(
        "A27",
        "credentials in inputs, variables and reports of a build",
        AS_IT_IS,
        Test("what_a_build_can_never_say_is_refused_before_it_runs"),
    ),
    // A29.
    row(
        "A29",
        "another source that was built properly, and no source named",
        |s| s.parameter("source", "git+https://evil.example/fork"),
        Say("evil.example/fork"),
    ),
    row(
        "A29",
        "the same, with the source named",
        |s| {
            s.parameter("source", "git+https://evil.example/fork");
            s.with(&["--source", "https://git.example.org/acme"]);
        },
        Refuse("KILN-0809"),
    ),
    row(
        "A29",
        "files that no commit holds",
        |s| s.parameter("dirty", "true"),
        Say("\"dirty\": true"),
    ),
    row(
        "A29",
        "files of which is said neither yes nor no",
        |s| s.parameter("dirty", "maybe"),
        Say("\"dirty\": true"),
    ),
    row(
        "A29",
        "the same, as it stands",
        |s| s.parameter("dirty", "may\u{1b}be"),
        Say(", dirty: may"),
    ),
    row("A29", "a waived guarantee", |s| s.parameter("waivers", "landlock"), Say("\"landlock\"")),
    row(
        "A29",
        "a waived guarantee that nobody knows",
        |s| s.parameter("waivers", "every\u{1b}[2Kthing"),
        Say("\"every\\u001b[2Kthing\""),
    ),
    row(
        "A18",
        "a waived network, written otherwise",
        |s| s.parameter("waivers", "limits, NETWORK"),
        Refuse("KILN-0810"),
    ),
    row(
        "A29",
        "what a signature does not say, in the receiver's page",
        AS_IT_IS,
        Test("the_receivers_page_says_what_provenance_does_not"),
    ),
];

/// A policy's table of one case.
fn table(scene: &mut Scene<'_>, bundle: &str) {
    let made = scene.bundle().to_string();
    let (trust, artifact) = (scene.trust.clone(), scene.artifact.clone());
    scene.file("t/out.sigstore.json", made);
    scene.file("t/out", artifact);
    scene.file("t/policy.yaml", "policy: 1\n");
    scene.file("t/trust.toml", trust);
    let case = format!("{{name: it, file: out, bundle: {bundle}, expect: accept}}");
    let text = format!("policy: policy.yaml\ntrust: trust.toml\ncases:\n  - {case}\n");
    scene.file("t/cases.yaml", text);
    scene.args = ["policy", "test", "t"].map(str::to_owned).to_vec();
}

#[test]
fn the_receivers_page_says_what_provenance_does_not() {
    let page = crate::tidy::top().join("docs/for-people-who-received-a-file.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    for words in
        ["It does not tell", "Malicious code can be built properly", "the builder is honest"]
    {
        assert!(page.contains(words), "{words}");
    }
}
