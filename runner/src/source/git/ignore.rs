//! Git's ignore rules, matched as git matches them.
//!
//! Only untracked files ask. The innermost `.gitignore` with a rule for a path decides, its last
//! rule first; then `info/exclude`, then the user's own file. What lies in an ignored folder is
//! ignored, whatever deeper rules say.
//!
//! A rule is matched part by part, so the time is bounded by the product of the lengths: a project
//! cannot make it explode. A rule that cannot be read matches nothing, which takes in more files
//! and never fewer.
//!
//! Source: gitignore(5), "PATTERN FORMAT".

use std::sync::Arc;

/// The rules of one file, which speak of paths below one folder.
#[derive(Debug, Default)]
pub(in crate::source) struct Rules {
    rules: Vec<Rule>,
}

/// Rules with those that stand above them.
#[derive(Debug)]
pub(in crate::source) struct Level {
    /// The rules of this level.
    pub(in crate::source) rules: Rules,
    /// Length in bytes of the folder's path that they are relative to, its final slash included.
    pub(in crate::source) base: usize,
    /// Asked if no rule here speaks of a path.
    pub(in crate::source) above: Option<Arc<Level>>,
}

/// One rule.
#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// `!`: takes back what an earlier rule says.
    negated: bool,
}

/// A pattern in gitignore's form: also that of `exclude` in a build file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Pattern {
    /// The parts between slashes.
    parts: Vec<Vec<u8>>,
    /// Whether it speaks of a place rather than of a name at any depth.
    anchored: bool,
    /// Whether it speaks of folders only.
    folders_only: bool,
}

impl Rules {
    /// Reads a file of rules.
    pub(in crate::source) fn parse(bytes: &[u8]) -> Rules {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let rules = bytes.split(|&byte| byte == b'\n').filter_map(rule).collect();
        Rules { rules }
    }

    /// Says whether there are no rules.
    pub(in crate::source) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Level {
    /// Puts rules above those that are asked after them; no rules need no level.
    pub(in crate::source) fn over(
        above: Option<Arc<Level>>,
        rules: Rules,
        base: usize,
    ) -> Option<Arc<Level>> {
        if rules.is_empty() { above } else { Some(Arc::new(Level { rules, base, above })) }
    }

    /// Says whether `path`, relative to the work tree, is ignored by these rules or those above.
    pub(in crate::source) fn ignores(&self, path: &[u8], is_folder: bool) -> bool {
        let mut level = Some(self);
        while let Some(here) = level {
            let below = path.get(here.base..).unwrap_or_default();
            let mut rules = here.rules.rules.iter().rev();
            let decided = rules.find(|rule| rule.pattern.matches(below, is_folder));
            if let Some(rule) = decided {
                return !rule.negated;
            }
            level = here.above.as_deref();
        }
        false
    }
}

impl Pattern {
    /// Reads a pattern; none if it can match nothing.
    pub(in crate::source) fn parse(text: &[u8]) -> Option<Pattern> {
        let (text, folders_only) = match text.strip_suffix(b"/") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let anchored = text.contains(&b'/');
        let text = text.strip_prefix(b"/").unwrap_or(text);
        if text.is_empty() {
            return None;
        }
        let parts = text.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect();
        Some(Pattern { parts, anchored, folders_only })
    }

    /// Says whether a path relative to the pattern's folder is meant.
    pub(in crate::source) fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        if self.folders_only && !is_folder {
            return false;
        }
        if self.anchored {
            return match_parts(&self.parts, path);
        }
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        self.parts.first().is_some_and(|pattern| match_part(pattern, name))
    }
}

fn rule(line: &[u8]) -> Option<Rule> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let (line, negated) = match line.strip_prefix(b"!") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    Some(Rule { pattern: Pattern::parse(without_trailing_blanks(line))?, negated })
}

/// Blanks at the end are dropped, but for one that a backslash keeps.
fn without_trailing_blanks(line: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while at < line.len() {
        match line[at] {
            b' ' => at += 1,
            b'\\' => {
                at = line.len().min(at + 2);
                end = at;
            }
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    &line[..end]
}

/// Matches part by part; a part `**` stands for any number of parts, at the end for one or more.
fn match_parts(pattern: &[Vec<u8>], path: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    let (mut at, mut name) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let part = pattern.get(at).map(Vec::as_slice);
        if part == Some(b"**") {
            if at + 1 == pattern.len() {
                return name < names.len();
            }
            retry = Some((at + 1, name));
            at += 1;
            continue;
        }
        match (part, names.get(name)) {
            (None, None) => return true,
            (Some(part), Some(text)) if match_part(part, text) => {
                at += 1;
                name += 1;
                continue;
            }
            _ => {}
        }
        match &mut retry {
            Some((after, start)) if *start < names.len() => {
                *start += 1;
                (at, name) = (*after, *start);
            }
            _ => return false,
        }
    }
}

/// Matches one name: `*`, `?`, `[…]`, and a backslash that takes the next byte as it is.
fn match_part(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut byte) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, byte));
            at += 1;
            continue;
        }
        match (pattern.get(at), name.get(byte)) {
            (None, None) => return true,
            (Some(_), Some(&text)) => {
                if let Some(len) = match_byte(&pattern[at..], text) {
                    at += len;
                    byte += 1;
                    continue;
                }
            }
            _ => {}
        }
        match &mut retry {
            Some((after, start)) if *start < name.len() => {
                *start += 1;
                (at, byte) = (*after, *start);
            }
            _ => return false,
        }
    }
}

/// Matches one byte; returns how long the pattern for it is.
fn match_byte(pattern: &[u8], text: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == text).then_some(2),
        [b'[', ..] => {
            let (len, inside) = bracket(pattern, text)?;
            inside.then_some(len)
        }
        [literal, ..] => (*literal == text).then_some(1),
        [] => None,
    }
}

/// Returns the length of a bracket expression and whether it holds `text`; none if it has no end.
fn bracket(pattern: &[u8], text: u8) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        let byte = *pattern.get(at)?;
        if byte == b']' && at > first {
            return Some((at + 1, inside != negated));
        }
        if byte == b'[' && pattern.get(at + 1) == Some(&b':') {
            let end = pattern[at + 2..].windows(2).position(|two| two == b":]")? + at + 2;
            inside |= class(&pattern[at + 2..end], text)?;
            at = end + 2;
            continue;
        }
        let low = literal(pattern, &mut at)?;
        if pattern.get(at) == Some(&b'-') && !matches!(pattern.get(at + 1), None | Some(b']')) {
            at += 1;
            let high = literal(pattern, &mut at)?;
            inside |= (low..=high).contains(&text);
        } else {
            inside |= low == text;
        }
    }
}

fn literal(pattern: &[u8], at: &mut usize) -> Option<u8> {
    if pattern.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let byte = *pattern.get(*at)?;
    *at += 1;
    Some(byte)
}

/// The named classes of POSIX, for ASCII.
fn class(name: &[u8], text: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => text.is_ascii_alphanumeric(),
        b"alpha" => text.is_ascii_alphabetic(),
        b"blank" => matches!(text, b' ' | b'\t'),
        b"cntrl" => text.is_ascii_control(),
        b"digit" => text.is_ascii_digit(),
        b"graph" => text.is_ascii_graphic(),
        b"lower" => text.is_ascii_lowercase(),
        b"print" => text.is_ascii_graphic() || text == b' ',
        b"punct" => text.is_ascii_punctuation(),
        b"space" => text.is_ascii_whitespace() || text == 0x0b,
        b"upper" => text.is_ascii_uppercase(),
        b"xdigit" => text.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, path: &str, is_folder: bool, expected: bool) {
        let level = Level { rules: Rules::parse(rules.as_bytes()), base: 0, above: None };
        assert_eq!(level.ignores(path.as_bytes(), is_folder), expected, "{rules:?} {path:?}");
    }

    #[test]
    fn patterns_match_as_the_manual_says() {
        for (rules, path, expected) in [
            ("*.o", "a/b.o", true),
            ("/*.o", "a/b.o", false),
            ("a/*.o", "a/b.o", true),
            ("a/*.o", "a/b/c.o", false),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/**", "a/x/y", true),
            ("a/**", "a", false),
            ("a**z", "abcz", true),
            ("/a**z", "ab/cz", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[[:digit:]_]", "7", true),
            ("[a", "[a", false),
            ("\\#x", "#x", true),
            ("#x", "#x", false),
            ("\\!x", "!x", true),
            ("x ", "x", true),
            ("x\\ ", "x ", true),
            ("x\r", "x", true),
            ("*\n!keep", "keep", false),
            ("!keep\n*", "keep", true),
            ("", "x", false),
            ("/", "x", false),
            ("a?c", "a/c", false),
        ] {
            check(rules, path, false, expected);
        }
        check("d/", "d", true, true);
        check("d/", "d", false, false);
        check("x/d/", "x/d", true, true);
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(2000);
        check(&pattern, &"a".repeat(255), false, false);
        check(&format!("/{}", "**/a/".repeat(500)), &"a/".repeat(1000), true, false);
    }
}
