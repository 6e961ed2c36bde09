//! docs/hostile-cases.md: what came of each case on each backend, written by the suite itself.
//!
//! A group's part is compared after the group ran, and written with `KILN_BLESS=1`. A host may lack
//! what the host of the table had, or the other way round: a cell that says `pass` here and `skipped`
//! there is no disagreement, anything else is. Rows, titles and reasons are compared by `tidy` too,
//! without running anything, so the page cannot go stale.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use super::cases::{GROUPS, all};
use super::run::Verdict;
use super::{Act, Case, Group, Need, Runs};
use crate::support::backend::Backend;

const PAGE: &str = "docs/hostile-cases.md";
const HEAD: &str = "# Hostile cases

Written by `KILN_BLESS=1 cargo test -p tests --lib -- hostile` (`tests/hostile/table.rs`), from the rows in
`tests/hostile/cases/` and from what came of them. Each case is preceded by a control and followed by the
after-check: processes, mounts, control groups, temporary files, store, canaries, secrets.

`pass`: it held when it ran. `own test`: the test that is named there runs it. `skipped`: the host of this
table lacked something, named below. `—`: it is not for this backend, see below. `docker` is kiln as root
with an engine, `confined` is kiln as root in a container as `docker run` makes it, with the host's network.
Natively groups A, E and F ran a second time on a kernel without openat2, close_range, renameat2 and others
(`tests/hostile/old_kernel.rs`).
";

/// Longest a writer of the page waits for another: they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What came of a case on a backend.
type Verdicts<'a> = BTreeMap<(&'a str, Backend), &'a Verdict>;

/// Compares a group's part of the page with what came of it, or writes it.
pub fn settle(group: &Group, seen: &[(Backend, Vec<(&'static str, Verdict)>)]) {
    let path = crate::tidy::top().join(PAGE);
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let page = fs::read_to_string(&path).unwrap_or_default();
    let mut verdicts = Verdicts::new();
    for (backend, all) in seen {
        verdicts.extend(all.iter().map(|(id, verdict)| ((*id, *backend), verdict)));
    }
    if std::env::var_os("KILN_BLESS").is_some() {
        let mut text = HEAD.to_owned();
        for other in GROUPS {
            let part = if other.letter == group.letter {
                render(group, &verdicts, part(&page, group))
            } else {
                part(&page, other).to_owned()
            };
            text += &format!("\n{}\n", part.trim());
        }
        fs::write(&path, text).expect("the page can be written");
        return;
    }
    let old = part(&page, group);
    let new = render(group, &verdicts, old);
    let wrong: Vec<String> = old
        .trim()
        .lines()
        .zip(new.trim().lines())
        .filter(|(old, new)| !agree(old, new))
        .map(|(old, new)| format!("page {old}\nhere {new}"))
        .collect();
    assert!(wrong.is_empty(), "{PAGE} is stale; KILN_BLESS=1 writes it\n{}", wrong.join("\n"));
}

/// Says whether two rows differ only in what a host has.
fn agree(old: &str, new: &str) -> bool {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('|').collect(), new.split('|').collect());
    old.len() == new.len()
        && old.iter().zip(&new).all(|(old, new)| {
            let host = |cell: &str| ["pass", "skipped", "not run"].contains(&cell.trim());
            old == new || (host(old) && host(new))
        })
}

/// Returns a group's part of the page.
fn part<'a>(page: &'a str, group: &Group) -> &'a str {
    let start = format!("## {}. ", group.letter);
    let Some(at) = page.find(&start) else { return "" };
    let rest = &page[at..];
    rest[3..].find("\n## ").map_or(rest, |end| &rest[..end + 3])
}

/// Writes a group's part. What did not run here, as the columns docker and confined without an engine, is
/// taken from the part as it was.
fn render(group: &Group, verdicts: &Verdicts<'_>, old: &str) -> String {
    let names = Backend::ALL.map(Backend::name).join(" | ");
    let mut text = format!(
        "## {}. {}\n\n| Case | What is tried | {names} |\n|---|---|---|---|---|---|\n",
        group.letter, group.title
    );
    let mut notes = Vec::new();
    for case in group.cases {
        let cell = |backend| match (case.on.of(backend), verdicts.get(&(case.id, backend))) {
            (Runs::No(_), _) => "—",
            (Runs::Yes, _) if matches!(case.act, Act::Test(_)) => "own test",
            (Runs::Yes, None) => kept(old, case.id, backend).unwrap_or("not run"),
            (Runs::Yes, Some(Verdict::Held)) => "pass",
            (Runs::Yes, Some(Verdict::Skipped(_) | Verdict::Never(_))) => "skipped",
            (Runs::Yes, Some(Verdict::Failed(_))) => "FAILED",
        };
        let title = match case.act {
            Act::Test(name) => format!("{} (`{name}`)", case.title),
            Act::Step | Act::Attack(_) | Act::Host(_) | Act::Sandbox(_) => case.title.to_owned(),
        };
        let cells = Backend::ALL.map(cell).join(" | ");
        text += &format!("| {} | {title} | {cells} |\n", case.id);
        notes.extend(reasons(case));
    }
    if !notes.is_empty() {
        text += &format!("\n{}\n", notes.join("\n"));
    }
    text
}

/// Returns what a page says of a case on a backend.
fn kept<'a>(page: &'a str, id: &str, backend: Backend) -> Option<&'a str> {
    let row = page.lines().find(|line| line.starts_with(&format!("| {id} |")))?;
    let column = Backend::ALL.iter().position(|one| *one == backend)?;
    let cell = row.split('|').nth(column + 3)?.trim();
    ["pass", "skipped"].contains(&cell).then_some(cell)
}

/// Returns why a case is not for a backend, and what it needs.
fn reasons(case: &Case) -> Vec<String> {
    let mut grouped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for backend in Backend::ALL {
        if let Runs::No(why) = case.on.of(backend) {
            grouped.entry(why).or_default().push(backend.name());
        }
    }
    let mut notes: Vec<String> = grouped
        .into_iter()
        .map(|(why, names)| format!("- {} not on {}: {why}.", case.id, names.join(", ")))
        .collect();
    notes.extend(
        case.needs.iter().map(|need| format!("- {} is skipped where {}.", case.id, need.lack())),
    );
    notes
}

/// Returns what is wrong with the page as it stands, without running a case.
pub fn breaches() -> Vec<String> {
    let page = fs::read_to_string(crate::tidy::top().join(PAGE)).unwrap_or_default();
    let mut wrong = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for case in all() {
        if !ids.insert(case.id) {
            wrong.push(format!("{} stands twice", case.id));
        }
        if let Act::Test(name) = case.act {
            let start = format!("fn {name}(");
            if !crate::tidy::files().iter().any(|file| file.text.contains(&start)) {
                wrong.push(format!("{}: there is no test {name}", case.id));
            }
        }
        if case.title.is_empty() || case.title.contains('|') {
            wrong.push(format!("{} has no title", case.id));
        }
    }
    for group in GROUPS {
        let (old, new) = (part(&page, group), render(group, &BTreeMap::new(), ""));
        let same = old.trim().lines().count() == new.trim().lines().count()
            && old.trim().lines().zip(new.trim().lines()).all(|(old, new)| agree(old, new));
        if !same || old.contains("FAILED") || old.contains("not run") {
            wrong.push(format!("{PAGE}: group {} is not what the rows say", group.letter));
        }
    }
    if !page.starts_with(HEAD) {
        wrong.push(format!("{PAGE}: another head"));
    }
    let lacks: std::collections::BTreeSet<&str> =
        Need::ALL.iter().map(|need| need.lack()).collect();
    if lacks.len() != Need::ALL.len() {
        wrong.push("two needs have one reason".to_owned());
    }
    wrong
}
