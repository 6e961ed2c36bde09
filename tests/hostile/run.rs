//! Runs the cases of a group for everybody: control, attack, verdict, after-check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::arena::{Arena, StepOf};
use super::{Act, Case, Control, Expect, Group, Runs, sandbox_tests, table};
use crate::support::backend::Backend;
use crate::support::{Ran, Who};

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Held,
    /// It could not run here, and why.
    Skipped(String),
    /// It is not for this backend, and why.
    Never(String),
    /// What is wrong.
    Failed(Vec<String>),
}

/// What the cases of a group came to for one user.
#[derive(Default)]
struct Seen {
    verdicts: Vec<(&'static str, Verdict)>,
    /// What [`Expect::Same`] compares, by case.
    facts: BTreeMap<&'static str, Vec<u8>>,
}

/// Runs a group for everybody, and fails with a list of what is wrong.
pub fn group(group: &Group) {
    let picked = std::env::var("KILN_CASE").unwrap_or_default();
    let run = |backend: Backend| (backend, run_for(backend, group, &picked));
    let mut seen: Vec<(Backend, Seen)> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            Backend::here().iter().map(|backend| scope.spawn(|| run(*backend))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a case panicked")).collect()
    });
    compare(&mut seen);
    let told: Vec<(Backend, Vec<(&'static str, Verdict)>)> =
        seen.into_iter().map(|(backend, seen)| (backend, seen.verdicts)).collect();
    let wrong = tell(&told);
    crate::support::failed(&wrong);
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
    if picked.is_empty() {
        table::settle(group, &told);
    }
}

/// Says, on screen, what came of each case; returns what is wrong.
fn tell(seen: &[(Backend, Vec<(&'static str, Verdict)>)]) -> Vec<String> {
    let (mut wrong, mut held, mut skipped) = (Vec::new(), 0, 0);
    for (backend, verdicts) in seen {
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Held => held += 1,
                Verdict::Skipped(why) => {
                    skipped += 1;
                    println!("{id} on {}: skipped: {why}", backend.name());
                }
                Verdict::Never(_) => {}
                Verdict::Failed(lines) => {
                    wrong.extend(
                        lines.iter().map(|line| format!("{id} on {}: {line}", backend.name())),
                    );
                }
            }
        }
    }
    println!("{held} cases held, {skipped} were skipped");
    wrong
}

/// Compares what should be the same for everybody.
fn compare(seen: &mut [(Backend, Seen)]) {
    let Some((first, others)) = seen.split_first_mut() else { return };
    for (backend, other) in others {
        for (id, facts) in &other.facts {
            if first.1.facts.get(id).is_some_and(|ours| ours != facts) {
                let ours = String::from_utf8_lossy(&first.1.facts[id]).into_owned();
                let line = format!(
                    "{} wrote\n{ours}\nand {}\n{}",
                    first.0.name(),
                    backend.name(),
                    String::from_utf8_lossy(facts)
                );
                let verdict = other.verdicts.iter_mut().find(|(other, _)| other == id);
                verdict.expect("it ran").1 = Verdict::Failed(vec![line]);
            }
        }
    }
}

fn run_for(backend: Backend, group: &Group, picked: &str) -> Seen {
    let start = Instant::now();
    let arena = Arena::open(backend);
    let mut seen = run_cases(&arena, group.cases.iter().filter(|case| case.id.starts_with(picked)));
    if let Some((_, verdict)) = seen.verdicts.last_mut() {
        let wrong = at_the_end(&arena);
        if !wrong.is_empty() {
            *verdict = Verdict::Failed(wrong);
        }
    }
    let (name, seconds) = (backend.name(), start.elapsed().as_secs());
    println!("group {} on {name}: {seconds} s", group.letter);
    seen
}

/// Runs some rows in an arena that stands; returns what is wrong, by case.
pub fn failures(arena: &Arena, cases: impl Iterator<Item = &'static Case>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (id, verdict) in run_cases(arena, cases).verdicts {
        count += 1;
        if let Verdict::Failed(lines) = verdict {
            wrong.extend(
                lines.into_iter().map(|line| format!("{id} on {}: {line}", arena.backend.name())),
            );
        }
    }
    println!("{count} cases ran on {}", arena.backend.name());
    wrong.extend(at_the_end(arena));
    wrong
}

fn run_cases(arena: &Arena, cases: impl Iterator<Item = &'static Case>) -> Seen {
    let mut seen = Seen::default();
    let mut controls = BTreeSet::new();
    for case in cases {
        let start = Instant::now();
        let one = || run_one(arena, case, &mut controls, &mut seen.facts);
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(one))
            .unwrap_or_else(|_| Verdict::Failed(vec!["it panicked, see above".to_owned()]));
        let word = match &verdict {
            Verdict::Held => "held",
            Verdict::Skipped(_) => "skipped",
            Verdict::Never(_) => "not for this backend",
            Verdict::Failed(_) => "FAILED",
        };
        println!(
            "{} on {}: {word} ({} ms)",
            case.id,
            arena.backend.name(),
            start.elapsed().as_millis()
        );
        if let Verdict::Failed(lines) = &verdict {
            println!("{}", lines.join("\n"));
        }
        if let Control::None(reason) = case.control {
            println!("{}: no control: {reason}", case.id);
        }
        seen.verdicts.push((case.id, verdict));
    }
    seen
}

fn run_one(
    arena: &Arena,
    case: &'static Case,
    controls: &mut BTreeSet<String>,
    facts: &mut BTreeMap<&'static str, Vec<u8>>,
) -> Verdict {
    if let Runs::No(why) = case.on.of(arena.backend) {
        return Verdict::Never(why.to_owned());
    }
    if let Some(need) = case.needs.iter().find(|need| !need.is_met(arena)) {
        return Verdict::Skipped(need.lack().to_owned());
    }
    let mut wrong = match case.act {
        Act::Sandbox(names) => return sandbox_tests::verdict(arena.world.who, names),
        // It runs by itself, and fails by itself.
        Act::Test(_) => return Verdict::Held,
        Act::Host(act) => act(arena),
        Act::Step | Act::Attack(_) => {
            let mut wrong: Vec<String> = control(arena, case, controls).err().into_iter().collect();
            wrong.extend(attack(arena, case, facts));
            wrong
        }
    };
    wrong.extend(arena.canaries.shortly_after(&arena.world));
    wrong.extend(arena.reach.left(&arena.world));
    if arena.world.read("src/victim") != "as it was\n" {
        wrong.push("a source of the project was changed".to_owned());
    }
    if wrong.is_empty() { Verdict::Held } else { Verdict::Failed(wrong) }
}

/// The after-check that takes its time, once for all cases of an arena: every byte of the store, the
/// secret in everything that is kept, also in a statement.
fn at_the_end(arena: &Arena) -> Vec<String> {
    let harmless = &super::cases::HARMLESS;
    write(arena, harmless, "S-E04-extra");
    arena.clear();
    let locked = arena.kiln(&["lock"]);
    arena.world.commit();
    arena.world.key();
    arena.clear();
    let signed = arena.kiln(&["build", "--sign"]);
    let mut wrong = Vec::new();
    if locked.code != 0 {
        wrong.push(format!("no lock could be written after the cases: {locked:?}"));
    }
    if signed.code != 0 {
        wrong.push(format!("no build could be signed after the cases: {signed:?}"));
    }
    wrong.extend(arena.canaries.aftermath(&arena.world));
    wrong
}

/// Runs the control; returns what is wrong with it.
fn control(arena: &Arena, case: &Case, done: &mut BTreeSet<String>) -> Result<(), String> {
    let shows = |ran: Ran| {
        let seen = ran.says("BREACH");
        if seen { Ok(()) } else { Err(format!("the control shows nothing: {ran:?}")) }
    };
    match case.control {
        Control::OutsideAsRoot(_) if arena.world.who != Who::Root => Ok(()),
        Control::Outside(before) | Control::OutsideAsRoot(before) => {
            shows(arena.outside(before, name(case)))
        }
        Control::OnTerminal => {
            let words = ["script", "-qec", "/usr/bin/python3 attack.py S-A13", "/dev/null"];
            let mut command = arena.world.command(&words, &[("PYTHONDONTWRITEBYTECODE", "1")]);
            let source = arena.world.path("project/src");
            shows(Ran::of(&command.current_dir(source).output().expect("it starts")))
        }
        Control::None(_) | Control::Within => Ok(()),
        Control::Sealed(id) => {
            let key = format!("{id} {} {}", case.outputs.0, case.outputs.1);
            if done.contains(&key) {
                return Ok(());
            }
            write(arena, case, id);
            let ran = arena.build();
            if ran.code != 0 {
                return Err(format!("the control {id}: {ran:?}"));
            }
            done.insert(key);
            Ok(())
        }
    }
}

fn name(case: &Case) -> &'static str {
    match case.act {
        Act::Attack(name) => name,
        Act::Step | Act::Host(_) | Act::Sandbox(_) | Act::Test(_) => case.id,
    }
}

/// Writes the build file of a case with one of the attacks.
fn write(arena: &Arena, case: &Case, id: &str) {
    let (outputs, artifacts) = case.outputs;
    // The verdict is the output, and is shown as well when the attack ends badly.
    let run = if outputs.contains("out: out") {
        format!("python3 attack.py {id} > out || {{ cat out; exit 1; }}")
    } else {
        format!("python3 attack.py {id}")
    };
    // What must be the same for everybody gets no variable that differs.
    let env = match case.expect {
        Expect::Same => format!("    env: {{BACKEND: {}}}\n", arena.backend.name()),
        _ => arena.env_line(),
    };
    let more = format!("{env}{}", case.more);
    let step = StepOf { name: "attack", more: &more, run: &run, outputs };
    arena.write_steps("sources: {src: {local: src}}", &[step], artifacts);
}

/// Makes the attack; returns what is wrong.
fn attack(
    arena: &Arena,
    case: &'static Case,
    facts: &mut BTreeMap<&'static str, Vec<u8>>,
) -> Vec<String> {
    write(arena, case, name(case));
    arena.clear();
    let stop = Arc::new(AtomicBool::new(false));
    let back = arena.knock_back(stop.clone());
    let ran = if case.terminal { arena.build_on_a_terminal() } else { arena.build() };
    stop.store(true, Ordering::Relaxed);
    let mut wrong = Vec::new();
    if back.join().unwrap_or(true) {
        wrong.push("the host could connect to a socket of the step".to_owned());
    }
    wrong.extend(judge(arena, case, &ran));
    if !case.terminal && (ran.says("\u{1b}") || ran.says("\u{202e}")) {
        wrong.push(format!("raw control characters were shown: {ran:?}"));
    }
    if ran.says(&arena.canaries.secret) || ran.says("OWNED") {
        wrong.push(format!("the secret was printed, or something typed: {ran:?}"));
    }
    if let Expect::Same = case.expect {
        let first = facts_of(arena);
        wrong.extend(again(arena, &first));
        facts.insert(case.id, first);
    }
    wrong
}

/// Returns all that was handed out, in order.
fn facts_of(arena: &Arena) -> Vec<u8> {
    let mut all = Vec::new();
    for name in ["out", "tree.tar"] {
        all.extend(arena.artifact(name).unwrap_or_default());
    }
    all
}

/// Builds once more as another caller in another setting would; returns what differs.
fn again(arena: &Arena, first: &[u8]) -> Option<String> {
    arena.clear();
    let before = ["sh", "-c", "umask 077; exec nice -n 3 \"$0\" \"$@\""];
    let env =
        [("TZ", "Asia/Tokyo"), ("LC_ALL", "C"), ("USER", "somebody"), ("LANG", "tr_TR.UTF-8")];
    let ran = arena.kiln_in(&before, &["build", "--no-sign", "--no-cache", "-j", "1"], &env);
    let second = facts_of(arena);
    if ran.code == 0 && second == first {
        return None;
    }
    let text = String::from_utf8_lossy;
    Some(format!("at first\n{}\nand then\n{}\n{ran:?}", text(first), text(&second)))
}

fn judge(arena: &Arena, case: &Case, ran: &Ran) -> Option<String> {
    let artifacts = arena.world.path("project/kiln-out");
    let none = std::fs::read_dir(&artifacts).map_or(true, |mut entries| entries.next().is_none());
    let passed = || {
        let out = arena.artifact("out").unwrap_or_default();
        let verdict = !case.outputs.0.contains("out: out") || out.ends_with(b"contained\n");
        ran.code == 0 && verdict
    };
    let good = match case.expect {
        Expect::Contained | Expect::Same => passed(),
        Expect::Bounded(code) => passed() || (ran.code == 1 && none && ran.says(code)),
        Expect::Notes(words) => passed() && ran.says(words),
        Expect::Refused(codes) => ran.code == 1 && none && codes.iter().any(|code| ran.says(code)),
        Expect::Says(code, words) => ran.code == 1 && none && ran.says(code) && ran.says(words),
        Expect::AtLatest(code, words) => {
            let captured = ran.says(code) && ran.says(words);
            ran.code == 1 && none && (captured || ran.says("KILN-0402"))
        }
        Expect::Ends(exit, code) => ran.code == exit && none && ran.says(code),
    };
    if good {
        return None;
    }
    let out = String::from_utf8_lossy(&arena.artifact("out").unwrap_or_default()).into_owned();
    Some(format!("exit {}, out {out:?}\n{}\n{}", ran.code, ran.stdout, ran.stderr))
}
