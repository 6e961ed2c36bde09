//! Verifying opens no socket, and works where there is no network at all.

use std::fs;

use crate::support::{Who, World};

#[test]
fn verify_opens_no_socket() {
    for who in Who::all() {
        let world = World::signed(who);
        let kiln = world.path("bin/kiln");
        let kiln = kiln.to_str().expect("UTF-8");
        let trace = world.path("tmp/trace");
        let trace = trace.to_str().expect("UTF-8");
        let traced = ["strace", "-f", "-qq", "-e", "trace=socket,connect", "-o", trace];
        let mut all = traced.to_vec();
        all.extend([kiln, "verify", "kiln-out/out"]);
        world.run(&all, &[]).exits(0);
        assert_eq!(fs::read_to_string(trace).expect("strace wrote it"), "", "{who:?}");
        // The control: strace sees a socket where there is one.
        let mut all = traced.to_vec();
        all.extend(["python3", "-c", "import socket; socket.socket()"]);
        world.run(&all, &[]).exits(0);
        assert!(fs::read_to_string(trace).expect("strace wrote it").contains("socket("));
        world.run(&["unshare", "-Urn", kiln, "verify", "kiln-out/out"], &[]).exits(0);
    }
}

/// The same with everything that a policy can ask for: expressions, other attestations, dependencies, and a
/// summary in the provenance's place.
#[test]
fn a_policy_is_checked_without_any_network() {
    for who in Who::all() {
        let world = World::signed(who);
        let policy = "policy: 1\nuri: https://policies.example.org/out\nhermetic: true\nmax-age: 1d\nrules: [{name: few, expr: \"size(dependencies) > 0\"}]\n";
        world.write("policy.yaml", policy);
        let deps = world.path("project/deps");
        fs::create_dir(&deps).expect("a folder");
        who.give(&deps);
        let address = "https://dl.example.org/out";
        world
            .kiln(&[
                "verify",
                "kiln-out/out",
                "--policy",
                "policy.yaml",
                "--resource-uri",
                address,
                "--vsa",
                "out.vsa.jsonl",
            ])
            .exits(0);
        let id = "https://kiln.build/verifiers/local/v1";
        let public = world.kiln(&["key", "export"]).exits(0).stdout;
        world.write("own.pem", &public);
        world.kiln(&["trust", "add", "own.pem", "--verifier-id", id]).exits(0);
        let kiln = world.path("bin/kiln");
        let kiln = kiln.to_str().expect("UTF-8");
        let trace = world.path("tmp/trace");
        let trace = trace.to_str().expect("UTF-8");
        for arguments in [
            &["kiln-out/out", "--policy", "policy.yaml", "--deps", "deps", "--explain"][..],
            &["kiln-out/out", "--bundle", "out.vsa.jsonl", "--resource-uri", address],
        ] {
            let traced = [
                "strace",
                "-f",
                "-qq",
                "-e",
                "trace=socket,socketpair,connect",
                "-o",
                trace,
                kiln,
                "verify",
            ];
            world.run(&[&traced[..], arguments].concat(), &[]).exits(0);
            assert_eq!(fs::read_to_string(trace).expect("strace wrote it"), "", "{who:?}");
            world.run(&[&["unshare", "-Urn", kiln, "verify"], arguments].concat(), &[]).exits(0);
        }
    }
}
