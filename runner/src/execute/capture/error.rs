//! Why an output was not taken.
//!
//! Codes at the edge: absent or of another kind is KILN-0402, a refused type, bit, attribute or name
//! is KILN-0407; [`CaptureError::is_absent`] tells them apart. All are exit 1, but a full disk.

use model::limits::Bytes;
use model::reapi::DIRECTORY_BYTES_MAX;
use model::step::OutputKind;
use model::text::escape;
use model::{Name, RelPath};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symlink.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A character or block device; also overlayfs's own mark of a deleted file.
    Device,
}

/// Why an output was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is nothing at the output's path.
    #[error("there is no `{}`", shown(at))]
    Missing {
        /// The output.
        at: RelPath,
        /// What is there instead, nearest first.
        nearest: Vec<RelPath>,
    },
    /// A file is where a folder should be, or the other way round.
    #[error("`{}` is {found}, not {}", shown(at), wanted_text(wanted))]
    WrongKind {
        /// The output.
        at: RelPath,
        /// What the build file says.
        wanted: OutputKind,
        /// What is there.
        found: FileKind,
    },
    /// A link where a file or folder should be, or a type that is never taken.
    #[error("`{}` is {found}", shown(at))]
    Refused {
        /// The entry.
        at: RelPath,
        /// What it is.
        found: FileKind,
    },
    /// A folder above the output is none: a link there could lead anywhere.
    #[error("`{}`, on the way to the output `{}`, is {found}", shown(at), shown(output))]
    Parent {
        /// The output.
        output: RelPath,
        /// The part of its path.
        at: RelPath,
        /// What it is.
        found: FileKind,
    },
    /// Set-user-id, set-group-id or sticky.
    #[error("`{}` has mode {mode:04o}", shown(at))]
    SpecialMode {
        /// The entry.
        at: RelPath,
        /// Its permission bits.
        mode: u32,
    },
    /// An extended attribute, an ACL or a file capability.
    #[error("`{}` has the extended attribute `{}`", shown(at), escape(attribute))]
    Attribute {
        /// The entry.
        at: RelPath,
        /// The attribute's name.
        attribute: Vec<u8>,
    },
    /// A name that is not UTF-8.
    #[error("a name in `{}` is not UTF-8: `{}`", shown(folder), escape(name))]
    NameNotUtf8 {
        /// The folder.
        folder: RelPath,
        /// The name.
        name: Vec<u8>,
    },
    /// A link's target that is not UTF-8, or empty.
    #[error("the target of `{}` is not UTF-8: `{}`", shown(at), escape(target))]
    TargetNotUtf8 {
        /// The link.
        at: RelPath,
        /// The target.
        target: Vec<u8>,
    },
    /// More folders inside one another than a tree can have.
    #[error("`{}` lies more than {cap} folders deep", shown(at))]
    TooDeep {
        /// The entry.
        at: RelPath,
        /// The cap.
        cap: usize,
    },
    /// A path is too long.
    #[error("a path in `{}` has more than {cap} bytes", shown(at))]
    PathTooLong {
        /// The folder.
        at: RelPath,
        /// The cap, in bytes.
        cap: usize,
    },
    /// The names and link targets of one folder are more than a folder's message holds.
    #[error(
        "the names and links of the folder `{}` take {size} bytes, more than {DIRECTORY_BYTES_MAX}",
        shown(at)
    )]
    FolderTooLarge {
        /// The folder.
        at: RelPath,
        /// The bytes of its message, or at least so many.
        size: u64,
    },
    /// Too many entries.
    #[error("the output has more than {cap} entries")]
    TooMany {
        /// The cap.
        cap: u64,
    },
    /// Too many bytes, holes counted.
    #[error("with `{}` the output has more than {} bytes", shown(at), cap.0)]
    TooLarge {
        /// The file at which the cap was passed.
        at: RelPath,
        /// The cap.
        cap: Bytes,
    },
    /// The store's disk would be filled beyond what is kept free of it.
    #[error("`{}` would fill the host's disk", shown(at))]
    HostFull {
        /// The file at which that was seen.
        at: RelPath,
    },
    /// The button was pressed.
    #[error("interrupted")]
    Cancelled,
    /// Too many bytes that no byte of the step's disk stands for.
    #[error("with `{}` the outputs of the step have holes of more than {} bytes", shown(at), cap.0)]
    TooHollow {
        /// The file at which the cap was passed.
        at: RelPath,
        /// The cap.
        cap: Bytes,
    },
    /// The entry may not be read by kiln, and could not be made readable.
    #[error("`{}` has mode {mode:04o} and belongs to user {owner}", shown(at))]
    Unreadable {
        /// The entry.
        at: RelPath,
        /// Its permission bits.
        mode: u32,
        /// Its owner on the host.
        owner: u32,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The kernel refused.
    #[error("reading `{}`", shown(at))]
    Io {
        /// The entry.
        at: RelPath,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The store refused; also a file that changed while it was read.
    #[error("storing `{}`", shown(at))]
    Store {
        /// The entry.
        at: RelPath,
        /// The store's answer.
        #[source]
        source: crate::store::Error,
    },
}

impl CaptureError {
    /// Says whether it is about all outputs of the step together, so that no further one can be taken.
    pub fn is_of_all(&self) -> bool {
        matches!(self, CaptureError::TooHollow { .. } | CaptureError::HostFull { .. })
    }

    /// Says whether the output is absent or of another kind (KILN-0402).
    pub fn is_absent(&self) -> bool {
        matches!(self, CaptureError::Missing { .. } | CaptureError::WrongKind { .. })
    }
}

impl FileKind {
    /// Reads the type from a mode.
    pub(super) fn of(stat: &Stat) -> FileKind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Folder,
            FileType::Symlink => FileKind::Link,
            FileType::Fifo => FileKind::Pipe,
            FileType::Socket => FileKind::Socket,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
                FileKind::Device
            }
        }
    }
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            FileKind::File => "a file",
            FileKind::Folder => "a folder",
            FileKind::Link => "a symlink",
            FileKind::Pipe => "a named pipe",
            FileKind::Socket => "a socket",
            FileKind::Device => "a device",
        })
    }
}

/// Returns a closure that turns the kernel's answer into an error about `at`.
pub(super) fn io(at: &RelPath) -> impl Fn(Errno) -> CaptureError {
    move |source| CaptureError::Io { at: at.clone(), source }
}

/// Returns a closure that turns the store's answer into an error about `at`.
pub(super) fn storing(at: &RelPath) -> impl Fn(crate::store::Error) -> CaptureError {
    move |source| match source {
        crate::store::Error::FolderTooLarge { size, .. } => {
            CaptureError::FolderTooLarge { at: at.clone(), size }
        }
        source => CaptureError::Store { at: at.clone(), source },
    }
}

/// Returns the path of an entry, whose name the kernel gave.
pub(super) fn below(folder: &RelPath, name: &[u8]) -> Result<(Name, RelPath), CaptureError> {
    let refuse = || CaptureError::NameNotUtf8 { folder: folder.clone(), name: name.to_vec() };
    let text = std::str::from_utf8(name).map_err(|_| refuse())?;
    let name = Name::new(text).map_err(|_| refuse())?;
    let path = folder.child(&name);
    Ok((name, path))
}

fn shown(path: &RelPath) -> String {
    escape(path.to_string().as_bytes())
}

fn wanted_text(kind: &OutputKind) -> &'static str {
    match kind {
        OutputKind::File => "a file",
        OutputKind::Dir | OutputKind::Root => "a folder",
    }
}
