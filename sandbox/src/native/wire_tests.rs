//! What the child reads is decoded or refused, whatever the bytes are; nothing panics.

use std::io::Write;
use std::os::fd::OwnedFd;

use model::AbsPath;
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};

use super::met::Most;
use super::outer::Outer;
use super::setup::{Op, View};
use super::trial::Trial;
use super::wire::{MayMiss, Order, Program, pack, unpack};

fn file(bytes: &[u8]) -> OwnedFd {
    let mut file =
        std::fs::File::from(memfd_create("test", MemfdFlags::CLOEXEC).expect("a memory file"));
    file.write_all(bytes).expect("bytes");
    file.into()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z/.]{0,12}", 1 => ".{0,20}"]
}

/// Operations of each shape: texts, numbers, marks, one within another.
fn op() -> impl Strategy<Value = Op> {
    let view = prop::sample::select(vec![View::Step, View::Ours]);
    let inside = "[a-z]{1,8}".prop_map(|name| AbsPath::new(&format!("/{name}")).expect("clean"));
    prop_oneof![
        (text(), any::<u64>(), any::<u64>(), any::<bool>())
            .prop_map(|(at, bytes, inodes, no_exec)| Op::Tmpfs { at, bytes, inodes, no_exec }),
        (any::<usize>(), any::<bool>(), text()).prop_map(|(source, folder, at)| Op::Attach {
            source,
            folder,
            at
        }),
        (text(), text()).prop_map(|(lower, at)| Op::Own { lower, at }),
        (any::<usize>(), text(), text()).prop_map(|(source, stage, at)| Op::OwnFile {
            source,
            stage,
            at
        }),
        (text(), any::<bool>(), text(), any::<bool>())
            .prop_map(|(from, folder, at, read_only)| Op::Bind { from, folder, at, read_only }),
        (text(), text(), text(), view).prop_map(|(lower, upper, at, view)| Op::Overlay {
            lower,
            upper,
            at,
            view
        }),
        (text(), any::<usize>(), any::<usize>(), any::<u32>())
            .prop_map(|(at, start, length, mode)| Op::Write { at, start, length, mode }),
        (text(), any::<u32>(), any::<u32>(), text())
            .prop_map(|(name, major, minor, at)| Op::Device { name, major, minor, at }),
        text().prop_map(|at| Op::Proc { at }),
        (text(), inside).prop_map(|(at, inside)| Op::Open { at, inside }),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    let argv = prop::collection::vec(text(), 1..4);
    let env = prop::collection::btree_map(text(), text(), 0..4);
    let numbers = (any::<u64>(), any::<Option<u64>>(), any::<Option<u64>>(), any::<bool>());
    (argv, env, numbers).prop_map(|(argv, env, (files, processes, file_bytes, may_randomize))| {
        let cwd = AbsPath::default();
        let trial = Trial::None;
        Program { argv, env, cwd, files, processes, file_bytes, may_randomize, trial }
    })
}

fn order() -> impl Strategy<Value = Order> {
    let places = (prop::collection::vec(text(), 0..3), prop::option::of(text()));
    let lists = (
        prop::collection::vec(op(), 0..6),
        prop::option::of(prop::collection::vec(any::<usize>(), 0..4)),
        prop::collection::vec(any::<(u16, u8, u8, u32)>(), 0..4),
        prop::collection::btree_map(text(), text(), 0..3),
    );
    let outer = any::<(u32, u32, Option<(u32, u32)>)>().prop_map(|(uid, gid, shown)| Outer {
        uid,
        gid,
        shown,
    });
    let most = any::<((u64, u64), bool, Option<u64>)>()
        .prop_map(|(memory, on_disk, processes)| Most { memory, on_disk, processes });
    let marks = (prop::option::of(outer), any::<[bool; 5]>(), most);
    (places, lists, marks, program()).prop_map(|(places, lists, marks, program)| {
        let (ops, processors, filter, host_namespaces) = lists;
        let (outer, [nested, fakeroot, abi32, network, syscalls], most) = marks;
        Order {
            sources: places.0.into_iter().map(Into::into).collect(),
            scratch: places.1.map(Into::into),
            ops,
            outer,
            processors,
            writable: vec![AbsPath::default()],
            widen: model::step::Widen { nested, fakeroot, abi32 },
            program,
            may_miss: MayMiss { network, syscalls },
            most,
            host_namespaces,
            filter,
        }
    })
}

fn bytes(packed: OwnedFd) -> Vec<u8> {
    let mut packed = std::fs::File::from(packed);
    std::io::Seek::rewind(&mut packed).expect("a start");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut packed, &mut bytes).expect("bytes");
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // By luck no order: it has a dozen fields.
        prop_assert!(unpack::<Order>(file(&bytes)).is_err());
    }

    #[test]
    fn only_the_length_of_the_head_is_taken_for_it(
        order in order(),
        body in prop::collection::vec(any::<u8>(), 0..30),
        near in -40_i64..40,
        any in any::<u64>(),
        far in any::<bool>(),
    ) {
        let mut bytes = bytes(pack(&order, &[&body]).expect("a file"));
        let (length, _) = bytes.split_first_chunk_mut::<8>().expect("a length");
        let right = u64::from_le_bytes(*length);
        let other = if far { any } else { right.saturating_add_signed(near) };
        *length = other.to_le_bytes();
        let blank = body.iter().take_while(|byte| b" \t\r\n".contains(byte)).count() as u64;
        // White space after the head is none of the head's, but no lie either.
        let fits = (right..=right + blank).contains(&other);
        prop_assert_eq!(unpack::<Order>(file(&bytes)).is_ok(), fits, "{} for {}", other, right);
    }

    #[test]
    fn an_order_comes_out_as_it_went_in(
        before in order(),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..3),
    ) {
        let parts: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let (after, together) =
            unpack::<Order>(pack(&before, &parts).expect("a file")).expect("an order");
        prop_assert_eq!(together, bodies.concat());
        // By field, and not by what it would be written as: a field that is never written is lost.
        prop_assert_eq!(format!("{after:?}"), format!("{before:?}"));
    }

    #[test]
    fn a_damaged_order_is_refused_or_says_what_it_is_taken_for(
        order in order(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\"{}[],:0n ".to_vec())],
        cut in any::<bool>(),
    ) {
        let mut bytes = bytes(pack(&order, &[b"body"]).expect("a file"));
        let length = bytes.len() - 12;
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        // A change within a text may be another order; then all of it counts, and nothing besides.
        if let Ok((after, _)) = unpack::<Order>(file(&bytes)) {
            let read: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).expect("json");
            prop_assert_eq!(serde_json::to_value(&after).expect("json"), read);
        }
    }
}
