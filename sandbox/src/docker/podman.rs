//! What Podman tells of a container in other words than Docker, or not at all.
//!
//! Pure: used by the comparison of `observe.rs` for this engine alone.

use serde_json::{Value, json};

use super::client::Facts;
use super::observe::sorted;

/// Variables that Podman gives every container.
pub const VARIABLES: [&str; 5] = ["HOME", "HOSTNAME", "PATH", "TERM", "container"];

/// Capabilities that Podman gives without being told not to; it tells of `ALL` as this list and more.
const CAPABILITIES: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Small file systems that Podman adds to a read-only root. They are the container's own.
const TMPFS: [&str; 2] = ["/run", "/var/tmp"];

/// Says whether Podman tells of a field in other words what was asked, or tells nothing of it.
pub fn says(field: &str, asked: &Value, got: &Value, facts: &Facts) -> bool {
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    match field {
        "CapDrop" => {
            let dropped = texts(got);
            let all = CAPABILITIES;
            all.iter().all(|name| dropped.iter().any(|one| one.trim_start_matches("CAP_") == *name))
        }
        // Of its own in either word; "shareable" with a container that asks for it by name.
        "IpcMode" => got == "shareable",
        "LogConfig" => got.get("Type") == asked.get("Type"),
        // Not told: `tests/backends.rs` looks from inside.
        "CgroupnsMode" | "MaskedPaths" | "ReadonlyPaths" => {
            got.is_null() || got.as_str() == Some("")
        }
        "SecurityOpt" => {
            let mut asked = texts(asked);
            asked.retain(|option| !option.starts_with("mask="));
            let mut got = texts(got);
            got.retain(|option| !option.starts_with("mask="));
            sorted(asked.into()) == sorted(got.into())
        }
        "Tmpfs" => tmpfs(asked, got),
        // A user namespace of its own; with another mapping the step could not enter its folder, which is 0700.
        "UsernsMode" => facts.rootless && got == "private",
        // Before 5.5 it drops them without root; the command sets them in any case.
        "Ulimits" => (facts.rootless && *got == json!([])) || ulimits(asked, got),
        _ => false,
    }
}

fn tmpfs(asked: &Value, got: &Value) -> bool {
    let (Some(asked), Some(got)) = (asked.as_object(), got.as_object()) else { return false };
    let held = asked.iter().all(|(at, options)| {
        let got = got.get(at).and_then(Value::as_str).unwrap_or_default();
        let mut got = got.split(',');
        options.as_str().unwrap_or_default().split(',').all(|one| got.any(|other| other == one))
    });
    held && got.keys().all(|at| asked.contains_key(at) || TMPFS.contains(&at.as_str()))
}

fn ulimits(asked: &Value, got: &Value) -> bool {
    let one = |limit: &Value| {
        let name = limit.get("Name").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let name = name.trim_start_matches("rlimit_").to_owned();
        (name, (limit.get("Soft").cloned(), limit.get("Hard").cloned()))
    };
    let all = |value: &Value| -> std::collections::BTreeMap<_, _> {
        value.as_array().into_iter().flatten().map(one).collect()
    };
    // It adds one for processes, which its control group limits more closely.
    let mut got = all(got);
    got.retain(|name, _| name != "nproc" || all(asked).contains_key("nproc"));
    all(asked) == got
}
