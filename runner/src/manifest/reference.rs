//! References: `step.output`.

use std::fmt;

use model::Ident;

use super::reader::{At, Problems, quoted};
use crate::diagnostic::{Code, Diagnostic, Span};

/// An output of a step, by both their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputRef {
    /// The step.
    pub step: Ident,
    /// Its output.
    pub output: Ident,
}

impl fmt::Display for OutputRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.step, self.output)
    }
}

/// Reads `step.output`.
pub(super) fn output_ref(
    text: &str,
    span: Span,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<At<OutputRef>> {
    let found = text.split_once('.').and_then(|(step, output)| {
        Some(OutputRef { step: Ident::new(step).ok()?, output: Ident::new(output).ok()? })
    });
    if found.is_none() {
        problems.add(
            span,
            Diagnostic::new(Code::WrongValue, format!("{label} names no output"))
                .expected("STEP.OUTPUT, such as build.bin")
                .got(quoted(text)),
        );
    }
    found.map(|found| At::new(found, span))
}
