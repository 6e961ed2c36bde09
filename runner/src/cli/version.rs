//! `kiln version`: version, commit, and the digest of this program.

use serde_json::json;

use super::{Ended, Session};
use crate::diagnostic::Exit;
use crate::program;
use crate::report;

/// Prints what this program is.
pub fn run(session: &Session) -> Ended {
    let digest = program::digest().map(|digest| digest.to_string()).unwrap_or_default();
    let commit = env!("KILN_COMMIT");
    if session.global.json {
        report::document(
            "kiln-version",
            json!({"kiln": env!("CARGO_PKG_VERSION"), "commit": commit, "digest": digest}),
        );
    } else {
        report::data(&format!(
            "kiln {}\ncommit {commit}\ndigest {digest}\n",
            env!("CARGO_PKG_VERSION")
        ));
    }
    Ok(Exit::Done)
}
