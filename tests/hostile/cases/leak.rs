//! Group B: what a step can see, reach or remember.

use super::{
    Act, CONTAINED, Case, Control, EVERYWHERE, Expect, Group, HOST, On, Runs, WITH_LOOPBACK,
};
use crate::hostile::acts;

/// The rows.
pub const LEAK: Group = Group { letter: 'B', title: "Hermeticity leak", cases: &ROWS };

const UNHEARD: &str =
    "there is no resolver to hear the name, as docs/backends.md says: S-B02-refused";
const HEARD: &str = "S-B02-name is";

const ROWS: [Case; 14] = [
    Case {
        id: "S-B01",
        title: "dialling out, by address",
        control: Control::None("outside it would send to addresses of others"),
        ..CONTAINED
    },
    Case {
        id: "S-B02",
        title: "odd and flooding questions to the resolver stub",
        control: Control::None("outside it would ask the host's resolver"),
        on: WITH_LOOPBACK,
        ..CONTAINED
    },
    Case {
        id: "S-B02-name",
        title: "a look-up is refused at once, and the report names the host",
        control: Control::Sealed("S-B04"),
        expect: Expect::Says("KILN-0403", "canary.example"),
        on: On { docker: Runs::No(UNHEARD), ..WITH_LOOPBACK },
        ..CONTAINED
    },
    Case {
        id: "S-B02-refused",
        title: "a look-up is refused at once where nobody listens",
        act: Act::Attack("S-B02-name"),
        control: Control::Sealed("S-B04"),
        expect: Expect::Refused(&["KILN-0401"]),
        on: On { root: Runs::No(HEARD), user: Runs::No(HEARD), ..EVERYWHERE },
        ..CONTAINED
    },
    Case { id: "S-B03", title: "services on the host's loopback", ..CONTAINED },
    Case { id: "S-B04", title: "files of the host", ..CONTAINED },
    Case { id: "S-B05", title: "the caller's environment", ..CONTAINED },
    Case { id: "S-B06", title: "undeclared files beside the sources", ..CONTAINED },
    Case { id: "S-B07", title: "variables that change programs", ..CONTAINED },
    Case {
        id: "S-B08",
        title: "what an earlier step left",
        control: Control::None("two_steps_share_nothing looks at it twice"),
        ..CONTAINED
    },
    Case {
        id: "S-B08-marks",
        title: "times that another step set where every step may",
        act: Act::Host(acts::marks_left_behind),
        ..HOST
    },
    Case {
        id: "S-B09",
        title: "a server that another step left, or runs at the same time",
        act: Act::Host(acts::servers_left_behind),
        on: WITH_LOOPBACK,
        ..HOST
    },
    Case { id: "S-B10", title: "machine id, users, hosts, resolver, host name", ..CONTAINED },
    Case {
        id: "S-B11",
        title: "the kernel's log, symbols, the host's network tables",
        ..CONTAINED
    },
];
