//! Runs one step in a container: the story in eight moves.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use model::AbsPath;
use model::isolation::Guarantee;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, statat};

use super::client::{Connected, Facts, connect, image};
use super::error::{Asking, EngineError, own, refused};
use super::keeper::Keeper;
use super::kills::Kills;
use super::layout::{ENGINES_FILES, Layout, layout};
use super::request::{Asked, PROFILE_FILE, User, limits, request};
use super::staging::{Over, Staging};
use super::sweep::{remove, sweep};
use super::watch::{Bounds, STOPPING, Seen, Stop, Streams, Waited, answered, button, watch};
use super::{Engine, USER, observe, seccomp};
use crate::cancel::Cancel;
use crate::error::{Error, LimitName, MountProblem};
use crate::native::space::Space;
use crate::native::{order, setup};
use crate::outcome::{Exit, Outcome, Stream, Usage, Writable};
use crate::spec::{Parts, Spec};

/// Longest time for which the engine may leave a question about a step's end open, in seconds, above
/// the step's own.
const WAIT_SECONDS: u64 = 600;
/// How often a container that is not cleaned up yet is asked for again, and when.
const STOPPED_MAX: usize = 6_000;
const STOPPED_PAUSE: Duration = Duration::from_millis(20);

/// Runs a step and returns once its container has stopped and is removed.
///
/// 1. Decides what to lay out.
/// 2. Finds the engine, and removes what dead kilns left.
/// 3. Gives it the environment.
/// 4. Fills the staging folder.
/// 5. Has the container made, reads back what was made, and refuses a difference.
/// 6. Starts and watches it.
/// 7. Sees that it has stopped, and removes it.
/// 8. Opens what it left.
///
/// # Errors
/// When the step did not run to its end under every guarantee, see [`Error`].
pub fn run(
    spec: &Spec,
    engine: &Engine,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Outcome, Error> {
    let parts = spec.parts();
    // 1.
    let seen = order::look(parts, &Space::Memory { bytes: 1, size: 1 })?;
    setup::plan(parts, &seen)?;
    let own_files = own_files(&parts.root);
    let layout = layout(parts, &seen, &own_files);
    check_environment(parts, &layout)?;
    check_program(parts)?;
    // 2. to 7.
    let staging = Staging::make(&engine.staging)?;
    let job = Job { parts, engine, layout: &layout, staging: &staging, own_files: &own_files };
    let done = runtime(engine)?.block_on(job.carry_out(cancel, sink))?;
    // 8.
    let Some(Done { seen, exit, enforced, limits_hit }) = done else { return Ok(cancelled()) };
    let mut views = Vec::new();
    for (at, from) in &layout.writable {
        views.push(Writable { at: at.clone(), dir: staging.open(from)? });
    }
    Ok(Outcome {
        exit,
        enforced,
        usage: Usage { wall: seen.wall, ..Usage::default() },
        left_processes: 0,
        log_cut: seen.log_cut,
        limits_hit,
        network_attempts: Vec::new(),
        network_heard: false,
        views,
        staging: Some(staging),
        _place: None,
    })
}

/// Returns the event loop of one thread, which ends with the step.
pub fn runtime(engine: &Engine) -> Result<tokio::runtime::Runtime, EngineError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(own("make an event loop for", &engine.staging))
}

struct Job<'a> {
    parts: &'a Parts,
    engine: &'a Engine,
    layout: &'a Layout,
    staging: &'a Staging,
    own_files: &'a [&'static str],
}

struct Done {
    seen: Seen,
    exit: Exit,
    enforced: model::isolation::Enforced,
    limits_hit: Vec<LimitName>,
}

impl Job<'_> {
    /// Moves 2 to 7 of [`run`]; none if the button was pressed before anything ran.
    async fn carry_out(
        &self,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Option<Done>, Error> {
        let button = button(cancel)?;
        let pressed = std::pin::pin!(button.readable());
        let ready = std::pin::pin!(self.prepare());
        // Taking an environment as an image may take long; nothing runs until then.
        let ready = match futures_util::future::select(ready, pressed).await {
            futures_util::future::Either::Left((ready, _)) => ready?,
            futures_util::future::Either::Right(_) => return Ok(None),
        };
        let Ready { connected: Connected { docker, facts }, image, user, limits } = ready;
        let asked = Asked {
            image: &image,
            staging: &self.staging.path,
            name: &self.staging.name,
            user,
            limits,
        };
        // 5.
        let body = request(self.parts, self.layout, &asked, self.engine, &facts);
        let name = format!("kiln-{}", self.staging.name);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = docker.create_container(Some(options), body.clone());
        let made =
            answered(cancel, STOPPING, async { made.await.map_err(refused(Asking::Create)) });
        let id = made.await.map_err(|cause| explain(cause, self.parts))?.id;
        // If kiln is killed from here on, its keeper does 7.
        let (keeper, result) = match Keeper::start(&facts.socket, &id) {
            Ok(keeper) => {
                let lived = self.live(&docker, &facts, &id, &asked, &body, cancel, sink).await;
                (Some(keeper), lived)
            }
            Err(error) => (None, Err(error)),
        };
        // 7. Whatever happened, nothing of it stays with the engine.
        let removed = answered(cancel, STOPPING, remove(&docker, &id)).await;
        if let Some(keeper) = keeper.filter(|_| removed.is_ok()) {
            keeper.dismiss();
        }
        let done = result?;
        removed?;
        Ok(Some(done))
    }

    /// Moves 2 to 4: everything before the engine is asked for a container.
    async fn prepare(&self) -> Result<Ready, Error> {
        // 2.
        let connected = connect(self.engine).await?;
        sweep(&connected.docker, self.engine).await?;
        let facts = &connected.facts;
        let user = suits(facts, &self.parts.waived)?;
        let limits = limits(self.parts, facts)?;
        // 3.
        let (tree, root) = (&self.parts.tree, &self.parts.root);
        let image = image(&connected, self.engine, tree, root).await?;
        // 4.
        self.staging.fill(self.parts, self.layout, self.own_files)?;
        if facts.podman {
            self.staging.keep(PROFILE_FILE, seccomp::profile().as_bytes())?;
        }
        if user == User::Given {
            self.staging.give(USER, USER)?;
        }
        Ok(Ready { connected, image, user, limits })
    }

    /// Moves 5 to 7 of a container that exists.
    #[expect(clippy::too_many_arguments, reason = "the whole of one container's life")]
    async fn live(
        &self,
        docker: &Docker,
        facts: &Facts,
        id: &str,
        asked: &Asked<'_>,
        body: &bollard::models::ContainerCreateBody,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Done, Error> {
        // 5.
        let made = answered(cancel, STOPPING, inspect(docker, id)).await?;
        observe::compare(body, &made, facts)?;
        let enforced = observe::enforced(self.parts, asked, &made, facts);
        // 6.
        let output = answered(cancel, STOPPING, attach(docker, id)).await?;
        let start = docker.start_container(id, None);
        let start =
            answered(cancel, STOPPING, async { start.await.map_err(refused(Asking::Start)) });
        start.await.map_err(|cause| explain(cause, self.parts))?;
        // Podman tells what its conmon saw, which depends on its version and the host's control groups.
        let kills = if facts.podman && asked.limits.memory.is_some() {
            let started = answered(cancel, STOPPING, inspect(docker, id)).await?;
            Some(Kills::of(started.state.and_then(|state| state.pid), id))
        } else {
            None
        };
        let streams = Streams { output, waited: wait(docker, id, self.parts) };
        let bounds = Bounds {
            timeout: self.parts.timeout,
            idle: self.parts.limits.idle.map(|limit| limit.value),
            log: self.parts.limits.log.value,
            disk: asked.limits.work,
            places: (self.staging, self.layout),
        };
        let seen = watch(docker, id, streams, &bounds, cancel, sink).await?;
        // 7.
        let ended = answered(cancel, STOPPING, inspect(docker, id)).await?;
        let state = ended.state.unwrap_or_default();
        if state.running != Some(false) {
            let pid = state.pid.and_then(|pid| u32::try_from(pid).ok());
            return Err(Error::StillAlive { pids: pid.into_iter().collect() });
        }
        let killed = kills.is_some_and(Kills::seen) || state.oom_killed == Some(true);
        let code = state.exit_code.or(seen.code);
        // What a step was not refused is counted when it is dead, whatever was seen before.
        let left = self.staging.over(self.layout, asked.limits.work)?;
        let over = left.or((code == Some(FILE_TOO_LARGE)).then_some(Over::Limit));
        let exit = match seen.stop {
            Some(Stop::Cancelled) => Exit::Cancelled,
            Some(Stop::TimeOut) => Exit::TimedOut { idle: false },
            Some(Stop::Idle) => Exit::TimedOut { idle: true },
            Some(Stop::Disk(Over::Limit)) => Exit::OutOfDisk,
            Some(Stop::Disk(Over::Depth)) => Exit::TooDeep,
            None if killed => Exit::OutOfMemory,
            None if over == Some(Over::Limit) => Exit::OutOfDisk,
            None if over == Some(Over::Depth) => Exit::TooDeep,
            None => {
                let silent = EngineError::Silent { what: "how the step ended" };
                Exit::Exited(code.and_then(|code| i32::try_from(code).ok()).ok_or(silent)?)
            }
        };
        let limits_hit = limits_hit(&seen, killed, over.is_some());
        Ok(Done { seen, exit, enforced, limits_hit })
    }
}

/// Tells a container that a limit of the step's keeps from being made or started from all other refusals.
///
/// Engines say it in words: of memory that they have a least amount of it, of open files what the kernel said
/// to the program that starts the step's, unless there are enough for that one.
fn explain(cause: EngineError, parts: &Parts) -> Error {
    let EngineError::Refused { source, .. } = &cause else { return cause.into() };
    let (words, limits) = (source.to_string().to_lowercase(), &parts.limits);
    let asked = limits.memory.is_some_and(|limit| limit.asked);
    let limit = match () {
        () if asked && words.contains("minimum memory limit") => LimitName::Memory,
        () if limits.files.value.0 < STARTERS_FILES && words.contains("too many open files") => {
            LimitName::Files
        }
        () => return cause.into(),
    };
    Error::TooLow { limit, source: io::Error::other(cause) }
}

/// More files than a program that starts a container has open at once.
const STARTERS_FILES: u64 = 64;

/// The status of a command that wrote one file beyond the limit on disk and its headroom.
const FILE_TOO_LARGE: i64 = 128 + libc::SIGXFSZ as i64;

/// Returns the limits that refused the step something, as far as an engine tells: of memory it does, of
/// a process that could not be started it does not.
fn limits_hit(seen: &Seen, killed_for_memory: bool, full: bool) -> Vec<LimitName> {
    let full = full || matches!(seen.stop, Some(Stop::Disk(_)));
    let hit = [(killed_for_memory, LimitName::Memory), (full, LimitName::Disk)];
    hit.into_iter().filter_map(|(hit, limit)| hit.then_some(limit)).collect()
}

struct Ready {
    connected: Connected,
    image: String,
    user: User,
    limits: super::request::Limits,
}

/// Returns what the engine says of a container. Podman has a word for one that has ended and is not yet cleaned
/// up, which is none of Docker's, so it is asked again.
async fn inspect(docker: &Docker, id: &str) -> Result<ContainerInspectResponse, EngineError> {
    for _ in 0..STOPPED_MAX {
        match docker.inspect_container(id, None).await {
            Err(cause) if cause.to_string().contains("variant `stopped`") => {
                tokio::time::sleep(STOPPED_PAUSE).await;
            }
            told => return told.map_err(refused(Asking::Inspect)),
        }
    }
    Err(EngineError::Silent { what: "how the step ended" })
}

/// Asks for the output before the start: what a fast step says would be lost.
async fn attach(docker: &Docker, id: &str) -> Result<AttachContainerResults, EngineError> {
    let options =
        AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
    docker.attach_container(id, Some(options)).await.map_err(refused(Asking::Attach))
}

/// Asks for the end, after the start: the question is sent only when its answer is first waited for,
/// so one for the next end could come after the only one there is.
fn wait(docker: &Docker, id: &str, parts: &Parts) -> Waited {
    // An engine may begin its answer only at the end of the step.
    let patience = parts.timeout.duration() + std::time::Duration::from_secs(WAIT_SECONDS);
    let patient = docker.clone().with_timeout(patience);
    let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
    Box::pin(patient.wait_container(id, Some(options)))
}

/// Returns who a step would be, on an engine that can run steps at all.
///
/// # Errors
/// An engine that cannot filter system calls, or for which this caller's steps would be somebody else.
fn suits(facts: &Facts, waived: &BTreeSet<Guarantee>) -> Result<User, EngineError> {
    if !facts.filters && !waived.contains(&Guarantee::Syscalls) {
        return Err(EngineError::Silent { what: "that it can filter system calls" });
    }
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    user(facts, waived.contains(&Guarantee::Identity), own)
}

/// Asks the engine what a step asks before it is made: whether it answers, and whether it can. Whoever presses
/// the button while it says nothing has not to wait for it.
///
/// # Errors
/// See [`EngineError`].
pub fn ready(
    engine: &Engine,
    waived: &BTreeSet<Guarantee>,
    cancel: &Cancel,
) -> Result<Facts, EngineError> {
    let asked = async {
        answered(cancel, Duration::ZERO, connect(engine)).await.map(|connected| connected.facts)
    };
    let facts = runtime(engine)?.block_on(asked)?;
    suits(&facts, waived).map(|_| facts)
}

/// Decides who the step is, on the host and inside, if kiln itself is `(uid, gid)`.
fn user(facts: &Facts, waived: bool, (uid, gid): (u32, u32)) -> Result<User, EngineError> {
    match (facts.rootless, facts.podman, facts.maps_users) {
        (true, true, _) => Ok(User::Mapped),
        (true, false, _) | (false, false, true) => Err(EngineError::MappedUsers),
        (false, ..) if uid == 0 => Ok(User::Given),
        (false, ..) if (uid, gid) == (USER, USER) => Ok(User::Same),
        (false, ..) if waived => Ok(User::Callers(uid, gid)),
        (false, ..) => Err(EngineError::Caller { uid }),
    }
}

/// Nothing ran, and nothing is claimed.
fn cancelled() -> Outcome {
    Outcome {
        exit: Exit::Cancelled,
        enforced: model::isolation::Enforced::default(),
        usage: Usage::default(),
        left_processes: 0,
        log_cut: false,
        limits_hit: Vec::new(),
        network_attempts: Vec::new(),
        network_heard: false,
        views: Vec::new(),
        staging: None,
        _place: None,
    }
}

/// Says which of the files that an engine writes itself the environment has as a plain file.
fn own_files(root: &Path) -> Vec<&'static str> {
    let plain = |path: &&str| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(CWD, root, flags, Mode::empty()).and_then(|root| {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            openat2(root, *path, flags, Mode::empty(), resolve)
        });
        found.and_then(rustix::fs::fstat).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
        })
    };
    ENGINES_FILES.into_iter().filter(plain).collect()
}

/// Refuses a place inside the environment that leads through a symlink or a file, as the native
/// backend does when it makes the mount point: the engine would follow it.
fn check_environment(parts: &Parts, layout: &Layout) -> Result<(), Error> {
    for at in &layout.in_environment {
        let mut here = parts.root.clone();
        let mut names = at.below_root().parts().peekable();
        while let Some(name) = names.next() {
            here.push(name);
            let Ok(stat) = statat(CWD, &here, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else { break };
            let folder = rustix::fs::FileType::from_raw_mode(stat.st_mode)
                == rustix::fs::FileType::Directory;
            let last = names.peek().is_none();
            let problem = match (folder, last) {
                (true, false) => continue,
                (false, _) => MountProblem::NotAFolder,
                (true, true) => {
                    let mut entries = std::fs::read_dir(&here)
                        .map_err(|source| Error::Source { path: here.clone(), source })?;
                    match entries.next() {
                        None => continue,
                        Some(_) => MountProblem::Occupied,
                    }
                }
            };
            return Err(Error::Place { at: at.clone(), problem });
        }
    }
    Ok(())
}

/// Refuses a program that is nowhere, which an engine tells only by a status that a step could have.
fn check_program(parts: &Parts) -> Result<(), Error> {
    let name = parts.argv.first().map(String::as_str).unwrap_or_default();
    let path = parts.env.get("PATH").map(String::as_str).unwrap_or_default();
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        path.split(':').map(|folder| format!("{folder}/{name}")).collect()
    };
    let root = open_root(&parts.root)?;
    let found = candidates.iter().any(|candidate| {
        // What lies in an input, or is relative, is left to the engine.
        let Ok(at) = AbsPath::new(candidate) else { return true };
        let below = |holder: &AbsPath| at.strip_prefix(holder).is_some();
        let elsewhere = parts.mounts.iter().any(|mount| below(&mount.at))
            || parts.files.iter().any(|file| file.at == at)
            || matches!(at.below_root().parts().next(), Some("build" | "tmp" | "proc"));
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        elsewhere
            || openat2(&root, candidate.as_str(), flags, Mode::empty(), ResolveFlags::IN_ROOT)
                .is_ok()
    });
    if found {
        return Ok(());
    }
    let source = std::io::Error::from_raw_os_error(libc::ENOENT);
    Err(Error::Program { program: name.to_owned(), source })
}

fn open_root(root: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, root, flags, Mode::empty())
        .map_err(|cause| Error::Source { path: root.to_owned(), source: cause.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::client::tests::facts;

    #[test]
    fn a_kill_for_memory_and_a_full_disk_are_limits_that_were_met() {
        let stopped = Seen { stop: Some(Stop::Disk(Over::Limit)), ..Seen::default() };
        let (memory, disk) = (LimitName::Memory, LimitName::Disk);
        for (seen, killed, full, hit) in [
            (&Seen::default(), false, false, &[][..]),
            (&Seen::default(), true, false, &[memory]),
            (&Seen::default(), true, true, &[memory, disk]),
            (&stopped, false, false, &[disk]),
        ] {
            assert_eq!(limits_hit(seen, killed, full), hit);
        }
    }

    #[test]
    fn a_step_is_the_one_fixed_user_or_it_is_refused() {
        let engine =
            |podman, rootless, maps_users| Facts { podman, rootless, maps_users, ..facts() };
        let docker = engine(false, false, false);
        assert_eq!(user(&docker, false, (0, 0)).ok(), Some(User::Given));
        assert_eq!(user(&docker, false, (1000, 1000)).ok(), Some(User::Same));
        for other in [(1001, 1001), (1000, 100)] {
            let refused = user(&docker, false, other);
            assert!(matches!(refused, Err(EngineError::Caller { .. })), "{other:?}");
            let (uid, gid) = other;
            assert_eq!(user(&docker, true, other).ok(), Some(User::Callers(uid, gid)));
        }
        assert_eq!(user(&engine(true, true, false), false, (1234, 5)).ok(), Some(User::Mapped));
        for mapped in [engine(false, true, false), engine(false, false, true)] {
            assert!(matches!(user(&mapped, true, (0, 0)), Err(EngineError::MappedUsers)));
        }
    }
}
