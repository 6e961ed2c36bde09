//! The flags of `kiln trust` and `kiln policy`.

use std::path::PathBuf;

use attestor::trust::Level;
use clap::{Args, Subcommand};

/// `kiln trust …`.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Believe a key for one builder, or for one verifier
    Add(TrustAdd),
    /// Say who is believed
    List,
    /// Forget an entry, or with --revoked keep it as one that is believed no more
    Remove(TrustRemove),
    /// Learn signer and builder from a verified file; shows them, and writes only with --yes
    Pin(TrustPin),
}

/// Whom a certificate names, where it is not a key that signs.
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// Who must have signed, instead of a key: the subject of a certificate, exactly
    #[arg(long, value_name = "ID", requires = "issuer", conflicts_with = "key")]
    pub identity: Option<String>,
    /// Who must vouch for the identity: the address of its OIDC issuer, exactly
    #[arg(long, value_name = "URL", requires = "identity", value_parser = issuer)]
    pub issuer: Option<String>,
}

/// By what a certificate is judged.
#[derive(Debug, Args)]
pub struct RootArgs {
    /// Whose certificates, logs and timestamps are believed, instead of Sigstore's public instance
    #[arg(long, value_name = "F")]
    pub trusted_root: Option<PathBuf>,
}

/// `kiln trust add`.
#[derive(Debug, Args)]
pub struct TrustAdd {
    /// The public key, PEM, as kiln key export prints it
    #[arg(value_name = "KEYFILE", required_unless_present = "identity")]
    pub key: Option<PathBuf>,
    /// Whom the certificate names.
    #[command(flatten)]
    pub by: IdentityArgs,
    /// The source repository that the certificate must claim
    #[arg(long, value_name = "URL", requires = "identity")]
    pub source_repository: Option<String>,
    /// The builder that it may speak for
    #[arg(long, value_name = "URI", required_unless_present = "verifier_id")]
    pub builder_id: Option<String>,
    /// Instead: the verifier whose summaries it may sign
    #[arg(long, value_name = "URI", conflicts_with = "builder_id")]
    pub verifier_id: Option<String>,
    /// What you call it [default: the name of the key's file, or the identity]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// The highest SLSA level that is believed of it
    #[arg(long, value_name = "N", default_value = "1", value_parser = level)]
    pub max_level: Level,
    /// From when on it is believed
    #[arg(long, value_name = "T")]
    pub from: Option<jiff::Timestamp>,
    /// Until when it is believed
    #[arg(long, value_name = "T")]
    pub until: Option<jiff::Timestamp>,
}

/// `kiln trust remove`.
#[derive(Debug, Args)]
pub struct TrustRemove {
    /// The entry's name, the key's fingerprint, or the identity; all entries of that signer and name
    #[arg(value_name = "NAME|FINGERPRINT")]
    pub which: String,
    /// Of the entries of this identity only the one that claims this repository; "" for the one that claims none
    #[arg(long, value_name = "URL")]
    pub source_repository: Option<String>,
    /// Keep it, revoked since T (a time such as 2026-12-01T08:00:00Z, or `now`)
    #[arg(long, value_name = "T")]
    pub revoked: Option<String>,
}

/// `kiln trust pin`.
#[derive(Debug, Args)]
pub struct TrustPin {
    /// A file with its provenance beside it
    pub file: PathBuf,
    /// The builder's public key, had by another road: a bundle is never believed about its own signer
    #[arg(long, value_name = "KEYFILE", required_unless_present = "identity")]
    pub key: Option<PathBuf>,
    /// Whom the certificate names.
    #[command(flatten)]
    pub by: IdentityArgs,
    /// By what it is judged.
    #[command(flatten)]
    pub root: RootArgs,
    /// The evidence, instead of what lies beside the file
    #[arg(long, value_name = "F")]
    pub bundle: Option<PathBuf>,
    /// What you call it [default: the name of the key's file, or the identity]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// The highest SLSA level that is believed of it
    #[arg(long, value_name = "N", default_value = "1", value_parser = level)]
    pub max_level: Level,
    /// Write it
    #[arg(long)]
    pub yes: bool,
}

/// `kiln policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Learn a policy from a file that is known to be good and verified
    Init(PolicyInit),
    /// Check a policy's form, and that each rule can be met
    Check {
        /// The policy: a file, or the name of a curated set
        #[arg(value_name = "POLICY")]
        policy: String,
    },
    /// Run the table DIR/cases.yaml: bundles that have to be accepted, or refused by a named rule
    Test {
        // Not `folder`: clap would take it for the flag -C.
        /// The folder of the table and what it names
        #[arg(value_name = "DIR")]
        cases: PathBuf,
    },
    /// Print a curated set: slsa-l1, slsa-l2, slsa-l3 or ssdf
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `kiln policy init`.
#[derive(Debug, Args)]
pub struct PolicyInit {
    /// A file with its provenance beside it, known to be good
    pub file: PathBuf,
    /// The evidence, instead of what lies beside the file
    #[arg(long, value_name = "F")]
    pub bundle: Option<PathBuf>,
    /// By what it is judged.
    #[command(flatten)]
    pub root: RootArgs,
    /// Write it there instead of to stdout; never over a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Reads what an entry is called: `kiln trust remove` finds it by that.
fn name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a name has a letter at least; without --name the file or the identity gives it"
            .to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Reads the address of an issuer. A certificate names it letter by letter, so no more is asked than that it is one.
fn issuer(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_url = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    });
    match is_url {
        true => Ok(text.to_owned()),
        false => Err("an issuer is an address, such as https://accounts.example.org".to_owned()),
    }
}

/// Reads a level, with or without `L`.
pub fn level(text: &str) -> Result<Level, String> {
    let number = text.trim_start_matches(['L', 'l']).parse().ok();
    number.and_then(Level::from_number).ok_or_else(|| "a level is 1, 2 or 3".to_owned())
}
