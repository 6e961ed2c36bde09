//! Group C: what differs between hosts, users and runs. Each is built twice as root and twice as a
//! user, in different settings, and the bytes are compared.

use super::{
    Act, CONTAINED, Case, Control, EVERYWHERE, Expect, Group, HOST, On, Runs, TREE, WITH_NAMESPACES,
};
use crate::hostile::acts;

/// The rows.
pub const DETERMINISM: Group = Group { letter: 'C', title: "Determinism leak", cases: &ROWS };

const TWO_BACKENDS: &str = "it compares two backends, and is run with the second";
const SAME: Case = Case {
    control: Control::None("two settings differ, and the comparison is the attack"),
    expect: Expect::Same,
    ..CONTAINED
};

const ROWS: [Case; 14] = [
    Case { id: "S-C01", title: "times of inputs, SOURCE_DATE_EPOCH", ..SAME },
    Case { id: "S-C02", title: "names, ids, folders, umask", on: WITH_NAMESPACES, ..SAME },
    Case { id: "S-C03", title: "process numbers", on: WITH_NAMESPACES, ..SAME },
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
        act: Act::Attack("S-C05"),
        more: "    cpus: 1\n    env: {PINNED: \"1\"}\n",
        ..SAME
    },
    Case { id: "S-C06", title: "addresses in memory", ..SAME },
    Case { id: "S-C07", title: "locale and time zone", ..SAME },
    Case { id: "S-C08", title: "modes of outputs", outputs: TREE, ..SAME },
    Case { id: "S-C09", title: "times of outputs", outputs: TREE, ..SAME },
    Case { id: "S-C10", title: "uptime and boot id", on: WITH_NAMESPACES, ..SAME },
    Case {
        id: "S-C11",
        title: "one, two, eight steps at once, in other orders",
        act: Act::Host(acts::steps_at_once),
        ..HOST
    },
    Case {
        id: "S-C12",
        title: "native and docker give the same digests",
        act: Act::Host(|_| Vec::new()),
        on: On { root: Runs::No(TWO_BACKENDS), user: Runs::No(TWO_BACKENDS), ..EVERYWHERE },
        ..HOST
    },
    Case {
        id: "S-C13",
        title: "objects of an earlier build are not taken for fresh",
        act: Act::Test("stale_objects_are_rebuilt"),
        ..HOST
    },
];
