//! What it costs to start and end a step: `true` in a prepared root, against bwrap and docker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use model::AbsPath;
use model::limits::{Limits, Millis};
use sandbox::{Cancel, Exit, Parts, Spec};

use crate::engine::Engine;
use crate::measure::{
    alone, detail, faster, figure, in_blocks, in_turn, present, quietly, ratio, write,
};

const ROUNDS: usize = 60;
/// Blocks and rounds in each, where steps follow each other without a rest.
const ROW: (usize, usize) = (4, 30);
/// How long what an action left to be done afterwards is waited for.
const REST: Duration = Duration::from_millis(10);
/// Blocks and rounds in each, against a container engine.
pub const ENGINE_BLOCKS: (usize, usize) = (4, 10);

/// Measures the start of a step.
pub fn measure(scratch: &Path) {
    println!("\n== start of a step");
    let root = prepare(scratch);
    let spec = spec(&root);
    let cancel = Cancel::new().expect("descriptors are left");
    crate::end::measure(scratch, &root, spec.parts());
    let mut inside = Vec::new();
    let mut ours = || {
        let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {})
            .expect("this host can sandbox");
        assert_eq!(outcome.exit, Exit::Exited(0));
        inside.push(outcome.usage.wall);
    };
    let mut theirs = || quietly(&mut bwrap(&root));
    if !present("bwrap") {
        figure("sandbox::run of true against bwrap", "bwrap is absent", "");
        return;
    }
    // Each alone: when it is over our next child is started, and the kernel takes namespaces down.
    let mut rest = || std::thread::sleep(REST);
    let times = alone(ROUNDS, &mut rest, &mut [&mut ours, &mut theirs]);
    ratio("sandbox::run of true", &times[0], "bwrap", &times[1], "<= 1.2");
    let times = in_blocks(ROW, &mut rest, &mut [&mut ours, &mut theirs]);
    ratio("the same, one right after the other", &times[0], "bwrap", &times[1], "-");
    inside.sort_unstable();
    let step: Duration = inside[inside.len() / 2];
    detail("of that, from exec to all dead", &format!("{step:.3?}"));
    detail(
        "of that, set-up and taking down",
        &format!("{:.3?}", times[0].median().saturating_sub(step)),
    );
    docker(&root, &spec, &cancel);
}

/// Once in blocks, each after the engine has come to rest, and once in turn, where a step of ours runs
/// while the engine cleans up after the one before.
fn docker(root: &Path, spec: &Spec, cancel: &Cancel) {
    let Some(engine) = Engine::with(root) else {
        figure("sandbox::run of true against docker run", "no docker engine answers here", "");
        return;
    };
    let mut ours = || {
        sandbox::run(spec, &sandbox::Backend::Native, cancel, &mut |_, _| {})
            .expect("this host can sandbox");
    };
    let mut theirs = || engine.run();
    let times = in_blocks(ENGINE_BLOCKS, &mut || engine.settle(), &mut [&mut ours, &mut theirs]);
    faster("sandbox::run of true, in blocks", &times[0], "docker run", &times[1], ">= 30");
    engine.told(ENGINE_BLOCKS);
    let times = in_turn(10, &mut [&mut ours, &mut theirs]);
    faster("the same in turn, while the engine cleans up", &times[0], "docker run", &times[1], "-");
}

/// Makes a root with one static program.
pub fn prepare(scratch: &Path) -> std::path::PathBuf {
    let root = scratch.join("root");
    for folder in ["bin", "dev", "proc", "tmp", "build", "etc", "sys", "kiln", "var/tmp", "run"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let source = scratch.join("true.c");
    write(&source, "int main(void) { return 0; }\n");
    let program = root.join("bin/true");
    quietly(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source));
    root
}

fn spec(root: &Path) -> Spec {
    let at = |path: &str| AbsPath::new(path).expect("a plain path");
    Spec::check(Parts {
        root: root.to_owned(),
        tree: model::Digest::of(b"true"),
        mounts: Vec::new(),
        files: Vec::new(),
        folders: Vec::new(),
        argv: vec!["/bin/true".to_owned()],
        env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
        cwd: at("/build"),
        limits: Limits::default(),
        timeout: Millis(60_000),
        cpus: None,
        widen: sandbox::Widen::default(),
        waived: BTreeSet::new(),
        scratch: None,
    })
    .expect("nothing is wrong with it")
}

/// The same namespaces, root, /proc, /dev and /tmp.
fn bwrap(root: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--unshare-user", "--die-with-parent", "--clearenv"]);
    command.args(["--cap-drop", "ALL"]);
    command.arg("--ro-bind").arg(root).arg("/");
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/build"]);
    command.args(["--chdir", "/build", "/bin/true"]);
    command
}
