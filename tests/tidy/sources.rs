//! What no source file may hold.

use super::code::{closing, without_tests, without_words};
use super::{File, files, refuse};

/// Most lines of a file, its tests aside.
const LINES_MAX: usize = 600;
/// Most lines of the file in the middle.
const LINES_MEDIAN: usize = 250;

/// Fields whose name speaks of a digest but whose type is not ours, with the reason.
const OTHER_DIGESTS: [(&str, &str, &str); 0] = [];

/// Files that may print, with the reason.
const PRINTERS: [(&str, &str); 2] = [
    ("runner/src/report", "all printing of the build process"),
    ("runner/src/main.rs", "the last word when nothing else can be said"),
];

/// Structs that read a format of ours and yet let unknown fields pass, with the reason.
const LENIENT: [(&str, &str, &str); 2] = [
    ("attestor/src/claims.rs", "Dependency", "in-toto asks that unknown members are read past"),
    ("attestor/src/claims.rs", "Enforced", "in-toto asks that unknown members are read past"),
];

/// Calls `look` with every line of code of every shipped file, tests aside.
fn each_line(look: &mut dyn FnMut(&File, usize, &str)) {
    for file in files().iter().filter(|file| file.ships()) {
        let code = without_tests(&without_words(&file.text));
        for (index, line) in code.lines().enumerate() {
            look(file, index + 1, line);
        }
    }
}

/// Returns a breach for each line of code that holds one of `words`, but in the files of `but`.
fn lines_with(words: &[&str], but: &[&str]) -> Vec<String> {
    let mut breaches = Vec::new();
    each_line(&mut |file, number, line| {
        if words.iter().any(|word| line.contains(word))
            && !but.iter().any(|path| file.path.starts_with(path))
        {
            breaches.push(format!("{}:{number}: {}", file.path, line.trim()));
        }
    });
    breaches
}

/// Joins two halves of a word that must not stand in this file either.
fn joined(halves: &[(&str, &str)]) -> Vec<String> {
    halves.iter().map(|(left, right)| format!("{left}{right}")).collect()
}

#[test]
fn files_are_short() {
    let mut lengths = Vec::new();
    let mut breaches = Vec::new();
    for file in files().iter().filter(|file| file.ships()) {
        let code = without_tests(&without_words(&file.text));
        let tests = code.lines().zip(file.text.lines()).filter(|(kept, all)| kept != all);
        let only_tests = tests.filter(|(kept, all)| kept.trim().is_empty() && !is_comment(all));
        let lines = file.text.lines().count() - only_tests.count();
        lengths.push(lines);
        if lines > LINES_MAX {
            breaches.push(format!("{}: {lines} lines", file.path));
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    println!("files: median {median} lines, longest {:?}", lengths.last());
    refuse("a file over 600 lines", &breaches);
    assert!(median <= LINES_MEDIAN, "the median file has {median} lines");
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn every_file_says_what_it_is() {
    let breaches: Vec<String> = files()
        .iter()
        .filter(|file| file.path.ends_with(".rs") && !file.text.starts_with("//! "))
        .map(|file| format!("{}:1: does not begin with //!", file.path))
        .collect();
    refuse("a file without a head", &breaches);
}

#[test]
fn no_file_is_named_after_nothing() {
    let nothing = ["util", "utils", "common", "misc", "manager", "helpers", "helper"];
    let breaches: Vec<String> = files()
        .iter()
        .filter(|file| {
            file.path
                .split('/')
                .any(|part| nothing.contains(&part.split('.').next().unwrap_or(part)))
        })
        .map(|file| file.path.clone())
        .collect();
    refuse("what has no name has no place", &breaches);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut breaches = lines_with(&[".unwrap()"], &[]);
    each_line(&mut |file, number, line| {
        if line.contains(".expect(") && !file.text.contains("clippy::expect_used") {
            breaches.push(format!("{}:{number}: expect without its proof", file.path));
        }
    });
    refuse("an unwrap", &breaches);
}

#[test]
fn there_is_one_digest_type() {
    let mut breaches = Vec::new();
    each_line(&mut |file, number, line| {
        let line = line.trim();
        let bare = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        let Some((name, kind)) = bare.split_once(": ") else { return };
        let speaks = ["digest", "hash", "sha256"].iter().any(|word| name.contains(word));
        let plain = ["String", "Option<String>", "Vec<String>", "[u8; 32]", "&'static str"]
            .contains(&kind.trim_end_matches(','));
        let field = name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter));
        let listed =
            OTHER_DIGESTS.iter().any(|(path, field, _)| *path == file.path && *field == name);
        if speaks && plain && field && !listed && file.path != "model/src/digest.rs" {
            breaches.push(format!("{}:{number}: {line}", file.path));
        }
    });
    refuse("a digest that is not a model::Digest", &breaches);
}

/// Calls `look` with each `enum` or `struct` of the shipped code: its file, line, name and body.
fn each_type(kind: &str, look: &mut dyn FnMut(&File, usize, &str, &str)) {
    for file in files().iter().filter(|file| file.ships()) {
        let code = without_tests(&without_words(&file.text));
        for (at, _) in code.match_indices(&format!("{kind} ")) {
            let before = code[..at].lines().last().unwrap_or("");
            if !before.trim().is_empty()
                && !before.trim_end().ends_with(')')
                && before.trim() != "pub"
            {
                continue;
            }
            let rest = &code[at + kind.len() + 1..];
            let name: String = rest
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            let end = rest.find([';', '{']).unwrap_or(rest.len());
            let body = if rest[end..].starts_with('{') {
                let open = at + kind.len() + 1 + end;
                &code[open..closing(&code, open)]
            } else {
                ""
            };
            look(file, code[..at].lines().count(), &name, body);
        }
    }
}

#[test]
fn errors_hold_operands_not_sentences() {
    let mut breaches = Vec::new();
    each_type("enum", &mut |file, number, name, body| {
        if name.ends_with("Error") {
            for (index, line) in body.lines().enumerate() {
                if line.trim_end_matches(',').ends_with("(String)") {
                    breaches.push(format!("{}:{}: {}", file.path, number + index, line.trim()));
                }
            }
        }
    });
    refuse("an error variant that holds a bare String", &breaches);
}

#[test]
fn our_formats_refuse_unknown_fields() {
    let mut breaches = Vec::new();
    each_type("struct", &mut |file, number, name, body| {
        let lines: Vec<&str> = file.text.lines().take(number).collect();
        let attributes: Vec<&str> = lines
            .iter()
            .rev()
            .skip(1)
            .take_while(|line| {
                let line = line.trim();
                line.starts_with('#') || line.starts_with("//") || line.ends_with(")]")
            })
            .copied()
            .collect();
        let all = attributes.join(" ");
        let reads =
            attributes.iter().any(|line| line.contains("derive") && line.contains("Deserialize"));
        let strict = all.contains("deny_unknown_fields") || all.contains("transparent");
        let listed = LENIENT.iter().any(|(path, named, _)| *path == file.path && *named == name);
        if reads && !strict && !listed && body.contains(':') {
            breaches.push(format!("{}:{number}: {name}", file.path));
        }
    });
    refuse("a struct that reads a format of ours and lets unknown fields pass", &breaches);
}

#[test]
fn async_stays_at_the_rims() {
    let rims = ["sandbox/src/docker/", "attestor/src/sigstore/", "remote/", "server/"];
    refuse("async outside the rims", &lines_with(&["async fn", ".await", "tokio"], &rims));
}

#[test]
fn libraries_never_print() {
    let printers = PRINTERS.map(|(path, _)| path);
    let words = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!"];
    refuse("printing outside runner/src/report", &lines_with(&words, &printers));
}

#[test]
fn no_environment_clock_or_folder_is_read_outside_the_context() {
    let readers = ["runner/src/context.rs", "attestor/src/process"];
    let words =
        ["env::var", "SystemTime::now", "env::current_dir", "env::home_dir", "Timestamp::now"];
    refuse("ambient authority", &lines_with(&words, &readers));
}

#[test]
fn no_process_wide_state_is_changed() {
    let words = ["set_current_dir", "env::set_var", "env::remove_var", "::umask(", "::chdir("];
    let child = ["sandbox/src/native/", "attestor/src/process/"];
    refuse("process-wide state", &lines_with(&words, &child));
}

#[test]
fn nothing_is_left_to_do() {
    let words = joined(&[
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("todo", "!("),
        ("unimple", "mented!("),
    ]);
    let mut breaches = Vec::new();
    for file in files() {
        let looked_at = [".rs", ".md", ".sh", ".py", ".yaml", ".toml", "Makefile", ".ci/run"];
        if !looked_at.iter().any(|end| file.path.ends_with(end)) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            let parts =
                line.split(|letter: char| !letter.is_alphanumeric() && !"!(".contains(letter));
            for part in parts {
                if words.iter().any(|word| {
                    part == word || (word.ends_with('(') && part.contains(word.as_str()))
                }) {
                    breaches.push(format!("{}:{}: {line}", file.path, index + 1));
                }
            }
        }
    }
    refuse("work left undone on main", &breaches);
}

/// Whole lines that hold such a word and mean something else: Debian's name of a package.
fn means_a_package(path: &str, line: &str) -> bool {
    let package = joined(&[("package=docker", ".io")]);
    path == "tests/scripts/setup.sh" && package.iter().any(|allowed| line == allowed)
}

/// Refuses every line of every file but Cargo.lock that holds one of `words`.
fn nowhere(rule: &str, words: &[String]) {
    let mut breaches = Vec::new();
    for file in files().iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            let named = words.iter().any(|word| line.contains(word.as_str()));
            if named && !means_a_package(&file.path, line) {
                breaches.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    refuse(rule, &breaches);
}

#[test]
fn no_registry_host_is_named() {
    let halves = [
        ("static.", "crates."),
        ("index.", "crates."),
        ("registry.", "npmjs."),
        ("files.", "pythonhosted."),
        ("//pypi", ".org"),
        ("deb.", "debian."),
        ("snapshot.", "debian."),
        ("archive.", "ubuntu."),
        ("proxy.", "golang."),
        ("sum.", "golang."),
        ("docker", ".io"),
    ];
    nowhere("the host of a package registry", &joined(&halves));
}

#[test]
fn no_path_of_a_machine_is_named() {
    let mut breaches = Vec::new();
    let roots = joined(&[("/wo", "rk/"), ("/fa", "rm/"), ("/tmp/", "wt"), ("/root", "/.cargo")]);
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            for root in &roots {
                let found = line.match_indices(root.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|l: char| l.is_alphanumeric() || "._-}".contains(l))
                });
                if found {
                    breaches.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
                }
            }
        }
    }
    refuse("a path of a machine", &breaches);
}

#[test]
fn tables_of_exceptions_name_what_exists() {
    let files = files();
    let named = PRINTERS
        .iter()
        .map(|(path, _)| *path)
        .chain(OTHER_DIGESTS.iter().map(|(path, _, _)| *path))
        .chain(LENIENT.iter().map(|(path, _, _)| *path));
    let breaches: Vec<String> = named
        .filter(|path| !files.iter().any(|file| file.path.starts_with(path)))
        .map(str::to_owned)
        .collect();
    refuse("an exception for what is gone", &breaches);
}
