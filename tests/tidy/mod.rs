//! The house rules that can be checked by reading the tree: each rule is one test.
//!
//! A rule with exceptions holds them in a table with their reasons; a table that names something
//! that is gone fails as well. A refusal says file and line.
//!
//! Does not catch: what needs types (clippy does that) or judgement (CONTRIBUTING.md asks for it).

mod code;
mod deny;
mod graph;
mod papers;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests are a folder of the repository").to_owned()
}

/// A text file of the tree.
pub struct File {
    /// Its path below the top, with slashes.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl File {
    /// Says whether it is a Rust source of a crate that ships, not of `tests` or `benches`.
    pub fn ships(&self) -> bool {
        self.path.ends_with(".rs")
            && self.path.contains("/src/")
            && !["tests/", "benches/", "examples/"].iter().any(|part| self.path.starts_with(part))
            && !self.path.ends_with("tests.rs")
            && !self.path.contains("/tests/")
    }

    /// Returns the crate it belongs to: its first folder.
    pub fn package(&self) -> &str {
        self.path.split('/').next().unwrap_or("")
    }
}

/// Reads every text file of the tree, but not what is generated.
pub fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(&top(), "", &mut found);
    assert!(found.len() > 20, "the tree was not found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the tree can be read") {
        let entry = entry.expect("the tree can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().expect("the tree can be read");
        if kind.is_dir() {
            if !["target", ".git", "kiln-out", "__pycache__"].contains(&name.as_str()) {
                collect(&entry.path(), &path, found);
            }
        } else if kind.is_file()
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(File { path, text });
        }
    }
}

/// Fails with one line for each breach of a rule.
pub fn refuse(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}
