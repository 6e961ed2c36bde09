//! Reads maps by table, scalars by type, and collects what is wrong.
//!
//! Every reader takes a node and answers `None` after it has noted a problem, so one run tells as
//! many problems as can be told. A [`Table`] is the only list of the keys of a map: what is read,
//! what messages offer and what the JSON Schema holds are compared with it by a test.

use model::{Ident, RelPath};

use super::node::{Key, Node, Type, Value};
use crate::diagnostic::{Code, Diagnostic, FileText, Span, nearest, one_of};

/// Most problems that one run tells: more than anyone reads, and it bounds the work.
const PROBLEMS_MAX: usize = 50;
/// Longest piece of the file that a message repeats, in characters.
const BRIEF_CHARS_MAX: usize = 80;

/// A value and where it stands in the build file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// The keys of one kind of map.
#[derive(Debug)]
pub(super) struct Table {
    /// What such a map is called: `step`, `source of kind local`.
    pub noun: &'static str,
    /// The keys it may have, sorted.
    pub keys: &'static [&'static str],
    /// Keys kept free for a later schema.
    pub reserved: &'static [&'static str],
}

/// What is wrong with the file so far.
pub(super) struct Problems<'a> {
    file: &'a FileText,
    found: Vec<(Span, Diagnostic)>,
}

/// A map whose keys have been checked against a table.
pub(super) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    span: Span,
    /// What messages call it: ``step `build` ``; empty for the file itself.
    pub owner: String,
}

impl<T> At<T> {
    /// Puts a value at a place.
    pub fn new(value: T, span: Span) -> At<T> {
        At { value, span }
    }

    /// Changes the value and keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), span: self.span }
    }
}

impl<'a> Problems<'a> {
    /// Returns an empty list of problems of `file`.
    pub fn of(file: &'a FileText) -> Problems<'a> {
        Problems { file, found: Vec::new() }
    }

    /// Notes a problem at `span`. One that names no remedy points at the long text of its code.
    pub fn add(&mut self, span: Span, diagnostic: Diagnostic) {
        if self.is_full() {
            return;
        }
        let mut diagnostic = diagnostic.at(self.file.place(span));
        if diagnostic.help.is_empty() {
            let code = diagnostic.code;
            diagnostic =
                diagnostic.help(format!("what is allowed, with an example:  kiln explain {code}"));
        }
        self.found.push((span, diagnostic));
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Says whether further problems are dropped, so that nobody need look for them.
    pub fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    /// Returns the line of `span`, for "first at line".
    pub fn line_of(&self, span: Span) -> usize {
        self.file.line_at(span.start)
    }

    /// Returns the text that is read.
    pub fn text(&self) -> &'a str {
        self.file.text()
    }

    /// Returns the problems in the order of the file. A line with a credential is shown by none.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(span, diagnostic)| (span.start, diagnostic.code));
        // The line that is shown, which in a text that was made is not the line of the span.
        let line = |diagnostic: &Diagnostic| {
            diagnostic.place.as_ref().and_then(|place| place.position).map(|at| at.line)
        };
        let secret: Vec<Option<usize>> = self
            .found
            .iter()
            .filter(|(_, diagnostic)| diagnostic.code == Code::Credential)
            .map(|(_, diagnostic)| line(diagnostic))
            .collect();
        let hide = |(_, mut diagnostic): (Span, Diagnostic)| {
            if secret.contains(&line(&diagnostic)) {
                diagnostic.place = diagnostic.place.map(crate::diagnostic::Place::without_snippet);
            }
            diagnostic
        };
        self.found.into_iter().map(hide).collect()
    }
}

impl<'n> Fields<'n> {
    /// Checks that `node` is a map with keys of `table` only. `owner` is what messages call it.
    pub fn read(
        node: &'n Node,
        table: &Table,
        owner: impl Into<String>,
        problems: &mut Problems<'_>,
    ) -> Option<Fields<'n>> {
        let owner = owner.into();
        let label = if owner.is_empty() { "the build file" } else { &owner };
        let entries = map(node, label, problems)?;
        for (key, _) in entries {
            if table.reserved.contains(&key.text.as_str()) {
                problems.add(key.span, reserved_key(&key.text));
            } else if !table.keys.contains(&key.text.as_str()) {
                problems.add(key.span, unknown_key(&key.text, table, &owner));
            }
        }
        Some(Fields { entries, span: node.span, owner })
    }

    /// Returns the value of `key`, if it is given.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Returns the place of `key` itself, or of the map.
    pub fn key_span(&self, key: &str) -> Span {
        self.entry(key).map_or(self.head(), |(key, _)| key.span)
    }

    /// Returns the value of `key`; its absence is a problem.
    pub fn require(&self, key: &str, help: &str, problems: &mut Problems<'_>) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let of = if self.owner.is_empty() { "the build file" } else { &self.owner };
            let headline = format!("{of} has no `{key}`");
            problems.add(self.head(), Diagnostic::new(Code::MissingKey, headline).help(help));
        }
        found
    }

    /// Returns what messages call the value of `key`.
    pub fn label(&self, key: &str) -> String {
        if self.owner.is_empty() {
            format!("`{key}`")
        } else {
            format!("`{key}` of {}", self.owner)
        }
    }

    /// Returns the place to blame for something absent: the first key, else the map.
    pub fn head(&self) -> Span {
        self.entries
            .first()
            .map_or(Span::new(self.span.start, self.span.start + 1), |(key, _)| key.span)
    }

    fn entry(&self, key: &str) -> Option<&'n (Key, Node)> {
        self.entries.iter().find(|(found, _)| found.text == key)
    }
}

/// Returns a piece of the file, short enough for a message.
pub(super) fn brief(text: &str) -> String {
    if text.chars().nth(BRIEF_CHARS_MAX).is_none() {
        return text.to_owned();
    }
    text.chars().take(BRIEF_CHARS_MAX - 1).chain(['…']).collect()
}

/// Returns the value of a string.
pub(super) fn text<'n>(
    node: &'n Node,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    let found = node.text();
    if found.is_none() {
        wrong_type(node, label, "a string", problems);
    }
    found
}

/// Returns the value of `true` or `false`.
pub(super) fn boolean(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<bool> {
    match (node.kind(), node.scalar_text()) {
        (Type::Boolean, Some(text)) => Some(text.eq_ignore_ascii_case("true")),
        _ => {
            wrong_type(node, label, "true or false", problems);
            None
        }
    }
}

/// Returns the value of a decimal integer within `range`.
pub(super) fn integer(
    node: &Node,
    label: &str,
    range: std::ops::RangeInclusive<u64>,
    problems: &mut Problems<'_>,
) -> Option<u64> {
    if node.kind() != Type::Integer {
        wrong_type(node, label, "an integer", problems);
        return None;
    }
    let text = node.scalar_text().unwrap_or_default();
    let value = text.parse().ok().filter(|value| range.contains(value));
    if value.is_none() {
        let expected = match (*range.start(), *range.end()) {
            (least, u64::MAX) => format!("an integer of at least {least}"),
            (least, most) => format!("an integer from {least} to {most}"),
        };
        wrong_value(node, label, &expected, problems);
    }
    value
}

/// Returns the items of a list.
pub(super) fn list<'n>(
    node: &'n Node,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        Value::Scalar(_) | Value::Map(_) => {
            wrong_type(node, label, "a list", problems);
            None
        }
    }
}

/// Returns the strings of a list; those that are none are noted and left out.
pub(super) fn texts(
    node: &Node,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<Vec<At<String>>> {
    let items = list(node, label, problems)?;
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        if let Some(value) = text(item, &format!("an item of {label}"), problems) {
            found.push(At::new(value.to_owned(), item.span));
        }
    }
    Some(found)
}

/// Returns the entries of a map.
pub(super) fn map<'n>(
    node: &'n Node,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n [(Key, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        Value::Scalar(_) | Value::List(_) => {
            wrong_type(node, label, "a map", problems);
            None
        }
    }
}

/// Returns an identifier.
pub(super) fn ident(
    text: &str,
    span: Span,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<At<Ident>> {
    match Ident::new(text) {
        Ok(ident) => Some(At::new(ident, span)),
        Err(_) => {
            problems.add(
                span,
                Diagnostic::new(Code::WrongValue, format!("{label} is no identifier"))
                    .expected("a lower-case letter, then at most 62 of a-z, 0-9 and -")
                    .got(quoted(text))
                    .help(match super::template::ident_of(text) {
                        Some(near) => format!("for example:  {near}"),
                        None => "choose another".to_owned(),
                    }),
            );
            None
        }
    }
}

/// Returns a path without placeholders, relative to `root`, which messages name.
pub(super) fn path(
    text: &str,
    span: Span,
    label: &str,
    root: &str,
    problems: &mut Problems<'_>,
) -> Option<RelPath> {
    RelPath::new(text).map_err(|error| problems.add(span, bad_path(text, label, root, error))).ok()
}

/// Returns the problem with a text that is no relative path.
pub(super) fn bad_path(
    text: &str,
    label: &str,
    root: &str,
    error: model::relpath::PathError,
) -> Diagnostic {
    use model::relpath::PathError as E;
    let shown = quoted(text);
    match error {
        E::Parent | E::Absolute => {
            Diagnostic::new(Code::PathLeaves, format!("{label} leaves {root}"))
                .expected(format!("a path below {root}, relative, without `..`"))
                .got(shown)
                .help(format!("write it relative to {root}"))
        }
        E::Empty | E::Nul | E::NotAbsolute | E::Slash | E::TooLong | E::NotIdent => {
            Diagnostic::new(Code::WrongValue, format!("{label} {error}"))
                .expected(format!("a path below {root}"))
                .got(shown)
        }
    }
}

/// Notes that a value has another type.
pub(super) fn wrong_type(node: &Node, label: &str, expected: &str, problems: &mut Problems<'_>) {
    let kind = node.kind();
    let scalar = node.scalar_text().filter(|text| !text.is_empty()).map(brief);
    let got = match &scalar {
        Some(text) => format!("{}: {text}", kind.name()),
        None => kind.name().to_owned(),
    };
    let mut diagnostic = Diagnostic::new(Code::WrongType, format!("{label} has the wrong type"))
        .expected(expected)
        .got(got);
    match (expected, kind, scalar) {
        ("a string", Type::Boolean | Type::Integer | Type::Number | Type::Null, Some(text)) => {
            diagnostic = diagnostic.help(format!("quote it:  \"{text}\""));
        }
        ("a list", Type::Text, Some(text)) => {
            diagnostic = diagnostic.help(format!("put it in brackets:  [{text}]"));
        }
        ("a map", Type::Null, _) => diagnostic = diagnostic.help("for an empty map write {}"),
        _ => {}
    }
    problems.add(value_span(node), diagnostic);
}

/// Notes that a value is outside what is allowed.
pub(super) fn wrong_value(node: &Node, label: &str, expected: &str, problems: &mut Problems<'_>) {
    let got = node.scalar_text().map_or_else(|| node.kind().name().to_owned(), quoted);
    problems.add(
        value_span(node),
        Diagnostic::new(Code::WrongValue, format!("{label} is not allowed"))
            .expected(expected)
            .got(got),
    );
}

/// Returns the problem of a name that refers to nothing, with what exists.
pub(super) fn unknown_name<'s>(
    headline: String,
    name: &str,
    known: impl IntoIterator<Item = &'s str>,
) -> Diagnostic {
    let known: Vec<&str> = known.into_iter().collect();
    let near = nearest(name, known.iter().copied());
    let diagnostic =
        Diagnostic::new(Code::UnknownName, headline).expected(one_of(known)).got(brief(name));
    match near.as_slice() {
        [] => diagnostic.help("declare it, or name one that there is"),
        near => with_guess(diagnostic, near),
    }
}

/// Returns the place to blame for a value: a map or list is blamed at its first letter.
pub(super) fn value_span(node: &Node) -> Span {
    match node.value {
        Value::Scalar(_) => node.span,
        Value::List(_) | Value::Map(_) => Span::new(node.span.start, node.span.start + 1),
    }
}

/// Returns a text as a message shows it: short, and visible when it is empty or has spaces.
pub(super) fn quoted(text: &str) -> String {
    let short = brief(text);
    let plain = !short.is_empty() && !short.contains(|letter: char| letter.is_whitespace());
    if plain { short } else { format!("\"{short}\"") }
}

fn with_guess(diagnostic: Diagnostic, near: &[&str]) -> Diagnostic {
    match near {
        [] => diagnostic,
        [only] => diagnostic.help(format!("did you mean `{only}`?")),
        [first, rest @ ..] => {
            diagnostic.help(format!("did you mean `{first}` or `{}`?", rest.join("` or `")))
        }
    }
}

fn reserved_key(key: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::Reserved, format!("key `{key}` is reserved"))
        .why("a later version of the schema may use it");
    match key {
        "network" => diagnostic.help("no step has a network: name what it needs under `sources`"),
        "secrets" => {
            diagnostic.help("no step has secrets: fetch credentials stay with the host's clients")
        }
        "cache" => diagnostic.help("whole steps are cached by themselves: remove the key"),
        _ => diagnostic.help("remove it"),
    }
}

/// Words of other tools, and what kiln says instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("args", "`run` as a list of strings is a program with its arguments"),
    ("artifact", "what is handed over stands at the top level, under `artifacts`"),
    ("cmd", "did you mean `run`?"),
    ("command", "did you mean `run`?"),
    ("commands", "did you mean `run`? Several commands make one script:  run: |"),
    ("container", "did you mean `environment`?"),
    ("depends-on", "did you mean `needs`? An output is taken with `from`, which implies order"),
    ("depends_on", "did you mean `needs`? An output is taken with `from`, which implies order"),
    ("environment-variables", "did you mean `env`?"),
    ("image", "did you mean `environment`, with `{oci: …}`?"),
    ("inputs", "inputs of a step are `mount` (sources) and `from` (outputs of other steps)"),
    ("jobs", "did you mean `steps`?"),
    ("network", "no step has a network: name what it needs under `sources`"),
    ("script", "did you mean `run`?"),
    ("secrets", "no step has secrets: fetch credentials stay with the host's clients"),
    ("variables", "did you mean `env`?"),
    ("working-directory", "the work folder is /build everywhere:  run: cd DIR && …"),
];

fn unknown_key(key: &str, table: &Table, owner: &str) -> Diagnostic {
    let place = if owner.is_empty() { String::new() } else { format!(" in {owner}") };
    let diagnostic =
        Diagnostic::new(Code::UnknownKey, format!("unknown key `{}`{place}", brief(key)))
            .expected(one_of(table.keys.iter().copied()))
            .got(brief(key));
    let near = nearest(key, table.keys.iter().copied());
    match ELSEWHERE.iter().find(|(word, _)| near.is_empty() && *word == key) {
        Some((_, help)) => diagnostic.help(*help),
        None if key == "outputs" && table.noun == "test" => {
            diagnostic.help("a test ships nothing; what shall leave the sandbox is made by a step")
        }
        None if near.is_empty() => diagnostic.help("remove it, or move it to where it belongs"),
        None => with_guess(diagnostic, &near),
    }
}
