//! Why a container engine could not run a step.

use std::io;
use std::path::PathBuf;

/// What the engine was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Asking {
    /// Its version and abilities.
    #[error("say what it is")]
    Version,
    /// The image of an environment.
    #[error("take the environment as an image")]
    Image,
    /// The containers of kiln processes that are gone.
    #[error("list what was left behind")]
    Sweep,
    /// The container.
    #[error("make a container")]
    Create,
    /// What it made.
    #[error("show the container it made")]
    Inspect,
    /// The output.
    #[error("hand over the step's output")]
    Attach,
    /// The start.
    #[error("start the container")]
    Start,
    /// The end.
    #[error("tell of the step's end")]
    Wait,
    /// A signal.
    #[error("stop the container")]
    Kill,
    /// The end of the container.
    #[error("remove the container")]
    Remove,
}

/// Why a container engine could not run a step.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// None answers.
    #[error("no container engine answers at {}", shown(tried))]
    NoEngine {
        /// The sockets that were tried.
        tried: Vec<PathBuf>,
        /// What the last one that is there answered.
        #[source]
        source: Option<bollard::errors::Error>,
    },
    /// A socket is there, and this user may not speak to it.
    #[error("this user may not speak to the container engine at {}", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// It refused, or broke off.
    #[error("the container engine did not {asking}")]
    Refused {
        /// What was asked of it.
        asking: Asking,
        /// What it answered.
        #[source]
        source: bollard::errors::Error,
    },
    /// It made something else than what was asked for.
    #[error("the container engine made a container with {field} {got} instead of {asked}")]
    Differs {
        /// The field, in the engine's own words.
        field: String,
        /// What was asked for.
        asked: String,
        /// What it made of it.
        got: String,
    },
    /// It maps users in a way under which the step's files would not be the step's.
    #[error("the container engine maps users, so that the step would not be the one fixed user")]
    MappedUsers,
    /// The caller's files cannot be the step's.
    #[error("a step of user {uid} would not be the one fixed user, since the engine maps no users")]
    Caller {
        /// The caller's id.
        uid: u32,
    },
    /// The engine's answer lacks something that must be in it.
    #[error("the container engine did not say {what}")]
    Silent {
        /// What.
        what: &'static str,
    },
    /// The wait for its answer was interrupted.
    #[error("interrupted while the container engine had not answered")]
    Interrupted,
    /// Kiln's own side: the staging folder, the event loop.
    #[error("cannot {doing} {}", path.display())]
    Own {
        /// What was attempted.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if shown.is_empty() { "any place".to_owned() } else { shown.join(", ") }
}

/// Turns an answer of the engine's into an error that says what it was asked.
pub fn refused(asking: Asking) -> impl FnOnce(bollard::errors::Error) -> EngineError {
    use bollard::errors::Error::DockerResponseServerError as Answer;
    move |source| {
        let source = match source {
            Answer { status_code, message } => {
                Answer { status_code, message: message.chars().take(ANSWER_CHARS_MAX).collect() }
            }
            other => other,
        };
        EngineError::Refused { asking, source }
    }
}

/// Letters that are kept of an engine's answer, which may repeat the whole request.
const ANSWER_CHARS_MAX: usize = 600;

/// Turns a failure on kiln's own side into an error that says with what.
pub fn own(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Own { doing, path, source }
}
