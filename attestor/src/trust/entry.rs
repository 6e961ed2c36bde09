//! `Entry`: one pair of signer and builder, or verifier, that is believed, or was; and how it is written.

use std::fmt;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::TrustError;
use crate::builder::BuilderId;
use crate::public_key::PublicKey;
use crate::signed_by::{Role, SignedBy};

/// A level of SLSA's build track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Provenance exists.
    L1,
    /// A hosted platform signed it.
    L2,
    /// A hardened platform signed it.
    L3,
}

/// Whose signature an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever holds the key.
    Key(PublicKey),
    /// Whoever a certificate names. No signature is believed by such an entry but by a certificate.
    Identity(Identity),
}

/// The holder of a short-lived certificate: compared letter by letter, never as a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its subject alternative name.
    pub identity: String,
    /// Who vouched for it.
    pub issuer: String,
    /// The source repository that the certificate claims, if it has to.
    pub source_repository: Option<String>,
}

/// What a signer may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeaksFor {
    /// Provenance of this builder.
    Builder(BuilderId),
    /// Verification summaries of this verifier.
    Verifier(BuilderId),
}

/// One pair of signer and builder, or verifier, that is believed, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people call it.
    pub name: String,
    /// Who signs.
    pub who: Who,
    /// What for.
    pub speaks_for: SpeaksFor,
    /// The highest level that is believed of it.
    pub max_level: Level,
    /// From when on, in seconds since 1970.
    pub from: Option<i64>,
    /// Until when, in seconds since 1970, inclusive.
    pub until: Option<i64>,
    /// Since when it is believed no more, in seconds since 1970.
    pub revoked: Option<i64>,
}

impl Level {
    /// Returns the level of this number.
    pub fn from_number(number: u8) -> Option<Level> {
        match number {
            1 => Some(Level::L1),
            2 => Some(Level::L2),
            3 => Some(Level::L3),
            _ => None,
        }
    }

    /// Returns its number.
    pub fn number(self) -> u8 {
        match self {
            Level::L1 => 1,
            Level::L2 => 2,
            Level::L3 => 3,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "L{}", self.number())
    }
}

impl Entry {
    /// Returns the key, where the entry is about one.
    pub fn key(&self) -> Option<&PublicKey> {
        match &self.who {
            Who::Key(key) => Some(key),
            Who::Identity(_) => None,
        }
    }

    /// Returns the builder, where the entry is about one.
    pub fn builder(&self) -> Option<&BuilderId> {
        match &self.speaks_for {
            SpeaksFor::Builder(builder) => Some(builder),
            SpeaksFor::Verifier(_) => None,
        }
    }

    /// Returns the verifier, where the entry is about one.
    pub fn verifier(&self) -> Option<&BuilderId> {
        match &self.speaks_for {
            SpeaksFor::Builder(_) => None,
            SpeaksFor::Verifier(verifier) => Some(verifier),
        }
    }

    /// Returns whose signature it is about, as messages name them.
    pub fn signer(&self) -> SignedBy {
        match &self.who {
            Who::Key(key) => SignedBy::Key(key.id()),
            Who::Identity(one) => SignedBy::Identity(crate::sigstore::Identity {
                subject: one.identity.clone(),
                issuer: one.issuer.clone(),
            }),
        }
    }

    pub(crate) fn role(&self) -> Role<'_> {
        match &self.speaks_for {
            SpeaksFor::Builder(id) => Role::Builder(id.as_str()),
            SpeaksFor::Verifier(id) => Role::Verifier(id.as_str()),
        }
    }

    /// Says whether people mean this entry by `word`: its name, its key's fingerprint, its identity, or the
    /// identity with its issuer in brackets behind it.
    pub fn is_called(&self, word: &str) -> bool {
        let is_identity = matches!(&self.who, Who::Identity(one) if one.identity == word);
        self.name == word || is_identity || self.signer().to_string() == word
    }

    /// Says whether it is believed at a time, in seconds since 1970: begun, not ended, not revoked.
    pub fn is_in_force(&self, now: i64) -> bool {
        self.revoked.is_none()
            && self.from.is_none_or(|from| from <= now)
            && self.until.is_none_or(|until| now <= until)
    }

    /// Returns the text that adds this entry at the end of a trust file.
    ///
    /// # Errors
    /// Refuses a name with quotes, backslashes or control characters, and a time that no calendar
    /// has.
    pub fn to_toml(&self) -> Result<String, TrustError> {
        if self.name.contains(is_unsafe) {
            return Err(TrustError::Name);
        }
        let mut text = format!("[[trust]]\nname = \"{}\"\n", self.name);
        // Writing to a String does not fail.
        let _ = match &self.who {
            Who::Key(key) => {
                let pem = key.to_pem().map_err(|source| TrustError::Key { entry: 1, source })?;
                write!(text, "key = \"\"\"\n{pem}\"\"\"\n")
            }
            Who::Identity(one) => {
                let repository = one.source_repository.as_ref();
                let repository = repository
                    .map_or_else(String::new, |uri| format!("source-repository = \"{uri}\"\n"));
                let (identity, issuer) = (&one.identity, &one.issuer);
                write!(text, "identity = \"{identity}\"\nissuer = \"{issuer}\"\n{repository}")
            }
        };
        let (member, id) = match &self.speaks_for {
            SpeaksFor::Builder(id) => ("builder-id", id),
            SpeaksFor::Verifier(id) => ("verifier-id", id),
        };
        let level = self.max_level.number();
        let _ = write!(text, "{member} = \"{id}\"\nmax-level = {level}\n");
        for (member, time) in
            [("from", self.from), ("until", self.until), ("revoked", self.revoked)]
        {
            if let Some(time) = time {
                let _ = writeln!(text, "{member} = \"{}\"", written(time, member)?);
            }
        }
        Ok(text)
    }
}

/// Says whether a text can name an identity or an issuer: every letter stands for itself.
pub(crate) fn is_exact(text: &str) -> bool {
    !text.is_empty() && !text.contains(is_unsafe)
}

/// Says whether a letter would need escaping in the file.
fn is_unsafe(letter: char) -> bool {
    letter.is_control() || "\"\\".contains(letter)
}

/// Writes a time as the file has it.
pub(super) fn written(time: i64, member: &'static str) -> Result<Timestamp, TrustError> {
    Timestamp::from_second(time).map_err(|source| TrustError::Time { entry: 1, member, source })
}
