//! Builds of one user that end together wait for each other, and none fails.

use std::path::Path;

use serde_json::json;

use super::{ASK, BUILDER, Host, Running, can_be_others, command_as};

impl Host {
    /// Holds connections of the builder.
    fn hold(&self, count: &str) -> Running {
        let (socket, ready) = (self.socket(), self.world.path("tmp/ready").display().to_string());
        let arguments = ["python3", ASK, "stall", &socket, count, &ready];
        let held = Running::start(&mut command_as(BUILDER, &arguments));
        while !Path::new(&ready).exists() {
            std::thread::yield_now();
        }
        held
    }
}

#[test]
fn a_build_waits_until_its_user_may_ask_again() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let orders = host.order("out", BUILDER);
    let between = host.between();
    let (ours, busy) = (&between.socket, &between.busy);
    let held = host.hold("2");
    while !host.ask(BUILDER, &json!("show"), &[]).to_string().contains("connections already") {
        std::thread::yield_now();
    }
    let orders = orders.to_str().expect("UTF-8");
    std::thread::scope(|scope| {
        let build = scope.spawn(|| host.build_at(ours, &["--orders", orders]));
        while !busy.exists() && !build.is_finished() {
            std::thread::yield_now();
        }
        drop(held);
        let ran = build.join().expect("it ends");
        assert!(busy.exists(), "nobody was refused: {}", ran.stderr);
        ran.exits(0);
    });
    assert!(host.check_log().exits(0).says("1 lines, the chain holds"));
}

/// The attestor counts a connection off before it closes it, so whoever waits for that has it free again.
#[test]
fn a_command_ends_after_its_connection() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let orders = host.order("out", BUILDER);
    let between = host.between();
    let (ours, busy) = (&between.socket, &between.busy);
    let _held = host.hold("1");
    // One after the other, each with the one connection that is left.
    for _ in 0..3 {
        host.world.kiln(&["--attestor", &format!("unix:{ours}"), "key", "show"]).exits(0);
    }
    host.build_at(ours, &["--orders", orders.to_str().expect("UTF-8")]).exits(0);
    assert!(!busy.with_extension("gone").exists(), "a connection was closed and not waited for");
    assert!(!busy.exists(), "a connection was counted after its end");
}
