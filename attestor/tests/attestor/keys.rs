//! Key files: made once, private, never overwritten, put away and not lost.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use attestor::pipe::{Answer, KeyInfo, RefusedKind, Request};
use attestor::public_key::{Algorithm, PublicKey};
use attestor::trust::{Level, Trust};

use crate::support::{Attestor, record};

fn refused(answer: Answer) -> RefusedKind {
    match answer {
        Answer::Refused(refused) => refused.kind,
        other => panic!("{other:?}"),
    }
}

fn key(answer: Answer) -> KeyInfo {
    match answer {
        Answer::Key(info) => info,
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_is_made_private_trusted_for_its_own_builder_and_never_overwritten() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let folder = tempfile::tempdir().unwrap();
        let attestor = Attestor::start(folder.path());
        let made = attestor.generate(algorithm);
        let path = folder.path().join("config/key.pem");
        assert_eq!(made.path, path.to_str().unwrap());
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("config")), 0o700);
        let before = std::fs::read(&path).unwrap();
        assert!(before.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));

        let trust = std::fs::read(folder.path().join("config/trust.toml")).unwrap();
        let trust = Trust::parse(&trust).unwrap();
        let builders: Vec<&str> =
            trust.entries().iter().map(|entry| entry.builder().unwrap().as_str()).collect();
        assert_eq!(
            builders,
            [
                made.builder_id.as_str(),
                "https://kiln.build/builders/local-confined/v1",
                "https://kiln.build/builders/local-docker/v1",
            ]
        );
        for entry in trust.entries() {
            assert_eq!(entry.key().unwrap().id().to_string(), made.fingerprint);
            assert_eq!(entry.max_level, Level::L1);
        }

        for request in [
            Request::Generate { algorithm },
            Request::Import { path: path.to_str().unwrap().into() },
        ] {
            assert_eq!(refused(attestor.ask(&request, &[])), RefusedKind::KeyExists);
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let shown = key(attestor.ask(&Request::Show, &[]));
        assert!(made.trusted, "it was written to trust.toml");
        assert_eq!(KeyInfo { trusted: true, ..shown.clone() }, made);
        assert!(!shown.pem.contains("PRIVATE"));
        assert_eq!(PublicKey::from_pem(&shown.pem).unwrap().algorithm(), algorithm);
        let names: Vec<_> = std::fs::read_dir(folder.path().join("config"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert_eq!(names, [""; 0], "no temporary file is left");
    }
}

#[test]
fn a_key_that_others_can_reach_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let path = folder.path().join("config/key.pem");
    for bad in [0o640, 0o604, 0o660, 0o601] {
        chmod(&path, bad);
        assert_eq!(
            refused(attestor.ask(&Request::Show, &[])),
            RefusedKind::KeyUnreadable,
            "{bad:o}"
        );
        assert_eq!(refused(attestor.sign(&record())), RefusedKind::KeyUnreadable, "{bad:o}");
    }
    for good in [0o600, 0o400] {
        chmod(&path, good);
        assert!(matches!(attestor.ask(&Request::Show, &[]), Answer::Key(_)), "{good:o}");
    }
    // A link is not followed, whoever may own what it leads to.
    let moved = folder.path().join("elsewhere.pem");
    std::fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    assert_eq!(refused(attestor.ask(&Request::Show, &[])), RefusedKind::KeyUnreadable);
    let request = Request::Generate { algorithm: Algorithm::EcdsaP256 };
    assert_eq!(refused(attestor.ask(&request, &[])), RefusedKind::KeyExists);
    // Nor is a folder or a pipe a key.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(refused(attestor.ask(&Request::Show, &[])), RefusedKind::KeyUnreadable);
}

#[test]
fn a_folder_in_which_others_can_write_gets_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::create_dir(&config).unwrap();
    chmod(&config, 0o777);
    let attestor = Attestor::start(folder.path());
    let request = Request::Generate { algorithm: Algorithm::EcdsaP256 };
    assert_eq!(refused(attestor.ask(&request, &[])), RefusedKind::Configuration);
    assert!(!config.join("key.pem").exists());
}

#[test]
fn rotation_loses_neither_key_and_keeps_the_old_ones_trust() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    let config = folder.path().join("config");
    let old = attestor.generate(Algorithm::EcdsaP256);
    let old_bytes = std::fs::read(config.join("key.pem")).unwrap();
    let new = key(attestor.ask(&Request::Rotate { algorithm: Algorithm::Ed25519 }, &[]));
    assert_ne!(new.fingerprint, old.fingerprint);
    let shown = key(attestor.ask(&Request::Show, &[]));
    assert_eq!(KeyInfo { trusted: true, ..shown }, new);
    let id = PublicKey::from_pem(&old.pem).unwrap().id();
    let retired = config.join(format!("retired/{}.pem", id.hex()));
    assert_eq!(std::fs::read(&retired).unwrap(), old_bytes);
    assert_eq!((mode(&retired), mode(&config.join("key.pem"))), (0o600, 0o600));
    let trust = Trust::parse(&std::fs::read(config.join("trust.toml")).unwrap()).unwrap();
    let mut ids: Vec<String> =
        trust.entries().iter().map(|one| one.key().unwrap().id().to_string()).collect();
    // One entry for each backend's builder.
    ids.dedup();
    assert_eq!(ids, [old.fingerprint, new.fingerprint]);
}

#[test]
fn a_key_is_taken_over_from_a_private_file_of_either_kind() {
    let folder = tempfile::tempdir().unwrap();
    let first = Attestor::start(&folder.path().join("a"));
    let made = first.generate(Algorithm::Ed25519);
    let second = Attestor::start(&folder.path().join("b"));
    let import = |path: &str| second.ask(&Request::Import { path: path.to_owned() }, &[]);
    assert_eq!(refused(import("/does/not/exist")), RefusedKind::NoKey);
    let public = folder.path().join("public.pem");
    std::fs::File::create(&public)
        .and_then(|mut file| std::io::Write::write_all(&mut file, made.pem.as_bytes()))
        .unwrap();
    chmod(&public, 0o600);
    assert_eq!(refused(import(public.to_str().unwrap())), RefusedKind::KeyUnreadable);
    let taken = key(import(&made.path));
    assert_eq!(taken.fingerprint, made.fingerprint);
}

#[test]
fn the_builder_comes_from_the_attestors_own_file_and_what_people_wrote_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let write = |name: &str, text: &str| {
        let mut file = std::fs::File::create(config.join(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    write("trust.toml", "# my own comment\n");
    write(
        "attestor.toml",
        "[builder]\nid = \"https://a.example/k\"\nwaived-id = \"https://a.example/w\"\n",
    );
    let attestor = Attestor::start(folder.path());
    let made = attestor.generate(Algorithm::EcdsaP256);
    assert_eq!(made.builder_id, "https://a.example/k");
    let trust = std::fs::read_to_string(config.join("trust.toml")).unwrap();
    assert!(trust.starts_with("# my own comment\n\n[[trust]]\n"));
    assert!(trust.contains("builder-id = \"https://a.example/k\"\n"));
    // A file that is not understood stops signing; it is never read in part.
    write("attestor.toml", "[builder]\nid = \"https://a.example/k\"\n");
    assert_eq!(refused(attestor.sign(&record())), RefusedKind::Configuration);
}
