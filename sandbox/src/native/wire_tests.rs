//! What the child reads is decoded or refused, whatever the bytes are; nothing panics.

use std::io::Write;
use std::os::fd::OwnedFd;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};

use super::wire::{MayMiss, Order, Program, pack, unpack};

fn file(bytes: &[u8]) -> OwnedFd {
    let mut file =
        std::fs::File::from(memfd_create("test", MemfdFlags::CLOEXEC).expect("a memory file"));
    file.write_all(bytes).expect("bytes");
    file.into()
}

fn order(argv: Vec<String>, env: Vec<(String, String)>, files: u64) -> Order {
    Order {
        sources: vec!["/store/root".into()],
        ops: Vec::new(),
        outer: Some((1, 2)),
        processors: None,
        scratch: None,
        writable: Vec::new(),
        widen: model::step::Widen::default(),
        program: Program {
            argv,
            env: env.into_iter().collect(),
            cwd: model::AbsPath::default(),
            files,
            processes: None,
            file_bytes: None,
            may_randomize: false,
        },
        may_miss: MayMiss { network: false, syscalls: false },
        host_namespaces: std::collections::BTreeMap::new(),
        filter: vec![(6, 0, 0, 0x7fff_0000)],
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // By luck no order: it has ten fields.
        prop_assert!(unpack::<Order>(file(&bytes)).is_err());
    }

    #[test]
    fn any_length_is_held_against_what_is_there(length in any::<u64>(), rest in ".{0,40}") {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(rest.as_bytes());
        prop_assert!(unpack::<Order>(file(&bytes)).is_err());
    }

    #[test]
    fn an_order_comes_out_as_it_went_in(
        argv in prop::collection::vec(".{0,20}", 1..4),
        env in prop::collection::vec((".{1,8}", ".{0,20}"), 0..4),
        files in any::<u64>(),
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let before = order(argv, env, files);
        let (after, bodies) = unpack(pack(&before, &[&body]).expect("a file")).expect("an order");
        prop_assert_eq!(bodies, body);
        let text = |order: &Order| serde_json::to_string(order).expect("json");
        prop_assert_eq!(text(&after), text(&before));
    }

    #[test]
    fn a_damaged_order_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let packed = pack(&order(vec!["x".into()], Vec::new(), 7), &[b"body"]).expect("a file");
        let mut bytes = Vec::new();
        let mut packed = std::fs::File::from(packed);
        std::io::Seek::rewind(&mut packed).expect("a start");
        std::io::Read::read_to_end(&mut packed, &mut bytes).expect("bytes");
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        // A change within a text may be another order; anything else is refused.
        let _ = unpack::<Order>(file(&bytes));
    }
}
