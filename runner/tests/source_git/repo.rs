//! A repository, and what git says of it.
//!
//! Git's answer is made independent of flags in the index: the index is copied, the flags are cleared, everything is
//! added, and the tree is written.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use model::{Ident, RelPath};
use runner::source::{
    Checkout, Exclude, GitIdentity, LocalSource, Scan, Scanned, SourceError, StatCache, UserGit,
    scan,
};

pub struct Repo {
    pub _folder: tempfile::TempDir,
    pub home: PathBuf,
    pub root: PathBuf,
}

pub fn repo_with(args: &[&str]) -> Repo {
    let folder = tempfile::tempdir().unwrap();
    let (home, root) = (folder.path().join("home"), folder.path().join("repo"));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&root).unwrap();
    let repo = Repo { _folder: folder, home, root };
    repo.git(&[&["init", "-q", "-b", "main"], args].concat());
    repo
}

/// A repository with some files in one commit.
pub fn repo() -> Repo {
    let repo = repo_with(&[]);
    repo.populate();
    repo
}

impl Repo {
    pub fn git(&self, args: &[&str]) -> String {
        self.git_at(&self.root, &[], args)
    }

    pub fn git_at(&self, at: &Path, env: &[(&str, &Path)], args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &self.home);
        for (name, value) in [
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@example.org"),
            ("GIT_COMMITTER_NAME", "c"),
            ("GIT_COMMITTER_EMAIL", "c@example.org"),
        ] {
            command.env(name, value);
        }
        command.envs(env.iter().copied());
        let protocol = ["-c", "protocol.file.allow=always"];
        let output = command.args(protocol).args(args).current_dir(at).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn populate(&self) {
        for (path, content) in [
            ("kiln.yaml", "sources: {src: {local: .}}\n"),
            ("a.txt", "a\n"),
            ("a-b", "sorts before the folder a.b\n"),
            ("src/main.c", "int main(void) { return 0; }\n"),
            ("src/lib/x.c", "x\n"),
            ("src/lib/y.c", ""),
            ("src.h", "sorts between src and src/\n"),
            ("doc/ü.md", "not ASCII\n"),
        ] {
            self.write(path, content);
        }
        self.write("run.sh", "#!/bin/sh\n");
        self.chmod("run.sh", 0o755);
        symlink("src/main.c", self.root.join("link")).unwrap();
        symlink("/etc/passwd", self.root.join("absolute")).unwrap();
        symlink("../..", self.root.join("src/up")).unwrap();
        self.commit("first");
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub fn user(&self) -> UserGit {
        UserGit {
            configs: vec![self.home.join(".gitconfig")],
            ignore: Some(self.home.join(".config/git/ignore")),
            home: Some(self.home.clone()),
        }
    }

    pub fn try_scan(&self, project: &str, sources: &[LocalSource]) -> Result<Scanned, SourceError> {
        let project = self.root.join(project);
        let (user, now) = (self.user(), SystemTime::now());
        let whole = Scan { project: &project, sources, user: &user, now };
        scan(&whole, &mut StatCache::default())
    }

    pub fn scan(&self) -> Scanned {
        self.try_scan("", &[everything()]).unwrap()
    }

    /// The tree that git would commit if everything were added, whatever flags the index has.
    pub fn tree_by_git(&self) -> String {
        let git_dir = PathBuf::from(self.git(&["rev-parse", "--absolute-git-dir"]));
        let copy = self.home.join("index-copy");
        let _ = fs::remove_file(&copy);
        if git_dir.join("index").exists() {
            fs::copy(git_dir.join("index"), &copy).unwrap();
            // Git compares an entry by content if its file is not older than the index itself.
            let time = git_dir.join("index").metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
        }
        let env = [("GIT_INDEX_FILE", copy.as_path())];
        let git = |args: &[&str]| {
            let quiet = ["-c", "core.fsmonitor=false", "-c", "core.filemode=true"];
            self.git_at(&self.root, &env, &[&quiet, args].concat())
        };
        let tracked = git(&["ls-files", "-z"]);
        let tracked: Vec<&str> = tracked.split('\0').filter(|path| !path.is_empty()).collect();
        for flag in ["--no-assume-unchanged", "--no-skip-worktree"] {
            git(&[&["update-index", flag, "--"], tracked.as_slice()].concat());
        }
        git(&["add", "-A", "."]);
        git(&["write-tree"])
    }

    pub fn status(&self) -> BTreeSet<String> {
        let text = self.git(&["status", "--porcelain", "-uall", "--no-renames", "-z"]);
        text.split('\0').filter(|line| line.len() > 3).map(|line| line[3..].to_owned()).collect()
    }

    /// Scans, and compares tree, cleanness and changed paths with git's answers.
    pub fn check(&self) -> Checkout {
        let found = checkout(&self.scan());
        assert_eq!(found.git_tree.to_string(), self.tree_by_git());
        let paths: BTreeSet<String> = found.dirty.iter().map(|dirty| dirty.path.clone()).collect();
        assert_eq!(paths, self.status());
        found
    }
}

pub fn everything() -> LocalSource {
    source("src", ".", &[])
}

pub fn source(name: &str, path: &str, exclude: &[&str]) -> LocalSource {
    LocalSource {
        name: Ident::new(name).unwrap(),
        path: RelPath::new(path).unwrap(),
        exclude: Exclude::parse(exclude).unwrap(),
    }
}

pub fn checkout(scanned: &Scanned) -> Checkout {
    match &scanned.git {
        GitIdentity::Git(checkout) => checkout.clone(),
        GitIdentity::None => panic!("not in git"),
    }
}

pub fn files(scanned: &Scanned, name: &str) -> Vec<String> {
    let tree = &scanned.sources[&Ident::new(name).unwrap()];
    let mut paths: Vec<String> = tree.files().iter().map(|file| file.path.to_string()).collect();
    paths.sort_unstable();
    paths
}
