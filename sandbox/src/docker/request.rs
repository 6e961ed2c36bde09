//! Turns a `Spec` and its staging layout into the one request for a container.
//!
//! Every field that could widen what the step sees is written, also where the engine's default is the
//! same: what is written can be read back and compared (`observe.rs`). There is no way in for a
//! privilege: no field of a `Spec` leads to capabilities, devices, host namespaces, binds or mounts of
//! another type than those made here.
//!
//! Does no I/O; `limits` asks how much memory there is.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use model::isolation::Guarantee;
use model::limits::Bytes;

use super::client::Facts;
use super::layout::Layout;
use super::{Engine, USER, seccomp};
use crate::error::{Error, LimitName};
use crate::native::{lists, order, space};
use crate::spec::Parts;

/// The label under which kiln's containers are found; its value is the name of the staging folder.
pub const LABEL_STAGING: &str = "build.kiln.staging";
/// The label that says whose containers they are: the folder of the staging folders.
pub const LABEL_PLACE: &str = "build.kiln.place";

/// Soft and hard limit of the stack: as on the native backend.
const STACK_BYTES: i64 = 8 << 20;
const LOCKED_BYTES: i64 = 8 << 20;
/// Processes of the step's user on the host, for Podman: what many steps have, and below what hosts set.
const PODMANS_PROCESSES: u64 = 16_384;
/// The program of coreutils that starts another with other variables.
const ENV: &str = "/usr/bin/env";
/// The program of util-linux that starts another with limits.
const PRLIMIT: &str = "/usr/bin/prlimit";
/// Paths in a container that the native backend does not have at all.
const MASKED_BESIDES: [&str; 4] = [
    // A queue that outlives nothing, and no build was seen to need.
    "/dev/mqueue",
    // No terminal is handed to a step.
    "/dev/pts",
    // Names the boot; fixed on the native backend, blank here.
    "/proc/sys/kernel/random/boot_id",
    // The host's devices.
    "/sys",
];

/// Who the step is on the host and inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// 1000:1000 in both; the staging folder's content is given to it, which only root can do.
    Given,
    /// 1000:1000 in both, and the caller is that user.
    Same,
    /// 1000:1000 inside; the engine maps it to the caller.
    Mapped,
    /// The caller's own ids in both: `identity` does not hold and must be waived.
    Callers(u32, u32),
}

/// What is asked of the engine besides what the `Spec` says.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The image's id.
    pub image: &'a str,
    /// The staging folder.
    pub staging: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// Who the step is.
    pub user: User,
    /// What it may use.
    pub limits: Limits,
}

/// The limits that the engine keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, and swap with it.
    pub memory: Option<Bytes>,
    /// Whether the engine can count swap.
    pub swap: bool,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processes of the step's user, where something must be said of them.
    pub rlimit_pids: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// The processors it is pinned to.
    pub processors: Option<Vec<usize>>,
    /// Writable space; `/tmp` and `/dev/shm` have a size of their own each.
    pub work: Bytes,
}

/// Returns the limits that were asked for and that the engine cannot keep.
pub fn short(limits: &model::limits::Limits, facts: &Facts) -> impl Iterator<Item = LimitName> {
    let all = [
        (limits.memory.is_some_and(|limit| limit.asked), facts.limits_memory, LimitName::Memory),
        (limits.cpu.is_some_and(|limit| limit.asked), facts.limits_cpu, LimitName::Cpu),
    ];
    all.into_iter().filter_map(|(asked, able, limit)| (asked && !able).then_some(limit))
}

/// Holds every limit that was asked for against what the engine can do.
pub fn limits(parts: &Parts, facts: &Facts) -> Result<Limits, Error> {
    let limits = &parts.limits;
    let waived = parts.waived.contains(&Guarantee::Limits);
    if let Some(limit) = short(limits, facts).next().filter(|_| !waived) {
        return Err(Error::Unenforceable { limit });
    }
    let memory = limits.memory.map_or(Bytes(order::memory_bytes() / 2), |limit| limit.value);
    // Podman would ask for more than a host's hard limit, which fails; no limit of ours is meant.
    let rlimit_pids = match (facts.limits_pids, facts.podman) {
        (false, _) => Some(limits.pids.value.0),
        (true, true) => Some(limits.pids.value.0.max(PODMANS_PROCESSES)),
        (true, false) => None,
    };
    Ok(Limits {
        rlimit_pids,
        memory: facts.limits_memory.then_some(memory),
        swap: facts.limits_swap,
        pids: facts.limits_pids.then_some(limits.pids.value.0),
        cpu_millis: limits.cpu.map(|limit| limit.value.0).filter(|_| facts.limits_cpu),
        processors: order::processors(parts.cpus)?,
        work: space::in_memory(limits, memory),
    })
}

/// Returns the request.
pub fn request(
    parts: &Parts,
    layout: &Layout,
    asked: &Asked<'_>,
    engine: &Engine,
    facts: &Facts,
) -> ContainerCreateBody {
    let (uid, gid) = match asked.user {
        User::Given | User::Same | User::Mapped => (USER, USER),
        User::Callers(uid, gid) => (uid, gid),
    };
    ContainerCreateBody {
        hostname: Some("localhost".to_owned()),
        domainname: Some(String::new()),
        user: Some(format!("{uid}:{gid}")),
        attach_stdin: Some(false),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        open_stdin: Some(false),
        env: Some(variables(parts, facts)),
        // The image has no entry point; an empty one keeps an engine's default away.
        cmd: Some(command(parts, &asked.limits, facts)),
        image: Some(asked.image.to_owned()),
        working_dir: Some(parts.cwd.to_string()),
        network_disabled: Some(true),
        labels: Some(HashMap::from([
            (LABEL_STAGING.to_owned(), asked.name.to_owned()),
            (LABEL_PLACE.to_owned(), place(engine)),
        ])),
        stop_signal: Some("SIGTERM".to_owned()),
        host_config: Some(host_config(parts, layout, asked, facts, (uid, gid))),
        ..ContainerCreateBody::default()
    }
}

fn variables(parts: &Parts, facts: &Facts) -> Vec<String> {
    if facts.podman {
        return Vec::new();
    }
    // A name without a value takes the variable away that the engine would add.
    let mut all = vec!["HOSTNAME".to_owned()];
    all.extend(assignments(parts));
    all
}

fn assignments(parts: &Parts) -> impl Iterator<Item = String> {
    parts.env.iter().map(|(name, value)| format!("{name}={value}"))
}

/// Returns the step's command. Podman adds variables that it cannot be talked out of, and one without root
/// drops limits: so programs of the environment start the step's there. They get none of the step's variables,
/// or one that names a library would be obeyed before a limit is set.
fn command(parts: &Parts, limits: &Limits, facts: &Facts) -> Vec<String> {
    if !facts.podman {
        return parts.argv.clone();
    }
    let mut command = Vec::new();
    if facts.rootless {
        command.push(PRLIMIT.to_owned());
        command.extend(ulimits(parts, limits).iter().map(|one| {
            let (soft, hard) = (one.soft.unwrap_or_default(), one.hard.unwrap_or_default());
            format!("--{}={soft}:{hard}", one.name.as_deref().unwrap_or_default())
        }));
    }
    command.extend([ENV, "-i"].map(str::to_owned));
    command.extend(assignments(parts));
    command.extend(parts.argv.iter().cloned());
    command
}

/// Returns what stands in the label that says whose containers they are.
pub fn place(engine: &Engine) -> String {
    model::Digest::of(engine.staging.as_os_str().as_encoded_bytes()).hex().to_string()
}

fn host_config(
    parts: &Parts,
    layout: &Layout,
    asked: &Asked<'_>,
    facts: &Facts,
    owner: (u32, u32),
) -> HostConfig {
    let limits = &asked.limits;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = limits.memory.map(|memory| signed(memory.0));
    let processors = limits
        .processors
        .as_ref()
        .map(|chosen| chosen.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    HostConfig {
        memory,
        memory_swap: memory.filter(|_| limits.swap),
        nano_cpus: limits.cpu_millis.map(|millis| signed(millis.saturating_mul(1_000_000))),
        cpuset_cpus: processors,
        pids_limit: limits.pids.map(signed),
        ulimits: Some(ulimits(parts, limits)),
        init: Some(true),
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: Some(HashMap::new()),
        }),
        network_mode: Some("none".to_owned()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: Some(0),
        }),
        auto_remove: Some(false),
        mounts: Some(mounts(layout, asked.staging)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        ipc_mode: Some("private".to_owned()),
        privileged: Some(false),
        publish_all_ports: Some(false),
        readonly_rootfs: Some(true),
        security_opt: Some(security(facts, asked.staging)),
        tmpfs: Some(tmpfs(layout, limits.work, owner, facts)),
        userns_mode: (asked.user == User::Mapped).then(|| format!("keep-id:uid={USER},gid={USER}")),
        shm_size: Some(signed(limits.work.0)),
        // Podman does not tell them back.
        sysctls: (!facts.podman).then(settings),
        masked_paths: Some(masked()),
        readonly_paths: Some(read_only()),
        ..HostConfig::default()
    }
}

fn ulimits(parts: &Parts, limits: &Limits) -> Vec<ResourcesUlimits> {
    let files = parts.limits.files.value.0;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let one = |name: &str, soft: i64, hard: i64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(soft),
        hard: Some(hard),
    };
    // Above the limit, so that a step is seen there and stopped: one that is refused might take no notice.
    let file = signed(limits.work.0.saturating_add(space::BYTES_ABOVE));
    // With a piped core pattern 0 is not honoured, and 1 means that nothing is written.
    let mut all = vec![
        one("core", 1, 1),
        one("fsize", file, file),
        one("memlock", LOCKED_BYTES, LOCKED_BYTES),
        one("nofile", signed(files), signed(files)),
        one("stack", STACK_BYTES, STACK_BYTES),
    ];
    if let Some(most) = limits.rlimit_pids {
        all.push(one("nproc", signed(most), signed(most)));
    }
    all
}

fn mounts(layout: &Layout, staging: &Path) -> Vec<Mount> {
    let bind = |bind: &super::layout::Bind| Mount {
        target: Some(bind.inside.to_string()),
        source: Some(staging.join(&bind.from).to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(bind.read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    };
    layout.binds.iter().map(bind).collect()
}

fn tmpfs(
    layout: &Layout,
    size: Bytes,
    (uid, gid): (u32, u32),
    facts: &Facts,
) -> HashMap<String, String> {
    let options = |mode: &str| {
        let bounds = format!("rw,exec,nosuid,nodev,size={}", size.0);
        // Podman gives no owner to one, so all may write in it: there is one user inside.
        if facts.podman {
            format!("{bounds},mode=1777")
        } else {
            format!("{bounds},mode={mode},uid={uid},gid={gid}")
        }
    };
    let mut all = HashMap::from([("/tmp".to_owned(), options("1777"))]);
    all.extend(layout.below_tmp.iter().map(|at| (at.to_string(), options("755"))));
    all
}

fn security(facts: &Facts, staging: &Path) -> Vec<String> {
    let mut all = vec!["no-new-privileges".to_owned()];
    if facts.podman {
        // Podman takes the profile as a file, and the masked paths here instead of in their field.
        all.push(format!("seccomp={}", staging.join(PROFILE_FILE).display()));
        all.push(format!("mask={}", masked().join(":")));
    } else {
        all.push(format!("seccomp={}", seccomp::profile()));
    }
    all
}

/// Settings of the container's own network that an engine would widen: everybody could make ping sockets
/// and listen below 1024.
fn settings() -> HashMap<String, String> {
    let all =
        [("net.ipv4.ping_group_range", "1 0"), ("net.ipv4.ip_unprivileged_port_start", "1024")];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The profile's file in the staging folder, for an engine that wants one. It is bound nowhere.
pub const PROFILE_FILE: &str = "seccomp.json";

/// Paths that are covered by something blank.
pub fn masked() -> Vec<String> {
    let proc = lists::PROC_MASKED.iter().map(|name| format!("/proc/{name}"));
    proc.chain(MASKED_BESIDES.map(str::to_owned)).collect()
}

/// Paths that may be read and never written.
pub fn read_only() -> Vec<String> {
    lists::PROC_READ_ONLY.iter().map(|name| format!("/proc/{name}")).collect()
}
