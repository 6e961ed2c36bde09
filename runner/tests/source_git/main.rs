//! Scans of local sources against real repositories, with git itself as the oracle.
//!
//! Git is asked by these tests only.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod repo;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use model::RelPath;
use runner::source::{Change, GitIdentity, LocalSource, SourceError};

use self::repo::{Repo, checkout, everything, files, repo, repo_with, source};

#[test]
fn a_fresh_commit_is_clean_and_has_gits_tree() {
    for args in [&[][..], &["--object-format=sha256"]] {
        let repo = repo_with(args);
        repo.populate();
        repo.git(&["remote", "add", "origin", "https://user:secret@example.org/x.git"]);
        let found = repo.check();
        assert_eq!(found.dirty, []);
        assert_eq!(found.commit.unwrap().to_string(), repo.git(&["rev-parse", "HEAD"]));
        assert_eq!(found.git_tree.to_string(), repo.git(&["rev-parse", "HEAD^{tree}"]));
        assert_eq!(found.branch.as_deref(), Some("refs/heads/main"));
        assert_eq!(found.remote.as_deref(), Some("git+https://example.org/x.git"));
        assert!(found.subfolder.is_here());
    }
}

#[test]
fn each_kind_of_change_is_dirty() {
    type Row = (&'static str, fn(&Repo), Change);
    let changes: [Row; 8] = [
        ("a.txt", |repo| repo.write("a.txt", "b\n"), Change::Modified),
        ("src/lib/x.c", |repo| repo.write("src/lib/x.c", "y\n"), Change::Modified),
        ("run.sh", |repo| repo.chmod("run.sh", 0o644), Change::Modified),
        ("kiln.lock", |repo| repo.write("kiln.lock", ""), Change::Added),
        ("kiln.yaml", |repo| repo.write("kiln.yaml", "x"), Change::Modified),
        ("new/x", |repo| repo.write("new/x", ""), Change::Added),
        (
            "src/main.c",
            |repo| fs::remove_file(repo.root.join("src/main.c")).unwrap(),
            Change::Deleted,
        ),
        (
            "link",
            |repo| {
                fs::remove_file(repo.root.join("link")).unwrap();
                symlink("src/main.h", repo.root.join("link")).unwrap();
            },
            Change::Modified,
        ),
    ];
    for (path, change, expected) in changes {
        let repo = repo();
        change(&repo);
        let dirty = repo.check().dirty;
        assert_eq!(dirty.len(), 1, "{dirty:?}");
        assert_eq!((dirty[0].path.as_str(), dirty[0].change), (path, expected));
    }
}

#[test]
fn sources_hold_what_git_would_list() {
    let repo = repo();
    repo.write(".gitignore", "*.o\n!keep.o\n/build/\nlogs/**/x\n");
    repo.write("src/.gitignore", "!main.o\n*.tmp\n/gen\n");
    repo.write("src/lib/.gitignore", "!y.tmp\n");
    for path in [
        "x.o",
        "keep.o",
        "build/x",
        "src/build/x",
        "logs/a/b/x",
        "src/main.o",
        "src/lib/y.tmp",
        "src/lib/z.tmp",
        "src/gen",
        "src/lib/gen",
        "excluded",
        "by-user",
        "kiln-out/x",
        "tracked.o",
    ] {
        repo.write(path, path);
    }
    fs::write(repo.root.join(".git/info/exclude"), "excluded\n").unwrap();
    fs::create_dir_all(repo.home.join(".config/git")).unwrap();
    fs::write(repo.home.join(".config/git/ignore"), "by-user\n").unwrap();
    repo.git(&["add", "-f", "tracked.o"]);
    repo.write("kiln-out/y", "");
    let listed = repo.git(&["ls-files", "-z", "-c", "-o", "--exclude-standard"]);
    let mut expected: Vec<String> = listed
        .split('\0')
        .filter(|path| !path.is_empty() && !path.starts_with("kiln"))
        .filter(|path| !repo.root.join(path).is_symlink())
        .map(str::to_owned)
        .collect();
    expected.sort_unstable();
    assert_eq!(files(&repo.scan(), "src"), expected);
    fs::write(repo.home.join(".gitconfig"), "[core]\nexcludesFile = ~/mine\n").unwrap();
    fs::write(repo.home.join("mine"), "new-rule\n").unwrap();
    repo.write("new-rule", "");
    let found = files(&repo.scan(), "src");
    assert!(found.contains(&"by-user".to_owned()) && !found.contains(&"new-rule".to_owned()));
}

#[test]
fn outputs_never_count() {
    let repo = repo();
    repo.write("kiln-out/hello", "x");
    assert_eq!(checkout(&repo.scan()).dirty, []);
    repo.git(&["add", "-f", "kiln-out"]);
    repo.git(&["commit", "-qm", "outputs, by mistake"]);
    repo.write("kiln-out/hello", "y");
    let found = checkout(&repo.scan());
    assert_eq!(found.dirty, []);
    assert_eq!(found.git_tree.to_string(), repo.git(&["rev-parse", "HEAD^{tree}"]));
    assert!(!files(&repo.scan(), "src").iter().any(|path| path.starts_with("kiln-out")));
}

#[test]
fn flags_in_the_index_are_not_believed() {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let repo = repo();
        repo.git(&["update-index", flag, "src/lib/x.c"]);
        assert_eq!(checkout(&repo.scan()).dirty, []);
        let before = repo.scan().sources.into_values().next().unwrap().root();
        repo.write("src/lib/x.c", "changed\n");
        assert!(repo.status().is_empty(), "git is fooled by {flag}");
        let found = repo.scan();
        assert_eq!(checkout(&found).dirty[0].path, "src/lib/x.c");
        assert_eq!(checkout(&found).git_tree.to_string(), repo.tree_by_git());
        assert_ne!(found.sources.into_values().next().unwrap().root(), before);
    }
}

#[test]
fn no_program_named_in_a_configuration_is_run() {
    let repo = repo();
    let marker = repo.home.join("marker");
    let program = repo.home.join("program");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        "[core]\nfsmonitor = {0}\nhooksPath = {1}\nsshCommand = {0}\npager = {0}\n\
        [filter \"x\"]\nclean = {0}\nsmudge = {0}\nprocess = {0}\n[diff]\nexternal = {0}\n",
        program.display(),
        repo.home.display()
    );
    fs::write(repo.home.join(".gitconfig"), &text).unwrap();
    let own = repo.root.join(".git/config");
    fs::write(&own, fs::read_to_string(&own).unwrap() + &text).unwrap();
    repo.write(".gitattributes", "* filter=x\n");
    assert_eq!(checkout(&repo.scan()).dirty[0].path, ".gitattributes");
    repo.write("a.txt", "changed\n");
    assert_eq!(checkout(&repo.scan()).dirty[1].path, "a.txt");
    assert!(!marker.exists());
}

#[test]
fn a_work_tree_elsewhere_is_not_believed() {
    let repo = repo();
    let other = repo.home.join("other");
    fs::create_dir(&other).unwrap();
    repo.git(&["config", "core.worktree", other.to_str().unwrap()]);
    assert_eq!(checkout(&repo.scan()).dirty, []);
    repo.write("a.txt", "changed");
    assert_eq!(checkout(&repo.scan()).dirty.len(), 1);
}

#[test]
fn replaced_objects_are_not_believed() {
    let repo = repo();
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.write("a.txt", "second\n");
    repo.commit("second");
    repo.git(&["replace", "HEAD", &first]);
    assert_eq!(checkout(&repo.scan()).dirty, []);
}

#[test]
fn packed_objects_and_references_are_read() {
    let repo = repo();
    for round in 0..30 {
        let text: String = (0..200).map(|line| format!("{} {line}\n", round * line % 7)).collect();
        repo.write(&format!("many/{round}"), &text);
        repo.write("many/changing", &text);
        repo.commit("more");
    }
    for pack in [&["gc", "-q", "--aggressive"][..], &["repack", "-adfq", "--depth=50"]] {
        repo.git(pack);
        repo.git(&["pack-refs", "--all"]);
        assert_eq!(repo.check().dirty, []);
    }
    repo.write("many/7", "");
    assert_eq!(repo.check().dirty.len(), 1);
    repo.git(&["config", "pack.indexVersion", "1"]);
    repo.git(&["repack", "-adfq"]);
    assert!(matches!(repo.try_scan("", &[everything()]), Err(SourceError::Git(_))));
}

#[test]
fn linked_work_trees_alternates_and_shallow_clones_are_read() {
    let repo = repo();
    repo.write("a.txt", "second\n");
    repo.commit("second");
    let at = |name: &str| repo.home.join(name).to_str().unwrap().to_owned();
    let here = format!("file://{}", repo.root.display());
    repo.git(&["worktree", "add", "-q", "-b", "side", &at("linked")]);
    repo.git(&["clone", "-q", "--shared", ".", &at("shared")]);
    repo.git(&["clone", "-q", "--depth=1", &here, &at("shallow")]);
    repo.git(&["clone", "-q", &here, &at("detached")]);
    repo.git_at(&repo.home.join("detached"), &[], &["checkout", "-q", "--detach", "HEAD^"]);
    for (name, branch) in [
        ("linked", Some("side")),
        ("shared", Some("main")),
        ("shallow", Some("main")),
        ("detached", None),
    ] {
        let root = repo.home.join(name);
        let other = Repo { _folder: tempfile::tempdir().unwrap(), home: at("h").into(), root };
        fs::create_dir_all(&other.home).unwrap();
        let found = other.check();
        assert_eq!(found.dirty, [], "{name}");
        assert_eq!(found.branch, branch.map(|branch| format!("refs/heads/{branch}")), "{name}");
        other.write("src/lib/x.c", "changed\n");
        assert_eq!(other.check().dirty.len(), 1, "{name}");
    }
}

#[test]
fn before_the_first_commit_everything_is_dirty() {
    let repo = repo_with(&[]);
    repo.write("a", "x");
    repo.write("b/c", "x");
    let found = repo.check();
    assert_eq!((found.commit, found.dirty.len()), (None, 2));
    assert_eq!(found.branch.as_deref(), Some("refs/heads/main"));
}

#[test]
fn every_version_of_the_index_is_read() {
    let repo = repo();
    for version in ["2", "3", "4"] {
        repo.git(&["update-index", "--index-version", version, "--force-write-index"]);
        assert_eq!(repo.check().dirty, [], "{version}");
    }
    repo.write("intended", "x");
    repo.git(&["add", "-N", "intended"]);
    repo.write("staged", "x");
    repo.git(&["add", "staged"]);
    for version in ["3", "4"] {
        repo.git(&["update-index", "--index-version", version, "--force-write-index"]);
        assert_eq!(repo.check().dirty.len(), 2, "{version}");
    }
    repo.git(&["update-index", "--untracked-cache"]);
    repo.status();
    assert_eq!(repo.check().dirty.len(), 2);
    repo.git(&["update-index", "--split-index"]);
    let refused = repo.try_scan("", &[everything()]).unwrap_err();
    let SourceError::Git(cause) = refused else { panic!("{refused}") };
    assert!(cause.to_string().contains("git update-index --no-split-index"), "{cause}");
}

#[test]
fn a_damaged_index_or_object_is_an_error() {
    let repo = repo();
    let index = repo.root.join(".git/index");
    let good = fs::read(&index).unwrap();
    let mut bad = good.clone();
    bad[60] ^= 1;
    fs::write(&index, &bad).unwrap();
    assert!(matches!(repo.try_scan("", &[everything()]), Err(SourceError::Git(_))));
    fs::write(&index, &good).unwrap();
    let tree = repo.git(&["rev-parse", "HEAD"]);
    let object = |id: &str| repo.root.join(".git/objects").join(&id[..2]).join(&id[2..]);
    let planted = fs::read(object(&repo.git(&["rev-parse", "HEAD^{tree}"]))).unwrap();
    fs::remove_file(object(&tree)).unwrap();
    assert!(matches!(repo.try_scan("", &[everything()]), Err(SourceError::Git(_))));
    fs::write(object(&tree), planted).unwrap();
    assert!(matches!(repo.try_scan("", &[everything()]), Err(SourceError::Git(_))));
}

#[test]
fn missing_files_of_a_sparse_checkout_are_dirty() {
    let repo = repo();
    repo.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "doc"]);
    assert!(repo.status().is_empty());
    let dirty: Vec<String> =
        checkout(&repo.scan()).dirty.into_iter().map(|dirty| dirty.path).collect();
    assert_eq!(dirty, ["src/lib/x.c", "src/lib/y.c", "src/main.c", "src/up"]);
    let only = [source("doc", "doc", &[])];
    assert_eq!(checkout(&repo.try_scan("", &only).unwrap()).dirty, []);
}

#[test]
fn submodules_are_read_by_their_own_index_and_commit() {
    let inner = repo();
    let outer = repo();
    outer.git(&["submodule", "add", "-q", inner.root.to_str().unwrap(), "sub/mod"]);
    outer.commit("with a submodule");
    let found = outer.check();
    assert_eq!(found.dirty, []);
    assert!(files(&outer.scan(), "src").contains(&"sub/mod/src/lib/x.c".to_owned()));

    outer.write("sub/mod/src/lib/x.c", "changed\n");
    let dirty = checkout(&outer.scan()).dirty;
    assert_eq!((dirty.len(), dirty[0].path.as_str()), (1, "sub/mod/src/lib/x.c"));
    assert!(!outer.status().is_empty());

    outer.git(&["-C", "sub/mod", "commit", "-qam", "inner"]);
    let dirty = outer.check().dirty;
    assert_eq!((dirty[0].path.as_str(), dirty[0].change), ("sub/mod", Change::Submodule));
    outer.commit("newer submodule");
    assert_eq!(outer.check().dirty, []);

    outer.git(&["submodule", "deinit", "-q", "-f", "sub/mod"]);
    let dirty = checkout(&outer.scan()).dirty;
    assert_eq!((dirty[0].path.as_str(), dirty[0].change), ("sub/mod", Change::Submodule));
    let without = [source("src", ".", &["sub/mod/"])];
    assert_eq!(checkout(&outer.try_scan("", &without).unwrap()).dirty, []);
}

#[test]
fn a_project_in_a_subfolder_sees_only_itself_and_the_rules_above() {
    let repo = repo();
    repo.write(".gitignore", "*.o\n/pro/ject/gen/\n");
    repo.write("pro/.gitignore", "!x.o\n");
    repo.write("pro/ject/kiln.yaml", "");
    repo.write("pro/ject/a/b", "");
    repo.commit("project");
    repo.write("outside", "");
    for path in ["pro/ject/a/x.o", "pro/ject/a/y.o", "pro/ject/gen/z"] {
        repo.write(path, "");
    }
    let found = repo.try_scan("pro/ject", &[everything()]).unwrap();
    assert_eq!(files(&found, "src"), ["a/b", "a/x.o"]);
    let state = checkout(&found);
    assert_eq!(state.dirty.iter().map(|d| d.path.as_str()).collect::<Vec<_>>(), ["a/x.o"]);
    assert_eq!(state.subfolder, RelPath::new("pro/ject").unwrap());
    fs::remove_file(repo.root.join("pro/ject/a/x.o")).unwrap();
    let state = checkout(&repo.try_scan("pro/ject", &[everything()]).unwrap());
    assert_eq!(state.git_tree.to_string(), repo.git(&["rev-parse", "HEAD:pro/ject"]));
    assert_eq!(state.dirty, []);
}

#[test]
fn a_project_that_git_ignores_is_outside_git() {
    let repo = repo();
    repo.write(".gitignore", "scratch/\n");
    repo.write("scratch/p/file.o", "");
    let found = repo.try_scan("scratch/p", &[everything()]).unwrap();
    assert_eq!(found.git, GitIdentity::None);
    assert_eq!(files(&found, "src"), ["file.o"]);
    let error = repo.try_scan("", &[source("s", "scratch", &[])]).unwrap_err();
    assert!(matches!(error, SourceError::Ignored { .. }), "{error}");
}

#[test]
fn only_mounted_sources_and_the_build_file_count() {
    let repo = repo();
    repo.write("a.txt", "changed");
    repo.write("doc/new", "");
    repo.write("doc/draft/x", "");
    fs::remove_file(repo.root.join("src/lib/x.c")).unwrap();
    let head = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let cases: [(&[LocalSource], &[&str]); 5] = [
        (&[source("s", "src", &["lib/"])], &[]),
        (&[source("s", "src", &["x.c"])], &[]),
        (&[source("s", "src/main.c", &[]), source("t", "run.sh", &[])], &[]),
        (&[source("s", "src", &["lib/"]), source("d", "doc", &["/draft/"])], &["doc/new"]),
        (&[source("s", "src", &["lib/"]), source("t", "src/lib", &["y.c"])], &["src/lib/x.c"]),
    ];
    for (sources, expected) in cases {
        let found = checkout(&repo.try_scan("", sources).unwrap());
        let dirty: Vec<&str> = found.dirty.iter().map(|dirty| dirty.path.as_str()).collect();
        assert_eq!(dirty, expected, "{sources:?}");
        assert_eq!(found.git_tree.to_string() == head, expected.is_empty());
    }
}

#[test]
fn converted_line_ends_are_told_as_changed() {
    let repo = repo();
    repo.write(".gitattributes", "*.txt text eol=crlf\n");
    repo.commit("attributes");
    fs::remove_file(repo.root.join("a.txt")).unwrap();
    repo.git(&["checkout", "-q", "--", "a.txt"]);
    assert_eq!(fs::read(repo.root.join("a.txt")).unwrap(), b"a\r\n");
    assert_eq!(checkout(&repo.scan()).dirty[0].path, "a.txt");
}

/// A small generator of numbers, seeded, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn random_work_trees_are_dirty_exactly_when_git_says_so() {
    const PATHS: [&str; 9] =
        ["a", "a.b", "d/a", "d/b", "d/e/f", "d-e", "x.o", "d/keep.o", "ign/ored"];
    for seed in 0..25 {
        let mut numbers = Numbers(seed);
        let repo = repo();
        repo.write(".gitignore", "*.o\n!keep.o\nign/\n");
        repo.commit("rules");
        let mut did = Vec::new();
        for _ in 0..12 {
            let (what, path) = (numbers.below(9), PATHS[numbers.below(PATHS.len())]);
            did.push((what, path));
            let at = repo.root.join(path);
            match what {
                0..=2 if !at.is_dir() => {
                    let parent = at.parent().unwrap();
                    if parent.is_symlink() || parent.is_file() {
                        fs::remove_file(parent).unwrap();
                    }
                    let _ = fs::remove_file(&at);
                    repo.write(path, &numbers.below(3).to_string());
                }
                3 if at.is_file() && !at.is_symlink() => repo.chmod(path, 0o755),
                4 if at.is_dir() => fs::remove_dir_all(&at).unwrap(),
                4 => {
                    let _ = fs::remove_file(&at);
                }
                5 if !at.is_dir() && at.parent().unwrap().is_dir() => {
                    let _ = fs::remove_file(&at);
                    symlink("a", &at).unwrap();
                }
                6 => repo.commit("round"),
                7 if at.is_file() => {
                    repo.git(&["add", "-f", path]);
                }
                8 => {
                    let _ = fs::rename(&at, repo.root.join("moved"));
                }
                _ => {}
            }
        }
        let found = checkout(&repo.scan());
        assert_eq!(found.git_tree.to_string(), repo.tree_by_git(), "seed {seed}: {did:?}");
        let head = repo.git(&["rev-parse", "HEAD^{tree}"]);
        assert_eq!(found.dirty.is_empty(), head == found.git_tree.to_string(), "seed {seed}");
        if repo.status().is_empty() {
            assert_eq!(found.dirty, [], "seed {seed}: {did:?}");
        }
    }
}
