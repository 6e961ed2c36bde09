//! `enter`: from the command line of `kiln attestor` to the loop that serves requests.
//!
//! 1. The process is closed to others: not dumpable, no core file, umask 077, no new privileges.
//! 2. The arguments are read, and sockets of a network refused to all but one that signs with certificates.
//! 3. `serve` answers the process that started this one, until it closes the socket; `listen`
//!    answers users of this host. Neither can start a further process. `order` and `journal` hold no
//!    key: one asks a listening attestor to open Orders, the other checks what was signed.
//!
//! The starter hands over the variables of `environment` and no others. Every failure is returned, for
//! `main` to tell it with its code; nothing is printed here but what was asked for.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use model::text::escape;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::admit::AdmitError;
use super::channel::{Channel, ChannelError};
use super::check::{self, CheckError};
use super::keyring::Keyring;
use super::listen::{self, ListenError};
use super::open_order::{self, AskError};
use super::rehearse;
use super::serve::{Asker, Places, answer};
use super::watch::Interrupt;
use crate::pipe::RefusedKind;

/// The words of the command line.
pub const USAGE: &str = "usage:
  kiln attestor serve --config-dir DIR --state-dir DIR
  kiln attestor listen --config-dir DIR --state-dir DIR [--socket PATH]
  kiln attestor order --socket PATH --for UID [--seconds N] < ORDERS
  kiln attestor journal verify --state-dir DIR";

/// Why the process ends early.
#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error(transparent)]
    Usage(UsageError),
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

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("`kiln attestor` needs to know what to do")]
    Nothing,
    #[error("`kiln attestor` does nothing that is called `{got}`")]
    Verb { got: String },
    #[error("`{got}` is no flag of it")]
    Flag { got: String },
    #[error("`{flag}` needs a value")]
    NoValue { flag: &'static str },
    #[error("`{flag}` is given twice")]
    Twice { flag: &'static str },
    #[error("`{flag}` is missing")]
    Missing { flag: &'static str },
    #[error("`{flag}` is no absolute path: `{got}`")]
    Relative { flag: &'static str, got: String },
    #[error("`{flag}` is no whole number: `{got}`")]
    Number { flag: &'static str, got: String },
    #[error("`--seconds 0` is no time at all: the order would be late as soon as it is open")]
    NoTime,
    #[error("`--for 0` names root, which builds at no attestor that listens: it can read the key")]
    RootBuilds,
}

/// Why the process ended early, for whoever prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of what kind.
    pub kind: FailureKind,
    /// What was attempted, and each cause below it.
    pub causes: Vec<String>,
    /// What to do about it, where one thing is.
    pub help: Option<String>,
}

/// The kinds of failure; each has its own code at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Wrong arguments, or no orders where some are read.
    Usage,
    /// A configuration or a key with which nobody can be heard.
    Configuration,
    /// The attestor that was asked is not there, or does not answer.
    Unreachable,
    /// The attestor that was asked refused.
    Refused(RefusedKind),
    /// What was signed does not hold together.
    Broken,
    /// Files of the attestor's own, or its socket, cannot be used.
    Files,
    /// Standard output takes no more.
    Output(std::io::ErrorKind),
    /// The pipe broke, or the process could not be closed to others.
    Internal,
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

/// What the caller does for this process, since this crate has no unsafe code.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Keeps it within its reach.
    pub seal: Seal,
    /// Ends the wait of one of its threads.
    pub interrupt: Interrupt,
}

/// Runs the attestor until its standard input is closed, or for ever where it listens. `args` is what
/// follows `kiln attestor`.
///
/// Changes process-wide state, so it is entered by `main` alone, and nothing comes after it but telling why
/// it ended.
///
/// # Errors
/// Why it ended early.
pub fn enter(args: &[OsString], means: Means) -> Result<(), Failure> {
    run(args, means).map_err(|error| {
        let (kind, help) = match &error {
            EnterError::Usage(_) => (FailureKind::Usage, Some(USAGE.to_owned())),
            EnterError::Listen(error) => listening(error),
            EnterError::Order(error) => ordering(error),
            EnterError::Check(CheckError::Lock(_)) => (FailureKind::Files, None),
            EnterError::Check(_) => (FailureKind::Broken, None),
            EnterError::Write(error) => (FailureKind::Output(error.kind()), None),
            EnterError::Harden(_) | EnterError::Seal(_) | EnterError::Channel(_) => {
                (FailureKind::Internal, None)
            }
        };
        Failure { kind, causes: super::refusal::causes(&error), help }
    })
}

fn listening(error: &ListenError) -> (FailureKind, Option<String>) {
    let (kind, help) = match error {
        ListenError::NoTable => {
            (FailureKind::Configuration, "write `build` and `control` into it: docs/signing.md")
        }
        ListenError::OwnUser { .. } => (
            FailureKind::Configuration,
            "run it under a user of its own, which builds nothing: docs/levels.md",
        ),
        ListenError::Key(_) => {
            (FailureKind::Configuration, "mend the file that the cause names: docs/signing.md")
        }
        ListenError::NoSocket => (FailureKind::Usage, USAGE),
        ListenError::Taken { .. } => {
            (FailureKind::Files, "stop that one, or name another --socket")
        }
        ListenError::NoSocketThere { .. } => {
            (FailureKind::Files, "name another --socket, or move that file away yourself")
        }
        ListenError::State(_) => (
            FailureKind::Files,
            "give it a --state-dir of its own user, mode 0700: docs/signing.md",
        ),
        ListenError::Bind { .. } => (
            FailureKind::Files,
            "name a --socket in a folder that the attestor's user may write to",
        ),
        ListenError::Admit(AdmitError::List { .. }) => (
            FailureKind::Files,
            "name a --socket on a file system that keeps access lists, such as the tmpfs at /run",
        ),
        ListenError::Admit(AdmitError::Look(_) | AdmitError::Everybody { .. }) => (
            FailureKind::Files,
            "give the unit of the socket SocketMode=0660 and a SocketGroup: docs/signing.md",
        ),
        ListenError::Handed(_)
        | ListenError::Worker(_)
        | ListenError::Harden(_)
        | ListenError::Accept(_)
        | ListenError::Ended => return (FailureKind::Internal, None),
    };
    (kind, Some(help.to_owned()))
}

fn ordering(error: &AskError) -> (FailureKind, Option<String>) {
    match error {
        AskError::Input(_)
        | AskError::Amount
        | AskError::Order { .. }
        | AskError::Unanswerable { .. } => {
            let help = "give it orders as JSON on standard input, as in docs/signing.md";
            (FailureKind::Usage, Some(help.to_owned()))
        }
        AskError::Reach { .. } | AskError::Ask(_) => {
            let help = "start it, or ask whoever runs it for access: docs/signing.md";
            (FailureKind::Unreachable, Some(help.to_owned()))
        }
        AskError::Refused(refused) => (FailureKind::Refused(refused.kind), refused.help.clone()),
        AskError::Random(_) | AskError::Answer | AskError::Write(_) => {
            (FailureKind::Internal, None)
        }
    }
}

fn run(args: &[OsString], means: Means) -> Result<(), EnterError> {
    // 1. Close the process to others, before anything secret is in it.
    harden().map_err(EnterError::Harden)?;
    // 2. What is asked, and how far it has to reach.
    let (verb, rest) = args.split_first().ok_or(EnterError::Usage(UsageError::Nothing))?;
    (means.seal)(reach(rest)).map_err(EnterError::Seal)?;
    // 3. Serve, listen, or look.
    act(verb, rest, means.interrupt)
}

fn act(verb: &OsString, rest: &[OsString], interrupt: Interrupt) -> Result<(), EnterError> {
    match (verb.to_str(), rest.first().and_then(|first| first.to_str())) {
        (Some("serve"), _) => serve(&flags(rest, &["--config-dir", "--state-dir"])?),
        (Some("listen"), _) => {
            let flags = flags(rest, &["--config-dir", "--state-dir", "--socket"])?;
            listen::listen(&flags.places()?, flags.path("--socket")?, interrupt)
                .map_err(EnterError::Listen)
        }
        (Some("order"), _) => {
            let flags = flags(rest, &["--socket", "--for", "--seconds"])?;
            let (socket, builder) = (flags.needed("--socket")?, flags.number("--for")?);
            let builder =
                builder.ok_or(EnterError::Usage(UsageError::Missing { flag: "--for" }))?;
            let seconds = flags.number("--seconds")?;
            if builder == 0 {
                return Err(EnterError::Usage(UsageError::RootBuilds));
            }
            if seconds == Some(0) {
                return Err(EnterError::Usage(UsageError::NoTime));
            }
            let opened = open_order::ask(&socket, builder, seconds, now());
            print(&opened.map_err(EnterError::Order)?)
        }
        (Some("journal"), Some("verify")) => {
            let flags = flags(rest.get(1..).unwrap_or_default(), &["--state-dir"])?;
            print(&check::check(&flags.needed("--state-dir")?).map_err(EnterError::Check)?)
        }
        (_, second) => {
            let got = match (verb == "journal", second) {
                (true, Some(second)) => format!("journal {}", escape(second.as_bytes())),
                _ => escape(verb.as_encoded_bytes()),
            };
            Err(EnterError::Usage(UsageError::Verb { got }))
        }
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
        rehearse::rehearse();
    }
    while let Some(request) = channel.receive().map_err(EnterError::Channel)? {
        let reply = answer(&places, Asker::Starter, request.request, &request.files, now());
        channel.reply(&reply).map_err(EnterError::Channel)?;
    }
    Ok(())
}

fn print(text: &str) -> Result<(), EnterError> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(EnterError::Write)
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
        let flag = &pair[0];
        let name = known.iter().copied().find(|name| *flag == **name);
        let got = || escape(flag.as_encoded_bytes());
        let name = name.ok_or_else(|| EnterError::Usage(UsageError::Flag { got: got() }))?;
        let [_, value] = pair else {
            return Err(EnterError::Usage(UsageError::NoValue { flag: name }));
        };
        if found.iter().any(|(before, _)| *before == name) {
            return Err(EnterError::Usage(UsageError::Twice { flag: name }));
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
    fn path(&self, flag: &'static str) -> Result<Option<PathBuf>, EnterError> {
        match self.value(flag).map(Path::new) {
            Some(path) if !path.is_absolute() => {
                let got = escape(path.as_os_str().as_encoded_bytes());
                Err(EnterError::Usage(UsageError::Relative { flag, got }))
            }
            path => Ok(path.map(Path::to_owned)),
        }
    }

    /// Returns an absolute path that must be given.
    fn needed(&self, flag: &'static str) -> Result<PathBuf, EnterError> {
        self.path(flag)?.ok_or(EnterError::Usage(UsageError::Missing { flag }))
    }

    fn number(&self, flag: &'static str) -> Result<Option<u32>, EnterError> {
        let read = |value: &OsString| {
            value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                let got = escape(value.as_encoded_bytes());
                EnterError::Usage(UsageError::Number { flag, got })
            })
        };
        self.value(flag).map(read).transpose()
    }

    fn places(&self) -> Result<Places, EnterError> {
        Ok(Places { config: self.needed("--config-dir")?, state: self.needed("--state-dir")? })
    }
}

/// Returns seconds since 1970. Before that year everything is too late, so nothing is signed.
#[expect(clippy::disallowed_methods, reason = "the attestor's process has a clock of its own")]
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX)
}
