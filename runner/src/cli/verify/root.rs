//! The trusted root that a verification goes by: whose certificates, logs and timestamps are believed.

use std::path::Path;

use attestor::sigstore::Root;
use attestor::trust::Trust;
use model::text;

use super::super::{Session, files};
use crate::diagnostic::{Code, Diagnostic};

/// The file, below the configuration folder.
const FILE: &str = "trusted_root.json";

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
    // Who is named by hand vouches for the file; the default one says whom kiln believes, as trust.toml does.
    let (path, bytes) = match named {
        None if !asked && !trust.names_identities() => return Ok(None),
        None => {
            let path = session.context.config.join(FILE);
            (path, super::super::trust::believed(session, FILE)?.map(|found| found.bytes))
        }
        Some(path) => {
            let path = session.context.folder.join(path);
            let read = files::read(&path).and_then(|bytes| bytes.ok_or_else(files::missing));
            let bytes = read.map_err(|error| refuse(shown(&path), &error))?;
            (path, Some(bytes))
        }
    };
    let Some(bytes) = bytes else {
        let root = Root::public().map_err(|error| refuse("of this program".into(), &error));
        return root.map(Some);
    };
    Root::parse(&bytes).map(Some).map_err(|error| refuse(shown(&path), &error))
}

fn shown(path: &Path) -> String {
    text::escape(path.as_os_str().as_encoded_bytes())
}
