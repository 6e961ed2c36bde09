//! A folder for what one step writes, where memory is no place for it.
//!
//! It lies in the run's own folder, which no step can see, behind a folder that nobody but kiln may
//! enter, and belongs to whom the step runs as. It is removed by descriptor in every outcome: after
//! this is dropped, by a thread that no step waits for (removing even empty folders waits for the
//! file system's journal), at the latest before the store is closed; after a kill, when the next run
//! opens the store.
//!
//! ```text
//! STORE/tmp/RUN/NAME/        0700, kiln's
//! └── space/                 0700, the step's
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, Gid, Mode, Uid};

use super::checkout::Owner;
use super::error::{Error, Operation, io};
use super::open::{Store, folder};
use super::remove;
use crate::persist;

/// Stack of the removing thread, in bytes.
const STACK_BYTES: usize = 8 << 20;

/// The folder. Dropping this removes it with all that lies in it.
#[derive(Debug)]
pub struct Scratch<'store> {
    store: &'store Store,
    name: String,
    path: PathBuf,
}

impl Store {
    /// Makes an empty folder for a step that runs as `owner`, or as this process's user.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn scratch(&self, owner: Option<Owner>) -> Result<Scratch<'_>, Error> {
        let name = persist::fresh();
        let path = self.path().join("tmp").join(&self.run_name).join(&name).join("space");
        let failed = |operation| io(operation, "tmp");
        rustix::fs::mkdirat(&self.run, &name, Mode::RWXU).map_err(failed(Operation::Create))?;
        let made = Scratch { store: self, name, path };
        let outer = folder(self.run.as_fd(), &made.name)?;
        rustix::fs::mkdirat(&outer, "space", Mode::RWXU).map_err(failed(Operation::Create))?;
        if let Some(Owner { uid, gid }) = owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&outer, "space", uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed(Operation::SetMode))?;
        }
        Ok(made)
    }
}

impl Scratch<'_> {
    /// Returns where it is: the folder of the step's.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.store.remover.hand(self.store.run.as_fd(), std::mem::take(&mut self.name));
    }
}

/// The thread that removes the folders, once there is one to remove.
#[derive(Debug, Default)]
pub(super) struct Remover(Mutex<Option<(Sender<String>, JoinHandle<()>)>>);

impl Remover {
    fn hand(&self, run: BorrowedFd<'_>, name: String) {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            *thread = start(run).ok();
        }
        match &*thread {
            // Its end is waited for before the other side of the channel goes.
            Some((names, _)) => names.send(name).unwrap_or_default(),
            None => remove_now(run, &name),
        }
    }

    /// Waits until everything that was handed over is gone.
    pub(super) fn finish(&self) {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((names, thread)) = thread {
            drop(names);
            if thread.join().is_err() {
                tracing::warn!("what steps wrote stays until the next run");
            }
        }
    }
}

fn start(run: BorrowedFd<'_>) -> std::io::Result<(Sender<String>, JoinHandle<()>)> {
    let run = run.try_clone_to_owned()?;
    let (names, handed) = channel::<String>();
    let work = move || handed.iter().for_each(|name| remove_now(run.as_fd(), &name));
    let thread = std::thread::Builder::new()
        .name("scratch remover".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)?;
    Ok((names, thread))
}

fn remove_now(run: BorrowedFd<'_>, name: &str) {
    if let Err(error) = remove::remove(run, name) {
        tracing::warn!(%error, "what a step wrote stays until the run is over");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_step_wrote_is_gone_when_the_store_is_closed() {
        let top = tempfile::tempdir().unwrap();
        let store = crate::store::open(&top.path().join("store")).unwrap();
        let (one, two) = (store.scratch(None).unwrap(), store.scratch(None).unwrap());
        assert_ne!(one.path(), two.path());
        for scratch in [&one, &two] {
            let outer = scratch.path().parent().unwrap();
            for path in [scratch.path(), outer] {
                assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
            }
            // As an overlay leaves it: a folder that its owner may not enter.
            std::fs::create_dir_all(scratch.path().join("w/work")).unwrap();
            let closed = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(scratch.path().join("w/work"), closed).unwrap();
        }
        let (gone, still) = (one.path().to_owned(), two.path().to_owned());
        drop(one);
        store.remover.finish();
        assert!(!gone.parent().unwrap().exists() && still.exists());
        drop(two);
        drop(store);
        assert_eq!(std::fs::read_dir(top.path().join("store/tmp")).unwrap().count(), 0);
    }
}
