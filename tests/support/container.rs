//! An ordinary container, made as `docker run` makes one, of an image without a registry.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::engine::engine;
use super::{PACKAGES, Ran, Who, World, build_file};

/// An image on an engine, which goes with it.
pub struct Container {
    engine: &'static Path,
    image: String,
    kiln: PathBuf,
    store: PathBuf,
    _world: World,
}

impl Container {
    /// Returns the container that tests share, or why there is none.
    pub fn get() -> Result<Arc<Container>, String> {
        static SHARED: Mutex<Weak<Container>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = shared.upgrade() {
            return Ok(container);
        }
        let container = Arc::new(Container::make()?);
        *shared = Arc::downgrade(&container);
        Ok(container)
    }

    /// Says what there would have to be for one.
    pub fn lack() -> Option<String> {
        if !Who::all().contains(&Who::Root) {
            return Some("only root is root in a container".to_owned());
        }
        let Some(engine) = engine("a container") else { return Some("no engine".to_owned()) };
        let asked = docker(engine).args(["version", "-f", "{{.Server.Version}}"]).output();
        match asked {
            Ok(asked) if asked.status.success() => None,
            Ok(asked) => Some(format!("the engine's command line: {:?}", Ran::of(&asked))),
            Err(error) => Some(format!("the engine's command line: {error}")),
        }
    }

    fn make() -> Result<Container, String> {
        if let Some(lack) = Container::lack() {
            return Err(lack);
        }
        let engine = engine("a container").ok_or("no engine")?;
        // The environment of a native build becomes the container's root.
        let world = World::cold(Who::Root);
        world.write("src/input", "x\n");
        world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
        world.kiln(&["build", "--no-sign"]).exits(0);
        let checkouts =
            std::fs::read_dir(world.store.join("checkouts")).expect("the store is there");
        let mut trees = checkouts.flatten().map(|entry| entry.path().join("tree"));
        let tree = trees.find(|tree| tree.join("usr/bin/gcc").exists()).expect(PACKAGES);
        let image = format!("kiln-tests:{}", world.token.to_lowercase());
        import(engine, &tree, &image);
        let kiln = world.path("bin/kiln");
        // Shared by all containers, so that the environment is read once.
        let store = world.path("container-store");
        std::fs::create_dir(&store).expect("a new folder");
        Ok(Container { engine, image, kiln, store, _world: world })
    }

    /// Runs a script in a fresh container with these options: no network, and nothing else that an
    /// engine does not do by itself.
    pub fn run(&self, options: &[&str], script: &str) -> Ran {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = docker(self.engine);
        command.args([
            "run",
            "--rm",
            "--network",
            "none",
            "-e",
            "LANG=C.UTF-8",
            "-e",
            "HOME=/root",
        ]);
        command.args(["-e", "KILN_STORE=/var/kiln", "-e", "NO_COLOR=1"]);
        for (from, to) in [
            (self.kiln.clone(), "/usr/local/bin/kiln"),
            (root.join("../examples"), "/examples"),
            (root.join("confined"), "/confined"),
        ] {
            command.arg("-v").arg(format!("{}:{to}:ro", from.display()));
        }
        command.arg("-v").arg(format!("{}:/var/kiln", self.store.display()));
        let prepared = format!("if [ -w / ]; then mkdir -p /root /tmp; fi\n{script}");
        command.args(options).args([&self.image, "/bin/sh", "-c", &prepared]);
        Ran::of(&command.output().expect("docker can be started"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A second try would not help; the next import of the name replaces it.
        let _ = docker(self.engine).args(["rmi", "-f", &self.image]).output();
    }
}

/// Returns the engine's command line.
fn docker(engine: &Path) -> Command {
    let mut command = Command::new("docker");
    command.arg("-H").arg(format!("unix://{}", engine.display())).stdin(Stdio::null());
    command
}

/// Makes an image of a folder, with this host's package database in it.
fn import(engine: &Path, tree: &Path, image: &str) {
    let mut tar = Command::new("tar");
    tar.args(["-cf", "-", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.args(["--exclude=./var/lib/dpkg", "--transform=flags=r;s|^dpkg|./var/lib/dpkg|"]);
    tar.arg("-C").arg(tree).args([".", "-C", "/var/lib", "dpkg"]).stdout(Stdio::piped());
    let mut tar = tar.spawn().expect("tar can be started");
    let pipe = tar.stdout.take().expect("it is piped");
    let done = docker(engine).args(["import", "-", image]).stdin(pipe).output();
    let done = Ran::of(&done.expect("docker can be started"));
    assert!(tar.wait().expect("it ends").success(), "tar {}", tree.display());
    done.exits(0);
}

/// A container that waits, and in which a world's kiln is started: the world lies in it where it lies
/// on the host. It has the host's network, so that what keeps a step from it is kiln alone.
pub struct Waiting {
    container: Arc<Container>,
    id: String,
    /// Its process namespace, as the host numbers it.
    namespace: u64,
    first: u32,
}

impl Waiting {
    /// Starts one for a world.
    pub fn start(container: Arc<Container>, world: &World) -> Waiting {
        let folder = world.path("").display().to_string();
        let mut command = docker(container.engine);
        command.args(["run", "-d", "--rm", "--network", "host"]);
        command.args(["-v", &format!("{folder}:{folder}")]);
        command.args([&container.image, "/bin/sh", "-c"]);
        // Longer than any test: it ends by itself if the tests are killed.
        command.arg("mkdir -p /root /tmp /var/tmp; exec sleep 14400");
        let id = Ran::of(&command.output().expect("docker can be started")).exits(0).stdout;
        let id = id.trim().to_owned();
        let ask = ["inspect", "-f", "{{.State.Pid}}", &id];
        let told = docker(container.engine).args(ask).output().expect("docker can be started");
        let first: u32 = Ran::of(&told).exits(0).stdout.trim().parse().expect("a number");
        let namespace = namespace(first).expect("it lives");
        Waiting { container, id, namespace, first }
    }

    /// Starts a program in it, in a world's project, and waits.
    pub fn run(&self, world: &World, words: &[&str], env: &[(&str, &str)]) -> Ran {
        // What a world sets for a program outside, it sets inside.
        let like = world.command(words, env);
        let mut command = docker(self.container.engine);
        command.arg("exec").arg("-w").arg(world.path("project"));
        for (name, value) in like.get_envs() {
            if let Some(value) = value {
                let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
                command.arg("-e").arg(format!("{name}={value}"));
            }
        }
        command.arg(&self.id).arg(like.get_program()).args(like.get_args());
        Ran::of(&command.output().expect("docker can be started"))
    }

    /// Returns what is alive in it although nothing was left running.
    pub fn alive(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse() else { continue };
            if pid == self.first || namespace(pid) != Some(self.namespace) {
                continue;
            }
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            // A dead one holds nothing, and the container's first process reaps nobody; but kiln leaves none
            // that was a step's.
            let is_dead = status.contains("State:\tZ");
            if !status.is_empty() && (!is_dead || is_a_steps(&status)) {
                found.push(format!("a process is left in the container: {status}"));
            }
        }
        found
    }
}

/// Says whether a process has a user of confined steps.
fn is_a_steps(status: &str) -> bool {
    const FIRST: u32 = 1_879_100_001;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().any(|user| user.parse().is_ok_and(|user: u32| user >= FIRST))
}

fn namespace(pid: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|meta| meta.ino())
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = docker(self.container.engine).args(["rm", "-f", &self.id]).output();
    }
}
