//! The client of sigstore-conformance: checks one bundle, as that suite's protocol says.
//!
//! ```text
//! client verify-bundle [--staging] --bundle F (--certificate-identity ID --certificate-oidc-issuer URL | --key PEM)
//!                      [--trusted-root F] FILE|sha256:HEX
//! ```
//!
//! Exit 0 if it holds, 1 if not, 2 for other arguments. It is no part of kiln: it makes what kiln checks
//! with usable on bundles that no kiln made, so that a suite which others wrote can try it.
//!
//! Spec: sigstore-conformance, docs/cli_protocol.md.

use std::path::PathBuf;
use std::process::ExitCode;

use attestor::public_key::PublicKey;
use attestor::sigstore::{Identity, Root, Signed, Wanted};
use model::Digest;

type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct Args {
    bundle: Option<PathBuf>,
    identity: Option<String>,
    issuer: Option<String>,
    key: Option<PathBuf>,
    root: Option<PathBuf>,
    artifact: Option<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(args) = read(&words) else {
        eprintln!("usage: client verify-bundle --bundle F … FILE|sha256:HEX");
        return ExitCode::from(2);
    };
    match check(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("refused: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn read(words: &[String]) -> Option<Args> {
    let mut words = words.iter();
    if words.next()? != "verify-bundle" {
        return None;
    }
    let mut args = Args::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bundle" => args.bundle = Some(words.next()?.into()),
            "--certificate-identity" => args.identity = Some(words.next()?.clone()),
            "--certificate-oidc-issuer" => args.issuer = Some(words.next()?.clone()),
            "--key" => args.key = Some(words.next()?.into()),
            "--trusted-root" => args.root = Some(words.next()?.into()),
            flag if flag.starts_with("--") => return None,
            artifact => args.artifact = Some(artifact.to_owned()),
        }
    }
    Some(args)
}

fn check(args: &Args) -> Result<(), Failure> {
    let root = match &args.root {
        Some(path) => Root::parse(&std::fs::read(path)?)?,
        None => Root::public()?,
    };
    let bundle = std::fs::read(args.bundle.as_ref().ok_or("no bundle is named")?)?;
    let artifact = args.artifact.as_ref().ok_or("no artifact is named")?;
    let hex = artifact.strip_prefix("sha256:").filter(|_| !std::path::Path::new(artifact).exists());
    let bytes = match hex {
        Some(_) => Vec::new(),
        None => std::fs::read(artifact)?,
    };
    let signed = match hex {
        Some(hex) => Signed::Digest(Digest::from_hex(hex)?),
        None => Signed::Bytes(&bytes),
    };
    match (&args.key, &args.identity, &args.issuer) {
        (Some(key), None, None) => {
            let key = PublicKey::from_pem(&std::fs::read_to_string(key)?)?;
            root.check(&bundle, signed, Wanted::Key(&key))?;
        }
        (None, Some(subject), Some(issuer)) => {
            let identity = Identity { subject: subject.clone(), issuer: issuer.clone() };
            root.check(&bundle, signed, Wanted::Identity(&identity))?;
        }
        _ => return Err("either a key, or an identity and its issuer".into()),
    }
    Ok(())
}
