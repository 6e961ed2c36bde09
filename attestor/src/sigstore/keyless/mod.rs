//! Signs with a key that lives for one signature and a certificate that lives for ten minutes.
//!
//! 1. The identity token is found ([`token`]); one that has run out, or is for somebody else, is refused
//!    before a service is asked.
//! 2. A fresh key, a certificate for it (Fulcio), the signature, the log's entry (Rekor, version 1 or 2)
//!    and a timestamp (RFC 3161): by the organisation's own crate, at the addresses of the signing
//!    configuration.
//! 3. What came back is checked as a stranger would check it, under the trusted root, and the payload must
//!    be the statement's bytes. Nothing else leaves. Whose identity the certificate names is the authority's
//!    to say, which reads more than one claim of the token; it is told with the signature.
//!
//! The only part of the attestor that speaks to a network, and only to the services that its own
//! configuration names and the CI system that started the job. The token is in no error and no log.
//!
//! Source: Sigstore client specification, section 3.

mod http;
mod token;

use std::future::Future;
use std::time::Duration;

use model::Digest;
use model::text::escape;
use sigstore_sign::fulcio::Error as FulcioError;
use sigstore_sign::rekor::Error as RekorError;
use sigstore_sign::reqwest::{Client, Url};
use sigstore_sign::{SigningContext, SigningServices};
use sigstore_trust_root::SigningConfig;

pub(crate) use token::{Ambient, TOKEN_BYTES_MAX, TokenError};

use self::http::{LastName, TooMuch};
use self::token::Token;
use super::{Confirmed, Root, RootError, Signed, SigstoreError};
use crate::bundle::{self, EvidenceError};
use crate::dsse::Envelope;
use crate::signer::KeylessConfig;

/// Largest signing configuration, in bytes.
pub(crate) const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Time to find out why a service can not be reached.
const WHY_PATIENCE: Duration = Duration::from_secs(5);

/// Where to sign, as whom, and whom to believe about it.
pub(crate) struct Keyless {
    services: SigningServices,
    root: Root,
    config: KeylessConfig,
    client: Client,
    last: LastName,
    runtime: tokio::runtime::Runtime,
}

/// What an instance hands out to its users, as bytes.
pub(crate) struct Instance {
    /// `signing_config.json`.
    pub(crate) signing_config: Vec<u8>,
    /// `trusted_root.json`.
    pub(crate) trusted_root: Vec<u8>,
}

/// A signed statement and who signed it.
pub(crate) struct KeylessSigned {
    /// The content of `X.sigstore.json`.
    pub(crate) bundle: String,
    /// The envelope in it.
    pub(crate) envelope: Envelope,
    /// What a verifier finds.
    pub(crate) confirmed: Confirmed,
}

/// Whose token it is. Told by the token, and believed by nobody for that.
pub(crate) struct Holder {
    /// What a certificate will name, where that can be told.
    pub(crate) subject: Option<String>,
    /// Who vouches for it.
    pub(crate) issuer: String,
}

/// Why there is no signature. Holds no part of the token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeylessError {
    #[error("the signing configuration: {reason}")]
    Config { reason: String },
    #[error("the trusted root")]
    Root(#[source] RootError),
    #[error("have an identity token")]
    Token(#[source] TokenError),
    #[error("the token would go to {url}, which is neither https nor of this host")]
    Plain { url: String },
    #[error("start what speaks to the services: {reason}")]
    Client { reason: String },
    #[error("{service} at {url} can not be reached: {reason}")]
    Unreachable { service: &'static str, url: String, reason: String },
    #[error("{service} at {url} refused: {reason}")]
    Refused { service: &'static str, url: String, reason: String },
    #[error("{who} answered with more than {most_mib} MiB")]
    TooMuch { who: String, most_mib: u64 },
    #[error("the services did not sign: {reason}")]
    Services { reason: String },
    #[error("what the services gave does not hold under the trusted root")]
    Check(#[source] SigstoreError),
    #[error("the bundle that was made can not be read back")]
    ReadBack(#[source] EvidenceError),
    #[error("the bundle that was made is about other bytes")]
    OtherBytes,
}

impl Keyless {
    /// Prepares to sign at an instance; without one at the public instance, as it was when this kiln was made.
    pub(crate) fn new(
        config: KeylessConfig,
        instance: Option<&Instance>,
    ) -> Result<Keyless, KeylessError> {
        let config_error =
            |reason: String| KeylessError::Config { reason: escape(reason.as_bytes()) };
        let text = match instance {
            Some(instance) => std::str::from_utf8(&instance.signing_config)
                .map_err(|error| config_error(error.to_string()))?,
            None => sigstore_trust_root::SIGSTORE_PRODUCTION_SIGNING_CONFIG,
        };
        let services =
            SigningConfig::from_json(text).map_err(|error| config_error(error.to_string()))?;
        let services = SigningServices::from_signing_config(&services)
            .map_err(|error| config_error(error.to_string()))?;
        let fulcio = Url::parse(services.fulcio_url()).ok().filter(http::is_guarded);
        if fulcio.is_none() {
            let url = escape(services.fulcio_url().as_bytes());
            return Err(KeylessError::Plain { url });
        }
        let root = match instance {
            Some(instance) => Root::parse(&instance.trusted_root),
            None => Root::public(),
        };
        let client_error = |reason: String| KeylessError::Client { reason };
        let (client, last) = http::client().map_err(|error| client_error(http::causes(&error)))?;
        Ok(Keyless {
            services,
            root: root.map_err(KeylessError::Root)?,
            config,
            client,
            last,
            // Of this thread alone: this process can start no other.
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
                .map_err(|error| client_error(error.to_string()))?,
        })
    }

    /// Says whose token there is. `now` is in seconds since 1970.
    pub(crate) fn holder(&self, ambient: &Ambient<'_>, now: i64) -> Result<Holder, KeylessError> {
        let token = self.token(ambient, now)?;
        Ok(Holder { subject: token.subject(), issuer: token.issuer() })
    }

    /// Signs a statement about the artifact of this digest, with the holder of the token as signer.
    pub(crate) fn sign(
        &self,
        statement: &[u8],
        subject: Digest,
        ambient: &Ambient<'_>,
        now: i64,
    ) -> Result<KeylessSigned, KeylessError> {
        // 1. The token.
        let token = self.token(ambient, now)?;
        let identity = sigstore_sign::oidc::IdentityToken::from_jwt(token.expose())
            .map_err(|_| KeylessError::Token(TokenError::Shape))?;
        // 2. The services.
        let context =
            SigningContext::new(self.services.clone()).with_http_client(self.client.clone());
        let signer = context.signer(identity);
        let work = signer.sign_raw_statement(statement);
        let made = self.wait(http::bounded(statement.len(), work));
        let made = made.map_err(|TooMuch { most_mib }| self.too_much(most_mib))?;
        let made = made.map_err(|error| self.told(&error, &token))?;
        let mut bundle = made
            .to_json()
            .map_err(|error| KeylessError::Services { reason: token.scrub(&error.to_string()) })?;
        bundle.push('\n');
        // 3. As a stranger would.
        let confirmed = self
            .root
            .check_anyone(bundle.as_bytes(), Signed::Digest(subject))
            .map_err(KeylessError::Check)?;
        let read = bundle::read(bundle.as_bytes()).map_err(KeylessError::ReadBack)?;
        let [attestation] = <[_; 1]>::try_from(read).map_err(|_| KeylessError::OtherBytes)?;
        if attestation.envelope.unverified_payload() != statement {
            return Err(KeylessError::OtherBytes);
        }
        Ok(KeylessSigned { bundle, envelope: attestation.envelope, confirmed })
    }

    fn token(&self, ambient: &Ambient<'_>, now: i64) -> Result<Token, KeylessError> {
        let KeylessConfig { token, audience, .. } = &self.config;
        let token = self.wait(Token::obtain(token, audience, ambient, &self.client, now));
        token.map_err(KeylessError::Token)
    }

    /// Says which service answered without end, as far as its name tells it from the others.
    fn too_much(&self, most_mib: u64) -> KeylessError {
        let services = [
            ("fulcio", Some(self.services.fulcio_url())),
            ("rekor", Some(self.services.rekor_url())),
            ("the timestamp authority", self.services.tsa_url()),
        ];
        let told = services.into_iter().filter_map(|(name, url)| {
            let url = url.filter(|url| self.last.is_of(url))?;
            Some(format!("{name} at {}", escape(url.as_bytes())))
        });
        let told: Vec<String> = told.collect();
        let who = if told.is_empty() { "a service".to_owned() } else { told.join(", or ") };
        KeylessError::TooMuch { who, most_mib }
    }

    /// Says why a service can not be reached: the crate keeps only that it can not. Asked without the token.
    fn why(&self, url: &str) -> Option<String> {
        let asked = async { self.client.get(url).timeout(WHY_PATIENCE).send().await };
        self.wait(asked).err().map(|error| http::causes(&error))
    }

    fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// Sorts the crate's error by who has to act: nobody but time, whoever configured, or the service's owner.
    fn told(&self, error: &sigstore_sign::Error, token: &Token) -> KeylessError {
        use sigstore_sign::Error;
        let (service, url, status, reason) = match error {
            Error::Fulcio(error) => {
                let status = match error {
                    FulcioError::Http(_) => Some(0),
                    FulcioError::Status { status, .. } => Some(*status),
                    _ => None,
                };
                ("fulcio", Some(self.services.fulcio_url()), status, error.to_string())
            }
            Error::Rekor(error) => {
                let status = match error {
                    RekorError::Http(_) => Some(0),
                    RekorError::Status { status, .. } => Some(*status),
                    _ => None,
                };
                ("rekor", Some(self.services.rekor_url()), status, error.to_string())
            }
            Error::Tsa(error) => {
                let status = match error {
                    // The crate tells a status as text only.
                    sigstore_sign::tsa::Error::Http(text) if text.contains("status 4") => Some(400),
                    sigstore_sign::tsa::Error::Http(_) => Some(0),
                    _ => None,
                };
                ("the timestamp authority", self.services.tsa_url(), status, error.to_string())
            }
            other => ("", None, None, http::causes(other)),
        };
        let why = url.filter(|_| status == Some(0)).and_then(|url| self.why(url));
        let reason = why.unwrap_or(reason);
        let (reason, url) = (token.scrub(&reason), url.map(|url| escape(url.as_bytes())));
        match (url, status) {
            // Not reached, too much at once, or a fault of its own.
            (Some(url), Some(0 | 408 | 429 | 500..)) => {
                KeylessError::Unreachable { service, url, reason }
            }
            (Some(url), Some(_)) => KeylessError::Refused { service, url, reason },
            (_, _) => KeylessError::Services { reason },
        }
    }
}
