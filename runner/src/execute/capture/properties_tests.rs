//! Any tree that a step can leave is captured as it is, or refused by a name that is in it.
#![allow(clippy::disallowed_methods, reason = "tests write files")]

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use model::record::OutputRecord;
use model::step::OutputKind;
use model::tree::Node;
use model::{Blob, RelPath};
use proptest::prelude::*;
use rustix::fs::{FileType, Mode};

use super::{Caps, CaptureError, Taking, capture};
use crate::store;

/// What a generated entry is.
#[derive(Clone, Debug)]
enum Made {
    File(Vec<u8>, u32),
    Link(Vec<u8>),
    Pipe,
    Folder(Vec<(Vec<u8>, Made)>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[a-zA-Z0-9 .*$\\n\\t\u{1b}\u{e9}-]{1,12}".prop_map(String::into_bytes),
        // Hidden, or with an edge that a careless reader cuts off.
        3 => "[.~ -][a-c. ]{0,2}[a-c \\n]".prop_map(String::into_bytes),
        1 => prop::collection::vec(1_u8.., 1..8),
    ]
    .prop_filter("a name of one part", |name| {
        !name.contains(&b'/') && name != b"." && name != b".."
    })
}

fn entry() -> impl Strategy<Value = Made> {
    // Of the rights to run it, the owner's counts: 0611 is no program, 0100 is one.
    let mode = prop::sample::select(vec![
        0o644, 0o755, 0o600, 0o400, 0o000, 0o777, 0o611, 0o100, 0o1755, 0o4755,
    ]);
    let leaf = prop_oneof![
        8 => (prop::collection::vec(any::<u8>(), 0..64), mode).prop_map(|(b, m)| Made::File(b, m)),
        3 => name().prop_map(Made::Link),
        1 => Just(Made::Link(b"/etc/passwd".to_vec())),
        1 => Just(Made::Pipe),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop::collection::vec((name(), inner), 0..6).prop_map(Made::Folder)
    })
}

/// Makes an entry; returns what it is to be captured as, none where it is to be refused.
fn make(at: &Path, made: &Made) -> Option<Expected> {
    match made {
        Made::File(bytes, mode) => {
            std::fs::write(at, bytes).unwrap();
            std::fs::set_permissions(at, PermissionsExt::from_mode(*mode)).unwrap();
            let plain = mode & 0o7000 == 0;
            plain.then(|| Expected::File(Blob::of(bytes), mode & 0o100 != 0))
        }
        Made::Link(target) => {
            symlink(std::ffi::OsStr::from_bytes(target), at).unwrap();
            String::from_utf8(target.clone()).ok().map(Expected::Link)
        }
        Made::Pipe => {
            rustix::fs::mknodat(rustix::fs::CWD, at, FileType::Fifo, Mode::RUSR, 0).unwrap();
            None
        }
        Made::Folder(entries) => {
            std::fs::create_dir(at).unwrap();
            let mut good = Some(BTreeMap::new());
            for (name, made) in entries {
                let path = at.join(std::ffi::OsStr::from_bytes(name));
                if std::fs::symlink_metadata(&path).is_ok() {
                    continue;
                }
                let below = make(&path, made);
                let name = String::from_utf8(name.clone()).ok();
                good = match (good, name, below) {
                    (Some(mut all), Some(name), Some(below)) => {
                        all.insert(name, below);
                        Some(all)
                    }
                    _ => None,
                };
            }
            good.map(Expected::Folder)
        }
    }
}

#[derive(Debug, PartialEq)]
enum Expected {
    File(Blob, bool),
    Link(String),
    Folder(BTreeMap<String, Expected>),
}

fn read(store: &store::Store, root: &Blob) -> Expected {
    let folder = store.load_directory(root).unwrap();
    let entries = folder.entries().map(|(name, node)| {
        let below = match node {
            Node::File { blob, executable } => Expected::File(*blob, *executable),
            Node::Symlink(target) => Expected::Link(target.clone()),
            Node::Directory(blob) => read(store, blob),
        };
        (name.as_str().to_owned(), below)
    });
    Expected::Folder(entries.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_tree_is_captured_as_it_is_or_refused(
        entries in prop::collection::vec((name(), entry()), 0..8)
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        let view = scratch.path().join("view");
        std::fs::create_dir(&view).unwrap();
        let expected = make(&view.join("tree"), &Made::Folder(entries));
        let folder = std::fs::File::open(&view).unwrap();
        let path = RelPath::new("tree").unwrap();
        let cancel = sandbox::Cancel::new().unwrap();
        let taking = Taking::begin(&store, &cancel, Caps::default());
        let got = capture(&taking, folder.as_fd(), &path, OutputKind::Dir);
        match (got, expected) {
            (Ok(captured), Some(expected)) => {
                let OutputRecord::Tree(root) = captured.node else { panic!("no tree") };
                prop_assert_eq!(read(&store, &root), expected);
            }
            (Err(error), None) => {
                let known = matches!(
                    error,
                    CaptureError::Refused { .. }
                        | CaptureError::SpecialMode { .. }
                        | CaptureError::NameNotUtf8 { .. }
                        | CaptureError::TargetNotUtf8 { .. }
                );
                prop_assert!(known && !error.to_string().contains('\u{1b}'), "{error}");
            }
            (got, expected) => prop_assert!(false, "{got:?} instead of {expected:?}"),
        }
    }
}
