//! `kiln key`: every key operation happens in the attestor's own process.

use attestor::pipe::{Answer, KeyInfo, Request};
use attestor::public_key;
use serde_json::json;

use super::args::{Algorithm, KeyCommand};
use super::{Ended, Session};
use crate::diagnostic::Exit;
use crate::{report, sign};

/// Runs one of the key commands.
pub fn run(session: &Session, command: &KeyCommand) -> Ended {
    let request = match command {
        KeyCommand::Generate { algorithm } => Request::Generate { algorithm: kind(*algorithm) },
        KeyCommand::Rotate { algorithm } => Request::Rotate { algorithm: kind(*algorithm) },
        KeyCommand::Show | KeyCommand::Export => Request::Show,
        KeyCommand::Import { file } => Request::Import {
            path: session.context.folder.join(file).to_string_lossy().into_owned(),
        },
    };
    let info =
        match sign::ask(&session.context, &request, &[]).map_err(|diagnostic| vec![diagnostic])? {
            Answer::Key(info) => info,
            other => return Err(vec![sign::unexpected(other)]),
        };
    if session.global.json {
        report::document(
            "key",
            json!({"fingerprint": info.fingerprint, "algorithm": info.algorithm, "builder_id": info.builder_id, "path": info.path, "pem": info.pem}),
        );
        return Ok(Exit::Done);
    }
    match command {
        KeyCommand::Export => report::data(&info.pem),
        KeyCommand::Show => report::data(&format!(
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
