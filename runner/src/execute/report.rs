//! The reports of a test, read for the summary.
//!
//! A test that passed left its report as a captured file, one that failed in its writable places: that
//! is when a person wants it most, so it is captured too, under the same guards and a cap of its own.
//!
//! A report that cannot be read is a note and no error: the exit status of the test has decided, and
//! the file is in the Record by digest whatever it holds.

use std::os::fd::AsFd;

use model::limits::Bytes;
use model::record::OutputRecord;
use model::relpath::RelPath;
use model::step::{OutputKind, Step};
use model::text;
use sandbox::{Cancel, Outcome};

use super::capture::{self, Caps, Taking};
use super::{StepResult, local};
use crate::junit::{self, Cases};
use crate::report::Event;
use crate::store::Store;

/// Returns what the report of a test that passed says, and a note where it says nothing.
pub fn of_result(store: &Store, step: &Step, result: &StepResult) -> (Option<Cases>, Vec<Event>) {
    let Some((path, OutputRecord::File { blob, .. })) =
        path(step).and_then(|path| Some((path, result.outputs.get(path)?)))
    else {
        return (None, Vec::new());
    };
    read(store, step, path, &blob.digest)
}

/// Returns what the report of a test that failed says. One that is absent then is not missed.
pub fn of_failed(
    store: &Store,
    cancel: &Cancel,
    step: &Step,
    outcome: &Outcome,
) -> (Option<Cases>, Vec<Event>) {
    let caps = Caps { logical: Bytes(junit::BYTES_MAX), ..Caps::default() };
    let captured = path(step).and_then(|path| {
        let (view, rest) = local::place_of(outcome, path)?;
        let taking = Taking::begin(store, cancel, caps);
        let found = capture::capture(&taking, view.dir.as_fd(), &rest, OutputKind::File).ok()?;
        match found.node {
            OutputRecord::File { blob, .. } => Some((path, blob.digest)),
            OutputRecord::Tree(_) => None,
        }
    });
    match captured {
        Some((path, digest)) => read(store, step, path, &digest),
        None => (None, Vec::new()),
    }
}

fn path(step: &Step) -> Option<&RelPath> {
    step.reports.iter().find(|(kind, _)| kind.as_str() == "junit").map(|(_, path)| path)
}

fn read(
    store: &Store,
    step: &Step,
    path: &RelPath,
    digest: &model::Digest,
) -> (Option<Cases>, Vec<Event>) {
    let id = &step.id;
    let shown = text::escape(path.as_str().as_bytes());
    let unread = |why: String| {
        let note = format!("test {id}: its report {shown} is kept and not read: {why}");
        (None, vec![Event::Note(note)])
    };
    let bytes = match store.read(digest, junit::BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => return unread(error.to_string()),
    };
    match junit::read(&bytes) {
        Err(error) => unread(error.to_string()),
        Ok(cases) => {
            let name = |name: &String| text::escape(name.as_bytes());
            let mut notes: Vec<Event> = cases
                .not_passed
                .iter()
                .map(|case| Event::Note(format!("test {id}: {} did not pass", name(case))))
                .collect();
            if cases.unnamed() > 0 {
                notes
                    .push(Event::Note(format!("test {id}: {} more did not pass", cases.unnamed())));
            }
            (Some(cases), notes)
        }
    }
}
