//! `kiln man` and `kiln completions`: made from the same definitions as `--help`.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::{Ended, Session, answer, lasting, stop};
use crate::diagnostic::{Code, Diagnostic, Exit};

/// Prints the first page, or writes one page for each command.
pub fn run(session: &Session, args: &ManArgs) -> Ended {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = &args.out else {
        answer(session, "man", &page(&command));
        return Ok(Exit::Done);
    };
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(
                Code::StoreUnusable,
                format!("cannot write man pages to {}", folder.display()),
            )
            .caused_by(error),
        ]
    };
    std::fs::create_dir_all(folder).map_err(|error| refuse(&error))?;
    let mut pages = vec![("kiln.1".to_owned(), page(&command))];
    for sub in command.get_subcommands() {
        pages.push((format!("kiln-{}.1", sub.get_name()), page(sub)));
    }
    for (name, bytes) in pages {
        lasting::write(folder, &name, &bytes)?;
    }
    Ok(Exit::Done)
}

fn page(command: &clap::Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    clap_mangen::Man::new(command.clone()).render(&mut bytes).unwrap_or_default();
    bytes
}

/// Prints completions.
pub fn completions(session: &Session, args: &CompletionsArgs) -> Ended {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kiln", &mut bytes);
    if bytes.is_empty() {
        return stop(Diagnostic::new(Code::Internal, "no completions for this shell"));
    }
    answer(session, "completions", &bytes);
    Ok(Exit::Done)
}
