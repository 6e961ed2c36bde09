//! Asks the kernel for a sealed place and runs one step in it.
//!
//! The promise, guarantee by guarantee (`model::isolation`): a step sees its declared inputs and
//! changes nothing but its private views (`files`); has a loopback and nothing else (`network`);
//! sees only its own processes, none of which outlives it (`processes`); is one fixed user without
//! privilege (`identity`); reaches only the listed system calls (`syscalls`). `limits` and
//! `landlock` are used where the host has them, and their absence is told.
//!
//! | To find | Look in |
//! |---|---|
//! | the network switched off, ids, host name | `native/namespaces.rs` |
//! | what is mounted where, in which order | `native/setup.rs` |
//! | the numbered order in the child | `native/child.rs`, then `native/init.rs` |
//! | a step's time limit, kill and proof of death | `native/supervise.rs` |
//! | the list of allowed system calls | `native/seccomp/groups.rs` |
//! | why this host cannot do it, and the fix | `probe.rs`, `host.rs`; for one step `asks.rs` |
//! | a container engine in the native sandbox's place | `docker/mod.rs` |
//! | a container that refuses namespaces | `confined/mod.rs` |
//!
//! The step is started by executing this program again as a single-threaded child, so `main` must
//! call [`enter_child_if_asked`] before anything else. The process with threads is never forked.
//!
//! [`Backend`] says by what the guarantees are kept. It is chosen by name and never by falling back.
//!
//! Never sees a key, the store, or the network. Changes no state of the calling process.
//! Does not catch: a fault of the kernel itself; it is no boundary of a virtual machine.
//! Needs Linux 5.12 or newer (overlay in user namespaces, `mount_setattr`).
#![deny(unsafe_code)]

mod asks;
mod cancel;
mod confined;
mod docker;
mod error;
pub mod host;
mod id_map;
mod native;
mod outcome;
pub mod probe;
mod spec;

pub use asks::Asks;
pub use cancel::Cancel;
pub use confined::{Lack, Slots};
pub use docker::{
    Engine, EngineError, Facts as EngineFacts, Staging, look as look_at_engine,
    ready as engine_ready,
};
pub use error::{CallerLimit, Cause, Error, LimitName, MountProblem};
pub use native::{
    Doing, INTERRUPT, MemoryAround, Reach, cool_down, enter_child_if_asked, interrupt_thread,
    keep_to, memory_around, outer_owner, reserve,
};
pub use outcome::{Exit, NetworkAttempt, Outcome, Protocol, Stream, Usage, Writable};
pub use spec::{InjectedFile, Mount, MountMode, Parts, Scratch, Spec, SpecError, Widen};

/// What keeps the guarantees. Chosen by name; none ever stands in for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// kiln's own sandbox on the native kernel.
    Native,
    /// A container engine: Docker, or Podman behind the same interface.
    Docker(Engine),
    /// For containers that refuse namespaces: other mechanisms, and so a builder.id of its own.
    Confined(Slots),
}

impl Backend {
    /// Returns its name, as the command line and the Record write it.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Native => "native",
            Backend::Docker(_) => "docker",
            Backend::Confined(_) => "confined",
        }
    }

    /// Says whether a seccomp filter that is not ours is around the steps: what it refuses may be in their results.
    pub fn is_filtered(&self) -> bool {
        match self {
            Backend::Native | Backend::Confined(_) => host::is_filtered(),
            Backend::Docker(_) => false,
        }
    }

    /// Returns the account of this host that is the same user as the steps, and so can read and change what they
    /// do while they run.
    pub fn shared_account(&self) -> Option<String> {
        match self {
            Backend::Docker(_) => docker::shared_account(),
            // A user that nobody has, or the caller's own.
            Backend::Native | Backend::Confined(_) => None,
        }
    }

    /// Starts what a step can find started. Costs nothing where there is no such thing.
    pub fn warm_up(&self) {
        match self {
            Backend::Native | Backend::Confined(_) => native::warm_up(),
            Backend::Docker(_) => {}
        }
    }

    /// Returns what it does not give a step although another does.
    pub fn lacks(&self) -> &'static [Lack] {
        match self {
            Backend::Native => &[],
            // Engines make no time namespace.
            Backend::Docker(_) => &[Lack::Uptime],
            Backend::Confined(_) => &Lack::ALL,
        }
    }

    /// Returns what the Action says of it. Which of native and docker ran a step is a fact of the
    /// run: both give the step the same place. `confined` cannot (own process numbers, host name,
    /// loopback), so its results never answer for the others'.
    pub fn in_action(&self) -> Option<&'static str> {
        match self {
            Backend::Native | Backend::Docker(_) => None,
            Backend::Confined(_) => Some(self.name()),
        }
    }
}

/// Removes what kiln processes left that were killed: control groups, and an engine's containers with their
/// staging folders. An engine is asked only where such a folder is there.
///
/// # Errors
/// When the engine that ran them does not answer, or refuses.
pub fn sweep(engine: &Engine) -> Result<(), EngineError> {
    native::sweep_groups();
    docker::sweep_up(engine)
}

/// Runs a step and returns once every process of it is proven dead.
///
/// Output goes to `sink` as it comes. May be called from several threads at once.
///
/// # Errors
/// When the step did not run to its end under every guarantee, see [`Error`]. A step that failed, was
/// too slow or was cancelled is an `Outcome`.
pub fn run(
    spec: &Spec,
    backend: &Backend,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Outcome, Error> {
    if let (Some(option), Backend::Docker(_) | Backend::Confined(_)) = (spec.widens(), backend) {
        return Err(Error::CannotWiden { option, why: "only the backend native has it" });
    }
    match backend {
        Backend::Native => native::run(spec, cancel, sink),
        Backend::Docker(engine) => docker::run(spec, engine, cancel, sink),
        Backend::Confined(slots) => confined::run(spec, slots, cancel, sink),
    }
}
