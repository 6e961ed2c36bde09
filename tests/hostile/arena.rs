//! Where cases are made: a world with the attacks in it, and things of the host that they look for.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::cases::ATTACKS;
use crate::support::backend::{Backend, Reach};
use crate::support::{Canaries, Ran, World};

/// The filter that plays an old kernel, and the table of system calls.
pub const OLD_KERNEL: &str = include_str!("old_kernel.py");

/// A world with the attacks in it.
pub struct Arena {
    /// The way to its kiln; a container goes before the world that lies in it.
    pub reach: Reach,
    /// The backend.
    pub backend: Backend,
    /// The world.
    pub world: World,
    /// What no step may read or change.
    pub canaries: Canaries,
    /// What the attacks need to know.
    pub env: Vec<(String, String)>,
    /// Whether settings of the kernel are as the host has them; else they help least.
    pub is_helped: bool,
    /// Words before every start of kiln.
    pub around: Vec<String>,
    /// Keeps the store that this one's began as.
    _template: Arc<World>,
    #[allow(clippy::disallowed_types, reason = "the service that no step may reach")]
    _services: (std::net::TcpListener, std::net::TcpListener, UnixListener, UnixListener),
}

/// One step of a build file that [`Arena::write_steps`] writes.
pub struct StepOf<'a> {
    /// Its name.
    pub name: &'a str,
    /// More keys, whole lines.
    pub more: &'a str,
    /// Its script, whole lines.
    pub run: &'a str,
    /// Its outputs.
    pub outputs: &'a str,
}

impl Arena {
    /// Opens one for a backend.
    pub fn open(backend: Backend) -> Arena {
        let world = World::cold(backend.who());
        let _template = template(backend);
        let (from, to) = (_template.path("cache/."), world.path("cache"));
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status();
        assert!(copied.expect("cp starts").success(), "a copy of the store");
        for (name, text) in ATTACKS {
            world.write(&format!("src/{name}"), text);
        }
        world.write("src/victim", "as it was\n");
        world.write("undeclared/file", "not for the step\n");
        world.write("old_kernel.py", OLD_KERNEL);
        world.commit();
        let mut canaries = Canaries::plant(&world);
        // An engine makes its own, and the default container lets nobody make one.
        canaries.has_groups = matches!(backend, Backend::NativeRoot | Backend::NativeUser);
        let socket = world.path("canary.sock");
        let unix = UnixListener::bind(&socket).expect("a socket");
        world.who.give(&socket);
        let name = format!("abstract-{}", world.token);
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let hidden = UnixListener::bind_addr(&address).expect("an abstract socket");
        let (four, six) = services();
        let port = four.local_addr().expect("it is bound").port().to_string();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let env = vec![
            ("CANARY".to_owned(), text(canaries.file())),
            ("SERVICE_PORT".to_owned(), port),
            ("SOCKET".to_owned(), text(socket)),
            ("ABSTRACT".to_owned(), name),
            ("KILN_TEST".to_owned(), world.token.clone()),
            ("BACKEND".to_owned(), backend.name().to_owned()),
        ];
        let _services = (four, six, unix, hidden);
        let reach = Reach::of(backend, &world);
        let around = Vec::new();
        let is_helped = true;
        Arena { reach, backend, world, canaries, env, is_helped, around, _template, _services }
    }

    /// Puts kiln, and all that it starts, on a kernel without these calls.
    pub fn on_a_kernel_without(&mut self, calls: &str) {
        let wrapper = self.world.path("project/old_kernel.py").to_string_lossy().into_owned();
        self.around = ["/usr/bin/python3", &wrapper, calls, "--"].map(str::to_owned).to_vec();
    }

    /// Returns the variables of an attack as a build file has them.
    pub fn env_line(&self) -> String {
        let env = self.env.iter().map(|(name, value)| format!("{name}: \"{value}\""));
        format!("    env: {{{}}}\n", env.collect::<Vec<_>>().join(", "))
    }

    /// Writes a build file. `head` is the sources, with their key.
    pub fn write_steps(&self, head: &str, steps: &[StepOf<'_>], artifacts: &str) {
        let mut text = format!(
            "kiln: 1\nname: hostile\n{head}\nenvironment:\n  host: {{packages: [python3]}}\nsteps:\n"
        );
        for step in steps {
            let run: String = step.run.lines().map(|line| format!("      {line}\n")).collect();
            text += &format!("  - name: {}\n{}    run: |\n{run}", step.name, step.more);
            text += &format!("    outputs: {}\n", step.outputs);
        }
        if !artifacts.is_empty() {
            text += &format!("artifacts: {artifacts}\n");
        }
        self.world.write("kiln.yaml", &text);
    }

    /// Starts kiln as this arena does, with variables of the caller that no step may see.
    pub fn kiln(&self, arguments: &[&str]) -> Ran {
        self.kiln_in(&[], arguments, &[])
    }

    /// As [`Arena::kiln`], with more words before it and more variables.
    pub fn kiln_in(&self, before: &[&str], arguments: &[&str], more: &[(&str, &str)]) -> Ran {
        let secret = self.canaries.secret.as_str();
        let mut env = vec![
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("GITHUB_TOKEN", secret),
            ("HTTPS_PROXY", secret),
            ("http_proxy", secret),
            ("no_proxy", secret),
            ("GIT_AUTHOR_NAME", secret),
            ("PYTHONPATH", secret),
            ("PYTHONSTARTUP", secret),
            ("LD_LIBRARY_PATH", "/nonexistent"),
            ("SSH_AUTH_SOCK", "/nonexistent/agent"),
        ];
        env.extend(more);
        let kiln = self.world.path("bin/kiln");
        let mut all = before.to_vec();
        all.extend(self.around.iter().map(String::as_str));
        all.push(kiln.to_str().expect("UTF-8"));
        all.extend(arguments);
        if arguments.first() == Some(&"build") {
            all.extend(self.reach.choice());
        }
        self.reach.run(&self.world, &all, &env)
    }

    /// Locks where there is no lock, and builds.
    pub fn build(&self) -> Ran {
        self.lock_once();
        self.kiln(&["build", "--no-sign"])
    }

    /// Locks where there is no lock.
    pub fn lock_once(&self) {
        if !self.world.path("project/kiln.lock").exists() {
            self.lock();
        }
    }

    /// Locks.
    pub fn lock(&self) {
        self.reach.kiln(&self.world, &["lock"]).exits(0);
    }

    /// Builds on a terminal, and says `OWNED` if something was typed into it meanwhile.
    pub fn build_on_a_terminal(&self) -> Ran {
        self.lock_once();
        let kiln = self.world.path("bin/kiln");
        let look = "import os; os.set_blocking(0, False)\ntry: print(\"OWNED\" if b\"touch\" in os.read(0, 999) else \"\")\nexcept OSError: pass";
        let command = format!(
            "{} build --no-sign {}; code=$?; python3 -c '{look}'; exit $code",
            kiln.display(),
            self.reach.choice().join(" ")
        );
        self.reach.run(&self.world, &["script", "-qec", &command, "/dev/null"], &[])
    }

    /// Runs an attack where kiln runs but outside of a step, with words before it. What a container
    /// refuses by itself is tried on the host.
    pub fn outside(&self, before: &[&str], id: &str) -> Ran {
        let mut all = before.to_vec();
        // Relative: some controls mount over the folder that the world lies in.
        all.extend(["/usr/bin/python3", "attack.py", id]);
        let mut env: Vec<(&str, &str)> =
            self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        env.push(("GITHUB_TOKEN", &self.canaries.secret));
        env.push(("PYTHONDONTWRITEBYTECODE", "1"));
        if let Reach::Confined(_) = self.reach {
            let mut words = vec!["sh", "-c", "cd src && exec \"$0\" \"$@\""];
            words.extend(&all);
            let ran = self.reach.run(&self.world, &words, &env);
            if ran.says("BREACH") {
                return ran;
            }
        }
        let mut command = self.world.command(&all, &env);
        Ran::of(&command.current_dir(self.world.path("project/src")).output().expect("it starts"))
    }

    /// Deletes what earlier builds handed out.
    pub fn clear(&self) {
        let _ = std::fs::remove_dir_all(self.world.path("project/kiln-out"));
    }

    /// Returns an artifact's bytes, none where there is no such artifact.
    pub fn artifact(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.world.path("project/kiln-out").join(name)).ok()
    }

    /// Tries, as long as a step runs, to connect to the abstract socket that it listens on.
    pub fn knock_back(&self, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<bool> {
        let name = format!("abstract-{}-back", self.world.token);
        std::thread::spawn(move || {
            let address = SocketAddr::from_abstract_name(&name).expect("a name");
            while !stop.load(Ordering::Relaxed) {
                if UnixStream::connect_addr(&address).is_ok() {
                    return true;
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            false
        })
    }
}

/// Returns a world whose store holds the environment of the cases, so that it is imported once for all
/// arenas that stand at the same time.
fn template(backend: Backend) -> Arc<World> {
    static MADE: Mutex<[Weak<World>; 3]> = Mutex::new([const { Weak::new() }; 3]);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let place = &mut made[match backend {
        Backend::NativeRoot | Backend::Docker => 0,
        Backend::NativeUser => 1,
        Backend::Confined => 2,
    }];
    if let Some(world) = place.upgrade() {
        return world;
    }
    let world = World::cold(backend.who());
    world.write("src/empty", "");
    let text = crate::support::build_file("touch out", "{out: out}", "");
    world.write("kiln.yaml", &text.replace(crate::support::PACKAGES, "[python3]"));
    // The engine reads the same environment from the same kind of store.
    let by = if backend == Backend::Docker { Backend::NativeRoot } else { backend };
    let reach = Reach::of(by, &world);
    reach.kiln(&world, &["lock"]).exits(0);
    reach.kiln(&world, &["build", "--no-sign"]).exits(0);
    drop(reach);
    // A prepared root is of the place where it was made.
    let _ = std::fs::remove_dir_all(world.store.join("confined"));
    let world = Arc::new(world);
    *place = Arc::downgrade(&world);
    world
}

/// Opens a service on both loopback addresses, at one port.
#[allow(clippy::disallowed_types, reason = "the service that no step may reach")]
fn services() -> (std::net::TcpListener, std::net::TcpListener) {
    loop {
        let four = std::net::TcpListener::bind("127.0.0.1:0").expect("a service");
        let port = four.local_addr().expect("it is bound").port();
        match std::net::TcpListener::bind(("::1", port)) {
            Ok(six) => return (four, six),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            // A host without IPv6: nothing to reach there.
            Err(_) => return (four.try_clone().expect("a copy"), four),
        }
    }
}
