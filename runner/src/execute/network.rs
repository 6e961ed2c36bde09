//! What a person reads of a step that wanted a network: who wanted what, and which input would serve.
//!
//! The guess rests on the name of the process and of what it was told to do, and on the port; never on
//! the host, since kiln names no registry. It is worded as a guess.
//!
//! Pure. Does not catch: a download by a program of another name.

use model::step::{Epoch, Step, StepMount, WORK_FOLDER};
use model::text::unescape;
use sandbox::{NetworkAttempt, Protocol};

use crate::diagnostic::{Code, Diagnostic};

/// Most attempts that one message shows.
const SHOWN_MAX: usize = 5;
/// Most mounts of the step that the advice repeats.
const MOUNTS_MAX: usize = 4;
/// Words of a command line that may name a tool: an interpreter, its option, the tool.
const WORDS_MAX: usize = 3;

/// What would serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    /// A source: its name, and what it is.
    Source(&'static str, &'static str),
    /// A package of the environment.
    Environment,
}

/// Programs that fetch: their names, what they fetch, what serves instead.
const TOOLS: [(&[&str], &str, Serves); 7] = [
    (&["cargo", "rustup"], "a crate download", Serves::Source("crates", "{lockfile: Cargo.lock}")),
    (
        &["npm", "npm-cli.js", "npx", "pnpm", "pnpm.cjs", "yarn", "yarn.js"],
        "an npm package download",
        Serves::Source("packages", "{lockfile: package-lock.json}"),
    ),
    (
        &["pip", "pip3", "poetry", "uv"],
        "a Python package download",
        Serves::Source("wheels", "{lockfile: requirements.txt}"),
    ),
    (&["go"], "a Go module download", Serves::Source("modules", "{lockfile: go.sum}")),
    (&["apt", "apt-get", "aptitude"], "a Debian package download", Serves::Environment),
    (
        &["git", "git-remote-http", "git-remote-https"],
        "a git fetch",
        Serves::Source("repository", "{git: URL, ref: TAG}"),
    ),
    (&["aria2c", "curl", "wget"], "a download", Serves::Source("file", "{url: URL}")),
];
/// The port of git's own protocol (git-daemon(1)): a fetch, whoever makes it.
const GIT_PORT: u16 = 9418;

/// Returns the message of a step that wanted a network and then failed `how`.
pub fn wanted(step: &Step, attempts: &[NetworkAttempt], how: &str) -> Diagnostic {
    let mut diagnostic = Diagnostic::new(
        Code::NetworkAttempted,
        format!("step `{}` tried to reach the network", step.id),
    )
    .expected("all inputs present before the step starts")
    .got(format!("{}; then {how}", told(attempts)));
    match attempts.iter().find_map(guess) {
        Some((what, Serves::Source(name, source))) => {
            diagnostic = diagnostic
                .why(format!("it looks like {what}, and the network is off in every step"))
                .help(format!(
                    "keep a copy in the project; under `sources`:   {name}: {{local: {name}}}\n\
                     and in the step:       mount: {}",
                    mounts(step, name)
                ))
                .help(format!("kiln will fetch it, but cannot yet:   {name}: {source}"));
        }
        Some((what, Serves::Environment)) => {
            diagnostic = diagnostic
                .why(format!("it looks like {what}, and the network is off in every step"))
                .help("name the package under `environment`:   host: {packages: [NAME]}");
        }
        None => {
            diagnostic = diagnostic
                .why("the network is off in every step")
                .help("bring what it wanted in as a source, or into the environment");
        }
    }
    diagnostic.help(format!("whole log:  kiln log ^0 {}", step.id))
}

/// Says who wanted what, in the order in which they are recorded.
pub fn told(attempts: &[NetworkAttempt]) -> String {
    let mut words: Vec<String> = attempts.iter().take(SHOWN_MAX).map(one).collect();
    if attempts.len() > SHOWN_MAX {
        words.push(format!("{} more", attempts.len() - SHOWN_MAX));
    }
    words.join(", ")
}

fn one(attempt: &NetworkAttempt) -> String {
    // The sandbox tells it escaped; a diagnostic holds true values, and is escaped when it is rendered.
    let place =
        NetworkAttempt { process: String::new(), host: unescape(&attempt.host), ..attempt.clone() };
    let what = match (attempt.port, attempt.protocol) {
        (None, _) => "a look-up of",
        (Some(_), None) => "a connection to",
        (Some(_), Some(Protocol::Tcp)) => "a TCP connection to",
        (Some(_), Some(Protocol::Udp)) => "a UDP message to",
    };
    match unescape(&attempt.process).as_str() {
        "" => format!("{what} {place}"),
        process => format!("{what} {place} by process `{process}`"),
    }
}

fn guess(attempt: &NetworkAttempt) -> Option<(&'static str, Serves)> {
    let own = attempt.process.split_whitespace().next().unwrap_or_default();
    let words = attempt.command.split_whitespace().take(WORDS_MAX);
    let words: Vec<&str> = std::iter::once(own)
        .chain(words.map(|word| word.rsplit('/').next().unwrap_or_default()))
        .collect();
    // Apt's own fetchers are called after the protocol.
    let apt = attempt.command.contains("/apt/methods/");
    let named = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let is = |names: &[&str]| {
        named(names)
            || (apt && names.contains(&"apt"))
            || (attempt.port == Some(GIT_PORT) && names.contains(&"git"))
    };
    TOOLS.iter().find(|(names, _, _)| is(names)).map(|(_, what, serves)| (*what, *serves))
}

/// Returns the step's mounts as the build file would have them with one more.
fn mounts(step: &Step, name: &str) -> String {
    let place = |mount: &StepMount| {
        let at = mount.at.to_string();
        match at.strip_prefix(WORK_FOLDER).map(|rest| rest.trim_start_matches('/')) {
            Some("") => ".".to_owned(),
            Some(rest) => rest.to_owned(),
            None => at,
        }
    };
    let sources = step.mounts.iter().filter(|mount| mount.epoch == Epoch::Source);
    let mut all: Vec<String> = sources
        .take(MOUNTS_MAX)
        .map(|mount| format!("{}: {}", mount.label, place(mount)))
        .collect();
    all.push(format!("{name}: .{name}"));
    format!("{{{}}}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(host: &str, port: Option<u16>, process: &str, command: &str) -> NetworkAttempt {
        NetworkAttempt {
            host: host.to_owned(),
            port,
            protocol: None,
            process: process.to_owned(),
            command: command.to_owned(),
        }
    }

    #[test]
    fn the_tool_says_which_input_would_serve() {
        for (port, process, command, want) in [
            (None, "cargo", "cargo build --release", Some("crates")),
            (None, "npm ci", "npm ci", Some("packages")),
            (None, "node", "node /usr/share/nodejs/npm/bin/npm-cli.js ci", Some("packages")),
            (None, "pip", "/usr/bin/python3 /usr/bin/pip install x", Some("wheels")),
            (None, "python3", "python3 -m pip install", Some("wheels")),
            (None, "go", "go build ./...", Some("modules")),
            (
                None,
                "git-remote-http",
                "/usr/lib/git-core/git-remote-https origin",
                Some("repository"),
            ),
            (Some(9418), "fetcher", "fetcher", Some("repository")),
            (Some(443), "curl", "curl -fsSL x", Some("file")),
            (Some(443), "wget", "wget x", Some("file")),
            (Some(443), "a.out", "./a.out", None),
            (None, "", "", None),
            (None, "sh", "sh -e script", None),
        ] {
            let got = guess(&attempt("h.example", port, process, command));
            let name = got.map(|(_, serves)| match serves {
                Serves::Source(name, _) => name,
                Serves::Environment => "environment",
            });
            assert_eq!(name, want, "{process} {command}");
        }
        for (process, command) in
            [("apt-get", "apt-get update"), ("http", "/usr/lib/apt/methods/http")]
        {
            let got = guess(&attempt("h.example", None, process, command));
            assert_eq!(got.map(|(_, serves)| serves), Some(Serves::Environment));
        }
    }

    #[test]
    fn attempts_are_told_shortly() {
        let many: Vec<NetworkAttempt> =
            (1..=7).map(|n| attempt(&format!("192.0.2.{n}"), Some(80), "curl", "curl")).collect();
        assert_eq!(
            told(&many),
            "a connection to 192.0.2.1:80 by process `curl`, a connection to 192.0.2.2:80 by process \
             `curl`, a connection to 192.0.2.3:80 by process `curl`, a connection to 192.0.2.4:80 by \
             process `curl`, a connection to 192.0.2.5:80 by process `curl`, 2 more"
        );
        assert_eq!(
            told(&[
                attempt("a.example", None, "", ""),
                attempt("2001:db8::1", Some(443), "curl", ""),
                NetworkAttempt {
                    protocol: Some(Protocol::Tcp),
                    ..attempt("192.0.2.1", Some(80), "a", "")
                },
                NetworkAttempt {
                    protocol: Some(Protocol::Udp),
                    ..attempt("192.0.2.1", Some(53), "a", "")
                },
            ]),
            "a look-up of a.example, a connection to [2001:db8::1]:443 by process `curl`, \
             a TCP connection to 192.0.2.1:80 by process `a`, a UDP message to 192.0.2.1:53 by process `a`"
        );
    }
}
