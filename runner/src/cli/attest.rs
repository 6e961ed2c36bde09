//! `kiln attest`: sign a predicate of your own about files.

use std::os::fd::AsFd;

use attestor::pipe::{Answer, Attest, Request};
use model::record::{Nonce, Subject};
use serde_json::json;

use super::args::AttestArgs;
use super::{Ended, Session, files, lasting};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::store::hash_file;
use crate::{context, report, sign};

/// Seconds that the attestor has.
const SIGNING_SECONDS: i64 = 60;

/// Has the predicate signed; the bundle lands beside the first file, named after the predicate.
pub fn run(session: &Session, args: &AttestArgs) -> Ended {
    let refuse = |what: &std::path::Path, error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(
                Code::WrongValue,
                format!("cannot read {}", model::text::escape(what.as_os_str().as_encoded_bytes())),
            )
            .caused_by(error),
        ]
    };
    let predicate = std::fs::read_to_string(session.context.folder.join(&args.predicate))
        .map_err(|error| refuse(&args.predicate, &error))?;
    let (mut subjects, mut files) = (Vec::new(), Vec::new());
    for path in &args.files {
        let file = files::open(&session.context.folder.join(path))
            .map_err(|error| refuse(path, &error))?;
        let blob = hash_file(&file, &mut |_| ()).map_err(|error| refuse(path, &error))?;
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        subjects.push(Subject { name, blob });
        files.push(file);
    }
    let random = context::random().map_err(|error| {
        vec![Diagnostic::new(Code::Internal, "the kernel gives no random bytes").caused_by(&error)]
    })?;
    let request = Request::Attest(Attest {
        predicate_type: args.predicate_type.clone(),
        predicate,
        subjects,
        nonce: Nonce::from_bytes(random),
        deadline: session.context.now() + SIGNING_SECONDS,
    });
    let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let signed = match sign::ask(&session.context, &request, &descriptors)
        .map_err(|diagnostic| vec![diagnostic])?
    {
        Answer::Signed(signed) => signed,
        other => return Err(vec![sign::unexpected(other)]),
    };
    let first =
        args.files.first().map(|path| session.context.folder.join(path)).unwrap_or_default();
    let stem = args
        .predicate
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name =
        first.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let target = first.with_file_name(format!("{name}.{stem}.sigstore.json"));
    let folder = target.parent().unwrap_or(&session.context.folder);
    lasting::write(folder, &format!("{name}.{stem}.sigstore.json"), signed.bundle.as_bytes())?;
    if session.global.json {
        report::document("attest", json!({"bundle": target, "key": signed.key.fingerprint}));
    } else if session.speaks() {
        report::line(&format!(
            " wrote {}",
            model::text::escape(target.as_os_str().as_encoded_bytes())
        ));
    }
    Ok(Exit::Done)
}
