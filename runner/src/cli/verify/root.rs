//! The trusted root that a verification goes by: whose certificates, logs and timestamps are believed.

use std::path::Path;

use attestor::sigstore::Root;
use attestor::trust::Trust;
use model::text;

use super::super::{Session, files};
use crate::diagnostic::{Code, Diagnostic};

/// Reads the trusted root that is named, or else where an identity may be believed the one of the configuration folder,
/// or the public instance's. A check with a plain key asks for a root only where one is named. Besides what `trust`
/// names, an identity may have been `asked` for.
pub fn read(
    session: &Session,
    named: Option<&Path>,
    asked: bool,
    trust: &Trust,
) -> Result<Option<Root>, Vec<Diagnostic>> {
    let refuse = |shown: String, error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::WrongValue, format!("cannot use the trusted root {shown}"))
                .caused_by(error)
                .help("give a trusted_root.json, as the instance's operator hands it out"),
        ]
    };
    let (path, named) = match named {
        Some(path) => (session.context.folder.join(path), true),
        None => (session.context.config.join("trusted_root.json"), false),
    };
    if !named && !asked && !trust.names_identities() {
        return Ok(None);
    }
    let shown = || text::escape(path.as_os_str().as_encoded_bytes());
    let bytes = match files::read(&path) {
        Ok(Some(bytes)) => {
            // Who is named by hand vouches for the file; the default one says whom kiln believes, as trust.toml does.
            if !named {
                super::super::trust::believable(session, &path)?;
            }
            bytes
        }
        Ok(None) if !named => {
            let root = Root::public().map_err(|error| refuse("of this program".into(), &error));
            return root.map(Some);
        }
        Ok(None) => {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(refuse(shown(), &error));
        }
        Err(error) => return Err(refuse(shown(), &error)),
    };
    Root::parse(&bytes).map(Some).map_err(|error| refuse(shown(), &error))
}
