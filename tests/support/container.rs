//! An ordinary container: an engine that answers or is started, and an image without a registry.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use crate::support::{PACKAGES, Ran, Who, World, build_file};

/// The engine's usual socket.
const SOCKET: &str = "/var/run/docker.sock";

/// An image on an engine. Both go with it, the engine if it was started for it.
pub struct Container {
    engine: Engine,
    image: String,
    kiln: PathBuf,
    store: PathBuf,
    _world: World,
}

struct Engine {
    socket: String,
    _started: Option<Started>,
}

/// An engine of our own, with everything that it writes in a folder of ours.
struct Started {
    daemon: Child,
    folder: TempDir,
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

    fn make() -> Result<Container, String> {
        if !Who::all().contains(&Who::Root) {
            return Err("only root can start a container engine".to_owned());
        }
        let engine = Engine::find()?;
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
        engine.import(&tree, &image);
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
        let mut command = self.engine.docker();
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
        let _ = self.engine.docker().args(["rmi", "-f", &self.image]).output();
    }
}

impl Engine {
    fn find() -> Result<Engine, String> {
        let usual = Engine { socket: format!("unix://{SOCKET}"), _started: None };
        if usual.answers()? {
            return Ok(usual);
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let socket = format!("unix://{}", at("docker.sock"));
        let mut command = Command::new("dockerd");
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
        command.args(["--pidfile", &at("pid"), "-H", &socket, "--bridge", "none"]);
        command.args(["--iptables=false", "--ip6tables=false"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = command.spawn().map_err(|error| format!("dockerd: {error}"))?;
        let mut started = Started { daemon, folder };
        let engine = Engine { socket, _started: None };
        while !engine.answers()? {
            if let Ok(Some(status)) = started.daemon.try_wait() {
                return Err(format!("dockerd does not start here: {status}"));
            }
        }
        Ok(Engine { _started: Some(started), ..engine })
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).stdin(Stdio::null());
        command
    }

    fn answers(&self) -> Result<bool, String> {
        let asked = self.docker().args(["version", "-f", "{{.Server.Version}}"]).output();
        asked.map(|asked| asked.status.success()).map_err(|error| format!("docker: {error}"))
    }

    /// Makes an image of a folder, with this host's package database in it.
    fn import(&self, tree: &Path, image: &str) {
        let mut tar = Command::new("tar");
        tar.args(["-cf", "-", "--owner=0", "--group=0", "--numeric-owner"]);
        tar.args(["--exclude=./var/lib/dpkg", "--transform=flags=r;s|^dpkg|./var/lib/dpkg|"]);
        tar.arg("-C").arg(tree).args([".", "-C", "/var/lib", "dpkg"]).stdout(Stdio::piped());
        let mut tar = tar.spawn().expect("tar can be started");
        let pipe = tar.stdout.take().expect("it is piped");
        let mut import = self.docker();
        let done = import.args(["import", "-", image]).stdin(pipe).output();
        let done = Ran::of(&done.expect("docker can be started"));
        assert!(tar.wait().expect("it ends").success(), "tar {}", tree.display());
        done.exits(0);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        // By signal, so that it ends its containers; it is waited for before its folder goes.
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.daemon.wait();
        let _ = Command::new("rm").arg("-rf").arg(self.folder.path()).status();
    }
}
