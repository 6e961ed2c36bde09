//! Files that commands write beside the project: whole or not at all.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::diagnostic::{Code, Diagnostic};
use crate::persist::{self, Flush};

/// Writes a file of mode 0644 into a folder: temporary file, flush, rename.
///
/// # Errors
/// Names the file; what was there before is untouched then.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Vec<Diagnostic>> {
    let refuse = |error: &dyn std::error::Error| {
        let path = folder.join(name);
        let shown = model::text::escape(path.as_os_str().as_encoded_bytes());
        vec![
            Diagnostic::new(Code::StoreUnusable, format!("cannot write {shown}"))
                .caused_by(error)
                .help("make its folder one that you may write to, with room on its disk"),
        ]
    };
    let opened = rustix::fs::open(
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| refuse(&error))?;
    persist::replace(opened.as_fd(), name, bytes, 0o644, Flush::Now).map_err(|error| refuse(&error))
}
