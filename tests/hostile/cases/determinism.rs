//! Group C: what differs between hosts, users and runs. Each is built twice as root and twice as a
//! user, in different settings, and the bytes are compared.

use super::{Act, CONTAINED, Case, Control, EVERYWHERE, Expect, Group, HOST, On, Runs, TREE};
use crate::hostile::acts;

/// The rows.
pub const DETERMINISM: Group = Group { letter: 'C', title: "Determinism leak", cases: &ROWS };

const TWO_BACKENDS: &str = "it compares two backends, and is run with the second";
/// What docs/backends.md and docs/threat-model.md list as visible.
const ENGINES: &str = "the engine gives no such thing, as docs/backends.md lists";
const NUMBERS: On = On {
    docker: Runs::No(ENGINES),
    confined: Runs::No(
        "the container's process numbers are seen (`pid-numbers`, which doctor tells and `require` refuses)",
    ),
    ..EVERYWHERE
};
const NAMES: On = On {
    confined: Runs::No(
        "its user and host name are the slot's and the container's (`user-number`, `host-name`, which doctor tells and `require` refuses)",
    ),
    ..EVERYWHERE
};
const ADDRESSES: On = On {
    docker: Runs::No(ENGINES),
    confined: Runs::No(
        "a container forbids fixed addresses (`fixed-addresses`, which doctor tells and `require` refuses)",
    ),
    ..EVERYWHERE
};
const CLOCKS: On = On {
    docker: Runs::No(ENGINES),
    confined: Runs::No(
        "the clocks are the host's (`uptime`, which doctor tells and `require` refuses)",
    ),
    ..EVERYWHERE
};
const SAME: Case = Case {
    control: Control::None("two settings differ, and the comparison is the attack"),
    expect: Expect::Same,
    ..CONTAINED
};

const SECOND: On = On { root: Runs::No(TWO_BACKENDS), user: Runs::No(TWO_BACKENDS), ..EVERYWHERE };

const ROWS: [Case; 15] = [
    Case { id: "S-C01", title: "times of inputs, SOURCE_DATE_EPOCH", ..SAME },
    Case { id: "S-C02", title: "names, ids, folders, umask", on: NAMES, ..SAME },
    Case { id: "S-C03", title: "process numbers", on: NUMBERS, ..SAME },
    Case {
        id: "S-C04",
        title: "order in which files were made",
        act: Act::Host(acts::order_of_names),
        ..HOST
    },
    Case { id: "S-C05", title: "processors and memory: true by every way of asking", ..SAME },
    Case {
        id: "S-C05-pinned",
        title: "`cpus: 1` is one processor everywhere",
        more: "    cpus: 1\n",
        ..SAME
    },
    Case { id: "S-C06", title: "addresses in memory", on: ADDRESSES, ..SAME },
    Case { id: "S-C07", title: "locale and time zone", ..SAME },
    Case { id: "S-C08", title: "modes of outputs", outputs: TREE, ..SAME },
    Case { id: "S-C09", title: "times of outputs", outputs: TREE, ..SAME },
    Case { id: "S-C10", title: "uptime and boot id", on: CLOCKS, ..SAME },
    Case {
        id: "S-C11",
        title: "one, two, eight steps at once, in other orders",
        act: Act::Host(acts::steps_at_once),
        ..HOST
    },
    Case {
        id: "S-C12",
        title: "native and docker give the same digests",
        act: Act::Test("every_example_gives_the_same_bytes_on_every_backend"),
        on: On { confined: Runs::No("S-C12-confined is"), ..SECOND },
        ..HOST
    },
    Case {
        id: "S-C12-confined",
        title: "native and confined give the same digests",
        act: Act::Test("confined_builds_what_native_builds_and_says_how"),
        on: On { docker: Runs::No("S-C12 is"), ..SECOND },
        ..HOST
    },
    Case {
        id: "S-C13",
        title: "objects of an earlier build are not taken for fresh",
        act: Act::Test("stale_objects_are_rebuilt"),
        ..HOST
    },
];
