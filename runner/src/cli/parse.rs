//! From the words of the command line to [`Cli`].
//!
//! The definitions of all commands take longer to make than most commands take to run. So where the first word
//! is a command that scripts call again and again, its definition is made alone. What that one does not accept,
//! and every other line, is read by all of them: they have the words for what is wrong, and for help.

use std::ffi::OsString;

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser};

use crate::sign::ATTESTOR;

use super::args::{AttestArgs, BuildArgs, Cli, Global, InspectArgs, RunArgs, VerifyArgs};

/// Reads the command line; the first word is the program's name.
///
/// # Errors
/// What is wrong with it, or the help that it asks for.
pub fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    match alone(words) {
        Some(cli) => Ok(cli),
        None if words.get(1).is_some_and(|first| first == ATTESTOR) => {
            Cli::from_arg_matches(&definitions().try_get_matches_from(words)?)
        }
        None => Cli::try_parse_from(words),
    }
}

/// Returns the definitions of all commands, as they are shown: the attestor has none of the flags that every
/// command takes.
pub fn definitions() -> Command {
    let mut all = Cli::command();
    all.build();
    all.mut_subcommand(ATTESTOR, without_global)
}

fn without_global(command: Command) -> Command {
    let below: Vec<String> =
        command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    let own = command.mut_args(|one| if one.is_global_set() { one.hide(true) } else { one });
    below.iter().fold(own, |command, name| command.mut_subcommand(name, without_global))
}

/// Reads a line by the definition of its command alone; none where that is not one of these, or does not accept it.
fn alone(words: &[OsString]) -> Option<Cli> {
    let command = match words.get(1)?.to_str()? {
        "attest" => AttestArgs::augment_args(Command::new("attest")),
        "build" => BuildArgs::augment_args(Command::new("build")),
        "inspect" => InspectArgs::augment_args(Command::new("inspect")),
        "run" => RunArgs::augment_args(Command::new("run")),
        "verify" => VerifyArgs::augment_args(Command::new("verify")),
        _ => return None,
    };
    let whole = Global::augment_args(Command::new("kiln")).subcommand(command);
    let matches = whole.try_get_matches_from(words).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_command_read_alone_says_what_all_definitions_say() {
        for line in [
            "kiln attest f --predicate p --type https://example.org/t",
            "kiln build",
            "kiln build a b --sign -o out --attest scai,link -qq --json -C elsewhere --backend docker",
            "kiln build -j 3 --offline --matrix a=b --matrix c=d --no-cache --color never",
            "kiln inspect hello",
            "kiln run --input a --output b/ --env K=V -- sh -c verify",
            "kiln verify build",
            "kiln verify hello --key k -v --bundle one --bundle two",
            "kiln verify hello --identity i --issuer https://u --trusted-root r --level L2 --explain",
        ] {
            let one = alone(&words(line));
            let all = Cli::try_parse_from(words(line)).unwrap();
            assert_eq!(one.map(|cli| format!("{cli:?}")), Some(format!("{all:?}")), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_or_asks_for_help_is_told_by_all_definitions() {
        for line in [
            "kiln",
            "kiln buidl",
            "kiln build --sgin",
            "kiln build --sign --no-sign",
            "kiln build --help",
            "kiln build -h",
            "kiln build --jobs 0",
            "kiln inspect",
            "kiln verify",
            "kiln verify --version",
            "kiln verify f --identity i",
        ] {
            let told = |found: Result<Cli, clap::Error>| found.unwrap_err().render().to_string();
            let all = told(Cli::try_parse_from(words(line)));
            assert!(alone(&words(line)).is_none(), "{line}");
            assert_eq!(told(parse(&words(line))), all, "{line}");
        }
    }
}
