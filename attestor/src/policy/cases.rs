//! The table that `kiln policy test` runs: for each case some evidence, a file's digest, and what has to
//! come of it.
//!
//! ```yaml
//! policy: policy.yaml                   # a file beside this one, or the name of a curated set
//! trust: trust.toml                     # optional; without it the user's own
//! trusted-root: trusted_root.json       # optional; without it the user's own, or Sigstore's public instance
//! now: 2026-11-22T12:00:00Z             # optional; without it the clock
//! cases:
//!   - name: a release
//!     bundle: hello.sigstore.json       # or a list
//!     digest: sha256:…                  # or  file: hello
//!     expect: accept
//!   - name: of a fork
//!     bundle: fork.sigstore.json
//!     file: fork
//!     expect: {refuse: source.uri}      # the rule that has to refuse it; or  expect: refuse
//! ```
//!
//! Paths are relative to the table and stay below its folder.

use model::{Digest, RelPath};

use super::fields::{Fields, Problems};
use super::node::{Node, Span};
use super::parse;
use super::problem::{Problem, Wrong};

const KEYS: &[&str] = &["cases", "now", "policy", "trust", "trusted-root"];
const CASE: &[&str] = &["bundle", "digest", "expect", "file", "name"];
const REFUSE: &[&str] = &["refuse"];

/// The table.
#[derive(Clone, Debug)]
pub struct Cases {
    /// The policy: a path or a name.
    pub policy: String,
    /// A trust file of its own.
    pub trust: Option<RelPath>,
    /// A trusted root of its own, for evidence signed with certificates.
    pub trusted_root: Option<RelPath>,
    /// A time of its own, in seconds since 1970.
    pub now: Option<i64>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The evidence.
    pub bundles: Vec<RelPath>,
    /// The file, or none where its digest is given.
    pub file: Option<RelPath>,
    /// Its digest, or none where the file is given.
    pub digest: Option<Digest>,
    /// What has to come of it.
    pub expect: Expect,
    /// Where it stands.
    pub span: Span,
}

/// What has to come of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It is accepted.
    Accept,
    /// It is refused, by this rule if one is named.
    Refuse(Option<String>),
}

impl Cases {
    /// Reads a table.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Cases, Vec<Problem>> {
        let text = parse::text_of(bytes).map_err(|problem| vec![problem])?;
        let root = parse::tree_of(text).map_err(|problem| vec![problem])?;
        let mut problems = Problems::default();
        let read = table(&root, &mut problems);
        match read {
            Some(cases) if problems.0.is_empty() => Ok(cases),
            _ if problems.0.is_empty() => {
                let wrong = Wrong::Unreadable { why: "the table can not be read".to_owned() };
                Err(vec![Problem { span: Span::default(), wrong }])
            }
            _ => Err(problems.0),
        }
    }
}

fn table(root: &Node, problems: &mut Problems) -> Option<Cases> {
    let fields = problems.fields(root, "the table", KEYS)?;
    let policy = fields.require("policy", problems)?;
    let policy = problems.text(policy, "`policy`")?;
    let mut beside = |key: &str| match fields.get(key) {
        Some(node) => path(node, &format!("`{key}`"), problems).map(Some),
        None => Some(None),
    };
    let (trust, trusted_root) = (beside("trust")?, beside("trusted-root")?);
    let now = fields.get("now").and_then(|node| {
        let text = problems.text(node, "`now`")?;
        let time: Option<jiff::Timestamp> = text.parse().ok();
        if time.is_none() {
            problems.wrong_value(node, "`now`", "a time such as 2026-01-01T00:00:00Z");
        }
        time.map(jiff::Timestamp::as_second)
    });
    let list = fields.require("cases", problems)?;
    let items = problems.items(list, "`cases`")?;
    let cases = items.iter().filter_map(|item| case(item, problems)).collect();
    Some(Cases { policy, trust, trusted_root, now, cases })
}

fn case(node: &Node, problems: &mut Problems) -> Option<Case> {
    let fields = problems.fields(node, "a case", CASE)?;
    let name = fields.require("name", problems)?;
    let name = problems.text(name, "`name` of a case")?;
    let bundle = fields.require("bundle", problems)?;
    let items = problems.items(bundle, "`bundle` of a case")?;
    let bundles: Option<Vec<RelPath>> =
        items.iter().map(|item| path(item, "`bundle` of a case", problems)).collect();
    let (file, digest) = about(&fields, node, problems)?;
    let expect = fields.require("expect", problems)?;
    let expect = expectation(expect, problems)?;
    Some(Case { name, bundles: bundles?, file, digest, expect, span: node.blame() })
}

fn about(
    fields: &Fields<'_>,
    node: &Node,
    problems: &mut Problems,
) -> Option<(Option<RelPath>, Option<Digest>)> {
    match (fields.get("file"), fields.get("digest")) {
        (Some(file), None) => Some((Some(path(file, "`file` of a case", problems)?), None)),
        (None, Some(digest)) => {
            let text = problems.text(digest, "`digest` of a case")?;
            let Ok(parsed) = text.parse() else {
                problems.wrong_value(digest, "`digest` of a case", "sha256: and 64 hex digits");
                return None;
            };
            Some((None, Some(parsed)))
        }
        _ => {
            problems.wrong_value(node, "a case", "exactly one of file and digest");
            None
        }
    }
}

fn expectation(node: &Node, problems: &mut Problems) -> Option<Expect> {
    match node.text() {
        Some("accept") => return Some(Expect::Accept),
        Some("refuse") => return Some(Expect::Refuse(None)),
        Some(_) => {
            problems.wrong_value(node, "`expect`", "accept, refuse or {refuse: RULE}");
            return None;
        }
        None => {}
    }
    let fields = problems.fields(node, "`expect`", REFUSE)?;
    let rule = fields.require("refuse", problems)?;
    problems.text(rule, "`refuse`").map(|rule| Expect::Refuse(Some(rule)))
}

fn path(node: &Node, label: &str, problems: &mut Problems) -> Option<RelPath> {
    let text = problems.text(node, label)?;
    let path = RelPath::new(&text).ok();
    if path.is_none() {
        problems.wrong_value(
            node,
            label,
            "a path below the table's folder, relative, without `..`",
        );
    }
    path
}
