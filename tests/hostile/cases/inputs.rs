//! Group F: inputs that change, and inputs that are not what they seem.

use super::{Act, CONTAINED, Case, Control, Group, HOST, NATIVE_ONLY, On, Runs, YES};
use crate::hostile::input_acts as acts;

/// The rows.
pub const INPUTS: Group =
    Group { letter: 'F', title: "Inputs and changes in between", cases: &ROWS };

const ROOT: Runs = Runs::No("kiln is root there, who may read every file");

const ROWS: [Case; 9] = [
    Case {
        id: "S-F01",
        title: "changed between hash and mount: bytes, links, pipes, nothing",
        act: Act::Host(acts::changed_between_hash_and_mount),
        ..HOST
    },
    Case {
        id: "S-F02",
        title: "swapped for a link to the host, a thousand times",
        act: Act::Host(acts::swapped_for_a_link),
        ..HOST
    },
    Case {
        id: "S-F03",
        title: "links out of the tree, absolute, to themselves",
        act: Act::Host(acts::links_out_of_the_tree),
        ..HOST
    },
    Case {
        id: "S-F04",
        title: "inputs that are devices, pipes, sockets",
        act: Act::Host(acts::inputs_that_are_no_files),
        ..HOST
    },
    Case {
        id: "S-F05",
        title: "cut short while it is hashed",
        act: Act::Host(acts::cut_short_while_hashed),
        ..HOST
    },
    Case {
        id: "S-F06",
        title: "files and folders that may not be read",
        act: Act::Host(acts::closed_input),
        on: On { user: YES, root: ROOT, docker: ROOT, confined: ROOT },
        ..HOST
    },
    Case {
        id: "S-F08",
        title: "an input that is not there",
        act: Act::Host(acts::absent_input),
        ..HOST
    },
    Case {
        id: "S-F09",
        title: "a step changes its environment and its view",
        control: Control::None("outside it would change the host"),
        ..CONTAINED
    },
    Case {
        id: "S-F09-fixed",
        title: "a step changes a read-only input",
        act: Act::Sandbox(&["s_a24_inputs_cannot_be_linked_or_changed"]),
        on: NATIVE_ONLY,
        ..HOST
    },
];
