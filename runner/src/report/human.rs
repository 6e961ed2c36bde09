//! Progress for people: a live panel on a terminal, plain lines elsewhere, groups in CI.
//!
//! On a terminal, finished lines scroll up and stay; below them stands a panel of the running steps,
//! at most a third of the screen, redrawn at most ten times a second. Elsewhere there is one line per
//! change of state, and a line every 30 seconds for a step that is silent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::step::StepId;
use model::text;

use super::{CiSystem, Ended, Event, State, Style, Tail, commands, json, json_line, line, mark};
use crate::cli::args::{Global, Progress};
use crate::context::Context;

/// Shortest time between two drawings of the panel.
const REDRAW: Duration = Duration::from_millis(100);
/// A step that wrote nothing for so long gets a line.
const SILENCE: Duration = Duration::from_secs(30);
/// Most running steps that the panel shows.
const PANEL_ROWS: usize = 8;
/// Longest line without an end that is waited for, in bytes.
const PARTIAL_BYTES_MAX: usize = 64 << 10;

/// Speaks to the person or program at stderr.
#[derive(Debug)]
pub struct Talk {
    /// How text is dressed.
    pub style: Style,
    quiet: u8,
    verbose: bool,
    form: Form,
    ci: Option<CiSystem>,
    began: Instant,
    began_at: i64,
    drawn: Instant,
    panel: usize,
    columns: usize,
    running: BTreeMap<StepId, Watch>,
    importing: Option<(String, Instant)>,
    last: Vec<Ended>,
    ended: bool,
}

#[derive(Debug)]
struct Watch {
    since: Instant,
    heard: Instant,
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Panel,
    Plain,
    Json,
    Silent,
}

impl Talk {
    /// Chooses the form by flags, CI and terminal.
    pub fn new(global: &Global, context: &Context) -> Talk {
        let ci = CiSystem::detect(context);
        let form = match global.progress {
            _ if global.quiet > 0 => Form::Silent,
            Progress::None => Form::Silent,
            Progress::Json => Form::Json,
            Progress::Tty => Form::Panel,
            Progress::Plain => Form::Plain,
            Progress::Auto if context.terminal && ci.is_none() => Form::Panel,
            Progress::Auto => Form::Plain,
        };
        let now = Instant::now();
        Talk {
            style: Style::choose(global, context),
            quiet: global.quiet,
            verbose: global.verbose > 0,
            form,
            ci,
            began: now,
            began_at: context.now(),
            drawn: now,
            panel: 0,
            columns: context.columns,
            running: BTreeMap::new(),
            importing: None,
            last: Vec::new(),
            ended: false,
        }
    }

    /// Says whether anything but errors is shown.
    pub fn speaks(&self) -> bool {
        self.quiet == 0 && self.form != Form::Silent
    }

    /// Takes in one event.
    pub fn event(&mut self, event: Event) {
        match self.form {
            Form::Silent => {}
            Form::Json => {
                let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                json_line(&json::event(&event, elapsed));
            }
            Form::Panel | Form::Plain => self.tell(event),
        }
    }

    /// Says a line, above the panel if there is one.
    pub fn say(&mut self, text: &str) {
        match self.form {
            Form::Silent => {}
            Form::Json => self.event(Event::Note(text.to_owned())),
            Form::Panel | Form::Plain => {
                self.erase();
                line(text);
            }
        }
    }

    /// Redraws the panel and breaks silences; called about ten times a second.
    pub fn tick(&mut self) {
        match self.form {
            Form::Panel => self.draw(),
            Form::Plain => self.break_silence(),
            Form::Json | Form::Silent => {}
        }
    }

    /// Takes the panel away, and shows the failed steps of a CI run last and unfolded.
    pub fn end(&mut self) {
        if self.form == Form::Json && !self.ended {
            let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            json_line(&json::end(elapsed));
        }
        self.ended = true;
        self.erase();
        for ended in std::mem::take(&mut self.last) {
            self.group(&ended, true);
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Importing { what } => {
                self.importing = Some((what, Instant::now()));
            }
            Event::Imported { what, files, took } => {
                self.importing = None;
                if files > 0 {
                    let mark = self.style.state(State::Fetching);
                    self.say(&format!(
                        " {mark} {}   {files} files in   {}",
                        text::escape(what.as_bytes()),
                        seconds(took)
                    ));
                }
            }
            Event::Started { step } => {
                if self.form == Form::Plain && self.ci.is_none() {
                    let mark = self.style.state(State::Running);
                    self.say(&format!(" {mark} {step}   running"));
                }
                let now = Instant::now();
                self.running.insert(step, Watch { since: now, heard: now, partial: Vec::new() });
            }
            Event::Output { step, bytes } => self.output(&step, &bytes),
            Event::Ended(ended) => self.ended(ended),
            Event::Note(note) => self.say(&format!(" note: {note}")),
        }
    }

    fn output(&mut self, step: &StepId, bytes: &[u8]) {
        let Some(watch) = self.running.get_mut(step) else { return };
        watch.heard = Instant::now();
        if !self.verbose {
            return;
        }
        watch.partial.extend_from_slice(bytes);
        let mut whole = std::mem::take(&mut watch.partial);
        let end = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A line without an end is shown in pieces rather than kept.
        let end = if whole.len() - end > PARTIAL_BYTES_MAX { whole.len() } else { end };
        watch.partial = whole.split_off(end);
        for text in whole.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let text = self.of_step(text);
            self.say(&format!("   {step}: {text}"));
        }
    }

    fn ended(&mut self, ended: Ended) {
        if let Some(watch) = self.running.remove(&ended.step)
            && self.verbose
            && !watch.partial.is_empty()
        {
            let text = self.of_step(&watch.partial);
            self.say(&format!("   {}: {text}", ended.step));
        }
        if self.ci.is_some() && ended.tail.is_some() {
            if ended.state == State::Passed {
                self.group(&ended, false)
            } else {
                self.last.push(ended)
            }
            return;
        }
        self.say(&self.headline(&ended));
        if let (Some(tail), false) =
            (ended.tail.as_ref().filter(|tail| tail.shown > 0), ended.state == State::Passed)
        {
            self.erase();
            super::block(&self.tail(tail));
        }
    }

    fn headline(&self, ended: &Ended) -> String {
        let mut words =
            format!(" {} {}   {}", self.style.state(ended.state), ended.step, ended.state.word());
        if let Some(detail) = &ended.detail {
            words.push_str(&format!("   {}", text::escape(detail.as_bytes())));
        }
        if matches!(ended.state, State::Passed | State::Failed | State::Error) {
            words.push_str(&format!("   {}", seconds(ended.took)));
        }
        words
    }

    fn tail(&self, tail: &Tail) -> String {
        let mut out = if tail.shown < tail.total {
            format!("   (last {} of {} lines)\n", tail.shown, tail.total)
        } else {
            String::new()
        };
        for text in tail.bytes.split(|byte| *byte == b'\n') {
            out.push_str(&format!("   {}\n", self.of_step(text)));
        }
        out
    }

    fn group(&mut self, ended: &Ended, open: bool) {
        let (Some(ci), Some(tail)) = (self.ci, &ended.tail) else { return };
        let now = self.began_at + i64::try_from(self.began.elapsed().as_secs()).unwrap_or(0);
        let id = ended.step.to_string();
        let title = commands::broken(self.headline(ended).trim());
        mark(&ci.open(&title, &id, open, now));
        super::block(&self.tail(tail));
        if let Some(close) = ci.close(&id, open, now) {
            mark(&close);
        }
    }

    /// Returns a line that a step wrote as it is shown.
    fn of_step(&self, line: &[u8]) -> String {
        let text = text::output(line).replace('\t', "    ");
        match self.ci {
            Some(ci) => ci.harmless(&text),
            None => text,
        }
    }

    fn break_silence(&mut self) {
        let mut silent = Vec::new();
        for (step, watch) in &mut self.running {
            if watch.heard.elapsed() >= SILENCE {
                watch.heard = Instant::now();
                silent.push(format!(
                    " {} {step}   running   {}",
                    self.style.state(State::Running),
                    seconds(watch.since.elapsed())
                ));
            }
        }
        for text in silent {
            line(&text);
        }
    }

    fn draw(&mut self) {
        if self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        let mut rows: Vec<String> = Vec::new();
        if let Some((what, since)) = &self.importing {
            rows.push(format!(
                " {} {}   fetching   {}",
                State::Fetching.mark(self.style.utf8),
                text::escape(what.as_bytes()),
                seconds(since.elapsed())
            ));
        }
        for (step, watch) in self.running.iter().take(PANEL_ROWS) {
            rows.push(format!(
                " {} {step}   running   {}",
                State::Running.mark(self.style.utf8),
                seconds(watch.since.elapsed())
            ));
        }
        if self.running.len() > PANEL_ROWS {
            rows.push(format!("   and {} more", self.running.len() - PANEL_ROWS));
        }
        self.erase();
        for row in &rows {
            let cut: String = row.chars().take(self.columns - 1).collect();
            line(&self.style.paint(34, &cut));
        }
        self.panel = rows.len();
    }

    fn erase(&mut self) {
        if self.panel > 0 {
            use std::io::Write;
            write!(std::io::stderr(), "\x1b[{}F\x1b[J", self.panel).unwrap_or_default();
            self.panel = 0;
        }
    }
}

/// Returns a span as people read it: `0.9s`, `12s`, `4m10s`.
pub fn seconds(span: Duration) -> String {
    let all = span.as_secs();
    match all {
        0..=9 => format!("{:.1}s", span.as_secs_f64()),
        10..=59 => format!("{all}s"),
        _ => format!("{}m{:02}s", all / 60, all % 60),
    }
}
