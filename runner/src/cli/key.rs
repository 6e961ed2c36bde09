//! `kiln key`: every key operation happens in the attestor's own process.

use attestor::builder::BuilderId;
use attestor::pipe::{Answer, KeyInfo, Request};
use attestor::public_key;
use attestor::trust::{Entry, Level, SpeaksFor, Who};
use serde_json::json;

use super::args::{Algorithm, KeyCommand};
use super::{Ended, Session};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::{report, sign};

/// What the key's entry is called.
const OWN_NAME: &str = "the attestor's key";

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
            other => return Err(vec![sign::unexpected(other)]),
        };
    if let KeyCommand::Show { trust: true } = command {
        report::data(&entry(session, &info)?);
        return Ok(Exit::Done);
    }
    if session.global.json {
        report::document(
            "key",
            json!({"fingerprint": info.fingerprint, "algorithm": info.algorithm, "builder_id": info.builder_id, "path": info.path, "pem": info.pem}),
        );
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
                report::line(&format!(
                    " wrote key {}, trusted on this host at L1; public half: kiln key export",
                    info.fingerprint
                ));
            }
        }
    }
    Ok(Exit::Done)
}

/// Returns the key's entry for `trust.toml`, as a key file's is written when it is made: believed for
/// its own builder, at level 1, from now on. A higher level is for people to write.
fn entry(session: &Session, info: &KeyInfo) -> Result<String, Vec<Diagnostic>> {
    let refuse = |error: &dyn std::error::Error| {
        let told = "the attestor's public key cannot be read";
        vec![Diagnostic::new(Code::KeyUnreadable, told).caused_by(error)]
    };
    let entry = Entry {
        name: OWN_NAME.to_owned(),
        who: Who::Key(public_key::PublicKey::from_pem(&info.pem).map_err(|error| refuse(&error))?),
        speaks_for: SpeaksFor::Builder(
            BuilderId::new(&info.builder_id).map_err(|error| refuse(&error))?,
        ),
        max_level: Level::L1,
        from: Some(session.context.now()),
        until: None,
        revoked: None,
    };
    entry.to_toml().map_err(|error| refuse(&error))
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
