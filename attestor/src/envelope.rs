//! From statement bytes to a signed envelope: those bytes are signed, kept and written.
//!
//! A statement is serialised once, in `statement`. Here it is bytes only, so that nothing can be
//! serialised a second time between signing and writing.

use crate::dsse::{self, Envelope};
use crate::signer::{SignError, Signer};

/// Signs a statement's bytes: one payload, one signature.
pub(crate) fn sign(statement: Vec<u8>, signer: &Signer) -> Result<Envelope, SignError> {
    let signature = signer.sign(&dsse::pae(dsse::PAYLOAD_TYPE, &statement))?;
    Ok(Envelope::new(statement, signature))
}
