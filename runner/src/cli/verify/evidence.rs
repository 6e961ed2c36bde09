//! What speaks for a file: named by the caller, or found beside it.
//!
//! Beside `X` the first of `X.sigstore.json`, `X.sigstore` and `X.intoto.jsonl` counts. Where the policy
//! asks for several attestations, or a summary may count, of which the newest decides, all three are read, all
//! `X.*` that end like them, and `X.vsa.jsonl` and all `X.*` that end like that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attestor::verify::Evidence;
use model::digest::Digest;
use model::text;

use super::super::{Session, files};
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::store::hash_file;

/// Most evidence files of one file.
const FOUND_MAX: usize = 32;
/// Most bytes of them together. The list beside the file is held once for all.
const FOUND_BYTES_MAX: usize = 64 << 20;

/// One evidence file, read.
pub struct Found {
    /// Its path, as a message shows it.
    pub shown: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The dependency manifest beside the file.
    pub manifest: Option<Arc<[u8]>>,
}

impl Found {
    /// Returns it as the attestor takes it.
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence { bytes: &self.bytes, manifest: self.manifest.as_deref() }
    }
}

/// Checks that every file can be opened, before one is judged: wrong usage ends a command before it begins, so that
/// exit 2 stands for no file that was refused, but where one vanishes meanwhile.
///
/// # Errors
/// All that can not be.
pub fn look<'a>(
    session: &Session,
    files: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), Vec<Diagnostic>> {
    let closed = files.filter_map(|file| {
        let name = text::escape(file.as_os_str().as_encoded_bytes());
        let opened = files::open(&session.context.folder.join(file));
        opened.err().map(|error| unreadable(&name, &error))
    });
    let closed: Vec<Diagnostic> = closed.collect();
    if closed.is_empty() { Ok(()) } else { Err(closed) }
}

/// Hashes a file.
///
/// # Errors
/// A file that can not be read.
pub fn digest(path: &Path, name: &str) -> Result<Digest, Diagnostic> {
    let file = files::open(path).map_err(|error| unreadable(name, &error))?;
    let hashed = hash_file(&file, &mut |_| ()).map_err(|error| unreadable(name, &error))?;
    Ok(hashed.digest)
}

fn unreadable(name: &str, error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::new(Code::WrongValue, format!("cannot read {name}"))
        .at(Place::file(name))
        .caused_by(error)
        .help("name a plain file that you may read, such as one in kiln-out/")
}

/// Reads all evidence that was named, or the first that lies beside the file; with `others`, what else
/// lies there too.
///
/// # Errors
/// Evidence that was named and is not there, that can not be read, or none at all.
pub fn gather(
    session: &Session,
    bundles: &[PathBuf],
    path: &Path,
    name: &str,
    others: bool,
) -> Result<Vec<Found>, Diagnostic> {
    let folder = &session.context.folder;
    let manifest: Option<Arc<[u8]>> =
        read(&files::beside(path, ".dependencies.json"))?.map(Arc::from);
    let mut found = Vec::new();
    let mut bytes_left = FOUND_BYTES_MAX;
    let mut take = |path: &Path| -> Result<bool, Diagnostic> {
        let Some(bytes) = read(path)? else { return Ok(false) };
        bytes_left = bytes_left.checked_sub(bytes.len()).ok_or_else(|| too_much(name))?;
        let shown =
            text::escape(path.strip_prefix(folder).unwrap_or(path).as_os_str().as_encoded_bytes());
        found.push(Found { shown, bytes, manifest: manifest.clone() });
        Ok(true)
    };
    for bundle in bundles {
        if !take(&folder.join(bundle))? {
            let shown = text::escape(bundle.as_os_str().as_encoded_bytes());
            return Err(Diagnostic::new(
                Code::NoStatement,
                format!("there is no evidence {shown}"),
            ));
        }
    }
    if bundles.is_empty() {
        let usual = files::EVIDENCE.iter().map(|suffix| files::beside(path, suffix));
        let mut all: Vec<PathBuf> = usual.collect();
        if others {
            let more: Vec<PathBuf> = beside(path)?;
            all.extend(more.into_iter().filter(|one| !all.contains(one)).collect::<Vec<_>>());
        }
        for one in all {
            if take(&one)? && !others {
                break;
            }
        }
    }
    if found.len() > FOUND_MAX {
        let headline = format!("{} evidence files are too many for {name}", found.len());
        return Err(Diagnostic::new(Code::EvidenceMalformed, headline)
            .expected(format!("at most {FOUND_MAX}"))
            .help("name the ones that count:  --bundle F"));
    }
    if found.is_empty() {
        return Err(Diagnostic::new(Code::NoStatement, format!("nothing speaks for {name}"))
            .expected("a file NAME.sigstore.json or NAME.intoto.jsonl beside it")
            .help("get it from where the file was published, or name it:  --bundle F"));
    }
    Ok(found)
}

fn too_much(name: &str) -> Diagnostic {
    Diagnostic::new(Code::EvidenceMalformed, format!("the evidence for {name} is too large"))
        .expected("at most 64 MiB, all files together")
        .help("name the ones that count:  --bundle F")
}

/// Lists what ends like evidence or a summary and is called after the file, sorted.
fn beside(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let refuse = |error: std::io::Error| {
        let shown = text::escape(folder.as_os_str().as_encoded_bytes());
        Diagnostic::new(Code::EvidenceMalformed, format!("cannot list {shown}")).caused_by(&error)
    };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(refuse)? {
        let name = entry.map_err(refuse)?.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(&stem).filter(|rest| rest.starts_with('.'));
        let another = rest.is_some_and(|rest| {
            files::EVIDENCE.iter().chain([&files::SUMMARY]).any(|suffix| rest.ends_with(suffix))
        });
        if another {
            all.push(folder.join(name));
        }
    }
    all.sort();
    Ok(all)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Diagnostic> {
    files::read(path).map_err(|error| {
        let shown = text::escape(path.as_os_str().as_encoded_bytes());
        Diagnostic::new(Code::EvidenceMalformed, format!("cannot read {shown}"))
            .caused_by(&error)
            .help("make it a plain file that you may read, or name another:  --bundle F")
    })
}
