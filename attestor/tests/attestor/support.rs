//! Records to sign, a forger with keys of its own, and an attestor process to speak with.
#![expect(
    clippy::disallowed_methods,
    reason = "the attestor is its own process, so tests start it: this test binary, re-executed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use attestor::client;
use attestor::pipe::{Answer, KeyInfo, Request, Signed};
use attestor::process::{FailureKind, Means};
use attestor::public_key::Algorithm;
use model::Digest;
use model::digest::Blob;
use model::isolation::{Enforced, Guarantee};
use model::platform::Platform;
use model::record::{
    Asked, Byproduct, Dependency, DigestOf, GitId, Nonce, Observed, Order, RECORD_VERSION, Rebuild,
    Record, Role, RunDetails, SourceRef, StepRecord, Subject,
};
use model::relpath::{Ident, RelPath};
use model::step::{SANDBOX_PROFILE, StepId};

/// The artifact of [`record`].
pub const ARTIFACT: &[u8] = b"hello, world\n";
/// When [`record`] ran; its deadline is far away.
pub const NOW: i64 = 1_795_346_700;

/// One wrapped command, without a build file and outside git.
pub fn wrapped() -> Record {
    let mut wrapped = record();
    let asked = Asked::Run {
        command: "[\"make\",\"-C\",\"src\"]".into(),
        inputs: "[\"src\"]".into(),
        outputs: "[\"src/hello\"]".into(),
        packages: "[]".into(),
        environment: "{}".into(),
        target: "hello".into(),
    };
    (wrapped.order.asked, wrapped.observed.asked) = (asked.clone(), asked);
    for source in [&mut wrapped.order.source, &mut wrapped.observed.source] {
        source.uri = "local".into();
        source.commit = None;
    }
    wrapped.observed.asked_limits.clear();
    wrapped.observed.options.clear();
    let observed = &mut wrapped.observed;
    observed.dependencies.retain(|one| one.role != Role::BuildFile);
    for one in &mut observed.dependencies {
        if one.role == Role::Source {
            (one.uri, one.git_commit, one.git_tree) = (None, None, None);
        }
    }
    wrapped
}

/// An artifact of a build file in git.
pub fn record() -> Record {
    let source = SourceRef {
        uri: "git+https://git.example.org/acme/hello".into(),
        commit: Some(GitId::parse(&"a1".repeat(20)).unwrap()),
        subfolder: RelPath::here(),
        dirty: false,
    };
    let nonce = Nonce::from_bytes([1; 16]);
    let order = Order {
        asked: Asked::Build {
            build_file: RelPath::new("kiln.yaml").unwrap(),
            target: "hello".into(),
            matrix: String::new(),
            overrides: String::new(),
        },
        source: source.clone(),
        waivers: BTreeSet::new(),
        nonce: nonce.clone(),
        deadline: i64::MAX,
    };
    let observed = Observed {
        nonce,
        asked: order.asked.clone(),
        source,
        waivers: BTreeSet::new(),
        platform: Platform::HERE,
        sandbox_profile: SANDBOX_PROFILE.into(),
        asked_limits: BTreeMap::from([("build.memory".into(), "4Gi".into())]),
        options: BTreeMap::from([
            ("build.cpus".into(), "2".into()),
            ("build.nested".into(), "true".into()),
        ]),
        environments: BTreeMap::from([("host".into(), Digest::of(b"root"))]),
        dependencies: vec![
            dependency(Role::Source, "local", "src"),
            dependency(Role::BuildFile, "file", "kiln.yaml"),
            dependency(Role::Environment, "host", "gcc-12"),
            dependency(Role::Environment, "host", "make"),
        ],
        subject: Subject { name: "hello".into(), blob: Blob::of(ARTIFACT) },
        run: run_details(),
    };
    Record { version: RECORD_VERSION, order, observed }
}

fn run_details() -> RunDetails {
    let mut enforced = Enforced::default();
    for guarantee in Guarantee::ALL {
        let (mechanism, detail) = match guarantee {
            Guarantee::Files => ("mount-namespace", "own root, inputs read-only"),
            Guarantee::Network => ("net-namespace", "lo only"),
            Guarantee::Processes => ("pid-namespace", "killed with its first process"),
            Guarantee::Identity => ("user-namespace", "no capabilities, no new privileges"),
            Guarantee::Syscalls => ("seccomp", "allow-list of profile kiln/1"),
            Guarantee::Limits => ("cgroup-v2", "memory, pids"),
            Guarantee::Landlock => ("landlock", "ABI 5"),
        };
        enforced.add(guarantee, mechanism, detail);
    }
    RunDetails {
        invocation: "0f8fad5b-d9cb-469f-a165-70867728950e".into(),
        started: NOW,
        finished: NOW + 48,
        kiln_version: "0.1.0".into(),
        kiln_digest: Digest::of(b"kiln"),
        backend: "native".into(),
        host: BTreeMap::from([("kernel".into(), "6.1.0".into()), ("mode".into(), "root".into())]),
        steps: vec![StepRecord {
            id: StepId::plain(Ident::new("build").unwrap()),
            test: false,
            action: Digest::of(b"action"),
            environment: Digest::of(b"root"),
            cached_from: None,
            exit_code: 0,
            started: NOW,
            wall_ms: 912,
            log: Blob::of(b"log"),
            log_cut: false,
            outputs: BTreeMap::new(),
            reports: BTreeMap::new(),
            enforced,
            limits: BTreeMap::from([("memory".into(), "4Gi".into())]),
            left_processes: 0,
            network_attempts: Vec::new(),
            network_heard: true,
            cases: None,
        }],
        byproducts: vec![
            byproduct("build.log", b"log", "text/plain"),
            byproduct("plan.json", b"plan", "application/vnd.kiln.plan.v1+json"),
        ],
        rebuild: Rebuild::HostBound,
        claims: BTreeMap::new(),
    }
}

fn byproduct(name: &str, bytes: &[u8], media_type: &str) -> Byproduct {
    Byproduct {
        name: name.into(),
        digest: Digest::of(bytes),
        media_type: media_type.into(),
        annotations: BTreeMap::new(),
    }
}

/// Moves a record of [`NOW`] to the present of this test run, always by the same span: the attestor
/// process compares it with its own clock.
pub fn present(mut record: Record) -> Record {
    static SPAN: OnceLock<i64> = OnceLock::new();
    let span = *SPAN.get_or_init(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() - NOW
    });
    let run = &mut record.observed.run;
    for time in [&mut run.started, &mut run.finished] {
        *time += span;
    }
    for step in &mut run.steps {
        step.started += span;
    }
    record
}

pub fn dependency(role: Role, kind: &str, name: &str) -> Dependency {
    let in_git = role == Role::Source;
    let git = |text: &str| in_git.then(|| GitId::parse(&text.repeat(20)).unwrap());
    Dependency {
        role,
        kind: kind.into(),
        name: name.into(),
        uri: match role {
            Role::Source => Some("git+https://git.example.org/acme/hello".into()),
            Role::Environment => Some(format!("pkg:deb/debian/{name}@12.2.0-14?arch=amd64")),
            Role::BuildFile | Role::Lock | Role::Script | Role::Fetched => None,
        },
        digest: Digest::of(name.as_bytes()),
        digest_of: match role {
            Role::Source | Role::Environment => DigestOf::ReapiV2Directory,
            Role::BuildFile | Role::Lock | Role::Script | Role::Fetched => DigestOf::File,
        },
        git_commit: git("a1"),
        git_tree: git("b2"),
    }
}

/// An attestor process, and our end of its pipe.
pub struct Attestor {
    pub child: Child,
    socket: Option<UnixStream>,
}

/// Set for a re-executed test binary: it is the attestor then.
const ENTER: &str = "KILN_TEST_ENTER";

/// The attestor process: not a test of its own, but what the others start.
#[test]
fn entry() {
    let Some(folder) = std::env::var_os(ENTER) else { return };
    let folder = Path::new(&folder);
    let args = [
        "serve".into(),
        "--config-dir".into(),
        folder.join("config").into_os_string(),
        "--state-dir".into(),
        folder.join("state").into_os_string(),
    ];
    let ended = attestor::process::enter(&args, Means { seal: |_| Ok(()), interrupt: |_| Ok(()) });
    std::process::exit(match ended.map_err(|failure| failure.kind) {
        Ok(()) => 0,
        Err(FailureKind::Internal) => 70,
        Err(_) => 1,
    });
}

impl Attestor {
    pub fn start(folder: &Path) -> Attestor {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::entry", "--nocapture", "--test-threads=1"])
            .env_clear()
            .env(ENTER, folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Attestor { child, socket: Some(ours) }
    }

    pub fn ask(&self, request: &Request, files: &[std::fs::File]) -> Answer {
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        client::ask(self.socket().as_fd(), request, &files).unwrap()
    }

    pub fn socket(&self) -> &UnixStream {
        self.socket.as_ref().unwrap()
    }

    pub fn generate(&self, algorithm: Algorithm) -> KeyInfo {
        match self.ask(&Request::Generate { algorithm }, &[]) {
            Answer::Key(info) => info,
            other => panic!("{other:?}"),
        }
    }

    pub fn sign(&self, record: &Record) -> Answer {
        self.ask(&Request::Sign(Box::new(present(record.clone()))), &[file(ARTIFACT)])
    }

    pub fn signed(&self, record: &Record) -> Signed {
        match self.sign(record) {
            Answer::Signed(signed) => signed,
            other => panic!("{other:?}"),
        }
    }

    /// Closes the pipe and returns the exit code.
    pub fn end(mut self) -> Option<i32> {
        self.socket = None;
        self.child.wait().unwrap().code()
    }
}

impl Drop for Attestor {
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.child.wait();
    }
}

/// A read-only descriptor of a file with these bytes.
pub fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    std::fs::File::open(file.path()).unwrap()
}
