//! The log of what was signed: a crash is mended, a change is found.

use std::fs;

use super::{BUILDER, Host, can_be_others};

#[test]
fn a_torn_line_is_mended_and_a_changed_log_is_found() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    let path = host.world.path("attestor/state/signed.log");
    let request = host.signed_request();
    let artifact = host.world.path("tmp/first");
    fs::copy(host.artifact(), &artifact).expect("it was built");
    host.world.write("src/input", "another input\n");
    host.world.commit();
    host.build(&host.order("out", BUILDER)).exits(0);
    let whole = fs::read_to_string(&path).expect("it is there");
    assert_eq!(whole.lines().count(), 2);
    // A crash in the middle of the second line: its envelope has its second name still.
    host.stop();
    let (first, second) = whole.split_once('\n').expect("two lines");
    let journal = host.world.path("attestor/state/journal");
    let nonce = serde_json::from_str::<serde_json::Value>(second).expect("a line")["nonce"].clone();
    let nonce = nonce.as_str().expect("a nonce");
    let mark = journal.join(".new-0123456789abcdef");
    fs::hard_link(journal.join(nonce), &mark).expect("we are root");
    for part in ["", &second[..22], &second[..second.len() - 1]] {
        fs::write(&path, format!("{first}\n{part}")).expect("we are root");
        let told = host.check_log().exits(0);
        assert!(told.says("1 lines") && told.stdout.matches("no line").count() == 1);
        let bytes = format!("{} bytes of an unfinished line", part.len());
        assert_eq!(told.says(&bytes), !part.is_empty(), "{}", told.stdout);
    }
    // What no crash leaves, though the second name is there; what follows an unfinished line is not passed over.
    let (odd, endless) = ("are no line that a crash left", "has no end within");
    let more = format!("{}{}", &second[..second.len() - 1], " ".repeat(5000));
    for (text, words) in [
        ("{\"previous\":\"sha256:00", odd),
        ("x", odd),
        (&"x".repeat(5000), endless),
        (&more, endless),
    ] {
        fs::write(&path, format!("{first}\n{text}")).expect("we are root");
        let told = host.check_log().exits(4);
        assert!(told.says(words), "{text}: {}", told.stderr);
    }
    // Nor is a line that was taken off the end a crash.
    fs::remove_file(&mark).expect("we are root");
    fs::write(&path, format!("{first}\n")).expect("we are root");
    let told = host.check_log().exits(4);
    assert!(told.says("has no line"), "{}", told.stderr);
    fs::write(&path, &whole).expect("we are root");
    assert!(host.check_log().exits(0).says("2 lines, the chain holds"));
    // Letters before the log, so many that no line is, or after it, when every envelope has its line.
    for (text, words) in
        [(format!("{}{whole}", "x".repeat(9000)), endless), (format!("{whole}{{\"previous\""), odd)]
    {
        fs::write(&path, text).expect("we are root");
        let told = host.check_log().exits(4);
        assert!(told.says(words), "{}", told.stderr);
    }
    // The crash again: what was unfinished is cut off, and the envelope, which never left, goes as well.
    fs::hard_link(journal.join(nonce), &mark).expect("we are root");
    fs::write(&path, format!("{first}\n{}", &second[..22])).expect("we are root");
    host.start();
    host.world.write("src/input", "a third input\n");
    host.world.commit();
    host.build(&host.order("out", BUILDER)).exits(0);
    let mended = fs::read_to_string(&path).expect("it is there");
    assert!(mended.starts_with(first) && mended.lines().count() == 2, "{mended}");
    assert!(host.check_log().exits(0).says("2 lines, the chain holds"));
    assert!(!mark.exists() && !journal.join(nonce).exists());
    host.world.write("src/input", "a fourth input\n");
    host.world.commit();
    host.build(&host.order("out", BUILDER)).exits(0);
    let mended = fs::read_to_string(&path).expect("it is there");
    assert!(host.check_log().exits(0).says("3 lines, the chain holds"));
    let lines: Vec<&str> = mended.lines().collect();
    // A log that is gone or empty is no log that holds.
    fs::write(&path, "").expect("we are root");
    assert_eq!(host.check_log().code, 4);
    fs::remove_file(&path).expect("we are root");
    assert_eq!(host.check_log().code, 4);
    // A crash between the envelope and its line: another one is signed when the request is repeated.
    let names: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line"))
        .map(|line| line["nonce"].as_str().expect("a nonce").to_owned())
        .collect();
    let saved = host.world.path("tmp");
    for name in &names {
        fs::copy(journal.join(name), saved.join(name)).expect("root");
        fs::hard_link(journal.join(name), journal.join(format!(".new-{name}"))).expect("root");
    }
    let told = host.check_log().exits(0);
    assert!(told.says("0 lines") && told.stdout.matches("no line").count() == 3, "{}", told.stdout);
    host.ask(BUILDER, &request, &[artifact.to_str().expect("UTF-8")]);
    assert!(host.check_log().exits(0).says("1 lines, the chain holds"));
    assert_eq!(fs::read_dir(&journal).expect("it is there").count(), 1);
    for name in &names {
        fs::copy(saved.join(name), journal.join(name)).expect("root");
    }
    // Whatever is changed in the middle is found.
    let other = mended.replacen("\"uid\":1000", "\"uid\":1002", 1);
    let without = [lines[0], lines[2], ""].join("\n");
    let swapped = [lines[1], lines[0], lines[2], ""].join("\n");
    let twice = [lines[0], lines[1], lines[2], lines[2], ""].join("\n");
    let odd = mended.replacen("{\"previous\"", "{\"more\":1,\"previous\"", 1);
    for (what, text) in [
        ("a user", other),
        ("a line less", without),
        ("order", swapped),
        ("a line more", twice),
        ("a member", odd),
    ] {
        fs::write(&path, text).expect("we are root");
        let told = host.check_log();
        assert_eq!(told.code, 4, "{what}: {}{}", told.stdout, told.stderr);
    }
    // A line taken off the end is an envelope without one.
    fs::write(&path, [lines[0], lines[1], ""].join("\n")).expect("we are root");
    host.check_log().exits(4);
}

/// What a crash leaves is cut off; whatever else somebody wrote there is kept, and nothing is signed after it.
#[test]
fn what_is_no_unfinished_line_is_not_cut_off() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    host.build(&host.order("out", BUILDER)).exits(0);
    let path = host.world.path("attestor/state/signed.log");
    let whole = fs::read_to_string(&path).expect("it is there");
    for (number, more) in ["{\"previous\"".to_owned(), "x".repeat(9000)].iter().enumerate() {
        let text = format!("{whole}{more}");
        fs::write(&path, &text).expect("we are root");
        host.world.write("src/input", &format!("another input {number}\n"));
        host.world.commit();
        let ran = host.build(&host.order("out", BUILDER));
        let left = fs::read_to_string(&path).expect("it is there");
        if number == 0 {
            assert!(ran.code == 0 && left.lines().count() == 2, "control: {}", ran.stderr);
        } else {
            assert!(ran.code != 0 && left == text, "{}", ran.stderr);
        }
    }
}
