//! `kiln verify --layout`: whether files came about as a layout of in-toto wants it.
//!
//! The layout's owners decide, by the keys that are given here; what this user trusts otherwise is not
//! asked, and no level follows from it.

use std::path::Path;

use attestor::links::layout::{Followed, LayoutError, verify};
use model::text;
use serde_json::json;

use super::super::args::VerifyArgs;
use super::super::{Ended, Session, files, trust, wrong_usage};
use super::digest;
use super::evidence::look;
use crate::diagnostic::{Code, Diagnostic, Exit, Place, exit_code};
use crate::report;

/// Decides about each file; all must be as the layout wants them.
pub fn run(session: &Session, args: &VerifyArgs, layout: &Path) -> Ended {
    let shown = text::escape(layout.as_os_str().as_encoded_bytes());
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::EvidenceMalformed, format!("cannot read {shown}"))
                .at(Place::file(shown.as_str()))
                .caused_by(error)
                .help("name a layout that its owner signed"),
        ]
    };
    if args.layout_key.is_empty() {
        return Err(vec![
            wrong_usage("no key of the layout's owner is given").help("name one:  --layout-key F"),
        ]);
    }
    look(session, args.files.iter())?;
    let bytes = files::read(&session.context.folder.join(layout))
        .map_err(|error| refuse(&error))?
        .ok_or_else(|| refuse(&files::missing()))?;
    let owners = args.layout_key.iter().map(|path| trust::key(session, path));
    let owners = owners.collect::<Result<Vec<_>, _>>()?;
    let links = match &args.link_dir {
        Some(folder) => session.context.folder.join(folder),
        None => session.context.folder.clone(),
    };
    let link = |name: &str| files::read(&links.join(name)).ok().flatten();
    let (mut documents, mut wrong) = (Vec::new(), Vec::new());
    for file in &args.files {
        let name = text::escape(file.as_os_str().as_encoded_bytes());
        let digest = digest(&session.context.folder.join(file), &name).map_err(|one| vec![one])?;
        match verify(&bytes, &owners, &link, &digest, session.context.now()) {
            Ok(followed) => {
                if session.speaks() && !session.global.json {
                    report::told(&told(session, &name, &followed));
                }
                documents.push(json!({"file": name, "digest": digest, "verified": true, "product": followed.product, "steps": followed.steps}));
            }
            Err(error) => {
                let told = diagnostic(&name, &shown, &error);
                documents.push(
                    json!({"file": name, "digest": digest, "verified": false, "errors": [told.to_json()]}),
                );
                wrong.push(told);
            }
        }
    }
    if session.global.json {
        report::document("verify", json!({"verified": wrong.is_empty(), "files": documents}));
        return Ok(exit_code(wrong.iter().map(|told| told.code)));
    }
    if wrong.is_empty() { Ok(Exit::Done) } else { Err(wrong) }
}

fn told(session: &Session, name: &str, followed: &Followed) -> String {
    let mut out = String::new();
    for (step, keys) in &followed.steps {
        let keys: Vec<String> = keys.iter().map(|key| text::escape(key.as_bytes())).collect();
        let step = text::escape(step.as_bytes());
        let mark = session.style.verdict(Some(true));
        out.push_str(&format!(" {mark} {step:<12} by {}\n", keys.join(", ")));
    }
    let product = text::escape(followed.product.as_bytes());
    out.push_str(&format!(" {name} came about as the layout wants it, as {product}\n"));
    out
}

fn diagnostic(name: &str, layout: &str, error: &LayoutError) -> Diagnostic {
    let (code, help) = match error {
        LayoutError::Layout(_) => (Code::EvidenceMalformed, "get the layout anew from its owner"),
        LayoutError::Owner { .. } | LayoutError::NoKey => (
            Code::SignatureBroken,
            "get layout and key anew from their owner, each by a way of its own",
        ),
        LayoutError::Threshold { .. } => (
            Code::SignerNotTrusted,
            "name the folder of the links:  --link-dir DIR, or get those that are missing",
        ),
        LayoutError::Inspection => (
            Code::PolicyRefused,
            "have in-toto-verify run them, in a sandbox: they are commands of the layout's owner",
        ),
        LayoutError::Expired { .. } => (Code::PolicyRefused, "ask its owner for one in force"),
        LayoutError::Part { .. }
        | LayoutError::Link { .. }
        | LayoutError::Disagree { .. }
        | LayoutError::Rule { .. }
        | LayoutError::Product { .. } => {
            (Code::PolicyRefused, "do not use the file; show this to the layout's owner")
        }
    };
    let told = Diagnostic::new(code, format!("{name} is refused: {error}"))
        .at(Place::file(layout))
        .help(help);
    let told = match error.compared() {
        Some((expected, got)) => told.expected(expected).got(got),
        None => told,
    };
    crate::refusal::with_causes(told, error)
}
