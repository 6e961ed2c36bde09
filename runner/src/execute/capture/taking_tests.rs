//! Attacks on what the outputs of one step share: many outputs, many names, a full disk, no end.
#![allow(clippy::disallowed_methods, reason = "tests write files and start programs")]

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::RelPath;
use model::limits::Bytes;
use model::record::OutputRecord;
use model::step::OutputKind;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use sandbox::Cancel;

use super::*;
use crate::store::{self, Depth, Store};

struct Scene {
    scratch: tempfile::TempDir,
    store: Store,
    cancel: Cancel,
}

impl Scene {
    fn new() -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("view")).unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        Scene { scratch, store, cancel: Cancel::new().unwrap() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.scratch.path().join("view").join(path)
    }

    fn hole(&self, path: &str, size: u64) {
        File::create(self.at(path)).unwrap().set_len(size).unwrap();
    }

    fn taking(&self, caps: Caps) -> Taking<'_> {
        Taking::begin(&self.store, &self.cancel, caps)
    }

    fn take(
        &self,
        taking: &Taking<'_>,
        path: &str,
        kind: OutputKind,
    ) -> Result<Captured, CaptureError> {
        let view: OwnedFd = File::open(self.at("")).unwrap().into();
        capture(taking, view.as_fd(), &RelPath::new(path).unwrap(), kind)
    }

    /// Looks whether anything is half written.
    fn is_clean(&self) -> bool {
        let below = |at: &Path| fs::read_dir(at).unwrap().flatten().map(|entry| entry.path());
        let mut runs = below(&self.store.path().join("tmp"));
        runs.all(|run| below(&run).count() == 0)
            && self.store.verify(Depth::Deep).unwrap().damage.is_empty()
    }
}

#[test]
fn holes_are_of_one_budget_for_all_outputs_of_a_step() {
    let scene = Scene::new();
    let caps = Caps { holes: Bytes(4 << 20), ..Caps::default() };
    let taking = scene.taking(caps);
    for number in 0..6 {
        scene.hole(&number.to_string(), 3 << 20);
        let taken = scene.take(&taking, &number.to_string(), OutputKind::File);
        match number {
            0 => assert!(taken.is_ok(), "{taken:?}"),
            _ => assert!(matches!(taken, Err(CaptureError::TooHollow { .. })), "{taken:?}"),
        }
    }
    assert_eq!(scene.store.info().unwrap().objects, 1);
    // The holes of one file count once, whatever leads to it.
    let scene = Scene::new();
    let taking = scene.taking(caps);
    fs::create_dir(scene.at("out")).unwrap();
    scene.hole("out/one", 3 << 20);
    fs::hard_link(scene.at("out/one"), scene.at("out/other")).unwrap();
    for (path, kind) in [("out", OutputKind::Dir), ("out/one", OutputKind::File)] {
        let taken = scene.take(&taking, path, kind);
        assert!(taken.is_ok(), "{path}: {taken:?}");
    }
}

/// Counts how often anybody opened a file, by whatever name.
fn opened(watch: &OwnedFd) -> usize {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 16];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    let mut count = 0;
    while let Ok(event) = events.next() {
        count += usize::from(event.events().contains(ReadFlags::OPEN));
    }
    count
}

#[test]
fn a_file_with_many_names_is_read_once() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("out/more")).unwrap();
    fs::write(scene.at("out/first"), vec![7; 2 << 20]).unwrap();
    fs::write(scene.at("out/small"), "small").unwrap();
    for number in 0..50 {
        let folder = if number % 2 == 0 { "out" } else { "out/more" };
        for name in ["first", "small"] {
            let link = scene.at(&format!("{folder}/{name}-{number}"));
            fs::hard_link(scene.at(&format!("out/{name}")), link).unwrap();
        }
    }
    let watches = ["first", "small"].map(|name| {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        // The end of each is watched too: two events that are the same become one.
        let events = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&watch, scene.at(&format!("out/{name}")), events).unwrap();
        watch
    });
    let taking = scene.taking(Caps::default());
    let captured = scene.take(&taking, "out", OutputKind::Dir).unwrap();
    assert_eq!((captured.entries, captured.bytes.0), (103, 51 * (2 << 20) + 51 * 5));
    // Another output that holds it again.
    scene.take(&taking, "out/first", OutputKind::File).unwrap();
    assert_eq!(watches.each_ref().map(opened), [1, 1]);
    let OutputRecord::Tree(root) = captured.node else { panic!("no tree") };
    assert_eq!(scene.store.tree_parts(&root).unwrap().files.len(), 2);
    assert!(scene.store.is_complete(&root).unwrap());
    // What is the same inode to one step is looked at again for the next.
    scene.take(&scene.taking(Caps::default()), "out/first", OutputKind::File).unwrap();
    assert_eq!(opened(&watches[0]), 1);
}

#[test]
fn who_presses_the_button_ends_a_capture_between_two_files() {
    let scene = Scene::new();
    fs::create_dir(scene.at("out")).unwrap();
    fs::write(scene.at("out/f"), "f").unwrap();
    scene.cancel.trigger();
    let taking = scene.taking(Caps::default());
    for (path, kind) in [("out", OutputKind::Dir), ("out/f", OutputKind::File)] {
        let taken = scene.take(&taking, path, kind);
        assert!(matches!(taken, Err(CaptureError::Cancelled)), "{taken:?}");
    }
    assert_eq!(scene.store.info().unwrap().objects, 0);
    assert!(scene.is_clean());
}

#[test]
fn who_presses_the_button_ends_a_capture_within_a_file() {
    let scene = Scene::new();
    scene.hole("large", 2 << 30);
    let half = || {
        let below = |at: &Path| fs::read_dir(at).into_iter().flatten().flatten();
        let mut runs = below(&scene.store.path().join("tmp"));
        runs.any(|run| below(&run.path()).any(|one| one.metadata().is_ok_and(|it| it.len() > 0)))
    };
    let over = std::sync::atomic::AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !half() && !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::yield_now();
            }
            scene.cancel.trigger();
        });
        let taken = scene.take(&scene.taking(Caps::default()), "large", OutputKind::File);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        taken
    });
    assert!(matches!(taken, Err(CaptureError::Cancelled)), "{taken:?}");
    assert_eq!(scene.store.info().unwrap().objects, 0);
    assert!(scene.is_clean());
}

#[test]
#[ignore = "run by the_disk_of_the_store_keeps_its_reserve on a file system of its own"]
fn reserve_helper() {
    let base = PathBuf::from(std::env::var("KILN_TEST_STORE").unwrap());
    let scene = Scene { store: store::open(&base.join("store")).unwrap(), ..Scene::new() };
    let free = || scene.store.free().unwrap();
    let before = free();
    let most = usize::try_from(before).unwrap();
    assert!(most < 256 << 20);
    fs::create_dir(scene.at("many")).unwrap();
    fs::write(scene.at("most"), vec![1; most + (1 << 20)]).unwrap();
    for number in 0_u8..200 {
        fs::write(scene.at(&format!("many/{number}")), vec![number; most / 150]).unwrap();
    }
    fs::write(scene.at("half"), vec![2; most / 2]).unwrap();
    for (path, kind) in [("most", OutputKind::File), ("many", OutputKind::Dir)] {
        let taken = scene.take(&scene.taking(Caps::default()), path, kind);
        assert!(matches!(taken, Err(CaptureError::HostFull { .. })), "{taken:?}");
        assert!(scene.is_clean());
        scene
            .store
            .gc(store::Keep { since: store::UnixMillis(u64::MAX), records_per_project: 0 })
            .unwrap();
        assert!(free() + (1 << 20) > before, "{path}: {} of {before}", free());
    }
    assert!(scene.take(&scene.taking(Caps::default()), "half", OutputKind::File).is_ok());
    println!("reserve kept");
}

#[test]
fn the_disk_of_the_store_keeps_its_reserve() {
    let base = tempfile::tempdir().unwrap();
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let script = "mount -t tmpfs -o size=200m,mode=700 tmpfs \"$KILN_TEST_STORE\" && exec \"$0\" \
                  --exact execute::capture::taking_tests::reserve_helper --ignored --nocapture";
    let answer = std::process::Command::new("unshare")
        .args([flags, "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("KILN_TEST_STORE", base.path())
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    let complained = String::from_utf8_lossy(&answer.stderr);
    assert!(said.contains("reserve kept"), "{said}\n{complained}");
}
