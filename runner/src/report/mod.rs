//! All printing. stdout is data, stderr is talk.
//!
//! The rest of kiln returns values and tells [`Event`]s; here they become lines, a live panel, log
//! groups of a CI system, or JSON Lines. No untrusted byte reaches a terminal unescaped: step output,
//! names and paths go through `model::text`.

mod ci;
mod commands;
mod event;
mod harmless;
mod human;
mod json;
mod state;
mod style;

pub use ci::CiSystem;
pub use event::{Ended, Event, Tail, TailKeeper};
pub use human::{Talk, seconds};
pub use json::envelope;
pub use state::State;
pub use style::Style;

use std::io::{ErrorKind, Write};

use crate::diagnostic::{COLUMNS_DEFAULT, Code, Diagnostic};

/// What a shell says of a program that SIGPIPE ended.
const EXIT_BROKEN_PIPE: i32 = 141;

/// Lines of a failed step that are shown at once.
pub const TAIL_LINES: usize = 40;

/// Prints data to stdout. A reader that went away (`| head`) ends the program quietly.
pub fn data(text: &str) {
    raw(text.as_bytes());
}

/// Prints bytes to stdout as they are: only for what the user asked to see raw, into a file or pipe.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        lost(&error);
    }
}

/// Ends the program when its answer cannot be written: as other programs do where the reader went away,
/// with an error where the disk is full. Never with success, which nobody could tell from an answer.
fn lost(error: &std::io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(EXIT_BROKEN_PIPE);
    }
    let told = unwritten(error.kind()).caused_by(error);
    line(told.render(Style::plain().drawn, COLUMNS_DEFAULT).trim_end());
    std::process::exit(i32::from(told.code.exit().number()));
}

/// Says that the answer cannot be written to standard output: whoever runs the host has to make room.
pub fn unwritten(kind: ErrorKind) -> Diagnostic {
    let full = matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let code = if full { Code::HostDiskFull } else { Code::StoreUnusable };
    let told = Diagnostic::new(code, "the answer cannot be written to standard output");
    match full {
        true => told.help("make room where standard output goes, and ask again"),
        false => {
            told.help("send standard output to a file or pipe that can be written, and ask again")
        }
    }
}

/// Prints text for people to stdout, none of whose lines is a command of a CI system.
pub fn told(text: &str) {
    data(&commands::broken(text));
}

/// Prints a JSON document to stdout, under the name of its schema.
pub fn document(schema: &str, body: serde_json::Value) {
    let text = serde_json::to_string_pretty(&envelope(schema, body)).unwrap_or_default();
    let mut text = commands::broken_json(&text);
    text.push('\n');
    data(&text);
}

/// Prints errors as the JSON document that stands for a command's answer.
pub fn refusal(found: &[Diagnostic]) {
    let errors: Vec<serde_json::Value> = found.iter().map(Diagnostic::to_json).collect();
    document("errors", serde_json::json!({ "errors": errors }));
}

/// Prints a line of talk to stderr, which is no command of a CI system whatever it quotes.
pub fn line(text: &str) {
    mark(&commands::broken(text));
}

/// Prints a JSON value on one line of stderr.
fn json_line(value: &serde_json::Value) {
    mark(&commands::broken_json(&value.to_string()));
}

/// Prints a line as it is. Talk that nobody can read is dropped on purpose.
fn mark(text: &str) {
    let mut err = std::io::stderr().lock();
    err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n")).unwrap_or_default();
}

/// Prints errors in the order in which they were found, wrapped at `columns`.
pub fn diagnostics(found: &[Diagnostic], style: Style, quiet: u8, columns: usize) {
    if quiet >= 2 {
        return;
    }
    for diagnostic in found {
        line(diagnostic.render(style.drawn, columns).trim_end());
    }
}

/// Starts the one subscriber of `tracing` events: warnings by default, with `-vv` what steps are
/// given and how their sandboxes are set up, with `-vvv` programs, variables and what was read back.
pub fn subscribe(verbose: u8) {
    let level = match verbose {
        0 | 1 => tracing::Level::WARN,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| harmless::Harmless)
        .without_time()
        .finish();
    // A second subscriber cannot be: this is called once, by the command line's first lines.
    tracing::subscriber::set_global_default(subscriber).unwrap_or_default();
}

/// Prints a multi-line block of talk.
pub fn block(text: &str) {
    line(text.trim_end());
}
