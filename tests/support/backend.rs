//! The backends, and the way to kiln on each of them, for tests that hold on all.
//!
//! A test asks [`Backend::here`] which there are. Without an engine there is no `docker` and no
//! container for `confined`; that is said once, loudly, and such a test is about the native backend.

use std::path::Path;
use std::sync::OnceLock;

use super::container::{Container, Waiting};
use super::engine::{containers, engine, staging};
use super::{Ran, Who, World};

/// A backend, and who kiln is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// Namespaces, as root.
    NativeRoot,
    /// Namespaces, as an unprivileged user.
    NativeUser,
    /// A container engine, as root.
    Docker,
    /// Without namespaces, as root in an ordinary container.
    Confined,
}

impl Backend {
    /// All of them.
    pub const ALL: [Backend; 4] =
        [Backend::NativeRoot, Backend::NativeUser, Backend::Docker, Backend::Confined];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Backend::NativeRoot => "native-root",
            Backend::NativeUser => "native-unprivileged",
            Backend::Docker => "docker",
            Backend::Confined => "confined",
        }
    }

    /// Returns who kiln is.
    pub fn who(self) -> Who {
        match self {
            Backend::NativeUser => Who::User,
            Backend::NativeRoot | Backend::Docker | Backend::Confined => Who::Root,
        }
    }

    /// Returns the native one of a user.
    pub fn native(who: Who) -> Backend {
        if who == Who::Root { Backend::NativeRoot } else { Backend::NativeUser }
    }

    /// Returns those that can be had here. `KILN_BACKENDS=docker,confined` picks some.
    pub fn here() -> &'static [Backend] {
        static HERE: OnceLock<Vec<Backend>> = OnceLock::new();
        HERE.get_or_init(|| {
            let picked = std::env::var("KILN_BACKENDS").unwrap_or_default();
            let is_picked = |backend: &Backend| {
                picked.is_empty() || picked.split(',').any(|name| name == backend.name())
            };
            let mut here: Vec<Backend> = Who::all().into_iter().map(Backend::native).collect();
            match Container::lack() {
                None => here.extend([Backend::Docker, Backend::Confined]),
                Some(why) => {
                    let words = format!("NOT RUN: the backends docker and confined: {why}");
                    println!("{words}");
                    eprintln!("{words}");
                }
            }
            here.into_iter().filter(is_picked).collect()
        })
    }
}

/// The way to a world's kiln on a backend.
pub enum Reach {
    /// It is started.
    Native,
    /// It is started, and told of an engine.
    Docker(&'static Path),
    /// It is started in a container.
    Confined(Waiting),
}

impl Reach {
    /// Returns the way for a world.
    pub fn of(backend: Backend, world: &World) -> Reach {
        match backend {
            Backend::NativeRoot | Backend::NativeUser => Reach::Native,
            Backend::Docker => Reach::Docker(engine("docker").expect("it was found before")),
            Backend::Confined => {
                let container = Container::get().expect("it was found before");
                Reach::Confined(Waiting::start(container, world))
            }
        }
    }

    /// Runs any program where kiln runs.
    pub fn run(&self, world: &World, words: &[&str], env: &[(&str, &str)]) -> Ran {
        match self {
            Reach::Native => world.run(words, env),
            Reach::Docker(engine) => {
                let host = format!("unix://{}", engine.display());
                let mut all = env.to_vec();
                all.push(("DOCKER_HOST", &host));
                world.run(words, &all)
            }
            Reach::Confined(waiting) => waiting.run(world, words, env),
        }
    }

    /// Returns the words that choose the backend, for `kiln build`.
    pub fn choice(&self) -> &'static [&'static str] {
        match self {
            Reach::Native => &[],
            Reach::Docker(_) => &["--backend", "docker"],
            Reach::Confined(_) => &["--backend", "confined"],
        }
    }

    /// Runs kiln.
    pub fn kiln(&self, world: &World, arguments: &[&str]) -> Ran {
        let program = world.path("bin/kiln");
        let mut all = vec![program.to_str().expect("UTF-8")];
        all.extend(arguments);
        if arguments.first() == Some(&"build") {
            all.extend(self.choice());
        }
        self.run(world, &all, &[])
    }

    /// Returns what is left of a build beside what every backend could leave.
    pub fn left(&self, world: &World) -> Vec<String> {
        match self {
            Reach::Native => Vec::new(),
            Reach::Docker(engine) => {
                let left = containers(engine, world).into_iter();
                let mut all: Vec<String> =
                    left.map(|id| format!("a container is left: {id}")).collect();
                all.extend(staging(world).iter().map(|name| format!("staging is left: {name}")));
                all
            }
            Reach::Confined(waiting) => {
                let mut all = waiting.alive();
                all.extend(left_in_slots(world));
                all
            }
        }
    }
}

/// Returns what a confined step's folders still hold of it.
fn left_in_slots(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for slot in entries(&world.store.join("confined")) {
        for root in entries(&slot.path()) {
            let name = root.file_name().to_string_lossy().into_owned();
            let known = name.starts_with("root-") || name.starts_with("seal-root-");
            let steps = ["build", "tmp", "kiln", "dev/shm"];
            let of_a_step = steps.into_iter().any(|below| root.path().join(below).exists());
            if slot.path().is_dir() && (!known || of_a_step) {
                left.push(format!("a confined step left {}", root.path().display()));
            }
        }
    }
    left
}
