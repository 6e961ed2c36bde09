//! From the bytes of a policy to a tree of `Node`s: the one file here that names the YAML reader.
//!
//! The reader's events are used, not its conversion to types, so that every refusal can point at the
//! very letter. Tags, anchors, aliases, merge keys, directives and second documents are refused: there
//! is one way to write a thing and nothing to expand. Memory and time are bounded before anything is
//! built.
//!
//! Source: YAML 1.2.2.

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, options};

use super::node::{Key, Node, Span, Value};
use super::problem::{Problem, Wrong, brief};

/// Largest policy, in bytes: a hundred times the usual.
pub(super) const FILE_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting of maps and lists; the format needs five.
const DEPTH_MAX: usize = 16;
/// Most values and keys.
const NODES_MAX: usize = 10_000;

/// Returns the text of a policy.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        let why = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", bytes.len());
        return Err(unreadable(Span::default(), why));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) | Err(_) => Err(unreadable(Span::default(), "the file is no UTF-8 text".to_owned())),
    }
}

/// Returns the one document of a policy as a tree.
pub(super) fn tree_of(text: &str) -> Result<Node, Problem> {
    let limits = options! {
        disallow_directives: true,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut builder = Builder { nodes: 0, open: Vec::new(), root: None };
    for event in Parser::new_from_str_with_options(text, limits) {
        let (event, span) = event.map_err(|error| {
            let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
            unreadable(
                Span { start: at, end: at },
                format!("the file is no YAML: {}", error.info()),
            )
        })?;
        let range = span.byte_range().unwrap_or(text.len()..text.len());
        let here = Span { start: range.start.min(text.len()), end: range.end.min(text.len()) };
        if span.tag_span().is_some() {
            return Err(unreadable(
                here,
                "a tag is not allowed: quote the value instead".to_owned(),
            ));
        }
        builder.take(event, here)?;
    }
    builder.root.ok_or_else(|| unreadable(Span::default(), "the file is empty".to_owned()))
}

/// A map or list that is not closed yet.
enum Open {
    List { start: usize, items: Vec<Node> },
    Map { start: usize, entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder {
    nodes: usize,
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, here: Span) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, ..) => {
                self.count(here)?;
                self.scalar(text.into_owned(), style == ScalarStyle::Plain, here)
            }
            Event::SequenceStart(..) => {
                self.start(Open::List { start: here.start, items: Vec::new() }, here)
            }
            Event::MappingStart(..) => {
                self.start(Open::Map { start: here.start, entries: Vec::new(), key: None }, here)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                match self.open.pop() {
                    Some(Open::List { start, items }) => {
                        self.put(Node {
                            span: Span { start, end: here.end },
                            value: Value::List(items),
                        });
                    }
                    Some(Open::Map { start, entries, .. }) => {
                        self.put(Node {
                            span: Span { start, end: here.end },
                            value: Value::Map(entries),
                        });
                    }
                    None => {}
                }
                Ok(())
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(unreadable(here, "a second document starts here".to_owned()))
            }
            Event::Anchor(..) | Event::Alias(_) | Event::UnresolvedAlias(_) => Err(unreadable(
                here,
                "anchors and aliases are not allowed: write the value out".to_owned(),
            )),
            // Stream and document marks, and comments: no part of the tree.
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: String, plain: bool, span: Span) -> Result<(), Problem> {
        if let Some(Open::Map { key, entries, .. }) = self.open.last_mut()
            && key.is_none()
        {
            if plain && text == "<<" {
                return Err(unreadable(
                    span,
                    "a merge key is not allowed: write the keys out".to_owned(),
                ));
            }
            if entries.iter().any(|(known, _)| known.text == text) {
                return Err(Problem { span, wrong: Wrong::Twice { key: brief(&text) } });
            }
            *key = Some(Key { span, text });
            return Ok(());
        }
        self.put(Node { span, value: Value::Scalar { text, plain } });
        Ok(())
    }

    fn start(&mut self, open: Open, span: Span) -> Result<(), Problem> {
        self.count(span)?;
        if matches!(self.open.last(), Some(Open::Map { key: None, .. })) {
            return Err(unreadable(span, "a key must be a string".to_owned()));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(unreadable(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
        }
    }

    fn count(&mut self, span: Span) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(unreadable(span, format!("the file holds more than {NODES_MAX} keys and values")))
    }
}

fn unreadable(span: Span, why: String) -> Problem {
    Problem { span, wrong: Wrong::Unreadable { why } }
}
