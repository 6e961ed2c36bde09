//! Reads maps by a list of keys, scalars by type, and collects what is wrong.
//!
//! Every reader takes a node and answers `None` after it has noted a problem, so that one run tells all
//! that can be told. Nothing is dropped: a policy with a problem is no policy.

use super::node::{Key, Node, Span, Value};
use super::problem::{Problem, Wrong, brief};

/// Most problems that one run tells.
const PROBLEMS_MAX: usize = 50;

/// What is wrong so far.
#[derive(Default)]
pub(super) struct Problems(pub Vec<Problem>);

/// A map whose keys are all known.
#[derive(Clone)]
pub(super) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    /// Where the map stands.
    pub span: Span,
    /// What messages call it.
    pub owner: String,
}

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, span: Span, wrong: Wrong) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(Problem { span, wrong });
        }
    }

    /// Notes a value of another type.
    pub fn wrong_type(&mut self, node: &Node, label: &str, expected: &str) {
        let got = match node.scalar() {
            Some(text) if !text.is_empty() => format!("{}: {}", node.kind(), brief(text)),
            Some(_) | None => node.kind().to_owned(),
        };
        let (label, expected) = (label.to_owned(), expected.to_owned());
        self.add(node.blame(), Wrong::Type { label, expected, got });
    }

    /// Notes a value that is not allowed.
    pub fn wrong_value(&mut self, node: &Node, label: &str, expected: &str) {
        let got = node.scalar().map_or_else(|| node.kind().to_owned(), brief);
        let got = if got.is_empty() { "\"\"".to_owned() } else { got };
        let (label, expected) = (label.to_owned(), expected.to_owned());
        self.add(node.blame(), Wrong::Value { label, expected, got });
    }

    /// Returns the text of a string.
    pub fn text(&mut self, node: &Node, label: &str) -> Option<String> {
        let text = node.text().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(node, label, "a string");
        }
        text
    }

    /// Returns `true` or `false`.
    pub fn boolean(&mut self, node: &Node, label: &str) -> Option<bool> {
        let value = node.boolean();
        if value.is_none() {
            self.wrong_type(node, label, "true or false");
        }
        value
    }

    /// Returns a whole number within bounds.
    pub fn number(&mut self, node: &Node, label: &str, least: u64, most: u64) -> Option<u64> {
        let expected = format!("a whole number from {least} to {most}");
        match node.number() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            Some(_) => {
                self.wrong_value(node, label, &expected);
                None
            }
            None => {
                self.wrong_type(node, label, &expected);
                None
            }
        }
    }

    /// Returns one of a list of words.
    pub fn word(&mut self, node: &Node, label: &str, known: &[&str]) -> Option<String> {
        let text = self.text(node, label)?;
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        self.wrong_value(node, label, &format!("one of {}", known.join(", ")));
        None
    }

    /// Returns the items of a list that is not empty; one value alone is a list of one.
    pub fn items<'n>(&mut self, node: &'n Node, label: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.wrong_value(node, label, "at least one item");
                None
            }
            Value::List(items) => Some(items),
            Value::Scalar { .. } | Value::Map(_) => Some(std::slice::from_ref(node)),
        }
    }

    /// Returns the texts of a list, or of one value alone.
    pub fn texts(&mut self, node: &Node, label: &str) -> Option<Vec<String>> {
        let items = self.items(node, label)?;
        items.iter().map(|item| self.text(item, label)).collect()
    }

    /// Returns the words of a list, each one of `known`; the list may be empty.
    pub fn words(&mut self, node: &Node, label: &str, known: &[&str]) -> Option<Vec<String>> {
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.word(item, label, known)).collect(),
            Value::Scalar { .. } | Value::Map(_) => {
                self.wrong_type(node, label, "a list");
                None
            }
        }
    }

    /// Returns the entries of a map.
    pub fn map<'n>(&mut self, node: &'n Node, label: &str) -> Option<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Scalar { .. } | Value::List(_) => {
                self.wrong_type(node, label, "a map");
                None
            }
        }
    }

    /// Reads a map that may have these keys and no others.
    pub fn fields<'n>(
        &mut self,
        node: &'n Node,
        owner: &str,
        known: &'static [&'static str],
    ) -> Option<Fields<'n>> {
        let entries = self.map(node, owner)?;
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let (key_text, owner) = (brief(&key.text), owner.to_owned());
            self.add(key.span, Wrong::UnknownKey { key: key_text, owner, known });
        }
        Some(Fields { entries, span: node.blame(), owner: owner.to_owned() })
    }
}

impl<'n> Fields<'n> {
    /// Returns the value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }

    /// Returns where a key stands, or the map.
    pub fn span_of(&self, key: &str) -> Span {
        let found = self.entries.iter().find(|(found, _)| found.text == key);
        found.map_or(self.span, |(key, _)| key.span)
    }

    /// Returns the value of a key; its absence is a problem.
    pub fn require(&self, key: &'static str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            problems.add(self.span, Wrong::Missing { key, owner: self.owner.clone() });
        }
        found
    }
}
