//! `NAME.inputs`: what a build was made from, in one file (decision 22).
//!
//! A tar of the Plan, the Actions and Commands, every Directory of their input roots and, if asked,
//! files; compressed with Zstandard. It holds no time, no host and no name of a user, and its entries
//! are sorted, so the same build gives the same bytes. Each blob is verified while it is read.
//!
//! ```text
//! plan.json              the plan
//! actions/HEX            REAPI Action message
//! commands/HEX           REAPI Command message
//! directories/HEX        REAPI Directory messages, every folder of every input root
//! blobs/HEX              files: of sources with `sources`, of everything with `all`
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use model::digest::{Blob, Digest};
use model::reapi;
use model::step::{Epoch, Run, Step, StepId};
use model::tree::{Directory, Node};

use crate::cli::args::InputsLevel;
use crate::execute::Ran;
use crate::plan::Plan;
use crate::store::{self, Store};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kiln.inputs.v1.tar+zstd";
/// Zstandard level: fixed, since it is part of the bytes.
const LEVEL: i32 = 6;

/// Why the file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// The store cannot give what it should have.
    #[error("cannot read what goes into the inputs file")]
    Store(#[from] store::Error),
    /// The archive cannot be written.
    #[error("cannot write the inputs file")]
    Write(#[from] std::io::Error),
    /// The plan cannot be written as JSON.
    #[error("cannot write the plan")]
    Plan(#[source] serde_json::Error),
}

/// Returns the plan's bytes: its digest is a byproduct, and it is part of the export.
///
/// # Errors
/// Does not fail for a plan that was read from a build file.
pub fn plan_bytes(plan: &Plan) -> Result<Vec<u8>, InputsError> {
    serde_json::to_vec_pretty(plan).map_err(InputsError::Plan)
}

/// Makes the export of a build and stores it.
///
/// # Errors
/// Gives up where the store lacks something that the build used.
pub fn export(
    store: &Store,
    plan: &Plan,
    ran: &BTreeMap<StepId, Ran>,
    level: InputsLevel,
) -> Result<Blob, InputsError> {
    let mut actions: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut folders = Folders { store, found: BTreeMap::new(), files: BTreeSet::new() };
    // A script lies in the input root and in the plan, and is no object of the store.
    let mut scripts: BTreeMap<Digest, &[u8]> = BTreeMap::new();
    for (id, ran) in ran {
        let sealed = &ran.sealed;
        actions.insert(format!("actions/{}", sealed.digest.hex()), sealed.action.encode());
        actions.insert(
            format!("commands/{}", sealed.action.command.digest.hex()),
            sealed.command.encode(),
        );
        if let Some(Run::Script { text, .. }) = plan.steps.get(id).map(|step| &step.run) {
            scripts.insert(Digest::of(text.as_bytes()), text.as_bytes());
        }
        folders.known(&sealed.folders);
        folders.walk(&sealed.action.input_root, level == InputsLevel::All)?;
        if let (InputsLevel::Sources, Some(step)) = (level, plan.steps.get(id)) {
            folders.sources(step)?;
        }
    }
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
    append(&mut archive, "plan.json", &plan_bytes(plan)?)?;
    for (name, bytes) in &actions {
        append(&mut archive, name, bytes)?;
    }
    for blob in &folders.files {
        let bytes = match scripts.get(&blob.digest) {
            Some(text) => text.to_vec(),
            None => store.read(&blob.digest, blob.size)?,
        };
        append(&mut archive, &format!("blobs/{}", blob.digest.hex()), &bytes)?;
    }
    for (blob, directory) in &folders.found {
        append(
            &mut archive,
            &format!("directories/{}", blob.digest.hex()),
            &reapi::encode_directory(directory),
        )?;
    }
    Ok(store.import_bytes(&archive.into_inner()?.finish()?)?)
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
) -> Result<(), std::io::Error> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(model::T0_SECONDS.unsigned_abs());
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, bytes)
}

struct Folders<'a> {
    store: &'a Store,
    found: BTreeMap<Blob, Directory>,
    files: BTreeSet<Blob>,
}

impl Folders<'_> {
    fn known(&mut self, folders: &BTreeMap<Blob, Directory>) {
        self.found.extend(folders.iter().map(|(blob, directory)| (*blob, directory.clone())));
    }

    fn walk(&mut self, root: &Blob, files: bool) -> Result<(), store::Error> {
        let mut seen = BTreeSet::new();
        let mut open = vec![*root];
        while let Some(blob) = open.pop() {
            if !seen.insert(blob) {
                continue;
            }
            let directory = match self.found.get(&blob) {
                Some(directory) => directory.clone(),
                None => self.store.load_directory(&blob)?,
            };
            for (_, node) in directory.entries() {
                match node {
                    Node::Directory(below) => open.push(*below),
                    Node::File { blob, .. } if files => {
                        self.files.insert(*blob);
                    }
                    Node::File { .. } | Node::Symlink(_) => {}
                }
            }
            self.found.insert(blob, directory);
        }
        Ok(())
    }

    fn sources(&mut self, step: &Step) -> Result<(), store::Error> {
        use model::step::Input;
        for mount in step.mounts.iter().filter(|mount| mount.epoch == Epoch::Source) {
            match &mount.input {
                Input::Tree(root) => self.walk(root, true)?,
                Input::File { blob, .. } => {
                    self.files.insert(*blob);
                }
                Input::Output { .. } => {}
            }
        }
        Ok(())
    }
}
