//! Renders a diagnostic as text: headline, place with caret, values, why, help.
//!
//! Written by hand, since the shape is ours to keep: scripts and eyes learn it. Every untrusted
//! byte goes through `model::text`, so a file cannot move the cursor or forge a second error.
//!
//! Source: the command line reference, section 4.1, with the examples of section 4.2.

use std::fmt::Write as _;

use model::address::without_credentials;
use model::text::escape;

use super::place::Snippet;
use super::{Diagnostic, Place};

/// Columns used where the terminal's width is not known: room for a digest with its label and size.
pub const COLUMNS_DEFAULT: usize = 104;
/// Fewest columns that text is wrapped to; a narrower terminal wraps by itself.
const COLUMNS_MIN: usize = 48;
/// Column at which the values of `expected:`, `got:` and `from:` start.
const VALUE_COLUMN: usize = 12;

/// How diagnostics are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Snippet, caret and colours.
    Coloured,
    /// Snippet and caret, no colours.
    Drawn,
    /// Plain sentences without drawing characters, for `NO_COLOR` and dumb terminals.
    Sentences,
}

#[derive(Clone, Copy)]
enum Ink {
    Bad,
    Faint,
    Label,
    Good,
}

impl Style {
    fn paint(self, ink: Ink, text: &str) -> String {
        let number = match (self, ink) {
            (Style::Drawn | Style::Sentences, _) => return text.to_owned(),
            (Style::Coloured, Ink::Bad) => "1;31",
            (Style::Coloured, Ink::Faint) => "34",
            (Style::Coloured, Ink::Label) => "1",
            (Style::Coloured, Ink::Good) => "36",
        };
        format!("\u{1b}[{number}m{text}\u{1b}[0m")
    }
}

impl Diagnostic {
    /// Returns the diagnostic as lines of text, each ended by a newline, wrapped at `columns`
    /// where it can be.
    pub fn render(&self, style: Style, columns: usize) -> String {
        let columns = columns.max(COLUMNS_MIN);
        match style {
            Style::Coloured | Style::Drawn => self.drawn(style, columns),
            Style::Sentences => self.sentences(),
        }
    }

    fn drawn(&self, style: Style, columns: usize) -> String {
        let mut out = style.paint(Ink::Bad, &format!("error[{}]", self.code));
        out.push_str(": ");
        out.push_str(&style.paint(Ink::Label, &clean(&self.headline)));
        out.push('\n');
        if let Some(place) = &self.place {
            draw_place(&mut out, style, place);
        }
        for (label, value) in self.values() {
            let label = format!("  {:<width$}", format!("{label}:"), width = VALUE_COLUMN - 2);
            out.push_str(&style.paint(Ink::Faint, &label));
            push_wrapped(&mut out, &clean(value), VALUE_COLUMN, columns);
        }
        if let Some(why) = &self.why {
            out.push_str(&style.paint(Ink::Label, "why"));
            out.push_str(": ");
            push_wrapped(&mut out, &clean(why), 5, columns);
        }
        for help in self.remedies() {
            for (index, line) in help.split('\n').enumerate() {
                let label = if index == 0 { "help: " } else { "      " };
                out.push_str(&style.paint(Ink::Good, label));
                out.push_str(&clean(line));
                out.push('\n');
            }
        }
        out
    }

    fn sentences(&self) -> String {
        let mut out = format!("error {}: {}", self.code, clean(&self.headline));
        if let Some(place) = &self.place {
            let _ = write!(out, ", in {}", escape(place.file.as_bytes()));
            if let Some(position) = place.position {
                let _ = write!(out, ", line {}, column {}", position.line, position.column);
            }
        }
        out.push_str(".\n");
        for (label, value) in self.values() {
            let _ = writeln!(out, "{label}: {}.", clean(value));
        }
        if let Some(why) = &self.why {
            let _ = writeln!(out, "why: {}.", clean(why));
        }
        for line in self.remedies().iter().flat_map(|help| help.split('\n')) {
            let _ = writeln!(out, "help: {}", clean(line.trim()));
        }
        out
    }

    fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("expected", &self.expected), ("got", &self.got), ("from", &self.from)]
            .into_iter()
            .filter_map(|(label, value)| value.as_deref().map(|value| (label, value)))
            .chain(self.causes.iter().map(|cause| ("cause", cause.as_str())))
    }
}

/// Returns a text as it is shown: escaped, and without the credential of any address in it.
fn clean(text: &str) -> String {
    escape(without_credentials(text).as_bytes())
}

fn draw_place(out: &mut String, style: Style, place: &Place) {
    let number = place.position.map(|position| position.line.to_string()).unwrap_or_default();
    let width = number.len().max(2);
    let _ = write!(out, "{:width$}", "");
    out.push_str(&style.paint(Ink::Faint, "-->"));
    let _ = write!(out, " {}", escape(place.file.as_bytes()));
    if let Some(position) = place.position {
        let _ = write!(out, ":{}:{}", position.line, position.column);
    }
    out.push('\n');
    let Some(snippet) = &place.snippet else { return };
    let bar = style.paint(Ink::Faint, &format!("{:width$} |", ""));
    let line = style.paint(Ink::Faint, &format!("{number:>width$} |"));
    let (before, blamed, after) = shown(snippet);
    let _ = writeln!(out, "{bar}\n{}", format!("{line} {before}{blamed}{after}").trim_end());
    if snippet.blamed.is_empty() && snippet.note.is_none() {
        let _ = writeln!(out, "{bar}");
        return;
    }
    let caret = "^".repeat(columns_of(&blamed).max(1));
    let note = snippet.note.as_deref().map(|note| format!(" {}", escape(note.as_bytes())));
    let mark = style.paint(Ink::Bad, &format!("{caret}{}", note.unwrap_or_default()));
    let _ = writeln!(out, "{bar} {:indent$}{mark}", "", indent = columns_of(&before));
}

/// Returns the three parts of a line as they are shown. A backslash stays single here, since the
/// line shall look as it does in the file.
fn shown(snippet: &Snippet) -> (String, String, String) {
    let show = |text: &str| text.split('\\').map(show_part).collect::<Vec<_>>().join("\\");
    (show(&snippet.before), show(&snippet.blamed), show(&snippet.after))
}

fn show_part(text: &str) -> String {
    escape(text.replace('\t', "    ").as_bytes())
}

/// Returns the terminal columns of a text that is already escaped: East Asian wide letters and
/// emoji take two.
fn columns_of(text: &str) -> usize {
    text.chars().map(|letter| 1 + usize::from(is_wide(letter))).sum()
}

fn is_wide(letter: char) -> bool {
    matches!(letter as u32,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
}

/// Writes `text`, broken at spaces so that lines end before `columns`; the first line starts at
/// column `indent`, as do the others.
fn push_wrapped(out: &mut String, text: &str, indent: usize, columns: usize) {
    let mut column = indent;
    for (index, word) in text.split(' ').enumerate() {
        let width = columns_of(word);
        if index > 0 && column + 1 + width > columns && !word.is_empty() {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::{Code, FileText, Span};
    use super::*;

    fn check(diagnostic: &Diagnostic, expected: &str) {
        assert_eq!(diagnostic.render(Style::Drawn, COLUMNS_DEFAULT), expected);
    }

    fn unknown_key() -> Diagnostic {
        let text = "\n\n\n\n\n\n\n    output: {hello: hello}\n";
        let at = text.find("output").unwrap();
        Diagnostic::new(Code::UnknownKey, "unknown key `output` in step `build`")
            .at(FileText::new("kiln.yaml", text).place(Span::new(at, at + 6)))
            .expected(
                "one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, \
                 nested, outputs, resources, run, shell, timeout",
            )
            .got("output")
            .help("did you mean `outputs`?")
    }

    #[test]
    fn a_wrong_key_looks_as_in_the_reference() {
        check(
            &unknown_key(),
            "\
error[KILN-0102]: unknown key `output` in step `build`
  --> kiln.yaml:8:5
   |
 8 |     output: {hello: hello}
   |     ^^^^^^
  expected: one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, nested, outputs,
            resources, run, shell, timeout
  got:      output
help: did you mean `outputs`?
",
        );
    }

    #[test]
    fn a_network_attempt_looks_as_in_the_reference() {
        let text = format!("{}    run: cargo build --release\n", "\n".repeat(12));
        let file = FileText::new("kiln.yaml", text.as_str());
        let at = text.find("cargo").unwrap();
        let place = file.place(Span::new(at, at + 21));
        check(
            &Diagnostic::new(Code::NetworkAttempted, "step `build` tried to reach the network")
                .at(place.with_note("exit status 101 after a refused look-up"))
                .expected("all inputs present before the step starts")
                .got("a look-up by process `cargo`")
                .why(
                    "`Cargo.lock` lists 212 crates, but no source of kind `lockfile` provides them",
                )
                .help(
                    "add under `sources`:   crates: {lockfile: Cargo.lock}\n\
                     and to the step:       mount: {src: ., crates: .crates}",
                ),
            "\
error[KILN-0403]: step `build` tried to reach the network
  --> kiln.yaml:13:10
   |
13 |     run: cargo build --release
   |          ^^^^^^^^^^^^^^^^^^^^^ exit status 101 after a refused look-up
  expected: all inputs present before the step starts
  got:      a look-up by process `cargo`
why: `Cargo.lock` lists 212 crates, but no source of kind `lockfile` provides them
help: add under `sources`:   crates: {lockfile: Cargo.lock}
      and to the step:       mount: {src: ., crates: .crates}
",
        );
    }

    #[test]
    fn a_digest_mismatch_looks_as_in_the_reference() {
        let locked = "sha256:9f2c41d07be3a6f5c0d8e1724b96a3f85d10c7e2b4f6938a1d5e7c20b8f4a613";
        let got = "sha256:03b1e8c75fa24d9610be37c2a8f5d46e91b70c3d2e6f8a45197c0b3d6ea2f584";
        let text = format!("{}digest = \"{locked}\"\n", "\n".repeat(40));
        check(
            &Diagnostic::new(Code::DigestMismatch, "digest mismatch for source `font`")
                .at(FileText::new("kiln.lock", text).place_of_line(41))
                .expected(locked)
                .got(format!("{got}   (1 204 992 bytes)"))
                .from("https://fonts.example.org/f-2.1.tar.xz")
                .why("the file at this address changed after the lock was written; nothing was unpacked")
                .help("find out why before you accept it. To accept: kiln lock --upgrade font"),
            "\
error[KILN-0301]: digest mismatch for source `font`
  --> kiln.lock:41:1
   |
41 | digest = \"sha256:9f2c41d07be3a6f5c0d8e1724b96a3f85d10c7e2b4f6938a1d5e7c20b8f4a613\"
   |
  expected: sha256:9f2c41d07be3a6f5c0d8e1724b96a3f85d10c7e2b4f6938a1d5e7c20b8f4a613
  got:      sha256:03b1e8c75fa24d9610be37c2a8f5d46e91b70c3d2e6f8a45197c0b3d6ea2f584   (1 204 992 bytes)
  from:     https://fonts.example.org/f-2.1.tar.xz
why: the file at this address changed after the lock was written; nothing was unpacked
help: find out why before you accept it. To accept: kiln lock --upgrade font
",
        );
    }

    #[test]
    fn sentences_hold_no_drawing_characters_and_colour_only_when_asked() {
        let plain = unknown_key().render(Style::Sentences, 80);
        assert_eq!(
            plain,
            "error KILN-0102: unknown key `output` in step `build`, in kiln.yaml, line 8, column 5.\n\
             expected: one of abi32, cpus, env, environment, fakeroot, from, mount, name, needs, \
             nested, outputs, resources, run, shell, timeout.\n\
             got: output.\n\
             help: did you mean `outputs`?\n"
        );
        assert!(!unknown_key().render(Style::Drawn, 80).contains('\u{1b}'));
        assert!(
            unknown_key().render(Style::Coloured, 80).starts_with("\u{1b}[1;31merror[KILN-0102]")
        );
    }

    #[test]
    fn untrusted_text_cannot_move_the_cursor_or_forge_a_line() {
        let file = FileText::new("a\nb.yaml", "k\u{1b}[2J: '\\n\u{202e}'\t日本 x");
        let at = file.text().find('x').unwrap();
        check(
            &Diagnostic::new(Code::WrongValue, "bad\nerror[KILN-9901]: forged")
                .at(file.place(Span::new(at, at + 1)))
                .got("\r\u{9b}"),
            "\
error[KILN-0105]: bad\\x0aerror[KILN-9901]: forged
  --> a\\x0ab.yaml:1:17
   |
 1 | k\\x1b[2J: '\\n\\u{202e}'    日本 x
   |                                ^
  got:      \\x0d\\x9b
help: what it means and what to do:  kiln explain KILN-0105
",
        );
    }

    #[test]
    fn a_whole_file_and_causes_need_no_line() {
        check(
            &Diagnostic::new(Code::NoBuildFile, "no build file")
                .at(Place::file("kiln.yaml"))
                .caused_by(&std::io::Error::from(std::io::ErrorKind::NotFound)),
            "\
error[KILN-0115]: no build file
  --> kiln.yaml
  cause:    entity not found
help: what it means and what to do:  kiln explain KILN-0115
",
        );
    }

    #[test]
    fn no_credential_of_an_address_is_shown() {
        let told = "git+https://user:hunter2@git.example.org/a";
        let diagnostic = Diagnostic {
            causes: vec![told.to_owned()],
            ..Diagnostic::new(Code::AttestorRefused, told)
                .expected(told)
                .got(told)
                .from(told)
                .why(told)
                .help(told)
        };
        for text in [
            diagnostic.render(Style::Drawn, COLUMNS_DEFAULT),
            diagnostic.render(Style::Sentences, COLUMNS_DEFAULT),
            diagnostic.to_json().to_string(),
        ] {
            assert!(!text.contains("hunter2") && !text.contains("user:"), "{text}");
            assert_eq!(text.matches("git+https://git.example.org/a").count(), 7, "{text}");
        }
    }
}
