//! What the binary needs of the machine it runs on: the C library, and nothing else.
//!
//! Reads the dynamic section itself, since `ldd` runs what it looks at and `readelf` need not be there.
//! It looks at the kiln of this build: `make release` asks again about the one that ships.
//!
//! Does not catch: what a program opens by name while it runs (dlopen). kiln does so in one place: the
//! attestor loads the module of a token that `attestor.toml` names.
//!
//! Spec: System V ABI, gABI chapters 4 and 5 (ELF header, program header, dynamic section).

use std::ops::Range;

use crate::support::kiln;

/// What the C library of GNU is made of, up to the version behind which the architecture's name stands.
const LIBC: [&str; 3] = ["libc.so.", "libm.so.", "ld-linux"];

const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const NEEDED: u64 = 1;
const STRINGS: u64 = 5;

/// Reads a little-endian number.
fn number(bytes: &[u8], at: Range<usize>) -> u64 {
    bytes[at].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn at(number: u64) -> usize {
    usize::try_from(number).expect("a place in a file in memory")
}

/// A part of the file: what it is, where it lies, where in memory it goes, how long it is.
struct Part {
    kind: u64,
    offset: u64,
    address: u64,
    bytes: u64,
}

fn parts(elf: &[u8]) -> Vec<Part> {
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian program");
    let (start, size) = (at(number(elf, 32..40)), at(number(elf, 54..56)));
    let headers = (0..at(number(elf, 56..58))).map(|index| &elf[start + index * size..][..size]);
    let part = |header: &[u8]| Part {
        kind: number(header, 0..4),
        offset: number(header, 8..16),
        address: number(header, 16..24),
        bytes: number(header, 32..40),
    };
    headers.map(part).collect()
}

/// Returns the names of the libraries that the loader is asked for.
fn needed(elf: &[u8]) -> Vec<String> {
    let parts = parts(elf);
    let dynamic = parts.iter().find(|part| part.kind == DYNAMIC).expect("a dynamic section");
    let entries: Vec<(u64, u64)> = elf[at(dynamic.offset)..][..at(dynamic.bytes)]
        .chunks_exact(16)
        .map(|entry| (number(entry, 0..8), number(entry, 8..16)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let strings = entries.iter().find(|(tag, _)| *tag == STRINGS).expect("a table of names").1;
    let home = |part: &&Part| {
        part.kind == LOAD && (part.address..part.address + part.bytes).contains(&strings)
    };
    let home = parts.iter().find(home).expect("the names are loaded");
    let names = &elf[at(strings - home.address + home.offset)..];
    let name = |offset: u64| {
        let name = names[at(offset)..].split(|byte| *byte == 0).next().expect("a first piece");
        String::from_utf8(name.to_vec()).expect("a name in UTF-8")
    };
    entries.iter().filter(|(tag, _)| *tag == NEEDED).map(|(_, offset)| name(*offset)).collect()
}

#[test]
fn kiln_is_linked_to_libc_only() {
    let path = kiln();
    let needed = needed(&std::fs::read(path).expect("it is built"));
    println!("{} needs {needed:?}", path.display());
    // The control: what reads the section sees libraries at all.
    assert!(needed.iter().any(|name| name.starts_with("libc.so.")), "{needed:?}");
    let other: Vec<&String> =
        needed.iter().filter(|name| !LIBC.iter().any(|start| name.starts_with(start))).collect();
    assert!(other.is_empty(), "kiln needs more than libc: {other:?}");
}
