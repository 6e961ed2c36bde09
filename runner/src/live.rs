//! What a running build lets others read: which it is, and what its steps have written so far.
//!
//! It lies in the temporary folder of the build's own run of the store, is removed with it, and after
//! a kill by whoever opens the store next; nothing of it lasts. The lasting log is the blob that a
//! step leaves at its end.
//!
//! ```text
//! tmp/RUN/            locked by the build while it runs
//! ├── live            which build of which project, and its steps in the order of the plan
//! └── log-HEX         what one step has written; locked while it runs; HEX is the digest of its id
//! ```
//!
//! A reader asks the locks whether the writer still lives, never a process id. A log that cannot be
//! written is given up in silence: it is a convenience, and the step's own log is elsewhere.
//!
//! Source: flock(2).

use std::io::{Read, Write};
use std::sync::OnceLock;
use std::time::Duration;

use model::Digest;
use model::step::StepId;
use serde::{Deserialize, Serialize};

use crate::store::{self, OtherRun, RunFile, Store};

/// The name of the file that says which build this is.
const LIVE: &str = "live";
/// Largest such file, in bytes: some 100,000 steps.
const LIVE_BYTES_MAX: u64 = 16 << 20;
/// How often a reader looks for more.
const POLL: Duration = Duration::from_millis(100);
/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A build that runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Running {
    build: String,
    project: Digest,
    steps: Vec<String>,
}

/// The writing side of one step.
#[derive(Debug)]
pub struct LiveLog<'s> {
    store: &'s Store,
    name: String,
    file: OnceLock<Option<RunFile>>,
}

/// The reading side of a build of this project that runs.
#[derive(Debug)]
pub struct Followed {
    run: OtherRun,
    running: Running,
}

/// Says which build runs here, with its steps in the order of the plan.
///
/// # Errors
/// As the store.
pub fn announce(
    store: &Store,
    build: &str,
    project: Digest,
    steps: &[&StepId],
) -> Result<(), store::Error> {
    let steps = steps.iter().map(|id| id.to_string()).collect();
    let running = Running { build: build.to_owned(), project, steps };
    let bytes = serde_json::to_vec(&running).map_err(store::Error::Encode)?;
    store.write_run_file(LIVE, &bytes)
}

impl<'s> LiveLog<'s> {
    /// Prepares the log of a step. Nothing is made before the step writes something.
    pub fn new(store: &'s Store, step: &StepId) -> LiveLog<'s> {
        LiveLog { store, name: file_name(&step.to_string()), file: OnceLock::new() }
    }

    /// Makes the log, so that a reader sees that the step runs.
    pub fn start(&self) -> Option<&RunFile> {
        let made = self.file.get_or_init(|| match self.store.make_run_file(&self.name) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::debug!(%error, "what this step writes cannot be followed");
                None
            }
        });
        made.as_ref()
    }

    /// Adds what the step wrote.
    pub fn write(&self, bytes: &[u8]) {
        if let Some(file) = self.start()
            && let Err(error) = file.as_file().write_all(bytes)
        {
            tracing::debug!(%error, "what this step writes cannot be followed whole");
        }
    }
}

/// Returns the builds of a project that run now.
///
/// # Errors
/// As the store.
pub fn running(store: &Store, project: &Digest) -> Result<Vec<Followed>, store::Error> {
    let mut found = Vec::new();
    for run in store.other_runs()? {
        let Some(file) = run.open(LIVE) else { continue };
        let mut bytes = Vec::new();
        if file.take(LIVE_BYTES_MAX).read_to_end(&mut bytes).is_err() {
            continue;
        }
        match serde_json::from_slice::<Running>(&bytes) {
            Ok(running) if running.project == *project && !run.is_over() => {
                found.push(Followed { run, running });
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(found)
}

impl Followed {
    /// Returns the build's id.
    pub fn build(&self) -> &str {
        &self.running.build
    }

    /// Returns the build's steps, in the order of the plan.
    pub fn steps(&self) -> &[String] {
        &self.running.steps
    }

    /// Waits until the build is over.
    pub fn wait(&self) {
        while !self.run.is_over() {
            std::thread::sleep(POLL);
        }
    }

    /// Hands out what these steps write, one step after the other as they begin, until all of them or
    /// the build are over. Returns the steps that were not seen.
    pub fn follow(
        &self,
        mut steps: Vec<String>,
        begin: &mut dyn FnMut(&str),
        show: &mut dyn FnMut(&[u8]),
    ) -> Vec<String> {
        while !steps.is_empty() {
            // Asked first: what was written before the end is there afterwards.
            let over = self.run.is_over();
            let mut there = steps.iter().enumerate();
            match there.find_map(|(at, step)| Some((at, self.run.open(&file_name(step))?))) {
                Some((at, mut file)) => {
                    begin(&steps.remove(at));
                    stream(&mut file, show);
                }
                None if over => break,
                None => std::thread::sleep(POLL),
            }
        }
        steps
    }
}

/// Hands out a file until its writer is gone and its end is reached.
fn stream(file: &mut std::fs::File, show: &mut dyn FnMut(&[u8])) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let over = store::is_free(&*file);
        loop {
            match file.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => show(&piece[..count]),
            }
        }
        if over {
            return;
        }
        std::thread::sleep(POLL);
    }
}

fn file_name(step: &str) -> String {
    format!("log-{}", Digest::of(step.as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_a_step_writes_is_seen_while_it_runs_and_nothing_is_left() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("store");
        let (project, other) = (Digest::of(b"project"), Digest::of(b"other"));
        let writer = store::open(&path).unwrap();
        let reader = store::open(&path).unwrap();
        let steps = ["one", "two"].map(|name| StepId::parse(name).unwrap());
        let steps: Vec<&StepId> = steps.iter().collect();
        announce(&writer, "0123456789", project, &steps).unwrap();
        assert!(running(&reader, &other).unwrap().is_empty());
        let found = running(&reader, &project).unwrap();
        assert_eq!(
            (found[0].build(), found[0].steps().join(" ").as_str()),
            ("0123456789", "one two")
        );
        let (say, heard) = channel();
        std::thread::scope(|scope| {
            let steps = found[0].steps().to_vec();
            let follower = scope.spawn(move || {
                let begun = say.clone();
                found[0].follow(
                    steps,
                    &mut |step| begun.send(step.as_bytes().to_vec()).unwrap(),
                    &mut |bytes| say.send(bytes.to_vec()).unwrap(),
                )
            });
            let log = LiveLog::new(&writer, &StepId::parse("one").unwrap());
            // Each word is heard before the next is written.
            for word in [&b"first \xff"[..], b"\x1b[2J"] {
                log.write(word);
                if word.starts_with(b"first") {
                    assert_eq!(heard.recv().unwrap(), b"one");
                }
                assert_eq!(heard.recv().unwrap(), word);
            }
            drop(log);
            drop(writer);
            assert_eq!(follower.join().unwrap(), ["two"]);
        });
        assert!(running(&reader, &project).unwrap().is_empty());
        assert_eq!(reader.info().unwrap().runs, 1);
    }

    #[test]
    fn a_killed_build_is_no_running_one() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("store");
        let project = Digest::of(b"project");
        let reader = store::open(&path).unwrap();
        // What a killed build leaves: its folder, whose lock nobody holds.
        let left = path.join("tmp/999999-0");
        std::fs::create_dir(&left).unwrap();
        let text = format!("{{\"build\":\"0123456789\",\"project\":\"{project}\",\"steps\":[]}}");
        persist(&left, &text);
        assert!(running(&reader, &project).unwrap().is_empty());
        // And what somebody planted: not ours to read.
        let living = store::open(&path).unwrap();
        living.write_run_file(LIVE, b"not JSON").unwrap();
        assert!(running(&reader, &project).unwrap().is_empty());
    }

    #[expect(clippy::disallowed_methods, reason = "a test plants a file")]
    fn persist(folder: &std::path::Path, text: &str) {
        std::fs::write(folder.join(LIVE), text).unwrap();
    }
}
