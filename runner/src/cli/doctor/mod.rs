//! `kiln doctor`: what this host can enforce for this user, and the exact fix where it cannot.
//!
//! It rehearses a step instead of reading version numbers, looks at what the rehearsal rests on, and
//! says what to change. Exit 7 where a step cannot run. The rehearsal is the one that decides before a
//! build (`pipeline::ready`), so the two cannot disagree. In a project it also asks what that project's
//! steps ask of the host.

mod fix;
mod looks;

use model::isolation::Guarantee;
use model::text;
use sandbox::host::Facts;
use sandbox::probe::{self, Note, Report, State};
use sandbox::{Backend, Cause, Lack, host};
use serde_json::{Value, json};

use self::looks::Look;
pub(super) use self::looks::confined_serves;
use super::args::DoctorArgs;
use super::{Ended, Session};
use crate::config::Required;
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::execute::unready;
use crate::pipeline;
use crate::report;

/// Everything that was found.
struct Found {
    native: Report,
    confined: Report,
    facts: Facts,
    looks: Vec<Look>,
    wrong: Vec<Diagnostic>,
}

impl Found {
    /// Says whether a build of this project, or of any where there is none, could begin here.
    fn is_ready(&self) -> bool {
        self.native.is_ready() && self.wrong.is_empty()
    }
}

/// Looks at the host and says what holds.
pub fn run(session: &Session, args: &DoctorArgs) -> Ended {
    if let Some(name) = &args.fix {
        return fix::run(name, &host::look());
    }
    let facts = host::look();
    // The store first: steps are rehearsed over it, and confined ones have their roots in it.
    let store = session.store();
    let native = match &store {
        Ok(store) => probe::probe_in(&store.run_path()),
        Err(_) => probe::probe(),
    };
    let confined = probe::confined(&session.slots());
    let mut looks = looks::all(session, &facts, &native, &store);
    let mut wrong = diagnostics(session, &native, &confined);
    let views = looks.iter().filter(|look| look.name == "views" && look.verdict == Some(false));
    wrong.extend(views.map(|look| {
        Diagnostic::new(Code::SandboxFailed, "the store cannot be shown to a step")
            .why(look.detail.clone())
            .help("put the store on another file system:  --store DIR")
    }));
    if let Err(refused) = store {
        wrong.extend(refused);
    }
    if let Some((look, asked)) = looks::project(session) {
        looks.push(look);
        wrong.extend(asked);
    }
    let found = Found { native, confined, facts, looks, wrong };
    if session.global.json {
        report::document("doctor", document(&found));
        return Ok(if found.wrong.is_empty() { Exit::Done } else { Exit::Host });
    }
    if session.global.quiet == 0 {
        report::data(&told(session, &found));
    }
    if found.wrong.is_empty() { Ok(Exit::Done) } else { Err(found.wrong) }
}

fn told(session: &Session, found: &Found) -> String {
    let mut out = String::new();
    let line = |out: &mut String, verdict: Option<bool>, name: &str, detail: &str| {
        let (mark, detail) = (session.style.verdict(verdict), text::escape(detail.as_bytes()));
        out.push_str(&format!(" {mark} {name:<10} {detail}\n"));
    };
    let more = |out: &mut String, detail: &str| out.push_str(&format!("              {detail}\n"));
    for finding in &found.native.findings {
        let (verdict, detail) = state(&finding.state);
        line(&mut out, verdict, finding.guarantee.as_str(), &detail);
    }
    for look in &found.looks {
        line(&mut out, look.verdict, look.name, &look.detail);
        for help in &look.help {
            more(&mut out, help);
        }
    }
    match why_not(&found.confined) {
        None => line(&mut out, Some(true), "confined", "--backend confined works here"),
        Some(why) => {
            line(&mut out, None, "confined", &format!("--backend confined does not: {why}"))
        }
    }
    let lacks: Vec<&str> = Lack::ALL.iter().map(|lack| lack.name()).collect();
    more(&mut out, &format!("it cannot give a step: {}", lacks.join(", ")));
    for note in &found.native.notes {
        line(&mut out, None, "note", &note_text(note));
    }
    if found.is_ready() {
        let who = if session.context.root { "as root" } else { "without root" };
        let full = |finding: &probe::Finding| matches!(finding.state, State::Kept(_));
        let which = if found.native.findings.iter().all(full) { "all" } else { "all core" };
        out.push_str(&format!(" ready, {who}: {which} guarantees hold\n"));
    } else if !found.native.is_ready() && confined_serves(session, &found.confined) {
        out.push_str(
            " not ready; the backend for such a place is:  kiln build --backend confined\n",
        );
    }
    out
}

/// Returns what is shown of a guarantee.
fn state(state: &State) -> (Option<bool>, String) {
    match state {
        State::Kept(mechanisms) => (Some(true), mechanisms.join("; ")),
        State::Reduced { kept, reason } => {
            let but = if kept.is_empty() { "" } else { "; but " };
            (None, format!("{}{but}{reason}", kept.join("; ")))
        }
        State::Missing { doing, error, .. } => (Some(false), format!("{doing}: {error}")),
        State::NotReached => (None, "not tried, since an earlier one is missing".to_owned()),
    }
}

/// Returns why a backend cannot run a step, in one sentence with the remedy; none where it can.
fn why_not(found: &Report) -> Option<String> {
    if found.is_ready() {
        return None;
    }
    let note = || found.notes.iter().map(note_text).collect::<Vec<_>>().join("; ");
    Some(found.missing().map_or_else(note, |(_, cause)| cause.to_string()))
}

fn note_text(note: &Note) -> String {
    match note {
        Note::PipedCoreDumps { pattern } => {
            format!("core dumps go to a program on the host ({pattern}); steps leave none")
        }
        Note::RehearsalFailed { message } => format!("the rehearsal failed: {message}"),
    }
}

fn diagnostics(session: &Session, found: &Report, confined: &Report) -> Vec<Diagnostic> {
    let mut wrong = unready(found);
    if confined_serves(session, confined) {
        wrong =
            wrong.into_iter().map(|one| one.help("or:  kiln build --backend confined")).collect();
    }
    let required = session.config.require.iter().filter_map(|required| match required {
        Required::Guarantee(guarantee) => Some(*guarantee),
        Required::Given(_) => None,
    });
    let short: Vec<Guarantee> = required.filter(|guarantee| !found.keeps(*guarantee)).collect();
    wrong.extend(short.into_iter().map(|one| pipeline::not_kept(&Backend::Native, one)));
    wrong
}

fn document(found: &Found) -> Value {
    let looks: Vec<Value> = found.looks.iter().map(|look| json!({"name": look.name, "good": look.verdict, "detail": look.detail, "help": look.help})).collect();
    let notes: Vec<String> = found.native.notes.iter().map(note_text).collect();
    let errors: Vec<Value> = found.wrong.iter().map(Diagnostic::to_json).collect();
    let lacks: Vec<Value> = Lack::ALL
        .iter()
        .map(|lack| json!({"name": lack.name(), "instead": lack.instead()}))
        .collect();
    json!({
        "ready": found.is_ready(),
        "kernel": found.native.kernel,
        "host": facts(&found.facts),
        "guarantees": guarantees(&found.native, &|cause| probe::causes(cause, &found.facts)),
        "confined": {
            "ready": found.confined.is_ready(),
            "why": why_not(&found.confined),
            "guarantees": guarantees(&found.confined, &|cause| vec![cause.clone()]),
            "lacks": lacks,
        },
        "looks": looks,
        "notes": notes,
        "errors": errors,
    })
}

fn guarantees(found: &Report, causes: &dyn Fn(&Cause) -> Vec<Cause>) -> Vec<Value> {
    let one = |finding: &probe::Finding| match &finding.state {
        State::Kept(kept) => {
            json!({"guarantee": finding.guarantee, "state": "kept", "mechanisms": kept})
        }
        State::Reduced { kept, reason } => {
            json!({"guarantee": finding.guarantee, "state": "reduced", "mechanisms": kept, "reason": reason})
        }
        State::Missing { doing, cause, error } => {
            let all: Vec<String> = causes(cause).iter().map(Cause::to_string).collect();
            json!({"guarantee": finding.guarantee, "state": "missing", "reason": format!("{doing}: {error}"), "cause": all.join("; ")})
        }
        State::NotReached => json!({"guarantee": finding.guarantee, "state": "not-reached"}),
    };
    found.findings.iter().map(one).collect()
}

fn facts(facts: &Facts) -> Value {
    let Facts { settings, container, masked_proc, root_without_mount, landlock, limits } = facts;
    json!({
        "maxUserNamespaces": settings.max_user_namespaces,
        "unprivilegedUsernsClone": settings.unprivileged_clone,
        "apparmorRestrictsUserns": settings.apparmor_restricts,
        "seccompFilter": settings.filtered,
        "root": settings.root,
        "container": container,
        "maskedProc": masked_proc,
        "rootWithoutMount": root_without_mount,
        "landlockAbi": landlock,
        "cgroups": {"mounted": limits.mounted, "used": limits.kind, "pids": limits.pids, "memory": limits.memory, "cpu": limits.cpu},
    })
}
