//! docs/forgeries.md: the attacks by class, each with what came of it, written by the suite itself.

use std::collections::BTreeSet;
use std::fs;

use super::{CLASSES, Forgery, Must};
use crate::tidy::{files, top};

const PAGE: &str = "docs/forgeries.md";
const HEAD: &str = "# Forgeries

Written by `KILN_BLESS=1 cargo test -p tests --lib -- forgeries` (`tests/forgeries/`), from the rows and from what
came of them. Each row starts from a good scene: a real file of a real build, its statement signed, and a receiver
who trusts the signer. `kiln verify` has to accept that first; then one thing is changed. A refusal counts only with
its own code, exit 4 (2 or 5 where nothing is judged yet), `\"verified\": false`, and without a panic.

The classes are those of other tools' advisories. What verifies in spite of the change is unsigned and not believed,
or is what a signature does not promise, and then `kiln verify` says it.
";

/// Says in which form the evidence came, where that is more than a bundle by a key.
fn form(row: &Forgery) -> &'static str {
    use super::scene::Form;
    match row.form {
        Form::Bundle => "",
        Form::OldBundle => ", in a bundle of the older media type",
        Form::Certificate => ", by certificate",
        Form::Bare => ", in a bare envelope",
        Form::Line => ", in a line",
        Form::Lines => ", in the second of two lines",
    }
}

fn render(rows: &[Forgery], told: &dyn Fn(usize) -> String) -> String {
    let mut text = HEAD.to_owned();
    for (class, title) in CLASSES {
        text += &format!("\n## {class}: {title}\n\n| Attack | Result |\n|---|---|\n");
        for (number, row) in rows.iter().enumerate().filter(|(_, row)| row.class == class) {
            text += &format!("| {}{} | {} |\n", row.what, form(row), told(number));
        }
    }
    text
}

/// Compares the page with what came, or writes it.
pub fn settle(rows: &[Forgery], told: &[String]) {
    let path = top().join(PAGE);
    let new = render(rows, &|number| told[number].clone());
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&path, new).expect("the page can be written");
        return;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let first = old.lines().zip(new.lines()).find(|(old, new)| old != new);
    assert!(old == new, "{PAGE} is stale; KILN_BLESS=1 writes it: {first:?}");
}

/// Returns what is wrong with rows and page, without running any.
pub fn breaches(rows: &[Forgery]) -> Vec<String> {
    let mut wrong = Vec::new();
    let all = files();
    for (class, _) in CLASSES {
        if !rows.iter().any(|row| row.class == class) {
            wrong.push(format!("{class} has no attack"));
        }
    }
    let mut seen = BTreeSet::new();
    for row in rows {
        if !CLASSES.iter().any(|(class, _)| *class == row.class) {
            wrong.push(format!("{} is no class", row.class));
        }
        if !seen.insert((row.class, row.what, form(row))) || row.what.contains('|') {
            wrong.push(format!("{} {}: twice, or with a bar", row.class, row.what));
        }
        if let Must::Test(name) = row.must
            && !all.iter().any(|file| file.text.contains(&format!("fn {name}(")))
        {
            wrong.push(format!("{} {}: there is no test {name}", row.class, row.what));
        }
    }
    // What came is not known here; that the rows are those of the page is.
    let cut = |text: &str| -> Vec<String> {
        let left = |line: &str| line.rsplit_once(" | ").map_or(line, |(left, _)| left).to_owned();
        text.lines().map(left).collect()
    };
    let page = fs::read_to_string(top().join(PAGE)).unwrap_or_default();
    if cut(&page) != cut(&render(rows, &|_| "x".to_owned())) {
        wrong.push(format!("{PAGE} is not what the rows say; KILN_BLESS=1 writes it"));
    }
    wrong
}
