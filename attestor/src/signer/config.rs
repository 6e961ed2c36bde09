//! `SignerConfig`: the table `[signer]` of `attestor.toml`, which says how this attestor signs.
//!
//! ```toml
//! [signer]                     # without the table: the key file beside it
//! kind = "file"
//!
//! [signer]
//! kind = "pkcs11"
//! module = "/usr/lib/softhsm/libsofthsm2.so"
//! token = "release"            # the token's label
//! key = "kiln"                 # the key's label; or id = "01", hex; or both
//! pin-file = "/etc/kiln/pin"   # 0600; or pin-descriptor = 5; none where the token asks by itself
//!
//! [signer]
//! kind = "ssh-agent"
//! key = "SHA256:…"             # as `ssh-add -l` prints it
//! socket = "/run/…/agent"      # without it: SSH_AUTH_SOCK
//!
//! [signer]
//! kind = "keyless"
//! signing-config = "/etc/kiln/signing_config.json"   # these two together; without them: the public
//! trusted-root = "/etc/kiln/trusted_root.json"       # instance, as it was when this kiln was made
//! token = "github"             # or gitlab, buildkite, circleci; without it: whichever is there
//! token-file = "/run/…/token"  # instead of `token`; or token-variable = "NAME"
//! audience = "sigstore"        # the default
//! ```
//!
//! A PIN is never part of this file, of the command line or of a variable: the file may be read by
//! others, and the other two are visible to every process of the user.

use std::path::PathBuf;

use serde::Deserialize;

/// Longest label or id, in bytes: PKCS#11 pads a token's label to 32, keys may have longer ones.
const LABEL_BYTES_MAX: usize = 256;
/// Highest descriptor that may hold a PIN: the first three are taken.
const PIN_DESCRIPTORS: std::ops::RangeInclusive<u32> = 3..=1023;

/// For whom Sigstore's instances want tokens to be.
const AUDIENCE: &str = "sigstore";
/// Where an agent of ssh listens.
const AGENT_VARIABLES: &[&str] = &["SSH_AUTH_SOCK"];
/// What the modules of common tokens read.
const MODULE_VARIABLES: &[&str] =
    &["SOFTHSM2_CONF", "OPENSC_CONF", "TPM2_PKCS11_STORE", "KMS_PKCS11_CONFIG"];
/// Whose certificates are believed of a server, and by which way it is reached.
const CONNECTION_VARIABLES: &[&str] =
    &["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];
const GITHUB_VARIABLES: &[&str] =
    &["GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
const BUILDKITE_VARIABLES: &[&str] =
    &["BUILDKITE", "BUILDKITE_AGENT_ENDPOINT", "BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_JOB_ID"];
/// What is looked at where no place of the token is named.
const TOKEN_VARIABLES: &[&str] = &[
    "SIGSTORE_ID_TOKEN",
    "GITHUB_ACTIONS",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITLAB_CI",
    "CIRCLECI",
    "BUILDKITE",
    "BUILDKITE_AGENT_ENDPOINT",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BUILDKITE_JOB_ID",
];

/// How this attestor signs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SignerConfig {
    /// With the key file beside the configuration.
    #[default]
    File,
    /// With a key in a token.
    Pkcs11(Pkcs11Config),
    /// With a key that an agent of ssh holds.
    SshAgent(SshAgentConfig),
    /// With a key for one signature and a certificate for an identity.
    Keyless(KeylessConfig),
}

/// Where certificates come from, and whose identity they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeylessConfig {
    /// The instance's files; none for the public one.
    pub(crate) instance: Option<InstanceFiles>,
    /// Where the identity token is.
    pub(crate) token: TokenPlace,
    /// For whom the token must be.
    pub(crate) audience: String,
}

/// What an instance of Sigstore hands out to its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceFiles {
    /// Where to sign.
    pub(crate) signing_config: PathBuf,
    /// Whom to believe about it.
    pub(crate) trusted_root: PathBuf,
}

/// Where an identity token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenPlace {
    /// Wherever one is found.
    Ambient,
    /// A file.
    File(PathBuf),
    /// A variable of the attestor's process.
    Variable(String),
    /// One of the CI systems that give tokens to their jobs.
    Ci(Ci),
}

/// A CI system that gives tokens to its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ci {
    Github,
    Gitlab,
    Buildkite,
    Circleci,
}

/// A key in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pkcs11Config {
    /// The token's own library.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token: String,
    /// Which of its keys.
    pub(crate) key: KeyName,
    /// Where the PIN is; none for a token that asks by itself.
    pub(crate) pin: Option<PinPlace>,
}

/// A key's names within its token; at least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    /// Its label.
    pub(crate) label: Option<String>,
    /// Its id.
    pub(crate) id: Option<Vec<u8>>,
}

/// Where a PIN is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PinPlace {
    /// A file that nobody else can read.
    File(PathBuf),
    /// A descriptor that was handed over.
    Descriptor(u32),
}

/// A key that an agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshAgentConfig {
    /// Its fingerprint, `SHA256:` and base64 without padding.
    pub(crate) key: String,
    /// The agent's socket; without it the one of `SSH_AUTH_SOCK`.
    pub(crate) socket: Option<PathBuf>,
}

/// Why a table is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignerConfigError {
    /// A path that depends on where the process was started.
    #[error("`{member}` is no absolute path")]
    Relative {
        /// The member.
        member: &'static str,
    },
    /// A key that goes with another kind.
    #[error("`{member}` does not go with kind = \"{kind}\"")]
    Stray {
        /// The member.
        member: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// A key that the kind needs.
    #[error("kind = \"{kind}\" needs `{member}`")]
    Missing {
        /// The member.
        member: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// No CI system that gives tokens.
    #[error("`token` is none of github, gitlab, buildkite, circleci")]
    Ci,
    /// An empty or overlong name.
    #[error("`{member}` is empty or longer than {LABEL_BYTES_MAX} bytes")]
    Label {
        /// The member.
        member: &'static str,
    },
    /// Neither a label nor an id.
    #[error("which key of the token: give `key`, its label, or `id`, its hex id")]
    NoName,
    /// An id that is no hex.
    #[error("`id` is no hex of whole bytes")]
    Id,
    /// Both places of a PIN.
    #[error("`pin-file` and `pin-descriptor` exclude each other")]
    TwoPins,
    /// A descriptor that is taken.
    #[error("`pin-descriptor` is none of 3 to 1023")]
    Descriptor,
    /// No fingerprint.
    #[error("`key` is no fingerprint as `ssh-add -l` prints it: `SHA256:` and base64")]
    Fingerprint,
    /// Half of an instance.
    #[error("`signing-config` and `trusted-root` belong together: give both, or neither")]
    HalfInstance,
    /// More than one place of the token.
    #[error("`token`, `token-file` and `token-variable` exclude each other")]
    TwoTokens,
    /// No name of a variable.
    #[error("`token-variable` is no name of a variable: A to Z, 0 to 9 and _")]
    Variable,
}

impl SignerConfigError {
    /// Returns the keys of which the first that is there is wrong.
    pub(crate) fn members(&self) -> &[&'static str] {
        match self {
            SignerConfigError::Relative { member }
            | SignerConfigError::Stray { member, .. }
            | SignerConfigError::Label { member } => std::slice::from_ref(member),
            SignerConfigError::Missing { .. } | SignerConfigError::NoName => &["kind"],
            SignerConfigError::Ci => &["token"],
            SignerConfigError::Id => &["id"],
            SignerConfigError::TwoPins | SignerConfigError::Descriptor => &["pin-descriptor"],
            SignerConfigError::Fingerprint => &["key"],
            SignerConfigError::HalfInstance => &["signing-config", "trusted-root"],
            SignerConfigError::TwoTokens | SignerConfigError::Variable => {
                &["token-variable", "token-file"]
            }
        }
    }
}

/// The table as it stands in the file. One flat list of keys and no choice among several, so that what is
/// wrong has its own line.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SignerIn {
    kind: Kind,
    module: Option<PathBuf>,
    token: Option<String>,
    key: Option<String>,
    id: Option<String>,
    pin_file: Option<PathBuf>,
    pin_descriptor: Option<u32>,
    socket: Option<PathBuf>,
    signing_config: Option<PathBuf>,
    trusted_root: Option<PathBuf>,
    token_file: Option<PathBuf>,
    token_variable: Option<String>,
    audience: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    File,
    Pkcs11,
    SshAgent,
    Keyless,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Pkcs11 => "pkcs11",
            Kind::SshAgent => "ssh-agent",
            Kind::Keyless => "keyless",
        }
    }

    /// Returns the keys that go with it.
    fn members(self) -> &'static [&'static str] {
        match self {
            Kind::File => &[],
            Kind::Pkcs11 => &["module", "token", "key", "id", "pin-file", "pin-descriptor"],
            Kind::SshAgent => &["key", "socket"],
            Kind::Keyless => &[
                "signing-config",
                "trusted-root",
                "token",
                "token-file",
                "token-variable",
                "audience",
            ],
        }
    }
}

impl SignerIn {
    /// Checks what the format alone cannot say.
    pub(crate) fn check(self) -> Result<SignerConfig, SignerConfigError> {
        let kind = self.kind;
        let known = kind.members();
        if let Some(member) = self.given().find(|member| !known.contains(member)) {
            return Err(SignerConfigError::Stray { member, kind: kind.as_str() });
        }
        match kind {
            Kind::File => Ok(SignerConfig::File),
            Kind::Pkcs11 => self.pkcs11().map(SignerConfig::Pkcs11),
            Kind::SshAgent => {
                let key = needed("key", kind, self.key)?;
                if !is_fingerprint(&key) {
                    return Err(SignerConfigError::Fingerprint);
                }
                let socket = self.socket.map(|path| absolute("socket", path)).transpose()?;
                Ok(SignerConfig::SshAgent(SshAgentConfig { key, socket }))
            }
            Kind::Keyless => {
                let audience = self.audience.unwrap_or_else(|| AUDIENCE.to_owned());
                let ci = self.token.as_deref().map(Ci::named).transpose()?;
                Ok(SignerConfig::Keyless(KeylessConfig {
                    instance: instance(self.signing_config, self.trusted_root)?,
                    token: place(ci, self.token_file, self.token_variable)?,
                    audience: named("audience", audience)?,
                }))
            }
        }
    }

    /// Returns the keys that stand in the table, but for `kind`.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("module", self.module.is_some()),
            ("token", self.token.is_some()),
            ("key", self.key.is_some()),
            ("id", self.id.is_some()),
            ("pin-file", self.pin_file.is_some()),
            ("pin-descriptor", self.pin_descriptor.is_some()),
            ("socket", self.socket.is_some()),
            ("signing-config", self.signing_config.is_some()),
            ("trusted-root", self.trusted_root.is_some()),
            ("token-file", self.token_file.is_some()),
            ("token-variable", self.token_variable.is_some()),
            ("audience", self.audience.is_some()),
        ];
        given.into_iter().filter(|(_, is)| *is).map(|(member, _)| member)
    }

    fn pkcs11(self) -> Result<Pkcs11Config, SignerConfigError> {
        let pin = match (self.pin_file, self.pin_descriptor) {
            (Some(_), Some(_)) => return Err(SignerConfigError::TwoPins),
            (Some(path), None) => Some(PinPlace::File(absolute("pin-file", path)?)),
            (None, Some(number)) if !PIN_DESCRIPTORS.contains(&number) => {
                return Err(SignerConfigError::Descriptor);
            }
            (None, Some(number)) => Some(PinPlace::Descriptor(number)),
            (None, None) => None,
        };
        let id = self.id.map(|hex| bytes(&hex).ok_or(SignerConfigError::Id)).transpose()?;
        let key = self.key.map(|label| named("key", label)).transpose()?;
        if key.is_none() && id.is_none() {
            return Err(SignerConfigError::NoName);
        }
        Ok(Pkcs11Config {
            module: absolute("module", needed("module", self.kind, self.module)?)?,
            token: named("token", needed("token", self.kind, self.token)?)?,
            key: KeyName { label: key, id },
            pin,
        })
    }
}

impl Ci {
    fn named(name: &str) -> Result<Ci, SignerConfigError> {
        match name {
            "github" => Ok(Ci::Github),
            "gitlab" => Ok(Ci::Gitlab),
            "buildkite" => Ok(Ci::Buildkite),
            "circleci" => Ok(Ci::Circleci),
            _ => Err(SignerConfigError::Ci),
        }
    }
}

fn needed<T>(member: &'static str, kind: Kind, value: Option<T>) -> Result<T, SignerConfigError> {
    value.ok_or(SignerConfigError::Missing { member, kind: kind.as_str() })
}

impl SignerConfig {
    /// Returns the variables that this way to sign, or its library, reads.
    pub(crate) fn variables(&self) -> Vec<&str> {
        match self {
            SignerConfig::File => Vec::new(),
            SignerConfig::Pkcs11(_) => MODULE_VARIABLES.to_vec(),
            SignerConfig::SshAgent(_) => AGENT_VARIABLES.to_vec(),
            SignerConfig::Keyless(config) => {
                let mut all = CONNECTION_VARIABLES.to_vec();
                all.extend(match &config.token {
                    TokenPlace::Ambient => TOKEN_VARIABLES,
                    TokenPlace::Ci(Ci::Github) => GITHUB_VARIABLES,
                    TokenPlace::Ci(Ci::Gitlab | Ci::Circleci) => &["SIGSTORE_ID_TOKEN"],
                    TokenPlace::Ci(Ci::Buildkite) => BUILDKITE_VARIABLES,
                    TokenPlace::File(_) | TokenPlace::Variable(_) => &[],
                });
                if let TokenPlace::Variable(name) = &config.token {
                    all.push(name);
                }
                all
            }
        }
    }
}

/// Returns the variables of all ways to sign, each group with what it is for.
pub(crate) fn known_variables() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("to the attestor, for a key that an agent of ssh holds", AGENT_VARIABLES.to_vec()),
        ("to the attestor, for a key that a token holds", MODULE_VARIABLES.to_vec()),
        (
            "to the attestor, for certificates: how it reaches their services",
            CONNECTION_VARIABLES.to_vec(),
        ),
        (
            "to the attestor, for certificates: where its identity token is from",
            TOKEN_VARIABLES.to_vec(),
        ),
    ]
}

fn instance(
    config: Option<PathBuf>,
    root: Option<PathBuf>,
) -> Result<Option<InstanceFiles>, SignerConfigError> {
    match (config, root) {
        (None, None) => Ok(None),
        (Some(config), Some(root)) => Ok(Some(InstanceFiles {
            signing_config: absolute("signing-config", config)?,
            trusted_root: absolute("trusted-root", root)?,
        })),
        _ => Err(SignerConfigError::HalfInstance),
    }
}

fn place(
    ci: Option<Ci>,
    file: Option<PathBuf>,
    variable: Option<String>,
) -> Result<TokenPlace, SignerConfigError> {
    match (ci, file, variable) {
        (None, None, None) => Ok(TokenPlace::Ambient),
        (Some(ci), None, None) => Ok(TokenPlace::Ci(ci)),
        (None, Some(file), None) => Ok(TokenPlace::File(absolute("token-file", file)?)),
        (None, None, Some(name)) => {
            let plain =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            match !name.is_empty() && name.len() <= LABEL_BYTES_MAX && name.bytes().all(plain) {
                true => Ok(TokenPlace::Variable(name)),
                false => Err(SignerConfigError::Variable),
            }
        }
        _ => Err(SignerConfigError::TwoTokens),
    }
}

fn absolute(member: &'static str, path: PathBuf) -> Result<PathBuf, SignerConfigError> {
    if path.is_absolute() { Ok(path) } else { Err(SignerConfigError::Relative { member }) }
}

fn named(member: &'static str, text: String) -> Result<String, SignerConfigError> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX {
        return Err(SignerConfigError::Label { member });
    }
    Ok(text)
}

/// Reads hex of at least one whole byte.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 2 * LABEL_BYTES_MAX {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(pair.first()? << 4 | pair.last()?).ok()).collect()
}

fn is_fingerprint(text: &str) -> bool {
    use base64::Engine as _;
    let decoded = text
        .strip_prefix("SHA256:")
        .and_then(|rest| base64::prelude::BASE64_STANDARD_NO_PAD.decode(rest).ok());
    decoded.is_some_and(|digest| digest.len() == 32)
}
