//! What can be known of an order is told before the first step, with what to do about it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{
    ATTESTOR, BUILDER, CONTROL, Host, OTHER_BUILDER, OUTSIDER, can_be_others, command_as, program,
};
use crate::support::Ran;

/// Changes the project, so that its step has to run, whatever other tests left in the store.
fn change(host: &Host, text: &str) {
    host.world.write("src/input", &format!("{text} {}\n", host.world.token));
    host.world.commit();
}

/// Builds, and checks that it is refused in these words before the step has run.
#[track_caller]
fn refused_early(host: &Host, orders: &Path, words: &[&str]) {
    let ran = host.build(orders).exits(5);
    for words in [&["KILN-0706"][..], words].concat() {
        assert!(ran.says(words), "{words}: {}", ran.stderr);
    }
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    for state in ["passed", "running", "cached"] {
        assert!(!shown.contains(state), "a step was looked at: {shown}");
    }
}

fn opened(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("orders")).expect("one order")
}

#[test]
fn orders_that_will_not_be_answered_are_told_before_the_first_step() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    change(&host, "an input of its own");
    let path = host.world.path("orders");
    let write = |order: &Value| fs::write(&path, order.to_string()).expect("a file");
    // Nobody opened it.
    let mut order = opened(&host.order("out", BUILDER));
    let nonce = order["nonce"].clone();
    order["nonce"] = Value::from("ab".repeat(16));
    write(&order);
    refused_early(&host, &path, &["no order with nonce", "have the control plane open an order"]);
    // Not as it was opened.
    order["nonce"] = nonce;
    order["deadline"] = Value::from(order["deadline"].as_i64().expect("a time") + 1);
    write(&order);
    refused_early(&host, &path, &["is not the one that was opened"]);
    // For another user.
    refused_early(&host, &host.order("out", OTHER_BUILDER), &["no order with nonce"]);
    // Past, by its own word.
    order["deadline"] = Value::from(1_000_000_000);
    write(&order);
    refused_early(&host, &path, &["2001-09-09T01:46:40Z", "--seconds N"]);
    // Of another source and target, which needs nobody to be asked.
    let mut other = opened(&host.order("out", BUILDER));
    other["source"]["commit"] = Value::from("0".repeat(40));
    write(&other);
    refused_early(&host, &path, &["no order of the control plane asks for this"]);
    // One that was answered is none for another build of the same; the one beside it is.
    let first = opened(&host.order("out", BUILDER));
    write(&first);
    host.build(&path).exits(0);
    host.build(&path).exits(0);
    let orders = ["--orders", path.to_str().expect("UTF-8"), "--no-cache"];
    let ran = host.build_at(&host.socket(), &orders).exits(5);
    assert!(ran.says("this order has been answered"), "{}", ran.stderr);
    assert!(ran.says("have another order opened") && !ran.says("nothing writes to the files"));
    let second = opened(&host.order("out", BUILDER));
    fs::write(&path, format!("{first}\n{second}\n")).expect("a file");
    // Of two that ask for the same, the one that is open for longer, or the later one.
    host.build_at(&host.socket(), &orders).exits(0);
    // A user who may ask for nothing hears that first.
    change(&host, "another input");
    host.order("out", BUILDER);
    let text = fs::read_to_string(host.world.path("attestor/config/attestor.toml")).expect("it");
    let swapped = text.replace(&format!("build = [{BUILDER}, "), "build = [");
    let mut host = host;
    host.stop();
    host.config(&swapped);
    host.start();
    refused_early(&host, &path, &["cannot reach the attestor", "`listen` in its attestor.toml"]);
}

#[test]
fn a_password_in_an_ordered_address_is_neither_sent_nor_printed() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let wanted = serde_json::json!({
        "asked": {"build": {"build_file": "kiln.yaml", "target": "out", "matrix": "", "overrides": ""}},
        "source": {"uri": "git+https://user:hunter2@git.example.org/a", "commit": null, "subfolder": ".", "dirty": false},
    });
    let silent = |ran: Ran, words: &str| {
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(shown.contains(words) && !shown.contains("hunter2"), "{shown}");
    };
    let refused = host.order_as(CONTROL, BUILDER, &wanted.to_string(), &[]).exits(2);
    silent(refused, "`git+https://git.example.org/a` is no source's address");
    // Nor by the attestor, whoever asks it.
    let mut order = opened(&host.order("out", BUILDER));
    order["source"] = wanted["source"].clone();
    order["nonce"] = Value::from("ab".repeat(16));
    let request = serde_json::json!({"open-order": {"order": order, "builder": BUILDER}});
    let answer = host.ask(CONTROL, &request, &[]);
    assert_eq!(answer["refused"]["kind"], "order", "{answer}");
    assert!(!answer.to_string().contains("hunter2"), "{answer}");
    for hidden in ["\u{202e}", "\n", "\u{0}", "\u{200b}", "\u{1b}[31m"] {
        let mut request = request.clone();
        request["open-order"]["order"]["source"]["uri"] =
            Value::from(format!("git+https://git.example.org/a{hidden}b"));
        assert_eq!(host.ask(CONTROL, &request, &[])["refused"]["kind"], "order", "{hidden:?}");
    }
    // Nor where a build compares what was ordered with what it is.
    let path = host.world.path("orders");
    fs::write(&path, order.to_string()).expect("a file");
    silent(host.build(&path).exits(5), "git+https://git.example.org/a at");
}

#[test]
fn every_failure_of_the_attestors_own_commands_has_a_code() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let socket = host.socket();
    let state = host.world.path("attestor/state").display().to_string();
    let order = ["order", "--socket", socket.as_str(), "--for"];
    for (arguments, code, exit, words) in [
        (vec![], "KILN-0105", 2, "needs to know what to do"),
        (vec!["lsten"], "KILN-0105", 2, "nothing that is called `lsten`"),
        (vec!["journal", "mend"], "KILN-0105", 2, "`journal mend`"),
        (vec!["listen"], "KILN-0105", 2, "`--config-dir` is missing"),
        (vec!["order", "--socket", "x", "--for", "1"], "KILN-0105", 2, "no absolute path: `x`"),
        (vec!["order", "--for", "1"], "KILN-0105", 2, "`--socket` is missing"),
        ([&order[..], &["me"]].concat(), "KILN-0105", 2, "`--for` is no whole number: `me`"),
        ([&order[..], &["0"]].concat(), "KILN-0105", 2, "names root"),
        ([&order[..], &["1", "--seconds", "0"]].concat(), "KILN-0105", 2, "no time at all"),
        ([&order[..], &["1", "--for", "2"]].concat(), "KILN-0105", 2, "given twice"),
        ([&order[..], &["1", "--force", "2"]].concat(), "KILN-0105", 2, "`--force` is no flag"),
        ([&order[..], &["1", "--seconds"]].concat(), "KILN-0105", 2, "needs a value"),
        ([&order[..], &["1"]].concat(), "KILN-0105", 2, "no order at all"),
        (vec!["journal", "verify", "--state-dir", "/nonexistent"], "KILN-0604", 7, "No such file"),
    ] {
        let all = [&[program(), "attestor"][..], &arguments].concat();
        let ran = Ran::of(&command_as(ATTESTOR, &all).output().expect("it can be started"));
        assert_eq!(ran.code, exit, "{arguments:?}: {}", ran.stderr);
        let first = ran.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("error[{code}]: ")), "{arguments:?}: {}", ran.stderr);
        assert!(ran.says(words) && ran.stdout.is_empty(), "{arguments:?}: {}", ran.stderr);
    }
    // Nobody there, somebody who may not, and a log that does not hold.
    let gone = host.world.path("nobody").display().to_string();
    let wanted = serde_json::json!({
        "asked": {"build": {"build_file": "kiln.yaml", "target": "out", "matrix": "", "overrides": ""}},
        "source": {"uri": "local", "commit": null, "subfolder": ".", "dirty": false},
    });
    let input = host.world.path("wanted");
    fs::write(&input, wanted.to_string()).expect("a file");
    let ask = |socket: &str, uid: u32| {
        let all = [program(), "attestor", "order", "--socket", socket, "--for", "1000"];
        let mut command = command_as(uid, &all);
        command.stdin(fs::File::open(&input).expect("it is there"));
        Ran::of(&command.output().expect("it can be started")).exits(5)
    };
    assert!(ask(&gone, CONTROL).says("error[KILN-0706]: the attestor cannot be asked"));
    assert!(ask(&socket, OUTSIDER).says("error[KILN-0706]: the attestor does not hear this user"));
    host.build(&host.order("out", BUILDER)).exits(0);
    host.check_log().exits(0);
    let journal = host.world.path("attestor/state/journal");
    fs::remove_dir_all(&journal).expect("we are root");
    let broken = host.check_log().exits(4);
    assert!(broken.says("error[KILN-0710]: the log of what was signed"), "{}", broken.stderr);
    let usage = host.run_as(ATTESTOR, &[program(), "attestor", "--help"]).exits(0);
    assert!(usage.stdout.contains("Usage: kiln attestor") && !state.is_empty());
}
