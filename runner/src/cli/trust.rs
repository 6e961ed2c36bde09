//! `kiln trust`: who is believed. Adds, lists, revokes and removes entries of `trust.toml`.
//!
//! Nothing here holds a key: an entry is a public key, or an identity, and what it may speak for. What
//! else stands in the file, comments and order, stays as it is. The file and its folder must belong to
//! this user or to root and be closed to other writers: who can write there decides whom kiln believes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use attestor::builder::BuilderId;
use attestor::process::TRUST_LOCK;
use attestor::process::way::OpenTo;
use attestor::public_key::PublicKey;
use attestor::sigstore;
use attestor::trust::{Entry, EntryPlace, Identity, Level, SpeaksFor, Trust, Who, edit};
use attestor::verify::{Artifact, Evidence, Expected};
use model::text::escape;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Value, json};

use super::args::{TrustAdd, TrustCommand, TrustPin, TrustRemove};
use super::believed::{self, Believed, Unbelieved};
use super::{Ended, Session, files, verify, wrong_usage};
use crate::diagnostic::{Code, Diagnostic, Exit, FileText, Place};
use crate::persist::{self, Flush};
use crate::report;

/// The file, below the configuration folder.
const FILE: &str = "trust.toml";
/// Why revoking is better than removing.
const WHY_REVOKE: &str = "an entry that is gone forgets that its signer was ever bad; one that is revoked refuses it \
     however it is given";

/// Runs one of the trust commands.
pub fn run(session: &Session, command: &TrustCommand) -> Ended {
    match command {
        TrustCommand::Add(args) => add(session, args),
        TrustCommand::List => list(session),
        TrustCommand::Remove(args) => remove(session, args),
        TrustCommand::Pin(args) => pin(session, args),
    }
}

/// Reads who is believed; nobody, if there is no file.
///
/// # Errors
/// A file that can not be read, is not as the format says, or could have been written by others.
pub fn read(session: &Session) -> Result<Trust, Vec<Diagnostic>> {
    let (path, text) = read_text(session)?;
    Trust::parse(text.as_bytes()).map_err(|error| vec![cannot_use(&path, &error)])
}

/// Reads a public key.
///
/// # Errors
/// What is no public key in PEM form.
pub fn key(session: &Session, path: &Path) -> Result<PublicKey, Vec<Diagnostic>> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let refuse = |error: &dyn std::error::Error| {
        vec![
            Diagnostic::new(Code::KeyUnreadable, format!("cannot use the key {shown}"))
                .at(Place::file(shown.as_str()))
                .caused_by(error)
                .help("give a public key in PEM form, as kiln key export prints it"),
        ]
    };
    let bytes = files::read(&session.context.folder.join(path))
        .map_err(|error| refuse(&error))?
        .ok_or_else(|| refuse(&files::missing()))?;
    let pem = String::from_utf8(bytes).map_err(|error| refuse(&error))?;
    PublicKey::from_pem(&pem).map_err(|error| refuse(&error))
}

/// Returns where an entry stands in the trust file.
pub fn place(session: &Session, entry: &EntryPlace) -> Place {
    let path = session.context.config.join(FILE);
    let shown = escape(path.as_os_str().as_encoded_bytes());
    match (entry.line, read_text(session)) {
        (Some(line), Ok((_, text))) => FileText::new(shown, text).place_of_line(line),
        _ => Place::file(shown),
    }
}

fn add(session: &Session, args: &TrustAdd) -> Ended {
    let id = args.builder_id.as_ref().or(args.verifier_id.as_ref());
    let id = BuilderId::new(id.map_or("", String::as_str))
        .map_err(|error| vec![wrong_usage("the id is no URI of a builder").caused_by(&error)])?;
    let (key, identity) = (args.key.as_deref(), args.by.identity.as_deref());
    let mut who = signer(session, key, identity, args.by.issuer.as_deref())?;
    if let Who::Identity(one) = &mut who {
        one.source_repository.clone_from(&args.source_repository);
    }
    let name = name_of(args.name.as_deref(), key, identity);
    let entry = Entry {
        name,
        who,
        speaks_for: match args.verifier_id {
            Some(_) => SpeaksFor::Verifier(id),
            None => SpeaksFor::Builder(id),
        },
        max_level: args.max_level,
        from: args.from.map(jiff::Timestamp::as_second),
        until: args.until.map(jiff::Timestamp::as_second),
        revoked: None,
    };
    can_be_met(session, &entry)?;
    write_entry(session, entry)
}

/// Refuses a span of time in which nothing could be believed. A key's signature has no trusted time and is held
/// against now; an identity's is held against its time of signing, so that an end in the past is one for old files.
fn can_be_met(session: &Session, entry: &Entry) -> Result<(), Vec<Diagnostic>> {
    let Some(until) = entry.until else { return Ok(()) };
    if let Some(from) = entry.from.filter(|from| *from > until) {
        return Err(vec![
            wrong_usage("--until is before --from, so nothing would be believed")
                .expected(format!("a time from {} on", moment(from)))
                .got(moment(until))
                .help("give the earlier time to --from"),
        ]);
    }
    let now = session.context.now();
    if matches!(entry.who, Who::Identity(_)) || until >= now {
        return Ok(());
    }
    Err(vec![
        wrong_usage("--until is over, so nothing that this key signed would be believed")
            .expected(format!("a time after now, {}", moment(now)))
            .got(moment(until))
            .why("a key's signature says no time that can be trusted, so that an entry's end refuses old files too")
            .help("leave --until away, or name a later time; for one file alone:  kiln verify FILE --key KEYFILE"),
    ])
}

/// Returns whom an entry is to be about.
fn signer(
    session: &Session,
    key_file: Option<&Path>,
    identity: Option<&str>,
    issuer: Option<&str>,
) -> Result<Who, Vec<Diagnostic>> {
    match (key_file, identity, issuer) {
        (Some(path), ..) => Ok(Who::Key(key(session, path)?)),
        (None, Some(identity), Some(issuer)) => Ok(Who::Identity(Identity {
            identity: identity.to_owned(),
            issuer: issuer.to_owned(),
            source_repository: None,
        })),
        _ => Err(vec![wrong_usage("neither a key nor an identity is named")]),
    }
}

fn write_entry(session: &Session, entry: Entry) -> Ended {
    change(session, |text, old| {
        if let Some(known) = old.revokes(&entry.who) {
            let which = escape(known.signer().to_string().as_bytes());
            return Err(vec![
                wrong_usage("this signer was revoked, and a revoked one is refused by every entry")
                    .got(told(known))
                    .why("it was revoked, so that nobody believes it by mistake again")
                    .help("have its owner sign with another key or identity, and add that")
                    .help(format!(
                        "if it was revoked by mistake, forget that first:  kiln trust remove \"{which}\""
                    )),
            ]);
        }
        let same = |one: &&Entry| one.who == entry.who && one.speaks_for == entry.speaks_for;
        if let Some(known) = old.entries().iter().find(same) {
            return Err(vec![
                wrong_usage("there is an entry for this signer and this id already")
                    .got(told(known))
                    .help("change it in the file, or remove it first"),
            ]);
        }
        edit::append(text, &entry).map_err(|error| vec![cannot_edit(&error)])
    })?;
    if session.global.json {
        report::document("trust", json!({"added": document(&entry)}));
    } else if session.speaks() {
        let over = entry.until.filter(|until| *until < session.context.now());
        report::line(&match over {
            Some(until) => {
                let until = moment(until);
                format!(" believes only what was signed until {until}, by {}", told(&entry))
            }
            None => format!(" believes {}", told(&entry)),
        });
    }
    Ok(Exit::Done)
}

fn list(session: &Session) -> Ended {
    let trust = read(session)?;
    let now = session.context.now();
    if session.global.json {
        let entries: Vec<Value> = trust.entries().iter().map(document).collect();
        report::document("trust", json!({"entries": entries}));
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for entry in trust.entries() {
        let mark = session.style.verdict(Some(entry.is_in_force(now)));
        out.push_str(&format!(" {mark} {}\n", told(entry)));
    }
    if trust.entries().is_empty() {
        out.push_str(" nobody is believed; begin with:  kiln trust add KEYFILE --builder-id URI\n");
    }
    report::told(&out);
    Ok(Exit::Done)
}

fn remove(session: &Session, args: &TrustRemove) -> Ended {
    let at = args.revoked.as_deref().map(|text| time(session, text)).transpose()?;
    let mut gone = Vec::new();
    change(session, |text, old| {
        let called = |(_, entry): &(usize, &Entry)| entry.is_called(&args.which);
        let found: Vec<(usize, &Entry)> = old.entries().iter().enumerate().filter(called).collect();
        if found.is_empty() {
            let names = old.entries().iter().map(|entry| entry.name.as_str());
            return Err(vec![
                wrong_usage(format!("no entry is called {}", escape(args.which.as_bytes())))
                    .expected(crate::diagnostic::one_of(names))
                    .help("kiln trust list"),
            ]);
        }
        let found = match &args.source_repository {
            Some(repository) => of_repository(session, old, &args.which, &found, repository)?,
            None => found,
        };
        one_signer(session, old, &args.which, &found)?;
        let left = |(_, entry): &&(usize, &Entry)| at.is_none() || entry.revoked.is_none();
        let indexes: Vec<usize> = found.iter().filter(left).map(|(index, _)| *index).collect();
        gone.extend(found.iter().map(|(_, entry)| (*entry).clone()));
        match at {
            Some(at) => edit::revoke(text, &indexes, at),
            None => edit::remove(text, &indexes),
        }
        .map_err(|error| vec![cannot_edit(&error)])
    })?;
    let entries: Vec<Value> = gone.iter().map(document).collect();
    if session.global.json {
        let what = if at.is_some() { "revoked" } else { "removed" };
        report::document("trust", json!({what: entries}));
    } else if session.speaks() {
        for entry in &gone {
            let what = if at.is_some() { "revoked" } else { "forgot" };
            report::line(&format!(" {what} {}", told(entry)));
        }
        if at.is_none() && gone.iter().any(|entry| entry.revoked.is_none()) {
            report::line(&format!(" note: {WHY_REVOKE}:  kiln trust remove NAME --revoked now"));
        }
    }
    Ok(Exit::Done)
}

/// Refuses a word that means entries of several signers: after a rotation the old key and the new one are called
/// the same, and who revokes the one must not lose the other.
fn one_signer(
    session: &Session,
    trust: &Trust,
    word: &str,
    found: &[(usize, &Entry)],
) -> Result<(), Vec<Diagnostic>> {
    if found.windows(2).all(|pair| pair[0].1.who == pair[1].1.who) {
        return Ok(());
    }
    let alike = found.windows(2).all(|pair| pair[0].1.signer() == pair[1].1.signer());
    let (what, help) = match alike {
        true => (
            "entries of several source repositories",
            "name the one that is meant:  --source-repository URL, or \"\" for the one that claims none",
        ),
        false => (
            "entries of several signers",
            "name the one that is meant:  kiln trust remove FINGERPRINT, or \"IDENTITY (ISSUER)\"",
        ),
    };
    let headline = format!("{what} are called {}", escape(word.as_bytes()));
    Err(vec![
        wrong_usage(headline)
            .at(Place::file(shown(session)))
            .expected("the entries of one signer")
            .got(listed(trust, found))
            .help(help),
    ])
}

/// Returns those of the entries whose certificate has to claim this repository; an empty one means none.
fn of_repository<'t>(
    session: &Session,
    trust: &Trust,
    word: &str,
    found: &[(usize, &'t Entry)],
    repository: &str,
) -> Result<Vec<(usize, &'t Entry)>, Vec<Diagnostic>> {
    let wanted = Some(repository).filter(|url| !url.is_empty());
    let claims = |entry: &Entry| match &entry.who {
        Who::Key(_) => false,
        Who::Identity(one) => one.source_repository.as_deref() == wanted,
    };
    let left: Vec<_> = found.iter().copied().filter(|(_, entry)| claims(entry)).collect();
    if !left.is_empty() {
        return Ok(left);
    }
    let headline =
        format!("no entry that is called {} is of this source repository", escape(word.as_bytes()));
    Err(vec![
        wrong_usage(headline)
            .at(Place::file(shown(session)))
            .expected(
                wanted.map_or("one without a source repository".to_owned(), |url| {
                    escape(url.as_bytes())
                }),
            )
            .got(listed(trust, found))
            .help("kiln trust list"),
    ])
}

/// Returns entries as a message lists them, each with its line.
fn listed(trust: &Trust, found: &[(usize, &Entry)]) -> String {
    let told = found.iter().map(|(_, entry)| {
        let line = trust.place_of(entry).line.map_or_else(String::new, |at| format!("line {at}: "));
        format!("{line}{}", told(entry))
    });
    told.collect::<Vec<_>>().join("; ")
}

fn shown(session: &Session) -> String {
    escape(session.context.config.join(FILE).as_os_str().as_encoded_bytes())
}

/// Learns a builder from a verified statement. Key or identity was given, so the bundle vouches for nothing:
/// it says for which builder their holder signed.
fn pin(session: &Session, args: &TrustPin) -> Ended {
    let (key, identity) = (args.key.as_deref(), args.by.identity.as_deref());
    let who = signer(session, key, identity, args.by.issuer.as_deref())?;
    let path = session.context.folder.join(&args.file);
    let name = escape(args.file.as_os_str().as_encoded_bytes());
    let stop = |diagnostic: Diagnostic| vec![diagnostic];
    let digest = verify::digest(&path, &name).map_err(stop)?;
    let bundles: Vec<PathBuf> = args.bundle.iter().cloned().collect();
    let found = verify::gather(session, &bundles, &path, &name, false).map_err(stop)?;
    let trust = read(session)?;
    let named = match &who {
        Who::Key(_) => None,
        Who::Identity(one) => {
            Some(sigstore::Identity { subject: one.identity.clone(), issuer: one.issuer.clone() })
        }
    };
    let root = match (&named, &args.root.trusted_root) {
        (None, None) => None,
        (_, root) => verify::root::read(session, root.as_deref(), named.is_some(), &trust)?,
    };
    let believed = match &who {
        Who::Key(key) => Some(key),
        Who::Identity(_) => None,
    };
    let expected = Expected {
        trust: &trust,
        key: believed,
        identity: named.as_ref(),
        root: root.as_ref(),
        source: None,
    };
    let first = found.first().map(verify::Found::evidence);
    let given = first.unwrap_or(Evidence { bytes: b"", manifest: None });
    let artifact = Artifact { name: &name, digest };
    let verified = attestor::verify::verify(&artifact, &given, &expected, session.context.now())
        .map_err(|refusal| verify::refused(session, &name, &found, None, &refusal).diagnostics)?;
    let builder = BuilderId::new(&verified.value().builder).map_err(|error| {
        stop(wrong_usage("the statement names no usable builder").caused_by(&error))
    })?;
    let entry = Entry {
        name: name_of(args.name.as_deref(), key, identity),
        who,
        speaks_for: SpeaksFor::Builder(builder),
        max_level: args.max_level,
        from: None,
        until: None,
        revoked: None,
    };
    if args.yes {
        let ended = write_entry(session, entry)?;
        if args.root.trusted_root.is_some() && session.speaks() {
            report::line(
                " note: name that root again for each check, or lay it as trusted_root.json beside trust.toml",
            );
        }
        return Ok(ended);
    }
    if session.global.json {
        report::document("trust", json!({"would_add": document(&entry)}));
    } else if session.speaks() {
        report::line(&format!(" would believe {}", told(&entry)));
        report::line(" nothing is written; to write it, the same with --yes");
    }
    Ok(Exit::Done)
}

/// Changes the file under its lock: read, changed, written whole.
fn change(
    session: &Session,
    edit: impl FnOnce(&str, &Trust) -> Result<String, Vec<Diagnostic>>,
) -> Result<(), Vec<Diagnostic>> {
    let folder = &session.context.config;
    let refuse = |error: &dyn std::error::Error| vec![cannot_use(&folder.join(FILE), error)];
    make_folder(folder).map_err(|error| refuse(&error))?;
    believed::would_be(folder).map_err(|error| unbelieved(session, FILE, error))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(folder.join(TRUST_LOCK), flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| refuse(&error))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| refuse(&error))?;
    let (path, text, found) = opened(session)?;
    let old = Trust::parse(text.as_bytes()).map_err(|error| vec![cannot_use(&path, &error)])?;
    let new = edit(&text, &old)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A link stays one: what it leads to is changed, in the folder that was looked at.
    let (folder, name) = match found {
        Some((held, name)) => (rustix::fs::openat(&held, ".", flags, Mode::empty()), name),
        None => (rustix::fs::open(folder, flags, Mode::empty()), FILE.to_owned()),
    };
    let folder = folder.map_err(|error| refuse(&error))?;
    persist::replace(folder.as_fd(), &name, new.as_bytes(), 0o600, Flush::Now)
        .map_err(|error| refuse(&error))
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Returns the file's path and text, empty if there is none.
fn read_text(session: &Session) -> Result<(PathBuf, String), Vec<Diagnostic>> {
    let (path, text, _) = opened(session)?;
    Ok((path, text))
}

/// Returns the file's path and text, and the folder and name that it has there, if there is one.
#[expect(clippy::type_complexity, reason = "used twice, and only here")]
fn opened(
    session: &Session,
) -> Result<(PathBuf, String, Option<(OwnedFd, String)>), Vec<Diagnostic>> {
    let path = session.context.config.join(FILE);
    let Some(found) = believed(session, FILE)? else { return Ok((path, String::new(), None)) };
    let text = String::from_utf8(found.bytes).map_err(|error| vec![cannot_use(&path, &error)])?;
    Ok((path, text, Some((found.folder, found.name))))
}

/// Reads a file of the configuration folder that only this user and root can have written; none if there is none.
///
/// # Errors
/// KILN-0105 for what others can write, and for a link to nothing.
pub fn believed(session: &Session, name: &str) -> Result<Option<Believed>, Vec<Diagnostic>> {
    believed::read(&session.context.config, name).map_err(|error| unbelieved(session, name, error))
}

fn unbelieved(session: &Session, name: &str, error: Unbelieved) -> Vec<Diagnostic> {
    vec![match error {
        Unbelieved::Open { path, owner, ours, mode } => open(&path, owner, ours, mode),
        Unbelieved::Above(OpenTo { path, owner, ours, mode }) => {
            let file = session.context.config.join(name);
            open(&path, owner, ours, mode)
                .expected(
                    "yours or root's, and sticky or without write access for group and others",
                )
                .why(format!(
                    "{} is read by way of it, and who may write there can put another in its place",
                    escape(file.as_os_str().as_encoded_bytes())
                ))
        }
        Unbelieved::Io { path, source } => cannot_use(&path, &source),
        Unbelieved::Dangling { path } => {
            let cause = io::Error::other("it is a link to what is not there");
            cannot_use(&path, &cause)
        }
    }]
}

/// Says that others can write a file or folder, and what to do about it.
fn open(path: &Path, owner: u32, ours: bool, mode: u32) -> Diagnostic {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let help = match ours {
        true => format!("look at what it says, then:  chmod go-w {shown}"),
        false => {
            format!("look at what it says, then make it yours:  sudo chown \"$(id -u)\" {shown}")
        }
    };
    Diagnostic::new(Code::WrongValue, format!("others can write {shown}, so it is not believed"))
        .expected("yours or root's, without write access for group and others")
        .got(format!("owner {owner}, mode {mode:03o}"))
        .help(help)
}

fn cannot_use(path: &Path, error: &dyn std::error::Error) -> Diagnostic {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    Diagnostic::new(Code::WrongValue, format!("cannot use {shown}"))
        .at(Place::file(shown.as_str()))
        .caused_by(error)
        .help("mend it, or move it away and trust a key by name:  --key F")
}

fn cannot_edit(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::new(Code::WrongValue, "cannot change trust.toml")
        .caused_by(error)
        .help("change it by hand; nothing was written")
}

fn time(session: &Session, text: &str) -> Result<i64, Vec<Diagnostic>> {
    if text == "now" {
        return Ok(session.context.now());
    }
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(jiff::Timestamp::as_second).map_err(|error| {
        vec![
            wrong_usage(format!("{} is no time", escape(text.as_bytes())))
                .expected("now, or a time such as 2026-12-01T08:00:00Z")
                .caused_by(&error),
        ]
    })
}

fn name_of(given: Option<&str>, key: Option<&Path>, identity: Option<&str>) -> String {
    let stem = || key?.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    given.map(str::to_owned).or_else(stem).or(identity.map(str::to_owned)).unwrap_or_default()
}

/// Returns an entry in one line.
fn told(entry: &Entry) -> String {
    let who = match &entry.who {
        Who::Key(key) => format!("key {}", key.id()),
        Who::Identity(one) => {
            let repository = one.source_repository.as_ref();
            let repository = repository
                .map_or_else(String::new, |url| format!(", of {},", escape(url.as_bytes())));
            let (identity, issuer) = (&one.identity, &one.issuer);
            format!("{} by {}{repository}", escape(identity.as_bytes()), escape(issuer.as_bytes()))
        }
    };
    let (kind, id) = match &entry.speaks_for {
        SpeaksFor::Builder(id) => ("builder", id),
        SpeaksFor::Verifier(id) => ("verifier", id),
    };
    let name = escape(entry.name.as_bytes());
    let mut out = format!("{name}: {who} for {kind} {id} up to {}", entry.max_level);
    for (word, at) in [("from", entry.from), ("until", entry.until), ("revoked", entry.revoked)] {
        if let Some(at) = at {
            out.push_str(&format!(", {word} {}", moment(at)));
        }
    }
    out
}

/// Returns a time as people read it.
pub fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn document(entry: &Entry) -> Value {
    let level: Level = entry.max_level;
    let mut out = json!({
        "name": entry.name,
        "max_level": level.number(),
        "from": entry.from.map(moment),
        "until": entry.until.map(moment),
        "revoked": entry.revoked.map(moment),
    });
    match &entry.who {
        Who::Key(key) => out["key"] = json!(key.id().to_string()),
        Who::Identity(one) => {
            out["identity"] = json!(one.identity);
            out["issuer"] = json!(one.issuer);
            out["source_repository"] = json!(one.source_repository);
        }
    }
    match &entry.speaks_for {
        SpeaksFor::Builder(id) => out["builder_id"] = json!(id.as_str()),
        SpeaksFor::Verifier(id) => out["verifier_id"] = json!(id.as_str()),
    }
    out
}
