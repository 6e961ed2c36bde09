//! A verdict that a listening attestor passes is told as a verdict, whichever way it goes.

use std::fs;
use std::os::unix::fs::chown;

use super::{BUILDER, CONTROL, Host, can_be_others};

#[test]
fn a_listening_attestors_refusal_is_a_verdict_and_no_failure_of_the_service() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    host.build(&host.order("out", BUILDER)).exits(0);
    let path = |name: &str| host.world.path(name).display().to_string();
    // Whose the folder is could put another home in the place of the control plane's, and its trust with it.
    chown(path(""), Some(0), Some(0)).expect("we are root");
    let home = format!("home-of-{CONTROL}");
    for name in ["verdicts", &home] {
        fs::create_dir(path(name)).expect("a new folder");
        chown(path(name), Some(CONTROL), Some(CONTROL)).expect("we are root");
    }
    fs::write(path("policy.yaml"), "policy: 1\nuri: https://policies.example.org/out\n")
        .expect("a file");
    let public = host.kiln_as(CONTROL, &["key", "export"]).exits(0).stdout;
    fs::write(path("attestor.pem"), public).expect("a file");
    let (artifact, policy, key) = (host.artifact(), path("policy.yaml"), path("attestor.pem"));
    let builder = ["--builder-id", "https://ci.example.org/kiln/v1"];
    host.kiln_as(CONTROL, &[&["trust", "add", &key][..], &builder].concat()).exits(0);
    let verify = |json: &[&str], out: &str| {
        let out = path(out);
        let what = ["verify", &artifact, "--policy", &policy];
        let how = ["--resource-uri", "https://dl.example.org/out", "--vsa", &out];
        host.kiln_as(CONTROL, &[json, &what, &how].concat())
    };
    // The control: both accept.
    let passed = verify(&[], "verdicts/passed.vsa.jsonl").exits(0);
    assert!(
        passed.says("is verified, L1")
            && passed.says(&format!("wrote {}", path("verdicts/passed.vsa.jsonl")))
    );
    // The attestor believes nobody; whoever asks still does.
    let trust = host.world.path("attestor/config/trust.toml");
    let believed = fs::read_to_string(&trust).expect("it was written with the key");
    fs::write(&trust, "").expect("we are root");
    let failed = verify(&[], "verdicts/failed.vsa.jsonl").exits(4);
    for words in ["KILN-0802", "refused by the attestor", "not signed by a key you have accepted"] {
        assert!(failed.says(words), "{words}: {}", failed.stderr);
    }
    assert!(!failed.says("KILN-0706") && !failed.says("is verified"), "{}", failed.stdout);
    // Its verdict is there, as one that says so.
    assert!(
        failed.says(&format!("wrote {}", path("verdicts/failed.vsa.jsonl"))),
        "{}",
        failed.stdout
    );
    let line = fs::read_to_string(path("verdicts/failed.vsa.jsonl")).expect("it was written");
    let envelope: serde_json::Value = serde_json::from_str(&line).expect("one envelope");
    let payload = crate::support::unbase64(envelope["payload"].as_str().expect("a payload"));
    let summary: serde_json::Value = serde_json::from_slice(&payload).expect("a statement");
    assert_eq!(summary["predicate"]["verificationResult"], "FAILED");
    let told = verify(&["--json"], "verdicts/again.vsa.jsonl").exits(4);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("one document");
    assert_eq!(told["files"][0]["verified"], false, "{told}");
    assert_eq!(told["files"][0]["errors"][0]["code"], "KILN-0802", "{told}");
    // The other way round: refused here, accepted there. Refused it is, and no PASSED is written.
    fs::write(&trust, believed).expect("we are root");
    let own = host.world.path(&format!("{home}/.config/kiln/trust.toml"));
    fs::write(&own, "").expect("we are root");
    let out = path("verdicts/other.vsa.jsonl");
    let refused = verify(&[], "verdicts/other.vsa.jsonl").exits(4);
    assert!(refused.says("KILN-0821") && refused.says("KILN-0802"), "{}", refused.stderr);
    assert!(!fs::exists(&out).expect("a folder"), "a verdict that is not this one's was written");
}
