//! From bytes to a tree of [`Node`]s: the one file that names the YAML reader.
//!
//! The reader's events are used, not its conversion to types: events carry spans, quoting, tags
//! and anchors, and so every refusal can point at the very letter. Tags, anchors, aliases, merge
//! keys, directives and second documents are refused, so there is one way to write a thing and
//! nothing to expand before hashing.
//!
//! Memory and time are bounded before anything is built: [`FILE_BYTES_MAX`], [`NODES_MAX`],
//! [`DEPTH_MAX`]. Reads no file; nothing is included.
//!
//! Source: YAML 1.2.2; the build file's reference, section 1.

use std::collections::HashSet;

use serde_yaml::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, options};

use super::node::{Key, Node, Scalar, Value};
use super::reader::brief;
use crate::diagnostic::{Code, Diagnostic, FileText, Span};

/// Largest build file, in bytes: a thousand times the usual.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of maps and lists; the schema needs seven.
pub const DEPTH_MAX: usize = 64;
/// Most values and keys in one file; bounds memory at some megabytes.
pub const NODES_MAX: usize = 20_000;

/// What is wrong with a file that cannot be read at all; boxed, since it is rare and large.
type Refused = Box<Diagnostic>;

type Spanned = serde_yaml::granit_parser::Span;

/// Returns the text of a file, or why its bytes are no text that is read.
pub(super) fn text_of(bytes: &[u8], file: &str) -> Result<FileText, Refused> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(refuse_all(&FileText::new(file, ""), "the file is too large")
            .expected(format!("at most {FILE_BYTES_MAX} bytes"))
            .got(format!("{} bytes", bytes.len()))
            .help("keep data out of the build file: put it beside, as a source")
            .into());
    }
    let sixteen = matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, 0, _, ..])
        || matches!(bytes, [first, 0, second, 0, ..] if *first != 0 && *second != 0);
    if sixteen {
        return Err(refuse_all(&FileText::new(file, ""), "the file is not UTF-8")
            .expected("UTF-8")
            .got("UTF-16")
            .help(format!("convert it:  iconv -f UTF-16 -t UTF-8 {file} > new.yaml"))
            .into());
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = FileText::new(file, String::from_utf8_lossy(good));
            let bad = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            let end = Span::new(good.text().len(), good.text().len());
            return Err(refuse(&good, end, "the file is not UTF-8")
                .expected("UTF-8 text")
                .got(format!("the byte 0x{bad:02x}"))
                .help("is it a binary file? If not, save it as UTF-8")
                .into());
        }
    };
    let file = FileText::new(file, text.strip_prefix('\u{feff}').unwrap_or(text));
    match file.text().find('\0') {
        None => Ok(file),
        Some(at) => Err(refuse(&file, Span::new(at, at), "the file holds a NUL byte")
            .expected("UTF-8 text")
            .got("the byte 0x00")
            .help("is it a binary file? If not, remove the byte")
            .into()),
    }
}

/// Returns the one document of a file as a tree. Duplicate keys are noted in `duplicates`, and the
/// first one counts.
pub(super) fn tree_of(
    file: &FileText,
    duplicates: &mut Vec<(Span, Diagnostic)>,
) -> Result<Node, Refused> {
    let limits = options! {
        disallow_directives: true,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut builder = Builder { file, nodes: 0, open: Vec::new(), root: None, duplicates };
    for event in Parser::new_from_str_with_options(file.text(), limits) {
        let (event, span) = event.map_err(|error| Box::new(unreadable(file, &error)))?;
        builder.take(event, span)?;
    }
    builder.root.ok_or_else(|| {
        refuse_all(file, "the file is empty")
            .expected("at least kiln, name and steps")
            .help("write one:  kiln init")
            .into()
    })
}

/// A map or list that is not closed yet.
enum Open {
    List { start: Span, items: Vec<Node> },
    Map { start: Span, entries: Vec<(Key, Node)>, seen: HashSet<String>, key: Option<(Key, bool)> },
}

struct Builder<'a> {
    file: &'a FileText,
    nodes: usize,
    open: Vec<Open>,
    root: Option<Node>,
    duplicates: &'a mut Vec<(Span, Diagnostic)>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Spanned) -> Result<(), Refused> {
        let here = bytes_of(self.file, &span);
        if let Some(tag) = span.tag_span() {
            return Err(refuse(self.file, bytes_of(self.file, &tag), "a tag is not allowed here")
                .why("a value has the type that its form gives it")
                .help("remove the tag; quote the value if it shall be a string")
                .into());
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                self.scalar(Scalar { text: text.into_owned(), plain }, here)
            }
            Event::SequenceStart(..) => {
                self.start(Open::List { start: here, items: Vec::new() }, here)
            }
            Event::MappingStart(..) => {
                let (entries, seen) = (Vec::new(), HashSet::new());
                self.start(Open::Map { start: here, entries, seen, key: None }, here)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(here),
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(refuse(self.file, here, "a second document starts here")
                    .expected("one document")
                    .help("remove the line `---` and what follows, or make it a file of its own")
                    .into())
            }
            Event::Anchor(..) => Err(refuse(self.file, here, "an anchor is not allowed")
                .why("nothing is expanded before the file is hashed")
                .help("write the value out where it is used")
                .into()),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                Err(refuse(self.file, here, "an alias is not allowed")
                    .why("nothing is expanded before the file is hashed")
                    .help("write the value out; a string that starts with `*` must be quoted")
                    .into())
            }
            // Stream and document marks, and comments: no part of the tree.
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, scalar: Scalar, span: Span) -> Result<(), Refused> {
        self.count(span)?;
        let Some(Open::Map { key, seen, .. }) = self.open.last_mut() else {
            return self.put(Node { span, value: Value::Scalar(scalar) });
        };
        if key.is_some() {
            return self.put(Node { span, value: Value::Scalar(scalar) });
        }
        if scalar.plain && scalar.text == "<<" {
            return Err(refuse(self.file, span, "a merge key is not allowed")
                .why("nothing is expanded before the file is hashed")
                .help("write the keys out")
                .into());
        }
        let fresh = seen.insert(scalar.text.clone());
        if !fresh {
            let headline = format!("key `{}` is given twice", brief(&scalar.text));
            let diagnostic = Diagnostic::new(Code::Duplicate, headline).help("keep one of the two");
            self.duplicates.push((span, diagnostic));
        }
        *key = Some((Key { span, text: scalar.text }, fresh));
        Ok(())
    }

    fn start(&mut self, open: Open, span: Span) -> Result<(), Refused> {
        self.count(span)?;
        if matches!(self.open.last(), Some(Open::Map { key: None, .. })) {
            return Err(refuse(self.file, span, "a key must be a string")
                .expected("a string")
                .help("a text that starts with `{`, `[` or `-` must be quoted")
                .into());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(self.file, span).into());
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Refused> {
        match self.open.pop() {
            Some(Open::List { start, items }) => {
                let span = Span::new(start.start, end.end);
                self.put(Node { span, value: Value::List(items) })
            }
            Some(Open::Map { start, entries, .. }) => {
                let span = Span::new(start.start, end.end);
                self.put(Node { span, value: Value::Map(entries) })
            }
            None => Ok(()),
        }
    }

    fn put(&mut self, node: Node) -> Result<(), Refused> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some((key, true)) = key.take() {
                    entries.push((key, node));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, span: Span) -> Result<(), Refused> {
        self.nodes += 1;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(refuse(self.file, span, "the file holds too many values")
            .expected(format!("at most {NODES_MAX} keys and values"))
            .help("use `matrix` for steps that differ in one word")
            .into())
    }
}

fn bytes_of(file: &FileText, span: &Spanned) -> Span {
    let end = file.text().len();
    let range = span.byte_range().unwrap_or(end..end);
    Span::new(range.start.min(end), range.end.min(end))
}

fn refuse(file: &FileText, span: Span, headline: &str) -> Diagnostic {
    Diagnostic::new(Code::NotYaml, headline).at(file.place(span))
}

/// Refuses a file of which no line is worth showing.
fn refuse_all(file: &FileText, headline: &str) -> Diagnostic {
    let place = file.place(Span::default()).without_snippet();
    Diagnostic::new(Code::NotYaml, headline).at(place)
}

fn too_deep(file: &FileText, span: Span) -> Diagnostic {
    refuse(file, span, "maps and lists are nested too deep")
        .expected(format!("at most {DEPTH_MAX} levels"))
        .help("is a bracket left open? The build file needs seven levels")
}

/// Turns the reader's own error into one of ours, with a remedy for the mistakes people make.
fn unreadable(file: &FileText, error: &ScanError) -> Diagnostic {
    let end = file.text().len();
    let at = error.marker().byte_offset().unwrap_or(end).min(end);
    let letter = file.text()[at..].chars().next().filter(|letter| !letter.is_control());
    let here = Span::new(at, at + letter.map_or(0, char::len_utf8));
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(file, here),
        ErrorKind::DirectiveDisallowed => refuse(file, here, "a directive is not allowed")
            .why("the file is YAML 1.2 without directives")
            .help("remove the line that starts with `%`"),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => {
            let tab = file.text()[..at].trim_end_matches('\t').len();
            refuse(file, Span::new(tab, tab + 1), "a tab stands where spaces must")
                .help("indent with spaces")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            refuse(file, here, "a quoted string is not closed").help("add the missing quote")
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            refuse(file, here, &format!("a `{open}` is not closed"))
                .help(format!("add the missing `{}`", if *open == '[' { ']' } else { '}' }))
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            refuse(file, here, &format!("a `{open}` is closed by `{close}`"))
                .help("close each bracket with its own kind")
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            refuse(file, here, "a `:` makes a second value here")
                .help("align the key with the others, or quote the string that holds `: `")
        }
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            refuse(file, Span::new(at, at), "a control character stands here")
                .help("remove it, or write it in double quotes as an escape:  \"\\u001b\"")
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            refuse(file, here, "this character cannot start a value")
                .help("quote the string: `@`, `` ` `` and `%` may not stand first")
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            refuse(file, here, "a key has no `:`").help("write it as  key: value")
        }
        // The reader's list of errors is open; the rest is told in its own words.
        _ => refuse(file, here, "the file is not YAML")
            .why(error.info())
            .help("check the indentation and the punctuation of this line and the one before"),
    }
}
