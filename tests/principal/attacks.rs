//! What users of the host may not have: signatures that nobody ordered, and the time of others.

use std::fs;

use serde_json::{Value, json};

use super::{
    ADMIN, ASK, ATTESTOR, BUILDER, CONTROL, Host, OTHER_BUILDER, OUTSIDER, Running, can_be_others,
    command_as,
};

/// Requests that are no signature.
fn others(nonce: &str) -> Vec<Value> {
    let order = json!({"asked": {"build": {"build_file": "kiln.yaml", "target": "out", "matrix": "", "overrides": ""}},
        "source": {"uri": "local", "commit": null, "subfolder": ".", "dirty": false},
        "waivers": [], "nonce": nonce, "deadline": 4_000_000_000_i64});
    vec![
        json!({"open-order": {"order": order, "builder": BUILDER}}),
        json!({"attest": {"predicate_type": "https://example.org/p/v1", "predicate": "{}", "subjects": [],
            "nonce": nonce, "deadline": 4_000_000_000_i64}}),
        json!({"generate": {"algorithm": "ed25519"}}),
        json!({"rotate": {"algorithm": "ed25519"}}),
        json!({"import": {"path": "/etc/passwd"}}),
    ]
}

/// Sets a member of the Order, or of what was observed, or of both.
fn with(request: &Value, halves: &[&str], pointer: &str, value: &Value) -> Value {
    let mut changed = request.clone();
    for half in halves {
        let at = format!("/sign/{half}{pointer}");
        *changed.pointer_mut(&at).unwrap_or_else(|| panic!("{at} is no member")) = value.clone();
    }
    changed
}

#[test]
fn the_build_user_gets_no_signature_that_was_not_ordered() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let request = host.signed_request();
    let artifact = host.artifact();
    let signed = host.world.read("kiln-out/out.intoto.jsonl");
    // The control: the same once more is the same bytes.
    let again = host.ask(BUILDER, &request, &[&artifact]);
    assert_eq!(again["signed"]["line"], signed.as_str(), "{again}");
    let both = ["order", "observed"];
    let fresh = json!("ab".repeat(16));
    let other = with(&request, &both, "/nonce", &fresh);
    host.refuses(BUILDER, &other, &[&artifact], "no-order");
    // Another order under the nonce that was signed for is known by its nonce already.
    for (pointer, value) in [
        ("/source/uri", json!("git+https://example.org/other")),
        ("/source/commit", json!("0".repeat(40))),
        ("/source/dirty", json!(true)),
        ("/asked/build/target", json!("other")),
        ("/asked/build/matrix", json!("a=b")),
        ("/waivers", json!(["limits"])),
    ] {
        host.refuses(BUILDER, &with(&request, &both, pointer, &value), &[&artifact], "nonce");
    }
    // The same under a nonce that is open and not yet answered.
    let opened = fs::read_to_string(host.order("out", BUILDER)).expect("orders");
    let opened: Value = serde_json::from_str(&opened).expect("one order");
    let mut open = with(&request, &["order"], "", &opened);
    open = with(&open, &["observed"], "/nonce", &opened["nonce"]);
    for (pointer, value) in [
        ("/source/uri", json!("git+https://example.org/other")),
        ("/source/commit", json!("0".repeat(40))),
        ("/source/dirty", json!(true)),
        ("/asked/build/target", json!("other")),
        ("/asked/build/overrides", json!("limits")),
        ("/waivers", json!(["limits"])),
    ] {
        host.refuses(BUILDER, &with(&open, &both, pointer, &value), &[&artifact], "no-order");
        // Observed alone is refused as ever.
        host.refuses(BUILDER, &with(&open, &["observed"], pointer, &value), &[&artifact], "record");
    }
    let later = opened["deadline"].as_i64().expect("a number") + 1;
    host.refuses(
        BUILDER,
        &with(&open, &["order"], "/deadline", &json!(later)),
        &[&artifact],
        "no-order",
    );
    // Other bytes than those that were observed.
    host.world.write("kiln-out/forged", "forged\n");
    let forged = host.world.path("project/kiln-out/forged").display().to_string();
    host.refuses(BUILDER, &open, &[&forged], "subject");
    // A reference in an input's address, which the order does not name.
    let inputs = open["sign"]["observed"]["dependencies"].as_array().expect("inputs");
    let source = inputs.iter().position(|one| one["role"] == "source").expect("a source");
    let tagged = json!("git+https://example.org/other@refs/tags/v9");
    let named = with(&open, &["observed"], &format!("/dependencies/{source}/uri"), &tagged);
    let told = host.ask(BUILDER, &named, &[&artifact]).to_string();
    assert!(told.contains("names a reference"), "{told}");
    // A file whose reads never end, or end when its server likes.
    let told = host.ask(BUILDER, &open, &["/proc/self/status"]).to_string();
    assert!(told.contains("on a file system that a user serves"), "{told}");
    assert!(told.contains("copy the file to a file system of the kernel's own"), "{told}");
    // What others ordered, or may order, is not the build user's.
    for request in others(&"cd".repeat(16)) {
        host.refuses(BUILDER, &request, &[], "role");
    }
    let refused = host.order_as(BUILDER, BUILDER, &opened_wanted(&opened), &[]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    // After all that the order is still open, for its own answer, once.
    let first = host.ask(BUILDER, &open, &[&artifact]);
    assert!(first["signed"]["line"].is_string(), "{first}");
    let mut twice = with(&open, &["observed"], "/subject/name", &json!("out"));
    twice["sign"]["observed"]["subject"]["blob"]["digest"] =
        json!(model::Digest::of(b"forged\n").to_string());
    twice["sign"]["observed"]["subject"]["blob"]["size"] = json!(7);
    host.refuses(BUILDER, &twice, &[&forged], "nonce");
    assert!(host.check_log().exits(0).says("2 lines, the chain holds"));
}

fn opened_wanted(order: &Value) -> String {
    json!({"asked": order["asked"], "source": order["source"], "waivers": order["waivers"]})
        .to_string()
}

#[test]
fn an_order_is_open_for_one_builder_until_its_deadline() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let request = host.signed_request();
    let artifact = host.artifact();
    let ordered = |builder| -> Value {
        let text = fs::read_to_string(host.order("out", builder)).expect("orders");
        serde_json::from_str(&text).expect("one order")
    };
    let answer = |order: &Value| {
        let answer = with(&request, &["order"], "", order);
        with(&answer, &["observed"], "/nonce", &order["nonce"])
    };
    // One that is open for somebody else is none.
    host.refuses(BUILDER, &answer(&ordered(OTHER_BUILDER)), &[&artifact], "no-order");
    // One whose deadline is past is none, and is swept when the next is opened.
    let mut late = ordered(BUILDER);
    let nonce = late["nonce"].as_str().expect("a nonce").to_owned();
    let kept = host.world.path(&format!("attestor/state/orders/{nonce}"));
    let mut open: Value =
        serde_json::from_slice(&fs::read(&kept).expect("it is open")).expect("JSON");
    // A run that ended ten seconds ago, and an order that was open until then.
    let run = &request["sign"]["observed"]["run"];
    let past = json!(run["finished"].as_i64().expect("a time") - 10);
    open["order"]["deadline"] = past.clone();
    late["deadline"] = past.clone();
    let mut answered = answer(&late);
    answered["sign"]["observed"]["run"]["finished"] = past.clone();
    answered["sign"]["observed"]["run"]["started"] = past;
    fs::write(&kept, open.to_string()).expect("we are root");
    let refused = host.ask(BUILDER, &answered, &[&artifact]);
    // By the order's own deadline or by the open one's: whichever is looked at first.
    let kind = refused["refused"]["kind"].as_str().expect("it is refused");
    assert!(["late", "no-order"].contains(&kind), "{refused}");
    open["order"]["deadline"] = json!(1);
    fs::write(&kept, open.to_string()).expect("we are root");
    ordered(BUILDER);
    assert!(!kept.exists(), "an order that is past is still there");
    // None is opened for the past, for ever, twice with two meanings, or for what was answered.
    let wanted = opened_wanted(&late);
    let past = host.order_as(CONTROL, BUILDER, &wanted, &["--seconds", "0"]).exits(2);
    assert!(past.says("KILN-0105") && past.says("no time at all"), "{}", past.stderr);
    let root = host.order_as(CONTROL, 0, &wanted, &[]).exits(2);
    assert!(root.says("KILN-0105") && root.says("names root"), "{}", root.stderr);
    let far = host.order_as(CONTROL, BUILDER, &wanted, &["--seconds", "1000000"]).exits(5);
    assert!(far.says("KILN-0706") && far.says("s away"), "{}", far.stderr);
    // The same by a program that checks nothing itself.
    for (pointer, value) in [("/order/deadline", json!(1)), ("/builder", json!(0))] {
        let mut open = json!({"order": ordered(BUILDER), "builder": BUILDER});
        *open.pointer_mut(pointer).expect("a member") = value;
        open["order"]["nonce"] = json!("cd".repeat(16));
        host.refuses(CONTROL, &json!({"open-order": open}), &[], "order");
    }
    let mut order = ordered(BUILDER);
    let again = json!({"open-order": {"order": order, "builder": BUILDER}});
    assert!(host.ask(CONTROL, &again, &[])["opened"]["order"].is_string());
    order["source"]["dirty"] = json!(true);
    let other = json!({"open-order": {"order": order, "builder": BUILDER}});
    host.refuses(CONTROL, &other, &[], "order");
    let answered = json!({"open-order": {"order": request["sign"]["order"], "builder": BUILDER}});
    host.refuses(CONTROL, &answered, &[], "order");
    for bad in ["", "{}", "[1]", "{\"asked\": 1}"] {
        let told = host.order_as(CONTROL, BUILDER, bad, &[]).exits(2);
        assert!(told.says("KILN-0105"), "{bad}: {}", told.stderr);
    }
}

#[test]
fn an_outsider_gets_nothing_and_nobody_more_than_their_role() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let request = host.signed_request();
    let artifact = host.artifact();
    let all: Vec<Value> =
        others(&"ef".repeat(16)).into_iter().chain([request.clone(), json!("show")]).collect();
    // Root and the attestor's own user are nobody either.
    for uid in [OUTSIDER, 0, ATTESTOR] {
        for request in &all {
            host.refuses(uid, request, &[], "role");
        }
    }
    let shown = host.kiln_as(OUTSIDER, &["key", "show"]).exits(5);
    assert!(shown.says("KILN-0706") && shown.says("user 1003 with group 1003"), "{}", shown.stderr);
    // Also who sends more than anybody reads hears why, and not only that the other end is closed.
    let predicate = host.world.path("tmp/predicate.json");
    fs::write(&predicate, json!({"x": "y".repeat(4 << 20)}).to_string()).expect("a file");
    let predicate = predicate.display().to_string();
    let more = ["--predicate", &predicate, "--type", "https://example.org/p/v1"];
    let told =
        host.kiln_as(OUTSIDER, &[&["attest", artifact.as_str()][..], &more].concat()).exits(5);
    assert!(told.says("user 1003 with group 1003"), "{}", told.stderr);
    host.refuses(CONTROL, &request, &[&artifact], "role");
    host.refuses(ADMIN, &request, &[&artifact], "role");
    for request in &others(&"ef".repeat(16))[2..] {
        host.refuses(CONTROL, request, &[], "role");
    }
    for request in &others(&"ef".repeat(16))[..2] {
        host.refuses(ADMIN, request, &[], "role");
    }
    // What the control plane may do: attest about files that it hands over.
    let attested = json!({"attest": {"predicate_type": "https://example.org/p/v1", "predicate": "{}",
        "subjects": [{"name": "out", "blob": request["sign"]["observed"]["subject"]["blob"]}],
        "nonce": "09".repeat(16), "deadline": 4_000_000_000_i64}});
    assert!(host.ask(CONTROL, &attested, &[&artifact])["signed"]["line"].is_string());
}

#[test]
fn one_user_cannot_keep_others_waiting() {
    if !can_be_others() {
        return;
    }
    let host = Host::without_key("requests-per-minute = 5");
    // Two connections that never finish a header, and no third one.
    let (socket, ready) = (host.socket(), host.world.path("tmp/ready"));
    let shown = ready.display().to_string();
    let arguments = ["python3", ASK, "stall", &socket, "2", &shown];
    let stalled = Running::start(&mut command_as(BUILDER, &arguments));
    while !ready.exists() {
        std::thread::yield_now();
    }
    // A third one of the same user is refused once the attestor has taken the two.
    let third: Vec<String> =
        (0..5).map(|_| host.ask(BUILDER, &json!("show"), &[]).to_string()).collect();
    let refused = third.last().expect("five were tried");
    assert!(refused.contains("user 1000 has 2 connections already"), "{refused}");
    host.kiln_as(ADMIN, &["key", "generate"]).exits(0);
    host.kiln_as(CONTROL, &["key", "show"]).exits(0);
    drop(stalled);
    // Announced sizes that are too large are refused; descriptors that do not come, and bytes that are no
    // request, not even that.
    for bytes in ["0100000100000000", "ffffffff00000000"] {
        let told = host.run_as(CONTROL, &["python3", ASK, "raw", &socket, bytes]).exits(0);
        assert!(told.says("too-large"), "{bytes}: {}", told.stdout);
    }
    for bytes in ["0000000200000001", "00000002ffffffff", "00"] {
        let told = host.run_as(CONTROL, &["python3", ASK, "raw", &socket, bytes]);
        assert_eq!((told.code, told.stderr.trim()), (1, "no answer"), "{bytes}: {}", told.stdout);
    }
    let told =
        host.run_as(CONTROL, &["python3", ASK, "raw", &socket, "00000002000000007b7b"]).exits(0);
    assert!(told.says("protocol"), "{}", told.stdout);
    // Requests beyond the minute's worth are refused, to that user alone.
    let refused = (0..8)
        .map(|_| host.ask(CONTROL, &json!("show"), &[]).to_string())
        .find(|answer| answer.contains("refused"));
    let refused = refused.expect("one is beyond the limit");
    assert!(refused.contains("5 requests in a minute; try again in"), "{refused}");
    host.kiln_as(ADMIN, &["key", "show"]).exits(0);
}

#[test]
fn further_statements_are_only_of_what_was_ordered() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let request = host.signed_request();
    let artifact = host.artifact();
    let both = ["order", "observed"];
    let other = with(&request, &both, "/nonce", &json!("ab".repeat(16)));
    let state = |request: &Value| json!({"state": {"record": request["sign"], "further": "link"}});
    let link = |request: &Value| json!({"classic-link": request["sign"]});
    for wrap in [&state as &dyn Fn(&Value) -> Value, &link] {
        host.refuses(BUILDER, &wrap(&other), &[&artifact], "no-order");
        host.refuses(CONTROL, &wrap(&request), &[&artifact], "role");
    }
    // Bytes of the builder's own choosing, under the Order that has the provenance of others.
    host.world.write("chosen", "other bytes");
    let chosen = host.world.path("project/chosen").display().to_string();
    let about = json!({"digest": model::Digest::of(b"other bytes"), "size": 11});
    let changed = with(&request, &["observed"], "/subject/blob", &about);
    for further in ["scai", "link", "test-result", "runtime-trace"] {
        let ask = json!({"state": {"record": changed["sign"], "further": further}});
        host.refuses(BUILDER, &ask, &[&chosen], "nonce");
    }
    host.refuses(BUILDER, &link(&changed), &[&chosen], "nonce");
    let signed = host.ask(BUILDER, &state(&request), &[&artifact]);
    assert!(signed["signed"]["line"].is_string(), "{signed}");
    assert!(host.check_log().exits(0).says("2 lines, the chain holds"));
}
