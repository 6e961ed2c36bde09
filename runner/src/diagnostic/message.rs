//! `Diagnostic`: one thing that went wrong, in parts.

use std::error::Error;

use serde_json::{Value, json};

use model::address::without_credentials as clean;

use super::{Code, Place};

/// One thing that went wrong. Fields hold true values; rendering escapes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of thing; fixes the exit code.
    pub code: Code,
    /// One sentence, lower case, no full stop, that names the thing.
    pub headline: String,
    /// Where, if a file is to blame.
    pub place: Option<Place>,
    /// Which key of a step is to blame, where the place is not known yet.
    pub key: Option<StepKey>,
    /// What should have been, if two values were compared.
    pub expected: Option<String>,
    /// What was.
    pub got: Option<String>,
    /// Where the bytes came from.
    pub from: Option<String>,
    /// One sentence, only if the headline does not say it.
    pub why: Option<String>,
    /// One command or one edit that fixes it, for each way; a newline continues an entry.
    pub help: Vec<String>,
    /// The errors beneath, outermost first.
    pub causes: Vec<String>,
}

/// A key of a step in the build file. Who runs a step knows the key; who read the file knows where it
/// stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepKey {
    /// The key, such as `timeout`.
    pub key: &'static str,
    /// The key in the map below it, such as `memory` of `resources`.
    pub below: Option<String>,
}

impl Diagnostic {
    /// Returns a diagnostic of nothing but a code and its headline.
    pub fn new(code: Code, headline: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            headline: headline.into(),
            place: None,
            key: None,
            expected: None,
            got: None,
            from: None,
            why: None,
            help: Vec::new(),
            causes: Vec::new(),
        }
    }

    /// Says where.
    pub fn at(mut self, place: Place) -> Diagnostic {
        self.place = Some(place);
        self
    }

    /// Says which key of the step is to blame.
    pub fn key(mut self, key: &'static str) -> Diagnostic {
        self.key = Some(StepKey { key, below: None });
        self
    }

    /// Says which key of a map of the step is to blame.
    pub fn key_below(mut self, key: &'static str, below: impl Into<String>) -> Diagnostic {
        self.key = Some(StepKey { key, below: Some(below.into()) });
        self
    }

    /// Says what should have been.
    pub fn expected(mut self, expected: impl Into<String>) -> Diagnostic {
        self.expected = Some(expected.into());
        self
    }

    /// Says what was.
    pub fn got(mut self, got: impl Into<String>) -> Diagnostic {
        self.got = Some(got.into());
        self
    }

    /// Says where the bytes came from.
    pub fn from(mut self, from: impl Into<String>) -> Diagnostic {
        self.from = Some(from.into());
        self
    }

    /// Says why, in one sentence.
    pub fn why(mut self, why: impl Into<String>) -> Diagnostic {
        self.why = Some(why.into());
        self
    }

    /// Adds one way to fix it.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help.push(help.into());
        self
    }

    /// Adds an error and all that it names as its sources.
    pub fn caused_by(mut self, error: &dyn Error) -> Diagnostic {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(flat(&cause.to_string()));
            next = cause.source();
        }
        self
    }

    /// Returns the ways to fix it. One that knows none names the long text of its code.
    pub fn remedies(&self) -> Vec<String> {
        if self.help.is_empty() {
            return vec![format!("what it means and what to do:  kiln explain {}", self.code)];
        }
        self.help.clone()
    }

    /// Returns the same parts as JSON: always `code`, `message`, `file`, `line`, `column`,
    /// `expected`, `got`, `why` and `help`, null where there is none; `from` and `causes` only
    /// where there are some.
    pub fn to_json(&self) -> Value {
        let position = self.place.as_ref().and_then(|place| place.position);
        let mut value = json!({
            "code": self.code.to_string(),
            "message": clean(&self.headline),
            "file": self.place.as_ref().map(|place| &place.file),
            "line": position.map(|position| position.line),
            "column": position.map(|position| position.column),
            "expected": self.expected.as_deref().map(clean),
            "got": self.got.as_deref().map(clean),
            "why": self.why.as_deref().map(clean),
            "help": self.remedies().iter().map(|help| clean(help)).collect::<Vec<_>>(),
        });
        if let Some(from) = &self.from {
            value["from"] = json!(clean(from));
        }
        if !self.causes.is_empty() {
            value["causes"] =
                json!(self.causes.iter().map(|cause| clean(cause)).collect::<Vec<_>>());
        }
        value
    }
}

/// Returns an error's text on one line: a reader of TOML draws the line with a caret, which would come out
/// as escapes. The place that it names in words stays.
pub fn flat(text: &str) -> String {
    let drawn = |line: &&str| {
        let bare = line.trim_start().trim_start_matches(|letter: char| letter.is_ascii_digit());
        bare.trim_start().starts_with('|')
    };
    let lines = text.lines().filter(|line| !drawn(line)).map(str::trim);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::super::{FileText, Span};
    use super::*;

    #[test]
    fn json_has_the_same_parts_and_the_true_values() {
        let file = FileText::new("kiln.yaml", "kiln: 2\n");
        let value = Diagnostic::new(Code::WrongValue, "no \u{1b} such")
            .at(file.place(Span::new(6, 7)))
            .expected("1")
            .got("2")
            .help("write 1")
            .to_json();
        assert_eq!(
            value,
            json!({
                "code": "KILN-0105", "message": "no \u{1b} such", "file": "kiln.yaml", "line": 1,
                "column": 7, "expected": "1", "got": "2", "why": null, "help": ["write 1"],
            })
        );
    }

    #[test]
    fn a_cause_that_draws_is_told_on_one_line() {
        let drawn = "TOML parse error at line 1, column 3\n  |\n1 | x=\n  |   ^\nno value\n";
        assert_eq!(flat(drawn), "TOML parse error at line 1, column 3: no value");
        assert_eq!(flat("plain"), "plain");
    }

    #[test]
    fn causes_keep_their_order() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::fmt::Error);
        let diagnostic = Diagnostic::new(Code::Internal, "x").caused_by(&Outer(std::fmt::Error));
        assert_eq!(diagnostic.causes[0], "outer");
        assert_eq!(diagnostic.causes.len(), 2);
    }
}
