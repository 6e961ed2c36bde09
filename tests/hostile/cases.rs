//! The rows: one per attack. A case keeps its id for ever.

use super::{Case, Control, Expect};

/// The verdict of the attack itself is the output.
const VERDICT: (&str, &str) = ("{out: out}", "[{file: attack.out}]");
/// The attack's own output is captured.
const RESULT: (&str, &str) = ("{result: result}", "[{file: attack.result}]");
/// A folder is captured, and exported.
const TREE: (&str, &str) = ("{tree: tree/}", "[{archive: [attack.tree], name: tree.tar}]");
/// A folder is captured and goes nowhere.
const KEPT: (&str, &str) = ("{tree: tree/}", "");

/// With a descriptor of the host's root handed down.
const WITH_ROOT: &[&str] = &["sh", "-c", "exec 7</ && exec \"$0\" \"$@\""];
/// Takes the attacks to another place and puts an empty folder over the temporary one.
const ASIDE: &str =
    "mount --bind . /mnt && cd /mnt && mount -t tmpfs none /tmp && exec \"$0\" \"$@\"";
/// In namespaces where the caller is root.
const AS_INNER_ROOT: &[&str] = &["unshare", "-Urm", "sh", "-c", ASIDE];
/// With private mounts, but as the real root.
const PRIVATE_MOUNTS: &[&str] = &["unshare", "-m", "sh", "-c", ASIDE];
/// As it is.
const PLAIN: &[&str] = &[];

const CONTAINED: Case = Case {
    id: "",
    more: "",
    outputs: VERDICT,
    terminal: false,
    seconds_max: 60,
    control: Control::Outside(PLAIN),
    expect: Expect::Contained,
};

const REFUSED: Case = Case {
    outputs: RESULT,
    control: Control::Sealed("S-E04-extra"),
    expect: Expect::Refused(&["KILN-0407"]),
    ..CONTAINED
};

/// Group A: out of the sandbox.
pub const ESCAPE: [Case; 14] = [
    Case { id: "S-A01", control: Control::Outside(WITH_ROOT), ..CONTAINED },
    Case { id: "S-A02", control: Control::Outside(WITH_ROOT), ..CONTAINED },
    Case { id: "S-A08", control: Control::Outside(AS_INNER_ROOT), ..CONTAINED },
    Case { id: "S-A09", control: Control::Outside(AS_INNER_ROOT), ..CONTAINED },
    Case { id: "S-A10", ..CONTAINED },
    Case { id: "S-A11", ..CONTAINED },
    Case {
        id: "S-A12",
        control: Control::None("outside it would kill the tests"),
        expect: Expect::Refused(&["KILN-0401"]),
        ..CONTAINED
    },
    Case {
        id: "S-A13",
        terminal: true,
        control: Control::None("typing into a terminal is off on many hosts"),
        ..CONTAINED
    },
    Case { id: "S-A14", control: Control::OutsideAsRoot(PRIVATE_MOUNTS), ..CONTAINED },
    Case { id: "S-A15", ..CONTAINED },
    Case { id: "S-A16", ..CONTAINED },
    Case { id: "S-A18", ..CONTAINED },
    Case { id: "S-A24", control: Control::None("outside it would change the host"), ..CONTAINED },
    // The runner lives on after all of that.
    Case {
        id: "S-E04-extra",
        outputs: RESULT,
        control: Control::None("it is harmless"),
        ..CONTAINED
    },
];

/// Group B: what a step can see, reach or remember.
pub const LEAK: [Case; 9] = [
    Case {
        id: "S-B01",
        control: Control::None("outside it would send to addresses of others"),
        ..CONTAINED
    },
    Case {
        id: "S-B02",
        control: Control::None("outside it would ask the host's resolver"),
        ..CONTAINED
    },
    Case {
        id: "S-B02-name",
        seconds_max: 20,
        control: Control::Sealed("S-B04"),
        expect: Expect::Says("KILN-0403", "canary.example"),
        ..CONTAINED
    },
    Case { id: "S-B03", ..CONTAINED },
    Case { id: "S-B04", ..CONTAINED },
    Case { id: "S-B05", ..CONTAINED },
    Case { id: "S-B06", ..CONTAINED },
    Case { id: "S-B07", ..CONTAINED },
    Case {
        id: "S-B08",
        control: Control::None("two_steps_share_nothing looks at it twice"),
        ..CONTAINED
    },
];

/// Group D: more than a step's share.
pub const EXHAUSTION: [Case; 5] = [
    Case { id: "S-D01", control: Control::None("outside it would fill the host"), ..CONTAINED },
    Case {
        id: "S-D01-bomb",
        more: "    timeout: 3s\n",
        seconds_max: 30,
        control: Control::None("outside it would fill the host"),
        expect: Expect::Refused(&["KILN-0404", "KILN-0401"]),
        ..CONTAINED
    },
    Case {
        id: "S-D06",
        more: "    timeout: 2s\n",
        seconds_max: 30,
        control: Control::Sealed("S-B04"),
        expect: Expect::Refused(&["KILN-0404"]),
        ..CONTAINED
    },
    Case {
        id: "S-D07",
        seconds_max: 30,
        control: Control::None("outside it would leave a process"),
        ..CONTAINED
    },
    Case {
        id: "S-E04-extra",
        outputs: RESULT,
        control: Control::None("it is harmless"),
        ..CONTAINED
    },
];

/// Group E: outputs that are not what they seem.
pub const CAPTURE: [Case; 18] = [
    Case { id: "S-E01-file", ..REFUSED },
    Case { id: "S-E01-itself", ..REFUSED },
    Case { id: "S-E01-dangling", ..REFUSED },
    Case { id: "S-E01-out", ..REFUSED },
    Case { id: "S-E01-dir", outputs: KEPT, control: Control::None("it is harmless"), ..CONTAINED },
    Case { id: "S-E01-dir", outputs: TREE, control: Control::Sealed("S-E01-inner"), ..REFUSED },
    Case {
        id: "S-E02",
        outputs: TREE,
        seconds_max: 30,
        control: Control::Sealed("S-E01-inner"),
        ..REFUSED
    },
    Case {
        id: "S-E02",
        outputs: KEPT,
        seconds_max: 30,
        control: Control::Sealed("S-E01-inner"),
        ..REFUSED
    },
    Case { id: "S-E03", outputs: KEPT, control: Control::Sealed("S-E01-inner"), ..REFUSED },
    Case { id: "S-E03-file", ..REFUSED },
    Case { id: "S-E04", expect: Expect::Says("KILN-0402", "resolt"), ..REFUSED },
    Case { id: "S-E04-kind", expect: Expect::Refused(&["KILN-0402", "KILN-0407"]), ..REFUSED },
    Case {
        id: "S-E04-extra",
        outputs: RESULT,
        control: Control::None("it is harmless"),
        ..CONTAINED
    },
    Case { id: "S-E05-setuid", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case { id: "S-E05-setgid", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case { id: "S-E05-sticky", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case {
        id: "S-E05-world",
        outputs: RESULT,
        control: Control::None("it is harmless"),
        ..CONTAINED
    },
    Case { id: "S-E06", expect: NO_SUCH_OUTPUT, ..REFUSED },
];

/// Refused when it is captured, or already when the step tries to make it.
const NO_SUCH_OUTPUT: Expect = Expect::Refused(&["KILN-0407", "KILN-0402"]);
