//! `kiln man` and `kiln completions`: made from the same definitions as `--help`.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::parse::definitions;
use super::{Ended, Session, answer, lasting, stop};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::report;

/// Prints the first page, or writes one page for each command.
pub fn run(session: &Session, args: &ManArgs) -> Ended {
    let command = definitions();
    let Some(folder) = args.out.as_ref().map(|folder| session.context.folder.join(folder)) else {
        answer(session, "man", &page(&command));
        return Ok(Exit::Done);
    };
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(
                Code::StoreUnusable,
                format!("cannot write man pages to {}", folder.display()),
            )
            .caused_by(error)
            .help("name a folder that you may write to:  --out DIR"),
        ]
    };
    std::fs::create_dir_all(&folder).map_err(|error| refuse(&error))?;
    let mut pages = vec![("kiln.1".to_owned(), page(&command))];
    for sub in command.get_subcommands() {
        pages.push((format!("kiln-{}.1", sub.get_name()), page(sub)));
    }
    for (name, bytes) in &pages {
        lasting::write(&folder, name, bytes)?;
    }
    if session.global.json {
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        report::document("man", serde_json::json!({"folder": folder, "wrote": names}));
    } else if session.speaks() {
        let shown = model::text::escape(folder.as_os_str().as_encoded_bytes());
        report::line(&format!(" wrote {} pages to {shown}", pages.len()));
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
