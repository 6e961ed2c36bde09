//! A user who may ask cannot have the attestor hoard memory, or go on with what nobody waits for.

use std::fs;

use super::{ASK, BUILDER, CONTROL, Host, can_be_others};

/// Most that the attestor may come to hold because of what is asked, in KiB.
const GROWTH_MAX: u64 = 96 << 10;

/// Returns the most memory that the attestor ever held, in KiB.
fn peak(host: &Host) -> u64 {
    let path = format!("/proc/{}/status", host.attestor_id());
    let status = fs::read_to_string(path).expect("we are root");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn list(kind: &str, item: &dyn Fn(usize) -> String, count: usize) -> String {
    let items: Vec<String> = (0..count).map(item).collect();
    format!("{{\"{kind}\":[{}]}}", items.join(","))
}

#[test]
fn requests_cost_no_memory_that_stays() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let order = |number: usize| {
        format!(
            r#"{{"asked":{{"build":{{"build_file":"a","target":"b","matrix":"","overrides":""}}}},"source":{{"uri":"local","commit":null,"subfolder":".","dirty":false}},"waivers":[],"nonce":"{number:032x}","deadline":1}}"#
        )
    };
    let names: Vec<String> = (0..130_000).map(|number| format!("\"{number}\":0")).collect();
    let socket = host.socket();
    let path = host.world.path("request.json").display().to_string();
    let before = peak(&host);
    for (what, text, told) in [
        (
            "more values than any Record",
            list("check-orders", &|_| r#"{"a":0}"#.into(), 520_000),
            "too many values",
        ),
        (
            "objects of another shape",
            list("check-orders", &|_| r#"{"a":0}"#.into(), 65_000),
            "unknown field",
        ),
        ("one object with many names", format!("{{{}}}", names.join(",")), "unknown variant"),
        ("orders that nobody opened", list("check-orders", &order, 8_000), "no order with nonce"),
        ("more bytes than any Record", format!("\"{}\"", "x".repeat(5 << 20)), "no answer"),
    ] {
        fs::write(&path, &text).expect("a file");
        let ran = host.run_as(BUILDER, &["python3", ASK, "many", &socket, "20", &path]).exits(0);
        let grown = peak(&host) - before;
        assert!(grown < GROWTH_MAX, "{what}: {} bytes, 20 times: {grown} KiB more", text.len());
        assert_eq!(ran.stdout.matches(told).count(), 20, "{what}: {}", ran.stdout);
    }
    // The control: what anybody else asks is answered.
    host.kiln_as(CONTROL, &["key", "show"]).exits(0);
}
