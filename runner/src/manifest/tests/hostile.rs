//! The hostile cases of group H: whatever the file says, a refusal with a place, in bounded time
//! and memory, and never a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{EXPANDED_BYTES_MAX, FILE_BYTES_MAX, NODES_MAX};
use super::*;
use crate::diagnostic::Position;

/// Longest time that refusing a file may take: far above what it takes, far below what a bomb does.
const TIME_MAX: Duration = Duration::from_secs(20);

fn position(text: &[u8]) -> (Code, Position) {
    let found = parse(text, "kiln.yaml").map(|_| ()).unwrap_err();
    let place = found[0].place.as_ref().unwrap();
    (found[0].code, place.position.unwrap())
}

#[test]
fn h01_and_h12_what_is_no_text_is_refused_with_a_place() {
    let utf16: Vec<u8> = "kiln: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark: Vec<u8> = [&[0xff, 0xfe][..], &utf16].concat();
    let all: Vec<u8> = (0..=255).collect();
    for (bytes, line, column) in [
        (&b""[..], 1, 1),
        (b"\n\n", 1, 1),
        (b"kiln: 1\nname: caf\xe9\n", 2, 10),
        (b"kiln: 1\nname: a\0b\n", 2, 8),
        (&all, 2, 118),
        (&utf16, 1, 1),
        (&with_mark, 1, 1),
        (b"kiln: 1\nname: \"\x01\"\n", 2, 8),
        (b"\x7fELF\x02\x01\x01\0\0", 1, 8),
    ] {
        assert_eq!(position(bytes), (Code::NotYaml, Position { line, column }), "{bytes:?}");
    }
}

#[test]
fn h02_bombs_are_refused_at_once() {
    let blocks: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let aliases: String = (b'a'..b'j')
        .map(|name| {
            let (one, next) = (name as char, (name + 1) as char);
            format!("{next}: &{next} [*{one}, *{one}, *{one}, *{one}, *{one}, *{one}, *{one}]\n")
        })
        .collect();
    let start = Instant::now();
    for bytes in [
        vec![b'['; 100_000],
        b"{a: ".repeat(100_000),
        b"- ".repeat(100_000),
        b"? ".repeat(100_000),
        blocks.into_bytes(),
        format!("a: &a [x, x]\n{aliases}").into_bytes(),
        vec![b'#'; 200 << 20],
        vec![b'a'; FILE_BYTES_MAX],
        [&b"["[..], &b"a,".repeat(NODES_MAX + 1), b"]"].concat(),
        [&b"a: \""[..], &b"\\".repeat(FILE_BYTES_MAX - 10)].concat(),
    ] {
        let found = parse(&bytes, "kiln.yaml").map(|_| ()).unwrap_err();
        assert_eq!(found.len(), 1);
        assert!(matches!(found[0].code, Code::NotYaml | Code::WrongType), "{:?}", found[0]);
        assert!(found[0].render(Style::Drawn, 80).len() < 4000);
    }
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

#[test]
fn h02_a_file_with_many_mistakes_tells_a_bounded_number_of_them() {
    let keys: String = (0..9000).map(|number| format!("key-{number}: x\n")).collect();
    let needs: String = (0..9000).map(|number| format!("stp-{number}, ")).collect();
    let start = Instant::now();
    for text in [keys, step(&format!("    needs: [{needs}]\n"))] {
        assert_eq!(refused(&text).len(), 50);
    }
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

#[test]
fn h02_a_short_file_cannot_ask_for_endless_steps_or_text() {
    let axis = |name: &str| {
        let values: Vec<String> = (0..16).map(|value| format!("\"{value}\"")).collect();
        format!("{name}: [{}]", values.join(", "))
    };
    let steps: String = (0..200).map(|n| format!("  - {{name: s-{n}, run: x}}\n")).collect();
    let many =
        format!("kiln: 1\nname: t\nmatrix: {{{}, {}}}\nsteps:\n{steps}", axis("a"), axis("b"));
    check_codes(&many, &[Code::WrongValue]);
    let value = "v".repeat(249);
    let uses = "{matrix.a}".repeat(400);
    let env: String = (0..200).map(|n| format!("      V{n}: \"{uses}\"\n")).collect();
    let long = format!(
        "{}    env:\n{env}matrix: {{a: [\"1{value}\", \"2{value}\", \"3{value}\", \"4{value}\"]}}\n",
        step("")
    );
    assert!(value.len() * 400 * 200 * 4 > EXPANDED_BYTES_MAX && long.len() < FILE_BYTES_MAX);
    check_codes(&long, &[Code::WrongValue]);
    check_codes(
        &format!("{}matrix: {{{}, {}, {}}}\n", step(""), axis("a"), axis("b"), axis("c")),
        &[Code::WrongValue],
    );
}

#[test]
fn h02_what_a_matrix_repeats_is_counted() {
    let wide: String = (0..33).map(|axis| format!("a-{axis}: [x], ")).collect();
    check_codes(&format!("{}matrix: {{{wide}}}\n", step("")), &[Code::WrongValue]);
    let values: Vec<String> = (0..256).map(|value| format!("v{value}")).collect();
    let matrix = format!("matrix: {{a: [{}]}}\n", values.join(", "));
    let outputs: String = (0..6000).map(|n| format!("o-{n}: p/{n}, ")).collect();
    let needs = "build, ".repeat(9000);
    let script = "x".repeat(900_000);
    let start = Instant::now();
    for text in [
        format!("{}    outputs: {{{outputs}}}\n{matrix}", step("")),
        format!("{}  - {{name: b, run: x, needs: [{needs}]}}\n{matrix}", step("")),
        format!("kiln: 1\nname: t\nsteps: [{{name: a, run: {script}}}]\n{matrix}"),
    ] {
        check_codes(&text, &[Code::WrongValue]);
    }
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

#[test]
fn h03_a_long_cycle_is_found_without_recursion() {
    let count = 2000;
    let steps: String = (0..count)
        .map(|n| format!("  - {{name: s-{n}, run: x, needs: [s-{}]}}\n", (n + 1) % count))
        .collect();
    let found = refused(&format!("kiln: 1\nname: t\nsteps:\n{steps}"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, Code::Cycle);
    assert!(found[0].headline.starts_with("steps wait for each other: s-0 -> s-1 -> s-2"));
    assert!(found[0].headline.ends_with("… -> s-0"));
}

#[test]
fn h04_outputs_stay_below_the_work_folder() {
    for (path, code) in [
        ("/", Code::PathLeaves),
        ("/etc/passwd", Code::PathLeaves),
        ("..", Code::PathLeaves),
        ("a/../../b", Code::PathLeaves),
        ("\"\"", Code::WrongValue),
        (".", Code::WrongValue),
        ("./", Code::WrongValue),
        ("\"a\\0b\"", Code::WrongValue),
        ("\"{version}\"", Code::PathLeaves),
        ("\"{matrix.up}/x\"", Code::PathLeaves),
        ("\"{matrix.dot}\"", Code::WrongValue),
    ] {
        let head = "version: \"../..\"\nmatrix: {up: [\"..\"], dot: [\".\"]}\n";
        check_codes(&format!("{}    outputs: {{o: {path}}}\n{head}", step("")), &[code]);
    }
    expanded(
        "kiln: 1\nname: t\nsteps:\n\
         \x20 - {name: a, run: x, outputs: {o: src/out, p: src/out2}}\n\
         \x20 - {name: b, run: x, outputs: {o: src/out}}\n",
    );
    check_codes(&step("    outputs: {o: x, p: ./x}\n"), &[Code::Collision]);
}

#[test]
fn h05_the_name_of_a_step_is_never_a_path() {
    let long = "x".repeat(300);
    for name in ["../../x", "\"\"", "a/b", "\"a\\0b\"", "\"a\\nb\"", "CON", &long, "-x", "é", "a.b"]
    {
        check_codes(
            &format!("kiln: 1\nname: t\nsteps: [{{name: {name}, run: x}}]\n"),
            &[Code::WrongValue],
        );
    }
    expanded("kiln: 1\nname: t\nsteps: [{name: con, run: x}]\n");
}

#[test]
fn h06_names_and_values_of_variables_are_checked() {
    for (entry, code) in [
        ("\"A=B\": x", Code::WrongValue),
        ("\"\": x", Code::WrongValue),
        ("\"A\\0\": x", Code::WrongValue),
        ("A: \"x\\0\"", Code::WrongValue),
        ("A: 1", Code::WrongType),
        ("A: true", Code::WrongType),
        ("A: ~", Code::WrongType),
        ("A: [x]", Code::WrongType),
    ] {
        check_codes(&step(&format!("    env: {{{entry}}}\n")), &[code]);
    }
    let expanded = expanded(&step("    env: {LD_PRELOAD: /x.so, lower: x, \"A-B.C\": \"\"}\n"));
    assert_eq!(expanded.instances[0].env["LD_PRELOAD"], "/x.so");
}

#[test]
fn h07_amounts_are_amounts() {
    for time in ["-1", "0", "0s", "1e30", ".nan", "NaN", "\"10\"", "25h", "1d", "1.5h", "\" 1s\""] {
        check_codes(&step(&format!("    timeout: {time}\n")), &[Code::WrongValue]);
        check_codes(&step(&format!("    resources: {{idle: {time}}}\n")), &[Code::WrongValue]);
    }
    for size in ["1Q", "-1", "0", "1.5Gi", "99999999999Ti", "\"\"", "Gi", "1e9"] {
        check_codes(&step(&format!("    resources: {{memory: {size}}}\n")), &[Code::WrongValue]);
    }
    for cpu in ["0", "-1", ".nan", ".inf", "1e3", "\"x\"", "0.00001"] {
        check_codes(&step(&format!("    resources: {{cpu: {cpu}}}\n")), &[Code::WrongValue]);
    }
    for count in ["0", "-1", "99999999999999999999", "0x10"] {
        check_codes(&step(&format!("    resources: {{pids: {count}}}\n")), &[Code::WrongValue]);
        check_codes(&step(&format!("    cpus: {count}\n")), &[Code::WrongValue]);
    }
    for other in ["[1h]", "true", "~", "{}"] {
        check_codes(&step(&format!("    timeout: {other}\n")), &[Code::WrongType]);
    }
}

#[test]
fn h08_urls_never_become_options_or_helpers() {
    for url in [
        "\"--upload-pack=touch /tmp/x\"",
        "-oProxyCommand=x",
        "\"ext::sh -c x\"",
        "EXT::x",
        "ssh://-oProxyCommand=x/y",
        "http://git.example.org/x",
        "git://git.example.org/x",
        "\"https://\"",
        "\"\"",
        "\"a\\nb\"",
    ] {
        let text = format!("{}sources: {{src: {{git: {url}, ref: v1}}}}\n", step(""));
        check_codes(&text, &[Code::Reserved, Code::WrongValue]);
    }
    for url in
        ["https://git.example.org/x.git", "ssh://git@git.example.org/x", "file:///srv/x", "../x"]
    {
        let text = format!("{}sources: {{src: {{git: {url}, ref: v1}}}}\n", step(""));
        check_codes(&text, &[Code::Reserved]);
    }
}

#[test]
fn h10_a_credential_is_refused_and_never_shown() {
    for source in [
        "git: \"https://me:hunter2@git.example.org/x\", ref: v1",
        "git: \"ssh://me:hunter2@git.example.org/x\", ref: v1",
        "url: \"https://hunter2@example.org/x\"",
        "url: \"https://example.org/x\", mirrors: [\"https://me:hunter2@example.org/x\"]",
    ] {
        let found = refused(&format!("{}sources: {{src: {{{source}, bad: x}}}}\n", step("")));
        assert!(found.iter().any(|one| one.code == Code::Credential), "{source}");
        for one in found {
            assert!(!one.render(Style::Drawn, 80).contains("hunter2"), "{one:?}");
            assert!(!one.to_json().to_string().contains("hunter2"), "{one:?}");
        }
    }
    for variable in [
        "API_KEY: hunter2",
        "db_password: hunter2",
        "REMOTE: \"https://me:hunter2@example.org\"",
        "KEY_FILE: \"-----BEGIN PRIVATE KEY-----hunter2\"",
    ] {
        let found = refused(&step(&format!("    env: {{{variable}}}\n")));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].code, Code::Credential);
        assert!(!found[0].render(Style::Drawn, 80).contains("hunter2"));
    }
}

#[test]
fn h11_checksums_have_one_form() {
    let upper = "A".repeat(64);
    let (short, long) = ("a".repeat(63), "a".repeat(65));
    let prefixed = format!("sha256:{}", "a".repeat(64));
    for sum in ["\"\"", "x", &upper, &short, &long, &prefixed] {
        let url = format!("url: \"https://example.org/x\", sha256: {sum}");
        let text = format!("{}sources: {{src: {{{url}}}}}\n", step(""));
        check_codes(&text, &[Code::Reserved, Code::WrongValue]);
    }
}

#[test]
fn h13_values_are_data_and_never_read_again() {
    let odd = "$(touch x) `id` \"q\" 'q' \\n {name} {{ \\ \n\t;|&";
    let yaml =
        odd.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    let text =
        format!("{}    env: {{V: \"{{matrix.odd}}\"}}\nmatrix: {{odd: [\"{yaml}\"]}}\n", step(""));
    let expanded = expanded(&text);
    assert_eq!(expanded.instances[0].env["V"], odd);
    let id = expanded.instances[0].id.to_string();
    assert!(!id.contains('\n') && !id.contains('\t'), "{id}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(found) = parse(&bytes, "kiln.yaml") {
            prop_assert!(!found.is_empty());
            for one in found {
                one.render(Style::Coloured, 60);
            }
        }
    }

    #[test]
    fn no_text_of_yaml_letters_makes_the_reader_panic(text in "[a-c:,\\[\\]{}\"'#|>&*!%@?\\-\\. \n\t\r]{0,80}") {
        if let Err(found) = parse(text.as_bytes(), "kiln.yaml") {
            prop_assert!(!found.is_empty());
            for one in found {
                one.render(Style::Drawn, 60);
            }
        }
    }

    #[test]
    fn a_build_file_with_one_change_never_makes_the_reader_panic(
        at in 0..HELLO.len(),
        letter in "[:,\\[\\]{}\"'#|\\- \n\t\\.a-e0-9é\u{1f600}]",
        cut in 0..6_usize,
    ) {
        let end = (at + cut).min(HELLO.len());
        let text = format!("{}{letter}{}", &HELLO[..at], &HELLO[end..]);
        match parse(text.as_bytes(), "kiln.yaml") {
            Ok(manifest) => { expand(&manifest, Platform::HERE).unwrap(); }
            Err(found) => for one in found {
                let place = one.place.clone().unwrap();
                prop_assert!(place.position.unwrap().line <= text.lines().count() + 1);
                one.render(Style::Drawn, 60);
            },
        }
    }
}
