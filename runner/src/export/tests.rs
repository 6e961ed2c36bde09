//! What lands in the output folder, and what does not.
#![allow(clippy::disallowed_methods, reason = "tests start programs and write files")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};

use model::{Blob, Digest, Name};

use super::*;
use crate::store::{self, Store};

struct Scene {
    scratch: tempfile::TempDir,
    store: Store,
    out: OutFolder,
}

fn scene() -> Scene {
    let scratch = tempfile::tempdir().unwrap();
    let store = store::open(&scratch.path().join("store")).unwrap();
    let out = OutFolder::open(&scratch.path().join("kiln-out")).unwrap();
    Scene { scratch, store, out }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn a_file_that_is_right_is_not_touched_and_a_changed_one_is_restored() {
    let Scene { scratch: _kept, store, out } = scene();
    let blob = store.import_bytes(b"artifact").unwrap();
    let land = |before| out.land(&store, &name("hello"), &blob, true, before).unwrap();
    assert_eq!(land(None), Landed::Written);
    let at = out.path_of(&name("hello"));
    let first = std::fs::metadata(&at).unwrap();
    assert_eq!(first.mode() & 0o7777, 0o755);
    assert_eq!(land(Some(&blob.digest)), Landed::Unchanged);
    let second = std::fs::metadata(&at).unwrap();
    assert_eq!((first.ino(), first.ctime_nsec()), (second.ino(), second.ctime_nsec()));
    let time = first.modified().unwrap();
    std::fs::write(&at, b"Artifact").unwrap();
    std::fs::File::options().write(true).open(&at).unwrap().set_modified(time).unwrap();
    assert_eq!(land(Some(&blob.digest)), Landed::Restored);
    assert_eq!(std::fs::read(&at).unwrap(), b"artifact");
    std::fs::set_permissions(&at, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(land(Some(&blob.digest)), Landed::Restored);
    std::fs::remove_file(&at).unwrap();
    assert_eq!(land(Some(&Digest::of(b"earlier"))), Landed::Written);
}

#[test]
fn nothing_in_the_output_folder_is_followed() {
    let Scene { scratch, store, out } = scene();
    let precious = scratch.path().join("precious");
    std::fs::write(&precious, b"artifact").unwrap();
    symlink(&precious, out.path_of(&name("hello"))).unwrap();
    let blob = store.import_bytes(b"artifact").unwrap();
    let landed = out.land(&store, &name("hello"), &blob, false, None).unwrap();
    assert_eq!(landed, Landed::Written);
    assert!(out.path_of(&name("hello")).symlink_metadata().unwrap().is_file());
    symlink(scratch.path().join("kiln-out"), scratch.path().join("link")).unwrap();
    assert!(matches!(
        OutFolder::open(&scratch.path().join("link")),
        Err(ExportError::Folder { .. })
    ));
    std::fs::create_dir(out.path_of(&name("taken"))).unwrap();
    assert!(out.land(&store, &name("taken"), &blob, false, None).is_err());
}

#[test]
fn a_damaged_object_never_lands() {
    let Scene { scratch: _kept, store, out } = scene();
    let absent = Blob::of(b"absent");
    assert!(out.land(&store, &name("hello"), &absent, false, None).is_err());
    assert!(!out.path_of(&name("hello")).exists());
    let left = std::fs::read_dir(out.path_of(&name(".x")).parent().unwrap()).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn the_sums_are_what_sha256sum_checks() {
    let Scene { scratch: _kept, store: _, out } = scene();
    let files = [("b", "two"), ("a", "one"), ("line\nbreak", "three"), ("back\\slash", "four")];
    let named: Vec<_> =
        files.iter().map(|(file, text)| (name(file), Digest::of(text.as_bytes()))).collect();
    for (file, text) in files {
        out.land_bytes(&name(file), text.as_bytes(), None).unwrap();
    }
    let text = sums_text(named.iter().map(|(name, digest)| (name, digest)));
    assert!(text.starts_with(&Digest::of(b"one").hex()));
    let landed = out.land_bytes(&name(SUMS_NAME), text.as_bytes(), None).unwrap();
    assert_eq!(landed, Landed::Written);
    let again = out.land_bytes(&name(SUMS_NAME), text.as_bytes(), None).unwrap();
    assert_eq!(again, Landed::Unchanged);
    // Read back, each line counts only while its file is what it says.
    let mut listed = out.listed(&|_| true);
    listed.sort();
    let mut expected = named.clone();
    expected.sort();
    assert_eq!(listed, expected);
    assert_eq!(out.listed(&|name| name.as_str() == "a").len(), 1);
    let folder = out.path_of(&name(SUMS_NAME));
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", SUMS_NAME])
        .current_dir(folder.parent().unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_list_of_digests_is_never_believed_alone() {
    let Scene { scratch, store: _, out } = scene();
    let hex = Digest::of(b"one").hex();
    for (file, text) in [("same", "one"), ("changed", "two")] {
        out.land_bytes(&name(file), text.as_bytes(), None).unwrap();
    }
    std::fs::write(scratch.path().join("outside"), "one").unwrap();
    symlink(scratch.path().join("outside"), out.path_of(&name("link"))).unwrap();
    std::fs::create_dir(out.path_of(&name("folder"))).unwrap();
    let lines: String = ["same", "changed", "gone", "link", "folder", "../outside", ".", "", "a/b"]
        .iter()
        .map(|name| format!("{hex}  {name}\n"))
        .collect();
    let odd = format!("{lines}\\{hex}  sa\\me\n{hex} same\nsame\n\0\n{}  same\n", &hex[1..]);
    out.land_bytes(&name(SUMS_NAME), odd.as_bytes(), None).unwrap();
    assert_eq!(out.listed(&|_| true), [(name("same"), Digest::of(b"one"))]);
    out.land_bytes(&name(SUMS_NAME), &vec![b'x'; 5 << 20], None).unwrap();
    assert_eq!(out.listed(&|_| true), []);
}
