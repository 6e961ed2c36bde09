//! `kiln lock`: turn every moving reference into a digest.

use serde_json::json;

use super::args::LockArgs;
use super::{Ended, Session, lasting};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::lock;
use crate::manifest::Manifest;
use crate::pipeline;
use crate::project::LOCK_FILE;
use crate::report::{self, Talk};

/// Writes the lock, or checks it.
pub fn run(session: &Session, args: &LockArgs) -> Ended {
    let project = session.project()?;
    let manifest = pipeline::read_manifest(&project)?;
    pipeline::present(&project, &manifest)?;
    let old = match project.lock.as_deref().map(|bytes| lock::parse(bytes, LOCK_FILE)) {
        None => None,
        Some(Ok(old)) => Some(old),
        // One that cannot be read is written anew, unless it was only to be checked, or comes from a
        // newer kiln, which knows more.
        Some(Err(bad)) if !args.check && bad.code == Code::LockMalformed => None,
        Some(Err(bad)) => return Err(vec![*bad]),
    };
    named(&manifest, args.upgrade.as_deref())?;
    let stale = match &old {
        Some(old) => lock::check(old, &manifest, LOCK_FILE).map_err(|diagnostic| *diagnostic),
        None => Err(lock::absent(LOCK_FILE)),
    };
    if args.check {
        if session.global.json {
            report::document("lock-check", json!({"stale": stale.is_err()}));
        }
        return stale.map(|()| Exit::Done).map_err(|diagnostic| vec![diagnostic]);
    }
    let mut talk = Talk::new(&session.global, &session.context);
    let new = pipeline::lock(
        session,
        &project,
        &manifest,
        old.as_ref(),
        args.upgrade.as_deref(),
        &mut talk,
    )?;
    let text = new.to_text();
    let changed = old.as_ref().is_none_or(|old| old.to_text() != text);
    if changed {
        lasting::write(&project.folder, LOCK_FILE, text.as_bytes())?;
    }
    if session.global.json {
        report::document("lock", new.to_json());
    } else {
        talk.say(&if changed {
            format!(" wrote {LOCK_FILE}")
        } else {
            format!(" {LOCK_FILE} is up to date")
        });
    }
    Ok(Exit::Done)
}

/// Refuses an `--upgrade` of something that has no pins.
fn named(manifest: &Manifest, upgrade: Option<&str>) -> Result<(), Vec<Diagnostic>> {
    let pinned: Vec<String> =
        lock::required(manifest).iter().map(|used_by| used_by.name().to_string()).collect();
    match upgrade.filter(|name| !name.is_empty() && !pinned.iter().any(|pinned| pinned == name)) {
        None => Ok(()),
        Some(name) => Err(vec![
            super::wrong_usage(format!(
                "`{}` has no pins to move",
                model::text::escape(name.as_bytes())
            ))
            .expected(if pinned.is_empty() {
                "nothing: no environment has `pin: true`".to_owned()
            } else {
                pinned.join(", ")
            })
            .help("leave NAME out to move all pins, or write `pin: true` into the environment"),
        ]),
    }
}
