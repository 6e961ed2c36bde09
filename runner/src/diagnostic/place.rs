//! Places in a text file: byte spans, and line and column with the line to show.
//!
//! Readers carry [`Span`]s, which are two numbers; only when something is wrong does a
//! [`FileText`] turn one into a [`Place`] for people. The line is cut out around the span, so a
//! diagnostic stays small however long the line is.
//!
//! Lines and columns count from 1; columns count characters, as editors do.

/// Longest part of a line that a snippet shows, in characters: two lines of a wide terminal.
const SNIPPET_CHARS_MAX: usize = 160;
/// How much of that stands before the span, in characters, if the line is cut.
const SNIPPET_CHARS_BEFORE: usize = 60;

/// A range of bytes in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The first byte after it.
    pub end: usize,
}

/// A text file with its name and the places of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileText {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    made_of: Option<Box<Origin>>,
}

/// What people wrote of which kiln made a text: an error points there, not at what they never saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What was written.
    pub written: FileText,
    /// Which span of the made text came from which span of what was written.
    pub parts: Vec<(Span, Span)>,
}

/// A place in a file, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user would name it.
    pub file: String,
    /// Where in it; none if the whole file is meant.
    pub position: Option<Position>,
    /// The line, if it may be shown.
    pub snippet: Option<Snippet>,
}

/// Line and column, both counted from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One line of a file, with the part that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// What stands before the part to blame.
    pub before: String,
    /// The part to blame; empty if the line as a whole is meant.
    pub blamed: String,
    /// What stands after it.
    pub after: String,
    /// A few words behind the caret.
    pub note: Option<String>,
}

impl Span {
    /// Returns the range from `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }
}

impl FileText {
    /// Takes the text of the file `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> FileText {
        let text = text.into();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        FileText { name: name.into(), text, line_starts, made_of: None }
    }

    /// Says that this text was made of another, whose places are shown instead of its own.
    pub fn made_of(self, origin: Origin) -> FileText {
        FileText { made_of: Some(Box::new(origin)), ..self }
    }

    /// Says whether it was made of another.
    pub fn is_made(&self) -> bool {
        self.made_of.is_some()
    }

    /// Returns the file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the line, counted from 1, that holds the byte at `offset`.
    pub fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Returns the place of `span`, with its first line; in a text that was made, the place of what it
    /// was made of.
    pub fn place(&self, span: Span) -> Place {
        if let Some(Origin { written, parts }) = self.made_of.as_deref() {
            let holds = |made: &Span| made.start <= span.start && span.start < made.end;
            let found = parts.iter().find(|(made, _)| holds(made));
            return found
                .map_or_else(|| written.place_of_line(1), |(_, from)| written.place(*from));
        }
        let start = floor(&self.text, span.start);
        let line = self.line_at(start);
        let from = self.line_starts[line - 1];
        let to = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        let whole = self.text[from..to].trim_end_matches('\r');
        let start = start.min(from + whole.len());
        let end = floor(&self.text, span.end).clamp(start, from + whole.len());
        let column = self.text[from..start].chars().count() + 1;
        Place {
            file: self.name.clone(),
            position: Some(Position { line, column }),
            snippet: Some(Snippet::cut(whole, start - from, end - from)),
        }
    }

    /// Returns the place of a whole line, counted from 1, without a part to blame.
    pub fn place_of_line(&self, line: usize) -> Place {
        let line = line.clamp(1, self.line_starts.len());
        self.place(Span::new(self.line_starts[line - 1], self.line_starts[line - 1]))
    }
}

impl Place {
    /// Returns the place that is a whole file.
    pub fn file(name: impl Into<String>) -> Place {
        Place { file: name.into(), position: None, snippet: None }
    }

    /// Returns the same place without its line, for lines that must not be repeated.
    pub fn without_snippet(self) -> Place {
        Place { snippet: None, ..self }
    }

    /// Adds a few words behind the caret.
    pub fn with_note(mut self, note: impl Into<String>) -> Place {
        if let Some(snippet) = &mut self.snippet {
            snippet.note = Some(note.into());
        }
        self
    }
}

impl Snippet {
    /// Cuts `line` around the bytes from `start` to `end`; both lie on letters.
    fn cut(line: &str, start: usize, end: usize) -> Snippet {
        let mut before = line[..start].to_owned();
        let mut blamed = line[start..end].to_owned();
        let mut after = line[end..].to_owned();
        if line.chars().count() > SNIPPET_CHARS_MAX {
            let letters = before.chars().count();
            if letters > SNIPPET_CHARS_BEFORE {
                before = before.chars().skip(letters - SNIPPET_CHARS_BEFORE).collect();
                before.insert(0, '…');
            }
            let room = SNIPPET_CHARS_MAX - before.chars().count();
            blamed = shorten(&blamed, room);
            after = shorten(&after, room - blamed.chars().count().min(room));
        }
        Snippet { before, blamed, after, note: None }
    }
}

/// Returns `text` with at most `room` letters, the last of them `…` if some are left out.
pub(super) fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Returns the nearest start of a letter at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_letters() {
        let file = FileText::new("f", "a\r\né: x\n\nlast");
        for (start, line, column) in
            [(0, 1, 1), (3, 2, 1), (5, 2, 2), (7, 2, 4), (9, 3, 1), (14, 4, 5)]
        {
            let place = file.place(Span::new(start, start + 1));
            assert_eq!(place.position, Some(Position { line, column }), "{start}");
        }
    }

    #[test]
    fn a_text_that_was_made_points_at_what_it_was_made_of() {
        let written = FileText::new("command line", "run --input src -- make");
        let parts = vec![(Span::new(8, 11), Span::new(4, 15))];
        let made = FileText::new("made", "local: \"src\"").made_of(Origin { written, parts });
        let place = made.place(Span::new(8, 9));
        assert_eq!((place.file.as_str(), place.position.unwrap().column), ("command line", 5));
        assert_eq!(place.snippet.unwrap().blamed, "--input src");
        let whole = made.place(Span::new(0, 5));
        assert_eq!(whole.snippet.unwrap().blamed, "");
    }

    #[test]
    fn spans_outside_the_text_or_inside_a_letter_do_not_panic() {
        let file = FileText::new("f", "é\n");
        for start in 0..9 {
            for end in 0..9 {
                file.place(Span { start, end });
            }
        }
        FileText::new("f", "").place(Span::new(5, 9));
        assert_eq!(file.place_of_line(99).position, Some(Position { line: 2, column: 1 }));
    }

    #[test]
    fn a_long_line_is_cut_around_the_blame() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let place = FileText::new("f", text).place(Span::new(5000, 5001));
        let snippet = place.snippet.unwrap();
        assert_eq!(snippet.blamed, "X");
        assert_eq!(snippet.before, format!("…{}", "a".repeat(SNIPPET_CHARS_BEFORE)));
        assert!(snippet.after.chars().count() <= SNIPPET_CHARS_MAX && snippet.after.ends_with('…'));
    }
}
