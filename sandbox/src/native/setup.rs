//! Turns a `Spec` into the ordered list of operations that build the step's root.
//!
//! The list exists before anything happens, so it can be read, tested and printed. Acting while
//! deciding would hide an ordering mistake until it runs as root.
//!
//! All places are relative to a base, a tmpfs that the step never sees:
//!
//! ```text
//! base/stage/root      the environment's checkout, read-only
//! base/stage/own       the same with inodes that no other step has
//! base/stage/N         source N
//! base/blank{,-folder} what masks are bound from
//! base/shared/shm      /dev/shm where the work folder is not in memory
//! base/work/           tmpfs of the size of the disk limit, or a folder of the host that is watched
//!      work/tmp shm build      /tmp, /dev/shm, and /build where no input lies there
//!      work/upper/K/{u,w}      the changes of view K
//!      work/file/K             private copy of a single file
//! base/root/           what becomes `/`: tmpfs, one bind or link per entry of the environment
//! ```
//!
//! Does no I/O. Never asks what the host can do. Never names a path that the step chose.
//! Does not catch: a source that changes between here and `apply`.

use std::collections::{BTreeMap, BTreeSet};

use model::{AbsPath, Name, RelPath};
use serde::{Deserialize, Serialize};

use super::lists;
use super::space::{self, Space};
use crate::error::{Error, MountProblem};
use crate::spec::{MountMode, Parts};

/// What an entry on the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file.
    File,
    /// A symlink and its text.
    Symlink(String),
}

/// What was seen on the host before deciding.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Entries of the environment's top folder.
    pub root: BTreeMap<Name, Kind>,
    /// What each mount's source is.
    pub sources: Vec<Kind>,
    /// Where the writable space lies.
    pub work: Space,
}

/// One operation. Places are relative to the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Op {
    /// A fresh tmpfs.
    Tmpfs { at: String, bytes: u64, inodes: u64, no_exec: bool },
    /// A folder on kiln's own file system.
    Folder { at: String, mode: u32 },
    /// A symlink on kiln's own file system.
    Symlink { at: String, text: String },
    /// The read-only clone of a source, put at a place.
    Attach { source: usize, folder: bool, at: String },
    /// What lies in the folder `lower`, read-only and with inodes of its own: locks and watches on them
    /// are seen by nobody else who reads the same files.
    Own { lower: String, at: String },
    /// The same for a source that is a single file; the folder that holds it is put at `stage`.
    OwnFile { source: usize, stage: String, at: String },
    /// Another view of what lies at `from`, with all below it.
    Bind { from: String, folder: bool, at: String, read_only: bool },
    /// A view of the folder `lower`; its changes go below `upper`.
    Overlay { lower: String, upper: String, at: String, view: View },
    /// A private copy of a file.
    Copy { from: String, at: String },
    /// A file of ours: bytes `start..start + length` of the order's bodies.
    Write { at: String, start: usize, length: usize, mode: u32 },
    /// A device node of the host's, checked by its number.
    Device { name: String, major: u32, minor: u32, at: String },
    /// A fresh proc.
    Proc { at: String },
    /// Something blank over a place, if it is there.
    Mask { at: String },
    /// A place bound over itself read-only, if it is there.
    Freeze { at: String },
    /// The mount at a place becomes read-only.
    ReadOnly { at: String },
    /// A fixed text over a file, if it is there.
    Replace { at: String, text: String },
    /// An empty folder for the step to write in.
    WorkFolder { at: String },
    /// A descriptor of this place goes to the build process.
    Open { at: String, inside: AbsPath },
}

/// What a view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// The step writes in it, and every change must work.
    Step,
    /// Only we add to it, before it becomes read-only.
    Ours,
}

/// Number of the source that is the environment; mounts count from 1.
pub const ENVIRONMENT: usize = 0;

/// The plan: the operations, and where the step may write.
#[derive(Debug)]
pub struct Plan {
    /// What to do, in order.
    pub ops: Vec<Op>,
    /// Folders that the step may write in.
    pub writable: Vec<AbsPath>,
}

/// Top folders that are kiln's own.
pub const OWN: [&str; 5] = ["build", "dev", "kiln", "proc", "tmp"];
/// Size of the root's own tmpfs: it holds links, mount points and added files.
const ROOT_BYTES: u64 = 64 << 20;

/// Decides what to mount where, in which order.
///
/// 1. base and work space; 2. `/dev`, `/proc`, `/tmp`, `/kiln`, before any outside tree is visible;
/// 3. the environment, entry by entry; 4. `/build` and the inputs; 5. added folders and files;
/// 6. what must be read-only becomes so; 7. descriptors of the writable places.
pub fn plan(parts: &Parts, seen: &Seen) -> Result<Plan, Error> {
    let mut draft =
        Draft { parts, seen, ops: Vec::new(), freeze: Vec::new(), open: Vec::new(), uppers: 0 };
    draft.work_space();
    draft.own_folders();
    draft.environment()?;
    draft.inputs()?;
    draft.added();
    let Draft { mut ops, freeze, open, .. } = draft;
    ops.extend(freeze.into_iter().rev().map(|at| Op::ReadOnly { at }));
    ops.extend(["root/dev", "root"].map(|at| Op::ReadOnly { at: at.to_owned() }));
    let mut writable: Vec<AbsPath> = open.clone();
    writable.extend([place("tmp"), place("dev/shm")]);
    ops.extend(open.into_iter().map(|inside| Op::Open { at: inside_root(&inside), inside }));
    Ok(Plan { ops, writable })
}

/// The same without an environment, and with an empty view in its place, for a rehearsal.
pub fn plan_without_environment(parts: &Parts, seen: &Seen) -> Result<Plan, Error> {
    let mut plan = plan(parts, seen)?;
    let (lower, upper, at) = ("stage/root", "work/upper/empty", "root/build/empty");
    for op in &mut plan.ops {
        if matches!(op, Op::Attach { source: ENVIRONMENT, .. }) {
            *op = Op::Folder { at: lower.into(), mode: 0o755 };
        }
    }
    let (lower, upper, at) = (lower.to_owned(), upper.to_owned(), at.to_owned());
    plan.ops.push(Op::Overlay { lower, upper, at, view: View::Step });
    Ok(plan)
}

struct Draft<'spec> {
    parts: &'spec Parts,
    seen: &'spec Seen,
    ops: Vec<Op>,
    /// Overlays that become read-only once mount points and files are in them.
    freeze: Vec<String>,
    /// Writable mounts.
    open: Vec<AbsPath>,
    uppers: usize,
}

impl<'spec> Draft<'spec> {
    fn work_space(&mut self) {
        // Shared memory is memory wherever the rest lies: programs wait on it without knowing.
        let (at, bytes, inodes) = match self.seen.work {
            Space::Memory { bytes, size } => {
                ("work", size, space::inodes(bytes) + space::INODES_ABOVE)
            }
            Space::Folder { shared, size, .. } => {
                let source = self.parts.mounts.len() + 1;
                self.push(Op::Attach { source, folder: true, at: "work".into() });
                ("shared", size, space::inodes(shared) + space::INODES_ABOVE)
            }
        };
        self.push(Op::Tmpfs { at: at.into(), bytes, inodes, no_exec: false });
        self.push(Op::Folder { at: format!("{at}/shm"), mode: 0o1777 });
        for (at, mode) in [
            ("work/tmp", 0o1777),
            ("work/build", 0o755),
            ("work/upper", 0o700),
            ("work/file", 0o700),
        ] {
            self.push(Op::Folder { at: at.into(), mode });
        }
        self.push(Op::Tmpfs {
            at: "root".into(),
            bytes: ROOT_BYTES,
            inodes: 65_536,
            no_exec: false,
        });
        self.push(Op::Attach { source: ENVIRONMENT, folder: true, at: "stage/root".into() });
        self.push(Op::Own { lower: "stage/root".into(), at: "stage/own".into() });
    }

    fn own_folders(&mut self) {
        for name in OWN {
            self.push(Op::Folder { at: format!("root/{name}"), mode: 0o755 });
        }
        self.push(Op::Tmpfs { at: "root/dev".into(), bytes: 1 << 20, inodes: 64, no_exec: true });
        for (name, major, minor) in lists::DEVICES {
            self.push(Op::Device {
                name: name.into(),
                major,
                minor,
                at: format!("root/dev/{name}"),
            });
        }
        for (name, text) in lists::DEVICE_LINKS {
            self.push(Op::Symlink { at: format!("root/dev/{name}"), text: text.into() });
        }
        self.push(Op::Folder { at: "root/dev/shm".into(), mode: 0o755 });
        let holder = if matches!(self.seen.work, Space::Memory { .. }) { "work" } else { "shared" };
        self.bind(&format!("{holder}/shm"), "root/dev/shm", true);
        self.push(Op::Proc { at: "root/proc".into() });
        for name in lists::PROC_READ_ONLY {
            self.push(Op::Freeze { at: format!("root/proc/{name}") });
        }
        for name in lists::PROC_MASKED {
            self.push(Op::Mask { at: format!("root/proc/{name}") });
        }
        for (name, text) in lists::PROC_REPLACED {
            self.push(Op::Replace { at: format!("root/proc/{name}"), text: text.into() });
        }
        self.bind("work/tmp", "root/tmp", true);
    }

    fn environment(&mut self) -> Result<(), Error> {
        let grown = self.grown_entries()?;
        let seen = self.seen;
        for (name, kind) in &seen.root {
            let name = name.as_str();
            let (from, at) = (format!("stage/own/{name}"), format!("root/{name}"));
            if OWN.contains(&name) {
                if *kind != Kind::Folder {
                    let problem = MountProblem::EnvironmentNotAFolder;
                    return Err(Error::Place { at: place(name), problem });
                }
                continue;
            }
            match kind {
                Kind::Folder if grown.contains(name) => {
                    self.push(Op::Folder { at: at.clone(), mode: 0o755 });
                    self.overlay(format!("stage/root/{name}"), at.clone(), View::Ours);
                    self.freeze.push(at);
                }
                Kind::Folder | Kind::File => {
                    let folder = *kind == Kind::Folder;
                    self.push(Op::Bind { from, folder, at, read_only: true });
                }
                Kind::Symlink(text) => self.push(Op::Symlink { at, text: text.clone() }),
            }
        }
        Ok(())
    }

    /// Returns the entries of the environment in which something must be made.
    fn grown_entries(&self) -> Result<BTreeSet<&'spec str>, Error> {
        let mut grown = BTreeSet::new();
        for at in self.all_places() {
            let mut names = at.below_root().parts();
            let (Some(first), Some(_)) = (names.next(), names.next()) else { continue };
            let known = Name::new(first).ok().and_then(|name| self.seen.root.get(&name));
            match known {
                _ if OWN.contains(&first) => {}
                None => {}
                Some(Kind::Folder) => drop(grown.insert(first)),
                Some(Kind::File | Kind::Symlink(_)) => {
                    return Err(Error::Place { at: at.clone(), problem: MountProblem::NotAFolder });
                }
            }
        }
        Ok(grown)
    }

    fn inputs(&mut self) -> Result<(), Error> {
        if !self.parts.mounts.iter().any(|mount| mount.at == place("build")) {
            self.bind("work/build", "root/build", true);
            self.open.push(place("build"));
        }
        let parts = self.parts;
        for (index, mount) in parts.mounts.iter().enumerate() {
            let source = index + 1;
            let at = inside_root(&mount.at);
            let folder = match self.seen.sources.get(index) {
                Some(Kind::Folder) => true,
                Some(Kind::File) => false,
                Some(Kind::Symlink(_)) | None => {
                    let problem = MountProblem::SourceKind;
                    return Err(Error::Place { at: mount.at.clone(), problem });
                }
            };
            let grown = self
                .all_places()
                .any(|other| *other != mount.at && other.strip_prefix(&mount.at).is_some());
            if grown && !folder {
                return Err(Error::Place {
                    at: mount.at.clone(),
                    problem: MountProblem::NotAFolder,
                });
            }
            let stage = format!("stage/{source}");
            match (mount.mode, folder) {
                (MountMode::ReadOnly, false) if !grown => {
                    self.push(Op::OwnFile { source, stage, at });
                }
                (MountMode::ReadOnly, true) if !grown => {
                    self.push(Op::Attach { source, folder, at: stage.clone() });
                    self.push(Op::Own { lower: stage, at });
                }
                (MountMode::View | MountMode::ReadOnly, true) => {
                    self.push(Op::Attach { source, folder, at: stage.clone() });
                    match mount.mode {
                        MountMode::View => {
                            self.overlay(stage, at, View::Step);
                            self.open.push(mount.at.clone());
                        }
                        MountMode::ReadOnly => {
                            self.overlay(stage, at.clone(), View::Ours);
                            self.freeze.push(at);
                        }
                    }
                }
                (MountMode::View | MountMode::ReadOnly, false) => {
                    self.push(Op::Attach { source, folder, at: stage.clone() });
                    self.private_file(stage, &mount.at, source);
                }
            }
        }
        Ok(())
    }

    /// A single file that the step may change: a copy in place where the folder is writable, else a
    /// copy bound over a mount point.
    fn private_file(&mut self, stage: String, at: &AbsPath, source: usize) {
        let inside = inside_root(at);
        if self.is_writable(at) {
            self.push(Op::Copy { from: stage, at: inside });
        } else {
            let copy = format!("work/file/{source}");
            self.push(Op::Copy { from: stage, at: copy.clone() });
            self.push(Op::Bind { from: copy, folder: false, at: inside, read_only: false });
        }
    }

    fn is_writable(&self, at: &AbsPath) -> bool {
        let holder = self
            .parts
            .mounts
            .iter()
            .filter(|mount| mount.at != *at && at.strip_prefix(&mount.at).is_some());
        match holder.max_by_key(|mount| mount.at.below_root().parts().count()) {
            Some(mount) => mount.mode == MountMode::View,
            None => matches!(at.below_root().parts().next(), Some("build" | "tmp")),
        }
    }

    fn added(&mut self) {
        for at in &self.parts.folders {
            self.ops.push(Op::WorkFolder { at: inside_root(at) });
        }
        let mut start = 0;
        for file in &self.parts.files {
            let length = file.bytes.len();
            self.ops.push(Op::Write { at: inside_root(&file.at), start, length, mode: file.mode });
            start += length;
        }
    }

    fn all_places(&self) -> impl Iterator<Item = &'spec AbsPath> + use<'spec> {
        let Parts { mounts, folders, files, .. } = self.parts;
        let mounts = mounts.iter().map(|mount| &mount.at);
        mounts.chain(folders).chain(files.iter().map(|file| &file.at))
    }

    fn overlay(&mut self, lower: String, at: String, view: View) {
        let upper = format!("work/upper/{}", self.uppers);
        self.uppers += 1;
        self.push(Op::Overlay { lower, upper, at, view });
    }

    fn bind(&mut self, from: &str, at: &str, folder: bool) {
        self.push(Op::Bind { from: from.into(), folder, at: at.into(), read_only: false });
    }

    fn push(&mut self, op: Op) {
        self.ops.push(op);
    }
}

fn inside_root(at: &AbsPath) -> String {
    format!("root/{}", at.below_root().as_str())
}

/// Returns `/below` for a path that is clean because it is written here or is a `Name`.
pub fn place(below: &str) -> AbsPath {
    AbsPath::from_root(RelPath::new(below).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{InjectedFile, Mount};

    fn parts(mounts: &[(&str, MountMode)]) -> Parts {
        let mount = |(at, mode): &(&str, MountMode)| Mount {
            at: AbsPath::new(at).expect("a clean path"),
            source: "/store/source".into(),
            mode: *mode,
        };
        Parts {
            root: "/store/root".into(),
            tree: model::Digest::of(b""),
            mounts: mounts.iter().map(mount).collect(),
            files: Vec::new(),
            folders: Vec::new(),
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: AbsPath::default(),
            limits: model::limits::Limits::default(),
            timeout: model::limits::Millis(1),
            cpus: None,
            widen: model::step::Widen::default(),
            waived: BTreeSet::new(),
            scratch: None,
        }
    }

    fn seen(sources: &[Kind]) -> Seen {
        let root = [
            ("bin", Kind::Symlink("usr/bin".into())),
            ("etc", Kind::Folder),
            ("init", Kind::File),
            ("usr", Kind::Folder),
        ];
        Seen {
            root: root
                .into_iter()
                .map(|(name, kind)| (Name::new(name).expect("a name"), kind))
                .collect(),
            sources: sources.to_vec(),
            work: Space::Memory { bytes: 1 << 30, size: 2 << 30 },
        }
    }

    /// The operations after kiln's own folders, one a line.
    fn told(parts: &Parts, seen: &Seen) -> Vec<String> {
        let plan = plan(parts, seen).expect("a plan");
        let own =
            plan.ops.iter().position(|op| matches!(op, Op::Bind { at, .. } if at == "root/tmp"));
        let rest = plan.ops.iter().skip(own.expect("/tmp") + 1);
        rest.map(|op| serde_json::to_string(op).expect("json")).collect()
    }

    #[test]
    fn environment_is_bound_entry_by_entry_and_build_is_empty() {
        let ops = told(&parts(&[]), &seen(&[]));
        assert_eq!(
            ops,
            [
                r#"{"symlink":{"at":"root/bin","text":"usr/bin"}}"#,
                r#"{"bind":{"from":"stage/own/etc","folder":true,"at":"root/etc","read_only":true}}"#,
                r#"{"bind":{"from":"stage/own/init","folder":false,"at":"root/init","read_only":true}}"#,
                r#"{"bind":{"from":"stage/own/usr","folder":true,"at":"root/usr","read_only":true}}"#,
                r#"{"bind":{"from":"work/build","folder":true,"at":"root/build","read_only":false}}"#,
                r#"{"read-only":{"at":"root/dev"}}"#,
                r#"{"read-only":{"at":"root"}}"#,
                r#"{"open":{"at":"root/build","inside":"/build"}}"#,
            ]
        );
    }

    #[test]
    fn views_are_overlays_and_grown_places_become_read_only_again() {
        let mounts = [
            ("/build", MountMode::View),
            ("/build/v", MountMode::ReadOnly),
            ("/usr/a/b", MountMode::ReadOnly),
        ];
        let ops = told(&parts(&mounts), &seen(&[Kind::Folder, Kind::Folder, Kind::File]));
        assert_eq!(
            ops[3..],
            [
                r#"{"folder":{"at":"root/usr","mode":493}}"#,
                r#"{"overlay":{"lower":"stage/root/usr","upper":"work/upper/0","at":"root/usr","view":"ours"}}"#,
                r#"{"attach":{"source":1,"folder":true,"at":"stage/1"}}"#,
                r#"{"overlay":{"lower":"stage/1","upper":"work/upper/1","at":"root/build","view":"step"}}"#,
                r#"{"attach":{"source":2,"folder":true,"at":"stage/2"}}"#,
                r#"{"own":{"lower":"stage/2","at":"root/build/v"}}"#,
                r#"{"own-file":{"source":3,"stage":"stage/3","at":"root/usr/a/b"}}"#,
                r#"{"read-only":{"at":"root/usr"}}"#,
                r#"{"read-only":{"at":"root/dev"}}"#,
                r#"{"read-only":{"at":"root"}}"#,
                r#"{"open":{"at":"root/build","inside":"/build"}}"#,
            ]
        );
    }

    #[test]
    fn single_files_are_copies_in_place_or_bound_copies() {
        let mounts = [("/build/f", MountMode::View), ("/opt/f", MountMode::View)];
        let ops = told(&parts(&mounts), &seen(&[Kind::File, Kind::File]));
        assert_eq!(
            ops[5..10],
            [
                r#"{"attach":{"source":1,"folder":false,"at":"stage/1"}}"#,
                r#"{"copy":{"from":"stage/1","at":"root/build/f"}}"#,
                r#"{"attach":{"source":2,"folder":false,"at":"stage/2"}}"#,
                r#"{"copy":{"from":"stage/2","at":"work/file/2"}}"#,
                r#"{"bind":{"from":"work/file/2","folder":false,"at":"root/opt/f","read_only":false}}"#,
            ]
        );
    }

    #[test]
    fn no_outside_tree_is_visible_before_proc_and_dev_are_built() {
        let plan =
            plan(&parts(&[("/build", MountMode::View)]), &seen(&[Kind::Folder])).expect("a plan");
        let place = |wanted: &str| {
            let at = |op: &Op| serde_json::to_string(op).is_ok_and(|text| text.contains(wanted));
            plan.ops.iter().position(at).expect(wanted)
        };
        let last_own = plan.ops.iter().rposition(|op| {
            matches!(
                op,
                Op::Mask { .. } | Op::Freeze { .. } | Op::Replace { .. } | Op::Device { .. }
            )
        });
        assert!(last_own.expect("masks") < place("\"from\":\"stage/own/etc\""));
        assert!(place("root/usr") < place("\"lower\":\"stage/1\""));
    }

    #[test]
    fn what_leads_through_a_link_or_a_file_is_refused() {
        for (at, kind) in [("/bin/x", Kind::Folder), ("/init/x", Kind::Folder)] {
            let refusal = plan(&parts(&[(at, MountMode::ReadOnly)]), &seen(&[kind]));
            assert!(
                matches!(refusal, Err(Error::Place { problem: MountProblem::NotAFolder, .. })),
                "{at}"
            );
        }
        let mut below_a_file = parts(&[("/opt/f", MountMode::ReadOnly)]);
        let at = AbsPath::new("/opt/f/x").expect("a clean path");
        below_a_file.files.push(InjectedFile { at, bytes: Vec::new(), mode: 0o644 });
        assert!(plan(&below_a_file, &seen(&[Kind::File])).is_err());
        let link =
            plan(&parts(&[("/opt/l", MountMode::View)]), &seen(&[Kind::Symlink("x".into())]));
        assert!(matches!(link, Err(Error::Place { problem: MountProblem::SourceKind, .. })));
    }
}
