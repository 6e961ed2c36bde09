//! `kiln doctor`: what this host can enforce for this user, and the exact fix where it cannot.
//!
//! It rehearses a step instead of reading version numbers, looks at the store's own file system and
//! at the clock, and says what to change. Exit 7 where a step cannot run.

use model::isolation::Guarantee;
use model::text;
use sandbox::EngineError;
use sandbox::probe::{self, Note, Report, State};
use serde_json::{Value, json};

use super::args::DoctorArgs;
use super::{Ended, Session, stop};
use crate::config::Required;
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::execute::missing;
use crate::report;

/// A clock before this moment, 2026-01-01, is wrong: this program is younger.
const CLOCK_SECONDS_MIN: i64 = 1_767_225_600;
/// Free space below which the store's file system is called nearly full, in bytes: 1 GiB.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// One thing that was looked at besides the guarantees.
struct Look {
    name: &'static str,
    /// None for what is absent and needed only by who asks for it.
    good: Option<bool>,
    detail: String,
    help: Option<String>,
}

/// Looks at the host and says what holds.
pub fn run(session: &Session, args: &DoctorArgs) -> Ended {
    if let Some(name) = &args.fix {
        return fix(name);
    }
    let found = probe::probe();
    let looks = [store(session), clock(session), engine(session)];
    let required: Vec<Guarantee> = session
        .config
        .require
        .iter()
        .copied()
        .filter_map(|required| match required {
            Required::Guarantee(guarantee) => Some(guarantee),
            Required::Given(_) => None,
        })
        .filter(|guarantee| !found.keeps(*guarantee))
        .collect();
    let diagnostics = diagnostics(&found, &required);
    if session.global.json {
        report::document("doctor", document(&found, &looks, &diagnostics));
        return Ok(if diagnostics.is_empty() { Exit::Done } else { Exit::Host });
    }
    if session.global.quiet == 0 {
        report::data(&told(session, &found, &looks));
    }
    if diagnostics.is_empty() { Ok(Exit::Done) } else { Err(diagnostics) }
}

fn told(session: &Session, found: &Report, looks: &[Look]) -> String {
    let mut out = String::new();
    for finding in &found.findings {
        let (good, detail) = match &finding.state {
            State::Kept(mechanisms) => (Some(true), mechanisms.join("; ")),
            State::Reduced { kept, reason } => (
                None,
                format!(
                    "{}{}{reason}",
                    kept.join("; "),
                    if kept.is_empty() { "" } else { "; but " }
                ),
            ),
            State::Missing { doing, error, .. } => (Some(false), format!("{doing}: {error}")),
            State::NotReached => (None, "not tried, since an earlier one is missing".to_owned()),
        };
        out.push_str(&format!(
            " {} {:<10} {}\n",
            session.style.verdict(good),
            finding.guarantee.as_str(),
            text::escape(detail.as_bytes())
        ));
    }
    for look in looks {
        out.push_str(&format!(
            " {} {:<10} {}\n",
            session.style.verdict(look.good),
            look.name,
            text::escape(look.detail.as_bytes())
        ));
        if let Some(help) = &look.help {
            out.push_str(&format!("              {help}\n"));
        }
    }
    for note in &found.notes {
        out.push_str(&format!(
            " {} note       {}\n",
            session.style.verdict(None),
            text::escape(note_text(note).as_bytes())
        ));
    }
    if found.is_ready() {
        let who = if session.context.root { "as root" } else { "without root" };
        let all = found.findings.iter().all(|finding| matches!(finding.state, State::Kept(_)));
        out.push_str(&format!(
            " ready, {who}: {} guarantees hold\n",
            if all { "all" } else { "all core" }
        ));
    }
    out
}

fn note_text(note: &Note) -> String {
    match note {
        Note::PipedCoreDumps { pattern } => {
            format!("core dumps go to a program on the host ({pattern}); steps leave none")
        }
        Note::RehearsalFailed { message } => format!("the rehearsal failed: {message}"),
    }
}

fn diagnostics(found: &Report, required: &[Guarantee]) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    for finding in &found.findings {
        if let State::Missing { doing, cause, error } = &finding.state {
            let headline =
                format!("cannot keep the guarantee `{}` on this host: {doing}", finding.guarantee);
            wrong.push(missing(finding.guarantee, cause, headline).caused_by(error));
        }
    }
    if !found.is_ready() && wrong.is_empty() {
        wrong.push(Diagnostic::new(Code::SandboxFailed, "a step cannot run on this host"));
    }
    wrong.extend(required.iter().map(|guarantee| {
        Diagnostic::new(
            Code::SandboxFailed,
            format!("this host cannot keep `{guarantee}`, which the configuration requires"),
        )
        .help("take it out of `require` in config.toml, or use another host")
    }));
    wrong
}

fn store(session: &Session) -> Look {
    let look = |good, detail: String, help: Option<&str>| Look {
        name: "store",
        good: Some(good),
        detail,
        help: help.map(str::to_owned),
    };
    let path = session.context.store.display().to_string();
    if let Err(found) = session.store() {
        return look(
            false,
            found.first().map(|diagnostic| diagnostic.headline.clone()).unwrap_or_default(),
            Some("name another folder:  --store DIR"),
        );
    }
    match rustix::fs::statvfs(&session.context.store) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let help = (free < FREE_BYTES_MIN).then_some("free some space:  kiln store gc");
            look(help.is_none(), format!("{path}, {} MB free", free / 1_000_000), help)
        }
        Err(error) => look(false, format!("{path}: {error}"), None),
    }
}

fn clock(session: &Session) -> Look {
    let now = session.context.now();
    let shown = jiff::Timestamp::from_second(now).map(|at| at.to_string()).unwrap_or_default();
    let good = now >= CLOCK_SECONDS_MIN;
    Look {
        name: "clock",
        good: Some(good),
        detail: shown,
        help: (!good).then(|| "set it: provenance and key validity depend on it".to_owned()),
    }
}

/// Looks for the container engine of `--backend docker`. A host without one lacks nothing else.
fn engine(session: &Session) -> Look {
    let (good, detail, help) = match sandbox::look_at_engine(&session.engine()) {
        Ok(facts) => {
            let at = facts.socket.display();
            (Some(true), format!("{} at {at}, for --backend docker", facts.words()), None)
        }
        Err(error) => {
            let told = crate::execute::engine(&error, error.to_string());
            let absent = matches!(&error, EngineError::NoEngine { source: None, .. });
            let good = if absent { None } else { Some(false) };
            (good, error.to_string(), told.help.into_iter().next())
        }
    };
    Look { name: "engine", good, detail, help }
}

fn document(found: &Report, looks: &[Look], wrong: &[Diagnostic]) -> Value {
    let findings: Vec<Value> = found
        .findings
        .iter()
        .map(|finding| match &finding.state {
            State::Kept(kept) => json!({"guarantee": finding.guarantee, "state": "kept", "mechanisms": kept}),
            State::Reduced { kept, reason } => json!({"guarantee": finding.guarantee, "state": "reduced", "mechanisms": kept, "reason": reason}),
            State::Missing { doing, error, .. } => json!({"guarantee": finding.guarantee, "state": "missing", "reason": format!("{doing}: {error}")}),
            State::NotReached => json!({"guarantee": finding.guarantee, "state": "not-reached"}),
        })
        .collect();
    let looks: Vec<Value> = looks.iter().map(|look| json!({"name": look.name, "good": look.good, "detail": look.detail, "help": look.help})).collect();
    let notes: Vec<String> = found.notes.iter().map(note_text).collect();
    let errors: Vec<Value> = wrong.iter().map(Diagnostic::to_json).collect();
    json!({"ready": found.is_ready(), "kernel": found.kernel, "guarantees": findings, "looks": looks, "notes": notes, "errors": errors})
}

/// Applies a named fix. There is one so far, and it is told rather than done: it changes a security
/// policy of the whole host, which its owner should read first.
fn fix(name: &str) -> Ended {
    if name != "apparmor" {
        return stop(
            super::wrong_usage(format!("no fix `{}`", text::escape(name.as_bytes())))
                .expected("apparmor"),
        );
    }
    report::data(
        "# Lets kiln make user namespaces where AppArmor restricts them. As root:\n\
         #   kiln doctor --fix apparmor > /etc/apparmor.d/kiln && apparmor_parser -r /etc/apparmor.d/kiln\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile kiln /{usr/,usr/local/,}bin/kiln flags=(unconfined) {\n  userns,\n}\n",
    );
    Ok(Exit::Done)
}
