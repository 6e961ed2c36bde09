//! `kiln build`: run the steps and tests, write artifacts and provenance.

use std::collections::BTreeSet;

use attestor::predicate::Further;
use model::isolation::Guarantee;
use model::text;
use serde_json::json;

use super::args::{AttestName, BuildArgs};
use super::doctor::confined_serves;
use super::{Ended, Session, stop};
use crate::diagnostic::{Code, Diagnostic, Exit, exit_code, nearest, one_of};
use crate::orders::Orders;
use crate::pipeline::{self, AskedFor, Failed, Finished, Mode, Signing, Source, Wish};
use crate::report::{self, Talk};

/// Builds, and tells what came of it.
pub fn run(session: &Session, args: &BuildArgs) -> Ended {
    let project = session.project()?;
    let orders = orders(session, args.signing.orders.as_deref())?;
    let wish = Wish {
        from: Source::File,
        mode: match (args.plan, args.fetch_only) {
            (true, _) => Mode::Plan,
            (false, true) => Mode::Fetch,
            (false, false) => Mode::Build,
        },
        targets: args.targets.clone(),
        matrix: args.matrix.clone(),
        output: args.output.clone(),
        backend: session.backend(args.backend),
        use_cache: !args.no_cache,
        signing: signing(
            args.signing.sign || !args.signing.attest.is_empty(),
            args.signing.no_sign,
        ),
        allow_dirty: args.signing.allow_dirty,
        waived: waived(&args.allow_missing)?,
        inputs: args.inputs,
        attest: attest(&args.signing.attest),
        classic_link: args.signing.attest.contains(&AttestName::InTotoLink),
        orders,
        asked: AskedFor::Target { overrides: String::new() },
    };
    let mut talk = Talk::new(&session.global, &session.context);
    let finished = pipeline::build(session, &project, &wish, &mut talk);
    talk.end();
    let finished = match finished {
        Ok(finished) => finished,
        Err(failed) => return unfinished(session, &wish, failed),
    };
    tell(session, &mut talk, &wish, &finished, args.explain);
    Ok(Exit::Done)
}

/// Tells of a build that did not pass: with `--json` the steps stand beside the errors.
pub(super) fn unfinished(session: &Session, wish: &Wish, failed: Failed) -> Ended {
    let failed = Failed { errors: with_confined(session, wish, failed.errors), ..failed };
    if !session.global.json || failed.steps.is_empty() {
        return Err(failed.errors);
    }
    let errors: Vec<_> = failed.errors.iter().map(Diagnostic::to_json).collect();
    let told = json!({"id": failed.id, "steps": failed.steps, "errors": errors});
    report::document("errors", told);
    Ok(exit_code(failed.errors.iter().map(|diagnostic| diagnostic.code)))
}

/// Adds the confined backend as a remedy where namespaces are refused and it would do.
fn with_confined(session: &Session, wish: &Wish, errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let refused = |one: &Diagnostic| {
        matches!(
            one.code,
            Code::NamespacesApparmor | Code::NamespacesSeccomp | Code::NamespacesKernel
        )
    };
    let native = wish.backend == sandbox::Backend::Native;
    if !native
        || !errors.iter().any(refused)
        || !confined_serves(session, &sandbox::probe::confined(&session.slots()))
    {
        return errors;
    }
    let help = "or use other mechanisms, as the provenance will say:  --backend confined";
    let with = |one: Diagnostic| if refused(&one) { one.help(help) } else { one };
    errors.into_iter().map(with).collect()
}

/// Returns what is stated besides the provenance.
pub(super) fn attest(named: &[AttestName]) -> BTreeSet<Further> {
    let one = |name: &AttestName| match name {
        AttestName::TestResult => Some(Further::TestResult),
        AttestName::Scai => Some(Further::Scai),
        AttestName::Link => Some(Further::Link),
        AttestName::RuntimeTrace => Some(Further::RuntimeTrace),
        AttestName::InTotoLink => None,
    };
    named.iter().filter_map(one).collect()
}

/// Reads what the control plane ordered.
pub(super) fn orders(
    session: &Session,
    path: Option<&std::path::Path>,
) -> Result<Option<Orders>, Vec<Diagnostic>> {
    let read = |path| Orders::read(&session.context.folder.join(path));
    path.map(read).transpose().map_err(|diagnostic| vec![diagnostic])
}

/// Returns what the flags say of signing.
pub(super) fn signing(must: bool, never: bool) -> Signing {
    match (must, never) {
        (true, _) => Signing::Must,
        (false, true) => Signing::Never,
        (false, false) => Signing::IfPossible,
    }
}

fn waived(names: &[String]) -> Result<BTreeSet<Guarantee>, Vec<Diagnostic>> {
    let mut waived = BTreeSet::new();
    for name in names {
        let guarantee: Guarantee = name.parse().map_err(|_| vec![no_guarantee(name)])?;
        if guarantee == Guarantee::Network {
            return stop(
                super::wrong_usage("`network` can never be waived in a build that could be attested")
                    .help("bring what the step wants from the network in as a source or into the environment"),
            );
        }
        waived.insert(guarantee);
    }
    Ok(waived)
}

fn no_guarantee(name: &str) -> Diagnostic {
    // `network` is one, but can never be waived.
    let waivable = Guarantee::ALL.iter().filter(|one| **one != Guarantee::Network);
    let known: Vec<&str> = waivable.map(|one| one.as_str()).collect();
    let told = super::wrong_usage(format!(
        "--allow-missing names no guarantee: `{}`",
        text::escape(name.as_bytes())
    ))
    .expected(one_of(known.iter().copied()));
    match nearest(name, known.iter().copied()).first() {
        Some(near) => told.help(format!("did you mean `{near}`?")),
        None => told.help("see what each of them is:  kiln doctor"),
    }
}

/// Tells what a build came to: as one document with `--json`, as lines on stderr otherwise.
pub(super) fn tell(
    session: &Session,
    talk: &mut Talk,
    wish: &Wish,
    finished: &Finished,
    explain: bool,
) {
    if session.global.json {
        report::document("build-result", document(finished));
    }
    match wish.mode {
        Mode::Plan if !session.global.json => preview(session, finished),
        Mode::Plan => {}
        Mode::Fetch => talk.say(" all inputs are in the store"),
        Mode::Build => summary(session, talk, wish, finished, explain),
    }
}

fn summary(session: &Session, talk: &mut Talk, wish: &Wish, finished: &Finished, explain: bool) {
    if explain {
        for (id, step) in &finished.steps {
            let why = match &step.cached_from {
                Some(run) => format!(
                    "the same Action was run by build {}",
                    run.chars().take(12).collect::<String>()
                ),
                None if !wish.use_cache => "earlier results were not to be used".to_owned(),
                None => "no result for its Action was in the store".to_owned(),
            };
            talk.say(&format!(
                " {id}: {} ({why}; action {})",
                step.state.word(),
                step.action.map(|action| action.short()).unwrap_or_default()
            ));
        }
    }
    for artifact in &finished.artifacts {
        let signed = match &artifact.signature {
            Some(one) if one.before => "   signed before",
            Some(_) => "   signed",
            None => "",
        };
        let path = shown(session, &artifact.path);
        talk.say(&format!(
            " {} {path}   sha256:{}{signed}",
            session.style.arrow(),
            artifact.blob.digest.short()
        ));
        let evidence: Vec<String> =
            artifact.evidence.iter().map(|path| shown(session, path)).collect();
        if !evidence.is_empty() {
            talk.say(&format!("   {}", evidence.join("   ")));
        }
    }
    for note in &finished.notes {
        talk.say(&format!(" {}", text::escape(note.as_bytes())));
    }
}

/// Returns a path as people see it: relative to the current folder where it lies below it.
fn shown(session: &Session, path: &std::path::Path) -> String {
    let path = path.strip_prefix(&session.context.folder).unwrap_or(path);
    text::escape(path.as_os_str().as_encoded_bytes())
}

fn preview(session: &Session, finished: &Finished) {
    let mut out = String::new();
    for id in finished.plan.order().unwrap_or_default() {
        if let Some(step) = finished.steps.get(id) {
            out.push_str(&format!(
                " {} {id}   {}\n",
                step.state.mark(session.style.utf8),
                step.state.word()
            ));
        }
    }
    out.push('\n');
    out.push_str(&crate::plan::draw_text(&finished.plan));
    report::data(&out);
}

fn document(finished: &Finished) -> serde_json::Value {
    let artifacts: Vec<_> = finished
        .artifacts
        .iter()
        .map(|artifact| json!({"path": artifact.path, "digest": artifact.blob.digest, "size": artifact.blob.size, "signed_by": artifact.signature.as_ref().map(|one| &one.by),
            "signed_before": artifact.signature.as_ref().map(|one| one.before), "evidence": artifact.evidence}))
        .collect();
    json!({"id": finished.id, "steps": finished.steps, "artifacts": artifacts, "notes": finished.notes, "plan": finished.plan})
}
