//! The loop: a seed is chosen, mutated and given to its target; new outcomes make new seeds.
#![expect(
    clippy::disallowed_methods,
    reason = "a test that is told how long to go on, and that keeps what it found"
)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::mutate::{Chance, mutate};
use crate::stage::Stage;
use crate::targets::{TARGETS, Target};

/// Inputs of each target, where nobody says how many.
const RUNS: u64 = 800;
/// Where chance begins, where nobody says.
const SEED: u64 = 4;
/// Most seeds of one target: the first ones are kept, later ones replace each other.
const SEEDS_MAX: usize = 256;
/// How much the process may grow over what it had before the first input, in KiB. Seeds are smaller than
/// 64 KiB and inputs than 256.
const GROWTH_KIB_MAX: u64 = 192 << 10;

fn variable(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

/// Returns the most memory that this process ever held, in KiB; none where the system does not say.
fn held_most_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs one target; returns the inputs that failed, with why.
fn run(stage: &Stage, target: &Target, runs: u64, seed: u64) -> Result<usize, String> {
    let mut chance = Chance::new(
        seed ^ u64::from_le_bytes(*target.name.as_bytes().first_chunk().unwrap_or(&[7; 8])),
    );
    let mut seeds = (target.seeds)(stage);
    let firsts = seeds.len();
    let mut outcomes = BTreeSet::new();
    for good in &seeds {
        let outcome = (target.run)(stage, good);
        assert!(!outcome.contains("refused"), "{}: the seed is refused: {outcome}", target.name);
        outcomes.insert(outcome);
    }
    let (before, place) = (held_most_kib(), place(target));
    for count in 0..runs {
        let (one, other) = (chance.below(seeds.len()), chance.below(seeds.len()));
        let bytes = mutate(&mut chance, &seeds[one], &seeds[other], target.words);
        std::fs::write(&place, &bytes).expect("there is room");
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(stage, &bytes)));
        let Ok(outcome) = outcome else { return Err(told(target, &bytes, count)) };
        if outcomes.insert(outcome) {
            if seeds.len() < SEEDS_MAX {
                seeds.push(bytes);
            } else {
                let at = firsts + chance.below(seeds.len() - firsts);
                seeds[at] = bytes;
            }
        }
        if let (Some(before), Some(now), 0) = (before, held_most_kib(), count % 64)
            && now > before + GROWTH_KIB_MAX
        {
            return Err(format!("{}: grew from {before} to {now} KiB", target.name));
        }
    }
    std::fs::remove_file(&place).expect("it is there");
    Ok(outcomes.len())
}

/// Where the input that is being read lies: what overflows the stack ends the process, and says nothing.
fn place(target: &Target) -> std::path::PathBuf {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/fuzz"));
    std::fs::create_dir_all(folder).expect("a folder");
    folder.join(target.name)
}

fn told(target: &Target, bytes: &[u8], count: u64) -> String {
    let shown: String = String::from_utf8_lossy(bytes).chars().take(400).collect();
    format!("{}: input {count} failed, target/fuzz/{}: {shown}", target.name, target.name)
}

/// Gives every target its inputs, and says what came.
#[test]
fn no_bytes_at_all_make_the_verifier_panic_or_believe() {
    let (runs, seed) = (variable("KILN_FUZZ_RUNS", RUNS), variable("KILN_FUZZ_SEED", SEED));
    let stage = Stage::new();
    println!("KILN_FUZZ_RUNS={runs} KILN_FUZZ_SEED={seed}");
    let mut wrong = Vec::new();
    let only = std::env::var("KILN_FUZZ_TARGET").ok();
    for target in TARGETS.iter().filter(|one| only.as_ref().is_none_or(|name| name == one.name)) {
        match run(&stage, target, runs, seed) {
            Ok(outcomes) => println!("{:<12} {runs} inputs, {outcomes} outcomes", target.name),
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "KILN_FUZZ_SEED={seed}\n{}", wrong.join("\n"));
}

/// A harness that finds nothing says nothing: here is something to find, two changes from a seed.
#[test]
fn a_planted_bug_is_found() {
    let planted = Target {
        name: "planted",
        seeds: |stage| vec![stage.bundle()],
        words: &["unwrap"],
        run: |stage, bytes| {
            let read = attestor::bundle::read(bytes);
            let twice = bytes.windows(8).filter(|part| *part == b"\"hint\":\"").count() > 1;
            assert!(!twice, "planted: the hint twice");
            format!("{} {}", read.is_ok(), stage.verdict(&stage.by_key(bytes)).is_ok())
        },
    };
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = run(&Stage::new(), &planted, 20_000, SEED);
    std::panic::set_hook(quiet);
    assert!(found.is_err(), "20,000 inputs did not find it");
}
