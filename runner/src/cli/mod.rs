//! The commands: parse, one call, exit code. One file each.

pub mod args;
mod attest;
mod believed;
mod build;
mod command_line;
mod doctor;
mod explain;
pub mod files;
mod graph;
mod help;
mod init;
mod inspect;
mod key;
pub(crate) mod lasting;
mod lock;
mod log;
mod man;
mod parse;
mod policy;
mod run;
mod schema;
mod session;
mod show;
mod store;
pub(crate) mod trust;
mod usage;
mod verify;
mod version;

pub use session::Session;

use self::args::Command;
use crate::context;
use crate::diagnostic::{Code, Diagnostic, Exit, exit_code};
use crate::interrupt;
use crate::report::{self, Style};

/// What a command comes to: the exit code, or what is wrong.
pub type Ended = Result<Exit, Vec<Diagnostic>>;

/// Runs the command line and returns the exit code.
pub fn main() -> u8 {
    interrupt::survive_size_limit();
    let cli = match parse::parse(&context::words()) {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error),
    };
    report::subscribe(cli.global.verbose);
    let (json, quiet) = (cli.global.json, cli.global.quiet);
    let session = match Session::open(cli.global) {
        Ok(session) => session,
        Err(found) => {
            let exit = found.code.exit();
            match json {
                true => report::refusal(&[found]),
                false => report::diagnostics(&[found], Style::plain(), quiet, 80),
            }
            return exit.number();
        }
    };
    match dispatch(&session, cli.command) {
        Ok(exit) => exit.number(),
        Err(found) => {
            session.refuse(&found);
            exit_code(found.iter().map(|diagnostic: &Diagnostic| diagnostic.code)).number()
        }
    }
}

/// Says whether what follows `kiln attestor` asks how it is used: that is told as of any command, and nothing is begun.
pub fn asks_for_help(words: &[std::ffi::OsString]) -> bool {
    words.iter().any(|word| word == "--help" || word == "-h")
}

fn dispatch(session: &Session, command: Command) -> Ended {
    match command {
        Command::Init(args) => init::run(session, &args),
        Command::Lock(args) => lock::run(session, &args),
        Command::Build(args) => build::run(session, &args),
        Command::Run(args) => run::run(session, &args),
        Command::Verify(args) => verify::run(session, &args),
        Command::Inspect(args) => inspect::run(session, &args),
        Command::Attest(args) => attest::run(session, &args),
        Command::Attestor(_) => stop(
            wrong_usage(
                "`attestor` is the first word, and has none of the flags of other commands",
            )
            .help("see what it takes:  kiln attestor --help"),
        ),
        Command::Key(command) => key::run(session, &command),
        Command::Trust(command) => trust::run(session, &command),
        Command::Policy(command) => policy::run(session, &command),
        Command::Show(args) => show::run(session, &args),
        Command::Log(args) => log::run(session, &args),
        Command::Graph(args) => graph::run(session, &args),
        Command::Doctor(args) => doctor::run(session, &args),
        Command::Explain(args) => explain::run(session, &args),
        Command::Schema(args) => schema::run(session, &args),
        Command::Store(command) => store::run(session, &command),
        Command::Completions(args) => man::completions(session, &args),
        Command::Man(args) => man::run(session, &args),
        Command::Version => version::run(session),
        Command::Help(args) => help::run(session, &args),
    }
}

/// Prints a text that is the whole of a command's answer: as it is, or as a document with `--json`.
fn answer(session: &Session, schema: &str, text: &[u8]) {
    if session.global.json {
        report::document(schema, serde_json::json!({ "text": String::from_utf8_lossy(text) }));
    } else {
        report::raw(text);
    }
}

/// Returns one diagnostic as the end of a command.
fn stop<T>(diagnostic: Diagnostic) -> Result<T, Vec<Diagnostic>> {
    Err(vec![diagnostic])
}

/// Returns a refusal of what was typed.
fn wrong_usage(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::WrongValue, headline)
}
