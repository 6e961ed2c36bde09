//! The attack classes on attestations, A1 to A29, each tried end to end on `kiln verify`.
//!
//! A row is one attack: a good scene ([`scene`]), the one thing that is changed, and what must come of it.
//! The good scene is run first, as the control: where that does not verify, a refusal would say nothing.
//! A refusal counts only with the code that belongs to it, with `"verified": false`, and without a panic.
//!
//! docs/forgeries.md lists classes, attacks and results; it is written by `KILN_BLESS=1`, and a page that
//! differs fails.

mod authority;
mod forms;
mod identities;
mod layouts;
mod named;
mod page;
mod scene;
mod signed;
mod weighed;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::Ran;
use scene::{Form, Scene, Site};

/// What must come of an attack.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    /// `kiln` says no, with this code and exit 4.
    Refuse(&'static str),
    /// It does not begin: exit 2, or 5 where a key cannot be used, with this code.
    NotBegin(&'static str),
    /// What was changed is nothing that is believed: the verdict is the very same.
    Same,
    /// It verifies, and says these words.
    Say(&'static str),
    /// The test of this name is the attack.
    Test(&'static str),
}

/// One attack.
#[derive(Clone, Copy)]
pub struct Forgery {
    /// The class.
    pub class: &'static str,
    /// What is tried.
    pub what: &'static str,
    /// In which form the evidence comes.
    pub form: Form,
    /// Sets the good scene up.
    pub set: fn(&mut Scene<'_>),
    /// Changes it.
    pub forge: fn(&mut Scene<'_>),
    /// What must come of it.
    pub must: Must,
}

/// The classes, as the catalogue counts them.
pub const CLASSES: [(&str, &str); 29] = [
    ("A1", "payload type confusion"),
    ("A2", "verify one reading, use another"),
    ("A3", "trusting what is not signed"),
    ("A4", "errors swallowed on one path"),
    ("A5", "log entry of something else"),
    ("A6", "one signer counted twice"),
    ("A7", "a threshold that is none"),
    ("A8", "validity ignored, or held against the wrong time"),
    ("A9", "the wrong certificate of a timestamp"),
    ("A10", "a requirement skipped for the other kind of key"),
    ("A11", "trust taken from what is verified"),
    ("A12", "identities as patterns"),
    ("A13", "no attestation is success"),
    ("A14", "an empty or broken signature is success"),
    ("A15", "matching of subjects"),
    ("A16", "paths in names"),
    ("A17", "builder not bound to key"),
    ("A18", "unknown parameters"),
    ("A19", "halves of two attestations"),
    ("A20", "old provenance again"),
    ("A21", "summaries swapped or lowered"),
    ("A22", "endless data"),
    ("A23", "panics"),
    ("A24", "duplicate members, large numbers"),
    ("A25", "confusion of algorithms"),
    ("A26", "paths into the trust store"),
    ("A27", "credentials in provenance"),
    ("A28", "an attestation of another kind"),
    ("A29", "signed but malicious"),
];

/// Makes a row of a bundle by a key, to which nothing has to be set up.
pub const fn row(
    class: &'static str,
    what: &'static str,
    forge: fn(&mut Scene<'_>),
    must: Must,
) -> Forgery {
    Forgery { class, what, form: Form::Bundle, set: AS_IT_IS, forge, must }
}

/// Makes a row that another good scene comes before.
pub const fn after(
    class: &'static str,
    what: &'static str,
    set: fn(&mut Scene<'_>),
    forge: fn(&mut Scene<'_>),
    must: Must,
) -> Forgery {
    Forgery { class, what, form: Form::Bundle, set, forge, must }
}

/// Nothing to set up.
pub const AS_IT_IS: fn(&mut Scene<'_>) = |_| {};

/// Returns all attacks, by class.
pub fn all() -> Vec<Forgery> {
    let mut all: Vec<Forgery> =
        [&signed::ROWS[..], &forms::ROWS, &layouts::ROWS, &named::ROWS, &weighed::ROWS].concat();
    all.extend(forms::every_form());
    all.extend(identities::rows());
    let place = |row: &Forgery| CLASSES.iter().position(|(class, _)| *class == row.class);
    all.sort_by_key(place);
    all
}

/// Tries one attack; says what came of it, or what is wrong.
fn tried(site: &Site, number: usize, row: &Forgery) -> Result<String, String> {
    let place = format!("forgery-{number}");
    let mut scene = Scene::new(site);
    scene.come_as(row.form);
    (row.set)(&mut scene);
    let control = scene.run(&place);
    let wrong = |ran: &Ran, why: &str| {
        let head = format!("{} {}: {why}", row.class, row.what);
        Err(format!("{head}\n{}\n{}\n{}", ran.code, ran.stdout, ran.stderr))
    };
    // A table or a list of files has no verdict of its own; its exit code is it.
    if control.code != 0 || verdict(&control).is_some_and(|verified| !verified) {
        return wrong(&control, "the control is refused");
    }
    (row.forge)(&mut scene);
    let forged = scene.run(&place);
    if forged.stderr.contains("panicked") || ![0, 1, 2, 4, 5].contains(&forged.code) {
        return wrong(&forged, "ended by a panic or a signal");
    }
    // The first code that is told is the first check that failed.
    let code = first_code(&forged);
    let refused = |wanted: &str, exits: &[i32]| {
        exits.contains(&forged.code) && code == wanted && verdict(&forged) != Some(true)
    };
    match row.must {
        Must::Refuse(wanted) if refused(wanted, &[4]) => Ok(format!("refused, {code}")),
        Must::NotBegin(wanted) if refused(wanted, &[2, 5]) => Ok(format!("does not begin, {code}")),
        Must::Same if forged.code == 0 && forged.stdout == control.stdout => {
            Ok("the very same verdict".to_owned())
        }
        Must::Say(words) if forged.code == 0 && forged.says(words) => {
            Ok(format!("verified, and says {words}"))
        }
        Must::Refuse(wanted) | Must::NotBegin(wanted) => {
            wrong(&forged, &format!("not {wanted} but {code}"))
        }
        Must::Same | Must::Say(_) | Must::Test(_) => wrong(&forged, "another verdict"),
    }
}

/// Returns the first code of the errors that the document lists; of a file's before those of the whole.
fn first_code(ran: &Ran) -> String {
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let files = told["files"].as_array().cloned().unwrap_or_default();
    let all = files.iter().chain([&told]).filter_map(|one| one["errors"].as_array());
    let code = all.flatten().find_map(|error| error["code"].as_str().map(str::to_owned));
    let rest = || ran.stderr.find("KILN-").and_then(|at| ran.stderr.get(at..at + 9));
    code.or_else(|| rest().map(str::to_owned)).unwrap_or_default()
}

/// Returns what the document on standard output says of all files, if it says it.
fn verdict(ran: &Ran) -> Option<bool> {
    let told: Value = serde_json::from_str(&ran.stdout).ok()?;
    let whole = told["verified"].as_bool()?;
    let files = told["files"].as_array()?;
    // A refusal says so of the whole and of at least one file; about no file at all there is no yes.
    let each = files.iter().all(|file| file["verified"].as_bool() == Some(true));
    Some(whole || (each && !files.is_empty()))
}

#[test]
fn no_forgery_verifies() {
    let site = Site::new();
    let rows = all();
    let (next, told) = (AtomicUsize::new(0), Mutex::new(vec![String::new(); rows.len()]));
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(number) else { return };
            let came = match row.must {
                Must::Test(name) => Ok(format!("own test, `{name}`")),
                _ => tried(&site, number, row),
            };
            match came {
                Ok(words) => told.lock().expect("nobody panics")[number] = words,
                Err(why) => wrong.lock().expect("nobody panics").push(why),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let wrong = wrong.into_inner().expect("nobody panics");
    crate::support::failed(&wrong);
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), rows.len(), wrong.join("\n---\n"));
    page::settle(&rows, &told.into_inner().expect("nobody panics"));
}

/// Returns what is wrong with page and rows, without running any.
pub fn page_breaches() -> Vec<String> {
    page::breaches(&all())
}
