//! What becomes of a checkout that was touched between two steps.
#![allow(clippy::disallowed_methods, reason = "tests write files behind the store's back")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use model::tree::TreeBuilder;
use model::{RelPath, Tree};

use super::*;

const LOOK: Look = Look { seconds: model::T0_SECONDS, owner: None };

fn scratch() -> (tempfile::TempDir, Store, Tree) {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(&scratch.path().join("store")).unwrap();
    let mut builder = TreeBuilder::new();
    let blob = store.import_bytes(b"text").unwrap();
    builder.file(&RelPath::new("d/e/a").unwrap(), blob, false).unwrap();
    builder.file(&RelPath::new("d/b").unwrap(), blob, true).unwrap();
    builder.symlink(&RelPath::new("l").unwrap(), "d/b").unwrap();
    let tree = builder.build();
    store.put_tree(&tree).unwrap();
    (scratch, store, tree)
}

/// Puts the modification time of an entry back, as one would who wants to hide a change.
fn set_time(at: &Path) {
    let moment = rustix::fs::Timespec { tv_sec: LOOK.seconds, tv_nsec: 0 };
    let kept = rustix::fs::Timestamps { last_access: moment, last_modification: moment };
    let own = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, at, &kept, own).unwrap();
}

fn is_sound(store: &Store) -> bool {
    store.verify(Depth::Deep).unwrap().damage.is_empty()
}

#[test]
fn a_checkout_that_was_touched_is_never_handed_out() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 11] = [
        ("content", |at| {
            std::fs::write(at.join("d/e/a"), "tesx").unwrap();
            set_time(&at.join("d/e/a"));
        }),
        ("more", |at| {
            std::fs::write(at.join("d/c"), "").unwrap();
            set_time(&at.join("d"));
        }),
        ("more at the top", |at| {
            std::fs::create_dir(at.join("new")).unwrap();
            set_time(at);
        }),
        ("less", |at| {
            std::fs::remove_file(at.join("d/e/a")).unwrap();
            set_time(&at.join("d/e"));
        }),
        ("mode", |at| {
            std::fs::set_permissions(at.join("d/b"), PermissionsExt::from_mode(0o4755)).unwrap();
        }),
        ("mode of a folder", |at| {
            std::fs::set_permissions(at.join("d"), PermissionsExt::from_mode(0o700)).unwrap();
        }),
        ("a link for a file", |at| {
            std::fs::remove_file(at.join("d/b")).unwrap();
            symlink("e/a", at.join("d/b")).unwrap();
            set_time(&at.join("d/b"));
            set_time(&at.join("d"));
        }),
        ("another link", |at| {
            std::fs::remove_file(at.join("l")).unwrap();
            symlink("d/c", at.join("l")).unwrap();
            set_time(&at.join("l"));
            set_time(at);
        }),
        ("two names of one file", |at| {
            std::fs::hard_link(at.join("d/b"), at.join("../other")).unwrap();
        }),
        ("no stamp", |at| std::fs::remove_file(at.join("../stamp")).unwrap()),
        ("a link for all of it", |at| {
            let outer = at.parent().unwrap();
            let aside = outer.with_extension("aside");
            std::fs::rename(outer, &aside).unwrap();
            symlink(&aside, outer).unwrap();
        }),
    ];
    for (what, change) in changes {
        let (_scratch, store, tree) = scratch();
        let at = store.checkout(&tree.root, LOOK).unwrap().path().to_path_buf();
        // The control: untouched, the same one is handed out.
        assert_eq!(store.checkout(&tree.root, LOOK).unwrap().touched(), None, "{what}");
        change(&at);
        let again = store.checkout(&tree.root, LOOK).unwrap();
        assert!(again.touched().is_some(), "{what}");
        assert_eq!(again.path(), at, "{what}");
        assert_eq!(std::fs::read(at.join("d/e/a")).unwrap(), b"text", "{what}");
        assert_eq!(store.checkout(&tree.root, LOOK).unwrap().touched(), None, "{what}");
        let aside = at.parent().unwrap().with_extension("aside");
        if aside.exists() {
            std::fs::remove_dir_all(aside).unwrap();
        }
        assert!(is_sound(&store), "{what}");
    }
}

#[test]
fn a_touched_checkout_in_use_stays_and_the_next_step_has_one_of_its_own() {
    let (_scratch, store, tree) = scratch();
    let in_use = store.checkout(&tree.root, LOOK).unwrap();
    std::fs::write(in_use.path().join("d/e/a"), "tesx").unwrap();
    let own = store.checkout(&tree.root, LOOK).unwrap();
    assert!(own.touched().is_some() && own.path() != in_use.path());
    assert_eq!(std::fs::read(own.path().join("d/e/a")).unwrap(), b"text");
    assert!(in_use.path().exists());
    let (at, private) = (in_use.path().to_path_buf(), own.path().to_path_buf());
    drop((in_use, own));
    let again = store.checkout(&tree.root, LOOK).unwrap();
    assert_eq!((again.path(), again.touched().is_some()), (at.as_path(), true));
    drop(again);
    assert!(is_sound(&store));
    drop(store);
    assert!(!private.exists());
}

#[test]
fn a_single_file_has_a_stamp_too() {
    let (_scratch, store, _) = scratch();
    let blob = store.import_bytes(b"text").unwrap();
    let at = store.checkout_file(&blob, false, LOOK).unwrap().path().to_path_buf();
    assert_eq!(store.checkout_file(&blob, false, LOOK).unwrap().touched(), None);
    std::fs::write(&at, "tesx").unwrap();
    set_time(&at);
    assert!(store.checkout_file(&blob, false, LOOK).unwrap().touched().is_some());
    assert_eq!(std::fs::read(&at).unwrap(), b"text");
}
