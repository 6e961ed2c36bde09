//! `enter`: from the command line of `kiln attestor` to the loop that serves requests.
//!
//! 1. The process is closed to others: not dumpable, no core file, umask 077, no new privileges.
//! 2. The arguments are read, and sockets of a network refused to all but one that signs with certificates.
//! 3. `serve` answers the process that started this one, until it closes the socket; `listen`
//!    answers users of this host. Neither can start a further process. `order` and `journal` hold no
//!    key: one asks a listening attestor to open Orders, the other checks what was signed.
//!
//! The starter hands over the variables of `environment` and no others. Every failure is told on
//! standard error, which is the starter's.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::channel::{Channel, ChannelError};
use super::check::{self, CheckError};
use super::keyring::Keyring;
use super::listen::{self, ListenError};
use super::open_order::{self, AskError};
use super::serve::{Asker, Places, answer};
use crate::keys;

/// Done.
const EXIT_OK: u8 = 0;
/// Wrong arguments, or a configuration under which nothing can be heard.
const EXIT_USAGE: u8 = 2;
/// What was signed does not hold together.
const EXIT_REFUSED: u8 = 4;
/// An order was refused.
const EXIT_CREDENTIAL: u8 = 5;
/// The pipe broke, or the process could not be closed to others.
const EXIT_INTERNAL: u8 = 70;

const USAGE: &str = "usage:
  kiln attestor serve --config-dir DIR --state-dir DIR
  kiln attestor listen --config-dir DIR --state-dir DIR [--socket PATH]
  kiln attestor order --socket PATH --for UID [--seconds N] < ORDERS
  kiln attestor journal verify --state-dir DIR";

/// Why the process ends early.
#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error("{USAGE}")]
    Usage,
    #[error("close the attestor to other processes")]
    Harden(#[source] Errno),
    #[error("keep the attestor from the network")]
    Seal(#[source] std::io::Error),
    #[error("serve the pipe")]
    Channel(#[source] ChannelError),
    #[error("listen")]
    Listen(#[source] ListenError),
    #[error("open orders")]
    Order(#[source] AskError),
    #[error("check what was signed")]
    Check(#[source] CheckError),
    #[error("write the answer")]
    Write(#[source] std::io::Error),
}

/// How far the sockets of this process may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Sockets of this host that have a path.
    Host,
    /// Those, and the network: certificates, logs and timestamps are had by it.
    Network,
}

/// Keeps this process within a reach, for ever. It is the caller's, since this crate has no unsafe code.
pub type Seal = fn(Reach) -> std::io::Result<()>;

/// Runs the attestor until its standard input is closed, or for ever where it listens. `args` is what
/// follows `kiln attestor`. Returns the process' exit code: 0, 2 for wrong arguments or
/// configuration, 4 where what was signed does not hold together, 5 for an order that is refused, 70
/// when the pipe broke.
///
/// Changes process-wide state, so it is entered by `main` alone and nothing comes after it.
pub fn enter(args: &[OsString], seal: Seal) -> u8 {
    let Err(error) = run(args, seal) else { return EXIT_OK };
    let mut text = format!("kiln attestor: {}", super::refusal::causes(&error).join(": "));
    text.push('\n');
    // Nobody is left to be told if this fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
    match error {
        EnterError::Usage | EnterError::Listen(ListenError::NoTable | ListenError::Key(_)) => {
            EXIT_USAGE
        }
        EnterError::Check(_) => EXIT_REFUSED,
        EnterError::Order(_) => EXIT_CREDENTIAL,
        EnterError::Harden(_)
        | EnterError::Seal(_)
        | EnterError::Channel(_)
        | EnterError::Listen(_)
        | EnterError::Write(_) => EXIT_INTERNAL,
    }
}

fn run(args: &[OsString], seal: Seal) -> Result<(), EnterError> {
    // 1. Close the process to others, before anything secret is in it.
    harden().map_err(EnterError::Harden)?;
    // 2. What is asked, and how far it has to reach.
    let (verb, rest) = args.split_first().ok_or(EnterError::Usage)?;
    seal(reach(rest)).map_err(EnterError::Seal)?;
    // 3. Serve, listen, or look.
    match verb.to_str() {
        Some("serve") => serve(&flags(rest, &["--config-dir", "--state-dir"])?),
        Some("listen") => {
            let flags = flags(rest, &["--config-dir", "--state-dir", "--socket"])?;
            listen::listen(&flags.places()?, flags.path("--socket")?).map_err(EnterError::Listen)
        }
        Some("order") => {
            let flags = flags(rest, &["--socket", "--for", "--seconds"])?;
            let socket = flags.path("--socket")?.ok_or(EnterError::Usage)?;
            let builder = flags.number("--for")?.ok_or(EnterError::Usage)?;
            let opened = open_order::ask(&socket, builder, flags.number("--seconds")?, now());
            print(&opened.map_err(EnterError::Order)?)
        }
        Some("journal") if rest.first().is_some_and(|first| first == "verify") => {
            let flags = flags(rest.get(1..).unwrap_or_default(), &["--state-dir"])?;
            let state = flags.path("--state-dir")?.ok_or(EnterError::Usage)?;
            print(&check::check(&state).map_err(EnterError::Check)?)
        }
        _ => Err(EnterError::Usage),
    }
}

/// Says how far the attestor has to reach. One that changes its mind later has to be started anew.
fn reach(args: &[OsString]) -> Reach {
    let folder = args.iter().position(|one| one == "--config-dir");
    let folder = folder.and_then(|at| args.get(at + 1)).map(Path::new);
    match folder.is_some_and(|folder| Keyring::new(folder).speaks_to_services()) {
        true => Reach::Network,
        false => Reach::Host,
    }
}

fn serve(flags: &Flags) -> Result<(), EnterError> {
    let places = flags.places()?;
    forbid_processes().map_err(EnterError::Harden)?;
    let input = std::io::stdin();
    let mut channel = Channel::new(input.as_fd());
    // Started before it is needed: what the first signature would wait for is done while nobody waits.
    if !channel.is_asked() {
        keys::rehearse();
    }
    while let Some(request) = channel.receive().map_err(EnterError::Channel)? {
        let reply = answer(&places, Asker::Starter, request, now());
        channel.reply(&reply).map_err(EnterError::Channel)?;
    }
    Ok(())
}

fn print(text: &str) -> Result<(), EnterError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(EnterError::Write)
}

fn harden() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    lower(Resource::Core)?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

/// Makes this process unable to start another one, or a further thread.
pub(super) fn forbid_processes() -> Result<(), Errno> {
    lower(Resource::Nproc)
}

fn lower(resource: Resource) -> Result<(), Errno> {
    // A limit that is lowered can not be raised again by this process, unless it is root.
    rustix::process::setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) })
}

/// The flags of a verb, each with its value, at most once.
struct Flags<'a>(Vec<(&'static str, &'a OsString)>);

fn flags<'a>(args: &'a [OsString], known: &[&'static str]) -> Result<Flags<'a>, EnterError> {
    let mut found: Vec<(&'static str, &OsString)> = Vec::new();
    for pair in args.chunks(2) {
        let [flag, value] = pair else { return Err(EnterError::Usage) };
        let name = known.iter().find(|name| flag == **name).ok_or(EnterError::Usage)?;
        if found.iter().any(|(before, _)| before == name) {
            return Err(EnterError::Usage);
        }
        found.push((name, value));
    }
    Ok(Flags(found))
}

impl Flags<'_> {
    fn value(&self, name: &str) -> Option<&OsString> {
        self.0.iter().find(|(flag, _)| *flag == name).map(|(_, value)| *value)
    }

    /// Returns an absolute path.
    fn path(&self, name: &str) -> Result<Option<PathBuf>, EnterError> {
        match self.value(name).map(Path::new) {
            Some(path) if !path.is_absolute() => Err(EnterError::Usage),
            path => Ok(path.map(Path::to_owned)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u32>, EnterError> {
        let number = |value: &OsString| value.to_str()?.parse().ok();
        self.value(name).map(|value| number(value).ok_or(EnterError::Usage)).transpose()
    }

    fn places(&self) -> Result<Places, EnterError> {
        match (self.path("--config-dir")?, self.path("--state-dir")?) {
            (Some(config), Some(state)) => Ok(Places { config, state }),
            _ => Err(EnterError::Usage),
        }
    }
}

/// Returns seconds since 1970. Before that year everything is too late, so nothing is signed.
#[expect(clippy::disallowed_methods, reason = "the attestor's process has a clock of its own")]
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX)
}
