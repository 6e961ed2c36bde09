//! From what went wrong with a step to what a person reads: code, place in words, remedy.

use model::digest::Blob;
use model::isolation::Guarantee;
use model::relpath::{Ident, RelPath};
use model::step::{Run, Step, StepId};
use sandbox::{CallerLimit, Cause, EngineError, Exit, LimitName, Outcome, SpecError};

use super::StepFailure;
use super::capture::CaptureError;
use super::host::out_of_memory;
use super::log::cut_at;
use super::network;
use crate::diagnostic::{Code, Diagnostic};
use crate::plan::action::{ActionError, Sealed};
use crate::report::{State, Tail};
use crate::store;

/// What a build says that does without.
const ALLOW_LIMITS: &str = "or allow it to be absent:  kiln build --allow-missing limits";

/// A step whose Action cannot be made.
pub fn action(step: &Step, error: &ActionError<store::Error>) -> StepFailure {
    let diagnostic = match error {
        ActionError::Folder(cause) => of_store(&step.id, cause),
        ActionError::Hides { .. } | ActionError::NotAFolder { .. } => collides(&step.id, error),
    };
    failure(State::Failed, None, vec![diagnostic])
}

/// Returns what a person reads of two inputs in one place.
pub fn collides<E: std::error::Error>(step: &StepId, error: &ActionError<E>) -> Diagnostic {
    let told = Diagnostic::new(Code::Collision, format!("step `{step}`: {error}"));
    match error {
        ActionError::Hides { at, .. } => told.help(format!(
            "mount it at another path, or exclude {at} from the source that holds it"
        )),
        ActionError::NotAFolder { .. } | ActionError::Folder(_) => {
            told.help("mount it at another path")
        }
    }
}

/// A step that the store failed.
pub fn store(step: &Step, error: &store::Error) -> StepFailure {
    failure(State::Error, None, vec![of_store(&step.id, error)])
}

/// Returns what a person reads of an error of the store.
pub fn of_store(step: &StepId, error: &store::Error) -> Diagnostic {
    let told = crate::refusal::store(error);
    Diagnostic { headline: format!("step `{step}`: {}", told.headline), ..told }
}

/// A step whose inputs could not be brought in.
pub fn before(diagnostics: Vec<Diagnostic>) -> StepFailure {
    failure(State::Error, None, diagnostics)
}

/// A step that asks for nonsense.
pub fn spec(step: &Step, error: &SpecError) -> StepFailure {
    let diagnostic =
        Diagnostic::new(Code::WrongValue, format!("step `{}` cannot be run: {error}", step.id))
            .why("the final request is checked before anything is started");
    failure(State::Failed, None, vec![diagnostic])
}

/// A step that was stopped before it ran.
pub fn interrupted(step: &Step) -> StepFailure {
    let words = format!("step `{}` was interrupted", step.id);
    let diagnostic = Diagnostic::new(Code::Interrupted, words);
    failure(State::Cancelled, Some("interrupted".to_owned()), vec![diagnostic])
}

/// Something that should not be possible.
pub fn internal(step: &Step, what: &str) -> StepFailure {
    let diagnostic = Diagnostic::new(Code::Internal, format!("step `{}`: {what}", step.id))
        .help("please report this, with the output of: kiln version");
    failure(State::Error, None, vec![diagnostic])
}

/// A step that the sandbox could not run.
pub fn sandbox(step: &Step, error: &sandbox::Error) -> StepFailure {
    let state = match error {
        sandbox::Error::Program { .. }
        | sandbox::Error::Place { .. }
        | sandbox::Error::TooLow { .. } => State::Failed,
        _ => State::Error,
    };
    let told = of_sandbox(&step.id.to_string(), error);
    let told = match (error, &step.run) {
        (sandbox::Error::Program { .. }, Run::Script { .. }) => told.key("shell"),
        _ => told,
    };
    let told = match (error, step.env.get("PATH")) {
        (sandbox::Error::Program { program, .. }, Some(path))
            if !program.contains('/') && !path.ends_with(crate::plan::expand::PATH) =>
        {
            told.got(format!("PATH={}", model::text::escape(path.as_bytes()))).help(
                "PATH was set for this step: name the folder of the program in it, or leave it out",
            )
        }
        _ => told,
    };
    failure(state, Some(error.to_string()), vec![told])
}

/// Returns what a person reads of an error of the sandbox.
pub fn of_sandbox(step: &str, error: &sandbox::Error) -> Diagnostic {
    of_sandbox_told(error, format!("step `{step}`: {error}"))
}

/// Returns the same of what every step would meet.
pub fn of_sandbox_anywhere(error: &sandbox::Error) -> Diagnostic {
    of_sandbox_told(error, format!("no step can run as it should: {error}"))
}

fn of_sandbox_told(error: &sandbox::Error, headline: String) -> Diagnostic {
    use sandbox::Error as E;
    let diagnostic = match error {
        E::Missing { guarantee, cause, .. } => missing(*guarantee, cause, headline),
        E::Unenforceable { limit } => unenforceable(*limit, headline),
        E::TooLow { limit, .. } => too_low(*limit, headline),
        E::CallerLimited { limit } => Diagnostic::new(Code::LimitNotEnforced, headline)
            .why("a step that meets it may pass, and its result would be used where there is no such limit")
            .help(lift(*limit))
            .help(ALLOW_LIMITS),
        E::FewProcesses { allowed, left, wanted } => few(*allowed - *left, *wanted, headline),
        E::TooFewProcessors { asked, present } => Diagnostic::new(Code::BackendCannot, headline)
            .expected(format!("{asked} processors"))
            .got(present.to_string())
            .key("cpus")
            .help("lower `cpus` of the step, or build on a larger host"),
        E::NotBuilt { .. } => Diagnostic::new(Code::BackendCannot, headline)
            .expected("native or docker")
            .help("leave --backend out"),
        E::CannotWiden { option, .. } => Diagnostic::new(Code::BackendCannot, headline)
            .key(option)
            .help(format!("leave `{option}` out, or build on another host")),
        E::Engine(cause) => engine(cause, headline),
        E::Program { program, .. } => Diagnostic::new(Code::CommandFailed, headline)
            .why(format!(
                "`{program}` is not in the step's environment, or cannot be executed there"
            ))
            .help("add its package under `environment`:  host: {packages: [...]}"),
        E::Place { at, .. } => {
            Diagnostic::new(Code::Collision, headline).help(format!("mount it elsewhere than {at}"))
        }
        E::Source { .. }
        | E::Setup { .. }
        | E::ChildLost
        | E::Garbled { .. }
        | E::StillAlive { .. } => Diagnostic::new(Code::SandboxFailed, headline)
            .help("see what this host can do: kiln doctor"),
    };
    crate::refusal::with_causes(diagnostic, error)
}

/// A limit of the build file that cannot be kept. What keeps it differs: a disk limit is a file system of
/// its own or a watcher, the others are control groups.
fn unenforceable(limit: LimitName, headline: String) -> Diagnostic {
    let told = Diagnostic::new(Code::LimitNotEnforced, headline)
        .expected(format!("a host that can limit `{limit}`"))
        .key_below("resources", limit.to_string());
    let told = match limit {
        LimitName::Disk => told
            .why("the confined backend mounts nothing, so no file system of a size is around a step")
            .help("take `disk` out of `resources`, or use a backend that can:  --backend native"),
        LimitName::Files => told
            .why("kiln was started with a lower hard limit of open files, which a step would meet unseen")
            .help("let kiln have more open files:  ulimit -n 1024, or LimitNOFILE of its service; more for a higher `files`"),
        LimitName::Cpu | LimitName::Memory | LimitName::Pids => told
            .help("run as root, or in a session with a delegated control group:  kiln doctor"),
    };
    told.help(ALLOW_LIMITS)
}

/// A limit of the build file under which not even the step's own program could be started.
fn too_low(limit: LimitName, headline: String) -> Diagnostic {
    let code = match limit {
        LimitName::Memory => Code::OutOfMemory,
        LimitName::Disk => Code::OutOfDisk,
        LimitName::Pids => Code::OutOfProcesses,
        LimitName::Cpu | LimitName::Files => Code::CommandFailed,
    };
    let why = match limit {
        LimitName::Pids => "kiln's own first process in the sandbox counts as one",
        _ => "the program that starts the step's own counts as well",
    };
    Diagnostic::new(code, headline)
        .key_below("resources", limit.to_string())
        .why(why)
        .help(format!("raise `resources: {{{limit}: …}}` of the step"))
}

/// A limit of the user's that leaves too few processes to a step beside those there are.
fn few(taken: u64, wanted: u64, headline: String) -> Diagnostic {
    let all = wanted.saturating_add(taken).checked_next_power_of_two().unwrap_or(u64::MAX);
    Diagnostic::new(Code::LimitNotEnforced, headline)
        .key_below("resources", "pids")
        .expected(format!("{wanted} processes and threads for the step"))
        .why(format!("the limit counts all that its user runs on this host: {taken} are taken, or kept for kiln itself"))
        .help(format!("let kiln have more:  ulimit -u {}, or LimitNPROC of its service; or write a lower `pids`", all.max(4096)))
        .help(ALLOW_LIMITS)
}

/// Says how a limit of the caller's is lifted.
fn lift(limit: CallerLimit) -> &'static str {
    match limit {
        CallerLimit::AddressSpace => {
            "start kiln without it:  ulimit -v unlimited, or LimitAS of its service"
        }
        CallerLimit::Data => {
            "start kiln without it:  ulimit -d unlimited, or LimitDATA of its service"
        }
        CallerLimit::FileSize => {
            "start kiln without it:  ulimit -f unlimited, or LimitFSIZE of its service"
        }
        CallerLimit::ProcessorTime => {
            "start kiln without it:  ulimit -t unlimited, or LimitCPU of its service"
        }
        CallerLimit::ExecutableMemory => {
            "start kiln without it:  MemoryDenyWriteExecute=no of its service"
        }
    }
}

/// Returns what a person reads of a container engine that cannot run a step.
pub fn engine(cause: &EngineError, headline: String) -> Diagnostic {
    let cannot = |code| Diagnostic::new(code, headline);
    match cause {
        EngineError::NoEngine { tried, .. } if tried.iter().any(|path| path.is_relative()) => {
            let named = tried.iter().find(|path| path.is_relative());
            let named = named.map(|path| path.display().to_string()).unwrap_or_default();
            Diagnostic::new(Code::BackendCannot, "DOCKER_HOST names no socket of this host")
                .expected("unix:///PATH, the socket of an engine on this host")
                .got(named)
                .why("whoever reaches an engine over the network is root there")
                .help("unset DOCKER_HOST, or let it name a socket")
        }
        EngineError::NoEngine { .. } => cannot(Code::BackendCannot)
            .help("start it:  systemctl start docker  or  systemctl start podman.socket")
            .help("name another socket:  DOCKER_HOST=unix:///PATH"),
        EngineError::Forbidden { .. } => cannot(Code::BackendCannot)
            .why("whoever may speak to it is as good as root, so it is closed to other users")
            .help("be in the group that owns the socket:  sudo usermod -aG docker $USER, then log in again")
            .help("or name an engine of your own:  DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock"),
        EngineError::Interrupted => cannot(Code::Interrupted)
            .help("start the command again; finished steps are not run again")
            .help("see whether the engine answers:  kiln doctor"),
        EngineError::MappedUsers => cannot(Code::BackendCannot)
            .help("use an engine that runs as root and without `userns-remap`"),
        EngineError::Caller { .. } => cannot(Code::BackendCannot)
            .help("run as root or as user 1000")
            .help("or allow it to be absent:  kiln build --allow-missing identity"),
        EngineError::Differs { asked, got, .. } => {
            let (asked, got) = (asked.clone(), got.clone());
            cannot(Code::SandboxFailed)
                .expected(asked)
                .got(got)
                .why("a container is run only if it is what was asked for in every field")
                .help("update the engine, or look for what changes its requests")
        }
        EngineError::Refused { .. } | EngineError::Silent { .. } | EngineError::Own { .. } => {
            cannot(Code::SandboxFailed).help("see what the engine can do:  kiln doctor")
        }
    }
}

/// Returns what a person reads of a guarantee that this host cannot keep: each cause has its own text.
pub fn missing(guarantee: Guarantee, cause: &Cause, headline: String) -> Diagnostic {
    match cause {
        Cause::AppArmor => Diagnostic::new(Code::NamespacesApparmor, "this host does not let kiln make a user namespace")
            .expected("kernel.apparmor_restrict_unprivileged_userns = 0, or a profile for kiln")
            .got("1, and no profile")
            .why("AppArmor restricts unprivileged user namespaces on this system")
            .help("install the profile:  sudo kiln doctor --fix apparmor"),
        Cause::OuterSeccomp => Diagnostic::new(Code::NamespacesSeccomp, headline)
            .why("a seccomp filter around kiln, as in a container with the default profile, refuses it")
            .help("start the container with  --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined")
            .help("and where kiln is root in it:  --cap-add SYS_ADMIN"),
        Cause::KernelSetting { setting, value } => {
            Diagnostic::new(Code::NamespacesKernel, headline).got(format!("/proc/sys/{setting} = {value}")).help(setting_fix(setting))
        }
        Cause::MaskedProc => Diagnostic::new(Code::NamespacesSeccomp, headline)
            .why("the host's own /proc is partly masked, as in a container, so no fresh one may be mounted")
            .help("start the container with  --security-opt systempaths=unconfined"),
        Cause::NotInKernel => Diagnostic::new(Code::NamespacesKernel, headline).why(format!("the kernel lacks what `{guarantee}` needs")).help("use a newer kernel"),
        Cause::NoRight { right: "SYS_ADMIN" } => Diagnostic::new(Code::NamespacesSeccomp, headline)
            .why("root lacks CAP_SYS_ADMIN here, as in a container, and opens a step's inputs by it")
            .help("start the container with  --cap-add SYS_ADMIN")
            .help("or run kiln in it as an ordinary user"),
        Cause::NotRoot | Cause::NoRight { .. } | Cause::OldLandlock { .. } | Cause::NoDevices => {
            confined(cause, headline)
        }
        Cause::DeviceRules { refused } => Diagnostic::new(Code::SandboxFailed, headline)
            .expected("every device node of a step opens, to read and to write")
            .got(format!("{refused}: refused"))
            .why("rules around kiln hold for its steps too: of a control group on devices, or of Landlock")
            .help("start kiln without them: `DeviceAllow=`, `PrivateDevices=` of a unit; `--device` of a container"),
        Cause::SocketRules { refused } => Diagnostic::new(Code::SandboxFailed, headline)
            .expected("a step listens and connects on its own loopback")
            .got(format!("{refused}: refused"))
            .why("rules around kiln hold for its steps too: of a control group on sockets, or of Landlock")
            .help("start kiln without them: `SocketBindDeny=`, `IPAddressDeny=` of a unit; a sandbox with rules on ports"),
        Cause::Unknown => Diagnostic::new(Code::SandboxFailed, headline).help("see what this host can do: kiln doctor"),
    }
}

/// What the backend `confined` needs and does not find.
fn confined(cause: &Cause, headline: String) -> Diagnostic {
    let told = cause.to_string();
    let (why, help) = told.split_once(": ").unwrap_or((&told, "kiln doctor"));
    Diagnostic::new(Code::BackendCannot, headline).why(why).help(help)
}

fn setting_fix(setting: &str) -> String {
    let wanted = if setting.contains("max_") { "15000" } else { "1" };
    format!("as root:  sysctl -w {}={wanted}", setting.replace('/', "."))
}

/// A step whose command did not end well.
pub fn exit(
    step: &Step,
    outcome: &Outcome,
    tail: Tail,
    log_blob: Blob,
    sealed: &Sealed,
) -> StepFailure {
    let id = &step.id;
    let (state, detail, diagnostic) = match outcome.exit {
        Exit::Cancelled => (State::Cancelled, "interrupted".to_owned(), cancelled(step)),
        Exit::TimedOut { idle } => {
            let (limit, key) = match (idle, step.limits.idle) {
                (true, Some(idle)) => (idle.value, "resources.idle"),
                _ => (step.timeout, "timeout"),
            };
            let what = if idle { "was silent for longer than" } else { "ran for longer than" };
            (
                State::Failed,
                "out of time".to_owned(),
                timed_out(idle, format!("step `{id}` {what} {limit}"))
                    .help(format!("raise `{key}` of the step, if it needs more")),
            )
        }
        Exit::OutOfMemory | Exit::OutOfMemoryAround => {
            (State::Failed, "out of memory".to_owned(), out_of_memory(step, outcome.exit))
        }
        Exit::OutOfDisk | Exit::TooDeep | Exit::OutOfHostDisk => of_disk(step, outcome),
        Exit::Exited(_) | Exit::Signaled(_) => {
            let how = match outcome.exit {
                Exit::Signaled(signal) => format!("killed by signal {signal}"),
                Exit::Exited(code) => format!("exit status {code}"),
                _ => String::new(),
            };
            let told = command_failed(step, outcome, &tail, &how);
            let told = of_its_width(told, step, outcome, &tail);
            (State::Failed, how, told)
        }
    };
    StepFailure {
        state,
        detail: Some(detail),
        diagnostics: vec![diagnostic],
        tail: Some(tail),
        log_blob: Some(log_blob),
        action: Some(sealed.digest),
        cases: None,
        wall_ms: 0,
    }
}

/// Adds the option that a program needs which was killed for its foreign system call table: the one thing for
/// which the list of allowed calls kills instead of refusing. The step's own process, or one below its shell
/// or `make`.
fn of_its_width(told: Diagnostic, step: &Step, outcome: &Outcome, tail: &Tail) -> Diagnostic {
    /// `SIGSYS` on every machine that kiln builds for.
    const SIGSYS: i32 = 31;
    let by_exit = match outcome.exit {
        Exit::Signaled(signal) => signal == SIGSYS,
        Exit::Exited(code) => code == 128 + SIGSYS,
        _ => false,
    };
    let word = b"Bad system call";
    let by_word = || tail.bytes.windows(word.len()).any(|part| part == word);
    if step.widen.abi32 || !(by_exit || by_word()) {
        return told;
    }
    told.why(
        "a program was killed at a system call of another width (SIGSYS), as 32-bit programs make",
    )
    .help("if the step runs 32-bit programs, let it:  abi32: true")
}

/// What is told of a step that was stopped while it ran, or while its outputs were taken.
pub fn cancelled(step: &Step) -> Diagnostic {
    Diagnostic::new(Code::Interrupted, format!("step `{}` was interrupted", step.id))
        .help("start the command again: it goes on where it stopped")
}

/// What is told of a step that wrote more than it may, or what nobody could count.
fn of_disk(step: &Step, outcome: &Outcome) -> (State, String, Diagnostic) {
    let id = &step.id;
    let told = |state, detail: &str, code, headline: String| {
        (state, detail.to_owned(), Diagnostic::new(code, headline))
    };
    let (state, detail, diagnostic) = match outcome.exit {
        Exit::TooDeep => {
            let words = format!("step `{id}` made folders that lie too deep inside one another");
            told(State::Failed, "folders too deep", Code::OutOfDisk, words)
        }
        Exit::OutOfHostDisk => {
            let words = format!("step `{id}` was stopped before it filled the host's disk");
            told(State::Error, "the host's disk is full", Code::HostDiskFull, words)
        }
        _ => {
            let room = disk(step, outcome);
            let words = format!("step `{id}` filled its writable space of {room}");
            told(State::Failed, "out of disk", Code::OutOfDisk, words)
        }
    };
    let diagnostic = match outcome.exit {
        Exit::TooDeep => diagnostic
            .why("all that a step writes is counted, and so deep nobody counts")
            .help("let it make fewer folders inside one another; a higher `disk` changes nothing"),
        Exit::OutOfHostDisk => diagnostic
            .why("a twentieth of the store's file system, at most 2 GiB, is kept free")
            .help("free some space, or keep the store elsewhere:  --store DIR"),
        _ => diagnostic
            .key_below("resources", "disk")
            .help("raise `resources: {disk: …}` of the step"),
    };
    (state, detail, diagnostic)
}

fn timed_out(idle: bool, headline: String) -> Diagnostic {
    let told = Diagnostic::new(Code::OutOfTime, headline);
    if idle { told.key_below("resources", "idle") } else { told.key("timeout") }
}

/// Returns the limit that was in force: a default is cut where only memory can hold it.
fn disk(step: &Step, outcome: &Outcome) -> String {
    in_force("disk ", outcome).unwrap_or_else(|| step.limits.disk.value.to_string())
}

/// The same of processes: a default is cut where the user's own limit leaves fewer.
fn pids(step: &Step, outcome: &Outcome) -> String {
    in_force("pids ", outcome).unwrap_or_else(|| step.limits.pids.value.to_string())
}

fn in_force(limit: &str, outcome: &Outcome) -> Option<String> {
    let mut details = outcome.enforced.mechanisms.iter().map(|one| one.detail.as_str());
    details.find_map(|detail| detail.strip_prefix(limit)).map(str::to_owned)
}

fn command_failed(step: &Step, outcome: &Outcome, tail: &Tail, how: &str) -> Diagnostic {
    let log = format!("whole log:  kiln log ^0 {}", step.id);
    let no_process = outcome.limits_hit.contains(&LimitName::Pids);
    if !outcome.network_attempts.is_empty() {
        let told = network::wanted(step, &outcome.network_attempts, how);
        let more = "it was refused a process as well:  raise `resources: {pids: …}` of the step";
        return if no_process { told.help(more) } else { told };
    }
    if no_process {
        let limit = pids(step, outcome);
        let headline = format!("step `{}` failed: {how}, after it was refused a process", step.id);
        return Diagnostic::new(Code::OutOfProcesses, headline)
            .key_below("resources", "pids")
            .expected(format!("at most {limit} processes and threads at once"))
            .help("raise `resources: {pids: …}` of the step, or let it do less at once")
            .help(log);
    }
    let told = |words: &str| {
        Diagnostic::new(Code::CommandFailed, format!("step `{}` failed: {how}{words}", step.id))
    };
    let (files, pids) = (step.limits.files.value, step.limits.pids.value);
    // Nobody but the program is told of these, so its words and a low limit are what there is to go by.
    let (limit, most) = match () {
        () if says_too_many_files(&tail.bytes) || files.0 < FEW_FILES => {
            (LimitName::Files, format!("at most {files} open files for each process"))
        }
        () if pids.0 < FEW_PROCESSES => {
            (LimitName::Pids, format!("at most {pids} processes and threads at once"))
        }
        () => return told("").help(log),
    };
    told(&format!(", and may have met its limit `{limit}`"))
        .key_below("resources", limit.to_string())
        .expected(most)
        .help(format!("raise `resources: {{{limit}: …}}` of the step"))
        .help(log)
}

/// Fewer processes than an engine's own first one, a shell and a program.
const FEW_PROCESSES: u64 = 3;
/// Fewer open files than shells and loaders of shared libraries get along with.
const FEW_FILES: u64 = 16;

/// Says whether a log has the words for too many open files.
fn says_too_many_files(log: &[u8]) -> bool {
    /// The C library, and all that repeat it; Node; the loader of shared libraries.
    const WORDS: [&str; 3] =
        ["too many open files", "emfile", "cannot open shared object file: error 24"];
    let log = String::from_utf8_lossy(log).to_lowercase();
    WORDS.iter().any(|words| log.contains(words))
}

/// Adds to a failure that the step's log is not whole, if it is not.
pub fn with_cut(mut failure: StepFailure, step: &Step, outcome: &Outcome) -> StepFailure {
    if outcome.log_cut {
        let words = cut_at(step.limits.log.value);
        let help = format!("{words}: raise `resources: {{log: …}}` of the step");
        failure.detail =
            Some(failure.detail.map_or(words.clone(), |had| format!("{had}; {words}")));
        failure.diagnostics = failure.diagnostics.into_iter().map(|one| one.help(&help)).collect();
    }
    failure
}

/// A step whose outputs cannot be taken.
pub fn captured(
    diagnostics: Vec<Diagnostic>,
    tail: Tail,
    log_blob: Blob,
    sealed: &Sealed,
) -> StepFailure {
    let is_told = |code| diagnostics.iter().any(|told: &Diagnostic| told.code == code);
    let (state, detail) = match () {
        () if is_told(Code::Interrupted) => (State::Cancelled, "interrupted"),
        () if is_told(Code::HostDiskFull) => (State::Error, "the host's disk is full"),
        () => (State::Failed, "outputs"),
    };
    StepFailure {
        state,
        detail: Some(detail.to_owned()),
        diagnostics,
        tail: Some(tail),
        log_blob: Some(log_blob),
        action: Some(sealed.digest),
        cases: None,
        wall_ms: 0,
    }
}

/// What is taken out of a step, with the key of the build file that asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'s> {
    /// `outputs`, or `reports` of a test.
    pub key: &'static str,
    /// Its name.
    pub name: &'s Ident,
    /// Its place below the work folder.
    pub path: &'s RelPath,
}

impl Taken<'_> {
    fn told(&self, step: &Step) -> String {
        let what = if self.key == "reports" { "report" } else { "output" };
        let of = if step.test { "test" } else { "step" };
        format!("{what} `{}` of {of} `{}`", self.name, step.id)
    }
}

/// An output that lies in no writable place.
pub fn unreachable(step: &Step, taken: Taken<'_>) -> Diagnostic {
    let path = taken.path;
    Diagnostic::new(Code::OutputMissing, format!("{} is missing: {path}", taken.told(step)))
        .key_below(taken.key, taken.name.to_string())
        .why("it lies in no place that the step could write to")
        .help("write it below /build, in no folder that is mounted read-only")
}

/// An output that is missing or refused.
pub fn capture(step: &Step, taken: Taken<'_>, error: &CaptureError) -> Diagnostic {
    crate::refusal::capture(&taken.told(step), taken.key, error)
        .key_below(taken.key, taken.name.to_string())
}

fn failure(state: State, detail: Option<String>, diagnostics: Vec<Diagnostic>) -> StepFailure {
    StepFailure {
        state,
        detail,
        diagnostics,
        tail: None,
        log_blob: None,
        action: None,
        cases: None,
        wall_ms: 0,
    }
}
