//! What the store promises, attacked: damage, races, kills, full disks, forged entries.
#![allow(clippy::disallowed_methods, reason = "tests start programs and write files")]

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use model::step::OutputKind;
use model::tree::TreeBuilder;
use model::{Blob, Digest, RelPath, Tree};
use proptest::prelude::*;

use super::*;
use crate::execute::capture::{Caps, Taking, capture};

const LOOK: Look = Look { seconds: model::T0_SECONDS, owner: None };

fn scratch() -> (tempfile::TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(&scratch.path().join("store")).unwrap();
    (scratch, store)
}

fn object(store: &Store, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    store.path().join("objects").join(&hex[..2]).join(&hex[2..])
}

/// Writes into an object behind the store's back.
fn tamper(at: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(at).unwrap();
    change(&mut bytes);
    std::fs::set_permissions(at, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(at, bytes).unwrap();
}

fn file(at: &Path) -> OwnedFd {
    std::fs::File::open(at).unwrap().into()
}

fn sample(store: &Store) -> Tree {
    let mut builder = TreeBuilder::new();
    let path = |text| RelPath::new(text).unwrap();
    let tool = store.import_bytes(b"#!/bin/sh\n").unwrap();
    let text = store.import_bytes(b"text").unwrap();
    builder.file(&path("bin/tool"), tool, true).unwrap();
    builder.file(&path("share/a"), text, false).unwrap();
    builder.file(&path("share/b"), text, false).unwrap();
    builder.file(&path("empty"), store.import_bytes(b"").unwrap(), false).unwrap();
    builder.symlink(&path("link"), "/etc/passwd").unwrap();
    builder.folder(&path("hollow")).unwrap();
    let tree = builder.build();
    store.put_tree(&tree).unwrap();
    tree
}

#[test]
fn a_store_is_private_and_of_one_owner() {
    let (scratch, store) = scratch();
    let mode = std::fs::metadata(store.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let open_to_all = scratch.path().join("open");
    std::fs::create_dir(&open_to_all).unwrap();
    std::fs::set_permissions(&open_to_all, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(matches!(open(&open_to_all), Err(Error::Foreign { .. })));
    std::os::unix::fs::symlink(store.path(), scratch.path().join("link")).unwrap();
    assert!(open(&scratch.path().join("link")).is_err());
}

#[test]
fn a_newer_schema_and_a_folder_of_something_else_are_refused() {
    let (scratch, store) = scratch();
    std::fs::write(store.path().join("schema"), "2\n").unwrap();
    assert!(matches!(open(store.path()), Err(Error::NewerSchema { found: 2, .. })));
    std::fs::write(store.path().join("schema"), "").unwrap();
    assert!(matches!(open(store.path()), Err(Error::NotAStore { .. })));
    let other = scratch.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("precious"), "x").unwrap();
    assert!(matches!(open(&other), Err(Error::NotAStore { .. })));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn leftovers_of_dead_runs_are_cleared_and_live_runs_left_alone() {
    let (_scratch, live) = scratch();
    let dead = live.path().join("tmp/12345-0");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("half"), "partial").unwrap();
    let writer = live.writer().unwrap();
    let other = open(live.path()).unwrap();
    assert!(!dead.exists());
    assert_eq!(live.info().unwrap().runs, 2);
    let blob = writer.finish().unwrap();
    drop(other);
    assert!(live.has(&blob.digest));
    assert_eq!(live.info().unwrap().runs, 1);
}

#[test]
fn bytes_come_back_and_equal_bytes_are_stored_once() {
    let (scratch, store) = scratch();
    let large: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let at = scratch.path().join("f");
    for bytes in [&b""[..], b"small", &large[..256 << 10], &large] {
        std::fs::write(&at, bytes).unwrap();
        let mut seen = Vec::new();
        let blob = store
            .import_file(file(&at), &mut |piece| {
                seen.extend(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!((blob, seen.as_slice()), (Blob::of(bytes), bytes));
        assert_eq!(store.import_bytes(bytes).unwrap(), blob);
        assert_eq!(store.read(&blob.digest, u64::MAX).unwrap(), bytes);
        let copy = std::fs::File::create(scratch.path().join("copy")).unwrap();
        store.copy_to(&blob, &copy).unwrap();
        assert_eq!(std::fs::read(scratch.path().join("copy")).unwrap(), bytes);
        assert_eq!(hash_file(file(&at), &mut |_| ()).unwrap(), blob);
        let mode = std::fs::metadata(object(&store, &blob.digest)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o444);
    }
    assert_eq!(store.info().unwrap().objects, 4);
    assert!(matches!(store.read(&Digest::of(b"small"), 4), Err(Error::TooLarge { .. })));
}

#[test]
fn many_files_are_imported_in_order_and_known_ones_not_read() {
    let (scratch, store) = scratch();
    let names: Vec<_> = (0..100).map(|name| scratch.path().join(format!("f{name}"))).collect();
    for (number, name) in names.iter().enumerate() {
        std::fs::write(name, format!("{number}")).unwrap();
    }
    let blobs = store.import_many(&names, |name| Ok::<_, Error>((file(name), None))).unwrap();
    assert_eq!(blobs[42], Blob::of(b"42"));
    let null = || file(Path::new("/dev/null"));
    let again =
        store.import_many(&names[..1], |_| Ok::<_, Error>((null(), Some(blobs[0])))).unwrap();
    assert_eq!(again, blobs[..1]);
    let wrong = store.import_known(file(&names[1]), &Blob::of(b"nowhere"));
    assert!(matches!(wrong, Err(Error::Mismatch { .. })));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let (scratch, store) = scratch();
    let at = scratch.path().join("f");
    for change in [0_u64, 900_000, 2_000_000] {
        std::fs::write(&at, vec![7; 1_000_000]).unwrap();
        let cut = |_: &[u8]| {
            std::fs::File::options().write(true).open(&at).unwrap().set_len(change).unwrap();
        };
        let mut once = Some(cut);
        let refused = store.import_file(file(&at), &mut |piece| {
            if let Some(cut) = once.take() {
                cut(piece);
            }
            Ok(())
        });
        assert!(matches!(refused, Err(Error::Changed)), "{change}: {refused:?}");
    }
    assert!(matches!(
        store.import_file(file(scratch.path()), &mut |_| Ok(())),
        Err(Error::NotAFile)
    ));
    assert_eq!(store.info().unwrap().objects, 0);
}

#[test]
fn a_damaged_object_is_never_served_and_counts_as_a_miss() {
    let flips: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[300_000] ^= 1,
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.push(0),
    ];
    for (number, flip) in flips.into_iter().enumerate() {
        let (scratch, store) = scratch();
        let bytes = vec![b'k'; 400_000];
        let blob = store.import_bytes(&bytes).unwrap();
        tamper(&object(&store, &blob.digest), flip);
        let copy = scratch.path().join("copy");
        let answer = store.copy_to(&blob, std::fs::File::create(&copy).unwrap());
        assert!(matches!(answer, Err(Error::Damaged(_))), "{number}: {answer:?}");
        assert!(std::fs::metadata(&copy).unwrap().len() < blob.size);
        assert!(matches!(store.read(&blob.digest, u64::MAX), Err(Error::Missing(_))));
        assert_eq!(store.info().unwrap().quarantined, 1);
        store.import_bytes(&bytes).unwrap();
        assert_eq!(store.read(&blob.digest, u64::MAX).unwrap(), bytes);
    }
}

#[test]
fn an_object_name_taken_by_something_else_is_cleared() {
    let (_scratch, store) = scratch();
    let blob = Blob::of(b"bytes");
    let at = object(&store, &blob.digest);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &at).unwrap();
    assert!(!store.has(&blob.digest));
    store.import_bytes(b"bytes").unwrap();
    assert_eq!(store.read(&blob.digest, 100).unwrap(), b"bytes");
}

#[test]
fn a_tree_goes_round_and_a_missing_part_is_noticed() {
    let (_scratch, store) = scratch();
    let tree = sample(&store);
    assert_eq!(store.load_tree(&tree.root).unwrap(), tree);
    assert!(store.is_complete(&tree.root).unwrap());
    std::fs::remove_file(object(&store, &Digest::of(b"text"))).unwrap();
    assert!(!store.is_complete(&tree.root).unwrap());
    assert!(matches!(store.checkout(&tree.root, LOOK), Err(Error::Missing(_))));
    assert_eq!(store.info().unwrap().checkouts, 0);
}

#[test]
fn a_checkout_has_fresh_inodes_fixed_modes_and_one_time() {
    let (_scratch, store) = scratch();
    let tree = sample(&store);
    let checkout = store.checkout(&tree.root, LOOK).unwrap();
    let mut inodes = std::collections::BTreeSet::new();
    for (path, mode) in [
        ("", 0o40755),
        ("bin", 0o40755),
        ("bin/tool", 0o100_755),
        ("share/a", 0o100_644),
        ("share/b", 0o100_644),
        ("empty", 0o100_644),
        ("hollow", 0o40755),
        ("link", 0o120_777),
    ] {
        let stat = std::fs::symlink_metadata(checkout.path().join(path)).unwrap();
        assert_eq!(stat.atime(), model::ACCESSED_SECONDS, "{path}");
        assert_eq!(stat.mode(), mode, "{path}");
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (LOOK.seconds, 0), "{path}");
        assert!(stat.is_dir() || stat.nlink() == 1, "{path}");
        assert!(inodes.insert(stat.ino()), "{path}");
    }
    let link = std::fs::read_link(checkout.path().join("link")).unwrap();
    assert_eq!(link, Path::new("/etc/passwd"));
    let again = store.checkout(&tree.root, LOOK).unwrap();
    assert_eq!(
        std::fs::metadata(again.path()).unwrap().ino(),
        std::fs::metadata(checkout.path()).unwrap().ino()
    );
    let later = Look { seconds: model::SOURCE_SECONDS, ..LOOK };
    assert_ne!(store.checkout(&tree.root, later).unwrap().path(), checkout.path());
}

#[test]
fn a_file_can_be_checked_out_alone() {
    let (_scratch, store) = scratch();
    let blob = store.import_bytes(b"x").unwrap();
    for (executable, mode) in [(false, 0o644), (true, 0o755)] {
        let checkout = store.checkout_file(&blob, executable, LOOK).unwrap();
        let stat = std::fs::metadata(checkout.path()).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.mtime()), (mode, LOOK.seconds));
        assert_eq!(std::fs::read(checkout.path()).unwrap(), b"x");
    }
}

/// Says on the screen that a test did not run: what it prints is shown only when it fails.
fn skipped(why: &str) {
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

#[test]
fn root_can_give_a_checkout_to_another_user() {
    if !rustix::process::geteuid().is_root() {
        return skipped("root_can_give_a_checkout_to_another_user: only root can");
    }
    let (_scratch, store) = scratch();
    let tree = sample(&store);
    let look = Look { owner: Some(Owner { uid: 70_000, gid: 70_001 }), ..LOOK };
    let checkout = store.checkout(&tree.root, look).unwrap();
    for path in ["", "bin/tool", "link"] {
        let stat = std::fs::symlink_metadata(checkout.path().join(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid(), stat.mtime()), (70_000, 70_001, LOOK.seconds));
    }
}

#[test]
fn a_damaged_object_never_reaches_a_checkout() {
    let (_scratch, store) = scratch();
    let tree = sample(&store);
    tamper(&object(&store, &Digest::of(b"text")), |bytes| bytes[0] ^= 1);
    // Two files have this content: whichever comes second finds the object gone to quarantine.
    let refused = store.checkout(&tree.root, LOOK).unwrap_err();
    assert!(matches!(refused, Error::Damaged(_) | Error::Missing(_)), "{refused}");
    assert_eq!(store.info().unwrap().checkouts, 0);
    store.import_bytes(b"text").unwrap();
    store.checkout(&tree.root, LOOK).unwrap();
}

#[test]
fn a_result_is_believed_only_while_everything_it_stands_on_is_here() {
    let (_scratch, store) = scratch();
    let tree = sample(&store);
    let action = Digest::of(b"action");
    let log = store.import_bytes(b"log").unwrap();
    let holds = vec![Held::Blob(log), Held::Tree(tree.root)];
    let result = ActionResult { record: serde_json::json!({"exit": 0}), holds };
    assert_eq!(store.action_get::<serde_json::Value>(&action).unwrap(), None);
    store.action_put(&action, &result).unwrap();
    assert_eq!(store.action_get(&action).unwrap(), Some(result));
    std::fs::remove_file(object(&store, &Digest::of(b"#!/bin/sh\n"))).unwrap();
    assert_eq!(store.action_get::<serde_json::Value>(&action).unwrap(), None);
}

#[test]
fn a_forged_result_is_ignored() {
    let (_scratch, store) = scratch();
    let (action, other) = (Digest::of(b"action"), Digest::of(b"other"));
    let result = ActionResult { record: 7_u32, holds: Vec::new() };
    store.action_put(&action, &result).unwrap();
    let at = |digest: &Digest| {
        let hex = digest.hex();
        store.path().join("actions").join(&hex[..2]).join(format!("{}.json", &hex[2..]))
    };
    std::fs::create_dir_all(at(&other).parent().unwrap()).unwrap();
    std::fs::copy(at(&action), at(&other)).unwrap();
    assert_eq!(store.action_get::<u32>(&other).unwrap(), None);
    tamper(&at(&action), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("\"record\":7", "\"record\":8").into_bytes();
    });
    assert_eq!(store.action_get::<u32>(&action).unwrap(), None);
    store.action_put(&action, &result).unwrap();
    assert_eq!(store.action_get(&action).unwrap(), Some(result));
    store.action_forget(&action).unwrap();
    assert_eq!(store.action_get::<u32>(&action).unwrap(), None);
}

#[test]
fn records_come_newest_first_and_by_project() {
    let (_scratch, store) = scratch();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    for made in [5, 1, 30] {
        let text = format!("{{\"n\":{made}}}");
        store.put_record(&one, UnixMillis(made), text.as_bytes(), Vec::new()).unwrap();
    }
    let made: Vec<_> = store.records(&one).unwrap().iter().map(|entry| entry.made.0).collect();
    assert_eq!(made, [30, 5, 1]);
    assert_eq!(store.records(&two).unwrap(), []);
    let newest = &store.records(&one).unwrap()[0];
    assert_eq!(store.read(&newest.record.digest, 1000).unwrap(), b"{\"n\":30}");
    let name = model::Name::new("stat-cache").unwrap();
    assert_eq!(store.state(&name).unwrap(), None);
    store.put_state(&name, b"cache").unwrap();
    assert_eq!(store.state(&name).unwrap().as_deref(), Some(&b"cache"[..]));
}

#[test]
fn after_a_power_failure_what_was_not_flushed_is_hashed_again() {
    let (_scratch, store) = scratch();
    let tree = sample(&store);
    drop(store.checkout(&tree.root, LOOK).unwrap());
    store.sync().unwrap();
    let lost = store.import_bytes(b"written last").unwrap();
    let path = store.path().to_path_buf();
    drop(store);
    let note = std::fs::read_to_string(path.join("synced")).unwrap();
    let boot = note.split('"').nth(3).unwrap();
    std::fs::write(path.join("synced"), note.replace(boot, "an-earlier-boot")).unwrap();
    let store = open(&path).unwrap();
    assert!(store.has(&lost.digest));
    tamper(&object(&store, &lost.digest), |bytes| bytes.fill(0));
    drop(store);
    std::fs::write(path.join("synced"), note.replace(boot, "an-earlier-boot")).unwrap();
    let store = open(&path).unwrap();
    assert!(!store.has(&lost.digest) && store.is_complete(&tree.root).unwrap());
    assert_eq!(store.info().unwrap().checkouts, 0);
}

#[test]
fn threads_and_stores_that_do_the_same_at_once_agree() {
    let (_scratch, store) = scratch();
    let other = open(store.path()).unwrap();
    std::thread::scope(|scope| {
        for store in [&store, &other, &store, &other] {
            scope.spawn(move || {
                let tree = sample(store);
                store.checkout(&tree.root, LOOK).unwrap()
            });
        }
    });
    assert_eq!(store.info().unwrap().checkouts, 1);
}

/// Imports and checks out, until it is killed or has done so many rounds.
#[test]
#[ignore = "a helper: started and killed by the test below"]
fn endless_import_helper() {
    let store = open(Path::new(&std::env::var("KILN_TEST_STORE").unwrap())).unwrap();
    println!("started");
    let rounds = std::env::var("KILN_TEST_ROUNDS").map_or(u64::MAX, |text| text.parse().unwrap());
    for round in 0..rounds {
        let mut builder = TreeBuilder::new();
        for name in 0..20_u64 {
            let bytes = (round * 1000 + name).to_le_bytes().repeat(5000);
            let blob = store.import_bytes(&bytes).unwrap();
            builder.file(&RelPath::new(&format!("d/{name}")).unwrap(), blob, false).unwrap();
        }
        let tree = builder.build();
        store.put_tree(&tree).unwrap();
        drop(store.checkout(&tree.root, LOOK).unwrap());
        let result = ActionResult { record: round, holds: vec![Held::Tree(tree.root)] };
        store.action_put(&tree.root.digest, &result).unwrap();
    }
}

fn helper(name: &str, store: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("store::tests::{name}"), "--ignored", "--nocapture"]);
    command.env("KILN_TEST_STORE", store);
    command
}

#[test]
fn a_killed_run_leaves_nothing_partial() {
    use std::io::Read as _;
    let (scratch, store) = scratch();
    drop(store);
    let path = scratch.path().join("store");
    for round in 0..4_u64 {
        let mut child = helper("endless_import_helper", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 4096];
        let mut out = child.stdout.take().unwrap();
        while !String::from_utf8_lossy(&said).contains("started") {
            assert_ne!(out.read(&mut said).unwrap(), 0);
        }
        let before = std::fs::read_dir(path.join("checkouts")).unwrap().count();
        while std::fs::read_dir(path.join("checkouts")).unwrap().count()
            < before + 2 + round as usize
        {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&path).unwrap();
        let report = store.verify(Depth::Deep).unwrap();
        assert_eq!(report.damage, [], "{report:?}");
        assert_eq!(store.info().unwrap().runs, 1);
    }
}

#[test]
fn a_kill_or_an_error_at_any_system_call_leaves_nothing_partial() {
    let (scratch, store) = scratch();
    drop(store);
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skipped("a_kill_or_an_error_at_any_system_call_leaves_nothing_partial: no strace");
    }
    let calls = ["renameat2", "renameat", "fchmod", "mkdirat", "write", "flock", "openat"];
    for (round, call) in calls.iter().cycle().take(28).enumerate() {
        let when = 1 + round * 5;
        for fault in ["signal=KILL", "error=EIO", "error=ENOSPC"] {
            let path = scratch.path().join(format!("{call}-{when}-{fault}"));
            drop(open(&path).unwrap());
            let helper = helper("endless_import_helper", &path);
            let done = std::process::Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e"])
                .arg(format!("inject={call}:{fault}:when={when}+"))
                .arg(helper.get_program())
                .args(helper.get_args())
                .env("KILN_TEST_STORE", &path)
                .env("KILN_TEST_ROUNDS", "3")
                .output()
                .unwrap();
            let store = open(&path).unwrap();
            let report = store.verify(Depth::Deep).unwrap();
            assert_eq!(report.damage, [], "{call} {when} {fault}: {done:?}");
            assert_eq!(store.info().unwrap().runs, 1, "{call} {when} {fault}");
        }
    }
}

/// Imports until the small file system is full; everything that was reported stored must be whole.
#[test]
#[ignore = "needs a mount namespace: started by the test below"]
fn full_disk_helper() {
    let store = open(Path::new(&std::env::var("KILN_TEST_STORE").unwrap())).unwrap();
    let mut stored = Vec::new();
    let error = (0_u64..)
        .find_map(|round| match store.import_bytes(&round.to_le_bytes().repeat(20_000)) {
            Ok(blob) => {
                stored.push(blob);
                None
            }
            Err(error) => Some(error),
        })
        .unwrap();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    for blob in &stored {
        store.check_object(blob).unwrap();
    }
    let mut builder = TreeBuilder::new();
    builder.file(&RelPath::new("f").unwrap(), stored[0], false).unwrap();
    let tree = builder.build();
    let refused = store.put_tree(&tree).and_then(|root| store.checkout(&root, LOOK).map(drop));
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    for blob in stored.drain(1..).rev().take(20) {
        std::fs::remove_file(object(&store, &blob.digest)).unwrap();
    }
    store.put_tree(&tree).unwrap();
    store.checkout(&tree.root, LOOK).unwrap();
    assert_eq!(store.verify(Depth::Deep).unwrap().damage, []);
    println!("full disk survived");
}

#[test]
fn a_full_disk_has_its_own_error_and_the_store_is_usable_afterwards() {
    let base = tempfile::tempdir().unwrap();
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    for options in ["size=4m", "size=64m,nr_inodes=60"] {
        let script = format!(
            "mount -t tmpfs -o {options},mode=700 tmpfs \"$KILN_TEST_STORE\" && exec \"$0\" --exact \
             store::tests::full_disk_helper --ignored --nocapture"
        );
        let answer = std::process::Command::new("unshare")
            .args([flags, "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env("KILN_TEST_STORE", base.path())
            .env("TMPDIR", "/tmp")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&answer.stdout);
        let complained = String::from_utf8_lossy(&answer.stderr);
        assert!(said.contains("full disk survived"), "{options}: {said}\n{complained}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_tree_checked_out_and_captured_is_the_same_tree(
        entries in proptest::collection::vec(
            (proptest::collection::vec("[a-c.é\n -]{1,3}", 1..4), 0_u8..4,
             proptest::collection::vec(any::<u8>(), 0..600)),
            0..12,
        )
    ) {
        let (_scratch, store) = scratch();
        let mut builder = TreeBuilder::new();
        for (parts, kind, bytes) in entries {
            let Ok(at) = RelPath::new(&parts.join("/")) else { continue };
            // What is taken already, or leads through a file, is simply left out.
            let _ = match kind {
                0 | 1 => builder.file(&at, store.import_bytes(&bytes).unwrap(), kind == 1),
                2 => builder.symlink(&at, &format!("../{}", bytes.len())),
                _ => builder.folder(&at),
            };
        }
        let tree = builder.build();
        store.put_tree(&tree).unwrap();
        let checkout = store.checkout(&tree.root, LOOK).unwrap();
        let cancel = sandbox::Cancel::new().unwrap();
        let taking = Taking::begin(&store, &cancel, Caps::default());
        let captured =
            capture(&taking, checkout.fd(), &RelPath::here(), OutputKind::Dir).unwrap();
        prop_assert_eq!(captured.node, model::record::OutputRecord::Tree(tree.root));
        prop_assert_eq!(store.verify(Depth::Deep).unwrap().damage, []);
    }
}
