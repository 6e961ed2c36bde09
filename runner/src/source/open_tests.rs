//! Files are opened through no symlink, by the new call and without it.
#![allow(clippy::disallowed_methods, reason = "tests write scratch files")]

use super::*;

#[test]
fn both_ways_of_opening_find_the_same_and_follow_no_symlink() {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    std::fs::create_dir_all(at("real/deep")).unwrap();
    std::fs::write(at("real/deep/file"), "x").unwrap();
    for (target, name) in
        [("real", "inner"), ("/etc", "outer"), ("deep", "real/link"), ("/etc/passwd", "direct")]
    {
        std::os::unix::fs::symlink(target, at(name)).unwrap();
    }
    let root = Project::open(top.path()).unwrap().folder;
    let look = OFlags::PATH | OFlags::CLOEXEC;
    for (path, opens) in [
        ("real/deep/file", true),
        ("real/deep", true),
        ("real/none", false),
        ("real/deep/file/below", false),
        ("inner/deep/file", false),
        ("real/link/file", false),
        ("outer/passwd", false),
        ("direct", false),
        ("real/link", false),
    ] {
        let path = RelPath::new(path).unwrap();
        for flags in [look, FILE_FLAGS] {
            let new = open_beneath(&root, &path, flags).map(drop);
            assert_eq!(new.is_ok(), opens, "{path}");
            let old = open_part_by_part(&root, &path, flags).map(drop);
            assert_eq!(old.is_ok(), opens, "{path}, name by name");
        }
    }
}
