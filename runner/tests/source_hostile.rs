//! What a hostile or unlucky project folder holds: links, devices, files that change or may not be
//! read, names that are no text. Outside git, and without a cache unless a test is about it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use model::tree::{Node, TreeBuilder};
use model::{Blob, Ident, RelPath};
use runner::source::{
    Exclude, GitIdentity, LocalSource, Project, Scan, Scanned, SourceContent, SourceError,
    SourceTree, StatCache, UserGit, scan,
};

/// Far enough from the files' times that the racy rule lets the cache remember them.
const LATER: Duration = Duration::from_secs(3600);

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn source(at: &str, exclude: &[&str]) -> LocalSource {
    let exclude = Exclude::parse(exclude).unwrap();
    LocalSource { name: Ident::new("src").unwrap(), path: path(at), exclude }
}

fn scan_with(
    project: &Path,
    source: LocalSource,
    cache: &mut StatCache,
) -> Result<Scanned, SourceError> {
    let (sources, user) = ([source], UserGit::default());
    scan(&Scan { project, sources: &sources, user: &user, now: SystemTime::now() + LATER }, cache)
}

fn scan_all(project: &Path) -> Result<SourceTree, SourceError> {
    let found = scan_with(project, source(".", &[]), &mut StatCache::default())?;
    assert_eq!(found.git, GitIdentity::None);
    Ok(found.sources.into_values().next().unwrap())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn every_file_counts_outside_git() {
    let project = folder();
    let at = project.path();
    for name in ["empty/below", "a/.git", ".git", "kiln-out", "a/kiln-out", "skip/x", "a/skip"] {
        fs::create_dir_all(at.join(name)).unwrap();
    }
    for name in [
        "a/b",
        ".hidden",
        ".gitignore",
        "kiln.yaml",
        "kiln.lock",
        "a/kiln.yaml",
        ".git/config",
        "a/.git/config",
        "kiln-out/x",
        "a/kiln-out/y",
        "skip/y",
        "a/x.o",
    ] {
        fs::write(at.join(name), name).unwrap();
    }
    fs::write(at.join(".gitignore"), "*").unwrap();
    fs::set_permissions(at.join("a/b"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut expected = TreeBuilder::new();
    for (name, executable) in
        [("a/b", true), (".hidden", false), ("a/kiln.yaml", false), ("a/kiln-out/y", false)]
    {
        expected.file(&path(name), Blob::of(name.as_bytes()), executable).unwrap();
    }
    expected.file(&path(".gitignore"), Blob::of(b"*"), false).unwrap();
    expected.folder(&path("empty/below")).unwrap();
    let expected = expected.build();
    let source = source(".", &["skip/", "*.o"]);
    let found = scan_with(at, source, &mut StatCache::default()).unwrap();
    let tree = found.sources.into_values().next().unwrap();
    assert_eq!(tree.files().len(), 5);
    assert_eq!(tree.root(), expected.root);
    assert_eq!(tree.content, SourceContent::Folder(expected));
}

#[test]
fn symlinks_are_text_and_never_followed() {
    let project = folder();
    let outside = folder();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let links = [
        ("loop", "loop"),
        ("up", "../.."),
        ("abs", outside.path().to_str().unwrap()),
        ("dead", "x"),
    ];
    for (name, target) in links {
        symlink(target, project.path().join(name)).unwrap();
    }
    let SourceContent::Folder(tree) = scan_all(project.path()).unwrap().content else { panic!() };
    assert_eq!(tree.directories.len(), 1);
    for (name, target) in links {
        assert_eq!(tree.root_directory().unwrap().get(name), Some(&Node::Symlink(target.into())));
    }
    for name in ["abs", "abs/secret", "up", "dead"] {
        let refused = scan_with(project.path(), source(name, &[]), &mut StatCache::default());
        assert!(
            matches!(refused, Err(SourceError::Missing { .. } | SourceError::Ignored { .. })),
            "{name}: {refused:?}"
        );
        let opened = Project::open(project.path()).unwrap().open_file(&path(name));
        assert!(matches!(opened, Err(SourceError::Changed { .. })), "{name}: {opened:?}");
    }
}

#[test]
fn devices_fifos_and_sockets_are_refused_without_blocking() {
    let make: [fn(&Path); 2] = [
        |at| {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        },
        |at| drop(UnixListener::bind(at).unwrap()),
    ];
    for make in make {
        let project = folder();
        make(&project.path().join("special"));
        let error = scan_all(project.path()).unwrap_err();
        assert!(
            matches!(&error, SourceError::Special { path, .. } if path == "special"),
            "{error}"
        );
        assert!(
            scan_with(project.path(), source(".", &["special"]), &mut StatCache::default()).is_ok()
        );
        let opened = Project::open(project.path()).unwrap().open_file(&path("special"));
        assert!(matches!(opened, Err(SourceError::Changed { .. })), "{opened:?}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let project = folder();
    let at = project.path().join("locked");
    fs::write(&at, "x").unwrap();
    fs::set_permissions(&at, fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(&at).is_ok() {
        // This user may read everything; a file whose every read fails says the same.
        let error = Project::open(Path::new("/proc/self")).unwrap().copy_verified(
            &path("mem"),
            &Blob { size: 1, ..Blob::of(b"") },
            &mut Vec::new(),
        );
        assert!(
            matches!(&error, Err(SourceError::Unreadable { path, .. }) if path == "mem"),
            "{error:?}"
        );
    } else {
        let error = scan_all(project.path()).unwrap_err();
        assert!(
            matches!(&error, SourceError::Unreadable { path, .. } if path == "locked"),
            "{error}"
        );
    }
}

#[test]
fn names_and_targets_that_are_no_text_are_refused() {
    let bytes = std::ffi::OsStr::from_bytes(b"b\xffd");
    let project = folder();
    fs::write(project.path().join(bytes), "").unwrap();
    let error = scan_all(project.path()).unwrap_err();
    assert!(matches!(&error, SourceError::NotUtf8 { path } if path == "b\u{fffd}d"), "{error}");
    let project = folder();
    symlink(bytes, project.path().join("link")).unwrap();
    let error = scan_all(project.path()).unwrap_err();
    assert!(matches!(&error, SourceError::NotUtf8 { path } if path == "link"), "{error}");
}

#[test]
fn a_file_changed_after_the_scan_is_not_handed_on() {
    let project = folder();
    let at = project.path().join("f");
    fs::write(&at, "before").unwrap();
    let file = scan_all(project.path()).unwrap().files().remove(0);
    let open = Project::open(project.path()).unwrap();
    let mut bytes = Vec::new();
    open.copy_verified(&file.path, &file.blob, &mut bytes).unwrap();
    assert_eq!(bytes, b"before");
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(&at, "behind").unwrap(),
        &|| fs::write(&at, "longer than before").unwrap(),
        &|| fs::write(&at, "").unwrap(),
        &|| fs::remove_file(&at).unwrap(),
        &|| symlink("/dev/zero", &at).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        let refused = open.copy_verified(&file.path, &file.blob, &mut Vec::new());
        assert!(matches!(refused, Err(SourceError::Changed { .. })), "{number}: {refused:?}");
    }
}

#[test]
fn a_swap_for_a_symlink_is_never_followed() {
    let project = folder();
    let outside = folder();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let (at, spare) = (project.path().join("f"), outside.path().join("spare"));
    let link = outside.path().join("link");
    fs::write(&at, "public").unwrap();
    symlink(outside.path().join("secret"), &link).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&at, &spare).unwrap();
                fs::rename(&link, &at).unwrap();
                fs::rename(&at, &link).unwrap();
                fs::rename(&spare, &at).unwrap();
            }
        });
        for _ in 0..1000 {
            match scan_all(project.path()) {
                Ok(tree) => {
                    assert!(tree.files().iter().all(|file| file.blob == Blob::of(b"public")))
                }
                Err(error) => assert!(matches!(error, SourceError::Changed { .. }), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The folder is there, then a link to one of the host's, or moved below another, while it is walked.
#[test]
fn a_folder_swapped_or_moved_while_it_is_walked_is_never_left() {
    let project = folder();
    let outside = folder();
    fs::create_dir(outside.path().join("deep")).unwrap();
    fs::write(outside.path().join("deep/f"), "secret").unwrap();
    fs::create_dir_all(project.path().join("d/deep")).unwrap();
    fs::write(project.path().join("d/deep/f"), "public").unwrap();
    fs::create_dir(project.path().join("e")).unwrap();
    let (at, moved, link) =
        (project.path().join("d"), project.path().join("e/d"), outside.path().join("link"));
    symlink(outside.path(), &link).unwrap();
    let stop = AtomicBool::new(false);
    let (mut whole, mut wrong) = (0, Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&at, &moved).unwrap();
                fs::rename(&link, &at).unwrap();
                fs::rename(&at, &link).unwrap();
                fs::rename(&moved, &at).unwrap();
            }
        });
        // Nothing is asserted here: whoever panics leaves the other thread running.
        for _ in 0..1000 {
            match scan_all(project.path()) {
                Ok(tree) if tree.files().iter().all(|file| file.blob == Blob::of(b"public")) => {
                    whole += 1;
                }
                Err(SourceError::Changed { .. }) => {}
                other => wrong.push(format!("{other:?}")),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong.first(), None, "of {}", wrong.len());
    assert!(whole > 0, "control: none was ever read");
}

#[test]
fn a_file_cut_short_while_it_is_hashed_is_an_error() {
    let project = folder();
    let at = project.path().join("f");
    let mut file = File::create(&at).unwrap();
    file.write_all(&vec![7; 4 << 20]).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                file.set_len(1 << 20).unwrap();
                file.seek(std::io::SeekFrom::Start(0)).unwrap();
                file.write_all(&vec![7; 4 << 20]).unwrap();
            }
        });
        for _ in 0..20 {
            match scan_all(project.path()) {
                Ok(tree) => {
                    let blob = tree.files()[0].blob;
                    assert_eq!(blob, Blob::of(&vec![7; usize::try_from(blob.size).unwrap()]));
                }
                Err(error) => assert!(matches!(error, SourceError::Changed { .. }), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_source_that_does_not_exist_is_named() {
    let project = folder();
    fs::write(project.path().join("f"), "").unwrap();
    for name in ["missing", "f/below", "kiln-out"] {
        let error = scan_with(project.path(), source(name, &[]), &mut StatCache::default());
        assert!(matches!(error, Err(SourceError::Missing { .. })), "{name}: {error:?}");
    }
    let found = scan_with(project.path(), source("f", &[]), &mut StatCache::default()).unwrap();
    let tree = found.sources.into_values().next().unwrap();
    assert_eq!((tree.root(), tree.files().len()), (Blob::of(b""), 1));
}

#[test]
fn a_deep_folder_is_refused_and_not_followed_for_ever() {
    let project = folder();
    let mut at = project.path().to_owned();
    for _ in 0..300 {
        at.push("d");
        fs::create_dir(&at).unwrap();
    }
    let error = scan_all(project.path()).unwrap_err();
    assert!(matches!(error, SourceError::TooDeep { .. }), "{error}");
}

#[test]
fn a_folder_whose_message_nobody_could_read_back_is_refused() {
    let project = folder();
    let target = "t".repeat(4095);
    fs::create_dir(project.path().join("in")).unwrap();
    for number in 0..17_000 {
        symlink(&target, project.path().join(format!("in/{number:0255}"))).unwrap();
    }
    match scan_all(project.path()).unwrap_err() {
        SourceError::FolderTooLarge { path, .. } => assert_eq!(path, "in"),
        error => panic!("{error}"),
    }
}

#[test]
fn a_warm_cache_opens_no_file_and_is_not_rewritten() {
    // The folder of temporary files may lie in memory, where nothing is remembered.
    let project = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for name in ["a", "b", "c/d"] {
        fs::create_dir_all(project.path().join("c")).unwrap();
        fs::write(project.path().join(name), name).unwrap();
    }
    let mut cache = StatCache::default();
    let cold = scan_with(project.path(), source(".", &[]), &mut cache).unwrap();
    let mut cache = StatCache::parse(cache.changed_bytes().unwrap());
    // A digest that only the cache can have given proves that the file was not opened.
    let warm = scan_with(project.path(), source(".", &[]), &mut cache).unwrap();
    assert_eq!(warm.sources, cold.sources);
    assert!(cache.changed_bytes().is_none());
    fs::write(project.path().join("b"), "other").unwrap();
    let changed = scan_with(project.path(), source(".", &[]), &mut cache).unwrap();
    let files = &changed.sources.values().next().unwrap().files();
    let file = files.iter().find(|file| file.path == path("b")).unwrap();
    assert_eq!(file.blob, Blob::of(b"other"));
    assert!(cache.changed_bytes().is_some());
}

#[test]
fn a_file_written_a_moment_ago_is_hashed_again() {
    let project = folder();
    fs::write(project.path().join("a"), "one").unwrap();
    let (sources, user) = ([source(".", &[])], UserGit::default());
    let mut cache = StatCache::default();
    let now = SystemTime::now();
    scan(&Scan { project: project.path(), sources: &sources, user: &user, now }, &mut cache)
        .unwrap();
    assert!(cache.changed_bytes().is_none());
}

/// Writes each line that it reads over the file's bytes, which it has mapped, and answers when it has.
const WRITER: &str = "import mmap,os,sys
m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 8)
for line in sys.stdin:
    m[0:8] = line.encode()[:8]
    print('done', flush=True)";

/// In memory a file's times say nothing of a write to a page that is mapped; there every file is read.
#[test]
fn a_write_through_a_mapping_is_seen_where_no_time_tells_of_it() {
    let project = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = project.path().join("data");
    fs::write(&file, "AAAAAAAA").unwrap();
    let mut writer = Command::new("python3")
        .args(["-c", WRITER])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = writer.stdin.take().unwrap();
    let mut answers = BufReader::new(writer.stdout.take().unwrap());
    let mut write = |text: &str| {
        writeln!(orders, "{text}").unwrap();
        answers.read_line(&mut String::new()).unwrap();
    };
    let mut cache = StatCache::default();
    let mut times = Vec::new();
    for text in ["BBBBBBBB", "CCCCCCCC", "DDDDDDDD"] {
        write(text);
        let stat = file.metadata().unwrap();
        times.push((stat.mtime_nsec(), stat.ctime_nsec()));
        let found = scan_with(project.path(), source(".", &[]), &mut cache).unwrap();
        let mut expected = TreeBuilder::new();
        expected.file(&path("data"), Blob::of(text.as_bytes()), false).unwrap();
        let tree = found.sources.into_values().next().unwrap();
        assert_eq!(tree.root(), expected.build().root, "{text}");
        cache = StatCache::parse(cache.changed_bytes().unwrap_or_default());
    }
    assert!(times[1] == times[2], "the control: no time told of it");
    drop(orders);
    writer.wait().unwrap();
}
