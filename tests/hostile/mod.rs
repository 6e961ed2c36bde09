//! The catalogue of hostile cases: each attack is made from inside a step, on the native backend as root
//! and as an unprivileged user, on a container engine, and confined in an ordinary container; each is
//! preceded by its control and followed by the after-check.
//!
//! The rows are data (`cases/`): id, what is tried, how, what has to come of it, on which backends.
//! Most attacks are Python functions of `attacks/`, mounted as the step's source and named by the
//! case's id. A control runs the same attack where it must get through (outside, or with the one
//! thing changed), so that an attack which does nothing anywhere fails the test.
//!
//! A case that cannot run for somebody says so by name and counts as skipped, never as passed; what it
//! needs is data too (`needs.rs`). What came of each is compared with docs/hostile-cases.md, which
//! `KILN_BLESS=1` writes. `KILN_CASE=S-A01` picks cases by the start of their id.
//! `KILN_BACKENDS=docker` picks columns. Where there is no engine, `docker` and `confined` are not run; that
//! is said loudly, and the page is compared for the native columns alone.

mod acts;
mod arena;
mod cases;
mod images;
mod input_acts;
mod needs;
mod old_kernel;
mod run;
mod sandbox_tests;
mod table;
mod unhelpful;

pub use arena::Arena;
pub use cases::ATTACKS;
pub use needs::Need;
pub use table::breaches as table_breaches;

use crate::support::backend::Backend;

/// What has to come of an attack.
#[derive(Clone, Copy)]
pub enum Expect {
    /// The step passes and finds nothing.
    Contained,
    /// As contained, or it is stopped: exit 1 and this code, and no artifact.
    Bounded(&'static str),
    /// As contained, and what it wrote is the same for everybody, in every setting.
    Same,
    /// As contained, and the report holds these words.
    Notes(&'static str),
    /// The build ends with exit 1 and one of these codes; there is no artifact.
    Refused(&'static [&'static str]),
    /// The build ends with exit 1 and this code, and the report holds these words.
    Says(&'static str, &'static str),
    /// The build ends with exit 1 and this code and words, or before that for want of the output.
    AtLatest(&'static str, &'static str),
    /// The build ends with this exit code and this code of kiln's; there is no artifact.
    Ends(i32, &'static str),
}

/// Where the same attack must get through.
#[derive(Clone, Copy)]
pub enum Control {
    /// On the host, started with these words before it.
    Outside(&'static [&'static str]),
    /// As [`Control::Outside`], but only root can do it at all.
    OutsideAsRoot(&'static [&'static str]),
    /// On the host, on a terminal, where the host lets one type into it.
    OnTerminal,
    /// In a step, this harmless relative must pass.
    Sealed(&'static str),
    /// The act itself begins with it.
    Within,
    /// There is none, for this reason.
    None(&'static str),
}

/// How a case is made.
#[derive(Clone, Copy)]
pub enum Act {
    /// By a step that runs the attack of the case's own id.
    Step,
    /// By a step that runs another attack.
    Attack(&'static str),
    /// By what the host does around a build; returns what is wrong.
    Host(fn(&Arena) -> Vec<String>),
    /// By attack tests of the sandbox itself, where no build file leads.
    Sandbox(&'static [&'static str]),
    /// By a test of this name in this crate.
    Test(&'static str),
}

/// Whether a case is for a backend.
#[derive(Clone, Copy)]
pub enum Runs {
    /// It is.
    Yes,
    /// It is not, for this reason.
    No(&'static str),
}

/// The backends.
#[derive(Clone, Copy)]
pub struct On {
    /// Native, as root.
    pub root: Runs,
    /// Native, as an unprivileged user.
    pub user: Runs,
    /// A container engine.
    pub docker: Runs,
    /// Without namespaces, in a container.
    pub confined: Runs,
}

impl On {
    /// Says whether a case is for one of them.
    fn of(self, backend: Backend) -> Runs {
        match backend {
            Backend::NativeRoot => self.root,
            Backend::NativeUser => self.user,
            Backend::Docker => self.docker,
            Backend::Confined => self.confined,
        }
    }
}

/// One row of the catalogue.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its id; it keeps it for ever.
    pub id: &'static str,
    /// What is tried, in few words.
    pub title: &'static str,
    /// How.
    pub act: Act,
    /// More keys of the step.
    pub more: &'static str,
    /// Its outputs and its artifacts.
    pub outputs: (&'static str, &'static str),
    /// Whether kiln is started on a terminal.
    pub terminal: bool,
    /// Where it gets through.
    pub control: Control,
    /// What has to come of it.
    pub expect: Expect,
    /// What the host must have.
    pub needs: &'static [Need],
    /// On which backends.
    pub on: On,
}

/// The cases of one letter.
pub struct Group {
    /// The letter.
    pub letter: char,
    /// What they have in common.
    pub title: &'static str,
    /// The rows.
    pub cases: &'static [Case],
}

#[test]
fn no_step_escapes() {
    run::group(&cases::ESCAPE);
}

#[test]
fn no_step_sees_reaches_or_remembers_what_is_not_its_own() {
    run::group(&cases::LEAK);
}

#[test]
fn no_host_user_or_hour_shows_in_what_a_step_writes() {
    run::group(&cases::DETERMINISM);
}

#[test]
fn no_step_takes_more_than_its_share() {
    run::group(&cases::EXHAUSTION);
}

#[test]
fn no_output_is_captured_that_is_not_what_it_seems() {
    run::group(&cases::CAPTURE);
}

#[test]
fn no_input_changes_unseen() {
    run::group(&cases::INPUTS);
}
