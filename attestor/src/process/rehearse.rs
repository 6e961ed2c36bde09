//! What the first request would wait for, done while nobody waits: pages come in and tables are made.
//!
//! A fixed request is read, its statement derived and signed with a key that everybody knows. No file is read or
//! written, and what comes of it is thrown away.

use crate::builder::BuilderConfig;
use crate::dsse::{self, Envelope};
use crate::pipe::Request;
use crate::signer::{FileSigner, Signer};
use crate::{bundle, envelope, keys, statement, strict_json};

/// A small build's, of no project.
const REQUEST: &[u8] = include_bytes!("rehearsal.json");

/// Does it.
pub(super) fn rehearse() {
    std::hint::black_box(rehearsed());
}

/// Returns what a build would get: a bundle and a line.
fn rehearsed() -> Option<(String, String)> {
    let request = Request::decode(REQUEST).ok()?;
    let Request::Sign(record) = &request else { return None };
    std::hint::black_box(serde_json::to_vec(&request).ok()?);
    let derived = statement::derive(record, &BuilderConfig::local()).ok()?;
    let signer = Signer::File(FileSigner::new(keys::known()?).ok()?);
    let envelope = envelope::sign(derived.statement_bytes, &signer).ok()?;
    let bundle = bundle::to_bundle(&envelope, &signer.public().id()).ok()?;
    let line = envelope.to_line().ok()?;
    let value = strict_json::parse(line.as_bytes(), &dsse::CAPS).ok()?;
    Envelope::from_value(value).is_ok().then_some((bundle, line))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_rehearsal_gets_to_its_end() {
        let (bundle, line) = super::rehearsed().expect("the request is one of this version");
        assert!(bundle.contains("dsseEnvelope") && line.ends_with('\n'), "{line}");
    }
}
