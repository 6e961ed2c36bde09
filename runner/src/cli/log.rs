//! `kiln log`: output of steps, as it was written.
//!
//! Into a file or pipe it goes byte for byte. On a terminal it is escaped, and so it is inside a CI system
//! unless it goes into a file: what such a system reads from a pipe it may take as a command to itself, and
//! a step chooses what stands in its log. `--raw` escapes nothing. With `--follow` that of a
//! build that runs is shown while it is written, and a finished one at once.

use model::step::StepId;
use model::text;
use serde_json::json;

use super::args::LogArgs;
use super::show::{no_such, of_project};
use super::{Ended, Session};
use crate::diagnostic::{Code, Diagnostic, Exit, nearest, one_of};
use crate::history::{self, Build, StepStory};
use crate::live::{self, Followed};
use crate::refusal;
use crate::report::{self, State};
use crate::store::Store;

/// Largest log that is shown, in bytes: the largest that a step may ask to keep.
const LOG_BYTES_MAX: u64 = 16 << 30;

/// Longest line of a running step that is kept back until it is whole, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Prints the log of the steps picked.
pub fn run(session: &Session, args: &LogArgs) -> Ended {
    let store = session.store()?;
    if args.follow
        && let Some(ended) = follow(session, &store, args)?
    {
        return Ok(ended);
    }
    let builds = of_project(session, &store)?;
    let (build, step) = choose(&args.what, &builds)?;
    let picked: Vec<(&StepId, &StepStory)> = pick(build, step.as_deref())?;
    if session.global.json {
        let logs: Vec<_> = picked.iter().map(|(id, step)| json!({"step": id, "state": step.state, "log": step.log.map(|log| log.digest), "text": read(&store, step).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())})).collect();
        report::document("log", json!({"build": build.id, "steps": logs}));
        return Ok(Exit::Done);
    }
    for (id, step) in &picked {
        if picked.len() > 1 {
            report::line(&format!("== {id}   {}", step.state.word()));
        }
        match read(&store, step) {
            Some(bytes) if escapes(session, args) => report::told(&text::output(&bytes)),
            Some(bytes) => report::raw(&bytes),
            None => report::line(&format!(
                "   no log of {id}: it did not run, or the store no longer has it"
            )),
        }
    }
    Ok(Exit::Done)
}

/// Says whether somebody's terminal or a CI system reads what is printed.
fn escapes(session: &Session, args: &LogArgs) -> bool {
    let context = &session.context;
    !args.raw && (context.terminal_out || (context.in_ci() && !context.file_out))
}

/// Shows what a build of this project that runs now writes, until it ends. Returns none where no such
/// build runs, or where its documents are wanted: then the finished one is shown.
fn follow(
    session: &Session,
    store: &Store,
    args: &LogArgs,
) -> Result<Option<Exit>, Vec<Diagnostic>> {
    let project = session.project()?;
    let running = live::running(store, &history::project_key(&project.folder))
        .map_err(|error| vec![refusal::store(&error)])?;
    let is =
        |followed: &Followed, name: &str| name.len() >= 4 && followed.build().starts_with(name);
    let named = args.what.first().and_then(|name| running.iter().find(|one| is(one, name)));
    let (followed, step) = match (named, args.what.as_slice()) {
        (Some(followed), what) => (followed, what.get(1)),
        // A finished build that is named is shown, whatever runs.
        (None, [_, _, ..]) => return Ok(None),
        (None, [one]) if one.starts_with('^') => return Ok(None),
        (None, what) => match running.first() {
            Some(followed) => (followed, what.first()),
            None => return Ok(None),
        },
    };
    let steps: Vec<String> = followed
        .steps()
        .iter()
        .filter(|id| {
            step.is_none_or(|step| id.as_str() == step || id.split('[').next() == Some(step))
        })
        .cloned()
        .collect();
    // `failed`, `slowest` and what is no step are told once the build is over.
    if steps.is_empty() || session.global.json {
        followed.wait();
        return Ok(None);
    }
    let (many, escapes) = (steps.len() > 1, escapes(session, args));
    let mut line = Vec::new();
    let unseen = followed.follow(
        steps,
        &mut |step| {
            if many {
                report::line(&format!("== {step}"));
            }
        },
        &mut |bytes| {
            if !escapes {
                return report::raw(bytes);
            }
            line.extend_from_slice(bytes);
            report::told(&text::output(&whole_lines(&mut line)));
        },
    );
    report::told(&text::output(&line));
    for step in unseen {
        report::line(&format!("   {step} wrote nothing here: found in the store, or not started"));
    }
    Ok(Some(Exit::Done))
}

/// Takes the whole lines out of what was written, so that no letter and no command is cut in two. A line
/// that is too long to be kept back ends where it is cut.
fn whole_lines(line: &mut Vec<u8>) -> Vec<u8> {
    let end = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if end == 0 && line.len() > LINE_BYTES_MAX {
        line.push(b'\n');
        return std::mem::take(line);
    }
    let rest = line.split_off(end);
    std::mem::replace(line, rest)
}

fn choose<'a>(
    what: &[String],
    builds: &'a [Build],
) -> Result<(&'a Build, Option<String>), Vec<Diagnostic>> {
    let (build, step) = match what {
        [] => ("^0", None),
        [one] if one.starts_with('^') || history::pick(builds, one).is_some() => {
            (one.as_str(), None)
        }
        [one] => ("^0", Some(one.clone())),
        [build, step, ..] => (build.as_str(), Some(step.clone())),
    };
    match history::pick(builds, build) {
        Some(build) => Ok((build, step)),
        None => Err(vec![no_such(build, builds)]),
    }
}

fn pick<'a>(
    build: &'a Build,
    name: Option<&str>,
) -> Result<Vec<(&'a StepId, &'a StepStory)>, Vec<Diagnostic>> {
    let found: Vec<(&StepId, &StepStory)> = match name {
        None => build.steps.iter().collect(),
        Some("failed") => build
            .steps
            .iter()
            .filter(|(_, step)| matches!(step.state, State::Failed | State::Error))
            .collect(),
        Some("slowest") => {
            build.steps.iter().max_by_key(|(_, step)| step.wall_ms).into_iter().collect()
        }
        Some(name) => build
            .steps
            .iter()
            .filter(|(id, _)| id.to_string() == name || id.name.as_str() == name)
            .collect(),
    };
    match (found.is_empty(), name) {
        (true, Some("failed")) => Err(vec![
            Diagnostic::new(Code::NoSuchBuild, format!("no step of build {} failed", build.id))
                .help("see what became of its steps:  kiln show")
                .help("or name an earlier build:  kiln log ^1 failed"),
        ]),
        (true, Some(name)) => {
            let names: Vec<String> = build.steps.keys().map(StepId::to_string).collect();
            let near = nearest(name, names.iter().map(String::as_str));
            let diagnostic = Diagnostic::new(
                Code::NoSuchBuild,
                format!("build {} has no step `{}`", build.id, text::escape(name.as_bytes())),
            )
            .expected(one_of(names.iter().map(String::as_str)));
            Err(vec![match near.first() {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => {
                    diagnostic.help("name one of them, or a build and a step:  kiln log ^1 STEP")
                }
            }])
        }
        _ => Ok(found),
    }
}

fn read(store: &Store, step: &StepStory) -> Option<Vec<u8>> {
    step.log.and_then(|log| store.read(&log.digest, LOG_BYTES_MAX).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_is_cut_in_two_and_no_line_kept_for_ever() {
        let mut line = b"one\n##".to_vec();
        assert_eq!(whole_lines(&mut line), b"one\n");
        line.extend(b"[error]x\n");
        assert_eq!(whole_lines(&mut line), b"##[error]x\n");
        line.extend(vec![b'#'; LINE_BYTES_MAX + 1]);
        assert!(whole_lines(&mut line).ends_with(b"#\n") && line.is_empty());
    }
}
