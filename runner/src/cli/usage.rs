//! What is wrong with a command line, told as everything else is: code, what was expected, remedy.
//!
//! The parser knows what was typed and what would fit; only its words are replaced, so that `--json`
//! has the same fields for a misspelt option as for a misspelt key of the build file.
//!
//! Prints nothing itself, but for help that was asked for.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::context;
use crate::diagnostic::{Code, Diagnostic, Exit, exit_code, one_of};
use crate::report::{self, Style};

/// Prints what the parser found: help and version are data and exit 0, the rest is an error.
pub fn tell(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        report::data(&error.render().to_string());
        return Exit::Done.number();
    }
    let json = context::asks_for_json();
    // Who types a group of commands alone wants to see them.
    let shows_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if shows_help && !json {
        report::block(&error.render().to_string());
        return Exit::Usage.number();
    }
    let found = [diagnostic(error)];
    if json {
        report::refusal(&found);
    } else {
        report::diagnostics(&found, Style::plain(), 0, 80);
    }
    exit_code(found.iter().map(|one| one.code)).number()
}

/// Returns what a person reads of a command line that cannot be understood.
fn diagnostic(error: &clap::Error) -> Diagnostic {
    let argument = words(error, ContextKind::InvalidArg).join(" ");
    let shown = |text: &str| format!("`{}`", model::text::escape(text.as_bytes()));
    let told = match error.kind() {
        ErrorKind::UnknownArgument => Diagnostic::new(
            Code::UnknownName,
            format!("no option or argument {}", shown(&argument)),
        ),
        ErrorKind::InvalidSubcommand => {
            let name = words(error, ContextKind::InvalidSubcommand).join(" ");
            Diagnostic::new(Code::UnknownName, format!("no command {}", shown(&name)))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Diagnostic::new(Code::MissingKey, "no command is given")
        }
        ErrorKind::MissingRequiredArgument => {
            Diagnostic::new(Code::MissingKey, format!("{} is not given", shown(&argument)))
        }
        ErrorKind::ArgumentConflict => {
            let other = words(error, ContextKind::PriorArg).join(" ");
            let headline = format!("{} cannot stand beside {}", shown(&argument), shown(&other));
            Diagnostic::new(Code::WrongValue, headline)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = words(error, ContextKind::InvalidValue).concat();
            let headline = match value.as_str() {
                "" => format!("{} has no value", shown(&argument)),
                value => format!("{} is no value of {}", shown(value), shown(&argument)),
            };
            let told = Diagnostic::new(Code::WrongValue, headline);
            match std::error::Error::source(error) {
                Some(cause) => told.caused_by(cause),
                None => told,
            }
        }
        // What is left has no parts of its own: its first line says it.
        _ => Diagnostic::new(Code::WrongValue, first_line(error)),
    };
    with_remedy(told, error)
}

fn with_remedy(mut told: Diagnostic, error: &clap::Error) -> Diagnostic {
    for kind in [ContextKind::ValidValue, ContextKind::ValidSubcommand] {
        let valid = words(error, kind);
        if !valid.is_empty() {
            told = told.expected(one_of(valid.iter().map(String::as_str)));
        }
    }
    let near =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    if let Some(first) = near.into_iter().flat_map(|kind| words(error, kind)).next() {
        told = told.help(format!("did you mean `{first}`?"));
    }
    match words(error, ContextKind::Usage).first() {
        // The parser's usage is of what is left of the two then, and may lack what that needs.
        _ if error.kind() == ErrorKind::ArgumentConflict => told.help("leave one of the two out"),
        Some(usage) => {
            let usage = usage.split_whitespace().collect::<Vec<_>>().join(" ");
            told.help(usage.replacen("Usage: ", "usage:  ", 1))
        }
        None => told.help("see what there is:  kiln --help"),
    }
}

fn words(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::*;

    fn told(words: &[&str]) -> Diagnostic {
        let words = std::iter::once("kiln").chain(words.iter().copied());
        diagnostic(&Cli::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn a_misspelt_word_is_told_with_what_was_probably_meant() {
        for (words, headline, help) in [
            (&["buidl"][..], "no command `buidl`", "did you mean `build`?"),
            (
                &["build", "--bakend", "x"],
                "no option or argument `--bakend`",
                "did you mean `--backend`?",
            ),
            (
                &["build", "--backend", "dcker"],
                "`dcker` is no value of `--backend <NAME>`",
                "did you mean `docker`?",
            ),
        ] {
            let found = told(words);
            assert_eq!((found.headline.as_str(), found.help[0].as_str()), (headline, help));
            assert_eq!(found.code.exit(), Exit::Usage);
        }
    }

    #[test]
    fn every_other_mistake_names_the_thing_and_a_remedy() {
        for (words, headline) in [
            (&["verify"][..], "`<FILE>...` is not given"),
            (&["run"], "`<CMD>...` is not given"),
            (&["store"], "no command is given"),
            (&["build", "--sign", "--no-sign"], "`--sign` cannot stand beside `--no-sign`"),
            (&["--jobs", "0", "build"], "`0` is no value of `--jobs <N>`"),
            (&["build", "--matrix"], "`--matrix <AXIS=VALUE>` has no value"),
            (&["store", "cat", "zz"], "`zz` is no value of `<DIGEST>`"),
        ] {
            let found = told(words);
            assert_eq!(found.headline, headline);
            assert!(!found.help.is_empty(), "{found:?}");
            assert_eq!(found.code.exit(), Exit::Usage);
        }
    }

    #[test]
    fn of_two_that_cannot_stand_together_no_usage_is_shown_that_is_none() {
        let both = ["--identity", "a", "--issuer", "https://i.example", "--builder-id", "b"];
        for command in [&["trust", "add", "k"][..], &["trust", "pin", "f", "--key", "k"]] {
            let found = told(&[command, &both[..if command.len() == 3 { 6 } else { 4 }]].concat());
            assert!(found.headline.contains("cannot stand beside"), "{found:?}");
            assert_eq!(found.help, ["leave one of the two out"], "{found:?}");
        }
    }
}
