//! Group D: more than a step's share.

use super::super::Need;
use super::{
    Act, CONTAINED, Case, Control, Expect, Group, HOST, KEPT, On, RESULT, Runs, WITH_DISK,
};
use crate::hostile::acts;

/// The rows.
pub const EXHAUSTION: Group = Group { letter: 'D', title: "Resource exhaustion", cases: &ROWS };

const ALONE: Case = Case { control: Control::None("outside it would fill the host"), ..CONTAINED };

const KEPT_THERE: Runs = Runs::No("the disk is limited there");

const ROWS: [Case; 18] = [
    Case { id: "S-D01", title: "processes without end", ..ALONE },
    Case {
        id: "S-D01-bomb",
        title: "a fork bomb",
        more: "    timeout: 3s\n    resources: {pids: 200}\n",
        expect: Expect::Refused(&["KILN-0404", "KILN-0401"]),
        ..ALONE
    },
    Case {
        id: "S-D02",
        title: "memory without end",
        more: "    resources: {memory: 128Mi}\n",
        control: Control::Sealed("S-D02-little"),
        expect: Expect::Refused(&["KILN-0405"]),
        needs: &[Need::MemoryGroup],
        ..CONTAINED
    },
    Case {
        id: "S-D02-refused",
        title: "a memory limit that this host cannot keep is refused",
        act: Act::Attack("S-D02-little"),
        more: "    resources: {memory: 128Mi}\n",
        control: Control::None("S-D02 is the other half"),
        expect: Expect::Ends(7, "KILN-0504"),
        needs: &[Need::NoMemoryGroup],
        ..CONTAINED
    },
    Case {
        id: "S-D03",
        title: "disk without end, in every writable place",
        more: "    resources: {disk: 48Mi}\n",
        expect: Expect::Refused(&["KILN-0406"]),
        on: WITH_DISK,
        ..ALONE
    },
    Case {
        id: "S-D03-fallocate",
        title: "a terabyte reserved at once",
        more: "    resources: {disk: 48Mi}\n",
        on: WITH_DISK,
        ..ALONE
    },
    Case {
        id: "S-D03-refused",
        title: "a disk limit that cannot be kept is refused",
        act: Act::Attack("S-D02-little"),
        more: "    resources: {disk: 48Mi}\n",
        control: Control::None("S-D03 is the other half"),
        expect: Expect::Ends(7, "KILN-0504"),
        on: On { confined: Runs::Yes, root: KEPT_THERE, user: KEPT_THERE, docker: KEPT_THERE },
        ..CONTAINED
    },
    Case {
        id: "S-D04",
        title: "inodes without end",
        more: "    resources: {disk: 48Mi}\n",
        expect: Expect::Bounded("KILN-0406"),
        on: WITH_DISK,
        ..ALONE
    },
    Case {
        id: "S-D05",
        title: "output without end: cut, with a mark, and the runner stays small",
        act: Act::Host(acts::output_without_end),
        ..HOST
    },
    Case {
        id: "S-D06",
        title: "sleeping for ever, deaf to signals",
        more: "    timeout: 2s\n",
        control: Control::Sealed("S-B04"),
        expect: Expect::Refused(&["KILN-0404"]),
        ..CONTAINED
    },
    Case {
        id: "S-D06-idle",
        title: "silent for too long",
        act: Act::Attack("S-D06"),
        more: "    resources: {idle: 1s}\n",
        control: Control::Sealed("S-B04"),
        expect: Expect::Refused(&["KILN-0404"]),
        ..CONTAINED
    },
    Case {
        id: "S-D07",
        title: "a daemon that holds the output open",
        control: Control::None("outside it would leave a process"),
        ..CONTAINED
    },
    Case { id: "S-D08-descriptors", title: "descriptors without end", ..ALONE },
    Case {
        id: "S-D08-links",
        title: "a million links in one folder",
        more: "    resources: {disk: 48Mi}\n",
        outputs: KEPT,
        expect: Expect::Bounded("KILN-0406"),
        on: WITH_DISK,
        ..ALONE
    },
    Case {
        id: "S-D08-deep",
        title: "five thousand folders inside one another",
        outputs: KEPT,
        expect: Expect::Refused(&["KILN-0406"]),
        ..ALONE
    },
    Case {
        id: "S-D09",
        title: "spinning on all processors beside four other steps",
        act: Act::Host(acts::one_step_spins),
        ..HOST
    },
    Case {
        id: "S-D10",
        title: "more steps than a build file can hold",
        act: Act::Host(acts::steps_without_end),
        ..HOST
    },
    Case {
        id: "S-D-after",
        title: "a harmless step after all of these",
        act: Act::Attack("S-E04-extra"),
        outputs: RESULT,
        control: Control::None("it is harmless"),
        ..CONTAINED
    },
];
