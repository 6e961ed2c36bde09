//! From errors of the parts to what a person reads: the edge where an error gets its code.

use model::text;

use crate::diagnostic::{Code, Diagnostic};
use crate::execute::capture::CaptureError;
use crate::export::ExportError;
use crate::{environment, store};

/// An error of the store.
pub fn store(error: &store::Error) -> Diagnostic {
    use store::Error as E;
    let headline = error.to_string();
    let diagnostic = match error {
        E::Full { .. } => Diagnostic::new(Code::HostDiskFull, headline)
            .help("free some space, or keep the store elsewhere:  --store DIR")
            .help("kiln store gc"),
        E::Busy { .. } => {
            Diagnostic::new(Code::StoreBusy, headline).help("try again when it has ended")
        }
        E::Damaged(_) | E::Missing(_) | E::NotADirectory { .. } => {
            Diagnostic::new(Code::StoreDamaged, headline)
                .help("see what else is damaged:  kiln store verify --deep")
                .help("build again without it:  kiln build --no-cache")
        }
        E::Changed | E::Mismatch { .. } | E::WrongSize { .. } => Diagnostic::new(
            Code::DigestMismatch,
            format!("an input changed while it was read: {headline}"),
        )
        .help("start the build again when nothing writes to the sources"),
        E::NewerSchema { .. } | E::NotAStore { .. } | E::Foreign { .. } => {
            Diagnostic::new(Code::StoreUnusable, headline).help("name another folder:  --store DIR")
        }
        E::Io { .. } | E::TooLarge { .. } | E::NotAFile | E::TooDeep(_) | E::Encode(_) => {
            Diagnostic::new(Code::StoreUnusable, headline)
        }
    };
    with_causes(diagnostic, error)
}

/// An output or report that cannot be taken.
pub fn capture(what: &str, error: &CaptureError) -> Diagnostic {
    use CaptureError as E;
    let code = match error {
        E::Missing { .. } | E::WrongKind { .. } => Code::OutputMissing,
        E::Store { source, .. } => return store(source),
        E::TooDeep { .. }
        | E::PathTooLong { .. }
        | E::TooMany { .. }
        | E::TooLarge { .. }
        | E::TooHollow { .. } => Code::OutOfDisk,
        E::Refused { .. }
        | E::Parent { .. }
        | E::SpecialMode { .. }
        | E::Attribute { .. }
        | E::NameNotUtf8 { .. }
        | E::TargetNotUtf8 { .. }
        | E::Unreadable { .. }
        | E::Io { .. } => Code::OutputRefused,
    };
    let diagnostic = Diagnostic::new(code, format!("{what}: {error}"));
    let diagnostic = match error {
        E::Missing { nearest, .. } if !nearest.is_empty() => {
            let names: Vec<String> =
                nearest.iter().map(|near| text::escape(near.to_string().as_bytes())).collect();
            diagnostic.help(format!("there is: {}", names.join(", ")))
        }
        E::Missing { .. } => diagnostic.help("let the step make it, or take it out of `outputs`"),
        E::WrongKind { .. } => diagnostic.help("say what it is:  {path: …, as: file|dir|root}"),
        _ => diagnostic,
    };
    with_causes(diagnostic, error)
}

/// A host environment that cannot be had.
pub fn environment(name: &str, error: &environment::Error) -> Diagnostic {
    use environment::Error as E;
    let differs = |headline: String| Diagnostic::new(Code::HostDiffers, headline);
    let diagnostic = match error {
        E::Store(cause) => return store(cause),
        E::Import(_, cause) if matches!(**cause, store::Error::Full { .. }) => return store(cause),
        E::Altered(altered) => {
            return differs(altered.to_string()).help(format!(
                "put the package's own file back:  apt-get install --reinstall {}",
                altered.package
            ));
        }
        E::Observe(cause) => return observe(name, cause),
        E::Interrupted => return Diagnostic::new(Code::Interrupted, error.to_string()),
        E::Changed => differs(error.to_string())
            .help("start the build again when the package manager is done"),
        E::Paths(_) | E::Stamp(_) | E::Read(..) | E::Import(..) | E::Tree(_) => {
            differs(format!("environment `{name}`: {error}"))
        }
    };
    with_causes(diagnostic, error)
}

fn observe(name: &str, error: &fetch::host::Error) -> Diagnostic {
    use fetch::host::{ClosureError, Error as E};
    let diagnostic = match error {
        E::Closure(ClosureError::NotInstalled { package, nearest }) => {
            let near: Vec<String> = nearest.iter().map(ToString::to_string).collect();
            let told = Diagnostic::new(Code::HostDiffers, error.to_string()).help(format!("install it:  apt-get install {package}"));
            if near.is_empty() { told } else { told.help(format!("or name one that is installed: {}", near.join(", "))) }
        }
        E::NoDatabase { .. } => Diagnostic::new(Code::HostDiffers, format!("environment `{name}`: {error}"))
            .why("the base set of a host environment comes from the host's package database, and only dpkg's is read")
            .help("list what is needed by path:  host: {paths: [...]}"),
        _ => Diagnostic::new(Code::HostDiffers, format!("environment `{name}`: {error}")),
    };
    with_causes(diagnostic, error)
}

/// Returns the package that an observation says is missing.
pub fn missing_package(error: &fetch::host::Error) -> Option<String> {
    match error {
        fetch::host::Error::Closure(fetch::host::ClosureError::NotInstalled {
            package, ..
        }) => Some(package.to_string()),
        _ => None,
    }
}

/// A file that cannot be handed over.
pub fn export(error: &ExportError) -> Diagnostic {
    let diagnostic = match error {
        ExportError::Store { source, .. } => return store(source),
        ExportError::Folder { .. } => Diagnostic::new(Code::StoreUnusable, error.to_string())
            .help("make it a plain folder that you may write to, or name another:  -o DIR"),
        ExportError::Read { .. } | ExportError::Write { .. } => {
            Diagnostic::new(Code::StoreUnusable, error.to_string())
        }
    };
    with_causes(diagnostic, error)
}

/// Adds what an error names as its causes.
pub fn with_causes(diagnostic: Diagnostic, error: &dyn std::error::Error) -> Diagnostic {
    match error.source() {
        Some(cause) => diagnostic.caused_by(cause),
        None => diagnostic,
    }
}
