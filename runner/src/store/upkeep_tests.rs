//! What `verify` finds and what `gc` leaves.
#![allow(clippy::disallowed_methods, reason = "tests write files behind the store's back")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use model::tree::TreeBuilder;
use model::{Digest, RelPath, Tree};

use super::*;

const LOOK: Look = Look { seconds: model::T0_SECONDS, owner: None };
const NOTHING: Keep = Keep { since: UnixMillis(u64::MAX), records_per_project: 0 };

fn scratch() -> (tempfile::TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(&scratch.path().join("store")).unwrap();
    (scratch, store)
}

fn tree(store: &Store, text: &str) -> Tree {
    let mut builder = TreeBuilder::new();
    let blob = store.import_bytes(text.as_bytes()).unwrap();
    builder.file(&RelPath::new("d/a").unwrap(), blob, false).unwrap();
    builder.file(&RelPath::new("d/b").unwrap(), blob, true).unwrap();
    builder.symlink(&RelPath::new("l").unwrap(), "d/a").unwrap();
    let tree = builder.build();
    store.put_tree(&tree).unwrap();
    tree
}

fn found(store: &Store) -> Vec<DamageKind> {
    let report = store.verify(Depth::Deep).unwrap();
    report.damage.into_iter().map(|damage| damage.kind).collect()
}

fn set_time(at: &Path) {
    let kept = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: LOOK.seconds, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: LOOK.seconds, tv_nsec: 0 },
    };
    let own = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, at, &kept, own).unwrap();
}

#[test]
fn every_change_of_a_checkout_is_found_and_the_checkout_removed() {
    let (_scratch, store) = scratch();
    let tree = tree(&store, "text");
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 9] = [
        ("content", |at| {
            std::fs::write(at.join("d/a"), "tesx").unwrap();
            set_time(&at.join("d/a"));
        }),
        ("time", |at| {
            let file = std::fs::File::options().write(true).open(at.join("d/a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("mode", |at| {
            std::fs::set_permissions(at.join("d/b"), PermissionsExt::from_mode(0o744)).unwrap();
        }),
        ("extra", |at| {
            std::fs::write(at.join("d/c"), "").unwrap();
            set_time(&at.join("d"));
        }),
        ("missing", |at| {
            std::fs::remove_file(at.join("d/a")).unwrap();
            set_time(&at.join("d"));
        }),
        ("shared inode", |at| {
            std::fs::remove_file(at.join("d/a")).unwrap();
            std::fs::hard_link(at.join("d/b"), at.join("d/a")).unwrap();
            set_time(&at.join("d"));
        }),
        ("link", |at| {
            std::fs::remove_file(at.join("l")).unwrap();
            symlink("d/b", at.join("l")).unwrap();
            set_time(&at.join("l"));
            set_time(at);
        }),
        ("kind", |at| {
            std::fs::rename(at.join("d"), at.join("../d")).unwrap();
            symlink("../d", at.join("d")).unwrap();
            set_time(&at.join("d"));
            set_time(at);
        }),
        ("all gone", |at| std::fs::remove_dir_all(at).unwrap()),
    ];
    for (what, change) in changes {
        let at = store.checkout(&tree.root, LOOK).unwrap().path().to_path_buf();
        assert_eq!(found(&store), [], "{what}");
        change(&at);
        assert_eq!(found(&store), [DamageKind::Checkout], "{what}");
        assert_eq!(found(&store), [], "{what}");
        assert_eq!(store.info().unwrap().checkouts, 0, "{what}");
    }
}

#[test]
fn a_lease_ends_with_its_checkout_though_a_child_holds_the_descriptor() {
    let (_scratch, store) = scratch();
    let tree = tree(&store, "text");
    let checkout = store.checkout(&tree.root, LOOK).unwrap();
    // What a program being started holds of this process until its exec.
    let copy = checkout.lease_copy();
    store.gc(NOTHING).unwrap();
    assert_eq!(store.info().unwrap().checkouts, 1, "in use");
    drop(checkout);
    store.gc(NOTHING).unwrap();
    assert_eq!(store.info().unwrap().checkouts, 0, "free");
    drop(copy);
}

#[test]
fn damage_is_found_with_everything_that_stands_on_it() {
    let (_scratch, store) = scratch();
    let tree = tree(&store, "text");
    let action = Digest::of(b"action");
    let holds = vec![Held::Tree(tree.root)];
    store.action_put(&action, &ActionResult { record: 1, holds: holds.clone() }).unwrap();
    store.put_record(&action, UnixMillis(1), b"{}", holds).unwrap();
    assert_eq!(found(&store), []);
    let hex = Digest::of(b"text").hex();
    let at = store.path().join("objects").join(&hex[..2]).join(&hex[2..]);
    std::fs::set_permissions(&at, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&at, "tesT").unwrap();
    assert_eq!(store.verify(Depth::Names).unwrap().damage, []);
    let report = store.verify(Depth::Deep).unwrap();
    let seen: Vec<_> = report.damage.iter().map(|damage| (damage.kind, &damage.at)).collect();
    assert_eq!(seen.len(), 3, "{report:?}");
    assert_eq!((report.actions, report.records), (1, 1));
    assert!(seen.contains(&(
        DamageKind::Object,
        &PathBuf::from(format!("objects/{}/{}", &hex[..2], &hex[2..]))
    )));
    std::fs::write(store.path().join("objects/strange"), "").unwrap();
    assert_eq!(found(&store), [DamageKind::Foreign, DamageKind::Dangling]);
}

#[test]
fn gc_keeps_what_is_young_or_held_and_all_it_stands_on() {
    let (_scratch, store) = scratch();
    let kept = tree(&store, "kept");
    let old = tree(&store, "old");
    let named = tree(&store, "named");
    let project = Digest::of(b"project");
    for (made, tree) in [(1, &old), (2, &kept)] {
        let bytes = format!("{made}");
        let holds = vec![Held::Tree(tree.root)];
        store.put_record(&project, UnixMillis(made), bytes.as_bytes(), holds).unwrap();
    }
    store
        .action_put(&project, &ActionResult { record: 0, holds: vec![Held::Tree(old.root)] })
        .unwrap();
    store.hold(&model::Name::new("env").unwrap(), &[Held::Tree(named.root)]).unwrap();
    let lease = store.checkout(&kept.root, LOOK).unwrap();
    drop(store.checkout(&old.root, LOOK).unwrap());
    let collected = store.gc(Keep { records_per_project: 1, ..NOTHING }).unwrap();
    assert_eq!((collected.records, collected.actions, collected.checkouts), (1, 1, 1));
    assert_eq!(collected.objects, 4);
    assert!(lease.path().join("d/a").exists());
    assert!(store.is_complete(&kept.root).unwrap() && store.is_complete(&named.root).unwrap());
    assert!(!store.is_complete(&old.root).unwrap());
    assert_eq!(found(&store), []);
    drop(lease);
    store.gc(NOTHING).unwrap();
    assert_eq!(store.info().unwrap().objects, 3);
}

#[test]
fn young_results_and_checkouts_survive_gc() {
    let (_scratch, store) = scratch();
    let tree = tree(&store, "text");
    let action = Digest::of(b"action");
    let result = ActionResult { record: 0, holds: vec![Held::Tree(tree.root)] };
    store.action_put(&action, &result).unwrap();
    drop(store.checkout(&tree.root, LOOK).unwrap());
    let collected = store.gc(Keep { since: UnixMillis(1), records_per_project: 0 }).unwrap();
    assert_eq!(collected, Collected::default());
    assert_eq!(store.action_get(&action).unwrap(), Some(result));
}

#[test]
fn gc_is_busy_while_another_run_is_in_flight() {
    let (_scratch, store) = scratch();
    let other = open(store.path()).unwrap();
    let unreferenced = other.import_bytes(b"not yet referenced").unwrap();
    let refused = store.gc(NOTHING).unwrap_err();
    assert!(matches!(&refused, Error::Busy { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&std::process::id().to_string()));
    assert!(other.has(&unreferenced.digest));
    drop(other);
    assert_eq!(store.gc(NOTHING).unwrap().objects, 1);
}

#[test]
fn names_of_checkouts_go_round() {
    use checkout::{Kind, Subject};
    let digest = Digest::of(b"x");
    for kind in [Kind::Folder, Kind::File { executable: false }, Kind::File { executable: true }] {
        for seconds in [0, model::T0_SECONDS, -5] {
            for owner in [None, Some(Owner { uid: 0, gid: 0 }), Some(Owner { uid: 70_000, gid: 1 })]
            {
                let subject = Subject { kind, digest, look: Look { seconds, owner } };
                assert_eq!(Subject::parse(&subject.name()), Some(subject));
            }
        }
    }
    for name in ["", "d-", "d-é", "d-00", &format!("d-{}-1-2", digest.hex()), "tmp"] {
        assert_eq!(Subject::parse(name), None, "{name}");
    }
}

/// As many links with names and targets as long as may be as take more than a message may have.
fn too_large() -> Tree {
    let mut builder = TreeBuilder::new();
    let target = "t".repeat(model::relpath::PATH_BYTES_MAX - 1);
    for number in 0..17_000 {
        let name = RelPath::new(&format!("in/{number:0255}")).unwrap();
        builder.symlink(&name, &target).unwrap();
    }
    builder.build()
}

#[test]
fn a_folder_that_nobody_can_read_back_is_not_written() {
    let (_scratch, store) = scratch();
    let tree = too_large();
    match store.put_tree(&tree) {
        Err(Error::FolderTooLarge { at, size }) => {
            assert_eq!(at.as_str(), "in");
            assert!(size > model::reapi::DIRECTORY_BYTES_MAX as u64, "{size}");
        }
        other => panic!("{other:?}"),
    }
    let large = tree.directories.values().max_by_key(|one| one.entries().len()).unwrap();
    assert!(matches!(store.put_directory(large), Err(Error::FolderTooLarge { .. })));
    assert_eq!(store.info().unwrap().objects, 0);
}

#[test]
fn a_folder_that_nobody_can_read_back_and_is_there_stops_no_other_work() {
    let (_scratch, store) = scratch();
    let (large, sound) = (too_large(), tree(&store, "sound"));
    // As it was written before it was refused.
    for directory in large.directories.values() {
        store.import_bytes(&model::reapi::encode_directory(directory)).unwrap();
    }
    let action = |tree: &Tree| Digest::of(tree.root.digest.hex().as_bytes());
    for tree in [&large, &sound] {
        let holds = vec![Held::Tree(tree.root)];
        store.action_put(&action(tree), &ActionResult { record: (), holds }).unwrap();
    }
    // A build does not find it, and cannot lay it out.
    assert_eq!(store.action_get::<()>(&action(&large)).unwrap(), None);
    assert!(store.action_get::<()>(&action(&sound)).unwrap().is_some());
    let refused = store.checkout(&large.root, LOOK).unwrap_err();
    assert!(refused.is_miss() && matches!(refused, Error::NotADirectory { .. }), "{refused:?}");
    // What looks at everything tells of it, and removes what stands on it.
    assert_eq!(found(&store), [DamageKind::Dangling]);
    assert_eq!(found(&store), []);
    // With a young result that still names it.
    let holds = vec![Held::Tree(large.root)];
    store.action_put(&action(&large), &ActionResult { record: (), holds }).unwrap();
    let objects = store.info().unwrap().objects;
    let swept = store.gc(Keep { since: UnixMillis(0), records_per_project: 1 }).unwrap();
    assert_eq!((swept.objects, swept.actions), (2, 0));
    assert_eq!(store.info().unwrap().objects, objects - 2);
    assert!(store.action_get::<()>(&action(&sound)).unwrap().is_some());
}
