//! An order that no build can answer is not opened, and asking about orders keeps nobody waiting.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::{ADMIN, ATTESTOR, BUILDER, CONTROL, Host, OUTSIDER, can_be_others};

/// An order as it is asked for.
fn wanted() -> Value {
    json!({
        "asked": {"build": {"build_file": "kiln.yaml", "target": "out", "matrix": "", "overrides": ""}},
        "source": {"uri": "local", "commit": null, "subfolder": ".", "dirty": false},
        "waivers": [],
    })
}

/// The same as it is sent, under this nonce.
fn open(wanted: &Value, nonce: &str, builder: u32) -> Value {
    let mut order = wanted.clone();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    order["deadline"] = json!(since.expect("after 1970").as_secs() + 3600);
    order["nonce"] = json!(nonce.repeat(16));
    json!({"open-order": {"order": order, "builder": builder}})
}

#[test]
fn no_order_is_opened_that_no_build_can_answer() {
    if !can_be_others() {
        return;
    }
    let host = Host::without_key("");
    let run = json!({"run": {"command": "[\"curl\", \"https://user:hunter2@example.org/\"]",
        "inputs": "[]", "outputs": "[\"out\"]", "packages": "[]", "environment": "{}", "target": "out"}});
    for (pointer, value, rule) in [
        ("/waivers", json!(["network"]), "the network guarantee can not be waived"),
        ("/asked/build/target", json!("../x"), "the artifact's name `../x`"),
        ("/asked/build/target", json!(""), "the artifact's name ``"),
        ("/asked/build/target", json!("SHA256SUMS"), "the artifact's name `SHA256SUMS`"),
        ("/asked/build/target", json!("out "), "the artifact's name `out ` is not plain"),
        ("/asked/build/matrix", json!("a=https://u:hunter2@example.org/"), "`build.matrix` holds"),
        ("/asked", run, "`run.command` holds"),
    ] {
        let mut bad = wanted();
        *bad.pointer_mut(pointer).expect("a member") = value;
        // Our own command does not send it, and an attestor does not open it for any other.
        let told = host.order_as(CONTROL, BUILDER, &bad.to_string(), &[]).exits(2);
        assert!(
            told.says("KILN-0105") && told.says("no build can answer order 1"),
            "{}",
            told.stderr
        );
        let answer = host.ask(CONTROL, &open(&bad, "ab", BUILDER), &[]);
        assert_eq!(answer["refused"]["kind"], "order", "{answer}");
        for told in [told.stderr, answer.to_string()] {
            assert!(told.contains(rule) && !told.contains("hunter2"), "{rule}: {told}");
        }
    }
    // Who has no role, another one, or is the attestor itself.
    for uid in [OUTSIDER, CONTROL, ADMIN, ATTESTOR, 4242] {
        let told = host.order_as(CONTROL, uid, &wanted().to_string(), &[]).exits(5);
        assert!(told.says("KILN-0706"), "{}", told.stderr);
        assert!(told.says(&format!("user {uid} is to answer it, and no build")), "{}", told.stderr);
        host.refuses(CONTROL, &open(&wanted(), "ab", uid), &[], "order");
    }
    // The control: what can be answered is opened, under the nonce that nothing was opened under.
    let opened = host.ask(CONTROL, &open(&wanted(), "ab", BUILDER), &[]);
    assert!(opened["opened"]["order"].is_string(), "{opened}");
    assert_eq!(fs::read_dir(host.world.path("attestor/state/orders")).expect("it").count(), 1);
}

#[test]
fn whoever_asks_about_orders_holds_up_nobody() {
    if !can_be_others() {
        return;
    }
    let host = Host::without_key("");
    let opening = open(&wanted(), "ab", BUILDER);
    host.ask(CONTROL, &opening, &[]);
    let asked = json!({"check-orders": vec![opening["open-order"]["order"].clone(); 3]});
    let next = open(&wanted(), "cd", BUILDER);
    // Somebody else has the state to itself, for as long as it likes.
    let path = host.world.path("attestor/state/lock");
    let lock = fs::File::open(&path).expect("we are root");
    let ino = format!(":{} ", lock.metadata().expect("it is open").ino());
    lock.lock().expect("nobody asks now");
    let waits = || {
        let locks = fs::read_to_string("/proc/locks").expect("we are root");
        locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&ino))
    };
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| host.ask(BUILDER, &asked, &[]));
        while !answer.is_finished() {
            if waits() {
                drop(lock);
                panic!("who asks about orders waits for the lock");
            }
        }
        assert_eq!(answer.join().expect("it ends"), json!("open"));
        // The control: who opens one waits, and is seen to wait.
        let opened = scope.spawn(|| host.ask(CONTROL, &next, &[]));
        while !waits() {
            assert!(!opened.is_finished(), "an order was opened without the lock");
        }
        drop(lock);
        assert!(opened.join().expect("it ends")["opened"].is_object());
    });
}

/// What a crash left of an answer that never left is no answer.
#[test]
fn an_order_whose_answer_was_cut_off_is_open() {
    if !can_be_others() {
        return;
    }
    let host = Host::without_key("");
    let opening = open(&wanted(), "ab", BUILDER);
    host.ask(CONTROL, &opening, &[]);
    let asked = json!({"check-orders": [opening["open-order"]["order"]]});
    assert_eq!(host.ask(BUILDER, &asked, &[]), json!("open"));
    let journal = host.world.path("attestor/state/journal");
    let entry = journal.join("ab".repeat(16));
    fs::write(&entry, "kiln-journal/1 half").expect("we are root");
    let damaged = host.ask(BUILDER, &asked, &[]).to_string();
    assert!(damaged.contains("is damaged"), "control: {damaged}");
    fs::hard_link(&entry, journal.join(".new-0123456789abcdef")).expect("we are root");
    assert_eq!(host.ask(BUILDER, &asked, &[]), json!("open"));
    assert_eq!(fs::read_dir(&journal).expect("it is there").count(), 0);
}

/// Whoever asks again has built again, so the Record is another one: an envelope that never left stands in nobody's way.
#[test]
fn an_order_whose_envelope_never_left_is_answered_by_the_next_build() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let order = host.order("out", BUILDER);
    host.build(&order).exits(0);
    let journal = host.world.path("attestor/state/journal");
    let entries = || fs::read_dir(&journal).expect("it is there").flatten().map(|one| one.path());
    let anew = || {
        fs::remove_dir_all(host.world.path("project/kiln-out")).expect("it was built");
        host.build(&order)
    };
    let answered = anew().exits(5);
    assert!(answered.says("KILN-0706"), "control: {}", answered.stderr);
    // Killed before the line was written.
    let entry = entries().next().expect("it was signed");
    fs::hard_link(&entry, journal.join(".new-0123456789abcdef")).expect("we are root");
    fs::remove_file(host.world.path("attestor/state/signed.log")).expect("we are root");
    host.build(&order).exits(0);
    assert_eq!(entries().count(), 1);
    assert!(host.check_log().exits(0).says("1 lines, the chain holds"));
}

/// Where nothing was signed, nothing holds; looking changes nothing.
#[test]
fn a_log_that_is_not_there_is_not_said_to_hold() {
    if !can_be_others() {
        return;
    }
    let host = Host::without_key("");
    let (told, state) = (host.check_log().exits(4), host.world.path("attestor/state"));
    assert!(told.says("KILN-0710") && told.says("nothing was signed here"), "{}", told.stderr);
    fs::remove_dir_all(&state).expect("we are root");
    fs::create_dir(&state).expect("we are root");
    host.check_log().exits(4);
    assert_eq!(fs::read_dir(&state).expect("it is there").count(), 0);
}

/// What a build asks with is a Record; one that is too large is told so, whichever way it is sent.
#[test]
fn a_request_that_is_too_large_is_answered_with_the_limit() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let request = host.signed_request();
    let artifact = host.artifact();
    let mut large = request.clone();
    large["sign"]["observed"]["sandbox_profile"] = json!("x".repeat(4 << 20));
    let size = large.to_string().len();
    let answer = host.ask(BUILDER, &large, &[&artifact]);
    assert_eq!(answer["refused"]["kind"], "too-large", "{answer}");
    let told = answer.to_string();
    assert!(told.contains(&format!("a message of {size} bytes is announced")), "{told}");
    assert!(told.contains("more than 4194304") && told.contains("build in parts"), "{told}");
    // The control: the same request as it was is answered as ever.
    assert!(host.ask(BUILDER, &request, &[&artifact])["signed"]["line"].is_string());
}

/// What lies there answers the order that it was signed under, and no other: an open order is not left open by a build
/// that says it signed.
#[test]
fn an_order_is_answered_by_what_is_signed_under_it_and_by_nothing_else() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let signed = || host.check_log().exits(0).stdout;
    let first = host.order("out", BUILDER);
    assert!(host.build(&first).exits(0).says("   signed\n"));
    // The control: the same order once more is answered already, and what lies there is its answer.
    assert!(host.build(&first).exits(0).says("   signed before\n"));
    assert!(signed().contains("1 lines"), "{}", signed());
    // Every step has its result, and still the order asks for a statement.
    let second = host.order("out", BUILDER);
    assert!(host.build(&second).exits(0).says("   signed\n"));
    assert!(signed().contains("2 lines"), "{}", signed());
    // Where a step runs the order has to be open.
    let socket = host.socket();
    let path = second.to_str().expect("UTF-8");
    let refused = host.build_at(&socket, &["--no-cache", "--orders", path]).exits(5);
    assert!(refused.says("KILN-0706"), "{}", refused.stderr);
    let third = host.order("out", BUILDER);
    let path = third.to_str().expect("UTF-8");
    assert!(host.build_at(&socket, &["--no-cache", "--orders", path]).exits(0).says("   signed\n"));
    assert!(signed().contains("3 lines"), "{}", signed());
}
