//! The attestor's process: started, asked, told to end.
//!
//! One of our own is started before there is anything to ask, so that nobody waits for its start; one that listens is
//! spoken to when there is something, since it does not wait long.
#![expect(
    clippy::disallowed_methods,
    reason = "the attestor's process is started here and nowhere else"
)]

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use attestor::client::{self, ClientError, Patience};
use attestor::pipe::{self, Answer, Request};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{ATTESTOR, CONFIG_FILE, unexpected};
use crate::context::Context;
use crate::diagnostic::{Code, Diagnostic};

/// Returns the variables that the attestor of this configuration reads, where they are set. A token is among
/// them only for one that signs with certificates.
fn variables(context: &Context) -> Vec<(String, &str)> {
    let config = std::fs::read(context.config.join(CONFIG_FILE)).ok();
    let names = attestor::process::variables(config.as_deref());
    names
        .into_iter()
        .filter_map(|name| context.variable(&name).map(|value| (name.clone(), value)))
        .collect()
}

/// An attestor to speak with.
pub struct Attestor<'a> {
    context: &'a Context,
    process: Option<Process>,
}

/// A process that was told to end.
#[must_use]
pub struct Leaving(Option<Child>);

/// A process that is being started beside other work. Dropped, it is waited for, and for its end.
#[derive(Debug)]
pub struct Starting(Option<JoinHandle<Result<Process, Diagnostic>>>);

impl Starting {
    /// Starts a process of our own beside other work; none where one listens, or no thread can be started.
    pub fn begin(context: &Context) -> Option<Starting> {
        /// Whatever the environment asks for (RUST_MIN_STACK).
        const STACK_BYTES: usize = 256 << 10;
        let context = context.attestor.is_none().then(|| context.clone())?;
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let started = thread.spawn(move || Process::start(&context)).ok()?;
        Some(Starting(Some(started)))
    }

    /// Returns the attestor to speak with.
    ///
    /// # Errors
    /// It could not be started.
    pub fn attestor(mut self, context: &Context) -> Result<Attestor<'_>, Diagnostic> {
        let started = self.0.take().map(JoinHandle::join);
        let started = started.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Ok(Attestor { context, process: started.transpose()? })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // Whatever came of it, nobody asks it for anything.
        drop(self.0.take().map(JoinHandle::join));
    }
}

impl<'a> Attestor<'a> {
    /// Begins.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin(context: &'a Context) -> Result<Attestor<'a>, Diagnostic> {
        let process = match &context.attestor {
            Some(_) => None,
            None => Some(Process::start(context)?),
        };
        Ok(Attestor { context, process })
    }

    /// Asks one thing; waits for a while where an attestor that listens has heard too much of this user.
    ///
    /// # Errors
    /// Why it could not be asked; a refusal is an answer.
    pub fn ask(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
    ) -> Result<Answer, Diagnostic> {
        let mut patience = Patience::new();
        loop {
            let answer = self.ask_once(request, files)?;
            if !patience.again(&answer) {
                return Ok(answer);
            }
            tracing::debug!("the attestor is busy with this user; asked again");
            self.process = None;
        }
    }

    fn ask_once(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
    ) -> Result<Answer, Diagnostic> {
        let process = match self.process.take() {
            Some(process) => process,
            None => Process::start(self.context)?,
        };
        let socket = self.process.insert(process).socket.as_fd();
        client::ask(socket, request, files).map_err(|error: ClientError| {
            Diagnostic::new(Code::AttestorRefused, "cannot speak with the attestor's process")
                .caused_by(&error)
        })
    }

    /// Asks for one signature about one file.
    pub(super) fn signed(
        &mut self,
        request: &Request,
        file: &std::fs::File,
    ) -> Result<pipe::Signed, Diagnostic> {
        match self.ask(request, &[file.as_fd()])? {
            Answer::Signed(signed) => Ok(signed),
            other => Err(unexpected(other)),
        }
    }

    /// Says that nothing more is asked.
    pub fn leave(self) -> Leaving {
        // With its socket closed it ends, while others go on.
        Leaving(self.process.and_then(|mut process| {
            let child = process.child.take();
            if child.is_none() {
                client::leave(process.socket.as_fd());
            }
            child
        }))
    }
}

impl Leaving {
    /// Waits until it has ended.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(mut self) -> Result<(), Diagnostic> {
        let Some(mut child) = self.0.take() else { return Ok(()) };
        child.wait().map(|_| ()).map_err(|error| {
            Diagnostic::new(Code::AttestorRefused, "cannot wait for the attestor's process")
                .caused_by(&error)
        })
    }
}

/// Where something else failed meanwhile.
impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_mut().map(Child::wait) {
            tracing::debug!(%error, "the attestor's process was not waited for");
        }
    }
}

/// The process, or the way to one that listens.
#[derive(Debug)]
struct Process {
    /// The one that was started for this; none where one listens.
    child: Option<Child>,
    socket: OwnedFd,
}

/// Also where something failed: it ends with its socket, and no process of kiln's goes on after kiln.
impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // One that has ended has closed its own end.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if let Err(error) = child.wait() {
            tracing::debug!(%error, "the attestor's process was not waited for");
        }
    }
}

impl Process {
    fn start(context: &Context) -> Result<Process, Diagnostic> {
        if let Some(path) = &context.attestor {
            let socket = UnixStream::connect(path).map_err(|error| {
                let shown = model::text::escape(path.as_os_str().as_encoded_bytes());
                let help = match error.kind() {
                    ErrorKind::PermissionDenied => {
                        "ask whoever runs it: `listen` in its attestor.toml says who may connect"
                    }
                    _ => "start it, or ask whoever runs it for access: docs/signing.md",
                };
                Diagnostic::new(
                    Code::AttestorRefused,
                    format!("cannot reach the attestor at {shown}"),
                )
                .caused_by(&error)
                .help(help)
            })?;
            return Ok(Process { child: None, socket: socket.into() });
        }
        let refuse = |error: &dyn std::error::Error| {
            Diagnostic::new(Code::AttestorRefused, "cannot start the attestor's process")
                .caused_by(error)
        };
        let (socket, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| refuse(&error))?;
        let child = Command::new("/proc/self/exe")
            .arg(ATTESTOR)
            .arg("serve")
            .arg("--config-dir")
            .arg(&context.config)
            .arg("--state-dir")
            .arg(&context.state)
            .env_clear()
            .envs(variables(context))
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| refuse(&error))?;
        Ok(Process { child: Some(child), socket })
    }
}
