//! Turns a `Spec` into the staging folder's content and the list of what the engine binds from it.
//!
//! The engine gets no path but those of one staging folder, so every input is a copy in it: of a
//! view, because the step may change it, and of a read-only input, because the store must not be
//! reachable from a container. What native mounts separately is bound separately here, so that a
//! rename across two inputs fails in both.
//!
//! ```text
//! STAGING/             0700, kiln's own, random name
//! ├── build/           bound at /build, where no input lies there
//! ├── input/N          copy of input N, bound at its place
//! └── file/N           file that kiln adds where no input lies, bound read-only
//! ```
//!
//! A mount point inside an input is made in that input's copy; one inside the environment is made by
//! the engine in the container's own layer. A path that leads through a symlink is refused by both.
//!
//! Does no I/O. Decides nothing about the engine.

use model::AbsPath;

use crate::native::setup::{Kind, OWN, Seen, place};
use crate::spec::{MountMode, Parts};

/// One act in the staging folder. Places are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A folder, which may be there.
    Folder { at: String },
    /// A copy of a mount's source, folder or file.
    Copy { mount: usize, folder: bool, at: String },
    /// An empty folder or file for the engine to bind something over.
    Point { at: String, folder: bool },
    /// A file that kiln adds.
    Write { file: usize, at: String },
}

/// One bind of the engine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where it appears.
    pub inside: AbsPath,
    /// Its source in the staging folder.
    pub from: String,
    /// Whether the step may not write there.
    pub read_only: bool,
}

/// What to make and what to bind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// In this order.
    pub ops: Vec<Op>,
    /// Parents before children.
    pub binds: Vec<Bind>,
    /// Folders beneath `/tmp`, each a small file system of its own.
    pub below_tmp: Vec<AbsPath>,
    /// Where the step can write, to be read when it is dead: its place and the staging folder's.
    pub writable: Vec<(AbsPath, String)>,
    /// Places inside the environment where the engine makes a mount point.
    pub in_environment: Vec<AbsPath>,
}

/// Files that an engine writes for every container, with its own text: covered by the environment's.
pub const ENGINES_FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Decides what to make. `own_files` says which of [`ENGINES_FILES`] the environment has as a file.
pub fn layout(parts: &Parts, seen: &Seen, own_files: &[&'static str]) -> Layout {
    let mut out = Layout::default();
    out.folder("input");
    out.folder("file");
    if !parts.mounts.iter().any(|mount| mount.at == place("build")) {
        out.folder("build");
        out.bind(&place("build"), "build", false);
        out.writable.push((place("build"), "build".to_owned()));
    }
    for (index, mount) in parts.mounts.iter().enumerate() {
        let folder = seen.sources.get(index) == Some(&Kind::Folder);
        let read_only = mount.mode == MountMode::ReadOnly;
        match out.holder(&mount.at) {
            // A file that may be changed lies in the folder that may be changed.
            Some((at, true)) if !folder && !read_only => {
                out.ops.push(Op::Copy { mount: index, folder, at });
                continue;
            }
            Some((at, _)) => out.ops.push(Op::Point { at, folder }),
            None => out.in_environment(&mount.at),
        }
        let from = format!("input/{index}");
        out.ops.push(Op::Copy { mount: index, folder, at: from.clone() });
        out.bind(&mount.at, &from, read_only);
        if folder && !read_only {
            out.writable.push((mount.at.clone(), from));
        }
    }
    for at in &parts.folders {
        match out.holder(at) {
            Some((at, _)) => out.folder(&at),
            None => out.below_tmp.push(at.clone()),
        }
    }
    for (index, file) in parts.files.iter().enumerate() {
        match out.holder(&file.at) {
            Some((at, _)) => out.ops.push(Op::Write { file: index, at }),
            None => {
                let from = format!("file/{index}");
                out.ops.push(Op::Write { file: index, at: from.clone() });
                out.bind(&file.at, &from, true);
                out.in_environment(&file.at);
            }
        }
    }
    for path in own_files {
        let at = place(path);
        if !out.binds.iter().any(|bind| bind.inside == at) {
            out.bind(&at, &format!("file/{}", path.replace('/', "-")), true);
        }
    }
    out
}

impl Layout {
    fn folder(&mut self, at: &str) {
        self.ops.push(Op::Folder { at: at.to_owned() });
    }

    fn bind(&mut self, inside: &AbsPath, from: &str, read_only: bool) {
        self.binds.push(Bind { inside: inside.clone(), from: from.to_owned(), read_only });
    }

    /// Notes a place where the engine makes a mount point, but for those in kiln's own folders.
    fn in_environment(&mut self, at: &AbsPath) {
        if at.below_root().parts().next().is_some_and(|first| !OWN.contains(&first)) {
            self.in_environment.push(at.clone());
        }
    }

    /// Returns the place in the staging folder that is `at` inside, and whether the step may write
    /// there: beneath the innermost bind that holds it.
    fn holder(&self, at: &AbsPath) -> Option<(String, bool)> {
        let holders = self
            .binds
            .iter()
            .filter_map(|bind| at.strip_prefix(&bind.inside).map(|rest| (bind, rest)));
        let (bind, rest) =
            holders.max_by_key(|(bind, _)| bind.inside.below_root().parts().count())?;
        Some((format!("{}/{rest}", bind.from), !bind.read_only))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::native::space::Space;
    use crate::spec::{InjectedFile, Mount};

    fn at(path: &str) -> AbsPath {
        AbsPath::new(path).expect("a clean path")
    }

    fn decided(mounts: &[(&str, MountMode, Kind)]) -> Layout {
        let mount = |(at, mode, _): &(&str, MountMode, Kind)| Mount {
            at: AbsPath::new(at).expect("a clean path"),
            source: "/store/source".into(),
            mode: *mode,
        };
        let parts = Parts {
            root: "/store/root".into(),
            tree: model::Digest::of(b""),
            mounts: mounts.iter().map(mount).collect(),
            files: vec![
                InjectedFile { at: at("/kiln/script"), bytes: Vec::new(), mode: 0o555 },
                InjectedFile { at: at("/build/.config"), bytes: Vec::new(), mode: 0o644 },
            ],
            folders: vec![at("/tmp/cargo-home"), at("/build/cache")],
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: AbsPath::default(),
            limits: model::limits::Limits::default(),
            timeout: model::limits::Millis(1),
            cpus: None,
            widen: model::step::Widen::default(),
            waived: BTreeSet::new(),
            scratch: None,
        };
        let sources = mounts.iter().map(|(_, _, kind)| kind.clone()).collect();
        let seen =
            Seen { root: BTreeMap::new(), sources, work: Space::Memory { bytes: 1, size: 1 } };
        layout(&parts, &seen, &["etc/hosts"])
    }

    fn binds(layout: &Layout) -> Vec<String> {
        let mode = |bind: &Bind| if bind.read_only { "ro" } else { "rw" };
        let line = |bind: &Bind| format!("{} {} {}", bind.inside, bind.from, mode(bind));
        layout.binds.iter().map(line).collect()
    }

    #[test]
    fn nothing_is_bound_but_copies_in_the_staging_folder() {
        let layout = decided(&[
            ("/build", MountMode::View, Kind::Folder),
            ("/build/vendor", MountMode::ReadOnly, Kind::Folder),
            ("/build/one", MountMode::View, Kind::File),
            ("/opt/data", MountMode::ReadOnly, Kind::File),
        ]);
        assert_eq!(
            binds(&layout),
            [
                "/build input/0 rw",
                "/build/vendor input/1 ro",
                "/opt/data input/3 ro",
                "/kiln/script file/0 ro",
                "/etc/hosts file/etc-hosts ro",
            ]
        );
        assert_eq!(layout.below_tmp, [at("/tmp/cargo-home")]);
        assert_eq!(layout.writable, [(at("/build"), "input/0".to_owned())]);
        assert_eq!(layout.in_environment, [at("/opt/data")]);
        assert!(layout.ops.contains(&Op::Point { at: "input/0/vendor".into(), folder: true }));
        assert!(layout.ops.contains(&Op::Copy {
            mount: 2,
            folder: false,
            at: "input/0/one".into()
        }));
        assert!(layout.ops.contains(&Op::Write { file: 1, at: "input/0/.config".into() }));
        assert!(layout.ops.contains(&Op::Folder { at: "input/0/cache".into() }));
    }

    #[test]
    fn the_work_folder_is_always_there_and_comes_first() {
        let layout = decided(&[("/build/src", MountMode::View, Kind::Folder)]);
        assert_eq!(binds(&layout)[..2], ["/build build rw", "/build/src input/0 rw"]);
        assert_eq!(layout.writable.len(), 2);
    }
}
