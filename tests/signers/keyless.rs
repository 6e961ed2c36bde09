//! Signing with certificates, as far as no instance is needed: what is refused before anything is asked,
//! and what a token never reaches. With an instance: tests/scripts/interop-keyless.sh.

use std::fs;
use std::io::{Read as _, Write as _};

use super::{configure, refused, secret, world};
use crate::support::{Who, World, build_file};

/// Nobody listens at this port of this host: it is the one of TCP's own "discard".
const FULCIO: &str = "http://localhost:9";

/// Of an instance that is no more.
const ROOT: &str = include_str!("../../attestor/tests/vectors/keyless/trusted_root.json");

/// A token of these claims. Its signature is what is searched for.
fn token(ends: &str, audience: &str) -> String {
    let claims = format!(
        r#"{{"iss":"https://issuer.example","sub":"1","aud":"{audience}","email":"me@kiln.example","exp":{ends}}}"#
    );
    let part = |text: &str| base64url(text.as_bytes());
    format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims), part(SIGNATURE))
}

const SIGNATURE: &str = "whoever has this signs as me";
const LASTS: &str = "4000000000";

/// Writes an instance whose certificate authority is at `fulcio`.
fn instance(world: &World, fulcio: &str) -> String {
    let service = |url: &str, version: u32| {
        format!(
            r#"[{{"url":"{url}","majorApiVersion":{version},"operator":"kiln.example","validFor":{{"start":"2020-01-01T00:00:00Z"}}}}]"#
        )
    };
    let config = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":{},"oidcUrls":{},"rekorTlogUrls":{},"rekorTlogConfig":{{"selector":"ANY"}},"tsaUrls":{},"tsaConfig":{{"selector":"ANY"}}}}"#,
        service(fulcio, 1),
        service("https://issuer.example", 1),
        service(FULCIO, 2),
        service(FULCIO, 1)
    );
    let config = secret(world, "config/signing_config.json", &config);
    let root = secret(world, "config/trusted_root.json", ROOT);
    format!(
        "[signer]\nkind = \"keyless\"\nsigning-config = \"{config}\"\ntrusted-root = \"{root}\"\n"
    )
}

fn base64url(bytes: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |six: &[u8]| (0..6).fold(0, |all, at| all << 1 | six.get(at).unwrap_or(&0));
    bits.chunks(6).map(|six| char::from(letters[usize::from(value(six))])).collect()
}

#[test]
fn what_cannot_be_signed_with_is_told_and_the_token_is_not() {
    for who in Who::all() {
        let world = world(who);
        let signer = instance(&world, FULCIO);
        let now = (LASTS, "sigstore");
        for ((ends, audience), code, exit, words) in [
            (
                ("1000000000", "sigstore"),
                "KILN-0703",
                5,
                "the identity token ran out at 2001-09-09",
            ),
            ((LASTS, "other"), "KILN-0703", 5, "is for `other` and not for `sigstore`"),
            // As an unprivileged user the attestor can start no thread; a name is looked up all the same.
            (now, "KILN-0708", 6, "fulcio at http://localhost:9 can not be reached: error"),
        ] {
            let token = token(ends, audience);
            configure(&world, &signer);
            refused(&world, &[("SIGSTORE_ID_TOKEN", &token)], code, exit, &[words]);
            let file = secret(&world, "tmp/token", &format!("{token}\n"));
            configure(&world, &format!("{signer}token-file = \"{file}\"\n"));
            refused(&world, &[], code, exit, &[words]);
            fs::remove_file(&file).expect("it is ours");
            assert!(!world.path("project/kiln-out").exists(), "nothing is half written");
            for part in token.split('.') {
                let found = world.run(&["grep", "-rlF", part, "--", "."], &[]);
                assert_eq!(found.stdout, "", "a part of the token is kept");
            }
        }
        configure(&world, &signer);
        refused(&world, &[], "KILN-0701", 5, &["there is no identity token", "token-file"]);
        let github = [("GITHUB_ACTIONS", "true")];
        refused(
            &world,
            &github,
            "KILN-0701",
            5,
            &["ACTIONS_ID_TOKEN_REQUEST_URL", "id-token: write"],
        );
        configure(&world, &instance(&world, "http://ca.kiln.example"));
        let token = token(LASTS, "sigstore");
        let given = [("SIGSTORE_ID_TOKEN", token.as_str())];
        refused(&world, &given, "KILN-0703", 5, &["neither https nor of this host"]);
    }
}

/// Every variable that a token, or what one is asked for with, comes in.
const SECRETS: [&str; 5] = [
    "SIGSTORE_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "MINE",
];

/// Looks wherever a step can look: at its own and everybody's variables, and for the token in every file.
const SEARCH: &str = r#"
{ env; cat /proc/*/environ /proc/*/task/*/environ || :; } >seen 2>/dev/null
tr '\0' '\n' <seen >lines
echo "looked at $(grep -c '^PATH=' lines) environments" >out
grep -E 'MARK|_TOKEN|^MINE' lines >>out || :
grep -raEl -D skip --exclude-dir=proc --exclude-dir=sys MARK / >>out 2>/dev/null || :
cat TOKENFILE >>out 2>/dev/null || :
"#;

#[test]
fn no_token_of_a_keyless_attestor_reaches_a_step() {
    for who in Who::all() {
        let world = world(who);
        let mark = format!("secret{}", world.token);
        // The attestor is given the variable, reads it before the first step, and refuses it: no token at all.
        let signer = instance(&world, FULCIO);
        let file = secret(&world, "tmp/token", &mark);
        let given = SECRETS.map(|name| (name, mark.as_str()));
        configure(&world, &format!("{signer}token-variable = \"MINE\"\n"));
        refused(&world, &given, "KILN-0703", 5, &["is no JSON web token"]);
        let halves = mark.split_at(6);
        let search = SEARCH.replace("TOKENFILE", &file);
        let search =
            search.replace("MARK", &format!("{}[{}]{}", halves.0, &halves.1[..1], &halves.1[1..]));
        world.write("src/look.sh", &search);
        let told = build_file("sh look.sh", "{out: out}", "[{file: attack.out}]");
        world.write("kiln.yaml", &told);
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.kiln_with(&["build", "--no-sign"], &given).exits(0);
        assert!(world.read("kiln-out/out").starts_with("looked at "));
        assert_eq!(world.read("kiln-out/out").lines().count(), 1, "{}", world.read("kiln-out/out"));
    }
}

/// Runs inside the attestor, as the module of a token does, and tells what it gets there.
const MODULE: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
extern char **environ;
__attribute__((constructor)) static void look(void) {
    FILE *out = fopen(getenv("SOFTHSM2_CONF"), "w");
    for (int family = 0; family < 46; family++) {
        int got = socket(family, SOCK_STREAM, 0);
        if (got < 0) got = socket(family, SOCK_DGRAM, 0);
        if (got < 0) got = socket(family, SOCK_RAW, 0);
        if (got >= 0) fprintf(out, "family %d\n", family);
    }
    if (syscall(SYS_io_uring_setup, 1, 0) >= 0 || errno != EPERM) fprintf(out, "a ring\n");
    for (char **one = environ; *one; one++) fprintf(out, "%s\n", *one);
    fclose(out);
}
"#;

/// Only who asks for certificates may reach a network: not what a token's module does in the attestor, and
/// it learns of no identity token either.
#[test]
fn an_attestor_with_a_key_reaches_no_network_and_learns_no_token() {
    for who in Who::all() {
        let world = world(who);
        let source = secret(&world, "tmp/module.c", MODULE);
        let module = world.path("tmp/module.so").display().to_string();
        world.run(&["cc", "-shared", "-fPIC", "-o", &module, &source], &[]).exits(0);
        let pin = secret(&world, "tmp/pin", "1234");
        configure(
            &world,
            &format!(
                "[signer]\nkind = \"pkcs11\"\nmodule = \"{module}\"\ntoken = \"t\"\nkey = \"k\"\npin-file = \"{pin}\"\n"
            ),
        );
        let told = world.path("tmp/told").display().to_string();
        let mut given = SECRETS.map(|name| (name, "secret")).to_vec();
        given.push(("SOFTHSM2_CONF", &told));
        refused(&world, &given, "KILN-0701", 5, &["load"]);
        let seen = fs::read_to_string(&told).expect("the module ran");
        assert_eq!(seen, format!("family 1\nSOFTHSM2_CONF={told}\n"));
    }
}

/// Answers every request with a body that does not end.
#[expect(clippy::disallowed_types, reason = "a service on this host, for this test")]
fn endless() -> (u16, std::thread::JoinHandle<u64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let serving = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody asks");
        // The whole request, which ends the JSON of it.
        let mut asked = Vec::new();
        while !asked.ends_with(b"}") {
            let mut piece = [0; 4096];
            let read = peer.read(&mut piece).expect("it asks");
            asked.extend_from_slice(&piece[..read]);
        }
        let head =
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        peer.write_all(head).expect("it is read");
        let piece = vec![b' '; 1 << 20];
        let mut sent = 0_u64;
        // It ends when the other side has had enough.
        while peer.write_all(&piece).is_ok() {
            sent += 1;
        }
        sent
    });
    (port, serving)
}

/// A service that answers without end is given up, by name, before it has taken the host's memory.
#[test]
fn a_service_that_answers_without_end_is_given_up() {
    let world = world(Who::all()[0]);
    let (port, serving) = endless();
    let signer = instance(&world, &format!("http://localhost:{port}"));
    // The others are told apart by their name.
    let config = world.path("config/signing_config.json");
    let text = fs::read_to_string(&config).expect("it was written");
    fs::write(&config, text.replace(FULCIO, "http://127.0.0.1:9")).expect("it is ours");
    configure(&world, &signer);
    let token = token(LASTS, "sigstore");
    let words = format!("fulcio at http://localhost:{port} answered with more than 256 MiB");
    refused(&world, &[("SIGSTORE_ID_TOKEN", &token)], "KILN-0709", 5, &[&words]);
    let sent = serving.join().expect("it ended");
    assert!((200..1024).contains(&sent), "{sent} MiB were taken");
}
