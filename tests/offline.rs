//! Verifying opens no socket, and works where there is no network at all.

use std::fs;

use crate::support::{Who, World, build_file};

#[test]
fn verify_opens_no_socket() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        let file = build_file("cp input out", "{out: out}", "[{file: attack.out}]");
        world.write("kiln.yaml", &file);
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.key();
        world.kiln(&["build", "--sign"]).exits(0);
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
