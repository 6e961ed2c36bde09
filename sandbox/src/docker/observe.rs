//! Compares the container that the engine made with the one that was asked for, field by field.
//!
//! What was written must come back. What was not written must come back empty, or as one of the
//! defaults listed here with its reason; a field that is in no list and not empty is a difference,
//! so that an engine's addition, a proxy's or a later version's is refused and not overlooked.
//!
//! Pure: two values in, the first difference out; or what was read back as `Enforced`.

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig};
use model::isolation::{Enforced, Guarantee};
use serde_json::{Map, Value};

use super::client::Facts;
use super::error::EngineError;
use super::podman;
use super::request::{Asked, User};
use crate::native::seccomp;
use crate::spec::Parts;

/// What an engine may say of a field that was not asked for, besides nothing: field, value, reason.
const DEFAULTS: [(&str, &str, &str); 15] = [
    ("CgroupMode", "\"private\"", "Podman's word for what was asked"),
    ("CgroupParent", "\"\"", "no parent was named"),
    ("ConsoleSize", "[0,0]", "there is no terminal"),
    ("IOMaximumBandwidth", "0", "Windows only"),
    ("Isolation", "\"default\"", "Windows only"),
    ("MemorySwappiness", "-1", "the host's"),
    ("MemorySwappiness", "0", "the host's, in Podman's words"),
    ("OomScoreAdj", "0", "the engine's own"),
    ("PidMode", "\"private\"", "Podman's word for its own"),
    ("PidMode", "\"\"", "its own"),
    ("RestartPolicy", "{\"MaximumRetryCount\":0,\"Name\":\"\"}", "never"),
    ("UTSMode", "\"private\"", "Podman's word for its own"),
    ("UTSMode", "\"\"", "its own"),
    ("UsernsMode", "\"\"", "no mapping by this engine"),
    ("VolumeDriver", "\"\"", "there are no volumes"),
];

/// Fields that are the engine's own business and widen nothing: recorded or of no meaning.
const ENGINES_OWN: [(&str, &str); 3] = [
    ("Annotations", "words of the engine's about the container"),
    ("ContainerIDFile", "a file of the engine's own"),
    ("Runtime", "recorded with the engine's version"),
];

/// Returns the first difference between what was asked for and what was made.
pub fn compare(
    asked: &ContainerCreateBody,
    made: &ContainerInspectResponse,
    facts: &Facts,
) -> Result<(), EngineError> {
    let said = made.config.as_ref().ok_or(EngineError::Silent { what: "how it set it up" })?;
    let image = made.image.as_deref().unwrap_or_default();
    same("Image", asked.image.as_deref().unwrap_or_default(), image, |text| {
        text.trim_start_matches("sha256:").to_owned()
    })?;
    let (wanted, got) = (members(asked), members(said));
    for (field, value) in &wanted {
        // The image was compared by what was really used; the rest has its own comparison.
        if matches!(
            field.as_str(),
            "Image"
                | "HostConfig"
                | "Env"
                | "Labels"
                | "NetworkDisabled"
                | "Cmd"
                | "AttachStdout"
                | "AttachStderr"
        ) {
            continue;
        }
        let said = got.get(field).unwrap_or(&Value::Null);
        // Podman's word for a signal is its number.
        if !(facts.podman && field == "StopSignal" && said == "15") {
            check(field, value, said)?;
        }
    }
    for field in ["Entrypoint", "Volumes", "ExposedPorts", "OnBuild", "Healthcheck", "Shell"] {
        check(field, &Value::Null, got.get(field).unwrap_or(&Value::Null))?;
    }
    check("Cmd", &member(&wanted, "Cmd"), &member(&got, "Cmd"))?;
    environment(asked, said.env.as_deref().unwrap_or_default(), facts)?;
    labels(asked, &member(&got, "Labels"))?;
    networks(made)?;
    host(asked.host_config.as_ref(), made.host_config.as_ref(), facts)?;
    binds(asked, made)
}

fn host(
    asked: Option<&HostConfig>,
    made: Option<&HostConfig>,
    facts: &Facts,
) -> Result<(), EngineError> {
    let (Some(asked), Some(made)) = (asked, made) else {
        return Err(EngineError::Silent { what: "how it confined it" });
    };
    let (wanted, got) = (members(asked), members(made));
    let fields: std::collections::BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
    for field in fields {
        let (asked, got) = (member(&wanted, field), member(&got, field));
        let listed = ENGINES_OWN.iter().any(|(name, _)| *name == field.as_str());
        if listed || (facts.podman && podman::says(field, &asked, &got, facts)) {
            continue;
        }
        match field.as_str() {
            // Each with its own comparison, or compared where the engine tells of all mounts.
            "Mounts" | "Binds" => {}
            "Ulimits" | "SecurityOpt" | "CapDrop" | "MaskedPaths" | "ReadonlyPaths" => {
                check(field, &sorted(asked), &sorted(got))?;
            }
            _ => check(field, &asked, &got)?,
        }
    }
    Ok(())
}

fn check(field: &str, asked: &Value, got: &Value) -> Result<(), EngineError> {
    let nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    let default = || {
        let text = got.to_string();
        asked.is_null() && DEFAULTS.iter().any(|(name, value, _)| *name == field && *value == text)
    };
    if asked == got || (nothing(asked) && nothing(got)) || default() {
        return Ok(());
    }
    Err(differs(field, asked, got))
}

fn differs(field: &str, asked: &Value, got: &Value) -> EngineError {
    EngineError::Differs { field: field.to_owned(), asked: short(asked), got: short(got) }
}

/// Returns a value in few letters, safe to show: a profile has thousands.
fn short(value: &Value) -> String {
    let text = if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    let cut: String = text.chars().take(200).collect();
    model::text::escape(cut.as_bytes())
}

fn same(
    field: &str,
    asked: &str,
    got: &str,
    form: impl Fn(&str) -> String,
) -> Result<(), EngineError> {
    if form(asked) == form(got) { Ok(()) } else { Err(differs(field, &asked.into(), &got.into())) }
}

fn environment(
    asked: &ContainerCreateBody,
    got: &[String],
    facts: &Facts,
) -> Result<(), EngineError> {
    // Podman cannot be talked out of these; the command takes them away before the step begins.
    let added = |line: &&String| {
        let name = line.split('=').next().unwrap_or_default();
        !(facts.podman && podman::VARIABLES.contains(&name))
    };
    let asked = asked.env.as_deref().unwrap_or_default();
    let plain = |lines: &[String]| {
        let mut lines: Vec<String> =
            lines.iter().filter(added).filter(|line| line.contains('=')).cloned().collect();
        lines.sort();
        Value::from(lines)
    };
    let (asked, got) = (plain(asked), plain(got));
    if asked == got { Ok(()) } else { Err(differs("Env", &asked, &got)) }
}

fn labels(asked: &ContainerCreateBody, got: &Value) -> Result<(), EngineError> {
    for (name, value) in asked.labels.iter().flatten() {
        let got = got.get(name).cloned().unwrap_or_default();
        check(&format!("label {name}"), &value.as_str().into(), &got)?;
    }
    Ok(())
}

/// No network but the one that is none.
fn networks(made: &ContainerInspectResponse) -> Result<(), EngineError> {
    let networks = made.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    for (name, network) in networks.into_iter().flatten() {
        let addressed = network.ip_address.as_ref().is_some_and(|address| !address.is_empty());
        if name != "none" || addressed {
            return Err(differs("Networks", &"none".into(), &name.as_str().into()));
        }
    }
    Ok(())
}

/// Every mount that the engine tells of is one that was asked for, and every one that was asked for
/// is there.
fn binds(asked: &ContainerCreateBody, made: &ContainerInspectResponse) -> Result<(), EngineError> {
    let host = asked.host_config.as_ref();
    let line = |target: &str, source: &str, write: bool| format!("{target} {source} {write}");
    let mut wanted: Vec<String> = host
        .and_then(|host| host.mounts.as_ref())
        .into_iter()
        .flatten()
        .map(|mount| {
            line(
                mount.target.as_deref().unwrap_or_default(),
                mount.source.as_deref().unwrap_or_default(),
                mount.read_only != Some(true),
            )
        })
        .collect();
    let mut got = Vec::new();
    for mount in made.mounts.iter().flatten() {
        let kind = mount.typ.as_deref().unwrap_or_default();
        let target = mount.destination.as_deref().unwrap_or_default();
        let tmpfs = host.and_then(|host| host.tmpfs.as_ref());
        if kind == "tmpfs" && tmpfs.is_some_and(|tmpfs| tmpfs.contains_key(target)) {
            continue;
        }
        let propagation = mount.propagation.as_deref().unwrap_or_default();
        if kind != "bind" || propagation != "rprivate" {
            let got = format!("{kind} {target} {propagation}");
            return Err(differs("Mounts", &"private binds".into(), &got.into()));
        }
        let source = mount.source.as_deref().unwrap_or_default();
        got.push(line(target, source, mount.rw == Some(true)));
    }
    wanted.sort();
    got.sort();
    if wanted == got { Ok(()) } else { Err(differs("Mounts", &wanted.into(), &got.into())) }
}

fn members(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn member(members: &Map<String, Value>, field: &str) -> Value {
    members.get(field).cloned().unwrap_or_default()
}

/// Returns a list in one order.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Array(mut values) => {
            values.sort_by_key(ToString::to_string);
            Value::Array(values)
        }
        other => other,
    }
}

/// Writes down what the engine confirmed.
pub fn enforced(
    parts: &Parts,
    asked: &Asked<'_>,
    made: &ContainerInspectResponse,
    facts: &Facts,
) -> Enforced {
    use Guarantee as G;
    let mut out = Enforced::default();
    let image: String = asked.image.trim_start_matches("sha256:").chars().take(12).collect();
    out.add(G::Files, "engine", facts.words());
    out.add(G::Files, "image", format!("read-only, {image}"));
    out.add(G::Files, "copy", "private views and read-only inputs, bound from one folder");
    let told = if facts.podman { ", asked for; this engine does not tell" } else { "" };
    out.add(G::Files, "masked-paths", format!("as on the native backend, and /sys{told}"));
    out.add(G::Network, "network-none", "lo only");
    out.add(G::Processes, "pid-namespace", "killed with its first process");
    out.add(G::Processes, "ipc-namespace", "private");
    match asked.user {
        User::Given | User::Same => out.add(G::Identity, "user", "1000:1000"),
        User::Mapped => out.add(G::Identity, "user-namespace", "1000:1000 is the caller"),
        // Waived by name, or it would not have come so far.
        User::Callers(..) => {}
    }
    out.add(G::Identity, "no-capabilities", "all dropped");
    out.add(G::Identity, "uts-namespace", "localhost");
    out.add(G::Syscalls, "no-new-privileges", "set");
    out.add(G::Syscalls, "seccomp", format!("{} calls allowed", seccomp::allowed_count(false)));
    if let Some(profile) = made.app_armor_profile.as_ref().filter(|profile| !profile.is_empty()) {
        out.add(G::Syscalls, "apparmor", profile.clone());
    }
    limits(&mut out, parts, asked, facts);
    let none = "a container engine applies none";
    out.absent.insert(G::Landlock, none.to_owned());
    out
}

fn limits(out: &mut Enforced, parts: &Parts, asked: &Asked<'_>, facts: &Facts) {
    let limits = &asked.limits;
    let mut add = |mechanism: &str, detail: String| out.add(Guarantee::Limits, mechanism, detail);
    match limits.pids {
        Some(pids) => add(facts.cgroup, format!("pids {pids}")),
        None => add("rlimit", format!("pids {}", parts.limits.pids.value)),
    }
    if let Some(millis) = limits.cpu_millis {
        add(facts.cgroup, format!("cpu {}", model::limits::MilliCpus(millis)));
    }
    add("rlimit", format!("files {}", parts.limits.files.value));
    add("tmpfs", format!("/tmp and /dev/shm {} each", limits.work));
    add("measured", format!("disk {}, while it runs and at its end", limits.work));
    add("clock", format!("timeout {}", parts.timeout));
    match limits.memory {
        Some(memory) if limits.swap => add(facts.cgroup, format!("memory {memory}, no swap")),
        Some(memory) => add(facts.cgroup, format!("memory {memory}, swap not counted")),
        None => {
            let reason = "memory is not limited: the engine cannot";
            out.absent.insert(Guarantee::Limits, reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use model::AbsPath;
    use model::limits::{Bytes, Millis};
    use serde_json::json;

    use super::super::Engine;
    use super::super::client::tests::facts;
    use super::super::layout::layout;
    use super::super::request::{Limits, request};
    use super::*;
    use crate::native::setup::Seen;
    use crate::native::space::Space;

    fn asked() -> ContainerCreateBody {
        asked_of(&facts())
    }

    fn asked_of(facts: &Facts) -> ContainerCreateBody {
        let parts = Parts {
            root: "/store/root".into(),
            tree: model::Digest::of(b""),
            mounts: Vec::new(),
            files: Vec::new(),
            folders: Vec::new(),
            argv: vec!["make".to_owned()],
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            cwd: AbsPath::new("/build").expect("a clean path"),
            limits: model::limits::Limits::default(),
            timeout: Millis(1),
            cpus: None,
            widen: model::step::Widen::default(),
            waived: BTreeSet::new(),
            scratch: None,
        };
        let seen = Seen {
            root: BTreeMap::new(),
            sources: Vec::new(),
            work: Space::Memory { bytes: 1, size: 1 },
        };
        let layout = layout(&parts, &seen, &[]);
        let limits = Limits {
            memory: Some(Bytes(1 << 30)),
            swap: true,
            pids: Some(100),
            rlimit_pids: None,
            cpu_millis: None,
            processors: None,
            work: Bytes(1 << 20),
        };
        let staging = Path::new("/store/staging/x");
        let asked = Asked { image: "sha256:ab", staging, name: "x", user: User::Given, limits };
        let engine = Engine { sockets: Vec::new(), staging: "/store/staging".into() };
        request(&parts, &layout, &asked, &engine, facts)
    }

    /// What a faithful engine answers, with the defaults that one adds.
    fn faithful(asked: &ContainerCreateBody) -> Value {
        let mut config = serde_json::to_value(asked).expect("JSON");
        let mut host = config.as_object_mut().and_then(|all| all.remove("HostConfig")).expect("it");
        config["Env"] = json!(["PATH=/bin"]);
        for (field, value) in [
            ("CapAdd", Value::Null),
            ("ConsoleSize", json!([0, 0])),
            ("Devices", json!([])),
            ("PidMode", json!("")),
            ("Runtime", json!("runc")),
            ("OomKillDisable", json!(false)),
        ] {
            host[field] = value;
        }
        let mounts = host["Mounts"].as_array().expect("mounts").iter().map(|mount| {
            json!({"Type": "bind", "Source": mount["Source"], "Destination": mount["Target"],
                "RW": mount["ReadOnly"] != true, "Propagation": "rprivate"})
        });
        let mounts: Vec<Value> = mounts.collect();
        json!({"Image": "sha256:ab", "Config": config, "HostConfig": host, "Mounts": mounts,
            "NetworkSettings": {"Networks": {"none": {"IPAddress": ""}}}})
    }

    fn verdict(made: &Value) -> Result<(), String> {
        let made = serde_json::from_value(made.clone()).expect("an answer");
        compare(&asked(), &made, &facts()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_faithful_engine_is_believed() {
        assert_eq!(verdict(&faithful(&asked())), Ok(()));
    }

    /// Each field that was asked for, taken away; then each that was not, given.
    #[test]
    fn every_field_that_is_not_as_asked_is_a_difference() {
        let good = faithful(&asked());
        let host = good["HostConfig"].as_object().expect("members");
        let mut looked = 0;
        for (field, value) in host {
            let empty = value.is_null()
                || *value == json!(false)
                || *value == json!([])
                || *value == json!("")
                || *value == json!([0, 0]);
            // Mounts are compared where all of them are told, and the runtime is recorded.
            if empty || ["Mounts", "Runtime"].contains(&field.as_str()) {
                continue;
            }
            let mut bad = good.clone();
            bad["HostConfig"].as_object_mut().expect("members").remove(field);
            assert!(verdict(&bad).is_err(), "{field} is missing and nobody minds");
            looked += 1;
        }
        assert!(looked >= 17, "{looked} fields");
        for (field, value) in [
            ("Privileged", json!(true)),
            ("CapAdd", json!(["SYS_ADMIN"])),
            ("Devices", json!([{"PathOnHost": "/dev/kmsg"}])),
            ("DeviceRequests", json!([{"Driver": "x"}])),
            ("PidMode", json!("host")),
            ("UTSMode", json!("host")),
            ("UsernsMode", json!("host")),
            ("IpcMode", json!("host")),
            ("NetworkMode", json!("bridge")),
            ("CgroupnsMode", json!("host")),
            ("CgroupParent", json!("/other")),
            ("GroupAdd", json!(["0"])),
            ("ExtraHosts", json!(["a:1.2.3.4"])),
            ("Sysctls", json!({"kernel.shmmax": "1"})),
            ("VolumesFrom", json!(["x"])),
            ("OomKillDisable", json!(true)),
            ("OomScoreAdj", json!(-1000)),
            ("PortBindings", json!({"80/tcp": [{"HostPort": "80"}]})),
            ("MaskedPaths", json!([])),
            ("ReadonlyRootfs", json!(false)),
        ] {
            let mut bad = good.clone();
            bad["HostConfig"][field] = value;
            assert!(verdict(&bad).is_err(), "{field} is changed and nobody minds");
        }
    }

    #[test]
    fn other_programs_users_mounts_and_networks_are_differences() {
        let good = faithful(&asked());
        for (place, value) in [
            ("/Image", json!("sha256:cd")),
            ("/Config/User", json!("0:0")),
            ("/Config/Cmd", json!(["sh"])),
            ("/Config/Entrypoint", json!(["sh"])),
            ("/Config/Env", json!(["PATH=/bin", "LD_PRELOAD=/x"])),
            ("/Config/WorkingDir", json!("/")),
            ("/Config/Tty", json!(true)),
            ("/Config/Hostname", json!("host")),
            ("/Mounts/0/RW", json!(false)),
            ("/Mounts/0/Source", json!("/")),
            ("/Mounts/0/Type", json!("volume")),
            ("/Mounts/0/Propagation", json!("rshared")),
            ("/Mounts", json!([])),
            ("/NetworkSettings/Networks", json!({"bridge": {}})),
            ("/NetworkSettings/Networks/none/IPAddress", json!("172.17.0.2")),
        ] {
            let mut bad = good.clone();
            match bad.pointer_mut(place) {
                Some(member) => *member = value,
                None => bad["Config"]["Entrypoint"] = value,
            }
            assert!(verdict(&bad).is_err(), "{place}");
        }
    }

    /// Only where the command sets them, and before anything that the step's variables lead to.
    #[test]
    fn podman_without_root_may_drop_the_limits() {
        for (rootless, believed) in [(true, true), (false, false)] {
            let facts = Facts { podman: true, rootless, ..facts() };
            let asked = asked_of(&facts);
            let mut made = faithful(&asked);
            made["Config"]["Env"] =
                json!(["HOME=/", "PATH=/bin", "TERM=xterm", "container=podman"]);
            let ok = |made: &Value| {
                let made = serde_json::from_value(made.clone()).expect("an answer");
                compare(&asked, &made, &facts).is_ok()
            };
            assert!(ok(&made), "control");
            let command = asked.cmd.clone().expect("a command").join(" ");
            let sets = "/usr/bin/prlimit --core=1:1 --fsize=";
            assert_eq!(command.starts_with(sets), rootless, "{command}");
            assert!(command.ends_with("/usr/bin/env -i PATH=/bin make"), "{command}");
            let mut dropped = made.clone();
            dropped["HostConfig"]["Ulimits"] = json!([]);
            assert_eq!(ok(&dropped), believed);
            dropped["HostConfig"]["Ulimits"] = json!([{"Name": "nofile", "Soft": 9, "Hard": 9}]);
            assert!(!ok(&dropped), "others");
            made["Config"]["Env"] = json!(["LD_PRELOAD=/x"]);
            assert!(!ok(&made), "a variable that the starters would obey");
        }
    }

    #[test]
    fn defaults_have_a_reason_and_are_in_order() {
        assert!(DEFAULTS.iter().all(|(_, _, reason)| reason.len() > 4));
        assert!(ENGINES_OWN.iter().all(|(_, reason)| reason.len() > 4));
        assert!(DEFAULTS.is_sorted_by(|left, right| left.0 <= right.0));
    }
}
