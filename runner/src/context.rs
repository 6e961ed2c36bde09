//! `Context`: the only reader of environment, clock, current folder and randomness.
//!
//! It is read once, at the start, and handed down by value or reference; what a function can know
//! of the machine is therefore visible in its arguments. Nothing of it enters a step.
#![expect(clippy::disallowed_methods, reason = "this is the one reader of ambient state")]

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What kiln knows of the process it runs in.
#[derive(Clone, Debug)]
pub struct Context {
    /// The current folder, or the one of `-C`.
    pub folder: PathBuf,
    /// The caller's home, if it has one.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/kiln`: configuration, key, trust.
    pub config: PathBuf,
    /// `$XDG_CACHE_HOME/kiln`, or `--store`: the content store.
    pub store: PathBuf,
    /// `$XDG_STATE_HOME/kiln`: the attestor's journal.
    pub state: PathBuf,
    /// The socket of an attestor that listens, where one is named: filled in once flags and
    /// configuration are read.
    pub attestor: Option<PathBuf>,
    /// This program.
    pub program: PathBuf,
    /// Whether the caller is root.
    pub root: bool,
    /// Whether stderr is a terminal that can redraw.
    pub terminal: bool,
    /// Whether stdout is a terminal.
    pub terminal_out: bool,
    /// Whether stdout is a plain file.
    pub file_out: bool,
    /// Whether the locale says UTF-8.
    pub utf8: bool,
    /// Columns of the terminal, 80 where unknown.
    pub columns: usize,
    variables: BTreeMap<String, String>,
}

/// What the process lacks to start.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The current folder cannot be read; it may have been deleted.
    #[error("cannot tell the current folder")]
    Folder(#[source] std::io::Error),
    /// This program's own file cannot be found.
    #[error("cannot find this program's own file")]
    Program(#[source] std::io::Error),
    /// Neither a home nor the XDG variables say where to keep things.
    #[error("neither HOME nor {0} is set to an absolute path")]
    NoHome(&'static str),
}

impl Context {
    /// Reads the process.
    ///
    /// # Errors
    /// Gives up without a current folder, or without a place for configuration and store.
    pub fn read(folder: Option<&Path>, store: Option<&Path>) -> Result<Context, ContextError> {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let here = std::env::current_dir().map_err(ContextError::Folder)?;
        let home = absolute(&variables, "HOME");
        let place = |name: &'static str, below: &str| {
            absolute(&variables, name)
                .or_else(|| home.as_ref().map(|home| home.join(below)))
                .map(|folder| folder.join("kiln"))
                .ok_or(ContextError::NoHome(name))
        };
        let store = match store {
            Some(store) => here.join(store),
            None => place("XDG_CACHE_HOME", ".cache")?,
        };
        Ok(Context {
            folder: folder.map_or_else(|| here.clone(), |folder| here.join(folder)),
            config: place("XDG_CONFIG_HOME", ".config")?,
            state: place("XDG_STATE_HOME", ".local/state")?,
            store,
            attestor: None,
            program: std::env::current_exe().map_err(ContextError::Program)?,
            root: rustix::process::geteuid().is_root(),
            terminal: std::io::stderr().is_terminal()
                && variables.get("TERM").is_none_or(|term| term != "dumb"),
            terminal_out: std::io::stdout().is_terminal(),
            file_out: rustix::fs::fstat(std::io::stdout())
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()),
            utf8: says_utf8(&variables),
            columns: rustix::termios::tcgetwinsize(std::io::stderr())
                .map_or(80, |size| usize::from(size.ws_col).max(20)),
            home,
            variables,
        })
    }

    /// Returns a variable of the caller's environment, if it is set, not empty and UTF-8.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns where a container engine may listen: at the one place that `DOCKER_HOST` names, else at
    /// the usual ones, Docker's before Podman's and the system's before the user's.
    ///
    /// Only sockets of this host: whoever reaches an engine over the network is root there, and the
    /// inputs would have to be sent. Another scheme is handed on as it stands, and refused there.
    pub fn engine_sockets(&self) -> Vec<PathBuf> {
        if let Some(asked) = self.variable("DOCKER_HOST") {
            return vec![PathBuf::from(asked.strip_prefix("unix://").unwrap_or(asked))];
        }
        let runtime = absolute(&self.variables, "XDG_RUNTIME_DIR");
        let own = |name: &str| runtime.as_ref().map(|folder| folder.join(name));
        [
            Some(PathBuf::from("/var/run/docker.sock")),
            own("docker.sock"),
            Some(PathBuf::from("/run/podman/podman.sock")),
            own("podman/podman.sock"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns the time, in seconds since 1970, UTC.
    pub fn now(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// Returns the time, for comparing with the times of files.
    pub fn clock(&self) -> std::time::SystemTime {
        std::time::SystemTime::now()
    }

    /// Says whether a CI system runs us: `CI` is set, not empty and not `false`.
    pub fn in_ci(&self) -> bool {
        self.variable("CI").is_some_and(|value| value != "false")
    }
}

/// Says whether JSON was asked for on a command line that cannot be understood as a whole.
pub fn asks_for_json() -> bool {
    let variable = std::env::var("KILN_JSON").unwrap_or_default();
    let off = ["", "0", "f", "false", "n", "no", "off"];
    let options = std::env::args_os().skip(1).take_while(|word| word != "--");
    !off.contains(&variable.to_lowercase().as_str())
        || options.into_iter().any(|word| word == "--json")
}

/// Returns the words of the command line, the program's name first.
pub fn words() -> Vec<std::ffi::OsString> {
    std::env::args_os().collect()
}

/// Returns 16 random bytes from the kernel.
///
/// # Errors
/// Gives up where the kernel has none, which does not happen after boot.
pub fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

fn absolute(variables: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    variables.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn says_utf8(variables: &BTreeMap<String, String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variables.get(*name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let lower = locale.to_ascii_lowercase();
        lower.contains("utf-8") || lower.contains("utf8")
    })
}
