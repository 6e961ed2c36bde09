//! What can be wrong with a policy, each with its place.

use super::expression::ExpressionError;
use super::node::Span;

/// One thing that is wrong with a policy file.
#[derive(Debug, thiserror::Error)]
#[error("{wrong}")]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What.
    #[source]
    pub wrong: Wrong,
}

/// What is wrong. Texts of the file are brief and not escaped; the edge escapes them.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Not a file that is read as YAML here.
    #[error("{why}")]
    Unreadable {
        /// Why.
        why: String,
    },
    /// A key that this kind of map does not have.
    #[error("unknown key `{key}` in {owner}")]
    UnknownKey {
        /// The key.
        key: String,
        /// What the map is called.
        owner: String,
        /// The keys that it may have.
        known: &'static [&'static str],
    },
    /// A key that has to be there.
    #[error("{owner} has no `{key}`")]
    Missing {
        /// The key.
        key: &'static str,
        /// What the map is called.
        owner: String,
    },
    /// A key that stands twice.
    #[error("key `{key}` is given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value of another type.
    #[error("{label} has the wrong type")]
    Type {
        /// What the value is called.
        label: String,
        /// What it has to be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A value outside what is allowed.
    #[error("{label} is not allowed")]
    Value {
        /// What the value is called.
        label: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A rule that no statement could meet, or that another makes idle.
    #[error("{rule} can never hold: {why}")]
    Unreachable {
        /// The rule.
        rule: String,
        /// Why.
        why: String,
    },
    /// An expression that does not compile, or would cost too much.
    #[error("the expression of {rule}")]
    Expression {
        /// The rule.
        rule: String,
        /// Why.
        #[source]
        source: ExpressionError,
    },
    /// A pattern that is no regular expression.
    #[error("the pattern of {rule} is no regular expression: {}", last_line(error))]
    Pattern {
        /// The rule.
        rule: String,
        /// Why; its text has several lines, of which the last says it.
        error: regex::Error,
    },
}

impl Wrong {
    /// Returns what was expected and what was got, where two values were compared.
    pub fn compared(&self) -> Option<(String, String)> {
        match self {
            Wrong::Type { expected, got, .. } | Wrong::Value { expected, got, .. } => {
                Some((expected.clone(), got.clone()))
            }
            Wrong::Expression { source: ExpressionError::Unknown { name, known }, .. } => {
                Some((format!("one of {}", known.join(", ")), name.clone()))
            }
            Wrong::Unreadable { .. }
            | Wrong::UnknownKey { .. }
            | Wrong::Missing { .. }
            | Wrong::Twice { .. }
            | Wrong::Unreachable { .. }
            | Wrong::Expression { .. }
            | Wrong::Pattern { .. } => None,
        }
    }

    /// Returns one thing to do about it, where there is one beyond reading the reference.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Wrong::Twice { .. } => Some("keep one of the two"),
            Wrong::Unreachable { .. } => Some("change it, or the rule that it contradicts"),
            Wrong::Expression { .. } => {
                Some("the variables and what is allowed:  docs/policy.md, \"Expressions\"")
            }
            Wrong::Unreadable { .. }
            | Wrong::UnknownKey { .. }
            | Wrong::Missing { .. }
            | Wrong::Type { .. }
            | Wrong::Value { .. }
            | Wrong::Pattern { .. } => None,
        }
    }
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// The longest piece of the file that a message repeats, in characters.
const BRIEF_CHARS_MAX: usize = 80;

/// Returns a piece of the file, short enough for a message.
pub(super) fn brief(text: &str) -> String {
    if text.chars().nth(BRIEF_CHARS_MAX).is_none() {
        return text.to_owned();
    }
    text.chars().take(BRIEF_CHARS_MAX - 1).chain(['…']).collect()
}
