//! Signers that are no key file: a PKCS#11 token (SoftHSM), an agent of ssh (OpenSSH's), certificates.
//!
//! Whichever way is configured, the same holds: kiln and openssl accept the signature, another key
//! is refused, there is one signature, and no PIN is in what anybody else can read.

mod agent;
mod keyless;
pub mod token;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Ran, Who, World, unbase64};

/// A world with something to build, and no key.
fn world(who: Who) -> World {
    let world = World::warm(who);
    world.write("data/a", "a\n");
    world
}

/// Writes `attestor.toml`.
fn configure(world: &World, text: &str) {
    let folder = world.path("config/kiln");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("attestor.toml");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
    world.who.give(&folder);
}

/// Writes a file of the world that only its user can read.
fn secret(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    world.who.give(&path);
    path.to_str().expect("UTF-8").to_owned()
}

/// Builds something and has it signed.
fn build(world: &World, env: &[(&str, &str)]) -> Ran {
    world.kiln_with(
        &["run", "--sign", "--input", "data", "--output", "made", "--", "cp", "data/a", "made"],
        env,
    )
}

/// Checks a signed build with kiln, with another key, and with openssl; counts the signatures.
fn accepted_by_all(world: &World, env: &[(&str, &str)]) {
    build(world, env).exits(0);
    let public = world.kiln_with(&["key", "export"], env).exits(0).stdout;
    world.write("own.pem", &public);
    world.kiln(&["verify", "kiln-out/made", "--key", "own.pem"]).exits(0);
    // Nobody trusts the key by itself, until its entry is written where trust stands.
    world.kiln(&["verify", "kiln-out/made"]).exits(4);
    let entry = world.kiln_with(&["key", "show", "--trust"], env).exits(0).stdout;
    let trust = world.path("config/kiln/trust.toml");
    fs::write(&trust, entry).expect("a file");
    world.who.give(&trust);
    world.kiln(&["verify", "kiln-out/made"]).exits(0);
    let other = World::cold(world.who);
    other.key();
    world.write("other.pem", &other.kiln(&["key", "export"]).exits(0).stdout);
    world.kiln(&["verify", "kiln-out/made", "--key", "other.pem"]).exits(4);

    let line: serde_json::Value =
        serde_json::from_str(&world.read("kiln-out/made.intoto.jsonl")).expect("one line");
    let signatures = line["signatures"].as_array().expect("a list");
    assert_eq!(signatures.len(), 1);
    assert_eq!(signatures[0]["keyid"], "");
    let signature = unbase64(signatures[0]["sig"].as_str().expect("base64"));
    let payload = unbase64(line["payload"].as_str().expect("base64"));
    let kind = line["payloadType"].as_str().expect("a text");
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    let mut signed = head.into_bytes();
    signed.extend(payload);
    fs::write(world.path("tmp/signed"), &signed).expect("a file");
    fs::write(world.path("tmp/signature"), signature).expect("a file");
    let [file, signature] =
        ["tmp/signed", "tmp/signature"].map(|name| world.path(name).display().to_string());
    let openssl = |key: &str| {
        let of_key = world.run(&["openssl", "pkey", "-pubin", "-in", key, "-noout", "-text"], &[]);
        let arguments = if of_key.stdout.to_uppercase().contains("ED25519") {
            vec!["pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", &file]
        } else {
            vec!["dgst", "-sha256", "-verify", key, "-signature", &signature, &file]
        };
        let mut all = vec!["openssl"];
        all.extend(&arguments);
        if arguments[0] == "pkeyutl" {
            all.extend(["-sigfile", &signature]);
        }
        world.run(&all, &[]).code
    };
    assert_eq!(openssl("own.pem"), 0);
    assert_ne!(openssl("other.pem"), 0);
    signed[40] ^= 1;
    fs::write(world.path("tmp/signed"), &signed).expect("a file");
    assert_ne!(openssl("own.pem"), 0);
    // A build that changes nothing signs nothing.
    let line = world.read("kiln-out/made.intoto.jsonl");
    build(world, env).exits(0);
    assert_eq!(world.read("kiln-out/made.intoto.jsonl"), line);
}

/// Checks that a build that must be signed ends with this code, and says these words.
#[track_caller]
fn refused(world: &World, env: &[(&str, &str)], code: &str, exit: i32, words: &[&str]) {
    let ran = build(world, env).exits(exit);
    assert!(ran.says(&format!("error[{code}]")), "{}", ran.stderr);
    // The lines are wrapped for terminals.
    let flat = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in words {
        assert!(flat.contains(words), "{words} is not in {flat}");
    }
}

/// Key operations that need a key file are refused clearly where the key is none.
fn keys_are_not_made_here(world: &World, env: &[(&str, &str)]) {
    for command in [&["key", "generate"][..], &["key", "rotate"], &["key", "import", "own.pem"]] {
        let ran = world.kiln_with(command, env).exits(2);
        assert!(ran.says("KILN-0105") && ran.says("not made by kiln"), "{}", ran.stderr);
    }
    assert!(!world.path("config/kiln/key.pem").exists());
}

#[test]
fn wrong_signer_tables_are_refused() {
    let world = world(Who::all()[0]);
    for text in [
        "kind = \"hsm\"",
        "kind = \"file\"\nkey = \"x\"",
        "kind = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"",
        "kind = \"pkcs11\"\nmodule = \"m.so\"\ntoken = \"t\"\nkey = \"k\"",
        "kind = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"\nkey = \"k\"\npin = \"1234\"",
        "kind = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"\nid = \"0\"",
        "kind = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"\nkey = \"k\"\npin-descriptor = 1",
        "kind = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"\nkey = \"k\"\npin-descriptor = 5\npin-file = \"/p\"",
        "kind = \"ssh-agent\"\nkey = \"me@host\"",
        "kind = \"ssh-agent\"\nkey = \"SHA256:short\"",
        "kind = \"keyless\"\nsigning-config = \"/s\"",
        "kind = \"keyless\"\nsigning-config = \"s\"\ntrusted-root = \"/r\"",
        "kind = \"keyless\"\ntoken = \"jenkins\"",
        "kind = \"keyless\"\ntoken = \"github\"\ntoken-file = \"/t\"",
        "kind = \"keyless\"\ntoken-file = \"t\"",
        "kind = \"keyless\"\ntoken-variable = \"a b\"",
        "kind = \"keyless\"\naudience = \"\"",
        "kind = \"keyless\"\nidentity-token = \"eyJ\"",
        "key = \"x\"",
    ] {
        configure(&world, &format!("[signer]\n{text}\n"));
        refused(&world, &[], "KILN-0703", 5, &["attestor.toml"]);
    }
}

/// A configuration that others can write could name a library of theirs.
#[test]
fn a_signer_table_that_others_can_write_is_refused() {
    for who in Who::all() {
        let world = world(who);
        configure(&world, "[signer]\nkind = \"ssh-agent\"\nkey = \"SHA256:x\"\n");
        let path = world.path("config/kiln/attestor.toml");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
        refused(&world, &[], "KILN-0703", 5, &["with mode 666", "chmod go-w"]);
    }
}
