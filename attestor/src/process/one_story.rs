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
//! The caller holds the lock of the state folder while it checks. A digest is made only to be compared with an
//! entry that is there, and takes less than the reading of that entry: the first signature of an Order makes none.

use model::Digest;
use model::record::{Nonce, Record};
use serde::Serialize;

use super::journal::{Journal, JournalError};
use crate::pipe::{self, Request};
use crate::predicate::Further;

/// The Record that a request is about, if it is about one.
pub(super) struct OneStory<'a>(Option<&'a Record>);

impl<'a> OneStory<'a> {
    pub(super) fn of(request: &'a Request) -> OneStory<'a> {
        OneStory(request.record())
    }

    /// Says whether everything that was signed under the Order was derived from this Record.
    pub(super) fn is_told_so_far(&self, journal: &Journal) -> Result<bool, JournalError> {
        for one in self.0.into_iter().flat_map(Asked::all_of) {
            let Some(nonce) = one.nonce() else { continue };
            if let Some(answered) = journal.request(&nonce)?
                && answered != one.digest().map_err(JournalError::Write)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A request that has something signed from a Record, as it is written: [`Request`] without a copy of that.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Asked<'a> {
    Sign(&'a Record),
    State { record: &'a Record, further: Further },
    ClassicLink(&'a Record),
}

impl<'a> Asked<'a> {
    /// Returns every request that a Record makes.
    fn all_of(record: &'a Record) -> impl Iterator<Item = Asked<'a>> {
        let further = Further::ALL.into_iter();
        [Asked::Sign(record), Asked::ClassicLink(record)]
            .into_iter()
            .chain(further.map(|further| Asked::State { record, further }))
    }

    fn nonce(&self) -> Option<Nonce> {
        match self {
            Asked::Sign(record) => Some(record.order.nonce.clone()),
            Asked::State { record, further } => pipe::further_nonce(record, further.as_str()),
            Asked::ClassicLink(record) => pipe::further_nonce(record, pipe::CLASSIC_LINK),
        }
    }

    fn digest(&self) -> Result<Digest, serde_json::Error> {
        serde_json::to_vec(self).map(|bytes| Digest::of(&bytes))
    }
}
