//! Signs with a key in a PKCS#11 token: the key never leaves it.
//!
//! A token is named by its label and a key by label or id, never by slot or "the first one": slots
//! move, and a key that is found by chance is no key that was chosen. No match and two matches are
//! errors. The PIN comes from the caller; it is in no error and no log.
//!
//! P-256 signs by `CKM_ECDSA` over SHA-256, since not every token hashes; Ed25519 by `CKM_EDDSA`
//! over the bytes themselves. A token that has one try left before it locks is not tried.
//!
//! Does not catch: a module that lies about its public key; then the signature of that key is
//! checked, and nobody trusts it. Source: PKCS#11 3.0, current mechanisms, 2.3.

use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use model::Digest;
use zeroize::Zeroizing;

use super::config::{KeyName, Pkcs11Config};
use crate::public_key::{Algorithm, KeyError, PublicKey};

/// `prime256v1` as `CKA_EC_PARAMS`: its object identifier in DER.
const P256_PARAMS: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// Ed25519 as `CKA_EC_PARAMS`: its object identifier, or its name as older modules write it.
const ED25519_PARAMS: [&[u8]; 2] = [b"\x06\x03\x2b\x65\x70", b"\x13\x0cedwards25519"];

/// A key in a token, with the session that it was found in.
pub(crate) struct Pkcs11Signer {
    /// Closed before the module is left.
    session: Session,
    private: ObjectHandle,
    public: PublicKey,
    _module: Module,
}

/// A module that is left when this is dropped, so that the next request can enter it anew.
struct Module(Pkcs11);

impl Drop for Module {
    fn drop(&mut self) {
        // A module that cannot be left says so when it is entered again.
        let _ = self.0.clone().finalize();
    }
}

/// Why a token can not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("load the module {}", module.display())]
    Load {
        module: PathBuf,
        #[source]
        source: Error,
    },
    #[error("{attempted} of module {}", module.display())]
    Module {
        attempted: &'static str,
        module: PathBuf,
        #[source]
        source: Error,
    },
    #[error("no token is labelled `{label}`; there are: {}", labels(present))]
    NoToken { label: String, present: Vec<String> },
    #[error("{count} tokens are labelled `{label}`, so none is taken")]
    Tokens { label: String, count: usize },
    #[error("token `{label}` wants a PIN, and the configuration says of none: pin-file")]
    NoPin { label: String },
    #[error("the PIN is not that of token `{label}`")]
    WrongPin { label: String },
    #[error("token `{label}` is locked after wrong PINs, or has one try left; unlock it first")]
    Locked { label: String },
    #[error("token `{token}` has no private key {key}; there are: {}", labels(present))]
    NoKey { token: String, key: String, present: Vec<String> },
    #[error("token `{token}` has {count} private keys {key}, so none is taken; give `id` too")]
    Keys { token: String, key: String, count: usize },
    #[error("token `{token}` has no public half beside the private key {key}")]
    NoPublic { token: String, key: String },
    #[error("the key {key} is {got}; offered are ECDSA P-256 and Ed25519")]
    Kind { key: String, got: String },
    #[error("the public half of the key {key}")]
    Public {
        key: String,
        #[source]
        source: KeyError,
    },
    #[error("the token's signature is no pair of numbers")]
    Signature,
    #[error("sign in the token")]
    Sign(#[source] Error),
}

fn labels(present: &[String]) -> String {
    if present.is_empty() { "none".to_owned() } else { present.join(", ") }
}

impl Pkcs11Signer {
    /// Finds the token and the key, and logs in.
    pub(crate) fn open(
        config: &Pkcs11Config,
        pin: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Pkcs11Signer, TokenError> {
        let failed = |attempted| {
            let module = config.module.clone();
            move |source| TokenError::Module { attempted, module, source }
        };
        let library = Pkcs11::new(&config.module)
            .map_err(|source| TokenError::Load { module: config.module.clone(), source })?;
        // The attestor may start no process, and to the kernel a thread is one.
        let flags =
            CInitializeFlags::OS_LOCKING_OK | CInitializeFlags::LIBRARY_CANT_CREATE_OS_THREADS;
        library.initialize(CInitializeArgs::new(flags)).map_err(failed("initialise"))?;
        let module = Module(library);
        let slot = find_token(&module.0, config)?;
        let session = module.0.open_ro_session(slot).map_err(failed("open a session"))?;
        log_in(&module.0, slot, &session, config, pin)?;
        let (private, kind) = find_private(&session, config)?;
        let public = find_public(&session, config, private, kind)?;
        Ok(Pkcs11Signer { session, private, public, _module: module })
    }

    pub(crate) fn sign(&self, signed_bytes: &[u8]) -> Result<Vec<u8>, TokenError> {
        match self.public.algorithm() {
            Algorithm::EcdsaP256 => {
                let hashed = Digest::of(signed_bytes);
                let pair = self
                    .session
                    .sign(&Mechanism::Ecdsa, self.private, hashed.as_bytes())
                    .map_err(TokenError::Sign)?;
                let signature =
                    p256::ecdsa::Signature::from_slice(&pair).map_err(|_| TokenError::Signature)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Algorithm::Ed25519 => {
                let scheme = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                self.session
                    .sign(&Mechanism::Eddsa(scheme), self.private, signed_bytes)
                    .map_err(TokenError::Sign)
            }
        }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }
}

fn find_token(library: &Pkcs11, config: &Pkcs11Config) -> Result<Slot, TokenError> {
    let failed = |source| TokenError::Module {
        attempted: "list the tokens",
        module: config.module.clone(),
        source,
    };
    let mut present = Vec::new();
    let mut found = Vec::new();
    for slot in library.get_slots_with_token().map_err(failed)? {
        let token = library.get_token_info(slot).map_err(failed)?;
        if !token.token_initialized() {
            continue;
        }
        if token.label() == config.token {
            found.push(slot);
        }
        present.push(model::text::escape(token.label().as_bytes()));
    }
    let label = model::text::escape(config.token.as_bytes());
    match found.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(TokenError::NoToken { label, present }),
        more => Err(TokenError::Tokens { label, count: more.len() }),
    }
}

fn log_in(
    library: &Pkcs11,
    slot: Slot,
    session: &Session,
    config: &Pkcs11Config,
    pin: Option<Zeroizing<Vec<u8>>>,
) -> Result<(), TokenError> {
    let failed =
        |source| TokenError::Module { attempted: "log in", module: config.module.clone(), source };
    let label = || model::text::escape(config.token.as_bytes());
    let token = library.get_token_info(slot).map_err(failed)?;
    if token.user_pin_locked() || token.user_pin_final_try() {
        return Err(TokenError::Locked { label: label() });
    }
    let result = match pin {
        // The copy is wiped by its type, as the original is.
        Some(pin) => session
            .login_with_raw(UserType::User, &RawAuthPin::new(Box::new(pin.as_slice().to_vec()))),
        None if !token.login_required() => return Ok(()),
        None if token.protected_authentication_path() => session.login(UserType::User, None),
        None => return Err(TokenError::NoPin { label: label() }),
    };
    match result {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => Err(TokenError::WrongPin { label: label() }),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(TokenError::Locked { label: label() }),
        Err(source) => Err(failed(source)),
    }
}

/// Finds the one private key of that name, and says of which kind it is.
fn find_private(
    session: &Session,
    config: &Pkcs11Config,
) -> Result<(ObjectHandle, Algorithm), TokenError> {
    let failed = |source| TokenError::Module {
        attempted: "look for the key",
        module: config.module.clone(),
        source,
    };
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(names(&config.key));
    let found = session.find_objects(&template).map_err(failed)?;
    let (token, key) = (model::text::escape(config.token.as_bytes()), shown(&config.key));
    let private = match found.as_slice() {
        [one] => *one,
        [] => {
            let all = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
            let all = session.find_objects(&all).map_err(failed)?;
            let mut present: Vec<String> =
                all.iter().filter_map(|object| label_of(session, *object)).collect();
            present.sort();
            return Err(TokenError::NoKey { token, key, present });
        }
        more => return Err(TokenError::Keys { token, key, count: more.len() }),
    };
    let kind = session.get_attributes(private, &[AttributeType::KeyType]).map_err(failed)?;
    let kind = kind.into_iter().find_map(|attribute| match attribute {
        Attribute::KeyType(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(KeyType::EC) => Ok((private, Algorithm::EcdsaP256)),
        Some(KeyType::EC_EDWARDS) => Ok((private, Algorithm::Ed25519)),
        Some(KeyType::RSA) => Err(TokenError::Kind { key, got: "an RSA key".to_owned() }),
        Some(other) => Err(TokenError::Kind { key, got: format!("of kind {other}") }),
        None => Err(TokenError::Kind { key, got: "of no kind".to_owned() }),
    }
}

/// Reads the public half: the object of the same id, or of the same label where there is no id.
fn find_public(
    session: &Session,
    config: &Pkcs11Config,
    private: ObjectHandle,
    kind: Algorithm,
) -> Result<PublicKey, TokenError> {
    let failed = |source| TokenError::Module {
        attempted: "read the public half",
        module: config.module.clone(),
        source,
    };
    let key = shown(&config.key);
    let own = session.get_attributes(private, &[AttributeType::Id]).map_err(failed)?;
    let id = own.into_iter().find_map(|attribute| match attribute {
        Attribute::Id(id) if !id.is_empty() => Some(Attribute::Id(id)),
        _ => None,
    });
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY)];
    match id {
        Some(id) => template.push(id),
        None => template.extend(names(&config.key)),
    }
    let found = session.find_objects(&template).map_err(failed)?;
    let [public] = found.as_slice() else {
        let token = model::text::escape(config.token.as_bytes());
        return Err(TokenError::NoPublic { token, key });
    };
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let (mut params, mut point) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(*public, &wanted).map_err(failed)? {
        match attribute {
            Attribute::EcParams(bytes) => params = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    let offered = match kind {
        Algorithm::EcdsaP256 => params == P256_PARAMS,
        Algorithm::Ed25519 => ED25519_PARAMS.contains(&params.as_slice()),
    };
    if !offered {
        return Err(TokenError::Kind { key, got: "on another curve".to_owned() });
    }
    let unusable = |_| KeyError::Public;
    match kind {
        Algorithm::EcdsaP256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bare(&point, 65))
            .map_err(unusable)
            .and_then(|point| PublicKey::from_p256(&point)),
        Algorithm::Ed25519 => ed25519_dalek::VerifyingKey::try_from(bare(&point, 32))
            .map_err(unusable)
            .and_then(|point| PublicKey::from_ed25519(&point)),
    }
    .map_err(|source| TokenError::Public { key, source })
}

/// Returns a point of `length` bytes without the DER OCTET STRING that most modules put around it.
fn bare(point: &[u8], length: u8) -> &[u8] {
    let wrapped = point.len() == usize::from(length) + 2 && point.starts_with(&[4, length]);
    if wrapped { &point[2..] } else { point }
}

fn names(key: &KeyName) -> Vec<Attribute> {
    let label = key.label.iter().map(|label| Attribute::Label(label.as_bytes().to_vec()));
    let id = key.id.iter().map(|id| Attribute::Id(id.clone()));
    label.chain(id).collect()
}

fn shown(key: &KeyName) -> String {
    let label =
        key.label.iter().map(|label| format!("`{}`", model::text::escape(label.as_bytes())));
    let hex = |id: &Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = key.id.iter().map(|id| format!("with id {}", hex(id)));
    label.chain(id).collect::<Vec<_>>().join(" ")
}

fn label_of(session: &Session, object: ObjectHandle) -> Option<String> {
    let attributes = session.get_attributes(object, &[AttributeType::Label]).ok()?;
    attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::Label(label) => Some(model::text::escape(&label)),
        _ => None,
    })
}
