//! What the lock promises: one form, a strict reader, and stale only when inputs changed.

use std::collections::BTreeMap;

use fetch::host::{Arch, PackageName, Version};
use model::platform::{Arch as Processor, Os, Platform};
use model::{AbsPath, Digest, Ident, RelPath};
use proptest::prelude::*;

use super::*;
use crate::diagnostic::{COLUMNS_DEFAULT, Code, Diagnostic, Style};
use crate::manifest::{self, Manifest};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn ident(name: &str) -> Ident {
    Ident::new(name).unwrap()
}

fn environment(name: &str) -> UsedBy {
    UsedBy::Environment(ident(name))
}

fn package(used_by: &str, name: &str) -> HostPin {
    let item = HostItem::Package {
        name: PackageName::new(name).unwrap(),
        arch: Arch::new("amd64").unwrap(),
        version: Version::new("4:14.2.0-1").unwrap(),
    };
    HostPin { used_by: environment(used_by), item, tree: digest(name) }
}

/// A lock with a row of every kind.
fn full() -> Lock {
    let git = SourceFrom::Git {
        url: "https://git.example.org/lib.git".to_owned(),
        reference: "v2.1.0".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        tree: digest("lib"),
    };
    let url = SourceFrom::Url {
        url: "https://fonts.example.org/f.tar.xz".to_owned(),
        digest: digest("font"),
        size: 1_204_992,
    };
    let platform = |arch| Platform { os: Os::Linux, arch };
    let path = HostItem::Path(AbsPath::new("/opt/toolchain").unwrap());
    let inputs = vec![InputPin { used_by: environment("rust"), wish: r#"{"a":"b"}"#.to_owned() }];
    Lock {
        inputs_digest: super::input::pinned(&inputs).unwrap(),
        inputs,
        packages: vec![PackagePin {
            used_by: environment("rust"),
            name: PackageName::new("gcc").unwrap(),
            arch: Arch::new("amd64").unwrap(),
            version: Version::new("4:14.2.0-1").unwrap(),
            digest: digest("gcc"),
            size: 276_236,
            purl: "pkg:deb/debian/gcc@4:14.2.0-1?arch=amd64".to_owned(),
            signed_by: "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8".to_owned(),
        }],
        images: vec![ImagePin {
            used_by: environment("node"),
            reference: "registry.example.org/toolchains/node:22".to_owned(),
            index: digest("index"),
            platforms: BTreeMap::from([
                (platform(Processor::Arm64), digest("arm")),
                (platform(Processor::Amd64), digest("amd")),
            ]),
        }],
        rootfs: vec![RootfsPin { used_by: environment("bare"), digest: digest("tar"), size: 9 }],
        hosts: vec![
            HostPin { used_by: environment("default"), item: path, tree: digest("tool") },
            package("default", "make"),
            package("default", "gcc"),
        ],
        sources: vec![
            SourcePin { name: "lib".to_owned(), from: git },
            SourcePin { name: "font".to_owned(), from: url },
        ],
        lockfiles: vec![LockfilePin {
            name: ident("crates"),
            kind: "cargo".to_owned(),
            path: RelPath::new("server/Cargo.lock").unwrap(),
            digest: digest("Cargo.lock"),
            entries: 212,
        }],
        fetches: vec![FetchPin {
            lockfile: ident("npm"),
            purl: "pkg:npm/left-pad@1.3.0".to_owned(),
            digest: digest("left-pad"),
            size: 3521,
        }],
        ..Lock::new("kiln 0.1.0", digest("inputs"))
    }
}

/// The text of [`full`], with digests cut.
const FULL: &str = r#"version = 1
generated-by = "kiln 0.1.0"
inputs-digest = "sha256:…"

[[input]]
used-by = "environment:rust"
wish = "{\"a\":\"b\"}"

[[package]]
used-by = "environment:rust"
kind = "deb"
name = "gcc"
version = "4:14.2.0-1"
arch = "amd64"
digest = "sha256:…"
size = 276236
purl = "pkg:deb/debian/gcc@4:14.2.0-1?arch=amd64"
signed-by = "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8"

[[image]]
used-by = "environment:node"
ref = "registry.example.org/toolchains/node:22"
index = "sha256:…"
platforms = { "linux/amd64" = "sha256:…", "linux/arm64" = "sha256:…" }

[[rootfs]]
used-by = "environment:bare"
digest = "sha256:…"
size = 9

[[host]]
used-by = "environment:default"
package = "gcc"
version = "4:14.2.0-1"
arch = "amd64"
tree = "sha256:…"

[[host]]
used-by = "environment:default"
package = "make"
version = "4:14.2.0-1"
arch = "amd64"
tree = "sha256:…"

[[host]]
used-by = "environment:default"
path = "/opt/toolchain"
tree = "sha256:…"

[[source]]
name = "font"
kind = "url"
url = "https://fonts.example.org/f.tar.xz"
digest = "sha256:…"
size = 1204992

[[source]]
name = "lib"
kind = "git"
url = "https://git.example.org/lib.git"
ref = "v2.1.0"
commit = "0123456789abcdef0123456789abcdef01234567"
tree = "sha256:…"

[[lockfile]]
name = "crates"
kind = "cargo"
path = "server/Cargo.lock"
digest = "sha256:…"
entries = 212

[[fetch]]
lockfile = "npm"
purl = "pkg:npm/left-pad@1.3.0"
digest = "sha256:…"
size = 3521
"#;

fn told(diagnostic: &Diagnostic) -> String {
    format!("\n{}", diagnostic.render(Style::Drawn, COLUMNS_DEFAULT))
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let found = parse(text.as_bytes(), "kiln.lock").unwrap_err();
    assert_eq!(told(&found), expected);
}

#[track_caller]
fn manifest(text: &str) -> Manifest {
    manifest::parse(text.as_bytes(), "kiln.yaml").unwrap()
}

const PINNED: &str = "\
kiln: 1
name: t
environment:
  host: {packages: [gcc, make], pin: true}
steps:
  - {name: build, run: make}
";

#[test]
fn a_lock_has_one_form() {
    let text = full().to_text();
    let mut cut = String::new();
    for line in text.lines() {
        let mut parts = line.split("sha256:");
        cut.push_str(parts.next().unwrap_or_default());
        for part in parts {
            cut.push_str("sha256:…");
            cut.push_str(&part[64..]);
        }
        cut.push('\n');
    }
    assert_eq!(cut, FULL);
}

#[test]
fn a_lock_reads_back_as_it_was_and_writes_the_same_bytes() {
    let text = full().to_text();
    let read = parse(text.as_bytes(), "kiln.lock").unwrap();
    assert_eq!(read.to_text(), text);
    assert_eq!(read.to_json(), full().to_json());
    let mut sorted = full();
    sorted.hosts.sort();
    sorted.sources.sort();
    assert_eq!(read, sorted);
}

#[test]
fn json_has_the_same_tables_and_fields() {
    let json = full().to_json();
    assert_eq!(json["version"], 1);
    assert_eq!(json["host"][0]["package"], "gcc");
    assert_eq!(json["host"][2]["path"], "/opt/toolchain");
    assert_eq!(json["image"][0]["platforms"]["linux/amd64"], digest("amd").to_string());
    let short = Lock::new("kiln 0.1.0", digest("inputs")).to_json();
    assert_eq!(short.as_object().unwrap().len(), 3, "tables without rows are left out");
}

#[test]
fn lock_with_two_digests_is_refused() {
    let mut lock = full();
    lock.hosts = vec![package("default", "gcc"), package("default", "gcc")];
    lock.hosts[1].tree = digest("other");
    let found = parse(lock.to_text().as_bytes(), "kiln.lock").unwrap_err();
    assert_eq!(found.code, Code::LockMalformed);
    assert_eq!(
        found.headline,
        "`host` has two rows for one thing: environment:default package gcc amd64"
    );
}

#[test]
fn every_line_of_a_lock_matters() {
    let text = full().to_text();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.contains(" = ")) {
        let without: Vec<&str> =
            text.lines().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| line).collect();
        assert!(parse(without.join("\n").as_bytes(), "kiln.lock").is_err(), "without: {line}");
        let (key, _) = line.split_once(" = ").unwrap();
        for value in ["[]", "true", "-1"] {
            let changed = text.replacen(line, &format!("{key} = {value}"), 1);
            assert!(parse(changed.as_bytes(), "kiln.lock").is_err(), "{key} = {value}");
        }
        let twice = text.replacen(line, &format!("{line}\n{line}"), 1);
        assert!(parse(twice.as_bytes(), "kiln.lock").is_err(), "twice: {line}");
        let more = text.replacen(line, &format!("{line}\nmore = 1"), 1);
        assert!(parse(more.as_bytes(), "kiln.lock").is_err(), "more after: {line}");
    }
}

#[test]
fn a_newer_lock_is_told_apart_from_a_malformed_one() {
    check_refused(
        "version = 2\nsomething-new = true\n",
        r#"
error[KILN-0203]: the lock is from a newer kiln
  --> kiln.lock:1:1
   |
 1 | version = 2
   |
  expected: version 1
  got:      version 2
help: use that kiln, or write the lock anew with this one:  kiln lock
"#,
    );
    check_refused(
        "version = 1\n<<<<<<< ours\n",
        r#"
error[KILN-0204]: the lock is not TOML
  --> kiln.lock:2:1
   |
 2 | <<<<<<< ours
   |
why: key with no value, expected `=`
help: take it from version control, or write it anew:  kiln lock
"#,
    );
    let text = full().to_text().replace("entries = 212", "entries = \"many\"");
    check_refused(
        &text,
        r#"
error[KILN-0204]: `entries` of a row of `lockfile` is wrong
  --> kiln.lock:70:1
   |
70 | entries = "many"
   |
  expected: an integer, not negative
help: take it from version control, or write it anew:  kiln lock
"#,
    );
    assert_eq!(parse(b"\xff", "kiln.lock").unwrap_err().code, Code::LockMalformed);
    assert_eq!(parse(b"version = 0\n", "kiln.lock").unwrap_err().code, Code::LockMalformed);
    let huge = vec![b'#'; LOCK_BYTES_MAX + 1];
    assert_eq!(parse(&huge, "kiln.lock").unwrap_err().code, Code::LockMalformed);
    let deep = format!("version = {}", "[".repeat(100_000));
    assert_eq!(parse(deep.as_bytes(), "kiln.lock").unwrap_err().code, Code::LockMalformed);
}

#[test]
fn an_absent_lock_says_how_to_write_it() {
    assert_eq!(
        told(&absent("kiln.lock")),
        r#"
error[KILN-0201]: there is no kiln.lock
  --> kiln.lock
why: nothing moving is used unpinned, and the lock may not be written by this command
help: write it and commit it:  kiln lock
"#
    );
}

#[test]
fn a_stale_lock_says_what_changed() {
    let manifest = manifest(PINNED);
    let fresh = Lock {
        hosts: vec![package("default", "gcc")],
        ..Lock::new("kiln 0.1.0", inputs_digest(&manifest))
    };
    assert_eq!(check(&fresh, &manifest, "kiln.lock"), Ok(()));
    let edited = Lock { inputs_digest: digest("before"), ..fresh.clone() };
    let found = check(&edited, &manifest, "kiln.lock").unwrap_err();
    assert_eq!(
        told(&found),
        format!(
            r#"
error[KILN-0202]: kiln.lock is stale: `sources` or environments of kiln.yaml were edited after it was written
  --> kiln.lock
  expected: {}
  got:      {}
help: look at the change, then pin it:  kiln lock
"#,
            inputs_digest(&manifest),
            digest("before")
        )
    );
    let other = Lock { hosts: vec![package("rust", "gcc")], ..fresh };
    let found = check(&other, &manifest, "kiln.lock").unwrap_err();
    assert_eq!(
        found.headline,
        "kiln.lock is stale: environment:default is not in it; \
         environment:rust is in it, and kiln.yaml does not pin it"
    );
}

#[test]
fn a_stale_lock_names_the_input_whose_wish_changed() {
    let lock = Lock {
        hosts: vec![package("default", "gcc")],
        ..Lock::made_for(&manifest(PINNED), "kiln 0.1.0")
    };
    let lock = parse(lock.to_text().as_bytes(), "kiln.lock").unwrap();
    for (from, to, told) in [
        ("[gcc, make]", "[gcc]", "environment `default`: `make` is gone from `packages`"),
        ("[gcc, make]", "[gcc, make, tar]", "environment `default`: `tar` is new in `packages`"),
        (
            "pin: true",
            "pin: true, paths: [/opt/x]",
            "environment `default`: `{\"at\":\"/opt/x\",\"from\":\"/opt/x\",\"path-prefix\":false}` \
             is new in `paths`",
        ),
        (
            "environment:",
            "sources: {src: {local: src}}\nenvironment:",
            "source `src`: `local` was `.`, is `src`",
        ),
        (
            "environment:",
            "sources: {src: {local: ., exclude: [x]}}\nenvironment:",
            "source `src`: `x` is new in `exclude`",
        ),
        (
            "environment:",
            "sources: {other: {local: src}}\nenvironment:",
            "source `other` is new; source `src` is gone",
        ),
        ("steps:", "environments: {more: {host: {}}}\nsteps:", "environment `more` is new"),
        (
            "pin: true",
            "pin: false",
            "environment `default`: `pin` was `true`, is `false`; \
             environment:default is in it, and kiln.yaml does not pin it",
        ),
    ] {
        let found = check(&lock, &manifest(&PINNED.replace(from, to)), "kiln.lock").unwrap_err();
        assert_eq!(found.headline, format!("kiln.lock is stale: {told}"));
    }
}

#[test]
fn wishes_that_are_not_those_of_the_digest_are_refused_and_explain_nothing() {
    let good = Lock::made_for(&manifest(PINNED), "kiln 0.1.0");
    let edited = manifest(&PINNED.replace("[gcc, make]", "[gcc]"));
    let refused = |lock: &Lock, headline: &str| {
        let found = parse(lock.to_text().as_bytes(), "kiln.lock").unwrap_err();
        assert_eq!((found.code, found.headline.as_str()), (Code::LockMalformed, headline));
        let found = check(lock, &edited, "kiln.lock").unwrap_err();
        assert!(!found.headline.contains("gone"), "{}", found.headline);
    };
    let spaced = good.inputs[0].wish.replacen(':', ": ", 1);
    let mut lock = good.clone();
    lock.inputs[0].wish = spaced;
    assert!(parse(lock.to_text().as_bytes(), "kiln.lock").is_err());
    for wish in ["", "[]", "[[[[", "\u{1b}[2J", &"[".repeat(100_000)] {
        let mut lock = good.clone();
        lock.inputs[0].wish = wish.to_owned();
        refused(&lock, "`wish` of a row of `input` is wrong");
    }
    let other = "the rows of `input` are not those of `inputs-digest`";
    let mut lock = good.clone();
    lock.inputs[0].wish = "{}".to_owned();
    refused(&lock, other);
    let mut lock = good.clone();
    let default = environment("default");
    let at = lock.inputs.iter().position(|pin| pin.used_by == default).unwrap();
    lock.inputs[at].used_by = environment("dfault");
    refused(&lock, other);
    let mut lock = good.clone();
    lock.inputs.remove(at);
    refused(&lock, other);
    // The controls: as it was written, and as a kiln wrote it that had no such rows.
    let bare = Lock { inputs: Vec::new(), ..good.clone() };
    for lock in [&good, &bare] {
        assert_eq!(parse(lock.to_text().as_bytes(), "kiln.lock").unwrap(), *lock);
    }
    let mut lock = Lock { inputs: Vec::new(), ..good };
    let wish = format!(r#"{{"\u001b[2J{}":1}}"#, "x".repeat(9000));
    lock.inputs.push(InputPin { used_by: environment("default"), wish });
    let forged = super::input::digest_of(
        &[(environment("default"), serde_json::from_str(&lock.inputs[0].wish).unwrap())].into(),
    );
    let lock = Lock { inputs_digest: forged, ..lock };
    let found = check(&lock, &edited, "kiln.lock").unwrap_err();
    assert!(found.headline.len() < 2000 && !found.headline.contains('\u{1b}'));
}

#[test]
fn only_sources_and_environments_make_a_lock_stale() {
    let base = inputs_digest(&manifest(PINNED));
    for (from, to) in [
        ("run: make", "run: make all"),
        ("name: t", "name: other"),
        ("steps:\n", "version: \"2\"\nmatrix: {a: [b]}\nsteps:\n  # more\n"),
        (
            "  - {name: build, run: make}",
            "  - {run: make, name: build}\ntests: [{name: u, run: x}]",
        ),
        ("pin: true}", "pin: true}\n  env: {A: b}"),
        ("{packages: [gcc, make], pin: true}", "{pin: true, packages: [make, gcc]}"),
        ("environment:", "sources: {src: {local: .}}\nenvironment:"),
    ] {
        let text = PINNED.replace(from, to);
        assert_ne!(text, PINNED);
        assert_eq!(inputs_digest(&manifest(&text)), base, "{text}");
    }
    for (from, to) in [
        ("[gcc, make]", "[gcc]"),
        ("pin: true", "pin: false"),
        ("pin: true", "pin: true, paths: [/opt/x]"),
        ("environment:", "sources: {src: {local: src}}\nenvironment:"),
        ("environment:", "sources: {src: {local: ., exclude: [x]}}\nenvironment:"),
        ("steps:", "environments: {more: {host: {}}}\nsteps:"),
    ] {
        assert_ne!(inputs_digest(&manifest(&PINNED.replace(from, to))), base, "{to}");
    }
}

#[test]
fn the_digest_of_inputs_is_over_bytes_that_stay() {
    assert_eq!(inputs_digest(&manifest(PINNED)), digest(NORMAL));
}

/// The normal form of [`PINNED`]: JSON, keys and packages sorted, no spaces.
const NORMAL: &str = concat!(
    r#"{"environments":{"default":{"host":{"packages":["gcc","make"],"paths":[],"pin":true}}},"#,
    r#""sources":{"src":{"exclude":[],"local":"."}}}"#
);

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, "kiln.lock");
    }

    #[test]
    fn a_lock_with_one_change_never_makes_the_reader_panic(at in 0..2000_usize, letter in any::<char>()) {
        let mut text = full().to_text();
        let at = at % text.len();
        text.replace_range(at..=at, &letter.to_string());
        if let Err(found) = parse(text.as_bytes(), "kiln.lock") {
            found.render(Style::Drawn, 80);
        }
    }

    #[test]
    fn any_text_goes_through_a_lock(name in ".{0,40}", url in "[^\0]{0,40}") {
        let mut lock = full();
        lock.generated_by = name;
        lock.sources.truncate(1);
        lock.sources[0].name = url;
        let read = parse(lock.to_text().as_bytes(), "kiln.lock").unwrap();
        prop_assert_eq!(read.to_text(), lock.to_text());
        prop_assert_eq!(read.generated_by, lock.generated_by);
        prop_assert_eq!(&read.sources, &lock.sources);
    }
}
