//! The attestor's own process: the one place of this crate that reads files, the clock and the
//! kernel's randomness, and the only one that ever holds a private key.
//!
//! It is started as `kiln attestor serve --config-dir DIR --state-dir DIR` with a connected stream
//! socket as standard input, and ends when the other side closes it.
//!
//! ```text
//! config-dir/                 0700
//!   key.pem                   0600  the key that signs, PKCS#8; never overwritten
//!   retired/HEX.pem           0600  keys that signed before, by their fingerprint in hex
//!   trust.toml                who is believed; a key made here adds itself
//!   attestor.toml             which builder this attestor speaks for; optional
//! state-dir/                  0700
//!   lock                      held while a request is served
//!   journal/NONCE             0600  one envelope for each nonce
//! ```
//!
//! It starts no program and no thread once it serves, opens no socket of a network unless it signs with
//! certificates, reads no variables but those of `environment`, and never opens the project or the store: what
//! it signs about comes as descriptors.

mod admit;
mod channel;
mod check;
mod enter;
mod environment;
mod files;
mod journal;
mod keyring;
mod listen;
mod one_story;
mod open_order;
mod orders;
mod rate;
mod refusal;
mod rehearse;
mod serve;
mod signed_log;
mod subjects;
mod summarise;
mod swear;
mod watch;
pub mod way;

pub use enter::{Failure, FailureKind, Means, Reach, Seal, USAGE, enter};
pub use environment::{known_variables, variables};
pub use keyring::TRUST_LOCK;
pub use watch::Interrupt;
