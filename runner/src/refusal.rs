//! From errors of the parts to what a person reads: the edge where an error gets its code.

use model::text;
use rustix::io::Errno;

use crate::diagnostic::{Code, Diagnostic};
use crate::execute::capture::{CaptureError, FileKind};
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
        E::FolderTooLarge { .. } => Diagnostic::new(Code::SourceUnfit, headline).help(
            "spread its files over several folders, or leave some out with `exclude` of the source",
        ),
        E::Stopped => Diagnostic::new(Code::Interrupted, headline)
            .help("start the command again: it goes on where it stopped"),
        E::NewerSchema { .. } | E::NotAStore { .. } | E::Foreign { .. } => {
            Diagnostic::new(Code::StoreUnusable, headline).help("name another folder:  --store DIR")
        }
        E::Io { .. } => {
            Diagnostic::new(Code::StoreUnusable, format!("the store fails at {headline}")).help(
                "make the store's folder one that you may write to, or name another:  --store DIR",
            )
        }
        E::TooLarge { .. } | E::NotAFile | E::TooDeep(_) | E::Encode(_) => {
            Diagnostic::new(Code::StoreUnusable, headline)
        }
    };
    with_causes(diagnostic, error)
}

/// An output or report that cannot be taken; `key` is what the build file names it under.
pub fn capture(what: &str, key: &str, error: &CaptureError) -> Diagnostic {
    use CaptureError as E;
    let code = match error {
        E::Missing { .. } | E::WrongKind { .. } => Code::OutputMissing,
        E::Store { source, .. } => return store(source),
        E::HostFull { .. } => Code::HostDiskFull,
        E::Cancelled => Code::Interrupted,
        E::TooDeep { .. }
        | E::PathTooLong { .. }
        | E::TooMany { .. }
        | E::TooLarge { .. }
        | E::TooHollow { .. } => Code::OutOfDisk,
        E::Refused { .. }
        | E::FolderTooLarge { .. }
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
        E::Missing { .. } => {
            diagnostic.help(format!("let the step make it, or take it out of `{key}`"))
        }
        E::WrongKind { .. } if key == "reports" => {
            diagnostic.help("let the test write a file there")
        }
        E::WrongKind { .. } => diagnostic.help("say what it is:  {path: …, as: file|dir|root}"),
        E::Refused { found: FileKind::Link, .. } => {
            diagnostic.help("let the step copy what it leads to:  cp -L LINK FILE")
        }
        E::Refused { .. } => diagnostic.help("let the step remove it, or name what lies beside it"),
        E::Parent { .. } => diagnostic.help("name the path without the link"),
        E::SpecialMode { at, .. } => {
            diagnostic.help(format!("let the step clear the bits:  chmod u-s,g-s,-t {at}"))
        }
        E::Attribute { .. } => {
            diagnostic.help("let the step make it without:  cp --no-preserve=xattr, setfattr -x")
        }
        E::NameNotUtf8 { .. } | E::TargetNotUtf8 { .. } => {
            diagnostic.help("let the step give it a name in UTF-8")
        }
        E::Unreadable { at, .. } => {
            diagnostic.help(format!("let the step make it readable:  chmod u+rX {at}"))
        }
        E::TooDeep { .. } | E::PathTooLong { .. } | E::TooMany { .. } | E::TooLarge { .. } => {
            diagnostic.help("name less of it as the output, or let the step pack it into one file")
        }
        E::FolderTooLarge { .. } => diagnostic
            .help("let the step spread its files over several folders, or pack them into one file"),
        E::HostFull { .. } => diagnostic
            .why("a twentieth of the store's file system, at most 2 GiB, is kept free")
            .help("free some space, or keep the store elsewhere:  --store DIR")
            .help("kiln store gc"),
        E::Cancelled => diagnostic.help("start the command again: it goes on where it stopped"),
        E::TooHollow { .. } => {
            diagnostic.help("raise `resources: {disk: …}` of the step, or make it without holes")
        }
        E::Store { .. } | E::Io { .. } => diagnostic,
    };
    with_causes(diagnostic, error)
}

/// A host environment that cannot be had.
pub fn environment(name: &str, error: &environment::Error) -> Diagnostic {
    use environment::Error as E;
    let differs = |headline: String| Diagnostic::new(Code::HostDiffers, headline);
    let diagnostic = match error {
        E::Store(cause @ store::Error::FolderTooLarge { .. }) => {
            return differs(format!("environment `{name}`: {cause}"))
                .help("name a folder below it under `paths`, or make it smaller");
        }
        E::Store(cause) => return store(cause),
        E::Import(_, cause) if matches!(**cause, store::Error::Full { .. }) => return store(cause),
        E::Altered(altered) => {
            let package = &altered.package;
            return differs(altered.to_string())
                .help(format!(
                    "put the package's own file back:  apt-get install --reinstall {package}"
                ))
                .help(format!("see all that differs:  dpkg --verify {package}"));
        }
        E::Observe(cause) => return observe(name, cause),
        E::Interrupted => {
            return Diagnostic::new(Code::Interrupted, error.to_string())
                .help("start the command again: it goes on where it stopped");
        }
        E::Changed => differs(error.to_string())
            .help("start the build again when the package manager is done"),
        E::Paths(cause) => return listed_path(name, cause),
        E::Stamp(_) => differs(format!("environment `{name}`: {error}"))
            .help("see that the package database is whole:  dpkg --audit"),
        E::Read(path, _) => differs(format!("environment `{name}`: {error}")).help(format!(
            "make it readable for you, or see whose it is:  dpkg -S {}",
            shown(path)
        )),
        E::Import(..) => differs(format!("environment `{name}`: {error}"))
            .help("start the build again; if it stays:  kiln store verify --deep"),
        E::Tree(_) => differs(format!("environment `{name}`: {error}"))
            .help("give one of the listed paths another place:  {from: PATH, at: PATH}"),
    };
    with_causes(diagnostic, error)
}

fn shown(path: &std::path::Path) -> String {
    text::escape(path.as_os_str().as_encoded_bytes())
}

/// A path of `host: {paths: […]}` that cannot be used. The cause names the path, so it is the headline.
fn listed_path(name: &str, error: &fetch::host::PathsError) -> Diagnostic {
    use fetch::host::PathsError as E;
    let told = Diagnostic::new(Code::HostDiffers, format!("environment `{name}`: {error}"));
    let told = match error {
        E::Absent { .. } => told.help("make it, or take it out of `paths`"),
        E::Link { target, .. } => told.help(format!("name what it leads to:  {}", shown(target))),
        E::Forbidden { .. } => told.help("name a folder below it, or another"),
        E::NoFolder { .. } => told.help("name the folder that the program lies in"),
        E::Hides { .. } | E::Place { .. } => {
            told.help("give it another place:  {from: PATH, at: PATH}")
        }
        E::Places { .. } | E::Walk { .. } => {
            told.help("make it readable for you, all the way down")
        }
    };
    with_causes(told, error)
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
        _ => Diagnostic::new(Code::HostDiffers, format!("environment `{name}`: {error}"))
            .help("see what differs from its package:  dpkg --verify")
            .help("and whether a package is half installed:  dpkg --audit"),
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
        ExportError::Read { .. } => Diagnostic::new(Code::StoreUnusable, error.to_string())
            .help("see what the store has lost:  kiln store verify --deep"),
        ExportError::Write { source, .. } => {
            use rustix::io::Errno;
            let refused = matches!(source.errno(), Errno::ACCESS | Errno::PERM | Errno::ROFS);
            let help = match refused {
                true => "make it a folder that you may write to, or name another:  -o DIR",
                false => "make room, or name another folder:  -o DIR",
            };
            Diagnostic::new(Code::StoreUnusable, error.to_string()).help(help)
        }
    };
    with_causes(diagnostic, error)
}

/// Adds what an error names as its causes.
pub fn with_causes(diagnostic: Diagnostic, error: &dyn std::error::Error) -> Diagnostic {
    let told = match error.source() {
        Some(cause) => diagnostic.caused_by(cause),
        None => diagnostic,
    };
    match limit_of_caller(error) {
        Some(help) => Diagnostic { help: vec![help.to_owned()], ..told },
        None => told,
    }
}

/// Returns the remedy where a limit that kiln was started with is at the bottom of an error: then no other
/// one helps.
fn limit_of_caller(error: &dyn std::error::Error) -> Option<&'static str> {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let number = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        io.or_else(|| cause.downcast_ref::<Errno>().map(|errno| errno.raw_os_error()))
    };
    let of = |number: i32| match Errno::from_raw_os_error(number) {
        Errno::MFILE => {
            Some("let kiln have more open files:  ulimit -n 1024, or LimitNOFILE of its service")
        }
        Errno::FBIG => {
            Some("let kiln write larger files:  ulimit -f unlimited, or LimitFSIZE of its service")
        }
        _ => None,
    };
    causes.filter_map(number).find_map(of)
}
