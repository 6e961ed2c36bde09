//! What a refused request is answered with: its kind, every cause, and what to do about it.
//!
//! The kinds become codes at the edge, in the build process. No cause holds a secret: the errors of
//! this crate carry paths, labels and fingerprints.

use std::io::ErrorKind;

use super::files::FileError;
use super::keyring::KeyringError;
use super::orders::OrderError;
use super::serve::ServeError;
use super::subjects::SubjectError;
use super::swear::SwearError;
use crate::order::Refused;
use crate::pipe::{RefusedAnswer, RefusedKind};
use crate::public_key::KeyError;
#[cfg(feature = "pkcs11")]
use crate::signer::TokenError;
use crate::signer::{AgentError, SignError};
#[cfg(feature = "keyless")]
use crate::sigstore::keyless::{KeylessError, TokenError as IdentityError};

/// Returns the answer to a request that is refused.
pub(super) fn refused(error: &ServeError) -> RefusedAnswer {
    let (kind, help) = match error {
        ServeError::Protocol(_) => (RefusedKind::Protocol, None),
        ServeError::ManyOrders { .. } => (
            RefusedKind::TooLarge,
            Some("build in parts, each with a file of its own orders:  kiln build --orders FILE"),
        ),
        ServeError::Nonce | ServeError::OtherRecord => (RefusedKind::Nonce, None),
        ServeError::Record(Refused::Late { .. }) => (RefusedKind::Late, None),
        ServeError::Record(_) => (RefusedKind::Record, None),
        ServeError::Subject(SubjectError::Served { .. }) => (
            RefusedKind::Subject,
            Some(
                "copy the file to a file system of the kernel's own, such as ext4 or tmpfs, and sign it there",
            ),
        ),
        ServeError::Subject(_) | ServeError::Subjects => (RefusedKind::Subject, None),
        ServeError::Summary(_) => (RefusedKind::Summary, None),
        ServeError::Derived { .. }
        | ServeError::PredicateType { .. }
        | ServeError::Predicate
        | ServeError::PredicateJson(_) => (RefusedKind::Predicate, None),
        ServeError::Lock(_)
        | ServeError::Journal(_)
        | ServeError::Log(_)
        | ServeError::Write(_)
        | ServeError::Manifest(_) => (RefusedKind::Files, None),
        ServeError::Role { .. } | ServeError::NoSocket => (RefusedKind::Role, None),
        ServeError::Open(error) => (order(error, RefusedKind::Order), None),
        ServeError::Ordered(OrderError::Answered) => (RefusedKind::Answered, None),
        ServeError::Ordered(error) => (
            order(error, RefusedKind::NoOrder),
            Some("have the control plane open an order for this build: docs/signing.md"),
        ),
        ServeError::Swear(error) => swear(error),
        ServeError::Key(error) => key(error),
    };
    let kind = if kind == RefusedKind::Files && is_full(error) { RefusedKind::Full } else { kind };
    let help = convert(error).or_else(|| rights(error)).or_else(|| help.map(str::to_owned));
    RefusedAnswer { kind, causes: causes(error), help }
}

/// Returns the command that makes a key of ours of the file that is none yet, where one does.
fn convert(error: &ServeError) -> Option<String> {
    let (ServeError::Key(KeyringError::Key { path, source })
    | ServeError::Swear(SwearError::Key(KeyringError::Key { path, source }))) = error
    else {
        return None;
    };
    let path = path.to_string_lossy();
    match source {
        KeyError::Sec1 | KeyError::Encrypted => {
            let (from, to) = (quoted(&path), quoted(&format!("{path}.pkcs8")));
            Some(format!(
                "convert it, and use what that writes:  (umask 077 && openssl pkey -in {from} -out {to})"
            ))
        }
        KeyError::Rsa | KeyError::OtherCurve | KeyError::OtherKind => {
            Some("make one that is supported:  kiln key generate".to_owned())
        }
        KeyError::OpenSsh => {
            Some("let an agent of ssh hold it, and sign with that: docs/signing.md".to_owned())
        }
        KeyError::Public | KeyError::Private | KeyError::Fingerprint => None,
    }
}

/// Says whether there was no room to write to.
fn is_full(error: &ServeError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        let kind = one.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) = kind {
            return true;
        }
        cause = one.source();
    }
    false
}

/// Returns the command that takes away from others what makes a file or folder unfit, where its owner is right.
fn rights(error: &ServeError) -> Option<String> {
    if let ServeError::Lock(FileError::OpenFolder { path }) = error {
        let path = quoted(&path.to_string_lossy());
        return Some(format!("take the rights of others away:  chmod 700 {path}"));
    }
    let (ServeError::Key(KeyringError::File(file) | KeyringError::Believed(file))
    | ServeError::Swear(SwearError::Key(
        KeyringError::File(file) | KeyringError::Believed(file),
    ))) = error
    else {
        return None;
    };
    let FileError::Strange { path, uid, own, .. } = file else { return None };
    let path = quoted(&path.to_string_lossy());
    [0, *own].contains(uid).then(|| {
        format!("look at what it says, then take the rights of others away:  chmod go-w {path}")
    })
}

/// Returns a word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@%+,".contains(&byte);
    match !word.is_empty() && !word.starts_with('-') && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Returns an error and all below it.
pub(super) fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        // Whatever an address within holds, no credential leaves with an error.
        causes.push(model::address::without_credentials(&one.to_string()));
        cause = one.source();
    }
    causes
}

fn order(error: &OrderError, otherwise: RefusedKind) -> RefusedKind {
    match error {
        OrderError::File(_)
        | OrderError::Sweep { .. }
        | OrderError::Entry { .. }
        | OrderError::Write(_) => RefusedKind::Files,
        OrderError::TooLarge { .. }
        | OrderError::Unanswerable(_)
        | OrderError::NoBuilder { .. }
        | OrderError::RootBuilds
        | OrderError::Late
        | OrderError::TooLong
        | OrderError::Many
        | OrderError::OtherOpen
        | OrderError::Answered
        | OrderError::None { .. }
        | OrderError::Differs { .. } => otherwise,
    }
}

fn key(error: &KeyringError) -> (RefusedKind, Option<&'static str>) {
    match error {
        KeyringError::NoKey { .. } => (RefusedKind::NoKey, None),
        KeyringError::Exists { .. } => (RefusedKind::KeyExists, None),
        KeyringError::Config { .. } | KeyringError::Trust { .. } | KeyringError::Root { .. } => {
            (RefusedKind::Configuration, None)
        }
        KeyringError::Key { .. } => (RefusedKind::KeyUnreadable, None),
        KeyringError::Kept { .. } => (
            RefusedKind::SignerKept,
            Some("make the key with the token's or the agent's own tool: docs/signing.md"),
        ),
        KeyringError::File(
            FileError::NotPrivate { .. }
            | FileError::NotPlain { .. }
            | FileError::Open { .. }
            | FileError::Read { .. },
        ) => (RefusedKind::KeyUnreadable, None),
        KeyringError::File(FileError::Strange { .. } | FileError::Link { .. }) => {
            (RefusedKind::Configuration, Some(NOT_OURS))
        }
        KeyringError::Believed(FileError::Strange { .. }) => (RefusedKind::Trust, Some(NOT_OURS)),
        KeyringError::Believed(_) => (RefusedKind::Trust, None),
        KeyringError::File(_) | KeyringError::Random(_) => (RefusedKind::Files, None),
        #[cfg(feature = "pkcs11")]
        KeyringError::Token(error) => token(error),
        #[cfg(feature = "pkcs11")]
        KeyringError::Pin(_) | KeyringError::NoPin { .. } => (
            RefusedKind::SignerUnusable,
            Some("put the PIN in a file of the attestor's user, mode 0600, and name it: pin-file"),
        ),
        #[cfg(not(all(feature = "pkcs11", feature = "keyless")))]
        KeyringError::NotBuilt { .. } => (RefusedKind::SignerUnusable, None),
        KeyringError::Keyless { .. } => (RefusedKind::SignerKept, Some(WITH_A_KEY)),
        #[cfg(feature = "keyless")]
        KeyringError::Prepare(error) => keyless(error),
        #[cfg(feature = "keyless")]
        KeyringError::NoFile { .. } => (RefusedKind::Configuration, None),
        KeyringError::Agent(error) => agent(error),
        KeyringError::NoAgent { .. } => (
            RefusedKind::SignerAbsent,
            Some("start an agent and set SSH_AUTH_SOCK:  eval \"$(ssh-agent)\""),
        ),
    }
}

/// What to do about a file or folder that others could have written.
const NOT_OURS: &str =
    "look at what it says, then give it to the attestor's user, with mode 644, a folder 700";

/// What needs a key, where there is none.
const WITH_A_KEY: &str = "use an attestor that signs with a key: docs/signing.md";

fn swear(error: &SwearError) -> (RefusedKind, Option<&'static str>) {
    match error {
        SwearError::Key(error) => key(error),
        SwearError::Sign(error) => sign(error),
        #[cfg(feature = "keyless")]
        SwearError::Keyless(error) => keyless(error),
        #[cfg(feature = "keyless")]
        SwearError::NoSubject => (RefusedKind::Subject, None),
        SwearError::Write(_) => (RefusedKind::Files, None),
    }
}

#[cfg(feature = "keyless")]
fn keyless(error: &KeylessError) -> (RefusedKind, Option<&'static str>) {
    match error {
        KeylessError::Config { .. } | KeylessError::Root(_) => (
            RefusedKind::Configuration,
            Some(
                "take signing_config.json and trusted_root.json from the instance's operator anew",
            ),
        ),
        KeylessError::Plain { .. } => (
            RefusedKind::Configuration,
            Some("name a certificate authority whose address begins with https: signing-config"),
        ),
        KeylessError::Token(error) => identity(error),
        KeylessError::Client { .. } => (
            RefusedKind::SignerUnusable,
            Some("install the host's certificates (ca-certificates), or name some: SSL_CERT_FILE"),
        ),
        KeylessError::Unreachable { .. } => {
            (RefusedKind::ServiceUnreachable, Some("sign again; finished steps are not run again"))
        }
        KeylessError::Refused { service: "fulcio", .. } => (
            RefusedKind::ServiceRefused,
            Some("ask the instance's operator whether it takes tokens of this issuer and audience"),
        ),
        KeylessError::Refused { .. }
        | KeylessError::TooMuch { .. }
        | KeylessError::Services { .. } => (
            RefusedKind::ServiceRefused,
            Some("ask the instance's operator, or name another signing-config"),
        ),
        KeylessError::Check(_) | KeylessError::ReadBack(_) | KeylessError::OtherBytes => (
            RefusedKind::ServiceRefused,
            Some("see whether trusted-root and signing-config are of one instance, and of today"),
        ),
    }
}

#[cfg(feature = "keyless")]
fn identity(error: &IdentityError) -> (RefusedKind, Option<&'static str>) {
    let (kind, help) = match error {
        IdentityError::None { .. } => (
            RefusedKind::SignerAbsent,
            "run it where a token is given, or name one: token-file, token-variable: docs/signing.md",
        ),
        IdentityError::NotGiven { ci: "GitHub", .. } => {
            (RefusedKind::SignerAbsent, "give the job the permission:  id-token: write")
        }
        IdentityError::NotGiven { ci: "GitLab", .. } => (
            RefusedKind::SignerAbsent,
            "give the job one:  id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}",
        ),
        IdentityError::NotGiven { ci: "CircleCI", .. } => (
            RefusedKind::SignerAbsent,
            "set it in the job from:  circleci run oidc get --claims '{\"aud\":\"sigstore\"}' --root-issuer",
        ),
        IdentityError::NotGiven { .. } => {
            (RefusedKind::SignerAbsent, "run it in a job of an agent that may ask for tokens")
        }
        IdentityError::File { .. } => (
            RefusedKind::SignerUnusable,
            "name a plain file that the attestor's user can read: token-file",
        ),
        IdentityError::Plain { .. } => {
            (RefusedKind::SignerUnusable, "use an address that begins with https")
        }
        IdentityError::Ask { .. } => {
            (RefusedKind::ServiceUnreachable, "sign again; finished steps are not run again")
        }
        IdentityError::Refused { .. } => {
            (RefusedKind::ServiceRefused, "see whether the job may still ask for tokens")
        }
        IdentityError::Shape => (
            RefusedKind::SignerUnusable,
            "give an OpenID Connect identity token, and no access token",
        ),
        IdentityError::Expired { .. } => (
            RefusedKind::SignerUnusable,
            "get a fresh token and sign again; finished steps are not run again",
        ),
        IdentityError::Audience { .. } => (
            RefusedKind::SignerUnusable,
            "have the token made for that audience, or say what the instance wants:  audience = \"…\"",
        ),
    };
    (kind, Some(help))
}

fn sign(error: &SignError) -> (RefusedKind, Option<&'static str>) {
    match error {
        #[cfg(feature = "pkcs11")]
        SignError::Token(error) => token(error),
        SignError::Agent(error) => agent(error),
        SignError::Wrong => (
            RefusedKind::SignerUnusable,
            Some("compare the two halves of the key in the token; they do not belong together"),
        ),
    }
}

#[cfg(feature = "pkcs11")]
fn token(error: &TokenError) -> (RefusedKind, Option<&'static str>) {
    let (kind, help) = match error {
        TokenError::Load { .. } => {
            (RefusedKind::SignerAbsent, "install the token's module, and name its file: module")
        }
        TokenError::NoToken { .. } => {
            (RefusedKind::SignerAbsent, "insert the token, or name another:  token = \"LABEL\"")
        }
        TokenError::NoKey { .. } => (
            RefusedKind::SignerAbsent,
            "make the key in the token, or name another:  key = \"LABEL\"",
        ),
        TokenError::NoPublic { .. } => {
            (RefusedKind::SignerAbsent, "write the public key into the token, under the same id")
        }
        TokenError::Tokens { .. } => {
            (RefusedKind::SignerUnusable, "give each token a label of its own, or remove one")
        }
        TokenError::Keys { .. } => {
            (RefusedKind::SignerUnusable, "say which one by its id too:  id = \"01\"")
        }
        TokenError::NoPin { .. } => {
            (RefusedKind::SignerUnusable, "put the PIN in a file, mode 0600, and name it: pin-file")
        }
        TokenError::WrongPin { .. } => {
            (RefusedKind::SignerUnusable, "put the user's PIN, not the officer's, into the file")
        }
        TokenError::Locked { .. } => {
            (RefusedKind::SignerUnusable, "log in once, or unlock it, with the token's own tool")
        }
        TokenError::Kind { .. } => (
            RefusedKind::SignerUnusable,
            "make a key on P-256 or Ed25519: others verify only those",
        ),
        TokenError::Module { .. }
        | TokenError::Public { .. }
        | TokenError::Signature
        | TokenError::Sign(_) => return (RefusedKind::SignerUnusable, None),
    };
    (kind, Some(help))
}

fn agent(error: &AgentError) -> (RefusedKind, Option<&'static str>) {
    let (kind, help) = match error {
        AgentError::Reach { .. } => {
            (RefusedKind::SignerAbsent, "start the agent, or name its socket:  socket = \"PATH\"")
        }
        AgentError::NoKey { .. } => (
            RefusedKind::SignerAbsent,
            "add the key:  ssh-add FILE; see what it holds:  ssh-add -l",
        ),
        AgentError::Refused => {
            (RefusedKind::SignerUnusable, "unlock it:  ssh-add -X; or confirm when it asks")
        }
        AgentError::Silent { .. } => (
            RefusedKind::SignerUnusable,
            "answer what it asks you, or see whether it says anything:  ssh-add -l",
        ),
        AgentError::Kind { .. } => (
            RefusedKind::SignerUnusable,
            "make one that is offered:  ssh-keygen -t ecdsa -b 256, or -t ed25519",
        ),
        AgentError::TooLarge { .. } => {
            (RefusedKind::SignerUnusable, "sign with a key file or a token")
        }
        AgentError::Speak { .. } | AgentError::Protocol | AgentError::Key { .. } => {
            return (RefusedKind::SignerUnusable, None);
        }
    };
    (kind, Some(help))
}
