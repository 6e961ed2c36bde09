//! The command line of `kiln run` as a text that errors point at.
//!
//! It is written anew from what was read of it, in one order and with quotes where a shell needs them:
//! what the process was given has neither. Only the options that the build file is made of are in it.

use fetch::host::AskedPackage;

use super::args::RunArgs;
use crate::diagnostic::{FileText, Origin, Place, Span};
use crate::manifest::{Rendered, RunPart};

/// What errors call it.
const NAME: &str = "command line";

/// The options of `kiln run`, each with its span in one text.
pub struct CommandLine {
    text: String,
    inputs: Vec<Span>,
    outputs: Vec<Span>,
    packages: Vec<(String, Span)>,
    variables: Vec<(String, Span)>,
    command: Span,
}

impl CommandLine {
    /// Writes down what was asked.
    pub fn of(args: &RunArgs) -> CommandLine {
        let mut text = String::from("kiln run");
        let mut add = |words: &[&str]| {
            let start = text.len() + 1;
            for word in words {
                text.push(' ');
                text.push_str(&quoted(word));
            }
            Span::new(start, text.len())
        };
        let inputs = args.input.iter().map(|path| add(&["--input", path])).collect();
        let outputs = args.output.iter().map(|path| add(&["--output", path])).collect();
        let packages =
            args.package.iter().map(|name| (name.clone(), add(&["--package", name]))).collect();
        let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
        let variables = args.env.iter().map(|pair| (name(pair), add(&["--env", pair]))).collect();
        add(&["--"]);
        let words: Vec<&str> = args.command.iter().map(String::as_str).collect();
        let command = add(&words);
        CommandLine { text, inputs, outputs, packages, variables, command }
    }

    /// Returns the place of one part; of the whole line for one that was not given.
    pub fn place(&self, part: &RunPart) -> Place {
        FileText::new(NAME, self.text.as_str()).place(self.span(part))
    }

    /// Returns the place of a package as it was typed, which may be none.
    pub fn place_of_package(&self, typed: &str) -> Place {
        self.typed(&self.packages, typed)
    }

    /// Returns the place of a variable as it was typed, which may be none.
    pub fn place_of_variable(&self, typed: &str) -> Place {
        let name = typed.split_once('=').map_or(typed, |(name, _)| name);
        self.typed(&self.variables, name)
    }

    fn typed(&self, spans: &[(String, Span)], name: &str) -> Place {
        let span = spans.iter().find(|(found, _)| found == name).map(|(_, span)| *span);
        FileText::new(NAME, self.text.as_str()).place(span.unwrap_or_default())
    }

    /// Returns where each piece of a build file comes from.
    pub fn origin(&self, rendered: &Rendered) -> Origin {
        let parts = rendered.parts.iter().map(|(made, part)| (*made, self.span(part)));
        Origin { written: FileText::new(NAME, self.text.as_str()), parts: parts.collect() }
    }

    fn span(&self, part: &RunPart) -> Span {
        let at = |spans: &[Span], index: usize| spans.get(index).copied().unwrap_or_default();
        let named = |spans: &[(String, Span)], name: &str| {
            spans.iter().rev().find(|(found, _)| found == name).map(|(_, span)| *span)
        };
        match part {
            RunPart::Input(index) => at(&self.inputs, *index),
            RunPart::Output(index) => at(&self.outputs, *index),
            RunPart::Variable(name) => named(&self.variables, name.as_str()).unwrap_or_default(),
            // One that was not asked for is the owner of the command.
            RunPart::Package(name) => self.package(name).unwrap_or(self.command),
            RunPart::Command => self.command,
        }
    }

    fn package(&self, name: &AskedPackage) -> Option<Span> {
        let asked = |text: &str| AskedPackage::new(text).is_ok_and(|asked| asked == *name);
        self.packages.iter().find(|(text, _)| asked(text)).map(|(_, span)| *span)
    }
}

/// Returns a word as one would type it for a shell.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "_./-+=@%:,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs() {
        for (word, typed) in [("a/b", "a/b"), ("", "''"), ("a b", "'a b'"), ("it's", "'it'\\''s'")]
        {
            assert_eq!(quoted(word), typed);
        }
    }
}
