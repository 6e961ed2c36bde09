//! Archives read back by other programs, and links that try to lead out.
#![allow(clippy::disallowed_methods, reason = "tests start programs and write files")]

use crate::execute::capture::{Caps, Taking, capture};
use std::io::Read as _;

use model::tree::TreeBuilder;
use model::{Blob, RelPath};

use super::*;
use crate::store::{self, Store};

fn scratch() -> (tempfile::TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let store = store::open(&scratch.path().join("store")).unwrap();
    (scratch, store)
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn tree(store: &Store, links: &[(&str, &str)]) -> Blob {
    let mut builder = TreeBuilder::new();
    let long = format!("{}/{}/file", "d".repeat(120), "e".repeat(130));
    let text = store.import_bytes(b"content\n").unwrap();
    builder.file(&path("bin/tool"), text, true).unwrap();
    builder.file(&path("exact"), store.import_bytes(&[b'x'; 1024]).unwrap(), false).unwrap();
    builder.file(&path(&long), text, false).unwrap();
    builder.file(&path("é\n"), store.import_bytes(b"").unwrap(), false).unwrap();
    builder.folder(&path("hollow")).unwrap();
    for (at, target) in links {
        builder.symlink(&path(at), target).unwrap();
    }
    let tree = builder.build();
    store.put_tree(&tree).unwrap()
}

fn member(at: &str, kind: MemberKind) -> Member {
    Member { at: path(at), kind }
}

fn pack(store: &Store, format: Format, members: &[Member]) -> Result<Vec<u8>, ArchiveError> {
    let blob = write(store, format, &path("hello-1.0"), members, model::T0_SECONDS)?;
    Ok(store.read(&blob.digest, u64::MAX).unwrap())
}

#[test]
fn an_archive_is_what_the_system_tar_unpacks() {
    let (scratch, store) = scratch();
    let long_target = "t/".repeat(80);
    let root = tree(&store, &[("link", "bin/tool"), ("far", &long_target)]);
    let members = [member("data", MemberKind::Tree(root))];
    for (format, name, flag) in
        [(Format::Tar, "a.tar", None), (Format::TarGz, "a.tar.gz", Some("--gzip"))]
    {
        let at = scratch.path().join(name);
        std::fs::write(&at, pack(&store, format, &members).unwrap()).unwrap();
        let out = scratch.path().join(format!("{name}.d"));
        std::fs::create_dir(&out).unwrap();
        let mut command = std::process::Command::new("tar");
        let done = command.args(flag).arg("-xf").arg(&at).arg("-C").arg(&out).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        let view = std::fs::File::open(out.join("hello-1.0")).unwrap();
        let cancel = sandbox::Cancel::new().unwrap();
        let taking = Taking::begin(&store, &cancel, Caps::default());
        let view = std::os::fd::AsFd::as_fd(&view);
        let captured = capture(&taking, view, &path("data"), model::step::OutputKind::Dir).unwrap();
        assert_eq!(captured.node, model::record::OutputRecord::Tree(root), "{name}");
    }
}

#[test]
fn three_formats_hold_the_same_tar_and_are_the_same_every_time() {
    let (_scratch, store) = scratch();
    let root = tree(&store, &[("link", "bin/tool")]);
    let members = [
        member("x", MemberKind::Tree(root)),
        member("x/more", MemberKind::File { blob: Blob::of(b"content\n"), executable: false }),
    ];
    let plain = pack(&store, Format::Tar, &members).unwrap();
    assert_eq!(plain.len() % 512, 0);
    let mut unpacked = Vec::new();
    let gz = pack(&store, Format::TarGz, &members).unwrap();
    flate2::read::GzDecoder::new(&gz[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    assert_eq!(&gz[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let zst = pack(&store, Format::TarZst, &members).unwrap();
    assert_eq!(zstd::decode_all(&zst[..]).unwrap(), plain);
    let reversed: Vec<_> = members.iter().rev().cloned().collect();
    assert_eq!(pack(&store, Format::Tar, &reversed).unwrap(), plain);
}

#[test]
fn headers_tell_nothing_of_the_host() {
    let (_scratch, store) = scratch();
    let root = tree(&store, &[("link", "bin/tool")]);
    let bytes = pack(&store, Format::Tar, &[member(".", MemberKind::Tree(root))]).unwrap();
    let mut seen = Vec::new();
    for entry in ::tar::Archive::new(&bytes[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), model::T0_SECONDS.cast_unsigned());
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!((header.username(), header.groupname()), (Ok(Some("")), Ok(Some(""))));
        assert!(matches!(header.mode().unwrap(), 0o755 | 0o644 | 0o777));
        seen.push(entry.path().unwrap().to_string_lossy().into_owned());
    }
    assert_eq!(seen[0], "hello-1.0/");
    let sorted = {
        let mut sorted = seen.clone();
        sorted.sort();
        sorted
    };
    assert_eq!(seen, sorted);
}

#[test]
fn a_link_that_leads_out_is_refused_unless_it_lies_in_a_root() {
    let (_scratch, store) = scratch();
    for (links, stays) in [
        (&[("bin/l", "tool")][..], true),
        (&[("bin/l", "../exact")], true),
        (&[("l", "nowhere/../..")], true),
        (&[("l", "l")], true),
        (&[("a", "b"), ("b", "a")], true),
        (&[("l", "/etc/passwd")], false),
        (&[("l", "..")], true),
        (&[("l", "../..")], false),
        (&[("bin/l", "../../../x")], false),
        (&[("bin/s", "."), ("bin/l", "s/../../..")], false),
        (&[("abs", "/"), ("l", "abs/etc")], false),
    ] {
        let root = tree(&store, links);
        let packed = pack(&store, Format::Tar, &[member("x", MemberKind::Tree(root))]);
        assert_eq!(packed.is_ok(), stays, "{links:?}");
        assert!(stays || matches!(packed, Err(ArchiveError::LinkLeaves { .. })));
        pack(&store, Format::Tar, &[member("x", MemberKind::Root(root))]).unwrap();
    }
}

#[test]
fn two_things_on_one_path_are_refused() {
    let (_scratch, store) = scratch();
    let blob = store.import_bytes(b"x").unwrap();
    let file = MemberKind::File { blob, executable: false };
    let root = tree(&store, &[]);
    for members in [
        [member("a", file), member("a", file)],
        [member("a", file), member("a/b", file)],
        [member("a", MemberKind::Tree(root)), member("a/exact", file)],
        [member("a", file), member(".", file)],
    ] {
        let packed = pack(&store, Format::Tar, &members);
        assert!(matches!(packed, Err(ArchiveError::Collision { .. })), "{members:?}");
    }
}

#[test]
fn the_suffix_picks_the_format() {
    assert_eq!(Format::of_name("a.tar"), Some((Format::Tar, "a")));
    assert_eq!(Format::of_name("a-1.0.tar.gz"), Some((Format::TarGz, "a-1.0")));
    assert_eq!(Format::of_name("a.tar.zst"), Some((Format::TarZst, "a")));
    for name in ["a.tgz", ".tar", "tar", "a.zip"] {
        assert_eq!(Format::of_name(name), None, "{name}");
    }
}
