//! One snapshot for each message of a wrong build file: code, place, what was expected, remedy.
//!
//! `failure_messages.txt` holds each snippet with the whole transcript. `KILN_BLESS=1` writes the
//! transcripts anew; the diff is then to be read. Whatever a snippet is, the exit code is 2, nothing
//! is written and nothing takes long.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Ran, Who, World};

/// What separates a snippet from its transcript, and the rows.
const ROW: &str = "=== ";
const ANSWER: &str = "--- \n";

/// Longest time for the refusal of the worst file: a guard, far above what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn snapshot_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("failure_messages.txt")
}

/// Reads rows of code, build file and transcript.
fn rows(text: &str) -> Vec<(String, String, String)> {
    text.split(ROW)
        .skip(1)
        .map(|row| {
            let (head, rest) = row.split_once('\n').expect("a head line");
            let (file, answer) = rest.split_once(ANSWER).expect("a transcript");
            (head.to_owned(), file.to_owned(), answer.to_owned())
        })
        .collect()
}

fn lock(world: &World) -> Ran {
    let ran = world.kiln_with(&["lock"], &[("NO_COLOR", ""), ("COLUMNS", "100")]);
    assert!(!world.path("project/kiln.lock").exists(), "a refused file was locked");
    ran
}

#[test]
fn wrong_build_files_are_shown_with_place_and_remedy() {
    let world = World::cold(Who::all()[0]);
    let text = fs::read_to_string(snapshot_file()).expect("the snapshots are there");
    let (head, _) = text.split_once(ROW).expect("a head");
    let mut written = head.to_owned();
    let mut wrong = Vec::new();
    let rows = rows(&text);
    assert!(rows.len() >= 25, "{} rows", rows.len());
    for (title, file, expected) in rows {
        world.write("kiln.yaml", &file);
        let ran = lock(&world);
        let code = title.split_whitespace().next().expect("a code");
        let place = ran.stderr.contains("kiln.yaml:");
        if ran.code != 2 || !ran.stderr.contains(&format!("error[{code}]")) || !place {
            wrong.push(format!("{title}: exit {}\n{}", ran.code, ran.stderr));
        }
        if std::env::var_os("KILN_BLESS").is_none() && ran.stderr.trim() != expected.trim() {
            wrong.push(format!("{title}: the message changed:\n{}", ran.stderr));
        }
        let _ = write!(written, "{ROW}{title}\n{file}{ANSWER}{}\n\n", ran.stderr.trim());
    }
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(snapshot_file(), written).expect("the snapshots can be written");
    }
    assert!(wrong.is_empty(), "{} messages:\n{}", wrong.len(), wrong.join("\n"));
}

/// Files that cannot stand in a text of snapshots.
#[test]
fn hostile_build_files_are_refused_at_once() {
    let world = World::cold(Who::all()[0]);
    let deep = |open: &str| format!("kiln: 1\nname: x\nsteps: {}", open.repeat(100_000));
    let aliases = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)
    });
    let files: [(&str, Vec<u8>); 10] = [
        ("empty", Vec::new()),
        ("only a comment", b"# nothing\n".to_vec()),
        ("binary", (0..=255).cycle().take(4096).collect()),
        ("UTF-16", b"\xff\xfek\0i\0l\0n\0:\0 \x001\0".to_vec()),
        ("a NUL", b"kiln: 1\nname: \0\n".to_vec()),
        ("not UTF-8", b"kiln: 1\nname: \xff\n".to_vec()),
        ("100,000 lists deep", deep("[").into_bytes()),
        ("100,000 maps deep", deep("{a: ").into_bytes()),
        ("a bomb of aliases", aliases.into_bytes()),
        ("two megabytes", b"# ".repeat(1 << 20)),
    ];
    for (name, bytes) in files {
        fs::write(world.path("project/kiln.yaml"), bytes).expect("it can be written");
        let start = Instant::now();
        let ran = lock(&world);
        assert!(start.elapsed() < PATIENCE, "{name} took {:?}", start.elapsed());
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("error[KILN-01"), "{name}: {}", ran.stderr);
    }
}
