//! The log of what was signed: a crash is mended, a change is found.

use std::fs;
use std::io::Write;

use super::{BUILDER, Host, can_be_others};

#[test]
fn a_torn_line_is_mended_and_a_changed_log_is_found() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    let path = host.world.path("attestor/state/signed.log");
    let request = host.signed_request();
    host.world.write("src/input", "another input\n");
    host.world.commit();
    host.build(&host.order("out", BUILDER)).exits(0);
    let whole = fs::read_to_string(&path).expect("it is there");
    assert_eq!(whole.lines().count(), 2);
    // A crash in the middle of the third line.
    host.stop();
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("it is there");
    file.write_all(b"{\"previous\":\"sha256:00").expect("there is room");
    let told = host.check_log().exits(0);
    assert!(told.says("2 lines") && told.says("22 bytes of an unfinished line"), "{}", told.stdout);
    host.start();
    host.world.write("src/input", "a third input\n");
    host.world.commit();
    host.build(&host.order("out", BUILDER)).exits(0);
    let mended = fs::read_to_string(&path).expect("it is there");
    assert!(mended.starts_with(&whole) && mended.lines().count() == 3, "{mended}");
    assert!(host.check_log().exits(0).says("3 lines, the chain holds"));
    // A crash between the envelope and its line: the line comes when the request is repeated.
    let lines: Vec<&str> = mended.lines().collect();
    fs::write(&path, "").expect("we are root");
    let told = host.check_log().exits(0);
    assert!(told.says("0 lines") && told.stdout.matches("no line").count() == 3, "{}", told.stdout);
    host.ask(BUILDER, &request, &[&host.artifact()]);
    let told = host.check_log().exits(0);
    assert!(told.says("1 lines") && told.stdout.matches("no line").count() == 2, "{}", told.stdout);
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
    let told = host.check_log().exits(0);
    assert!(told.says("2 lines") && told.stdout.matches("no line").count() == 1, "{}", told.stdout);
}
