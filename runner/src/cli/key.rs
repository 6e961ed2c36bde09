//! `kiln key`: every key operation happens in the attestor's own process.

use attestor::builder::BuilderId;
use attestor::pipe::{Answer, IdentityInfo, KeyInfo, Request};
use attestor::public_key;
use attestor::trust::{Entry, Identity, Level, SpeaksFor, Who};
use serde_json::json;

use super::args::{Algorithm, KeyCommand};
use super::{Ended, Session};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::{report, sign};

/// What the key's entry is called, and that of an identity.
const OWN_NAMES: [&str; 2] = ["the attestor's key", "the attestor's identity"];

/// Runs one of the key commands.
pub fn run(session: &Session, command: &KeyCommand) -> Ended {
    let request = match command {
        KeyCommand::Generate { algorithm } => Request::Generate { algorithm: kind(*algorithm) },
        KeyCommand::Rotate { algorithm } => Request::Rotate { algorithm: kind(*algorithm) },
        KeyCommand::Show { .. } | KeyCommand::Export => Request::Show,
        KeyCommand::Import { file } => Request::Import {
            path: session.context.folder.join(file).to_string_lossy().into_owned(),
        },
    };
    let info =
        match sign::ask(&session.context, &request, &[]).map_err(|diagnostic| vec![diagnostic])? {
            Answer::Key(info) => info,
            Answer::Identity(info) => return identity(session, command, &info),
            other => return Err(vec![sign::unexpected(other)]),
        };
    if let KeyCommand::Show { trust: true } = command {
        report::data(&entry(session, &info)?);
        return Ok(Exit::Done);
    }
    if session.global.json {
        let mut told = json!({"fingerprint": info.fingerprint, "algorithm": info.algorithm, "builder_id": info.builder_id, "path": info.path, "pem": info.pem});
        if !matches!(command, KeyCommand::Show { .. } | KeyCommand::Export) {
            told["trusted"] = json!(info.trusted);
        }
        report::document("key", told);
        return Ok(Exit::Done);
    }
    match command {
        KeyCommand::Export => report::data(&info.pem),
        KeyCommand::Show { .. } => report::data(&format!(
            "{}\n{}\nsigns for {}\n{}\n",
            info.fingerprint,
            name(&info),
            info.builder_id,
            info.path
        )),
        KeyCommand::Generate { .. } | KeyCommand::Import { .. } | KeyCommand::Rotate { .. } => {
            if session.speaks() {
                report::line(&wrote(session, &info));
            }
        }
    }
    Ok(Exit::Done)
}

/// Says where a new key is believed, and where not: a listening attestor's is in that one's own trust file
/// and in nobody else's.
fn wrote(session: &Session, info: &KeyInfo) -> String {
    let believed = match (info.trusted, &session.context.attestor) {
        (true, None) => "trusted on this host at L1",
        (true, Some(_)) => {
            "trusted by that attestor itself at L1, and by nobody else yet: kiln key show --trust"
        }
        (false, _) => "not trusted: trust.toml has other entries for it; see: kiln trust list",
    };
    format!(" wrote key {}, {believed}; public half: kiln key export", info.fingerprint)
}

/// Tells who would sign with a certificate: there is no key to show.
fn identity(session: &Session, command: &KeyCommand, info: &IdentityInfo) -> Ended {
    match command {
        KeyCommand::Export => {
            let told = "an attestor that signs with certificates has no key to export";
            return Err(vec![
                Diagnostic::new(Code::WrongValue, told)
                    .help("those who verify name the identity and the issuer:  kiln key show"),
            ]);
        }
        KeyCommand::Show { trust: true } => {
            report::data(&identity_entry(session, info)?);
            return Ok(Exit::Done);
        }
        _ => {}
    }
    if session.global.json {
        report::document(
            "key",
            json!({"identity": {"subject": info.subject, "issuer": info.issuer}, "builder_id": info.builder_id, "path": info.path}),
        );
        return Ok(Exit::Done);
    }
    let subject = info.subject.as_deref().unwrap_or("whomever the certificate will name");
    report::data(&format!(
        "{subject}\nvouched for by {}\nsigns for {}\n{}\n",
        info.issuer, info.builder_id, info.path
    ));
    Ok(Exit::Done)
}

fn identity_entry(session: &Session, info: &IdentityInfo) -> Result<String, Vec<Diagnostic>> {
    let refuse = |error: &dyn std::error::Error| {
        let told = "the identity cannot be written as an entry";
        vec![Diagnostic::new(Code::KeyUnreadable, told).caused_by(error)]
    };
    let Some(subject) = &info.subject else {
        let told = "whom the certificate will name is not told by this token";
        return Err(vec![
            Diagnostic::new(Code::WrongValue, told)
                .help("sign once, and write the entry from what is told:  kiln inspect FILE"),
        ]);
    };
    let who = Who::Identity(Identity {
        identity: subject.clone(),
        issuer: info.issuer.clone(),
        source_repository: None,
    });
    let builder = BuilderId::new(&info.builder_id).map_err(|error| refuse(&error))?;
    own(session, who, builder).to_toml().map_err(|error| refuse(&error))
}

/// Returns the key's entry for `trust.toml`, as a key file's is written when it is made: believed for
/// its own builder, at level 1, from now on. A higher level is for people to write.
fn entry(session: &Session, info: &KeyInfo) -> Result<String, Vec<Diagnostic>> {
    let refuse = |error: &dyn std::error::Error| {
        let told = "the attestor's public key cannot be read";
        vec![Diagnostic::new(Code::KeyUnreadable, told).caused_by(error)]
    };
    let key = public_key::PublicKey::from_pem(&info.pem).map_err(|error| refuse(&error))?;
    let builder = BuilderId::new(&info.builder_id).map_err(|error| refuse(&error))?;
    own(session, Who::Key(key), builder).to_toml().map_err(|error| refuse(&error))
}

fn own(session: &Session, who: Who, builder: BuilderId) -> Entry {
    let [key, identity] = OWN_NAMES;
    let name = if matches!(who, Who::Key(_)) { key } else { identity };
    Entry {
        name: name.to_owned(),
        who,
        speaks_for: SpeaksFor::Builder(builder),
        max_level: Level::L1,
        from: Some(session.context.now()),
        until: None,
        revoked: None,
    }
}

fn name(info: &KeyInfo) -> &'static str {
    match info.algorithm {
        public_key::Algorithm::EcdsaP256 => "ECDSA P-256 with SHA-256",
        public_key::Algorithm::Ed25519 => "Ed25519",
    }
}

fn kind(algorithm: Algorithm) -> public_key::Algorithm {
    match algorithm {
        Algorithm::P256 => public_key::Algorithm::EcdsaP256,
        Algorithm::Ed25519 => public_key::Algorithm::Ed25519,
    }
}
