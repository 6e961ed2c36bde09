//! Whether to use colour and which marks: decided once, from flags and the caller's terminal.

use crate::cli::args::{Global, When};
use crate::context::Context;

use super::State;
use crate::diagnostic;

/// How text is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use colour on stderr.
    pub color: bool,
    /// Use colour on stdout.
    pub color_out: bool,
    /// Use UTF-8 marks.
    pub utf8: bool,
    /// How diagnostics are drawn.
    pub drawn: diagnostic::Style,
}

impl Style {
    /// Decides by `--color`, then `NO_COLOR`, `CLICOLOR_FORCE`, then the terminal.
    pub fn choose(global: &Global, context: &Context) -> Style {
        let by_terminal = |terminal: bool| match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto if context.variable("NO_COLOR").is_some() => false,
            When::Auto if context.variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") => {
                true
            }
            When::Auto => terminal,
        };
        let color = by_terminal(context.terminal);
        let plain =
            context.variable("NO_COLOR").is_some() || context.variable("TERM") == Some("dumb");
        let drawn = match (color, plain && global.color == When::Auto) {
            (true, _) => diagnostic::Style::Coloured,
            (false, false) => diagnostic::Style::Drawn,
            (false, true) => diagnostic::Style::Sentences,
        };
        Style { color, color_out: by_terminal(context.terminal_out), utf8: context.utf8, drawn }
    }

    /// Returns the style without anything: for errors before flags are known.
    pub fn plain() -> Style {
        Style { color: false, color_out: false, utf8: false, drawn: diagnostic::Style::Drawn }
    }

    /// Returns mark and word of a state, coloured for stderr.
    pub fn state(self, state: State) -> String {
        let text = format!("{} ", state.mark(self.utf8));
        self.paint(state.color(), &text).trim_end().to_owned()
    }

    /// Returns `text` in a colour of stderr.
    pub fn paint(self, color: u8, text: &str) -> String {
        if self.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Returns a check mark, a cross or a dash for stdout.
    pub fn verdict(self, good: Option<bool>) -> String {
        let (mark, ascii, color) = match good {
            Some(true) => ("✓", "+", 32),
            Some(false) => ("✗", "x", 31),
            None => ("–", "-", 33),
        };
        let mark = if self.utf8 { mark } else { ascii };
        if self.color_out { format!("\x1b[{color}m{mark}\x1b[0m") } else { mark.to_owned() }
    }

    /// Returns an arrow.
    pub fn arrow(self) -> &'static str {
        if self.utf8 { "→" } else { "->" }
    }
}
