//! `kiln show`: one build, or what is known of a file or digest.

use model::digest::Digest;
use serde_json::json;

use super::args::ShowArgs;
use super::{Ended, Session, stop};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::history::{self, Build};
use crate::report::{self, seconds};
use crate::store::{Store, hash_file};

/// Shows the last build of this project, the named one, or the builds that made a file.
pub fn run(session: &Session, args: &ShowArgs) -> Ended {
    let store = session.store()?;
    let builds = of_project(session, &store)?;
    let name = args.what.as_deref().unwrap_or("^0");
    if let Some(build) = history::pick(&builds, name) {
        return show_build(session, build);
    }
    match digest_of(session, &builds, name) {
        Some(digest) => show_digest(session, &builds, digest),
        None => stop(no_such(name, &builds)),
    }
}

/// Returns the builds of the current project, newest first.
pub(super) fn of_project(session: &Session, store: &Store) -> Result<Vec<Build>, Vec<Diagnostic>> {
    let folder = crate::project::find(&session.context.folder)
        .map_or_else(|_| session.context.folder.clone(), |project| project.folder);
    history::builds(store, &history::project_key(&folder))
        .map_err(|error| vec![crate::refusal::store(&error)])
}

/// Says that a build is not there, and which are.
pub(super) fn no_such(name: &str, builds: &[Build]) -> Diagnostic {
    let ids: Vec<String> =
        builds.iter().take(5).map(|build| build.id.chars().take(12).collect()).collect();
    let known = if ids.is_empty() {
        "none yet in this project".to_owned()
    } else {
        format!("^0 to ^{}: {}", builds.len() - 1, ids.join(", "))
    };
    let told = Diagnostic::new(
        Code::NoSuchBuild,
        format!("no build, file or digest `{}`", model::text::escape(name.as_bytes())),
    )
    .expected(known);
    if builds.is_empty() {
        return told.help("make one:  kiln build");
    }
    told.help("name one of them, by offset or by the first letters of its id:  kiln show ^0")
}

fn digest_of(session: &Session, builds: &[Build], name: &str) -> Option<Digest> {
    // The short form of tables: at least 12 hex digits of something that these builds made.
    let short = name.strip_prefix("sha256:").unwrap_or(name);
    let made =
        || builds.iter().flat_map(|build| &build.artifacts).map(|artifact| artifact.blob.digest);
    if short.len() >= 12
        && let Some(found) = made().find(|digest| digest.hex().starts_with(short))
    {
        return Some(found);
    }
    if let Ok(digest) = name.parse().or_else(|_| Digest::from_hex(name)) {
        return Some(digest);
    }
    let file = std::fs::File::open(session.context.folder.join(name)).ok()?;
    hash_file(&file, &mut |_| ()).ok().map(|blob| blob.digest)
}

fn show_digest(session: &Session, builds: &[Build], digest: Digest) -> Ended {
    let made: Vec<&Build> = builds
        .iter()
        .filter(|build| build.artifacts.iter().any(|artifact| artifact.blob.digest == digest))
        .collect();
    if session.global.json {
        let ids: Vec<&str> = made.iter().map(|build| build.id.as_str()).collect();
        report::document("digest", json!({"digest": digest, "built_by": ids}));
        return Ok(Exit::Done);
    }
    match made.first() {
        Some(build) => {
            report::data(&format!(
                "{digest}\nbuilt by {} build(s) of this project, last:\n\n",
                made.len()
            ));
            show_build(session, build)
        }
        None => {
            report::data(&format!("{digest}\nno build of this project made it\n"));
            Ok(Exit::Done)
        }
    }
}

fn show_build(session: &Session, build: &Build) -> Ended {
    if session.global.json {
        report::document("build", json!({ "build": build }));
        return Ok(Exit::Done);
    }
    let time =
        |at: i64| jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default();
    let mut out = format!(
        "build {}\nproject  {}\nstate    {}\nstarted  {}\nfinished {}\n",
        build.id,
        build.project,
        build.state.word(),
        time(build.started),
        time(build.finished)
    );
    if let Some(record) = build.records.first() {
        let source = &record.order.source;
        let commit = source.commit.as_ref().map_or("none", |commit| commit.as_str());
        out.push_str(&format!(
            "source   {} commit {commit}{}\n",
            source.uri,
            if source.dirty { " (dirty)" } else { "" }
        ));
    }
    out.push_str("\nsteps\n");
    for (id, step) in &build.steps {
        let more = step
            .detail
            .as_deref()
            .map(|detail| format!("   {}", model::text::escape(detail.as_bytes())))
            .unwrap_or_default();
        out.push_str(&format!(
            " {} {id}   {}   {}{more}\n",
            step.state.mark(session.style.utf8),
            step.state.word(),
            seconds(std::time::Duration::from_millis(step.wall_ms))
        ));
    }
    if !build.artifacts.is_empty() {
        out.push_str("\nartifacts\n");
    }
    for artifact in &build.artifacts {
        let before = if artifact.signed_before { ", for an earlier build" } else { "" };
        let signed = artifact
            .signed_by
            .as_deref()
            .map_or_else(|| "unsigned".to_owned(), |key| format!("signed by {key}{before}"));
        out.push_str(&format!(
            " {} {}   sha256:{}   {signed}\n",
            session.style.arrow(),
            artifact.name,
            artifact.blob.digest.short()
        ));
    }
    if let Some(record) = build.records.first() {
        out.push_str(&format!("\ninputs   {} by digest\n", record.observed.dependencies.len()));
    }
    for error in &build.errors {
        out.push_str(&format!(
            "\n{}: {}\n",
            error["code"].as_str().unwrap_or(""),
            model::text::escape(error["message"].as_str().unwrap_or("").as_bytes())
        ));
    }
    report::data(&out);
    Ok(Exit::Done)
}
