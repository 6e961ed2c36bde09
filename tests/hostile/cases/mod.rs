//! The rows: one per attack, a file per group. A case keeps its id for ever.

mod capture;
mod determinism;
mod escape;
mod exhaustion;
mod inputs;
mod leak;

pub use capture::{CAPTURE, HARMLESS};
pub use determinism::DETERMINISM;
pub use escape::ESCAPE;
pub use exhaustion::EXHAUSTION;
pub use inputs::INPUTS;
pub use leak::LEAK;

use super::{Act, Case, Control, Expect, Group, On, Runs};

/// The files of `attacks/`, and what they read.
pub const ATTACKS: [(&str, &str); 12] = [
    ("attack.py", include_str!("../attacks/attack.py")),
    ("capture.py", include_str!("../attacks/capture.py")),
    ("capture_more.py", include_str!("../attacks/capture_more.py")),
    ("determinism.py", include_str!("../attacks/determinism.py")),
    ("escape.py", include_str!("../attacks/escape.py")),
    ("escape_more.py", include_str!("../attacks/escape_more.py")),
    ("exhaustion.py", include_str!("../attacks/exhaustion.py")),
    ("exhaustion_more.py", include_str!("../attacks/exhaustion_more.py")),
    ("inputs.py", include_str!("../attacks/inputs.py")),
    ("leak.py", include_str!("../attacks/leak.py")),
    ("leak_more.py", include_str!("../attacks/leak_more.py")),
    ("syscalls.txt", include_str!("../../../sandbox/src/native/seccomp/expected_x86_64.txt")),
];

/// All groups.
pub const GROUPS: [&Group; 6] = [&ESCAPE, &LEAK, &DETERMINISM, &EXHAUSTION, &CAPTURE, &INPUTS];

/// Returns all rows.
pub fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.into_iter().flat_map(|group| group.cases)
}

/// The verdict of the attack itself is the output.
const VERDICT: (&str, &str) = ("{out: out}", "[{file: attack.out}]");
/// The attack's own output is captured.
const RESULT: (&str, &str) = ("{result: result}", "[{file: attack.result}]");
/// A folder is captured, and exported.
const TREE: (&str, &str) = ("{tree: tree/}", "[{archive: [attack.tree], name: tree.tar}]");
/// A folder is captured and goes nowhere.
const KEPT: (&str, &str) = ("{tree: tree/}", "");

/// As it is.
const PLAIN: &[&str] = &[];

const YES: Runs = Runs::Yes;
/// On every backend.
const EVERYWHERE: On = On { root: YES, user: YES, docker: YES, confined: YES };
/// Where a step has a network of its own.
const WITH_LOOPBACK: On = On {
    confined: Runs::No(
        "no network socket can be made there (`loopback`, which doctor tells and `require` refuses)",
    ),
    ..EVERYWHERE
};

/// Where the disk of a step is limited.
const WITH_DISK: On = On {
    confined: Runs::No(
        "the disk is not limited there (`disk`, which doctor tells and `require` refuses), and a limit that is asked for is refused: S-D03-refused",
    ),
    ..EVERYWHERE
};

const NATIVE: &str = "no key of a build file leads there, and the sandbox's own tests make a Spec for the native backend";
/// Of the native backend alone.
const NATIVE_ONLY: On = On { docker: Runs::No(NATIVE), confined: Runs::No(NATIVE), ..EVERYWHERE };

/// What most rows have in common.
const CONTAINED: Case = Case {
    id: "",
    title: "",
    act: Act::Step,
    more: "",
    outputs: VERDICT,
    terminal: false,
    control: Control::Outside(PLAIN),
    expect: Expect::Contained,
    needs: &[],
    on: EVERYWHERE,
};

/// A row whose act has its control within it.
const HOST: Case = Case { control: Control::Within, ..CONTAINED };
