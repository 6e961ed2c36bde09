//! The dependency picture: who may import whom, what may be imported where, and how much of it.

use std::collections::BTreeMap;
use std::process::Command;

use super::{files, refuse, top};

/// Every edge inside the workspace. A new one is a decision with a note in docs/adr/.
const EDGES: [(&str, &[&str]); 7] = [
    ("model", &[]),
    ("sandbox", &["model"]),
    ("fetch", &["model"]),
    ("attestor", &["model"]),
    ("runner", &["model", "sandbox", "fetch", "attestor"]),
    ("tests", &["model"]),
    ("benches", &["model", "sandbox", "runner"]),
];

/// Dependencies that carry a privilege, and the crates that hold it.
const HOMES: [(&str, &[&str]); 31] = [
    ("bollard", &["sandbox"]),
    ("bytes", &["sandbox"]),
    ("futures-util", &["sandbox"]),
    ("tokio", &["sandbox", "attestor"]),
    ("sha2", &["model"]),
    ("md-5", &["fetch"]),
    ("sha1", &["runner"]),
    ("nix", &["sandbox"]),
    ("libc", &["sandbox"]),
    ("landlock", &["sandbox"]),
    // Descriptor-relative file work and passing of descriptors: docs/adr/0001.
    ("rustix", &["sandbox", "runner", "attestor"]),
    ("p256", &["attestor"]),
    ("ed25519-dalek", &["attestor"]),
    ("zeroize", &["attestor"]),
    ("getrandom", &["attestor", "runner"]),
    ("cryptoki", &["attestor"]),
    ("in-toto", &["attestor"]),
    ("cel", &["attestor"]),
    ("regex", &["attestor"]),
    ("sigstore-verify", &["attestor"]),
    ("sigstore-trust-root", &["attestor"]),
    ("sigstore-sign", &["attestor"]),
    ("sigstore-types", &["attestor"]),
    ("serde_yaml", &["runner", "attestor"]),
    ("toml", &["runner", "attestor"]),
    ("globset", &["runner"]),
    ("flate2", &["runner"]),
    ("tar", &["runner", "sandbox"]),
    ("zstd", &["runner"]),
    ("clap", &["runner"]),
    ("tracing-subscriber", &["runner"]),
];

/// Most packages that Cargo.lock may hold. It only goes down; the final budget is 480.
const PACKAGES_MAX: usize = 390;

/// Lines of code aimed at, without tests and comments, and the ceiling, which only goes down but by a
/// sentence in the commit that says why.
const LINES: [(&str, usize, usize); 5] = [
    ("model", 1_500, 1_650),
    ("sandbox", 5_200, 12_050),
    ("fetch", 3_200, 3_200),
    ("attestor", 3_400, 16_800),
    ("runner", 4_800, 27_700),
];

#[derive(Debug)]
struct Dependency {
    name: String,
    for_tests: bool,
}

/// Asks cargo for the direct dependencies of every member.
fn packages() -> BTreeMap<String, Vec<Dependency>> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(top())
        .output()
        .expect("cargo can be started");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&cargo.stdout).expect("cargo metadata is JSON");
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .map(|dependency| Dependency {
                    name: dependency["rename"]
                        .as_str()
                        .map_or_else(|| text(&dependency["name"]), str::to_owned),
                    for_tests: dependency["kind"] == "dev",
                })
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

#[test]
fn leaves_never_meet_and_only_the_runner_composes() {
    let packages = packages();
    let members: Vec<&str> = packages.keys().map(String::as_str).collect();
    let mut breaches = Vec::new();
    for (package, dependencies) in &packages {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| name == package) else {
            breaches.push(format!("{package}: a crate that is not in the picture"));
            continue;
        };
        for Dependency { name, .. } in dependencies {
            if members.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                breaches.push(format!("{package}/Cargo.toml: {package} must not import {name}"));
            }
        }
    }
    refuse("an edge that is not in the picture of ARCHITECTURE.md", &breaches);
}

#[test]
fn dangerous_dependencies_have_one_home() {
    let mut breaches = Vec::new();
    for (package, dependencies) in packages() {
        for Dependency { name, for_tests } in dependencies {
            if let Some((_, homes)) = HOMES.iter().find(|(listed, _)| *listed == name)
                && !homes.contains(&package.as_str())
                && !for_tests
            {
                breaches.push(format!("{package}/Cargo.toml: {name} belongs to {homes:?}"));
            }
        }
    }
    refuse("a privilege outside its crate", &breaches);
}

#[test]
fn the_model_depends_on_nothing_that_does_io() {
    let pure = ["serde", "serde_json", "sha2", "thiserror"];
    let packages = packages();
    let breaches: Vec<String> = packages["model"]
        .iter()
        .filter(|dependency| !dependency.for_tests && !pure.contains(&dependency.name.as_str()))
        .map(|dependency| format!("model/Cargo.toml: {}", dependency.name))
        .collect();
    refuse("a dependency that the model must not have", &breaches);
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(top().join("Cargo.toml")).expect("it is there");
    let mut breaches = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if inside
            && !line.trim().is_empty()
            && !line.starts_with('#')
            && !line.contains("path = ")
            && line.rsplit_once('#').is_none_or(|(_, reason)| reason.trim().len() <= 10)
        {
            breaches.push(format!("Cargo.toml:{}: {line}", index + 1));
        }
    }
    // The fuzzer is no member, so that nobody else compiles libFuzzer; its versions are the root's.
    let apart = |path: &str| path == "attestor/fuzz/Cargo.toml";
    let of_members = |path: &str| path.ends_with("/Cargo.toml") && !apart(path);
    for file in files().iter().filter(|file| of_members(&file.path)) {
        let mut inside = false;
        for line in file.text.lines() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside && line.contains(" = ") && !line.contains("workspace = true") {
                breaches.push(format!("{}: not from the workspace: {line}", file.path));
            }
        }
    }
    refuse("a dependency without the reason it is worth its cost", &breaches);
}

#[test]
fn packages_stay_below_the_ceiling() {
    let lock = std::fs::read_to_string(top().join("Cargo.lock")).expect("it is there");
    let count = lock.lines().filter(|line| *line == "[[package]]").count();
    println!("packages in Cargo.lock: {count} of {PACKAGES_MAX}");
    assert!(count <= PACKAGES_MAX, "{count} packages, {PACKAGES_MAX} is the ceiling");
    assert!(count + 60 > PACKAGES_MAX, "lower PACKAGES_MAX: {count} are left");
}

#[test]
fn crates_stay_near_their_size() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for file in files().iter().filter(|file| file.ships()) {
        let code = super::code::without_tests(&super::code::without_words(&file.text));
        *lines.entry(file.package().to_owned()).or_default() +=
            code.lines().filter(|line| !line.trim().is_empty()).count();
    }
    let mut breaches = Vec::new();
    for (package, aim, ceiling) in LINES {
        let count = lines.get(package).copied().unwrap_or(0);
        println!("{package:<10} {count:>6} lines, aim {aim}, ceiling {ceiling}");
        if count > ceiling {
            breaches.push(format!("{package}: {count} lines, aim {aim}, ceiling {ceiling}"));
        }
    }
    refuse("a crate that has outgrown its privilege", &breaches);
}

#[test]
fn every_crate_is_born_with_a_test() {
    let files = files();
    let breaches: Vec<String> = EDGES
        .iter()
        .filter(|(package, _)| *package != "benches")
        .filter(|(package, _)| {
            !files.iter().any(|file| file.package() == *package && file.text.contains("#[test]"))
        })
        .map(|(package, _)| format!("{package}: no test"))
        .collect();
    refuse("a folder without a test", &breaches);
}

#[test]
fn the_sandbox_alone_may_hold_unsafe_code() {
    let mut breaches = Vec::new();
    for file in files().iter().filter(|file| file.ships()) {
        let crate_root = file.path.ends_with("/src/lib.rs");
        let fence = if file.package() == "sandbox" { "deny" } else { "forbid" };
        if crate_root && !file.text.contains(&format!("#![{fence}(unsafe_code)]")) {
            breaches.push(format!("{}: no {fence}(unsafe_code)", file.path));
        }
        let code = super::code::without_words(&file.text);
        for (index, line) in code.lines().enumerate() {
            let uses = line.contains("unsafe {") || line.contains("unsafe fn");
            if uses && file.path != "sandbox/src/native/sys.rs" {
                breaches.push(format!("{}:{}: {line}", file.path, index + 1));
            }
        }
    }
    refuse("unsafe code outside sandbox/src/native/sys.rs", &breaches);
}
