//! A process of kiln's that outlives it by the time it takes to remove its container.
//!
//! The engine's container is no child of kiln's, and no engine knows of a time limit, so the step of a
//! kiln that was killed would go on until the next build removes it. The keeper waits at the other end of
//! a socket: when kiln says that the container is gone the keeper goes, and when kiln is gone without a
//! word it asks the engine to remove the container, running or not.
//!
//! It is started before the container is, and holds nothing but the socket. It reads no answer but its end:
//! there is nobody left to tell. Does not catch: whoever kills it too; then the next build removes what is
//! left (`sweep.rs`).

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::set_parent_process_death_signal;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::native::error::{Doing, Failure, Naming};
use crate::native::launch::{self, Launched};
use crate::native::wire::{GO_ON, KEEP, pack, receive, send};
use crate::native::{run, sys};

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The engine's socket.
    engine: PathBuf,
    /// The container's id.
    id: String,
}

/// The build process's end of a keeper. Without a word of [`Keeper::dismiss`] the container is removed.
pub struct Keeper(Launched);

impl Keeper {
    /// Starts one for a container that exists and does not run yet, and returns once it keeps.
    pub fn start(engine: &Path, id: &str) -> Result<Keeper, Error> {
        let failed = |source| run::explain(Doing::Talk.failed("keeper", &source));
        let launched = launch::apart()?;
        let kept = Kept { engine: engine.to_owned(), id: id.to_owned() };
        let packed = pack(&kept, &[]).map_err(failed)?;
        send(launched.socket.as_fd(), KEEP, &[packed.as_fd()]).map_err(failed)?;
        match receive(&launched.socket).map_err(failed)? {
            (word, _) if word == GO_ON => Ok(Keeper(launched)),
            _ => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Lets it go: the container is gone.
    pub fn dismiss(self) {
        // One that is dead needs no word, and is reaped all the same.
        let _ = send(self.0.socket.as_fd(), GO_ON, &[]);
        let _ = rustix::net::shutdown(&self.0.socket, rustix::net::Shutdown::Both);
        let ended = rustix::event::PollFd::new(&self.0.child, rustix::event::PollFlags::IN);
        let _ = rustix::event::poll(&mut [ended], None);
        let _ = sys::reap(&self.0.child);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Who was not dismissed is told by the end of the socket, and not waited for: the engine that has to answer it
        // has just not answered. It is reaped by whoever comes after this process.
        let _ = rustix::net::shutdown(&self.0.socket, rustix::net::Shutdown::Both);
    }
}

/// Runs the keeper; never returns.
pub fn keep(kept: &Kept, socket: &OwnedFd) -> ! {
    let code = match wait(socket) {
        Ok(true) => 0,
        Ok(false) => remove(kept).map_or(1, |()| 0),
        Err(_) => 1,
    };
    sys::exit_now(code)
}

/// Says whether kiln let it go.
fn wait(socket: &OwnedFd) -> Result<bool, Failure> {
    // It must outlive the build process.
    set_parent_process_death_signal(None).or_fail(Doing::TieLife, "")?;
    send(socket.as_fd(), GO_ON, &[]).or_fail(Doing::Talk, "")?;
    Ok(receive(socket).is_ok_and(|(word, _)| word == GO_ON))
}

fn remove(kept: &Kept) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(&kept.engine)?;
    let request = format!(
        "DELETE /containers/{}?force=true&v=true HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n",
        kept.id
    );
    engine.write_all(request.as_bytes())?;
    // The answer comes when it is done.
    engine.take(1 << 16).read_to_end(&mut Vec::new()).map(drop)
}
