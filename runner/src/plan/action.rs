//! From a step whose inputs are known to its Action: the cache key.
//!
//! Everything a step can notice goes in. What it sees of files is one input root: the environment's
//! tree with the mounts and the script grafted in. What it notices otherwise (mount modes, times,
//! kinds of outputs, processors, open files, widened or waived isolation, the sandbox profile) are platform
//! properties. `do_not_cache` is always set: only kiln's own index is believed (decision 4).
//!
//! Does no I/O: folders are asked of a function. Edges and names are not part of an Action, so
//! renaming a step changes nothing.

use std::collections::BTreeMap;

use model::digest::{Blob, Digest};
use model::reapi::{Action, Command};
use model::relpath::{AbsPath, Name, RelPath};
use model::step::{
    Epoch, MountMode, OutputKind, Run, SANDBOX_PROFILE, SCRIPT_PATH, Step, StepMount, WORK_FOLDER,
};
use model::tree::{Directory, Node};

/// An input whose bytes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A folder.
    Tree(Blob),
    /// One file.
    File {
        /// Its content.
        blob: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
}

/// A step's Action and the messages that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The cache key.
    pub digest: Digest,
    /// The Action.
    pub action: Action,
    /// The Command.
    pub command: Command,
    /// Folders that exist only as part of the input root.
    pub folders: BTreeMap<Blob, Directory>,
}

/// Why a step has no Action.
#[derive(Debug, thiserror::Error)]
pub enum ActionError<E: std::error::Error + 'static> {
    /// A mount would hide something that is there already.
    #[error("`{label}` at {at} would hide what is there already")]
    Hides {
        /// The input.
        label: String,
        /// Its place.
        at: AbsPath,
    },
    /// A part of a mount's place is a file or a symlink.
    #[error("`{label}` cannot lie at {at}: {part} is not a folder")]
    NotAFolder {
        /// The input.
        label: String,
        /// Its place.
        at: AbsPath,
        /// The part.
        part: String,
    },
    /// A folder cannot be read.
    #[error("cannot read a folder of the input root")]
    Folder(#[source] E),
}

/// Returns the Action of `step` over inputs that are all known. `mounts` are in the order of
/// `step.mounts`; `backend` is named where its results
/// are not those of others; `load` returns a folder's message.
///
/// # Errors
/// Refuses mounts that hide each other, and gives up where `load` does.
pub fn seal<E: std::error::Error + 'static>(
    step: &Step,
    environment: Blob,
    mounts: &[Known],
    backend: Option<&'static str>,
    load: &dyn Fn(&Blob) -> Result<Directory, E>,
) -> Result<Sealed, ActionError<E>> {
    let mut root = Grafting { root: environment, folders: BTreeMap::new(), load };
    root.clear(WORK_FOLDER)?;
    for (mount, known) in step.mounts.iter().zip(mounts) {
        let node = match known {
            Known::Tree(blob) => Node::Directory(*blob),
            Known::File { blob, executable } => Node::File { blob: *blob, executable: *executable },
        };
        root.graft(&mount.label, &mount.at, node)?;
    }
    if let (Run::Script { text, .. }, Ok(at)) = (&step.run, AbsPath::new(SCRIPT_PATH)) {
        root.graft(
            "script",
            &at,
            Node::File { blob: Blob::of(text.as_bytes()), executable: true },
        )?;
    }
    let command = command(step);
    let action = Action {
        command: Blob::of(&command.encode()),
        input_root: root.root,
        timeout: step.timeout,
        platform: platform(step, backend),
    };
    Ok(Sealed { digest: action.digest(), action, command, folders: root.folders })
}

/// Returns the program and arguments that the sandbox starts.
pub fn argv(run: &Run) -> Vec<String> {
    match run {
        Run::Argv(argv) => argv.clone(),
        Run::Script { shell, .. } => {
            shell.iter().cloned().chain([SCRIPT_PATH.to_owned()]).collect()
        }
    }
}

fn command(step: &Step) -> Command {
    let outputs = step.outputs.values().map(|output| output.path.to_string());
    let reports = step.reports.values().map(RelPath::to_string);
    Command {
        arguments: argv(&step.run),
        environment: step.env.clone(),
        working_directory: WORK_FOLDER.trim_start_matches('/').to_owned(),
        output_paths: outputs.chain(reports).collect(),
    }
}

fn platform(step: &Step, backend: Option<&'static str>) -> BTreeMap<String, String> {
    let here = model::platform::Platform::HERE;
    let mut properties = BTreeMap::from([
        ("OSFamily".to_owned(), here.os.to_string()),
        ("Arch".to_owned(), here.arch.to_string()),
        ("kiln-profile".to_owned(), SANDBOX_PROFILE.to_owned()),
    ]);
    if let Some(backend) = backend {
        properties.insert("kiln-backend".to_owned(), backend.to_owned());
    }
    for StepMount { at, mode, epoch, .. } in &step.mounts {
        let mode = match mode {
            MountMode::View => "view",
            MountMode::ReadOnly => "read-only",
        };
        let epoch = match epoch {
            Epoch::Base => "t0",
            Epoch::Source => "t0+2",
        };
        properties.insert(format!("kiln-mount:{at}"), format!("{mode},{epoch}"));
    }
    for output in step.outputs.values() {
        let kind = match output.kind {
            OutputKind::File => "file",
            OutputKind::Dir => "dir",
            OutputKind::Root => "root",
        };
        properties.insert(format!("kiln-output:{}", output.path), kind.to_owned());
    }
    if let Some(cpus) = step.cpus {
        properties.insert("kiln-cpus".to_owned(), cpus.to_string());
    }
    // Who meets it is told so by the kernel and nobody else, so a result holds under this one only. A default
    // is the same for all.
    if step.limits.files.asked {
        properties.insert("kiln-files".to_owned(), step.limits.files.value.to_string());
    }
    for (name, on) in [
        ("nested", step.widen.nested),
        ("fakeroot", step.widen.fakeroot),
        ("abi32", step.widen.abi32),
    ] {
        if on {
            properties.insert(format!("kiln-{name}"), "true".to_owned());
        }
    }
    for guarantee in &step.waived {
        properties.insert(format!("kiln-waived:{guarantee}"), "true".to_owned());
    }
    properties
}

struct Grafting<'a, E> {
    root: Blob,
    folders: BTreeMap<Blob, Directory>,
    load: &'a dyn Fn(&Blob) -> Result<Directory, E>,
}

impl<E: std::error::Error + 'static> Grafting<'_, E> {
    /// Puts an empty folder in the place of whatever the environment has there.
    fn clear(&mut self, folder: &str) -> Result<(), ActionError<E>> {
        let Ok(name) = Name::new(folder.trim_start_matches('/')) else { return Ok(()) };
        let mut root = self.folder(&self.root.clone())?;
        root.set(name, Node::Directory(self.keep(Directory::default())));
        self.root = self.keep(root);
        Ok(())
    }

    fn graft(&mut self, label: &str, at: &AbsPath, node: Node) -> Result<(), ActionError<E>> {
        let parts: Vec<&str> = at.below_root().parts().collect();
        self.root = self.put(label, at, &self.root.clone(), &parts, node)?;
        Ok(())
    }

    fn put(
        &mut self,
        label: &str,
        at: &AbsPath,
        folder: &Blob,
        parts: &[&str],
        node: Node,
    ) -> Result<Blob, ActionError<E>> {
        let hides = || ActionError::Hides { label: label.to_owned(), at: at.clone() };
        let mut directory = self.folder(folder)?;
        let (Some((first, rest)), empty) = (parts.split_first(), Blob::of(b"")) else {
            return Err(hides());
        };
        let name = Name::new(first).map_err(|_| hides())?;
        let next = match (directory.get(first), rest.is_empty()) {
            (None, true) => node,
            (Some(Node::Directory(there)), true) if *there == empty => node,
            (Some(_), true) => return Err(hides()),
            (None, false) => Node::Directory(self.put(label, at, &empty, rest, node)?),
            (Some(Node::Directory(there)), false) => {
                let there = *there;
                Node::Directory(self.put(label, at, &there, rest, node)?)
            }
            (Some(_), false) => {
                return Err(ActionError::NotAFolder {
                    label: label.to_owned(),
                    at: at.clone(),
                    part: (*first).to_owned(),
                });
            }
        };
        directory.set(name, next);
        Ok(self.keep(directory))
    }

    fn folder(&self, blob: &Blob) -> Result<Directory, ActionError<E>> {
        if *blob == Blob::of(b"") {
            return Ok(Directory::default());
        }
        match self.folders.get(blob) {
            Some(directory) => Ok(directory.clone()),
            None => (self.load)(blob).map_err(ActionError::Folder),
        }
    }

    fn keep(&mut self, directory: Directory) -> Blob {
        let blob = directory.blob();
        self.folders.insert(blob, directory);
        blob
    }
}
