//! Group E: outputs that are not what they seem.

use super::super::Need;
use super::{Act, CONTAINED, Case, Control, Expect, Group, HOST, KEPT, RESULT, TREE, WITH_DISK};
use crate::hostile::acts;

/// The rows.
pub const CAPTURE: Group = Group { letter: 'E', title: "Output capture", cases: &ROWS };

/// A step that does what it says.
pub const HARMLESS: Case = Case {
    id: "S-E04-extra",
    title: "more than is declared is not captured",
    outputs: RESULT,
    control: Control::None("it is harmless"),
    ..CONTAINED
};

/// Refused when it is captured, or already when the step tries to make it.
const NO_SUCH_OUTPUT: Expect = Expect::Refused(&["KILN-0407", "KILN-0402"]);
/// Refused when it is captured, or by the kernel where the size of one file is limited.
const TOO_LARGE: Expect = Expect::Refused(&["KILN-0406", "KILN-0402"]);
const BEHIND: (&str, &str) = ("{result: parent/result}", "[{file: attack.result}]");

/// A file that is refused, beside one that is not.
const REFUSED: Case = Case {
    outputs: RESULT,
    control: Control::Sealed("S-E04-extra"),
    expect: Expect::Refused(&["KILN-0407"]),
    ..CONTAINED
};
/// A folder that is refused, beside one that is not.
const REFUSED_TREE: Case =
    Case { outputs: KEPT, control: Control::Sealed("S-E01-inner"), ..REFUSED };
const TAKEN: Case = Case { outputs: KEPT, control: Control::None("it is harmless"), ..CONTAINED };

const ROWS: [Case; 50] = [
    Case { id: "S-E01-file", title: "a file that is a link", ..REFUSED },
    Case { id: "S-E01-itself", title: "a link to itself", ..REFUSED },
    Case { id: "S-E01-dangling", title: "a dangling link", ..REFUSED },
    Case { id: "S-E01-out", title: "a link out", ..REFUSED },
    Case { id: "S-E01-dir", title: "a folder of links is kept as text", ..TAKEN },
    Case {
        id: "S-E01-export",
        title: "and is not handed out",
        act: Act::Attack("S-E01-dir"),
        outputs: TREE,
        ..REFUSED_TREE
    },
    Case { id: "S-E02", title: "a folder with a FIFO", ..REFUSED_TREE },
    Case {
        id: "S-E02-export",
        title: "the same in an archive",
        act: Act::Attack("S-E02"),
        outputs: TREE,
        ..REFUSED_TREE
    },
    Case { id: "S-E02-file", title: "a file that is a FIFO", ..REFUSED },
    Case { id: "S-E02-held", title: "a FIFO that somebody holds open", ..REFUSED },
    Case { id: "S-E03", title: "a folder with a socket", expect: NO_SUCH_OUTPUT, ..REFUSED_TREE },
    Case { id: "S-E03-file", title: "a file that is a socket", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case {
        id: "S-E03-device",
        title: "a folder with a device, or with an overlay's mark of deletion",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED_TREE
    },
    Case {
        id: "S-E03-whiteout",
        title: "the same mark, left by a rename",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED_TREE
    },
    Case { id: "S-E07-shown", title: "an odd name in a refusal is shown escaped", ..REFUSED_TREE },
    Case {
        id: "S-E04",
        title: "a missing output",
        expect: Expect::Says("KILN-0402", "resolt"),
        ..REFUSED
    },
    Case {
        id: "S-E04-kind",
        title: "a folder for a file",
        expect: Expect::Refused(&["KILN-0402", "KILN-0407"]),
        ..REFUSED
    },
    HARMLESS,
    Case { id: "S-E05-setuid", title: "set-user-id", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case { id: "S-E05-setgid", title: "set-group-id", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case { id: "S-E05-sticky", title: "sticky", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case {
        id: "S-E05-openat2",
        title: "set-user-id by a call that no filter can read",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED
    },
    Case {
        id: "S-E05-folder",
        title: "a folder with set-group-id",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED_TREE
    },
    Case { id: "S-E05-world", title: "a file that all may write", outputs: RESULT, ..TAKEN },
    Case { id: "S-E06", title: "an extended attribute", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case { id: "S-E06-list", title: "an access list", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case {
        id: "S-E06-default-list",
        title: "a folder's default access list",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED_TREE
    },
    Case { id: "S-E06-capability", title: "a file capability", expect: NO_SUCH_OUTPUT, ..REFUSED },
    Case {
        id: "S-E06-folder",
        title: "a folder's attribute",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED_TREE
    },
    Case {
        id: "S-E06-opaque",
        title: "an overlay's own marks, made by hand",
        expect: NO_SUCH_OUTPUT,
        ..REFUSED_TREE
    },
    Case {
        id: "S-E07",
        title: "odd names are kept exactly",
        act: Act::Host(acts::odd_names),
        ..HOST
    },
    Case { id: "S-E07-bytes", title: "a name that is not UTF-8", ..REFUSED_TREE },
    Case { id: "S-E07-target", title: "a link's target that is not UTF-8", ..REFUSED_TREE },
    Case {
        id: "S-E08",
        title: "names that differ by case are noted",
        expect: Expect::Notes("are one name on some file systems"),
        ..TAKEN
    },
    Case {
        id: "S-E08-export",
        title: "and refused where the target takes them for one",
        needs: &[Need::CaseBlind],
        ..TAKEN
    },
    Case {
        id: "S-E09",
        title: "a file of 100 GiB that is mostly holes",
        control: Control::Sealed("S-E09-small"),
        expect: TOO_LARGE,
        ..REFUSED
    },
    Case {
        id: "S-E09-tree",
        title: "ten files of 10 GiB that are all holes",
        expect: TOO_LARGE,
        ..REFUSED_TREE
    },
    Case {
        id: "S-E09-disk",
        title: "holes of 1 GiB in a file of a step that may write 48 MiB",
        more: "    resources: {disk: 48Mi}\n",
        control: Control::Sealed("S-E09-small"),
        expect: Expect::AtLatest("KILN-0406", "holes"),
        on: WITH_DISK,
        ..REFUSED
    },
    Case {
        id: "S-E10",
        title: "files and folders that nobody may read",
        outputs: TREE,
        expect: Expect::Same,
        ..TAKEN
    },
    Case {
        id: "S-E10-parent",
        title: "an output in a folder that nobody may enter",
        outputs: BEHIND,
        ..TAKEN
    },
    Case {
        id: "S-E10-work",
        title: "a work folder that nobody may enter",
        outputs: RESULT,
        ..TAKEN
    },
    Case { id: "S-E10-file", title: "a file that nobody may read", outputs: RESULT, ..TAKEN },
    Case { id: "S-E11", title: "two names of one file", act: Act::Host(acts::hard_links), ..HOST },
    Case {
        id: "S-E12",
        title: "empty files and folders",
        act: Act::Host(acts::empty_things),
        ..HOST
    },
    Case {
        id: "S-E13",
        title: "a parent that is a link",
        outputs: BEHIND,
        control: Control::Sealed("S-E13-plain"),
        ..REFUSED
    },
    Case {
        id: "S-E13-host",
        title: "a parent that leads to the host",
        outputs: BEHIND,
        control: Control::Sealed("S-E13-plain"),
        ..REFUSED
    },
    Case {
        id: "S-E13-swap",
        title: "a parent that is swapped when the step ends",
        outputs: BEHIND,
        control: Control::Sealed("S-E13-plain"),
        ..REFUSED
    },
    Case { id: "S-E14", title: "a file that grows when the step ends", outputs: RESULT, ..TAKEN },
    Case { id: "S-E14-map", title: "a file that changes through memory", outputs: RESULT, ..TAKEN },
    Case {
        id: "S-E15",
        title: "an output in a folder that no view holds",
        outputs: ("{result: ../tmp/result}", ""),
        expect: Expect::Ends(2, "KILN-0109"),
        ..TAKEN
    },
];
