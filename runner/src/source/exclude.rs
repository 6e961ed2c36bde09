//! `exclude` of a local source, and what no source ever holds.
//!
//! Patterns have gitignore's form, relative to the source's folder: `target/` means a folder of that
//! name at any depth, `/target/` or `a/target/` only that place. There is no `!`: nothing is taken
//! back in.
//!
//! Source: gitignore(5), "PATTERN FORMAT"; the build file's key `exclude`.

use super::git::ignore::Pattern;

/// The build file, at the root of the project; no part of a source, but of "clean or dirty".
pub const BUILD_FILE: &str = "kiln.yaml";
/// The lock file, likewise.
pub const LOCK_FILE: &str = "kiln.lock";
/// Where outputs go, at the root of the project; never counts.
pub const OUTPUT_FOLDER: &str = "kiln-out";
/// Git's own folder or file, at any depth: it is no source.
pub const GIT_FOLDER: &str = ".git";

/// What a source leaves out besides the fixed names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclude {
    patterns: Vec<Pattern>,
}

/// A pattern that could not mean anything (KILN-0105).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{glob}` {why}")]
pub struct BadGlob {
    /// Which one of the list, from 0.
    pub position: usize,
    /// The pattern as written.
    pub glob: String,
    /// What does not fit.
    pub why: &'static str,
}

impl Exclude {
    /// Reads a list of patterns.
    ///
    /// # Errors
    /// Refuses a pattern that is empty, starts with `!`, has a part `..`, or does not end a bracket
    /// or an escape.
    pub fn parse<T: AsRef<str>>(globs: &[T]) -> Result<Exclude, BadGlob> {
        let patterns = globs
            .iter()
            .enumerate()
            .map(|(position, glob)| {
                let glob = glob.as_ref();
                check(glob).map_err(|why| BadGlob { position, glob: glob.to_owned(), why })
            })
            .collect::<Result<_, _>>()?;
        Ok(Exclude { patterns })
    }

    /// Says whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Says whether a path below the source's folder is left out by name; the folders above it have
    /// to be asked before it.
    pub fn leaves_out(&self, below: &str, is_folder: bool) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(below.as_bytes(), is_folder))
    }
}

fn check(glob: &str) -> Result<Pattern, &'static str> {
    if glob.starts_with('!') {
        return Err("starts with `!`; nothing can be taken back in");
    }
    if glob.split('/').any(|part| part == "..") {
        return Err("has a part `..`");
    }
    let mut bytes = glob.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if bytes.next().is_none() => return Err("ends in a backslash"),
            b'[' => {
                bytes.next_if(|&next| matches!(next, b'!' | b'^'));
                bytes.next_if_eq(&b']');
                if !bytes.any(|next| next == b']') {
                    return Err("has a `[` without `]`");
                }
            }
            _ => {}
        }
    }
    Pattern::parse(glob.strip_prefix("./").unwrap_or(glob).as_bytes()).ok_or("is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_out_what_they_name() {
        let exclude =
            Exclude::parse(&["node_modules/", "/build", "*.log", "doc/**/*.pdf"]).unwrap();
        for (path, is_folder, expected) in [
            ("node_modules", true, true),
            ("a/node_modules", true, true),
            ("node_modules", false, false),
            ("build", true, true),
            ("a/build", true, false),
            ("a/x.log", false, true),
            ("doc/a/b.pdf", false, true),
            ("src/main.rs", false, false),
        ] {
            assert_eq!(exclude.leaves_out(path, is_folder), expected, "{path}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for bad in ["", "/", "!x", "../x", "a/../b", "[a", "x\\"] {
            let error = Exclude::parse(&["ok", bad]).unwrap_err();
            assert_eq!((error.position, error.glob.as_str()), (1, bad));
        }
    }
}
