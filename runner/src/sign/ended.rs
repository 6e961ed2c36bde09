//! Tells why `kiln attestor` ended early: the attestor's own words, with a code.
//!
//! The attestor's process shares no code path with a command while it holds a key; this is entered by
//! `main` when it has ended.

use attestor::pipe::RefusedAnswer;
use attestor::process::{Failure, FailureKind};

use super::told;
use crate::diagnostic::{COLUMNS_DEFAULT, Code, Diagnostic, flat};
use crate::report::{self, Style};

/// Prints why the attestor's process ended, and returns its exit code.
pub fn ended(failure: &Failure) -> u8 {
    let diagnostic = diagnostic(failure);
    report::diagnostics(std::slice::from_ref(&diagnostic), Style::plain(), 0, COLUMNS_DEFAULT);
    diagnostic.code.exit().number()
}

fn diagnostic(failure: &Failure) -> Diagnostic {
    let mut causes = failure.causes.iter().map(|cause| flat(cause));
    let of = |code, headline: &str| Diagnostic::new(code, headline);
    let mut diagnostic = match failure.kind {
        // What is wrong with the arguments, or with what was read, is all there is to say.
        FailureKind::Usage => {
            Diagnostic::new(Code::WrongValue, causes.by_ref().collect::<Vec<_>>().join(": "))
        }
        FailureKind::Configuration => {
            of(Code::WrongValue, "the attestor cannot listen with this configuration")
        }
        FailureKind::Unreachable => of(Code::AttestorRefused, "the attestor cannot be asked"),
        FailureKind::Refused(kind) => {
            let (causes, help) = (failure.causes.clone(), failure.help.clone());
            return told(&RefusedAnswer { kind, causes, help });
        }
        FailureKind::Broken => {
            of(Code::SignedLogBroken, "the log of what was signed does not hold together")
        }
        FailureKind::Files => of(Code::StoreUnusable, "the attestor's files cannot be used"),
        FailureKind::Output(kind) => report::unwritten(kind),
        FailureKind::Internal => of(Code::Internal, "the attestor's process ended early"),
    };
    diagnostic.causes = causes.collect();
    match &failure.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}
