//! `Policy`: rules that were read and make sense, each with the place where it stands.

use std::collections::BTreeMap;

use model::Digest;

use super::check::CLOCK_SLACK_SECONDS;
use super::expression::Expression;
use super::node::Span;
use super::problem::{Problem, Wrong};
use super::purl::Pattern;
use super::version::Range;
use crate::signed_by::SignedBy;
use crate::trust::Level;

/// A rule's content and its place.
#[derive(Clone, Debug)]
pub(super) struct Rule<T> {
    /// What it says.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// What is expected of a statement.
#[derive(Debug)]
pub struct Policy {
    pub(super) digest: Digest,
    pub(super) text: String,
    pub(super) name: String,
    pub(super) uri: Option<String>,
    pub(super) level: Option<Rule<Level>>,
    pub(super) builders: Vec<BuilderRule>,
    pub(super) source: SourceRule,
    pub(super) build_types: Option<Rule<Vec<String>>>,
    pub(super) parameters: Option<Rule<BTreeMap<String, Rule<Accept>>>>,
    pub(super) dependencies: DependencyRules,
    pub(super) hermetic: Option<Span>,
    pub(super) waivers: Rule<Vec<String>>,
    pub(super) enforce: Option<Rule<Vec<String>>>,
    pub(super) backends: Option<Rule<Vec<String>>>,
    pub(super) age_seconds_max: Option<Rule<i64>>,
    pub(super) not_before: Option<Rule<i64>>,
    pub(super) reproduced_by: Option<Rule<usize>>,
    pub(super) require: Vec<Required>,
    pub(super) expressions: Vec<Named>,
}

/// Who may sign here, of those who are believed; without the key, each of them.
pub(super) type Signers = Option<Rule<Vec<SignedBy>>>;

/// Says whether a signer is one of these, letter by letter.
pub(super) fn may_sign(signers: &Signers, signer: &SignedBy) -> bool {
    signers.as_ref().is_none_or(|all| all.value.contains(signer))
}

/// Returns who may sign, in words, behind what they sign.
pub(super) fn signed_by(signers: &Signers) -> String {
    let all = signers.iter().flat_map(|all| &all.value);
    let all: Vec<String> = all.map(ToString::to_string).collect();
    if all.is_empty() { String::new() } else { format!(", signed by {}", all.join(" or ")) }
}

/// A builder that is allowed, and how far.
#[derive(Clone, Debug)]
pub(super) struct BuilderRule {
    pub id: String,
    pub signers: Signers,
    pub max_level: Level,
    pub min_level: Level,
    pub span: Span,
}

/// Where it may come from.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceRule {
    pub uris: Option<Rule<Vec<String>>>,
    pub commit: Option<Rule<Accept>>,
    pub reference: Option<Rule<Accept>>,
    /// Whether files that differ from the commit are allowed; where it stands, or the policy's start.
    pub dirty: Rule<bool>,
}

impl<T: Default> Default for Rule<T> {
    fn default() -> Self {
        Rule { value: T::default(), span: Span::default() }
    }
}

/// What a text may be.
#[derive(Clone, Debug)]
pub(super) enum Accept {
    /// One of these, exactly.
    OneOf(Vec<String>),
    /// What this matches as a whole.
    Pattern(regex::Regex, String),
    /// Anything.
    Any,
}

/// Which dependencies are allowed and which are not.
#[derive(Clone, Debug, Default)]
pub(super) struct DependencyRules {
    pub allow: Option<Rule<Vec<DependencyRule>>>,
    pub deny: Vec<DependencyRule>,
    pub roles: Option<Rule<Vec<String>>>,
}

/// One kind of dependency.
#[derive(Clone, Debug)]
pub(super) struct DependencyRule {
    pub what: Which,
    pub role: Option<String>,
    pub why: String,
    pub span: Span,
}

/// By what a dependency is recognised.
#[derive(Clone, Debug)]
pub(super) enum Which {
    /// Its package, and perhaps its version.
    Package(Pattern, Option<Range>),
    /// Its name, where it is of no package; `*` as in a package's.
    Name(String),
    /// Its SHA-256.
    Digest(Digest),
}

/// Another attestation about the same file.
#[derive(Debug)]
pub(super) struct Required {
    pub predicate_type: String,
    pub signers: Signers,
    pub condition: Option<Expression>,
    pub span: Span,
}

/// An expression with its name.
#[derive(Debug)]
pub(super) struct Named {
    pub name: String,
    pub expression: Expression,
    pub why: String,
    pub span: Span,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of the file; a rule that is not understood refuses the
    /// whole.
    pub fn parse(bytes: &[u8]) -> Result<Policy, Vec<Problem>> {
        super::read::policy(bytes)
    }

    /// Returns the SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns its name, or its digest's first letters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where people can read it, if it says so.
    pub fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    /// Says whether it asks for more than one attestation of a file.
    pub fn wants_others(&self) -> bool {
        self.reproduced_by.is_some() || !self.require.is_empty()
    }

    /// Checks that the rules about time could be met by a build that is finished by now: with `max-age` none may be in the
    /// future, so that a later `not-before` refuses everything.
    ///
    /// # Errors
    /// The rule, with its place.
    pub fn reachable_at(&self, now: i64) -> Result<(), Problem> {
        let (Some(from), Some(_)) = (&self.not_before, &self.age_seconds_max) else {
            return Ok(());
        };
        if from.value <= now.saturating_add(CLOCK_SLACK_SECONDS) {
            return Ok(());
        }
        let why = "it is in the future, and `max-age` takes no time in the future".to_owned();
        let wrong = Wrong::Unreachable { rule: "`not-before`".to_owned(), why };
        Err(Problem { span: from.span, wrong })
    }

    /// Returns line and column of a place, both from 1; columns count characters.
    pub fn position(&self, span: Span) -> (usize, usize) {
        let at =
            (0..=span.start.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let before = &self.text[..at.unwrap_or_default()];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

impl Accept {
    /// Says whether a text is accepted.
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Accept::OneOf(all) => all.iter().any(|one| one == text),
            Accept::Pattern(pattern, _) => pattern.is_match(text),
            Accept::Any => true,
        }
    }

    /// Returns what is accepted, in words.
    pub fn told(&self) -> String {
        match self {
            Accept::OneOf(all) => all.iter().map(|one| shown(one)).collect::<Vec<_>>().join(" or "),
            Accept::Pattern(_, written) => format!("a text that matches {written} as a whole"),
            Accept::Any => "anything".to_owned(),
        }
    }
}

/// Returns a text so that an empty one is visible, escaped.
pub(super) fn shown(text: &str) -> String {
    if text.is_empty() { "\"\"".to_owned() } else { model::text::escape(text.as_bytes()) }
}
