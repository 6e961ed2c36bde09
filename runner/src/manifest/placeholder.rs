//! Texts with placeholders: `{name}`, `{version}`, `{os}`, `{arch}`, `{matrix.AXIS}`.
//!
//! They stand in names, paths and values of `env`, never in `run`: a script reads environment
//! variables, so no value can become a command. `{{` and `}}` are literal braces. A value that is
//! put in is not read again, so a value with braces stays as it is.

use std::collections::BTreeMap;

use model::Ident;
use model::platform::Platform;

use super::matrix::Combination;
use super::node::{Node, Value};
use super::reader::{At, Problems, brief, text};
use crate::diagnostic::{Code, Diagnostic, Span, nearest};

/// A text with placeholders that are known to have a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Text(String),
    Name,
    Version,
    Os,
    Arch,
    Axis(Ident),
}

/// What the placeholders of one instance stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The project's name.
    pub name: &'a Ident,
    /// The project's version; empty where no template uses it.
    pub version: &'a str,
    /// The platform that is built for.
    pub platform: Platform,
    /// The values of the matrix.
    pub combination: &'a Combination,
}

/// Which placeholders a text may hold.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Whether the project has a version.
    pub version: bool,
    /// The axes of the matrix.
    pub axes: &'a BTreeMap<Ident, Vec<String>>,
    /// Whether the text belongs to one instance of a step or artifact. Sources and environments
    /// are shared by all, so there only `{name}` and `{version}` have one value.
    pub per_instance: bool,
}

impl Template {
    /// Returns a template without placeholders.
    pub fn literal(text: impl Into<String>) -> Template {
        Template { pieces: vec![Piece::Text(text.into())] }
    }

    /// Returns the text with every placeholder replaced.
    pub fn expand(&self, values: Values<'_>) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Name => out.push_str(values.name.as_str()),
                Piece::Version => out.push_str(values.version),
                Piece::Os => out.push_str(&values.platform.os.to_string()),
                Piece::Arch => out.push_str(&values.platform.arch.to_string()),
                Piece::Axis(axis) => out.push_str(values.combination.value(axis)),
            }
        }
        out
    }

    /// Says whether the text names an axis of the matrix.
    pub fn uses_axis(&self, axis: &Ident) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Axis(used) if used == axis))
    }

    /// Returns the text as it would be written, with braces doubled; for digests and print.
    pub fn source(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => escape_braces(text),
            Piece::Name => "{name}".to_owned(),
            Piece::Version => "{version}".to_owned(),
            Piece::Os => "{os}".to_owned(),
            Piece::Arch => "{arch}".to_owned(),
            Piece::Axis(axis) => format!("{{matrix.{axis}}}"),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Returns the text if it holds no placeholder.
    pub(super) fn as_literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Says whether the text as written ends in `/`.
    pub(super) fn ends_with_slash(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece::Text(text)) if text.ends_with('/'))
    }
}

/// Returns `text` such that reading it as a template gives it back.
pub(super) fn escape_braces(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Reads a string with placeholders.
pub(super) fn template(
    node: &Node,
    label: &str,
    scope: Scope<'_>,
    problems: &mut Problems<'_>,
) -> Option<At<Template>> {
    let text = text(node, label, problems)?;
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    let mut good = true;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            plain.push_str(&from[..1]);
            rest = after;
            continue;
        }
        let end = from.find('}').map_or(from.len(), |end| end + 1);
        let written = &from[..end];
        match piece(written, scope) {
            Ok(piece) => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(piece);
            }
            Err(diagnostic) => {
                good = false;
                let offset = text.len() - from.len();
                problems.add(within(node, offset, written, problems), *diagnostic);
            }
        }
        rest = &from[end..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    good.then(|| At::new(Template { pieces }, node.span))
}

/// Reads a string whose placeholders have one value for the whole project, and puts them in.
pub(super) fn fixed_text(
    node: &Node,
    label: &str,
    scope: Scope<'_>,
    name: &Ident,
    version: &str,
    problems: &mut Problems<'_>,
) -> Option<At<String>> {
    let scope = Scope { per_instance: false, ..scope };
    let template = template(node, label, scope, problems)?;
    let combination = Combination::default();
    let values = Values { name, version, platform: Platform::HERE, combination: &combination };
    Some(template.map(|template| template.expand(values)))
}

fn piece(written: &str, scope: Scope<'_>) -> Result<Piece, Box<Diagnostic>> {
    let word = written.trim_start_matches('{').trim_end_matches('}');
    let shown = brief(written);
    let closed = written.starts_with('{') && written.ends_with('}');
    let axis = word.strip_prefix("matrix.");
    let known = matches!(word, "os" | "arch") || axis.is_some();
    if closed && known && !scope.per_instance {
        return Err(Box::new(
            Diagnostic::new(
                Code::Placeholder,
                format!("placeholder `{shown}` is not allowed here"),
            )
            .expected("{name} or {version}")
            .got(shown)
            .why("sources and environments are the same for every platform and combination")
            .help("write the value out"),
        ));
    }
    match word {
        "name" if closed => return Ok(Piece::Name),
        "os" if closed => return Ok(Piece::Os),
        "arch" if closed => return Ok(Piece::Arch),
        "version" if closed && scope.version => return Ok(Piece::Version),
        "version" if closed => {
            return Err(Box::new(
                Diagnostic::new(
                    Code::Placeholder,
                    "`{version}` is used, but there is no `version`",
                )
                .help("add at the top:  version: \"0.1.0\""),
            ));
        }
        _ => {}
    }
    if let Some((axis, _)) =
        axis.and_then(|axis| scope.axes.get_key_value(&Ident::new(axis).ok()?).filter(|_| closed))
    {
        return Ok(Piece::Axis(axis.clone()));
    }
    Err(Box::new(unknown(word, shown, closed, scope)))
}

fn unknown(word: &str, shown: String, closed: bool, scope: Scope<'_>) -> Diagnostic {
    let mut known: Vec<String> = ["name", "version", "os", "arch"].map(str::to_owned).to_vec();
    known.extend(scope.axes.keys().map(|axis| format!("matrix.{axis}")));
    let near = nearest(word, known.iter().map(String::as_str));
    let headline = if closed { "unknown placeholder" } else { "a brace stands alone:" };
    let list: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    let diagnostic = Diagnostic::new(Code::Placeholder, format!("{headline} `{shown}`"))
        .expected(list.join(", "))
        .got(shown);
    match near.first() {
        Some(name) => diagnostic.help(format!("did you mean `{{{name}}}`?")),
        None => diagnostic.help("for literal braces write {{ and }}"),
    }
}

/// Returns the place of `written`, which stands `offset` bytes into the value, if the value stands
/// in the file as it is; else the place of the whole value.
fn within(node: &Node, offset: usize, written: &str, problems: &Problems<'_>) -> Span {
    let quote = match &node.value {
        Value::Scalar(scalar) => usize::from(!scalar.plain),
        Value::List(_) | Value::Map(_) => 0,
    };
    let start = node.span.start + quote + offset;
    let end = start + written.len();
    let same = problems.text().get(start..end) == Some(written);
    if same && end <= node.span.end { Span::new(start, end) } else { node.span }
}
