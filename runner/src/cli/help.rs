//! `kiln help`: commands and topics.

use super::args::HelpArgs;
use super::parse::definitions;
use super::{Ended, Session, answer, stop};
use crate::claims;
use crate::diagnostic::Exit;
use crate::report::State;

/// Width of the page.
const COLUMNS: usize = 80;

const TOPICS: [&str; 4] = ["environment", "exit-codes", "hermeticity", "states"];

/// Prints help on a command or topic.
pub fn run(session: &Session, args: &HelpArgs) -> Ended {
    let topic: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    let text = match topic.as_slice() {
        ["exit-codes"] => exit_codes(),
        ["states"] => states(),
        ["environment"] => environment(),
        ["hermeticity"] => HERMETICITY.to_owned(),
        path => match of_command(path) {
            Some(text) => text,
            None => {
                return stop(
                    super::wrong_usage(format!(
                        "no help on `{}`",
                        model::text::escape(path.join(" ").as_bytes())
                    ))
                    .expected(format!("a command, or one of {}", TOPICS.join(", ")))
                    .help("see the commands:  kiln --help"),
                );
            }
        },
    };
    answer(session, "help", text.as_bytes());
    Ok(Exit::Done)
}

fn of_command(path: &[&str]) -> Option<String> {
    let mut command = definitions();
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name)?;
    }
    Some(found.render_long_help().to_string())
}

/// Returns the text about variables. What CI systems set and what an attestor takes stands as it is read.
fn environment() -> String {
    let mut out = ENVIRONMENT.to_owned();
    let claims: Vec<&str> = claims::variables().into_iter().collect();
    let told = [("what a CI system says of its job; recorded as that", claims)];
    for (what, names) in told.into_iter().chain(attestor::process::known_variables()) {
        let mut line = String::from(" ");
        for (index, name) in names.iter().enumerate() {
            let comma = if index + 1 < names.len() { "," } else { "" };
            if line.len() + name.len() + 2 > COLUMNS {
                out.push_str(&line);
                out.push('\n');
                line = String::from(" ");
            }
            line.push_str(&format!(" {name}{comma}"));
        }
        out.push_str(&format!("{line}\n                  {what}\n"));
    }
    out + STEP
}

fn exit_codes() -> String {
    let mut out = String::from(
        "Exit codes. With several failures: 70, 130, 7, 5, 6, 3, 8, 4, 1, in this order.\n\n",
    );
    for exit in Exit::ALL {
        out.push_str(&format!("  {:>3}   {}\n", exit.number(), exit.meaning()));
    }
    out
}

fn states() -> String {
    let mut out = String::from("States of a step.\n\n");
    for state in State::ALL {
        out.push_str(&format!(
            "  {}  {}  {:<10} {}\n",
            state.mark(true),
            state.mark(false),
            state.word(),
            state.meaning()
        ));
    }
    out
}

const ENVIRONMENT: &str = "\
Variables that kiln reads. A flag goes before a variable. None of them enters a step.

  KILN_STORE      content store                    --store
  KILN_JSON       one JSON document on stdout      --json
  KILN_QUIET      errors only                      --quiet
  KILN_VERBOSE    output of all steps              --verbose
  KILN_COLOR      auto, always, never              --color
  KILN_PROGRESS   auto, tty, plain, json, none     --progress
  KILN_OFFLINE    nothing is fetched               --offline
  KILN_LOCKED     fail if the lock would change    --locked
  KILN_JOBS       steps at once                    --jobs
  KILN_ATTESTOR   the attestor that listens        --attestor
  KILN_ORDERS     what was ordered of it           --orders
  XDG_CONFIG_HOME, XDG_CACHE_HOME, XDG_STATE_HOME, HOME
                  where configuration, store and the attestor's journal lie
  CI, NO_COLOR, CLICOLOR_FORCE, TERM, LC_ALL, LC_CTYPE, LANG
                  how progress is shown
  DOCKER_HOST, XDG_RUNTIME_DIR
                  where a container engine may listen
  RUSTUP_HOME     where  kiln init  looks for a Rust toolchain
";

const STEP: &str = "
Of what the attestor may be handed it gets only what its configuration needs.

A step starts with exactly PATH, HOME=/build, TMPDIR=/tmp, LANG=C.UTF-8, TZ=UTC,
SOURCE_DATE_EPOCH, PYTHONDONTWRITEBYTECODE=1, and what its `env` says.
";

const HERMETICITY: &str = "\
What a step sees.

  its environment   read-only; every file hashed, every package named in the provenance
  its sources       in /build, as private views: what it writes there nobody else sees
  earlier outputs   where `from` puts them, in the same way
  /tmp, /dev/shm    empty, gone afterwards
  /dev              null zero full random urandom
  /proc             its own processes; kernel internals masked
  network           a loopback of its own and nothing else; look-ups are refused at once and reported
  user              1000:1000 without capabilities, host name localhost

What it cannot be kept from seeing: the number and kind of processors, the size of memory, the
kernel's release, the wall clock, inode numbers. docs/threat-model.md lists them.
";
