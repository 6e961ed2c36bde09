//! `kiln attestor …` as its help shows it. The attestor's own process reads its words itself, since it shares no code
//! with a command; a test compares what is said here with what is read there.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `kiln attestor …`.
#[derive(Debug, Subcommand)]
pub enum AttestorCommand {
    /// Sign for users of this host, each by its role, on a Unix socket; until it is stopped
    #[command(
        long_about = "Sign for users of this host, each by its role, on a Unix socket; until it is stopped.\n\nRuns under a user of its own. `listen` in its attestor.toml says who builds, who orders and who makes keys: docs/signing.md.\nBuilds reach it by `kiln --attestor unix:PATH build --sign --orders FILE`, and it signs only what was ordered."
    )]
    Listen(AttestorListen),
    /// Have orders opened, as the control plane; prints what a build is started with
    #[command(
        long_about = "Have orders opened, as the control plane; prints what a build is started with.\n\nReads JSON objects from standard input, one for each artifact: `asked`, `source` and, where a guarantee may be absent, `waivers` (docs/signing.md). Gives each a nonce and a deadline and prints the orders, one a line, for `kiln build --orders FILE`. An order that no build could answer is refused."
    )]
    Order(AttestorOrder),
    /// What was signed
    #[command(subcommand)]
    Journal(JournalCommand),
    /// What a build starts by itself: answers that process alone, on standard input
    Serve(AttestorServe),
}

/// `kiln attestor listen`.
#[derive(Debug, Args)]
pub struct AttestorListen {
    /// Where its folders are.
    #[command(flatten)]
    pub folders: AttestorServe,
    /// Where to listen, unless a service manager hands over a socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// `kiln attestor order`.
#[derive(Debug, Args)]
pub struct AttestorOrder {
    /// Where the attestor listens
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// The one user whose build may answer
    #[arg(long = "for", value_name = "UID")]
    pub builder: u32,
    /// How long the orders stay open [default: a day; a week at most]
    #[arg(long, value_name = "N")]
    pub seconds: Option<u32>,
}

/// `kiln attestor journal …`.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Check that the log of what was signed hangs together, and tell its head; exit 0 or 4
    Verify(AttestorState),
}

/// `kiln attestor serve`.
#[derive(Debug, Args)]
pub struct AttestorServe {
    /// Its configuration: attestor.toml, trust.toml, the key
    #[arg(long, value_name = "DIR")]
    pub config_dir: PathBuf,
    /// What it keeps.
    #[command(flatten)]
    pub state: AttestorState,
}

/// Where an attestor keeps what it did.
#[derive(Debug, Args)]
pub struct AttestorState {
    /// What it keeps: open orders, the journal, the log of what was signed
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::cli::parse::definitions;

    /// Returns each verb with the flags that its help shows.
    fn shown(command: &clap::Command, path: &str, found: &mut BTreeSet<(String, Vec<String>)>) {
        let mut below = command.get_subcommands().peekable();
        if below.peek().is_none() {
            let arguments = command.get_arguments().filter(|one| !one.is_hide_set());
            let mut flags: Vec<String> = arguments
                .filter_map(|one| one.get_long())
                .map(|flag| format!("--{flag}"))
                .collect();
            flags.retain(|flag| flag != "--help");
            flags.sort();
            found.insert((path.to_owned(), flags));
        }
        for one in below {
            shown(one, format!("{path} {}", one.get_name()).trim(), found);
        }
    }

    #[test]
    fn the_help_of_the_attestor_names_what_its_process_takes() {
        let all = definitions();
        let mut told = BTreeSet::new();
        shown(all.find_subcommand("attestor").unwrap(), "", &mut told);
        let taken = attestor::process::USAGE.lines().skip(1).map(|line| {
            let words: Vec<&str> =
                line.trim().trim_start_matches("kiln attestor ").split(' ').collect();
            let verbs: Vec<&str> = words
                .iter()
                .copied()
                .take_while(|word| word.starts_with(char::is_alphabetic))
                .collect();
            let plain = words.iter().map(|word| word.trim_start_matches('['));
            let mut flags: Vec<String> =
                plain.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
            flags.sort();
            (verbs.join(" "), flags)
        });
        assert_eq!(told, taken.collect());
    }
}
