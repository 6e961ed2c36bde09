//! The attestor's process: what it signs, what it refuses, and what it leaves on disk.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use attestor::client;
use attestor::dsse::PAYLOAD_TYPE;
use attestor::pipe::{Answer, Attest, RefusedKind, Request, Signed};
use attestor::public_key::{Algorithm, PublicKey};
use attestor::trust::{Level, Trust};
use attestor::verify::{Artifact, Evidence, Expected, SignedBy, verify};
use model::Digest;
use model::digest::Blob;
use model::record::{Nonce, Record, Subject};

use crate::support::{ARTIFACT, Attestor, NOW, file, present, record};

fn kind(answer: Answer) -> RefusedKind {
    match answer {
        Answer::Refused(refused) => refused.kind,
        other => panic!("{other:?}"),
    }
}

fn with_nonce(byte: u8) -> Record {
    let mut record = record();
    record.order.nonce = Nonce::from_bytes([byte; 16]);
    record.observed.nonce = record.order.nonce.clone();
    record
}

fn journal(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("state/journal")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_the_process_signs_verifies_by_the_trust_it_wrote() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let folder = tempfile::tempdir().unwrap();
        let attestor = Attestor::start(folder.path());
        let key = attestor.generate(algorithm);
        let signed = attestor.signed(&record());
        assert_eq!(attestor.end(), Some(0));

        let trust = std::fs::read(folder.path().join("config/trust.toml")).unwrap();
        let trust = Trust::parse(&trust).unwrap();
        let public = PublicKey::from_pem(&key.pem).unwrap();
        let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
        for bytes in [signed.bundle.as_bytes(), signed.line.as_bytes()] {
            let evidence = Evidence { bytes, manifest: None };
            for key in [None, Some(&public)] {
                let expected =
                    Expected { trust: &trust, key, identity: None, root: None, source: None };
                let verified = verify(&artifact, &evidence, &expected, NOW * 2).unwrap();
                assert_eq!(verified.level(), Level::L1);
                assert_eq!(*verified.signer(), SignedBy::Key(public.id()));
            }
        }
    }
}

#[test]
fn without_a_key_nothing_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    let Answer::Refused(refused) = attestor.sign(&record()) else { panic!() };
    assert_eq!(refused.kind, RefusedKind::NoKey);
}

/// S-J09.
#[test]
fn one_nonce_gets_one_envelope_whatever_happens_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let first = attestor.signed(&record());
    assert_eq!(attestor.signed(&record()), first);
    let mut other = record();
    other.observed.run.invocation = "another".into();
    assert_eq!(kind(attestor.sign(&other)), RefusedKind::Nonce);
    assert_eq!(attestor.end(), Some(0));

    // Another process, another key, an hour later: the same bytes.
    let attestor = Attestor::start(folder.path());
    attestor.ask(&Request::Rotate { algorithm: Algorithm::Ed25519 }, &[]);
    assert_eq!(attestor.signed(&record()), first);
    assert_eq!(kind(attestor.sign(&other)), RefusedKind::Nonce);
    assert_ne!(attestor.signed(&with_nonce(2)).key, first.key);
    assert_eq!(journal(folder.path()), ["01".repeat(16), "02".repeat(16)]);
}

#[test]
fn what_a_crash_left_behind_is_swept_and_a_damaged_entry_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    attestor.signed(&record());
    drop(attestor);
    let path = folder.path().join("state/journal");
    let whole = std::fs::read(path.join("01".repeat(16))).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        std::fs::File::create(path.join(name)).unwrap().write_all(bytes).unwrap();
    };
    // Killed before the link: nobody has seen that envelope.
    put(".new-0123456789abcdef", &whole[..whole.len() / 2]);
    let attestor = Attestor::start(folder.path());
    attestor.signed(&with_nonce(2));
    assert_eq!(journal(folder.path()), ["01".repeat(16), "02".repeat(16)]);
    // Damaged in place: its envelope may be out, so a second one must not be made.
    for length in [0, 1, 40, whole.len() / 2, whole.len() - 1] {
        put(&"01".repeat(16), &whole[..length]);
        assert_eq!(kind(attestor.sign(&record())), RefusedKind::Files, "{length}");
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    put(&"01".repeat(16), &flipped);
    assert_eq!(kind(attestor.sign(&record())), RefusedKind::Files);
    // Though a crash had left its temporary name: its line says that it was whole once.
    let mark = path.join(".new-0123456789abcdef");
    std::fs::hard_link(path.join("01".repeat(16)), &mark).unwrap();
    assert_eq!(kind(attestor.sign(&record())), RefusedKind::Files);
    assert!(!mark.exists());
    // Killed before its line was flushed, or it was itself: it has both names and no line, and never left.
    let lengths = [0, 1, 40, whole.len() / 2, whole.len() - 1, whole.len()];
    for (number, length) in (3..).zip(lengths) {
        let nonce = format!("{number:02x}").repeat(16);
        put(&nonce, &whole[..length]);
        std::fs::hard_link(path.join(&nonce), &mark).unwrap();
        let signed = attestor.signed(&with_nonce(number));
        assert_eq!(attestor.signed(&with_nonce(number)), signed, "{length}");
        assert!(!mark.exists() && journal(folder.path()).contains(&nonce), "{length}");
    }
}

/// S-J09: killed at any moment, then asked again. What was answered once is answered for ever.
#[test]
fn kill_at_any_moment_makes_no_second_envelope() {
    let folder = tempfile::tempdir().unwrap();
    let mut attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    for round in 10..22_u8 {
        let request = Request::Sign(Box::new(present(with_nonce(round))));
        let artifact = file(ARTIFACT);
        let socket = attestor.socket().try_clone().unwrap();
        let asked = std::thread::spawn(move || {
            client::ask(socket.as_fd(), &request, &[artifact.as_fd()]).ok()
        });
        // Spin for a different while in each round; no clock is asked.
        for _ in 0..u32::from(round - 10) * 40_000 {
            std::hint::spin_loop();
        }
        attestor.child.kill().unwrap();
        attestor.child.wait().unwrap();
        let before = asked.join().unwrap();
        attestor = Attestor::start(folder.path());
        let after = attestor.signed(&with_nonce(round));
        if let Some(before) = before {
            assert_eq!(before, Answer::Signed(after.clone()), "{round}");
        }
        assert_eq!(attestor.signed(&with_nonce(round)), after);
    }
    // What has its line is no longer marked as left by a crash, once something else was signed.
    attestor.signed(&with_nonce(200));
    assert!(journal(folder.path()).iter().all(|name| !name.starts_with('.')));
}

/// S-J03: the attestor hashes for itself.
#[test]
fn other_bytes_than_observed_are_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let request = || Request::Sign(Box::new(present(record())));
    let mut longer = ARTIFACT.to_vec();
    longer.push(b'x');
    for bytes in [&b""[..], b"other", &ARTIFACT[..5], &longer, &vec![0; 1 << 20]] {
        assert_eq!(kind(attestor.ask(&request(), &[file(bytes)])), RefusedKind::Subject);
    }
    assert_eq!(kind(attestor.ask(&request(), &[])), RefusedKind::Subject);
    let two = [file(ARTIFACT), file(ARTIFACT)];
    assert_eq!(kind(attestor.ask(&request(), &two)), RefusedKind::Subject);
    // A folder, a device, a descriptor that can be written through.
    let writable = tempfile::tempfile().unwrap();
    (&writable).write_all(ARTIFACT).unwrap();
    for odd in [
        std::fs::File::open(folder.path()).unwrap(),
        std::fs::File::open("/dev/null").unwrap(),
        writable,
    ] {
        assert_eq!(kind(attestor.ask(&request(), &[odd])), RefusedKind::Subject);
    }
    assert_eq!(journal(folder.path()), [""; 0]);
    // Read from the start, wherever the descriptor stands.
    let mut moved = file(ARTIFACT);
    std::io::Seek::seek(&mut moved, std::io::SeekFrom::End(0)).unwrap();
    assert!(matches!(attestor.ask(&request(), &[moved]), Answer::Signed(_)));
}

/// A token can stand in a query, and what is refused is not repeated.
#[test]
fn a_source_with_a_query_or_fragment_is_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    for more in ["?token=s3cret", "#s3cret"] {
        let mut bad = record();
        for source in [&mut bad.order.source, &mut bad.observed.source] {
            source.uri.push_str(more);
        }
        let Answer::Refused(refused) = attestor.sign(&bad) else { panic!("it was signed") };
        assert_eq!(refused.kind, RefusedKind::Record);
        assert!(!refused.causes.join(" ").contains("s3cret"), "{refused:?}");
    }
}

/// Who starts an attestor orders for themselves, and can not name a reference that a policy would believe.
#[test]
fn nobody_but_a_control_plane_names_a_reference() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let mut whole = record();
    for source in [&mut whole.order.source, &mut whole.observed.source] {
        source.uri.push_str("@refs/tags/v9");
    }
    let mut input = record();
    for one in &mut input.observed.dependencies {
        if one.role == model::record::Role::Source {
            one.uri = Some("git+https://git.example.org/a@refs/heads/main".to_owned());
        }
    }
    assert_ne!(input, record());
    for bad in [whole, input] {
        let Answer::Refused(refused) = attestor.sign(&bad) else { panic!("it was signed") };
        assert_eq!(refused.kind, RefusedKind::Record);
        assert!(refused.causes.join(" ").contains("names a reference"), "{refused:?}");
    }
    assert_eq!(journal(folder.path()), [""; 0]);
    attestor.signed(&record());
}

/// S-J10, and the clock of the attestor's own.
#[test]
fn a_refused_record_leaves_no_trace_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let mut other_source = record();
    other_source.observed.source.uri.push('x');
    let mut late = record();
    late.observed.run.started = 5;
    late.observed.run.finished = 5;
    late.order.deadline = 10;
    let mut network = record();
    network.order.waivers.insert(model::isolation::Guarantee::Network);
    for (bad, expected) in [
        (other_source, RefusedKind::Record),
        (late, RefusedKind::Late),
        (network, RefusedKind::Record),
    ] {
        assert_eq!(kind(attestor.sign(&bad)), expected);
    }
    // By its own clock: from the future, and kept for longer than a day.
    for away in [2 * 3600, -25 * 3600] {
        let mut bad = record();
        let run = &mut bad.observed.run;
        for time in [&mut run.started, &mut run.finished, &mut run.steps[0].started] {
            *time += away;
        }
        let Answer::Refused(refused) = attestor.sign(&bad) else { panic!("{away}") };
        assert_eq!(refused.kind, RefusedKind::Record);
        assert!(refused.causes[1].contains("this attestor's clock"), "{:?}", refused.causes);
    }
    assert_eq!(journal(folder.path()), [""; 0]);
    // The nonce is still free for the right one.
    attestor.signed(&record());
}

fn attest(predicate_type: &str, predicate: &str, nonce: u8) -> Request {
    Request::Attest(Attest {
        predicate_type: predicate_type.into(),
        predicate: predicate.into(),
        subjects: vec![
            Subject { name: "hello".into(), blob: Blob::of(ARTIFACT) },
            Subject { name: "other".into(), blob: Blob::of(b"other") },
        ],
        nonce: Nonce::from_bytes([nonce; 16]),
        deadline: i64::MAX,
    })
}

fn payload(signed: &Signed) -> Vec<u8> {
    let attestations = attestor::bundle::read(signed.bundle.as_bytes()).unwrap();
    let envelope = &attestations[0].envelope;
    assert_eq!(envelope.payload_type(), PAYLOAD_TYPE);
    envelope.unverified_payload().to_vec()
}

/// Decision 31.
#[test]
fn a_predicate_of_the_users_own_is_signed_but_none_that_the_attestor_derives() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    let key = attestor.generate(Algorithm::EcdsaP256);
    let ask = |request: &Request| attestor.ask(request, &[file(ARTIFACT), file(b"other")]);
    // The predicate's bytes stand in the statement as they came: order, spaces and numbers.
    let predicate = "{\"z\": 1.0, \"a\":[ 1e3 ]}";
    let Answer::Signed(signed) = ask(&attest("https://spdx.dev/Document", predicate, 1)) else {
        panic!()
    };
    let text = String::from_utf8(payload(&signed)).unwrap();
    assert!(text.ends_with(&format!("\"predicate\":{predicate}}}")), "{text}");
    // It is no provenance, so it verifies nothing.
    let trust = std::fs::read(folder.path().join("config/trust.toml")).unwrap();
    let trust = Trust::parse(&trust).unwrap();
    let public = PublicKey::from_pem(&key.pem).unwrap();
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    for key in [None, Some(&public)] {
        let evidence = Evidence { bytes: signed.bundle.as_bytes(), manifest: None };
        let expected = Expected { trust: &trust, key, identity: None, root: None, source: None };
        assert!(verify(&artifact, &evidence, &expected, NOW).is_err());
    }

    for derived in [
        "https://slsa.dev/provenance/v1",
        "https://slsa.dev/provenance/v0.2",
        "HTTPS://SLSA.DEV/provenance/v1",
        "https://slsa.dev//provenance/v1",
        "https://slsa.dev/./provenance/v1",
        "https://slsa.dev/%70rovenance/v1",
        "https://slsa.dev/verification_summary/v1",
        "https://in-toto.io/attestation/link/v0.3",
        "https://in-toto.io/attestation/test-result/v0.1",
        "https://in-toto.io/attestation/scai/v0.3",
        "",
        "spdx",
        "https://",
        " https://slsa.dev/provenance/v1",
    ] {
        assert_eq!(kind(ask(&attest(derived, "{}", 2))), RefusedKind::Predicate, "{derived}");
    }
    for bad in ["", "[]", "null", "{} {}", "{\"a\":1,\"a\":2}", "{", "{},\"subject\":[]"] {
        let answer = ask(&attest("https://spdx.dev/Document", bad, 3));
        assert_eq!(kind(answer), RefusedKind::Predicate, "{bad}");
    }
    let mut same_name = attest("https://spdx.dev/Document", "{}", 4);
    if let Request::Attest(attest) = &mut same_name {
        attest.subjects[1].name = "hello".into();
    }
    assert_eq!(kind(ask(&same_name)), RefusedKind::Subject);
    let secret = attest("https://spdx.dev/Document", "{\"u\":\"https://u:p@h\"}", 5);
    assert_eq!(kind(ask(&secret)), RefusedKind::Record);
}

#[test]
fn a_request_of_another_format_is_refused_or_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let header =
        |length: u32, descriptors: u32| [length.to_be_bytes(), descriptors.to_be_bytes()].concat();
    // Whole messages of another format get an answer.
    for json in ["", "{}", "null", "{\"sign\":{}}", "\"show\" ", "{\"show\":1,\"show\":1}", "x"] {
        let attestor = Attestor::start(folder.path());
        let mut socket = attestor.socket();
        socket.write_all(&header(u32::try_from(json.len()).unwrap(), 0)).unwrap();
        socket.write_all(json.as_bytes()).unwrap();
        let mut answer = [0; 8];
        std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
        drop(attestor);
    }
    // What announces too much, or something that does not come, ends the process.
    for bytes in [header(u32::MAX, 0), header(2, 1), header(2, 1 << 20), header(9, 0), vec![0; 3]] {
        let attestor = Attestor::start(folder.path());
        let mut socket = attestor.socket();
        socket.write_all(&bytes).unwrap();
        assert_eq!(attestor.end(), Some(70), "{bytes:?}");
    }
}

/// S-J02: the process is closed to others of the same user.
#[test]
fn the_process_is_not_dumpable_and_starts_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let proc = format!("/proc/{}", attestor.child.id());
    let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max processes"), "0 0");
    // Here the attestor is one thread of a test; in the program it is the only one.
    let threads = std::fs::read_dir(format!("{proc}/task")).unwrap();
    let statuses: Vec<String> = threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap())
        .collect();
    assert!(statuses.iter().any(|status| status.contains("NoNewPrivs:\t1")));
    assert!(statuses.iter().all(|status| status.contains("Umask:\t0077")));
    // What is not dumpable belongs to root, so nobody else of the user can look into it.
    let owner =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("{proc}/mem")).unwrap());
    assert_eq!(owner, 0);
}

#[test]
fn answers_hold_no_private_key() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let secret = std::fs::read_to_string(folder.path().join("config/key.pem")).unwrap();
    let middle = secret.lines().nth(1).unwrap();
    let mut unreadable = secret.clone();
    unreadable.truncate(secret.len() - 30);
    let path = folder.path().join("bad.pem");
    std::fs::File::create(&path).unwrap().write_all(unreadable.as_bytes()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let other = Attestor::start(&folder.path().join("other"));
    for answer in [
        attestor.ask(&Request::Show, &[]),
        attestor.sign(&record()),
        attestor.ask(&Request::Generate { algorithm: Algorithm::Ed25519 }, &[]),
        other.ask(&Request::Import { path: path.to_str().unwrap().into() }, &[]),
        attestor.ask(&Request::Rotate { algorithm: Algorithm::EcdsaP256 }, &[]),
    ] {
        let text = format!("{answer:?}");
        assert!(!text.contains(middle) && !text.contains("PRIVATE KEY--"), "{text}");
    }
    let trust = std::fs::read_to_string(folder.path().join("config/trust.toml")).unwrap();
    assert!(!trust.contains("PRIVATE"));
}
