//! What every command starts from: flags, the process's surroundings, the user's configuration.

use super::args::{BackendName, Global};
use crate::config::{self, Config};
use crate::context::{Context, ContextError};
use crate::diagnostic::{Code, Diagnostic};
use crate::report::{self, Style};
use crate::store::{self, Store};
use crate::{interrupt, project, refusal};
use sandbox::{Backend, Cancel, Engine, Slots};

/// Stack of a thread that hashes and copies, in bytes; only what is used of it is taken.
const STACK_BYTES: usize = 8 << 20;

/// The start of a command.
#[derive(Debug)]
pub struct Session {
    /// Flags that every command takes.
    pub global: Global,
    /// The process's surroundings.
    pub context: Context,
    /// The user's configuration.
    pub config: Config,
    /// How text is dressed.
    pub style: Style,
    cancel: std::sync::OnceLock<Cancel>,
}

/// Says what to do where the process lacks something to start.
fn remedy(error: &ContextError) -> &'static str {
    match error {
        ContextError::Folder(_) => "go to a folder that is there",
        ContextError::Program(_) => {
            "mount /proc: kiln starts itself anew for its steps, and finds itself there"
        }
        ContextError::NoHome(_) => "set HOME, or XDG_CONFIG_HOME and XDG_CACHE_HOME",
    }
}

impl Session {
    /// Reads the surroundings and the configuration.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn open(global: Global) -> Result<Session, Diagnostic> {
        let mut context = Context::read(global.folder.as_deref(), global.store.as_deref())
            .map_err(|error| {
                refusal::with_causes(
                    Diagnostic::new(Code::StoreUnusable, error.to_string()).help(remedy(&error)),
                    &error,
                )
            })?;
        // A folder that is not there would otherwise be searched upward from, to a project above it.
        if let Some(named) = global.folder.as_deref().filter(|_| !context.folder.is_dir()) {
            let shown = model::text::escape(named.as_os_str().as_encoded_bytes());
            return Err(Diagnostic::new(Code::WrongValue, format!("-C names no folder: {shown}"))
                .expected("a folder that is there")
                .help("name one that is there, or make it first"));
        }
        // Mounts, images and messages name it, and none of them can name this.
        if context.store.to_str().is_none() {
            let shown = model::text::escape(context.store.as_os_str().as_encoded_bytes());
            let headline = format!("the path of the store is not UTF-8: {shown}");
            return Err(Diagnostic::new(Code::StoreUnusable, headline)
                .help("name another folder:  --store DIR"));
        }
        let config = config::load(&context.config).map_err(|error| error.told())?;
        context.attestor = global.attestor.clone().or_else(|| config.attest.socket.clone());
        let style = Style::choose(&global, &context);
        Ok(Session { global, context, config, style, cancel: std::sync::OnceLock::new() })
    }

    /// Returns the button that Ctrl-C and SIGTERM press; they do so from the first call on. A command
    /// that never asks is ended by a signal at once.
    ///
    /// # Errors
    /// Gives up where the process has no descriptors left.
    pub fn cancel(&self) -> Result<&Cancel, Vec<Diagnostic>> {
        if self.cancel.get().is_none() {
            let watched = interrupt::watch().map_err(|diagnostic| vec![diagnostic])?;
            self.cancel.set(watched).unwrap_or_default();
        }
        self.cancel
            .get()
            .ok_or_else(|| vec![Diagnostic::new(Code::Internal, "no signals can be watched")])
    }

    /// Opens the store.
    ///
    /// # Errors
    /// Says why it cannot be used.
    pub fn store(&self) -> Result<Store, Vec<Diagnostic>> {
        bound_threads();
        store::open(&self.context.store).map_err(|error| vec![refusal::store(&error)])
    }

    /// Returns the backend of that name, an engine with the places where it may listen.
    pub fn backend(&self, name: BackendName) -> Backend {
        match name {
            BackendName::Native => Backend::Native,
            BackendName::Docker => Backend::Docker(self.engine()),
            BackendName::Confined => Backend::Confined(self.slots()),
        }
    }

    /// Returns where confined steps run: in the store, so that what is prepared is kept.
    pub fn slots(&self) -> Slots {
        Slots { folder: self.context.store.join("confined") }
    }

    /// Returns the container engine that this user would use.
    pub fn engine(&self) -> Engine {
        Engine {
            sockets: self.context.engine_sockets(),
            staging: self.context.store.join("staging"),
        }
    }

    /// Finds the project of the current folder.
    ///
    /// # Errors
    /// Says where it looked.
    pub fn project(&self) -> Result<project::Project, Vec<Diagnostic>> {
        project::find(&self.context.folder).map_err(|diagnostic| vec![diagnostic])
    }

    /// Tells what went wrong: as JSON on stdout with `--json`, as text on stderr otherwise.
    pub fn refuse(&self, found: &[Diagnostic]) {
        if self.global.json {
            report::refusal(found);
        } else {
            report::diagnostics(found, self.style, self.global.quiet, self.context.columns);
        }
    }

    /// Says whether text for people goes to stdout.
    pub fn speaks(&self) -> bool {
        !self.global.json && self.global.quiet == 0
    }
}

/// Has as many threads hash and copy as there are processors: left alone, the library takes the number
/// from a variable of whoever calls.
fn bound_threads() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES);
    // It was made before, then: by the first store that this process opened.
    let _ = pool.build_global();
}
