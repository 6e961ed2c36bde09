//! Reads a lock. Strict: what the writer does not write is refused, with the line.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use fetch::host::{Arch, PackageName, Version};
use model::platform::{Arch as Processor, Os, Platform};
use model::{AbsPath, Digest, Ident, RelPath};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::input::pinned;
use super::row::{
    FetchPin, HostItem, HostPin, ImagePin, InputPin, LockfilePin, PackagePin, RootfsPin,
    SourceFrom, SourcePin, UsedBy,
};
use super::{LOCK_VERSION, Lock};
use crate::diagnostic::{Code, Diagnostic, FileText, Span, one_of};

/// Largest lock that is read, in bytes: some 50,000 rows.
pub const LOCK_BYTES_MAX: usize = 16 << 20;
/// Longest text of a field, in bytes.
const FIELD_BYTES_MAX: usize = 4096;
/// Longest wish of one input, in bytes: an environment that names thousands of packages.
const WISH_BYTES_MAX: usize = 1 << 20;

/// Reads the text of a lock. `file` is its name as the user would write it.
///
/// # Errors
/// KILN-0203 for a newer version, KILN-0204 for everything else, at its line. The first problem
/// is told: nobody repairs a lock by hand.
pub fn parse(bytes: &[u8], file: &str) -> Result<Lock, Box<Diagnostic>> {
    if bytes.len() > LOCK_BYTES_MAX {
        let place = FileText::new(file, "").place(Span::default()).without_snippet();
        return Err(Box::new(
            Diagnostic::new(Code::LockMalformed, "the lock is too large")
                .at(place)
                .expected(format!("at most {LOCK_BYTES_MAX} bytes"))
                .got(format!("{} bytes", bytes.len())),
        ));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let place = FileText::new(file, "").place(Span::default()).without_snippet();
        let diagnostic = Diagnostic::new(Code::LockMalformed, "the lock is not UTF-8");
        return Err(Box::new(anew(diagnostic.at(place))));
    };
    let file = FileText::new(file, text);
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().map_or(Span::default(), |range| Span::new(range.start, range.end));
        let place = file.place_of_line(file.line_at(span.start));
        let diagnostic = Diagnostic::new(Code::LockMalformed, "the lock is not TOML").at(place);
        let first = error.message().lines().next().unwrap_or_default().to_owned();
        Box::new(anew(diagnostic.why(first)))
    })?;
    let top = Fields::of(table.get_ref(), Span::default(), "the lock", &file);
    version(&top)?;
    read(&top).map_err(|diagnostic| Box::new(anew(*diagnostic)))
}

type Refused = Box<Diagnostic>;

fn version(top: &Fields<'_>) -> Result<(), Refused> {
    let version = top.number("version")?;
    if version == LOCK_VERSION {
        return Ok(());
    }
    let newer = version > LOCK_VERSION;
    let (code, headline) = match newer {
        true => (Code::LockNewer, "the lock is from a newer kiln"),
        false => (Code::LockMalformed, "the lock has a version that never was"),
    };
    let diagnostic = Diagnostic::new(code, headline)
        .at(top.place_of("version"))
        .expected(format!("version {LOCK_VERSION}"))
        .got(format!("version {version}"));
    Err(Box::new(match newer {
        true => diagnostic.help("use that kiln, or write the lock anew with this one:  kiln lock"),
        false => anew(diagnostic),
    }))
}

fn read(top: &Fields<'_>) -> Result<Lock, Refused> {
    top.only(&[
        "version",
        "generated-by",
        "inputs-digest",
        "input",
        "package",
        "image",
        "rootfs",
        "host",
        "source",
        "lockfile",
        "fetch",
    ])?;
    let lock = Lock {
        generated_by: top.text("generated-by")?.to_owned(),
        inputs_digest: top.parsed("inputs-digest", "a digest", |text| text.parse().ok())?,
        inputs: top.rows("input", input)?,
        packages: top.rows("package", package)?,
        images: top.rows("image", image)?,
        rootfs: top.rows("rootfs", rootfs)?,
        hosts: top.rows("host", host)?,
        sources: top.rows("source", source)?,
        lockfiles: top.rows("lockfile", lockfile)?,
        fetches: top.rows("fetch", fetch)?,
    };
    // They pin nothing, and still are what a stale lock is explained by.
    let told = pinned(&lock.inputs).filter(|_| !lock.inputs.is_empty());
    if let Some(told) = told.filter(|told| *told != lock.inputs_digest) {
        let headline = "the rows of `input` are not those of `inputs-digest`".to_owned();
        let told = top
            .refuse("inputs-digest", headline)
            .expected(lock.inputs_digest.to_string())
            .got(told.to_string());
        return Err(Box::new(told));
    }
    Ok(lock)
}

/// Reads one row and says what identifies it.
type ReadRow<T> = fn(&Fields<'_>) -> Result<(T, String), Refused>;

fn input(row: &Fields<'_>) -> Result<(InputPin, String), Refused> {
    row.only(&["used-by", "wish"])?;
    let used_by = row.used_by()?;
    let wish = row.text_up_to("wish", WISH_BYTES_MAX)?.to_owned();
    let read: Option<Value> = serde_json::from_str(&wish).ok();
    let normal = read.filter(Value::is_object).map(|read| read.to_string());
    if normal.as_deref() != Some(wish.as_str()) {
        return Err(row.wrong("wish", "a JSON object, keys sorted, without spaces"));
    }
    let identity = used_by.to_string();
    Ok((InputPin { used_by, wish }, identity))
}

fn package(row: &Fields<'_>) -> Result<(PackagePin, String), Refused> {
    row.only(&[
        "used-by",
        "kind",
        "name",
        "version",
        "arch",
        "digest",
        "size",
        "purl",
        "signed-by",
    ])?;
    row.parsed("kind", "deb", |kind| (kind == "deb").then_some(()))?;
    let pin = PackagePin {
        used_by: row.used_by()?,
        name: row.parsed("name", "the name of a package", |text| PackageName::new(text).ok())?,
        arch: row.parsed("arch", "an architecture", |text| Arch::new(text).ok())?,
        version: row.parsed("version", "a version", |text| Version::new(text).ok())?,
        digest: row.digest("digest")?,
        size: row.number("size")?,
        purl: row.text("purl")?.to_owned(),
        signed_by: row.text("signed-by")?.to_owned(),
    };
    let identity = format!("{} {} {}", pin.used_by, pin.name, pin.arch);
    Ok((pin, identity))
}

fn image(row: &Fields<'_>) -> Result<(ImagePin, String), Refused> {
    row.only(&["used-by", "ref", "index", "platforms"])?;
    let pin = ImagePin {
        used_by: row.used_by()?,
        reference: row.text("ref")?.to_owned(),
        index: row.digest("index")?,
        platforms: row.platforms("platforms")?,
    };
    let identity = pin.used_by.to_string();
    Ok((pin, identity))
}

fn rootfs(row: &Fields<'_>) -> Result<(RootfsPin, String), Refused> {
    row.only(&["used-by", "digest", "size"])?;
    let (used_by, digest, size) = (row.used_by()?, row.digest("digest")?, row.number("size")?);
    let identity = used_by.to_string();
    Ok((RootfsPin { used_by, digest, size }, identity))
}

fn host(row: &Fields<'_>) -> Result<(HostPin, String), Refused> {
    let (item, name) = if row.has("path") {
        row.only(&["used-by", "path", "tree"])?;
        let path = row.parsed("path", "an absolute path", |text| AbsPath::new(text).ok())?;
        let name = format!("path {path}");
        (HostItem::Path(path), name)
    } else {
        row.only(&["used-by", "package", "version", "arch", "tree"])?;
        let name = row.parsed("package", "a package", |text| PackageName::new(text).ok())?;
        let arch = row.parsed("arch", "an architecture", |text| Arch::new(text).ok())?;
        let version = row.parsed("version", "a version", |text| Version::new(text).ok())?;
        let identity = format!("package {name} {arch}");
        (HostItem::Package { name, arch, version }, identity)
    };
    let pin = HostPin { used_by: row.used_by()?, item, tree: row.digest("tree")? };
    let identity = format!("{} {name}", pin.used_by);
    Ok((pin, identity))
}

fn source(row: &Fields<'_>) -> Result<(SourcePin, String), Refused> {
    let name = row.text("name")?.to_owned();
    let url = row.text("url")?.to_owned();
    let from = match row.text("kind")? {
        "git" => {
            row.only(&["name", "kind", "url", "ref", "commit", "tree"])?;
            let reference = row.text("ref")?.to_owned();
            let commit = row.text("commit")?.to_owned();
            SourceFrom::Git { url, reference, commit, tree: row.digest("tree")? }
        }
        "url" => {
            row.only(&["name", "kind", "url", "digest", "size"])?;
            SourceFrom::Url { url, digest: row.digest("digest")?, size: row.number("size")? }
        }
        _ => return Err(row.wrong("kind", "one of git, url")),
    };
    Ok((SourcePin { name: name.clone(), from }, name))
}

fn lockfile(row: &Fields<'_>) -> Result<(LockfilePin, String), Refused> {
    row.only(&["name", "kind", "path", "digest", "entries"])?;
    let known =
        |kind: &str| matches!(kind, "cargo" | "go" | "npm" | "pip").then(|| kind.to_owned());
    let pin = LockfilePin {
        name: row.ident("name")?,
        kind: row.parsed("kind", "one of cargo, go, npm, pip", known)?,
        path: row.parsed("path", "a path", |text| RelPath::new(text).ok())?,
        digest: row.digest("digest")?,
        entries: row.number("entries")?,
    };
    let identity = pin.name.to_string();
    Ok((pin, identity))
}

fn fetch(row: &Fields<'_>) -> Result<(FetchPin, String), Refused> {
    row.only(&["lockfile", "purl", "digest", "size"])?;
    let pin = FetchPin {
        lockfile: row.ident("lockfile")?,
        purl: row.text("purl")?.to_owned(),
        digest: row.digest("digest")?,
        size: row.number("size")?,
    };
    let identity = format!("{} {}", pin.lockfile, pin.purl);
    Ok((pin, identity))
}

/// The fields of one table, with their places.
struct Fields<'t> {
    table: &'t DeTable<'t>,
    at: Span,
    owner: &'t str,
    file: &'t FileText,
}

impl<'t> Fields<'t> {
    fn of(table: &'t DeTable<'t>, at: Span, owner: &'t str, file: &'t FileText) -> Fields<'t> {
        Fields { table, at, owner, file }
    }

    fn entry(&self, key: &str) -> Option<(Span, &'t Spanned<DeValue<'t>>)> {
        let (found, value) =
            self.table.iter().find(|(found, _)| found.get_ref().as_ref() == key)?;
        Some((Span::new(found.span().start, found.span().end), value))
    }

    fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn place_of(&self, key: &str) -> crate::diagnostic::Place {
        self.file
            .place_of_line(self.file.line_at(self.entry(key).map_or(self.at, |(at, _)| at).start))
    }

    fn refuse(&self, key: &str, headline: String) -> Diagnostic {
        Diagnostic::new(Code::LockMalformed, headline).at(self.place_of(key))
    }

    fn wrong(&self, key: &str, expected: &str) -> Refused {
        let headline = format!("`{key}` of {} is wrong", self.owner);
        Box::new(self.refuse(key, headline).expected(expected))
    }

    fn only(&self, keys: &[&str]) -> Result<(), Refused> {
        for (found, _) in self.table {
            let found = found.get_ref().as_ref();
            if !keys.contains(&found) {
                let headline = format!("{} has an unknown field", self.owner);
                let expected = one_of(keys.iter().copied());
                let short: String = found.chars().take(80).collect();
                return Err(Box::new(self.refuse(found, headline).expected(expected).got(short)));
            }
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Result<&'t DeValue<'t>, Refused> {
        match self.entry(key) {
            Some((_, value)) => Ok(value.get_ref()),
            None => Err(Box::new(self.refuse(key, format!("{} has no `{key}`", self.owner)))),
        }
    }

    fn text(&self, key: &str) -> Result<&'t str, Refused> {
        self.text_up_to(key, FIELD_BYTES_MAX)
    }

    fn text_up_to(&self, key: &str, bytes_max: usize) -> Result<&'t str, Refused> {
        let fits = |text: &&str| text.len() <= bytes_max;
        self.value(key)?.as_str().filter(fits).ok_or_else(|| self.wrong(key, "a string"))
    }

    fn parsed<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Refused> {
        parse(self.text(key)?).ok_or_else(|| self.wrong(key, expected))
    }

    fn digest(&self, key: &str) -> Result<Digest, Refused> {
        self.parsed(key, "sha256: and 64 lower-case hex digits", |text| Digest::from_str(text).ok())
    }

    fn ident(&self, key: &str) -> Result<Ident, Refused> {
        self.parsed(key, "an identifier", |text| Ident::new(text).ok())
    }

    fn used_by(&self) -> Result<UsedBy, Refused> {
        self.parsed("used-by", "environment:NAME or source:NAME", UsedBy::parse)
    }

    fn number(&self, key: &str) -> Result<u64, Refused> {
        let plain = self.value(key)?.as_integer().filter(|number| number.radix() == 10);
        let number = plain.and_then(|number| number.as_str().parse().ok());
        number.ok_or_else(|| self.wrong(key, "an integer, not negative"))
    }

    fn platforms(&self, key: &str) -> Result<BTreeMap<Platform, Digest>, Refused> {
        let wrong = || self.wrong(key, "a map from platform, such as linux/amd64, to digest");
        let table = self.value(key)?.as_table().ok_or_else(wrong)?;
        let mut found = BTreeMap::new();
        for (name, digest) in table {
            let arch = match name.get_ref().as_ref() {
                "linux/amd64" => Processor::Amd64,
                "linux/arm64" => Processor::Arm64,
                _ => return Err(wrong()),
            };
            let digest = digest.get_ref().as_str().and_then(|text| text.parse().ok());
            found.insert(Platform { os: Os::Linux, arch }, digest.ok_or_else(wrong)?);
        }
        if found.is_empty() { Err(wrong()) } else { Ok(found) }
    }

    /// Reads all rows of a table; two for one thing are refused.
    fn rows<T: Ord>(&self, key: &str, read: ReadRow<T>) -> Result<Vec<T>, Refused> {
        let Some((_, value)) = self.entry(key) else { return Ok(Vec::new()) };
        let rows = value.get_ref().as_array().ok_or_else(|| self.wrong(key, "rows"))?;
        let owner = format!("a row of `{key}`");
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for row in rows.iter() {
            let at = Span::new(row.span().start, row.span().end);
            let table = row.get_ref().as_table().ok_or_else(|| self.wrong(key, "rows"))?;
            let fields = Fields { table, at, owner: &owner, file: self.file };
            let (pin, identity) = read(&fields)?;
            if !seen.insert(identity.clone()) {
                let headline = format!("`{key}` has two rows for one thing: {identity}");
                return Err(Box::new(fields.refuse("", headline)));
            }
            found.push(pin);
        }
        found.sort();
        Ok(found)
    }
}

fn anew(diagnostic: Diagnostic) -> Diagnostic {
    match diagnostic.code {
        Code::LockMalformed => {
            diagnostic.help("take it from version control, or write it anew:  kiln lock")
        }
        _ => diagnostic,
    }
}
