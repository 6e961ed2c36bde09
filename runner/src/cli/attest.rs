//! `kiln attest`: sign a predicate of your own about files.

use std::os::fd::AsFd;

use attestor::pipe::{Answer, Attest, PREDICATE_BYTES_MAX, Request, SignerInfo};
use attestor::strict_json::{self, Caps, JsonError};
use model::record::{Nonce, Subject};
use serde_json::json;

use super::args::AttestArgs;
use super::{Ended, Session, files, lasting, wrong_usage};
use crate::diagnostic::{Code, Diagnostic, Exit, FileText, Place, Span};
use crate::sign::Attestor;
use crate::store::hash_file;
use crate::{context, pipeline, report, sign};

/// What a predicate may take: as the attestor takes it.
const PREDICATE_CAPS: Caps = Caps { bytes: PREDICATE_BYTES_MAX, depth: 64, values: 1 << 20 };
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
            .caused_by(error)
            .help("name a plain file that you may read"),
        ]
    };
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    let missing = || files::missing();
    let predicate = files::read(&session.context.folder.join(&args.predicate))
        .and_then(|bytes| bytes.ok_or_else(missing))
        .and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
        })
        .map_err(|error| refuse(&args.predicate, &error))?;
    is_an_object(&args.predicate, &predicate)?;
    differ(args)?;
    // It starts while the files are read, and ends while its statement is written.
    let mut attestor = Attestor::begin(&session.context).map_err(one)?;
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
    let (target, name) = target(session, args);
    is_free(&target, &args.predicate_type)?;
    pipeline::check_revoked(session, &mut attestor)?;
    let signed = match attestor.ask(&request, &descriptors).map_err(one)? {
        Answer::Signed(signed) => signed,
        other => return Err(vec![sign::unexpected(other)]),
    };
    let folder = target.parent().unwrap_or(&session.context.folder);
    let leaving = attestor.leave();
    lasting::write(folder, &name, signed.bundle.as_bytes())?;
    leaving.wait().map_err(one)?;
    if session.global.json {
        report::document("attest", told(&target, &signed.key));
    } else if session.speaks() {
        report::line(&format!(
            " wrote {}",
            model::text::escape(target.as_os_str().as_encoded_bytes())
        ));
    }
    Ok(Exit::Done)
}

/// Returns where the bundle lands, and its name there.
fn target(session: &Session, args: &AttestArgs) -> (std::path::PathBuf, String) {
    let first =
        args.files.first().map(|path| session.context.folder.join(path)).unwrap_or_default();
    let stem = args.predicate.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{name}.{stem}.sigstore.json");
    (first.with_file_name(&name), name)
}

/// Refuses to write over a statement of another kind. One of the same kind is made anew.
fn is_free(target: &std::path::Path, predicate_type: &str) -> Result<(), Vec<Diagnostic>> {
    let Ok(Some(bytes)) = files::read(target) else { return Ok(()) };
    let same = attestor::bundle::read(&bytes).is_ok_and(|all| {
        all.iter().all(|one| one.claimed_type().as_deref() == Some(predicate_type))
    });
    if same {
        return Ok(());
    }
    let shown = model::text::escape(target.as_os_str().as_encoded_bytes());
    Err(vec![
        wrong_usage(format!("{shown} holds a statement of another kind"))
            .why("a statement is called after the file of its predicate")
            .help("give the predicate's file another name"),
    ])
}

/// Refuses two files of one name: a statement tells its subjects apart by their names, which have no folder.
fn differ(args: &AttestArgs) -> Result<(), Vec<Diagnostic>> {
    let shown = |path: &std::path::Path| model::text::escape(path.as_os_str().as_encoded_bytes());
    let mut known = std::collections::BTreeMap::new();
    for path in &args.files {
        let Some(first) = known.insert(path.file_name(), path) else { continue };
        let name = path.file_name().unwrap_or_default();
        let headline = format!(
            "two files would have one name in the statement: {}",
            model::text::escape(name.as_encoded_bytes())
        );
        return Err(vec![
            wrong_usage(headline)
                .expected("files of different names, each once")
                .got(format!("{} and {}", shown(first), shown(path)))
                .help("name the file once, or state it about each in a statement of its own"),
        ]);
    }
    Ok(())
}

fn told(target: &std::path::Path, by: &SignerInfo) -> serde_json::Value {
    match by {
        SignerInfo::Key(info) => json!({"bundle": target, "key": info.fingerprint}),
        SignerInfo::Certificate(info) => {
            json!({"bundle": target, "identity": {"subject": info.subject, "issuer": info.issuer}})
        }
    }
}

/// Refuses a predicate that is no strict JSON object, at its letter. The attestor does so as well, and knows no
/// file.
fn is_an_object(path: &std::path::Path, text: &str) -> Result<(), Vec<Diagnostic>> {
    let name = model::text::escape(path.as_os_str().as_encoded_bytes());
    let file = FileText::new(name.as_str(), text);
    let refuse = |place: Place, got: String, help: &str| {
        vec![
            Diagnostic::new(
                Code::WrongValue,
                format!("the predicate {name} is no strict JSON object"),
            )
            .at(place)
            .expected("a JSON object with no member twice, such as  {\"reviewed\": true}")
            .got(got)
            .help(help),
        ]
    };
    let object = "write what you state as members of one object";
    match strict_json::parse(text.as_bytes(), &PREDICATE_CAPS) {
        Ok(serde_json::Value::Object(_)) => Ok(()),
        Ok(other) => {
            let start = text.len() - text.trim_start().len();
            let kind = match other {
                serde_json::Value::Array(_) => "a list",
                serde_json::Value::String(_) => "a text",
                _ => "a single value",
            };
            Err(refuse(file.place(Span::new(start, start + 1)), kind.to_owned(), object))
        }
        Err(JsonError::Malformed(error)) => {
            let line = text.split_inclusive('\n').take(error.line().saturating_sub(1));
            let start = line.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
            let got = error.to_string();
            let help = if got.contains("twice") {
                "keep one of the two: readers disagree about which counts"
            } else {
                object
            };
            Err(refuse(file.place(Span::new(start, start + 1)), got, help))
        }
        Err(other) => {
            let help = "state less, or name a file with the rest by its digest";
            Err(refuse(Place::file(name.as_str()), format!("a document that {other}"), help))
        }
    }
}
