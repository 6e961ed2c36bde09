//! One Order, one Record: whatever is signed under an Order is derived from the same Record.
//!
//! Each kind of statement has a nonce of its own, so the journal alone would let the provenance be about one
//! artifact and a further statement about another, both for one Order. So before anything new is signed, the
//! journal's entries of all other kinds under that Order are looked at: each must have been the answer to
//! the request that this very Record makes. Subject, bytes and everything observed are in the Record, so
//! they are the same too.
//!
//! Nothing is kept for it: the journal holds the digest of each request that it answered, durably, and so
//! this holds after a restart and for what was signed before there was this rule.
//!
//! The caller holds the lock of the state folder while it checks; the digests are made without it.

use model::Digest;
use model::record::{Nonce, Record};

use super::journal::{Journal, JournalError, Known};
use crate::pipe::{Request, State};
use crate::predicate::Further;

/// What else this Record could be asked for under its Order: the nonce, and the digest of the request.
pub(super) struct OneStory(Vec<(Nonce, Digest)>);

impl OneStory {
    /// Lists what a request's Record could be asked for; nothing for a request without a Record.
    pub(super) fn of(request: &Request) -> Result<OneStory, serde_json::Error> {
        let record = match request {
            Request::Sign(record) | Request::ClassicLink(record) => record,
            Request::State(state) => &state.record,
            Request::Attest(_)
            | Request::Summarise(_)
            | Request::Generate { .. }
            | Request::Show
            | Request::Import { .. }
            | Request::Rotate { .. }
            | Request::OpenOrder(_) => return Ok(OneStory(Vec::new())),
        };
        let mut all = Vec::with_capacity(Further::ALL.len() + 2);
        for one in all_of(record) {
            let bytes = serde_json::to_vec(&one)?;
            all.extend(one.nonce().map(|nonce| (nonce, Digest::of(&bytes))));
        }
        Ok(OneStory(all))
    }

    /// Says whether everything that was signed under the Order was derived from this Record.
    pub(super) fn is_told_so_far(&self, journal: &Journal) -> Result<bool, JournalError> {
        for (nonce, request) in &self.0 {
            if let Known::Other = journal.look_up(nonce, request)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns every request that has something signed from a Record, one after the other: a Record is large.
fn all_of(record: &Record) -> impl Iterator<Item = Request> {
    let whole = || Box::new(record.clone());
    let further = Further::ALL
        .into_iter()
        .map(|further| Request::State(Box::new(State { record: record.clone(), further })));
    let first = std::iter::once_with(move || Request::Sign(whole()));
    first.chain(std::iter::once_with(move || Request::ClassicLink(whole()))).chain(further)
}
