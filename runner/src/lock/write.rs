//! Writes a lock, as TOML or as JSON: the same tables, rows and fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::Digest;
use serde_json::{Map, Value, json};

use super::row::{
    FetchPin, HostItem, HostPin, ImagePin, InputPin, LockfilePin, PackagePin, RootfsPin,
    SourceFrom, SourcePin,
};
use super::{LOCK_VERSION, Lock};

/// One field of a row.
enum Field {
    Text(String),
    Number(u64),
    Platforms(BTreeMap<String, Digest>),
}

type Row = Vec<(&'static str, Field)>;

impl Lock {
    /// Returns the text of `kiln.lock`. Rows are sorted, so the same content gives the same bytes.
    pub fn to_text(&self) -> String {
        let mut out = format!(
            "version = {LOCK_VERSION}\ngenerated-by = {}\ninputs-digest = {}\n",
            quoted(&self.generated_by),
            quoted(&self.inputs_digest.to_string())
        );
        for (table, rows) in self.tables() {
            for row in rows {
                let _ = write!(out, "\n[[{table}]]\n");
                for (key, field) in row {
                    let _ = writeln!(out, "{key} = {}", field.to_text());
                }
            }
        }
        out
    }

    /// Returns the same content as JSON, for `kiln lock --json`. Tables without rows are left out.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "version": LOCK_VERSION,
            "generated-by": self.generated_by,
            "inputs-digest": self.inputs_digest,
        });
        for (table, rows) in self.tables().into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let row = |row: Row| {
                let fields = row.into_iter().map(|(key, field)| (key.to_owned(), field.to_json()));
                Value::Object(fields.collect::<Map<_, _>>())
            };
            value[table] = rows.into_iter().map(row).collect();
        }
        value
    }

    /// Returns the tables in the order of the file, each with its rows in theirs.
    fn tables(&self) -> [(&'static str, Vec<Row>); 8] {
        [
            ("input", sorted(&self.inputs, input)),
            ("package", sorted(&self.packages, package)),
            ("image", sorted(&self.images, image)),
            ("rootfs", sorted(&self.rootfs, rootfs)),
            ("host", sorted(&self.hosts, host)),
            ("source", sorted(&self.sources, source)),
            ("lockfile", sorted(&self.lockfiles, lockfile)),
            ("fetch", sorted(&self.fetches, fetch)),
        ]
    }
}

impl Field {
    fn to_text(&self) -> String {
        match self {
            Field::Text(text) => quoted(text),
            Field::Number(number) => number.to_string(),
            Field::Platforms(platforms) => {
                let one = |(platform, digest): (&String, &Digest)| {
                    format!("{} = {}", quoted(platform), quoted(&digest.to_string()))
                };
                format!("{{ {} }}", platforms.iter().map(one).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Field::Text(text) => json!(text),
            Field::Number(number) => json!(number),
            Field::Platforms(platforms) => json!(platforms),
        }
    }
}

fn sorted<T: Ord>(pins: &[T], row: fn(&T) -> Row) -> Vec<Row> {
    let mut pins: Vec<&T> = pins.iter().collect();
    pins.sort();
    pins.into_iter().map(row).collect()
}

fn text(value: impl std::fmt::Display) -> Field {
    Field::Text(value.to_string())
}

fn input(pin: &InputPin) -> Row {
    vec![("used-by", text(&pin.used_by)), ("wish", text(&pin.wish))]
}

fn package(pin: &PackagePin) -> Row {
    vec![
        ("used-by", text(&pin.used_by)),
        ("kind", text("deb")),
        ("name", text(&pin.name)),
        ("version", text(&pin.version)),
        ("arch", text(&pin.arch)),
        ("digest", text(pin.digest)),
        ("size", Field::Number(pin.size)),
        ("purl", text(&pin.purl)),
        ("signed-by", text(&pin.signed_by)),
    ]
}

fn image(pin: &ImagePin) -> Row {
    let platforms =
        pin.platforms.iter().map(|(platform, digest)| (platform.to_string(), *digest)).collect();
    vec![
        ("used-by", text(&pin.used_by)),
        ("ref", text(&pin.reference)),
        ("index", text(pin.index)),
        ("platforms", Field::Platforms(platforms)),
    ]
}

fn rootfs(pin: &RootfsPin) -> Row {
    vec![
        ("used-by", text(&pin.used_by)),
        ("digest", text(pin.digest)),
        ("size", Field::Number(pin.size)),
    ]
}

fn host(pin: &HostPin) -> Row {
    let mut row = vec![("used-by", text(&pin.used_by))];
    match &pin.item {
        HostItem::Package { name, arch, version } => {
            row.push(("package", text(name)));
            row.push(("version", text(version)));
            row.push(("arch", text(arch)));
        }
        HostItem::Path(path) => row.push(("path", text(path))),
    }
    row.push(("tree", text(pin.tree)));
    row
}

fn source(pin: &SourcePin) -> Row {
    let mut row = vec![("name", text(&pin.name))];
    match &pin.from {
        SourceFrom::Git { url, reference, commit, tree } => row.extend([
            ("kind", text("git")),
            ("url", text(url)),
            ("ref", text(reference)),
            ("commit", text(commit)),
            ("tree", text(tree)),
        ]),
        SourceFrom::Url { url, digest, size } => row.extend([
            ("kind", text("url")),
            ("url", text(url)),
            ("digest", text(digest)),
            ("size", Field::Number(*size)),
        ]),
    }
    row
}

fn lockfile(pin: &LockfilePin) -> Row {
    vec![
        ("name", text(&pin.name)),
        ("kind", text(&pin.kind)),
        ("path", text(&pin.path)),
        ("digest", text(pin.digest)),
        ("entries", Field::Number(pin.entries)),
    ]
}

fn fetch(pin: &FetchPin) -> Row {
    vec![
        ("lockfile", text(&pin.lockfile)),
        ("purl", text(&pin.purl)),
        ("digest", text(pin.digest)),
        ("size", Field::Number(pin.size)),
    ]
}

/// Returns a TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", letter as u32);
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}
