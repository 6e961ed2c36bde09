//! The attestor's process: what it signs, what it refuses, and what it leaves on disk.

use attestor::pipe::{Answer, RefusedKind};
use attestor::public_key::{Algorithm, PublicKey};
use attestor::trust::{Level, Trust};
use attestor::verify::{Artifact, Evidence, Expected, verify};
use model::Digest;

use crate::support::{ARTIFACT, Attestor, NOW, record};

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
                let expected = Expected { trust: &trust, key, source: None };
                let verified = verify(&artifact, &evidence, &expected, NOW * 2).unwrap();
                assert_eq!(verified.level(), Level::L1);
                assert_eq!(verified.key(), &public.id());
            }
        }
        if let Some(out) = option_env!("KILN_KEEP") {
            let name = format!("{out}/{algorithm:?}");
            std::fs::create_dir_all(&name).unwrap();
            for (file, text) in
                [("b.sigstore.json", &signed.bundle), ("b.intoto.jsonl", &signed.line), ("k.pub", &key.pem)]
            {
                std::io::Write::write_all(
                    &mut std::fs::File::create(format!("{name}/{file}")).unwrap(),
                    text.as_bytes(),
                )
                .unwrap();
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
