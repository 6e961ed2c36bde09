//! `Trust`: who is believed. Entries of key, builder.id, maximum level, validity and revocation.
//!
//! A signature alone says which key signed. Which builder that key may speak for, and up to which
//! level, is a decision of the one who verifies; it stands here and never in what is verified.
//! A pair of key and builder.id that has no entry is refused.
//!
//! On disk, `trust.toml` in kiln's configuration folder:
//!
//! ```toml
//! [[trust]]
//! name = "made on this machine"
//! key = """
//! -----BEGIN PUBLIC KEY-----
//! …
//! -----END PUBLIC KEY-----
//! """
//! builder-id = "https://kiln.build/builders/local/v1"
//! max-level = 1
//! from = "2026-11-22T13:00:00Z"      # optional
//! until = "2027-11-22T13:00:00Z"     # optional
//! revoked = "2026-12-01T08:00:00Z"   # optional; then nothing of this key is believed
//!
//! [[trust]]
//! name = "the distribution's verifier"
//! key = "…"
//! verifier-id = "https://verifier.example/v1"   # in builder-id's place: for summaries, not builds
//! max-level = 3
//!
//! [[trust]]
//! name = "releases by CI"
//! identity = "https://ci.example/repo/.ci/release@refs/heads/main"   # in key's place: of a certificate
//! issuer = "https://issuer.example"
//! source-repository = "https://host.example/repo"                    # optional claim
//! builder-id = "https://ci.example/kiln/v1"
//! max-level = 2
//! ```
//!
//! A key may speak for a builder or for a verifier, and an entry says for which: who may build may not
//! for that reason pass judgement, and the other way round.
//!
//! `edit` adds, removes and revokes without touching the rest of the text.
//!
//! Validity of a key is compared with the time given to `verify`: a plain key comes without a trusted time of
//! signing, so an entry that ended refuses old statements too. That of an identity is compared with the trusted
//! times of signing; a revocation holds whenever it was signed. Does no I/O and reads no clock.
//! Source: SLSA v1.2, verifying artifacts, step 1; decision 23.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;

use crate::builder::{BuilderId, ConfigError};
use crate::public_key::{KeyError, KeyId, PublicKey};
use crate::signed_by::SignedBy;

pub mod edit;
mod entry;

pub(crate) use entry::is_exact;
pub use entry::{Entry, Identity, Level, SpeaksFor, Who};

/// Largest trust file, in bytes.
pub const TRUST_BYTES_MAX: usize = 1 << 20;
/// Most entries: each may cost one check of a signature per envelope.
pub const ENTRIES_MAX: usize = 1024;

/// Where an entry stands, as messages say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPlace {
    /// What people call it, escaped.
    pub name: String,
    /// The line of the trust file in which it begins, from 1; none where it was not read from a file.
    pub line: Option<usize>,
}

/// All entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    entries: Vec<Entry>,
    /// In which line each begins.
    lines: Vec<usize>,
}

/// Why a trust file is refused. A file that is refused trusts nobody.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// More bytes than [`TRUST_BYTES_MAX`], or no UTF-8.
    #[error("the file is too large or no text")]
    Text,
    /// No TOML of this shape.
    #[error("the file is not as the format says")]
    Toml(#[source] toml::de::Error),
    /// More entries than [`ENTRIES_MAX`].
    #[error("the file has {got} entries, more than {ENTRIES_MAX}")]
    Entries {
        /// How many.
        got: usize,
    },
    /// A key that is none.
    #[error("the key of entry {entry}")]
    Key {
        /// The entry, from 1.
        entry: usize,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A builder.id that is none.
    #[error("the builder of entry {entry}")]
    Builder {
        /// The entry, from 1.
        entry: usize,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A level other than 1, 2, 3.
    #[error("max-level of entry {entry} is {got}, not 1, 2 or 3")]
    Level {
        /// The entry, from 1.
        entry: usize,
        /// What stands there.
        got: u8,
    },
    /// A time that is none.
    #[error("`{member}` of entry {entry} is no time such as 2026-11-22T13:00:00Z")]
    Time {
        /// The entry, from 1.
        entry: usize,
        /// The member.
        member: &'static str,
        /// Why.
        #[source]
        source: jiff::Error,
    },
    /// Neither a key nor an identity with its issuer, or both.
    #[error("entry {entry} needs `key`, or `identity` with `issuer`, and not both")]
    Who {
        /// The entry, from 1.
        entry: usize,
    },
    /// Neither a builder nor a verifier, or both.
    #[error("entry {entry} needs either `builder-id` or `verifier-id`")]
    SpeaksFor {
        /// The entry, from 1.
        entry: usize,
    },
    /// An identity, issuer or repository that is empty or no plain text.
    #[error(
        "`{member}` of entry {entry} is empty or holds quotes, backslashes or control characters"
    )]
    Identity {
        /// The entry, from 1.
        entry: usize,
        /// The member.
        member: &'static str,
    },
    /// A text in which the entries can not be found one by one.
    #[error(
        "the entries are not written as `[[trust]]` tables, so the file is not changed by machine"
    )]
    NotTables,
    /// An entry that is not there.
    #[error("there is no entry {entry}")]
    NoEntry {
        /// The entry, from 1.
        entry: usize,
    },
    /// An entry that is revoked already.
    #[error("entry {entry} is revoked already")]
    RevokedAlready {
        /// The entry, from 1.
        entry: usize,
    },
    /// A name that would not go into the file as it is.
    #[error("the name of an entry holds quotes, backslashes or control characters")]
    Name,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustIn {
    #[serde(default)]
    trust: Vec<toml::Spanned<EntryIn>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EntryIn {
    name: String,
    key: Option<String>,
    identity: Option<String>,
    issuer: Option<String>,
    source_repository: Option<String>,
    builder_id: Option<String>,
    verifier_id: Option<String>,
    max_level: u8,
    from: Option<String>,
    until: Option<String>,
    revoked: Option<String>,
}

impl fmt::Display for EntryPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "entry `{}`", self.name)?;
        self.line.map_or(Ok(()), |line| write!(out, " in line {line} of trust.toml"))
    }
}

impl Trust {
    /// Returns these entries as a whole.
    pub fn of(entries: Vec<Entry>) -> Trust {
        Trust { entries, lines: Vec::new() }
    }

    /// Reads `trust.toml`. An empty file trusts nobody.
    ///
    /// # Errors
    /// Refuses the whole file if one entry is wrong: a rule that is not understood must not be
    /// dropped, since it may be the one that revokes.
    pub fn parse(bytes: &[u8]) -> Result<Trust, TrustError> {
        let text = std::str::from_utf8(bytes).map_err(|_| TrustError::Text)?;
        if bytes.len() > TRUST_BYTES_MAX {
            return Err(TrustError::Text);
        }
        let wire: TrustIn = toml::from_str(text).map_err(TrustError::Toml)?;
        if wire.trust.len() > ENTRIES_MAX {
            return Err(TrustError::Entries { got: wire.trust.len() });
        }
        let line_of = |at: usize| text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let lines = wire.trust.iter().map(|one| line_of(one.span().start)).collect();
        let entries = wire.trust.into_iter().enumerate();
        let entries = entries.map(|(index, one)| one.into_inner().check(index + 1));
        Ok(Trust { entries: entries.collect::<Result<_, _>>()?, lines })
    }

    /// Returns where one of the entries stands.
    pub fn place_of(&self, entry: &Entry) -> EntryPlace {
        let index = self.entries.iter().position(|one| std::ptr::eq(one, entry));
        EntryPlace {
            name: model::text::escape(entry.name.as_bytes()),
            line: index.and_then(|index| self.lines.get(index)).copied(),
        }
    }

    /// Returns the entries, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entries of one key.
    pub fn of_key(&self, key: &KeyId) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |one| one.key().is_some_and(|held| held.id() == *key))
    }

    /// Returns the entry that revokes whom a new one would be about, whatever it was for: who is revoked as
    /// an identity of any repository is revoked for each.
    pub fn revokes(&self, who: &Who) -> Option<&Entry> {
        let covers = |entry: &&Entry| match (&entry.who, who) {
            (Who::Identity(old), Who::Identity(new)) => {
                old.identity == new.identity
                    && old.issuer == new.issuer
                    && (old.source_repository.is_none()
                        || old.source_repository == new.source_repository)
            }
            (old, new) => old == new,
        };
        self.entries.iter().find(|entry| entry.revoked.is_some() && covers(entry))
    }

    /// Returns the entry that revokes a signer, whatever it was for, and since when.
    pub fn revoked(&self, signer: &SignedBy) -> Option<(EntryPlace, i64)> {
        let mut of_signer = self.entries.iter().filter(|entry| entry.signer() == *signer);
        of_signer.find_map(|entry| Some((self.place_of(entry), entry.revoked?)))
    }

    /// Says whether any signer is revoked.
    pub fn revokes_anybody(&self) -> bool {
        self.entries.iter().any(|entry| entry.revoked.is_some())
    }

    /// Says whether an entry names an identity, so that a certificate may be believed at all.
    pub fn names_identities(&self) -> bool {
        self.entries.iter().any(|one| matches!(one.who, Who::Identity(_)))
    }

    /// Returns the entries of one identity: all that an entry names must be the same, letter by letter.
    pub fn of_identity(
        &self,
        subject: &str,
        issuer: &str,
        source_repository: Option<&str>,
    ) -> Vec<&Entry> {
        let is_of = |one: &&Entry| match &one.who {
            Who::Key(_) => false,
            Who::Identity(held) => {
                held.identity == subject
                    && held.issuer == issuer
                    && (held.source_repository.is_none()
                        || held.source_repository.as_deref() == source_repository)
            }
        };
        self.entries.iter().filter(is_of).collect()
    }
}

impl EntryIn {
    fn check(self, entry: usize) -> Result<Entry, TrustError> {
        let level = Level::from_number(self.max_level)
            .ok_or(TrustError::Level { entry, got: self.max_level })?;
        let id = |text: &str| {
            BuilderId::new(text).map_err(|source| TrustError::Builder { entry, source })
        };
        let speaks_for = match (&self.builder_id, &self.verifier_id) {
            (Some(builder), None) => SpeaksFor::Builder(id(builder)?),
            (None, Some(verifier)) => SpeaksFor::Verifier(id(verifier)?),
            (None, None) | (Some(_), Some(_)) => return Err(TrustError::SpeaksFor { entry }),
        };
        Ok(Entry {
            who: self.who(entry)?,
            name: self.name,
            speaks_for,
            max_level: level,
            from: seconds(self.from, entry, "from")?,
            until: seconds(self.until, entry, "until")?,
            revoked: seconds(self.revoked, entry, "revoked")?,
        })
    }

    fn who(&self, entry: usize) -> Result<Who, TrustError> {
        match (&self.key, &self.identity, &self.issuer, &self.source_repository) {
            (Some(key), None, None, None) => {
                let key =
                    PublicKey::from_pem(key).map_err(|source| TrustError::Key { entry, source })?;
                Ok(Who::Key(key))
            }
            (None, Some(identity), Some(issuer), repository) => {
                let all = [("identity", Some(identity)), ("issuer", Some(issuer))];
                let all = all.into_iter().chain([("source-repository", repository.as_ref())]);
                for (member, text) in all {
                    if text.is_some_and(|text| !is_exact(text)) {
                        return Err(TrustError::Identity { entry, member });
                    }
                }
                Ok(Who::Identity(Identity {
                    identity: identity.clone(),
                    issuer: issuer.clone(),
                    source_repository: repository.clone(),
                }))
            }
            _ => Err(TrustError::Who { entry }),
        }
    }
}

fn seconds(
    text: Option<String>,
    entry: usize,
    member: &'static str,
) -> Result<Option<i64>, TrustError> {
    let Some(text) = text else { return Ok(None) };
    let time: Timestamp =
        text.parse().map_err(|source| TrustError::Time { entry, member, source })?;
    Ok(Some(time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use crate::public_key::Algorithm;

    fn entry(seed: u8) -> Entry {
        let random = zeroize::Zeroizing::new([seed; 32]);
        let key = PrivateKey::from_random(Algorithm::EcdsaP256, &random).unwrap();
        Entry {
            name: "desk, <1> é".into(),
            who: Who::Key(key.public().unwrap()),
            speaks_for: SpeaksFor::Builder(BuilderId::new("https://a.example/k/v1").unwrap()),
            max_level: Level::L2,
            from: Some(1_795_346_700),
            until: None,
            revoked: Some(0),
        }
    }

    #[test]
    fn entries_are_written_at_the_end_and_read_back() {
        let (first, second) = (entry(1), Entry { until: Some(5), revoked: None, ..entry(2) });
        let text =
            format!("# by hand\n{}\n{}", first.to_toml().unwrap(), second.to_toml().unwrap());
        assert!(text.contains("from = \"2026-11-22T11:25:00Z\"\n"));
        let trust = Trust::parse(text.as_bytes()).unwrap();
        assert_eq!(trust.entries(), [first.clone(), second]);
        assert_eq!(trust.of_key(&first.key().unwrap().id()).count(), 1);
        assert_eq!(Trust::parse(b"").unwrap(), Trust::default());
    }

    #[test]
    fn one_wrong_entry_refuses_the_whole_file() {
        let good = entry(1).to_toml().unwrap();
        for (from, to) in [
            ("max-level = 2", "max-level = 4"),
            ("max-level = 2", "max-level = 0"),
            ("max-level = 2\n", ""),
            ("builder-id = \"https", "builder-id = \"http"),
            ("BEGIN PUBLIC", "BEGIN PRIVATE"),
            ("revoked = \"1970-01-01T00:00:00Z\"", "revoked = \"yesterday\""),
            ("revoked =", "revokd ="),
            ("name =", "name = \"a\"\nname ="),
            ("max-level", "verifier-id = \"https://v.example/\"\nmax-level"),
            ("max-level", "identity = \"a@b.example\"\nissuer = \"https://i.example\"\nmax-level"),
            ("max-level", "issuer = \"https://i.example\"\nmax-level"),
            ("builder-id = \"https://a.example/k/v1\"\n", ""),
        ] {
            let bad = format!("{good}\n{}", good.replacen(from, to, 1));
            assert_ne!(bad, format!("{good}\n{good}"), "{from}");
            assert!(Trust::parse(bad.as_bytes()).is_err(), "{to}");
        }
        assert!(Entry { name: "a\"b".into(), ..entry(1) }.to_toml().is_err());
        assert!(Trust::parse(b"\xff").is_err());
    }

    #[test]
    fn an_entry_may_name_an_identity_or_a_verifier() {
        let identity = Identity {
            identity: "https://ci.example/repo@refs/heads/main".into(),
            issuer: "https://issuer.example".into(),
            source_repository: Some("https://host.example/repo".into()),
        };
        let by_name = Entry { who: Who::Identity(identity), ..entry(1) };
        let id = BuilderId::new("https://v.example/v1").unwrap();
        let judge = Entry { speaks_for: SpeaksFor::Verifier(id), ..entry(2) };
        let text = format!("{}\n{}", by_name.to_toml().unwrap(), judge.to_toml().unwrap());
        let trust = Trust::parse(text.as_bytes()).unwrap();
        assert_eq!(trust.entries(), [by_name.clone(), judge.clone()]);
        assert!(by_name.key().is_none() && judge.builder().is_none());
        assert!(by_name.is_called("https://ci.example/repo@refs/heads/main"));
        let bad = text.replace("issuer = \"https://issuer.example\"\n", "");
        assert!(matches!(Trust::parse(bad.as_bytes()), Err(TrustError::Who { entry: 1 })));
        let bad = text.replace("https://issuer.example", "");
        assert!(matches!(Trust::parse(bad.as_bytes()), Err(TrustError::Identity { .. })));
    }
}
