//! Key files: made, read, taken over and put away, never overwritten and never shown.
//!
//! The private half leaves this process only into files of mode 0600 below a folder that nobody
//! else can write in. A file that others can read, that is a link, or that belongs to somebody else
//! is not used. A key that is made here is written to `trust.toml` for its own builder at level 1.
//!
//! Rotation gives the old key a second name under `retired/` before the new one takes its place, so
//! a crash in between loses neither. The old key's trust entry stays: closing it would make all that
//! it signed unverifiable, since a plain key comes without a trusted time. Who gives up a key
//! because it leaked adds `revoked` to its entry.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment;
use super::files::{self, FileError};
use crate::builder::{BuilderConfig, BuilderId, CONFIG_BYTES_MAX};
use crate::config::{AttestorConfig, AttestorConfigError};
use crate::keys::PrivateKey;
use crate::pipe::KeyInfo;
use crate::public_key::{Algorithm, KeyError, PublicKey};
use crate::signer::{AgentError, FileSigner, Signer, SignerConfig, SshAgentSigner};
#[cfg(feature = "pkcs11")]
use crate::signer::{PinPlace, Pkcs11Signer, TokenError};
#[cfg(feature = "keyless")]
use crate::sigstore::keyless::{self, Instance, Keyless, KeylessError};
use crate::sigstore::{ROOT_BYTES_MAX, Root, RootError};
use crate::trust::{Entry, Level, SpeaksFor, TRUST_BYTES_MAX, Trust, TrustError, Who, edit};

/// Largest key file, in bytes; a PKCS#8 PEM of our kinds has some 250.
const KEY_BYTES_MAX: usize = 16 << 10;
/// Longest PIN, in bytes: tokens take some dozens.
#[cfg(feature = "pkcs11")]
const PIN_BYTES_MAX: usize = 256;
/// What a key made here is called in `trust.toml`.
const OWN_NAME: &str = "made on this machine";

/// The file whose lock is held while the trust file is changed, by whichever process.
pub const TRUST_LOCK: &str = "trust.lock";

/// The configuration folder.
pub(super) struct Keyring {
    config: PathBuf,
}

/// Why a key can not be used or made.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyringError {
    #[error("there is no key at {}", path.display())]
    NoKey { path: PathBuf },
    #[error("there is a key at {} already, and none is overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("use the key files")]
    File(#[from] FileError),
    #[error("the file {}", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: KeyError,
    },
    #[error("draw random bytes")]
    Random(#[source] getrandom::Error),
    #[error("the configuration {}", path.display())]
    Config {
        path: PathBuf,
        #[source]
        source: AttestorConfigError,
    },
    #[error("{} says to sign by {kind}; its keys are not made or put away here", path.display())]
    Kept { path: PathBuf, kind: &'static str },
    #[cfg(feature = "pkcs11")]
    #[error("use the key in the token")]
    Token(#[source] TokenError),
    #[cfg(feature = "pkcs11")]
    #[error("read the PIN")]
    Pin(#[source] FileError),
    #[cfg(feature = "pkcs11")]
    #[error("there is no PIN in {}", path.display())]
    NoPin { path: PathBuf },
    #[cfg(not(all(feature = "pkcs11", feature = "keyless")))]
    #[error("this program was built without {what}")]
    NotBuilt { what: &'static str },
    #[error("{} says to sign with certificates, so there is no key", path.display())]
    Keyless { path: PathBuf },
    #[cfg(feature = "keyless")]
    #[error("prepare to sign with certificates")]
    Prepare(#[source] KeylessError),
    #[cfg(feature = "keyless")]
    #[error("there is no file {}, which attestor.toml names", path.display())]
    NoFile { path: PathBuf },
    #[error("use the key of the ssh agent")]
    Agent(#[source] AgentError),
    #[error("no ssh agent is named: neither `socket` in {} nor SSH_AUTH_SOCK", path.display())]
    NoAgent { path: PathBuf },
    #[error("the trusted root {}", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: RootError,
    },
    #[error("believe the trust file")]
    Believed(#[source] FileError),
    #[error("the trust file {}", path.display())]
    Trust {
        path: PathBuf,
        #[source]
        source: TrustError,
    },
}

impl Keyring {
    /// Returns the keyring of a configuration folder.
    pub(super) fn new(config: &Path) -> Keyring {
        Keyring { config: config.to_owned() }
    }

    fn key_path(&self) -> PathBuf {
        self.config.join("key.pem")
    }

    fn config_path(&self) -> PathBuf {
        self.config.join("attestor.toml")
    }

    /// Reads the configuration, which nobody but root and this user may have written: it says in whose name is
    /// signed, names a library to load, an agent to ask and users to hear.
    pub(super) fn config(&self) -> Result<AttestorConfig, KeyringError> {
        let path = self.config_path();
        match files::read_believed(&path, CONFIG_BYTES_MAX)? {
            None => Ok(AttestorConfig::local()),
            Some(bytes) => AttestorConfig::parse(&bytes)
                .map_err(|source| KeyringError::Config { path, source }),
        }
    }

    /// Says whether signing takes services that are asked over a network.
    pub(super) fn speaks_to_services(&self) -> bool {
        let keyless = |config: AttestorConfig| matches!(config.signer, SignerConfig::Keyless(_));
        cfg!(feature = "keyless") && self.config().is_ok_and(keyless)
    }

    /// Reads which builder this attestor speaks for.
    pub(super) fn builder(&self) -> Result<BuilderConfig, KeyringError> {
        Ok(self.config()?.builder)
    }

    /// Finds the key that signs.
    pub(super) fn signer(&self) -> Result<Signer, KeyringError> {
        match self.config()?.signer {
            SignerConfig::File => self.file_signer(),
            #[cfg(feature = "pkcs11")]
            SignerConfig::Pkcs11(config) => {
                let pin = config.pin.as_ref().map(read_pin).transpose()?;
                let signer = Pkcs11Signer::open(&config, pin).map_err(KeyringError::Token)?;
                Ok(Signer::Pkcs11(Box::new(signer)))
            }
            #[cfg(not(feature = "pkcs11"))]
            SignerConfig::Pkcs11(_) => Err(KeyringError::NotBuilt { what: "PKCS#11" }),
            SignerConfig::SshAgent(config) => {
                let socket = config.socket.or_else(environment::ssh_agent);
                let socket =
                    socket.ok_or_else(|| KeyringError::NoAgent { path: self.config_path() })?;
                let signer = SshAgentSigner::open(&socket, &config.key);
                signer.map(Signer::SshAgent).map_err(KeyringError::Agent)
            }
            SignerConfig::Keyless(_) => Err(KeyringError::Keyless { path: self.config_path() }),
        }
    }

    /// Prepares to sign with certificates; none where the configuration names a key.
    #[cfg(feature = "keyless")]
    pub(super) fn keyless(&self) -> Result<Option<(Keyless, Option<Instance>)>, KeyringError> {
        let SignerConfig::Keyless(config) = self.config()?.signer else { return Ok(None) };
        let read = |path: &Path, most: usize| {
            let bytes = files::read_owned(path, most)?;
            bytes.ok_or_else(|| KeyringError::NoFile { path: path.to_owned() })
        };
        let instance = match &config.instance {
            None => None,
            Some(files) => Some(Instance {
                signing_config: read(&files.signing_config, keyless::CONFIG_BYTES_MAX)?,
                trusted_root: read(&files.trusted_root, ROOT_BYTES_MAX)?,
            }),
        };
        let keyless = Keyless::new(config, instance.as_ref()).map_err(KeyringError::Prepare)?;
        Ok(Some((keyless, instance)))
    }

    /// Refuses a configuration that says to sign with certificates: this program can not.
    #[cfg(not(feature = "keyless"))]
    pub(super) fn keyless(&self) -> Result<Option<std::convert::Infallible>, KeyringError> {
        match self.config()?.signer {
            SignerConfig::Keyless(_) => Err(KeyringError::NotBuilt { what: "certificates" }),
            _ => Ok(None),
        }
    }

    fn file_signer(&self) -> Result<Signer, KeyringError> {
        let path = self.key_path();
        let key = read_key(&path)?.ok_or_else(|| KeyringError::NoKey { path: path.clone() })?;
        let signer = FileSigner::new(key).map_err(|source| KeyringError::Key { path, source })?;
        Ok(Signer::File(signer))
    }

    /// Refuses to make, take or put away a key file that would not be the one that signs.
    fn only_files(&self) -> Result<(), KeyringError> {
        let kind = match self.config()?.signer {
            SignerConfig::File => return Ok(()),
            SignerConfig::Pkcs11(_) => "a PKCS#11 token",
            SignerConfig::SshAgent(_) => "an ssh agent",
            SignerConfig::Keyless(_) => "certificates",
        };
        Err(KeyringError::Kept { path: self.config_path(), kind })
    }

    /// Says where the key that signs is.
    pub(super) fn place(&self, config: &AttestorConfig) -> String {
        match &config.signer {
            SignerConfig::File => self.key_path().to_string_lossy().into_owned(),
            SignerConfig::Pkcs11(signer) => {
                format!("pkcs11 token {}", model::text::escape(signer.token.as_bytes()))
            }
            SignerConfig::SshAgent(signer) => format!("ssh agent {}", signer.key),
            SignerConfig::Keyless(signer) => match &signer.instance {
                Some(files) => {
                    let path = files.signing_config.as_os_str().as_encoded_bytes();
                    format!("certificates by {}", model::text::escape(path))
                }
                None => "certificates by Sigstore's public instance".to_owned(),
            },
        }
    }

    /// Returns what may be said about a key.
    pub(super) fn info(&self, key: &PublicKey) -> Result<KeyInfo, KeyringError> {
        let path = self.key_path();
        let pem = key.to_pem().map_err(|source| KeyringError::Key { path, source })?;
        let config = self.config()?;
        Ok(KeyInfo {
            fingerprint: key.id().to_string(),
            algorithm: key.algorithm(),
            pem,
            builder_id: config.builder.full().next().map(ToString::to_string).unwrap_or_default(),
            path: self.place(&config),
            trusted: false,
        })
    }

    /// Returns the same of a key that was just put in place, and whether it is believed here now: an entry
    /// that was there before may have revoked it.
    fn installed(&self, key: &PublicKey, now: i64) -> Result<KeyInfo, KeyringError> {
        let (config, (_, trust), id) = (self.builder()?, self.trust()?, key.id());
        let in_force = |builder: &BuilderId| {
            trust.of_key(&id).any(|one| one.builder() == Some(builder) && one.is_in_force(now))
        };
        let trusted = config.full().all(in_force);
        Ok(KeyInfo { trusted, ..self.info(key)? })
    }

    /// Makes a key, if there is none, and trusts it here.
    pub(super) fn generate(&self, algorithm: Algorithm, now: i64) -> Result<KeyInfo, KeyringError> {
        self.only_files()?;
        self.refuse_existing()?;
        self.install(&fresh(algorithm)?, now)
    }

    /// Takes over the key in the file at `from`, if there is none, and trusts it here.
    pub(super) fn import(&self, from: &Path, now: i64) -> Result<KeyInfo, KeyringError> {
        self.only_files()?;
        self.refuse_existing()?;
        let key = read_key(from)?.ok_or_else(|| KeyringError::NoKey { path: from.to_owned() })?;
        self.install(&key, now)
    }

    /// Puts the old key away and makes a new one.
    pub(super) fn rotate(&self, algorithm: Algorithm, now: i64) -> Result<KeyInfo, KeyringError> {
        self.only_files()?;
        let old = self.signer()?;
        self.trust()?;
        let retired = self.config.join("retired");
        files::private_folder(&retired)?;
        let path = retired.join(format!("{}.pem", old.public().id().hex()));
        match files::link(&self.key_path(), &path) {
            // A crash after the link: the same file has both names, or the key came back by import.
            Ok(()) | Err(FileError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let key = fresh(algorithm)?;
        let public = self.trust_own(&key, now)?;
        files::replace(&self.key_path(), self.pem(&key)?.as_bytes())?;
        self.installed(&public, now)
    }

    fn refuse_existing(&self) -> Result<(), KeyringError> {
        let path = self.key_path();
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(KeyringError::Exists { path }),
        }
    }

    /// Writes the key, then its trust entry: a key without entry can be trusted later, an entry
    /// without key would trust nothing.
    fn install(&self, key: &PrivateKey, now: i64) -> Result<KeyInfo, KeyringError> {
        // What is wrong with the other files is told before a key is made.
        self.builder()?;
        self.trust()?;
        files::private_folder(&self.config)?;
        let path = self.key_path();
        match files::write_new(&path, self.pem(key)?.as_bytes()) {
            Ok(()) => {}
            Err(FileError::Exists { path }) => return Err(KeyringError::Exists { path }),
            Err(error) => return Err(error.into()),
        }
        let public = self.trust_own(key, now)?;
        self.installed(&public, now)
    }

    fn pem(&self, key: &PrivateKey) -> Result<Zeroizing<String>, KeyringError> {
        key.to_pem().map_err(|source| KeyringError::Key { path: self.key_path(), source })
    }

    /// Reads the trust file: its text as it stands, and what it says.
    pub(super) fn trust(&self) -> Result<(String, Trust), KeyringError> {
        let path = self.config.join("trust.toml");
        let read = files::read_believed(&path, TRUST_BYTES_MAX).map_err(KeyringError::Believed)?;
        let bytes = read.unwrap_or_default();
        let refuse = |source| KeyringError::Trust { path: path.clone(), source };
        let trust = Trust::parse(&bytes).map_err(refuse)?;
        let text = String::from_utf8(bytes).map_err(|_| refuse(TrustError::Text))?;
        Ok((text, trust))
    }

    /// Reads the root by which certificates are judged, where an entry names an identity: the one beside the
    /// trust file, or the public instance's.
    pub(super) fn root(&self, trust: &Trust) -> Result<Option<Root>, KeyringError> {
        if !trust.names_identities() {
            return Ok(None);
        }
        let path = self.config.join("trusted_root.json");
        let read = files::read_believed(&path, ROOT_BYTES_MAX).map_err(KeyringError::Believed)?;
        let root = match read {
            Some(bytes) => Root::parse(&bytes),
            None => Root::public(),
        };
        root.map(Some).map_err(|source| KeyringError::Root { path, source })
    }

    /// Adds the key's own entries at the end of the trust file, one for each backend's builder, unless
    /// they are there.
    fn trust_own(&self, key: &PrivateKey, now: i64) -> Result<PublicKey, KeyringError> {
        let path = self.config.join("trust.toml");
        let public =
            key.public().map_err(|source| KeyringError::Key { path: self.key_path(), source })?;
        let config = self.builder()?;
        let _lock = files::lock(&self.config.join(TRUST_LOCK))?;
        let (mut text, trust) = self.trust()?;
        let known = |builder: &BuilderId| {
            trust.of_key(&public.id()).any(|one| one.builder() == Some(builder))
        };
        let missing: Vec<&BuilderId> =
            config.full().filter(|builder: &&BuilderId| !known(builder)).collect();
        if missing.is_empty() {
            return Ok(public);
        }
        for builder in missing {
            let entry = Entry {
                name: OWN_NAME.to_owned(),
                who: Who::Key(public.clone()),
                speaks_for: SpeaksFor::Builder(builder.clone()),
                max_level: Level::L1,
                from: Some(now),
                until: None,
                revoked: None,
            };
            text = edit::append(&text, &entry)
                .map_err(|source| KeyringError::Trust { path: path.clone(), source })?;
        }
        files::replace(&path, text.as_bytes())?;
        Ok(public)
    }
}

/// Reads a PIN; a newline at its end is the editor's.
#[cfg(feature = "pkcs11")]
fn read_pin(place: &PinPlace) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let (path, read) = match place {
        PinPlace::File(path) => {
            let read = files::read_private(path, PIN_BYTES_MAX).map_err(KeyringError::Pin)?;
            (path.clone(), read)
        }
        PinPlace::Descriptor(number) => {
            let read = files::read_descriptor(*number, PIN_BYTES_MAX).map_err(KeyringError::Pin)?;
            (PathBuf::from(format!("descriptor {number}")), Some(read))
        }
    };
    let mut pin = read.ok_or_else(|| KeyringError::NoPin { path: path.clone() })?;
    if pin.last() == Some(&b'\n') {
        pin.pop();
    }
    if pin.is_empty() { Err(KeyringError::NoPin { path }) } else { Ok(pin) }
}

fn read_key(path: &Path) -> Result<Option<PrivateKey>, KeyringError> {
    let Some(bytes) = files::read_private(path, KEY_BYTES_MAX)? else { return Ok(None) };
    let pem = std::str::from_utf8(&bytes).unwrap_or_default();
    let key = PrivateKey::from_pem(pem)
        .map_err(|source| KeyringError::Key { path: path.to_owned(), source })?;
    Ok(Some(key))
}

/// Makes a key from the kernel's randomness.
fn fresh(algorithm: Algorithm) -> Result<PrivateKey, KeyringError> {
    loop {
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(random.as_mut_slice()).map_err(KeyringError::Random)?;
        if let Some(key) = PrivateKey::from_random(algorithm, &random) {
            return Ok(key);
        }
    }
}
