//! `kiln store`: what is kept, and whether it is whole.

use model::digest::{Blob, Digest};
use model::text;
use model::tree::Node;
use serde_json::json;

use super::args::StoreCommand;
use super::{Ended, Session, stop};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::store::{Damage, DamageKind, Depth, Keep, Store, UnixMillis};
use crate::{history, refusal, report};

/// Largest object that is printed, in bytes.
const CAT_BYTES_MAX: u64 = 16 << 30;
/// What was made or used within so many seconds is kept by `gc`: 30 days.
const KEPT_SECONDS: i64 = 30 * 24 * 60 * 60;
/// So many of the newest builds of each project are kept by `gc`, however old.
const KEPT_RECORDS: usize = 10;

/// Runs one of the store's commands.
pub fn run(session: &Session, command: &StoreCommand) -> Ended {
    let store = session.store()?;
    match command {
        StoreCommand::Info => info(session, &store),
        StoreCommand::Gc => gc(session, &store),
        StoreCommand::Verify { deep } => verify(session, &store, *deep),
        StoreCommand::Ls { digest: None } => kept(session, &store),
        StoreCommand::Ls { digest: Some(digest) } => list(session, &store, *digest),
        StoreCommand::Cat { digest } => cat(&store, *digest),
    }
}

fn told<T>(result: Result<T, crate::store::Error>) -> Result<T, Vec<Diagnostic>> {
    result.map_err(|error| vec![refusal::store(&error)])
}

fn info(session: &Session, store: &Store) -> Ended {
    let info = told(store.info())?;
    if session.global.json {
        report::document(
            "store-info",
            json!({"path": store.path(), "objects": info.objects, "bytes": info.object_bytes, "checkouts": info.checkouts, "actions": info.actions, "records": info.records}),
        );
    } else {
        report::data(&format!(
            "{}\n {:>10} objects, {}\n {:>10} checkouts\n {:>10} results\n {:>10} builds\n",
            store.path().display(),
            info.objects,
            size(info.object_bytes),
            info.checkouts,
            info.actions,
            info.records
        ));
    }
    Ok(Exit::Done)
}

/// Lists the builds of all projects with what they made, each by the digest that `cat` takes.
fn kept(session: &Session, store: &Store) -> Ended {
    let builds = told(history::all_builds(store))?;
    if session.global.json {
        let builds: Vec<_> = builds
            .iter()
            .map(|build| json!({"id": build.id, "project": build.project, "state": build.state, "artifacts": build.artifacts}))
            .collect();
        report::document("store-ls", json!({"path": store.path(), "builds": builds}));
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for build in &builds {
        let (id, project) = (build.id.get(..12).unwrap_or(&build.id), &build.project);
        out.push_str(&format!("{id}   {}   {project}\n", build.state.word()));
        for artifact in &build.artifacts {
            let name = text::escape(artifact.name.as_bytes());
            out.push_str(&format!(
                "  {:>12} {} {name}\n",
                artifact.blob.size, artifact.blob.digest
            ));
        }
    }
    report::data(&out);
    Ok(Exit::Done)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn gc(session: &Session, store: &Store) -> Ended {
    let since = UnixMillis(
        u64::try_from(session.context.now() - KEPT_SECONDS)
            .unwrap_or_default()
            .saturating_mul(1000),
    );
    let keep = Keep { since, records_per_project: KEPT_RECORDS };
    let collected = told(store.gc(keep))?;
    // What a kiln left that was killed: its folders in the store went when the store was opened.
    if let Err(error) = sandbox::sweep(&session.engine()) {
        let told = crate::execute::engine(
            &error,
            format!("what a killed build left of its containers is still there: {error}"),
        );
        return stop(refusal::with_causes(told, &error));
    }
    if session.global.json {
        report::document(
            "store-gc",
            json!({"removed_objects": collected.objects, "removed_bytes": collected.object_bytes, "removed_checkouts": collected.checkouts}),
        );
    } else {
        report::data(&format!(
            "removed {} objects, {} checkouts, {}\n",
            collected.objects,
            collected.checkouts,
            size(collected.object_bytes)
        ));
    }
    Ok(Exit::Done)
}

fn verify(session: &Session, store: &Store, deep: bool) -> Ended {
    let found = told(store.verify(if deep { Depth::Deep } else { Depth::Names }))?;
    if session.global.json {
        let damage = &found.damage;
        report::document(
            "store-verify",
            json!({"deep": deep, "objects": found.objects, "bytes": found.object_bytes, "damage": damage}),
        );
    }
    if found.damage.is_empty() {
        if session.speaks() {
            report::data(&format!(
                "{} objects, {}, {}\n",
                found.objects,
                size(found.object_bytes),
                if deep { "all whole" } else { "names and sizes right; --deep reads every byte" }
            ));
        }
        return Ok(Exit::Done);
    }
    if session.global.json {
        return Ok(Code::StoreDamaged.exit());
    }
    Err(found
        .damage
        .iter()
        .map(|damage| {
            Diagnostic::new(Code::StoreDamaged, told_damage(damage))
                .help("build again what needs it:  kiln build --no-cache")
        })
        .collect())
}

fn told_damage(damage: &Damage) -> String {
    let what = match damage.kind {
        DamageKind::Object => {
            "an object's bytes are not those of its name; it was moved to quarantine"
        }
        DamageKind::Foreign => "something lies there that is none of kiln's",
        DamageKind::Checkout => "a checkout differs from its tree",
        DamageKind::Entry => "a result or record does not check",
        DamageKind::Dangling => "a result or record names something that is not there",
    };
    format!("{}: {what}", text::escape(damage.at.as_os_str().as_encoded_bytes()))
}

fn sized(store: &Store, digest: &Digest) -> Result<Blob, Vec<Diagnostic>> {
    match store.size(digest) {
        Some(size) => Ok(Blob { digest: *digest, size }),
        None if *digest == Blob::of(b"").digest => Ok(Blob::of(b"")),
        None => stop(
            Diagnostic::new(Code::NoSuchBuild, format!("the store has no {digest}"))
                .help("see what is kept:  kiln store ls"),
        ),
    }
}

fn list(session: &Session, store: &Store, digest: Digest) -> Ended {
    let root = sized(store, &digest)?;
    let directory = told(store.load_directory(&root))?;
    if session.global.json {
        let entries: Vec<_> =
            directory.entries().map(|(name, node)| entry(name.as_str(), node)).collect();
        report::document("tree", json!({"digest": root.digest, "entries": entries}));
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for (name, node) in directory.entries() {
        let name = text::escape(name.as_str().as_bytes());
        out.push_str(&match node {
            Node::File { blob, executable } => format!(
                "{} {:>12} {} {name}\n",
                if *executable { "x" } else { "-" },
                blob.size,
                blob.digest
            ),
            Node::Directory(blob) => format!("d {:>12} {} {name}/\n", "", blob.digest),
            Node::Symlink(target) => {
                format!("l {:>12} {:71} {name} -> {}\n", "", "", text::escape(target.as_bytes()))
            }
        });
    }
    report::data(&out);
    Ok(Exit::Done)
}

fn entry(name: &str, node: &Node) -> serde_json::Value {
    match node {
        Node::File { blob, executable } => {
            json!({"name": name, "kind": "file", "digest": blob.digest, "size": blob.size, "executable": executable})
        }
        Node::Directory(blob) => json!({"name": name, "kind": "directory", "digest": blob.digest}),
        Node::Symlink(target) => json!({"name": name, "kind": "symlink", "target": target}),
    }
}

fn cat(store: &Store, digest: Digest) -> Ended {
    let blob = sized(store, &digest)?;
    report::raw(&told(store.read(&blob.digest, CAT_BYTES_MAX))?);
    Ok(Exit::Done)
}
