//! A user who may ask cannot have the attestor hoard memory, or go on with what nobody waits for.

use std::fs;

use serde_json::{Value, json};

use super::{ASK, BUILDER, CONTROL, Host, Running, can_be_others, command_as};

/// Most that the attestor may come to hold because of what is asked, in KiB: each of its eight workers may keep what its
/// largest request took, some 12 MiB.
const GROWTH_MAX: u64 = 128 << 10;

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
        ("orders that nobody opened", list("check-orders", &order, 4096), "no order with nonce"),
        ("orders of more than a build", list("check-orders", &order, 4097), "more than 4096"),
        ("more bytes than any Record", format!("\"{}\"", "x".repeat(5 << 20)), "too-large"),
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

/// More than anybody reads while a test runs: most of it is a hole.
const VAST: u64 = 8 << 40;

fn about_a_vast_file(nonce: &str, size: u64, deadline: i64) -> Value {
    json!({"attest": {"predicate_type": "https://example.org/p/v1", "predicate": "{}",
        "subjects": [{"name": "vast", "blob": {"digest": model::Digest::of(b""), "size": size}}],
        "nonce": nonce.repeat(16), "deadline": deadline}})
}

#[test]
fn a_file_is_read_only_while_somebody_waits_and_in_time() {
    if !can_be_others() {
        return;
    }
    let host = Host::without_key("requests-per-minute = 100000");
    let vast = host.world.path("project/vast");
    fs::File::create(&vast).and_then(|file| file.set_len(VAST)).expect("a file with a hole");
    let vast = vast.display().to_string();
    let far = 4_000_000_000;
    // A size that is not the file's own is refused before a byte is read.
    for size in [VAST - 1, VAST + 1, 0] {
        let told = host.ask(CONTROL, &about_a_vast_file("01", size, far), &[&vast]).to_string();
        assert!(told.contains(&format!("its file has {VAST}")), "{told}");
    }
    // Reading ends with the time that there is for it.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let soon = i64::try_from(since.expect("after 1970").as_secs()).expect("a time") + 2;
    let told = host.ask(CONTROL, &about_a_vast_file("02", VAST, soon), &[&vast]).to_string();
    assert!(told.contains("its time is over") || told.contains("late"), "{told}");
    // And with whoever asked for it: all connections of a user, each reading for ever.
    let (socket, path) = (host.socket(), host.world.path("tmp/vast.json"));
    fs::write(&path, about_a_vast_file("03", VAST, far).to_string()).expect("a file");
    let path = path.display().to_string();
    let arguments = ["python3", ASK, "ask", &socket, &path, &vast];
    let start = || Running::start(&mut command_as(CONTROL, &arguments));
    let mut reading = [start(), start()];
    let busy =
        || host.ask(CONTROL, &json!("show"), &[]).to_string().contains("connections already");
    let mut looks = 0..200;
    while !busy() {
        assert!(looks.next().is_some(), "it was answered");
        for one in &mut reading {
            // Who asked here, if it was faster, had the place.
            if one.0.try_wait().expect("it is our child").is_some() {
                *one = start();
            }
        }
    }
    drop(reading);
    assert!((0..200).any(|_| !busy()), "a file is read on for somebody who is gone");
    let again = about_a_vast_file("04", 0, far);
    assert!(host.ask(CONTROL, &again, &[&vast]).to_string().contains("its file has"));
}
