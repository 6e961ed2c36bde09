//! `listen`: the attestor as a principal of its own, for the users of one host.
//!
//! 1. The configuration must say who is heard, and that this very user does not build: who signs and
//!    who builds would be one. The key must be usable: before anybody asks.
//! 2. The socket is the one that a service manager handed over (as standard input, or as its first
//!    descriptor), or is bound at the given path, which no other process may hold.
//! 3. The workers are started; from then on this process can start neither a process nor a thread.
//! 4. Each worker takes a connection, asks the kernel who is at the other end, and serves its
//!    requests, within the caps below.
//!
//! Threads and not one loop, since hashing a subject takes as long as the subject is large. One user
//! has fewer connections than there are workers, and a time for each message, so nobody is kept
//! waiting by another. Peers without a role do not connect; those that do all the same are told so before a byte
//! of theirs is read. What anybody leaves behind is let go of in a time as well, and a connection counts until it is.
//!
//! Does not catch: several listed users who tie up the workers together.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::admit::{self, AdmitError};
use super::channel::{Channel, ChannelError, Received};
use super::files::{self, FileError};
use super::keyring::{Keyring, KeyringError};
use super::rate::{Spending, TooMuch};
use super::serve::{Asker, Places, answer};
use super::watch::{Interrupt, LETTING_GO, Watch};
use super::{enter, environment, refusal};
use crate::access::{Access, Peer};
use crate::pipe::{Answer, BUILD_CAPS, ORDERS_MAX, PipeError, RefusedAnswer, RefusedKind};

/// Connections that are served at once.
const WORKERS: usize = 8;
/// Connections that wait to be taken.
const WAITING_MAX: i32 = 64;
/// Time for a whole request to come, or a whole answer to be taken.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(30);
/// Time for a refusal to be taken by somebody who is not heard.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
/// Time to receive a message with all that it takes: what did not fit is let go of by then.
const RECEIVING: Duration = MESSAGE_PATIENCE.saturating_add(Duration::from_secs(1));
/// Bytes of what nobody reads that are taken at once.
const PIECE_BYTES: usize = 64 << 10;
/// Requests of one connection: a build of as many artifacts.
const REQUESTS_MAX: usize = ORDERS_MAX;
/// The first descriptor that a service manager hands over. Source: `sd_listen_fds(3)`.
const HANDED: i32 = 3;

/// Why nobody is heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error("attestor.toml has no table `listen`, which says who may ask for what")]
    NoTable,
    #[error(
        "user {uid} builds, by `listen` in attestor.toml, and this attestor runs as that very user"
    )]
    OwnUser { uid: u32 },
    #[error("use the configuration and the key")]
    Key(#[source] KeyringError),
    #[error("use the state folder")]
    State(#[source] FileError),
    #[error("no listening Unix socket was handed over, and no --socket PATH is given")]
    NoSocket,
    #[error("take the descriptor that was handed over")]
    Handed(#[source] Errno),
    #[error("somebody listens at {} already", path.display())]
    Taken { path: PathBuf },
    #[error("{} is there already, and is no socket", path.display())]
    NoSocketThere { path: PathBuf },
    #[error("bind {}", path.display())]
    Bind {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("say who may connect")]
    Admit(#[source] AdmitError),
    #[error("start a worker")]
    Worker(#[source] std::io::Error),
    #[error("keep this process from starting others")]
    Harden(#[source] Errno),
    #[error("take a connection")]
    Accept(#[source] Errno),
    #[error("a worker ended")]
    Ended,
}

/// What all workers share.
struct Host {
    places: Places,
    access: Access,
    listener: OwnedFd,
    spending: Mutex<Spending>,
    watch: Watch,
    start: Instant,
}

/// Checks that the key can be used, or made.
fn check_key(keyring: &Keyring) -> Result<(), ListenError> {
    match keyring.signer() {
        // An admin may make the first key by way of the socket.
        Ok(_) | Err(KeyringError::NoKey { .. }) => Ok(()),
        Err(error) => Err(ListenError::Key(error)),
    }
}

/// Listens until a worker ends, which none does by itself.
pub(super) fn listen(
    places: &Places,
    path: Option<PathBuf>,
    interrupt: Interrupt,
) -> Result<(), ListenError> {
    // 1. Who is heard, and the key.
    files::owned_folder(&places.config).map_err(|error| ListenError::Key(error.into()))?;
    files::owned_folder(&places.state).map_err(ListenError::State)?;
    let keyring = Keyring::new(&places.config);
    let access = keyring.config().map_err(ListenError::Key)?.access.ok_or(ListenError::NoTable)?;
    let own = rustix::process::geteuid().as_raw();
    if access.builds(own) {
        return Err(ListenError::OwnUser { uid: own });
    }
    match keyring.keyless().map_err(ListenError::Key)? {
        // Tokens come and go; what is fixed was read.
        Some(_) => {}
        None => check_key(&keyring)?,
    }
    // 2. The socket.
    let listener = match path {
        Some(path) => bind(&path, &access)?,
        None => handed()?,
    };
    let spending = Mutex::new(Spending::new(access.requests_per_minute));
    let places = places.clone();
    let (watch, start) = (Watch::default(), Instant::now());
    let host = Arc::new(Host { places, access, listener, spending, watch, start });
    // 3. Who watches them, workers, and then nothing more.
    let watched = Arc::clone(&host);
    let watcher = std::thread::Builder::new().name("watch".to_owned());
    watcher.spawn(move || watched.watch.keep(interrupt)).map_err(ListenError::Worker)?;
    let (ended, end) = mpsc::channel();
    for number in 0..WORKERS {
        let (host, ended) = (Arc::clone(&host), ended.clone());
        let worker = std::thread::Builder::new().name(format!("worker-{number}"));
        worker.spawn(move || work(&host, &mut Ending(ended, None))).map_err(ListenError::Worker)?;
    }
    drop(ended);
    enter::forbid_processes().map_err(ListenError::Harden)?;
    // Whichever way a worker ends, the process does not go on with fewer.
    match end.recv() {
        Ok(Some(error)) => Err(ListenError::Accept(error)),
        Ok(None) | Err(mpsc::RecvError) => Err(ListenError::Ended),
    }
}

/// Binds a Unix socket. A name that nobody answers at is what a crash left, and is taken over.
fn bind(path: &Path, access: &Access) -> Result<OwnedFd, ListenError> {
    let failed = |source| ListenError::Bind { path: path.to_owned(), source };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let socket = || {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(failed)
    };
    match rustix::net::connect(&socket()?, &address) {
        Ok(()) => return Err(ListenError::Taken { path: path.to_owned() }),
        // A file of any other kind refuses as well.
        Err(Errno::CONNREFUSED) => {
            let found = rustix::fs::lstat(path).map_err(failed)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
                return Err(ListenError::NoSocketThere { path: path.to_owned() });
            }
            rustix::fs::unlink(path).map_err(failed)?;
        }
        Err(Errno::NOENT) => {}
        Err(source) => return Err(failed(source)),
    }
    let listener = socket()?;
    rustix::net::bind(&listener, &address).map_err(failed)?;
    // By the umask, nobody but this user could connect.
    admit::admit(path, access).map_err(ListenError::Admit)?;
    rustix::net::listen(&listener, WAITING_MAX).map_err(failed)?;
    Ok(listener)
}

/// Takes the socket that a service manager handed over.
fn handed() -> Result<OwnedFd, ListenError> {
    let input = std::io::stdin();
    if is_listener(input.as_fd()) {
        admit::check(&input).map_err(ListenError::Admit)?;
        return input.as_fd().try_clone_to_owned().map_err(|error| {
            ListenError::Handed(Errno::from_io_error(&error).unwrap_or(Errno::BADF))
        });
    }
    if environment::handed_descriptors().is_none_or(|count| count == 0) {
        return Err(ListenError::NoSocket);
    }
    // A number is no descriptor that this process owns; asked of itself, the kernel makes it one.
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .map_err(ListenError::Handed)?;
    let socket = rustix::process::pidfd_getfd(&own, HANDED, PidfdGetfdFlags::empty())
        .map_err(ListenError::Handed)?;
    if !is_listener(socket.as_fd()) {
        return Err(ListenError::NoSocket);
    }
    admit::check(&socket).map_err(ListenError::Admit)?;
    Ok(socket)
}

fn is_listener(descriptor: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(descriptor) == Ok(true)
        && sockopt::socket_domain(descriptor) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(descriptor) == Ok(SocketType::STREAM)
}

/// Tells the end of a worker, also one by panic, and why it ended.
struct Ending(mpsc::Sender<Option<Errno>>, Option<Errno>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody hears it only when the process ends in any case.
        let _ = self.0.send(self.1);
    }
}

/// Serves one connection after the other.
fn work(host: &Host, ending: &mut Ending) {
    loop {
        match rustix::net::accept_with(&host.listener, SocketFlags::CLOEXEC) {
            Ok(connection) => {
                serve(host, &connection);
                host.watch.within(LETTING_GO, || drop(connection));
            }
            // Of that one connection, or of too many at once: the next may be another.
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::PERM) => {}
            Err(error) => {
                ending.1 = Some(error);
                return;
            }
        }
    }
}

/// Serves the requests of one connection.
fn serve(host: &Host, connection: &OwnedFd) {
    let Ok(credentials) = sockopt::socket_peercred(connection) else { return };
    let (uid, gid) = (credentials.uid.as_raw(), credentials.gid.as_raw());
    let asker = match Asker::user(&host.access, Peer { uid, gid }) {
        Ok(asker) => asker,
        Err(error) => return refuse(connection, RefusedKind::Role, &error),
    };
    if let Err(error) = host.spending().connect(uid) {
        return refuse(connection, RefusedKind::Busy, &error);
    }
    let _counted = Counted { host, uid };
    serve_requests(host, connection, asker, uid);
    // Until nothing of the peer's is left in it, the connection counts.
    host.watch.within(LETTING_GO, || empty(connection));
}

fn serve_requests(host: &Host, connection: &OwnedFd, asker: Asker<'_>, uid: u32) {
    let mut channel = Channel::impatient(connection.as_fd(), MESSAGE_PATIENCE, asker.caps());
    for _ in 0..REQUESTS_MAX {
        let received = match host.watch.within(RECEIVING, || channel.receive()) {
            Ok(Some(received)) => received,
            Err(ChannelError::Header(error @ PipeError::Length { .. })) => {
                return too_large(&mut channel, asker, &error);
            }
            // A peer that breaks off, drips or does not keep to the protocol is not answered.
            Ok(None) | Err(_) => return,
        };
        let Received { request, files } = received;
        let reply = match host.count(uid) {
            Ok(()) => answer(&host.places, asker, request, &files, enter::now()),
            Err(error) => told(RefusedKind::Busy, &error),
        };
        host.watch.within(LETTING_GO, || drop(files));
        if channel.reply(&reply).is_err() {
            return;
        }
    }
}

/// Takes out of a connection what nobody reads any more; nothing can be put into it then, so to close it is to let go
/// of nothing.
fn empty(connection: &OwnedFd) {
    // Both fail only where the connection is none.
    let _ = sockopt::set_socket_oobinline(connection, true);
    let _ = rustix::net::shutdown(connection, Shutdown::Read);
    let mut piece = [0_u8; PIECE_BYTES];
    loop {
        match rustix::net::recv(connection, &mut piece[..], RecvFlags::DONTWAIT) {
            Ok((1.., _)) | Err(Errno::INTR) => {}
            Ok((0, _)) | Err(_) => return,
        }
    }
}

impl Host {
    /// Returns what users have spent; after a panic the numbers are as good as before.
    fn spending(&self) -> std::sync::MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, uid: u32) -> Result<(), TooMuch> {
        self.spending().request(uid, self.start.elapsed())
    }
}

/// A connection that is counted until this is dropped.
struct Counted<'a> {
    host: &'a Host,
    uid: u32,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.host.spending().disconnect(self.uid);
    }
}

fn told(kind: RefusedKind, error: &dyn std::error::Error) -> Answer {
    Answer::Refused(RefusedAnswer { kind, causes: refusal::causes(error), help: None })
}

/// Tells somebody who announces more than is taken so. Not a byte of it is read, and nothing can follow it.
fn too_large(channel: &mut Channel<'_>, asker: Asker<'_>, error: &PipeError) {
    let answer = Answer::Refused(RefusedAnswer {
        kind: RefusedKind::TooLarge,
        causes: refusal::causes(error),
        help: Some(asker.less().to_owned()),
    });
    // Who does not take it goes without.
    let _ = channel.reply(&answer);
}

/// Tells somebody who is not heard why; who does not take it goes without.
fn refuse(connection: &OwnedFd, kind: RefusedKind, error: &dyn std::error::Error) {
    let mut channel = Channel::impatient(connection.as_fd(), REFUSAL_PATIENCE, BUILD_CAPS);
    let _ = channel.reply(&told(kind, error));
}
