//! Hostile outputs, group E of the catalogue, on a plain folder and on an overlay.
//!
//! Run again as another user where the suite is root, since rights decide much of what happens here.
#![allow(clippy::disallowed_methods, reason = "tests start programs and write files")]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use model::record::OutputRecord;
use model::step::OutputKind;
use model::tree::Node;
use rustix::fs::{FileType, Mode, XattrFlags};

use super::*;
use crate::store::{self, Store};

struct Scene {
    scratch: tempfile::TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("view")).unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        Scene { scratch, store }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.scratch.path().join("view").join(path)
    }

    fn dir(&self, path: &str) {
        std::fs::create_dir_all(self.at(path)).unwrap();
    }

    fn file(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).unwrap();
    }

    fn mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.at(path), PermissionsExt::from_mode(mode)).unwrap();
    }

    fn view(&self) -> OwnedFd {
        std::fs::File::open(self.at("")).unwrap().into()
    }

    fn capture(&self, path: &str, kind: OutputKind) -> Result<Captured, CaptureError> {
        self.capture_within(path, kind, &Caps::default())
    }

    fn capture_within(
        &self,
        path: &str,
        kind: OutputKind,
        caps: &Caps,
    ) -> Result<Captured, CaptureError> {
        let path = RelPath::new(path).unwrap();
        let cancel = sandbox::Cancel::new().unwrap();
        capture(&Taking::begin(&self.store, &cancel, *caps), self.view().as_fd(), &path, kind)
    }

    fn tree(&self, path: &str) -> model::Directory {
        let captured = self.capture(path, OutputKind::Dir).unwrap();
        let OutputRecord::Tree(root) = captured.node else { panic!("no tree") };
        self.store.load_directory(&root).unwrap()
    }

    fn refusal(&self, path: &str) -> CaptureError {
        self.capture(path, OutputKind::Dir).unwrap_err()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_link_as_a_file_output_is_refused_and_its_target_never_read() {
    let scene = Scene::new();
    for (name, target) in
        [("passwd", "/etc/passwd"), ("up", "../../x"), ("self", "self"), ("gone", "nowhere")]
    {
        symlink(target, scene.at(name)).unwrap();
        for kind in [OutputKind::File, OutputKind::Dir, OutputKind::Root] {
            let refused = scene.capture(name, kind).unwrap_err();
            assert!(
                matches!(refused, CaptureError::Refused { found: FileKind::Link, .. }),
                "{name}: {refused:?}"
            );
            assert!(!refused.is_absent());
        }
    }
}

#[test]
fn links_inside_a_folder_output_are_kept_as_text() {
    let scene = Scene::new();
    scene.dir("out");
    for (name, target) in [("a", "/etc/passwd"), ("b", "../../x"), ("c", "c"), ("d", "nowhere")] {
        symlink(target, scene.at("out").join(name)).unwrap();
        assert_eq!(scene.tree("out").get(name), Some(&Node::Symlink(target.to_owned())));
    }
}

#[test]
fn pipes_sockets_and_devices_are_refused_without_waiting() {
    let scene = Scene::new();
    let mut kinds = vec![(FileType::Fifo, FileKind::Pipe), (FileType::Socket, FileKind::Socket)];
    if is_root() {
        kinds.push((FileType::CharacterDevice, FileKind::Device));
    }
    for (kind, found) in kinds {
        scene.dir("out");
        let folder = std::fs::File::open(scene.at("out")).unwrap();
        rustix::fs::mknodat(&folder, "x", kind, Mode::RUSR | Mode::WUSR, 0x103).unwrap();
        let refused = scene.refusal("out");
        assert!(matches!(refused, CaptureError::Refused { found: f, .. } if f == found));
        let refused = scene.capture("out/x", OutputKind::File).unwrap_err();
        assert!(matches!(refused, CaptureError::Refused { found: f, .. } if f == found));
        std::fs::remove_dir_all(scene.at("out")).unwrap();
    }
}

#[test]
fn a_missing_output_names_what_is_near_and_a_wrong_kind_is_told() {
    let scene = Scene::new();
    scene.dir("bin");
    scene.file("bin/hello", "x");
    let missing = scene.capture("hello", OutputKind::File).unwrap_err();
    assert!(missing.is_absent());
    let CaptureError::Missing { nearest, .. } = &missing else { panic!("{missing:?}") };
    assert_eq!(nearest[0].as_str(), "bin/hello");
    for (path, kind) in [("bin", OutputKind::File), ("bin/hello", OutputKind::Dir)] {
        let wrong = scene.capture(path, kind).unwrap_err();
        assert!(matches!(wrong, CaptureError::WrongKind { .. }) && wrong.is_absent());
    }
    assert!(scene.capture("bin/none/at/all", OutputKind::File).unwrap_err().is_absent());
}

#[test]
fn undeclared_files_are_not_captured() {
    let scene = Scene::new();
    scene.dir("out");
    scene.file("out/wanted", "w");
    scene.file("other", "o");
    scene.capture("out", OutputKind::Dir).unwrap();
    assert!(!scene.store.has(&model::Digest::of(b"o")));
}

#[test]
fn special_bits_are_refused_and_other_bits_reduced_to_the_executable_one() {
    let scene = Scene::new();
    for (mode, fine) in [(0o4755, false), (0o2755, false), (0o1644, false), (0o666, true)] {
        scene.dir("out");
        scene.file("out/f", "x");
        scene.mode("out/f", mode);
        let captured = scene.capture("out", OutputKind::Dir);
        assert_eq!(captured.is_ok(), fine, "{mode:o}: {captured:?}");
    }
    for (mode, bit) in [(0o777, true), (0o700, true), (0o666, false), (0o655, false)] {
        scene.mode("out/f", mode);
        let captured = scene.capture("out/f", OutputKind::File).unwrap();
        assert!(
            matches!(captured.node, OutputRecord::File { executable, .. } if executable == bit)
        );
    }
    scene.dir("sticky");
    scene.mode("sticky", 0o1777);
    assert!(matches!(scene.refusal("sticky"), CaptureError::SpecialMode { .. }));
}

#[test]
fn attributes_acls_and_file_capabilities_are_refused() {
    let acl = [2_u8, 0, 0, 0]
        .into_iter()
        .chain(
            [(1_u16, 6_u16, !0_u32), (2, 4, 1), (4, 4, !0), (16, 4, !0), (32, 0, !0)]
                .iter()
                .flat_map(|(tag, perm, id)| {
                    [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
                }),
        )
        .collect::<Vec<u8>>();
    let capability = [1_u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut rows: Vec<(&str, &[u8])> = vec![("user.note", b"x"), ("system.posix_acl_access", &acl)];
    if is_root() {
        rows.push(("security.capability", &capability));
        rows.push(("trusted.note", b"x"));
    }
    for (name, value) in rows {
        let scene = Scene::new();
        scene.dir("out");
        scene.file("out/f", "x");
        rustix::fs::setxattr(scene.at("out/f"), name, value, XattrFlags::empty()).unwrap();
        let refused = scene.refusal("out");
        assert!(
            matches!(&refused, CaptureError::Attribute { attribute, .. } if attribute == name.as_bytes()),
            "{refused:?}"
        );
    }
    let scene = Scene::new();
    scene.dir("out");
    rustix::fs::setxattr(scene.at("out"), "user.note", b"x", XattrFlags::empty()).unwrap();
    assert!(matches!(scene.refusal("out"), CaptureError::Attribute { .. }));
}

#[test]
fn strange_names_are_kept_exactly_and_shown_escaped() {
    let scene = Scene::new();
    scene.dir("out");
    let long = "n".repeat(255);
    let names = ["new\nline", "tab\t", "\u{1b}[31m", "-rf", "space ", "*", &long, ".dot"];
    for name in names {
        scene.file(&format!("out/{name}"), name);
    }
    let tree = scene.tree("out");
    for name in names {
        assert!(tree.get(name).is_some(), "{name:?}");
    }
    let json = serde_json::to_string(&model::Name::new("new\nline").unwrap()).unwrap();
    assert_eq!(json, r#""new\nline""#);
}

#[test]
fn a_name_or_target_that_is_not_utf8_has_its_own_refusal() {
    use std::os::unix::ffi::OsStrExt as _;
    let scene = Scene::new();
    scene.dir("out");
    let bad = std::ffi::OsStr::from_bytes(b"bad\xff");
    std::fs::write(scene.at("out").join(bad), "").unwrap();
    let refused = scene.refusal("out");
    assert!(matches!(refused, CaptureError::NameNotUtf8 { .. }));
    assert!(refused.to_string().contains("bad\\xff"), "{refused}");
    std::fs::remove_file(scene.at("out").join(bad)).unwrap();
    symlink(bad, scene.at("out/link")).unwrap();
    assert!(matches!(scene.refusal("out"), CaptureError::TargetNotUtf8 { .. }));
}

#[test]
fn case_twins_are_noted_and_captured() {
    let scene = Scene::new();
    scene.dir("out/A");
    scene.file("out/a", "x");
    let captured = scene.capture("out", OutputKind::Dir).unwrap();
    assert_eq!(captured.twins.len(), 1);
    assert_eq!(captured.entries, 2);
}

#[test]
fn a_sparse_file_counts_by_its_logical_size_and_is_not_read() {
    let scene = Scene::new();
    scene.dir("out");
    std::fs::File::create(scene.at("out/huge")).unwrap().set_len(100 << 30).unwrap();
    for (path, kind) in [("out", OutputKind::Dir), ("out/huge", OutputKind::File)] {
        let refused = scene.capture(path, kind).unwrap_err();
        assert!(matches!(refused, CaptureError::TooLarge { .. }), "{refused:?}");
    }
    assert_eq!(scene.store.info().unwrap().objects, 0);
}

#[test]
fn what_forbids_reading_to_its_owner_is_captured() {
    let scene = Scene::new();
    scene.dir("out/closed");
    scene.file("out/closed/f", "x");
    scene.mode("out/closed/f", 0);
    scene.mode("out/closed", 0);
    let open = Scene::new();
    open.dir("out/closed");
    open.file("out/closed/f", "x");
    assert_eq!(scene.tree("out"), open.tree("out"));
}

#[test]
fn a_closed_output_parent_or_view_is_captured_as_root_would() {
    let scene = Scene::new();
    scene.dir("above/tree/inner");
    scene.file("above/tree/inner/file", "x");
    for closed in ["above/tree/inner/file", "above/tree/inner", "above/tree", "above", ""] {
        scene.mode(closed, 0);
    }
    // As the sandbox's descriptors are: opened before the step could close anything.
    scene.mode("", 0o755);
    let view = scene.view();
    scene.mode("", 0);
    let path = RelPath::new("above/tree").unwrap();
    let cancel = sandbox::Cancel::new().unwrap();
    let taking = Taking::begin(&scene.store, &cancel, Caps::default());
    let captured = capture(&taking, view.as_fd(), &path, OutputKind::Dir).unwrap();
    assert_eq!(captured.entries, 2);
}

#[test]
fn holes_have_a_cap_of_their_own() {
    let scene = Scene::new();
    scene.file("written", &"x".repeat(1 << 16));
    std::fs::File::create(scene.at("hollow")).unwrap().set_len(1 << 16).unwrap();
    let caps = Caps { holes: Bytes(4096), ..Caps::default() };
    assert!(scene.capture_within("written", OutputKind::File, &caps).is_ok());
    let refused = scene.capture_within("hollow", OutputKind::File, &caps);
    assert!(matches!(refused, Err(CaptureError::TooHollow { .. })), "{refused:?}");
    assert!(scene.capture("hollow", OutputKind::File).is_ok());
}

#[test]
fn hardlinks_become_equal_files() {
    let scene = Scene::new();
    scene.dir("linked");
    scene.file("linked/a", "x");
    std::fs::hard_link(scene.at("linked/a"), scene.at("linked/b")).unwrap();
    scene.dir("separate");
    scene.file("separate/a", "x");
    scene.file("separate/b", "x");
    assert_eq!(scene.tree("linked"), scene.tree("separate"));
}

#[test]
fn empty_files_and_folders_are_kept() {
    let scene = Scene::new();
    scene.dir("out/empty");
    scene.dir("out/dots");
    scene.file("out/dots/.only", "");
    let tree = scene.tree("out");
    assert_eq!(tree.get("empty"), Some(&Node::Directory(model::Directory::default().blob())));
    assert!(matches!(tree.get("dots"), Some(Node::Directory(_))));
}

#[test]
fn a_link_in_the_way_to_an_output_is_refused() {
    let scene = Scene::new();
    scene.dir("real/deep");
    scene.file("real/deep/f", "secret");
    symlink("real", scene.at("out")).unwrap();
    let refused = scene.capture("out/deep/f", OutputKind::File).unwrap_err();
    assert!(matches!(refused, CaptureError::Parent { found: FileKind::Link, .. }), "{refused:?}");
    let refused = scene.capture("real/deep/f/x", OutputKind::File).unwrap_err();
    assert!(matches!(refused, CaptureError::Parent { found: FileKind::File, .. }));
    assert!(!scene.store.has(&model::Digest::of(b"secret")));
}

#[test]
fn depth_entries_and_paths_have_caps() {
    let scene = Scene::new();
    scene.dir("out/a/b/c");
    scene.file("out/a/b/c/f", "x");
    let fine = Caps { depth: 3, entries: 4, path_bytes: 11, ..Caps::default() };
    scene.capture_within("out", OutputKind::Dir, &fine).unwrap();
    for caps in
        [Caps { depth: 2, ..fine }, Caps { entries: 3, ..fine }, Caps { path_bytes: 10, ..fine }]
    {
        assert!(scene.capture_within("out", OutputKind::Dir, &caps).is_err(), "{caps:?}");
    }
}

#[test]
fn the_whole_view_can_be_an_output() {
    let scene = Scene::new();
    scene.file("f", "x");
    assert_eq!(scene.tree(".").entries().len(), 1);
    assert!(scene.capture(".", OutputKind::File).is_err());
}

/// Started by the tests below inside a mount namespace, on an overlay made just for it.
#[test]
#[ignore = "needs a mount namespace: started by the overlay tests"]
fn overlay_helper() {
    let scene = Scene::new();
    let base = PathBuf::from(std::env::var("KILN_TEST_OVERLAY").unwrap());
    let merged = base.join("merged");
    std::fs::remove_dir_all(merged.join("out/replaced")).unwrap();
    std::fs::create_dir(merged.join("out/replaced")).unwrap();
    std::fs::write(merged.join("out/replaced/new"), "n").unwrap();
    std::fs::remove_file(merged.join("out/deleted")).unwrap();
    std::fs::set_permissions(merged.join("out/kept"), PermissionsExt::from_mode(0o755)).unwrap();
    let view = std::fs::File::open(&merged).unwrap();
    let gone = std::process::Command::new("umount").arg("-l").arg(&merged).status().unwrap();
    assert!(gone.success());
    let path = RelPath::new("out").unwrap();
    let cancel = sandbox::Cancel::new().unwrap();
    let taking = Taking::begin(&scene.store, &cancel, Caps::default());
    let captured = capture(&taking, view.as_fd(), &path, OutputKind::Dir).unwrap();
    let OutputRecord::Tree(root) = captured.node else { panic!("no tree") };
    let tree = scene.store.load_tree(&root).unwrap();
    let mut seen = Vec::new();
    tree.walk(&mut |at, _| seen.push(at.to_string())).unwrap();
    assert_eq!(seen, ["kept", "replaced", "replaced/new"]);
    rustix::fs::fsetxattr(
        std::fs::File::open(format!(
            "/proc/self/fd/{}/out/kept",
            std::os::fd::AsRawFd::as_raw_fd(&view)
        ))
        .unwrap(),
        "user.note",
        b"x",
        XattrFlags::empty(),
    )
    .unwrap();
    let cancel = sandbox::Cancel::new().unwrap();
    let taking = Taking::begin(&scene.store, &cancel, Caps::default());
    let refused = capture(&taking, view.as_fd(), &path, OutputKind::Dir).unwrap_err();
    assert!(matches!(refused, CaptureError::Attribute { .. }), "{refused:?}");
    println!("overlay captured");
}

fn on_an_overlay(unshare: &[&str], options: &str) {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let script = format!(
        "cd \"$KILN_TEST_OVERLAY\" && mkdir -p lower/out/replaced upper work merged \
         && echo k > lower/out/kept && echo d > lower/out/deleted && echo o > lower/out/replaced/old \
         && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,{options} merged \
         && exec \"$0\" --exact execute::capture::tests::overlay_helper --ignored --nocapture"
    );
    let answer = std::process::Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("KILN_TEST_OVERLAY", base.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    let complained = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success() && said.contains("overlay captured"), "{said}\n{complained}");
}

#[test]
fn an_overlay_whose_mount_is_gone_is_captured() {
    if is_root() {
        on_an_overlay(&["-m"], "redirect_dir=off");
    } else {
        // With userxattr the kernel takes no redirect_dir but its own, which follows none.
        on_an_overlay(&["-Urm"], "userxattr");
    }
}

#[test]
fn everything_here_also_holds_for_an_unprivileged_user() {
    if !is_root() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let copy = tempfile::tempdir().unwrap();
    std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let runnable = copy.path().join("suite");
    // By a process of its own: a descriptor that may write to it, copied here into a child that another test
    // is just starting, would make it "text file busy".
    assert!(
        std::process::Command::new("cp").arg(program).arg(&runnable).status().unwrap().success()
    );
    std::fs::set_permissions(&runnable, PermissionsExt::from_mode(0o755)).unwrap();
    let answer = std::process::Command::new("setpriv")
        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .arg(&runnable)
        .args(["execute::capture", "store::", "export::", "archive::", "persist::"])
        .env("TMPDIR", "/tmp")
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success(), "{said}");
}

#[test]
fn a_folder_whose_message_nobody_could_read_back_is_refused_before_anything_is_read() {
    let scene = Scene::new();
    scene.dir("out/in");
    scene.file("out/in/file", "x");
    let target = "t".repeat(4095);
    for number in 0..17_000 {
        symlink(&target, scene.at(&format!("out/in/{number:0255}"))).unwrap();
    }
    match scene.refusal("out") {
        CaptureError::FolderTooLarge { at, size } => {
            assert_eq!(at.as_str(), "out/in");
            assert!(size > model::reapi::DIRECTORY_BYTES_MAX as u64, "{size}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.store.info().unwrap().objects, 0);
}
