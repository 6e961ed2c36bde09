//! Which files of a package may be missing on a host.
//!
//! Hosts made small leave out documentation, administrators delete configuration files, and caches
//! come and go; none of these is a changed package. Everything else that a package lists and the
//! host lacks makes the package unusable, and that is an error.
//!
//! Does no I/O.
//!
//! Sources: dpkg(1), `--path-exclude` and `--path-include` (the last match wins); Debian Policy,
//! section 10.7.3, for deleted configuration files.

/// Why a file is not in the environment although its package lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Documentation, manual, translation or menu file, absent on the host.
    Documentation,
    /// A configuration file that the administrator deleted.
    Configuration,
    /// Left out when the package was unpacked, by the host's dpkg configuration.
    PathExclude,
    /// A folder, cache or state that comes and goes.
    State,
    /// A file that images for containers commonly delete: the table [`COMMONLY_DELETED`].
    Deleted,
    /// It lies on the host, but not everybody may read it.
    NotForEverybody,
    /// It lies where kiln has places of its own, such as `/run`.
    KilnsOwn,
    /// A synthetic file of kiln's lies there instead.
    Replaced,
    /// Another package replaces it.
    Superseded,
}

/// Folders that nothing needs in order to run.
const DOCUMENTATION: [&str; 13] = [
    "usr/share/bug/",          // helpers of reportbug
    "usr/share/doc-base/",     // registry of manuals
    "usr/share/doc/",          // manuals, change logs, licences
    "usr/share/gnome/help/",   // manuals
    "usr/share/groff/",        // left out by the slim images together with man
    "usr/share/help/",         // manuals
    "usr/share/i18n/locales/", // sources of locales
    "usr/share/info/",         // manuals
    "usr/share/linda/",        // a package checker's data
    "usr/share/lintian/",      // a package checker's data
    "usr/share/locale/",       // translations
    "usr/share/man/",          // manuals
    "usr/share/omf/",          // registry of manuals
];

/// Names that images delete on purpose, whole or as a suffix.
pub const COMMONLY_DELETED: [&str; 3] = [
    ".pyc",                // compiled Python: Python makes do without
    ".pyo",                // the same, of old
    "/EXTERNALLY-MANAGED", // a note that keeps pip from the system's folders
];

/// The host's rules for paths left out when packages are unpacked.
#[derive(Debug, Default)]
pub(super) struct Excludes {
    rules: Vec<(bool, String)>,
}

impl Excludes {
    /// Adds the rules of one file of dpkg's configuration.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            let split = line.split_once(|letter: char| letter == '=' || letter.is_whitespace());
            let Some((option, pattern)) = split else { continue };
            let pattern = pattern.trim().trim_matches('"').to_owned();
            match option.trim_start_matches('-') {
                "path-exclude" => self.rules.push((true, pattern)),
                "path-include" => self.rules.push((false, pattern)),
                _ => {}
            }
        }
    }

    fn cover(&self, path: &str) -> bool {
        let last = self
            .rules
            .iter()
            .rev()
            .find(|(_, pattern)| matches(pattern.as_bytes(), path.as_bytes()));
        last.is_some_and(|(excluded, _)| *excluded)
    }
}

/// What a package says of a path that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    /// The path, absolute, as the list has it.
    pub(super) path: &'a str,
    /// The place where it would lie, relative.
    pub(super) at: &'a str,
    /// Whether it is a configuration file.
    pub(super) conffile: bool,
    /// Whether it is known to be a folder, since others of the list lie in it.
    pub(super) folder: bool,
}

/// Says why an absent path does not matter, or none if it does.
pub(super) fn excuse(listed: &Listed, excludes: &Excludes) -> Option<Why> {
    let below =
        |folder: &str| listed.at.starts_with(folder) || listed.at == folder.trim_end_matches('/');
    if DOCUMENTATION.iter().any(|folder| below(folder)) {
        Some(Why::Documentation)
    } else if listed.conffile {
        Some(Why::Configuration)
    } else if excludes.cover(listed.path) {
        Some(Why::PathExclude)
    } else if listed.folder || listed.at.starts_with("var/") {
        Some(Why::State)
    } else if COMMONLY_DELETED.iter().any(|end| listed.path.ends_with(end)) {
        Some(Why::Deleted)
    } else {
        None
    }
}

/// Matches a shell pattern against a whole path; `*` and `?` match slashes too, as in dpkg.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut in_path) = (0, 0);
    let mut retry: Option<(usize, usize)> = None; // after the last star: where in pattern and path
    while in_path < path.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, in_path));
        } else if let Some(width) = pattern.get(at..).and_then(|rest| one(rest, path[in_path])) {
            at += width;
            in_path += 1;
        } else if let Some((star, from)) = retry {
            (at, in_path) = (star, from + 1);
            retry = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte with the start of a pattern; returns how much of the pattern it used.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        b'[' => match pattern.iter().skip(2).position(|&end| end == b']') {
            Some(length) => class(&pattern[1..length + 2], byte).then_some(length + 3),
            None => (byte == b'[').then_some(1),
        },
        letter => (letter == byte).then_some(1),
    }
}

fn class(inside: &[u8], byte: u8) -> bool {
    let (negated, mut rest) = match inside {
        [b'!' | b'^', rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, inside),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [from, b'-', to, after @ ..] => {
                found |= (*from..=*to).contains(&byte);
                after
            }
            [letter, after @ ..] => {
                found |= *letter == byte;
                after
            }
            [] => return found != negated,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_dpkg() {
        for (pattern, path, expected) in [
            ("/usr/share/doc/*", "/usr/share/doc/a/b", true),
            ("/usr/share/doc/*", "/usr/share/docs", false),
            ("/usr/*/copyright", "/usr/share/doc/a/copyright", true),
            ("/a?c", "/abc", true),
            ("/a[b-d]e", "/ace", true),
            ("/a[!b-d]e", "/ace", false),
            ("/a[", "/a[", true),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
            ("*", "", true),
            ("", "/a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn only_what_nothing_needs_may_be_missing() {
        let mut excludes = Excludes::default();
        excludes.add("# a comment\nforce-unsafe-io\npath-exclude /usr/lib/games/*\npath-include=/usr/lib/games/keep\n");
        let listed = |path: &'static str| Listed {
            path,
            at: &path[1..],
            conffile: path == "/etc/conf",
            folder: path == "/usr/lib/x",
        };
        for (path, expected) in [
            ("/usr/share/doc/a", Some(Why::Documentation)),
            ("/usr/share/doc", Some(Why::Documentation)),
            ("/usr/share/docs", None),
            ("/etc/conf", Some(Why::Configuration)),
            ("/usr/lib/games/x", Some(Why::PathExclude)),
            ("/usr/lib/games/keep", None),
            ("/usr/lib/x", Some(Why::State)),
            ("/var/cache/apt", Some(Why::State)),
            ("/usr/lib/python3/a.pyc", Some(Why::Deleted)),
            ("/usr/bin/gcc", None),
            ("/etc/passwd", None),
        ] {
            assert_eq!(excuse(&listed(path), &excludes), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_makes_the_matcher_panic(pattern in "[a*?\\[\\]!\\\\-]{0,12}", path in "[a\\[\\]-]{0,12}") {
            let _ = matches(pattern.as_bytes(), path.as_bytes());
        }
    }
}
