//! Package URLs of statements, and patterns over them.
//!
//! A pattern is a package URL without version, in which `*` stands for any letters but `/`. Both are compared in
//! the specification's normal form: type and namespace in lower case, the name as its type wants, without empty
//! parts; qualifiers do not take part. What begins like a package URL and is none is told apart from all other
//! text, so that a rule that denies packages can deny it in doubt.
//!
//! Source: package-url specification, "rules for each component".

use super::version::Order;

/// What stands for an asterisk that is one. No part has it otherwise: control characters are refused.
const STAR: char = '\u{1}';
const STAR_TEXT: &str = "\u{1}";

/// A package URL, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purl {
    /// `type/namespace/name`, decoded, without version.
    pub path: String,
    /// Its version, decoded.
    pub version: Option<String>,
}

/// A pattern over package URLs.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    written: String,
    path: String,
}

/// What a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A package URL.
    Package(Purl),
    /// It begins like one, and readers may disagree about which package it means.
    InDoubt,
    /// Something else.
    Other,
}

impl Purl {
    /// Reads a text.
    pub fn read(text: &str) -> Read {
        match Purl::parse(text) {
            Some(purl) => Read::Package(purl),
            None if begins(text) => Read::InDoubt,
            None => Read::Other,
        }
    }

    /// Reads a package URL; none for any other text, and for one that is not strictly one.
    pub fn parse(text: &str) -> Option<Purl> {
        Purl::with_stars(text, STAR)
            .filter(|purl| !lacks_namespace(&purl.path) && !has_odd_part(&purl.path))
    }

    /// Returns `type/namespace/name` as a pattern that means it and nothing else.
    pub fn pattern(path: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_~+*".contains(&byte);
        let mut out = "pkg:".to_owned();
        for byte in path.bytes() {
            match byte {
                byte if byte == STAR as u8 => out.push_str("%2A"),
                byte if plain(byte) => out.push(char::from(byte)),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }

    /// Returns how its versions are ordered.
    pub fn order(&self) -> Order {
        order_of(&self.path)
    }

    fn with_stars(text: &str, star: char) -> Option<Purl> {
        // What is no graphic ASCII has to be encoded.
        let rest =
            after_scheme(text).filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic()))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let rest = rest.split('?').next().unwrap_or_default();
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) => (path, Some(decode(version)?)),
            None => (rest, None),
        };
        // An at-sign that is not encoded is a second version to some, and a part of the name to others.
        if path.contains('@') {
            return None;
        }
        let parts: Option<Vec<String>> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| part_of(part, star))
            .collect();
        let parts = parts.filter(|parts| parts.len() >= 2)?;
        let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b".+-*".contains(&byte);
        if !path.trim_start_matches('/').split('/').next()?.bytes().all(is_type) {
            return None;
        }
        Some(Purl { path: folded(&parts), version: version.filter(|version| !version.is_empty()) })
    }
}

fn after_scheme(text: &str) -> Option<&str> {
    let scheme = text.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("pkg:"))?;
    text.get(scheme.len()..)
}

/// Says whether a text begins like a package URL, whatever stands before it that is not seen.
fn begins(text: &str) -> bool {
    after_scheme(text.trim_start_matches(|one: char| !one.is_ascii_graphic())).is_some()
}

/// Types whose packages always have a namespace.
const WITH_NAMESPACE: [&str; 6] = ["alpm", "apk", "bitbucket", "composer", "deb", "github"];

impl Pattern {
    /// Returns what a pattern that can match no package has to be instead.
    pub fn idle(text: &str) -> Option<&'static str> {
        let parts: Vec<&str> = after_scheme(text)?.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            Some("no empty part: pkg:TYPE/NAMESPACE/NAME, or * for any name")
        } else if parts.contains(&"**") {
            Some("one * for each part, as in pkg:deb/*/*: it never stands for a /")
        } else if has_odd_part(&parts.join("/").to_ascii_lowercase()) {
            Some(
                "no part . or .., and an architecture only as a qualifier of the statement's own purl",
            )
        } else if lacks_namespace(&parts.join("/").to_ascii_lowercase()) {
            Some(
                "with the namespace that this type always has, as in pkg:deb/debian/NAME, or pkg:deb/*/NAME for any",
            )
        } else {
            None
        }
    }

    /// Reads a pattern; none if it is none, or names a version.
    pub fn parse(text: &str) -> Option<Pattern> {
        let purl = Purl::with_stars(text, '*').filter(|purl| purl.version.is_none())?;
        (!text.contains(['?', '#'])).then(|| Pattern { written: text.to_owned(), path: purl.path })
    }

    /// Says whether a package is meant.
    pub fn holds(&self, purl: &Purl) -> bool {
        matches(self.path.as_bytes(), purl.path.as_bytes())
    }

    /// Returns how versions of the packages are ordered, as far as the type is written out.
    pub fn order(&self) -> Order {
        order_of(&self.path)
    }

    /// Returns it as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

/// Types whose names have no colon: one that stands there begins an architecture to some, as `name:amd64`.
const WITHOUT_COLON: [&str; 4] = ["alpm", "apk", "deb", "rpm"];

/// Says whether a path has a part that some take for a step and others for a name, or a name that is one to some
/// and two to others.
fn has_odd_part(path: &str) -> bool {
    let kind = path.split('/').next().unwrap_or_default();
    let colon = WITHOUT_COLON.contains(&kind) && path.contains(':');
    colon || path.split('/').any(|part| matches!(part, "." | ".."))
}

/// Says whether a path has no namespace although its type always has one.
fn lacks_namespace(path: &str) -> bool {
    let (kind, rest) = path.split_once('/').unwrap_or((path, ""));
    WITH_NAMESPACE.contains(&kind) && !rest.contains('/')
}

fn order_of(path: &str) -> Order {
    match path.split('/').next() {
        Some("deb") => Order::Deb,
        Some("cargo" | "golang" | "npm") => Order::SemVer,
        Some(_) | None => Order::Numbers,
    }
}

/// Types whose names are the same in any case.
const LOWER: [&str; 15] = [
    "alpm",
    "apk",
    "bitbucket",
    "bitnami",
    "composer",
    "deb",
    "github",
    "golang",
    "hex",
    "luarocks",
    "npm",
    "oci",
    "otp",
    "pub",
    "pypi",
];

fn folded(parts: &[String]) -> String {
    let last = parts.len() - 1;
    let kind = parts[0].to_ascii_lowercase();
    let fold = |(at, part): (usize, &String)| match at == last {
        true if kind == "pypi" => of_pypi(part),
        true if !LOWER.contains(&kind.as_str()) => part.clone(),
        _ => part.to_ascii_lowercase(),
    };
    parts.iter().enumerate().map(fold).collect::<Vec<_>>().join("/")
}

/// There a run of dots, dashes and underscores is one dash.
fn of_pypi(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            letter => out.push(letter.to_ascii_lowercase()),
        }
    }
    out
}

/// Decodes a part of a path. An asterisk that is meant as one becomes [`STAR`].
fn part_of(text: &str, star: char) -> Option<String> {
    let pieces: Option<Vec<String>> =
        text.split('*').map(|piece| Some(decode(piece)?.replace('*', STAR_TEXT))).collect();
    Some(pieces?.join(star.encode_utf8(&mut [0; 4])))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = rest.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
        let hex = std::str::from_utf8(hex).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    // A slash or an at-sign that was encoded must not become a separator.
    let unseen = |one: char| one == '/' || one.is_control() || one.is_whitespace();
    String::from_utf8(bytes).ok().filter(|text| !text.contains(unseen))
}

/// Matches with `*` for any letters but `/`: one mark to go back to, so the time is bounded by the
/// product of both lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut of, mut mark) = (0, 0, None);
    while of < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                mark = Some((at, of));
                at += 1;
            }
            Some(letter) if *letter == text[of] => {
                at += 1;
                of += 1;
            }
            Some(_) | None => match mark {
                Some((star, from)) if text[from] != b'/' => {
                    mark = Some((star, from + 1));
                    (at, of) = (star + 1, from + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_and_never_across_a_slash() {
        for (pattern, purl, holds) in [
            ("pkg:deb/debian/gcc-12", "pkg:deb/debian/gcc-12@12.2.0-14?arch=amd64", true),
            ("pkg:deb/debian/gcc-*", "pkg:deb/debian/gcc-12@12", true),
            ("pkg:deb/debian/gcc-*", "pkg:deb/debian/gcc@12", false),
            ("pkg:deb/*/gcc", "pkg:deb/debian/gcc", true),
            ("pkg:cargo/*", "pkg:cargo/a/b", false),
            ("pkg:deb/debian/*", "pkg:deb/debian/a*b", true),
            ("pkg:cargo/serde", "pkg:cargo/serde_json@1", false),
            ("pkg:DEB/debian/x", "pkg:deb/Debian/x@1", true),
            ("pkg:npm/*/*", "pkg:npm/%40scope/name@1.0.0", true),
            ("pkg:deb/debian/x", "PKG://deb//Debian///X/@1", true),
            ("pkg:pypi/a-b", "pkg:pypi/A_.B@1", true),
            ("pkg:deb/debian/a%2Ab", "pkg:deb/debian/a*b", true),
            ("pkg:deb/debian/a%2Ab", "pkg:deb/debian/a%2ab", true),
            ("pkg:deb/debian/a%2Ab", "pkg:deb/debian/axb", false),
            ("pkg:cargo/*x*y", "pkg:cargo/axbxy", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.holds(&Purl::parse(purl).unwrap()), holds, "{pattern:?} {purl}");
        }
        for bad in [
            "deb/debian/x",
            "pkg:deb",
            "pkg:deb/",
            "pkg:deb//",
            "pkg:%64eb/x",
            "pkg:deb/a b",
            "pkg:deb/x@1",
            "pkg:deb/x?a=b",
            "pkg:deb/%zz",
        ] {
            assert!(Pattern::parse(bad).is_none(), "{bad}");
        }
        for doubtful in [
            " pkg:deb/x@1",
            "\u{feff}pkg:deb/x",
            "\u{1}PKG:deb/x",
            "pkg:deb/x@1@2",
            "pkg:deb/x@%zz",
            "pkg:deb/x@%+1",
            "pkg:deb/x%20@1",
            "pkg:deb/x",
            "pkg:deb//x@1",
            "pkg:deb/debian/./xz-utils@5.6.1",
            "pkg:deb/debian/%2E%2e/xz-utils@5.6.1",
            "pkg:deb/../debian/xz-utils@5.6.1",
            "pkg:npm/./left-pad@1",
            "pkg:deb/debian/xz-utils:amd64@5.6.1",
            "pkg:deb/debian/xz-utils%3Aamd64@5.6.1",
            "pkg:x",
            "pkg:",
        ] {
            assert_eq!(Purl::read(doubtful), Read::InDoubt, "{doubtful}");
        }
        for other in ["", "pkg", "https://a.example/pkg:deb/x", "é"] {
            assert_eq!(Purl::read(other), Read::Other, "{other}");
        }
        for idle in ["pkg:deb/./x", "pkg:deb/debian/x:amd64", "pkg:npm/../x"] {
            assert!(Pattern::idle(idle).is_some(), "{idle}");
        }
        // A colon is a letter like any other elsewhere, and so are dots within a part.
        for good in ["pkg:generic/a:b@1", "pkg:deb/debian/..x@1", "pkg:npm/.bin@1"] {
            assert!(Purl::parse(good).is_some() && Pattern::idle(good).is_none(), "{good}");
        }
        assert!(Purl::parse("pkg:deb/debian/a%2Fb@1").is_none(), "an encoded slash");
        assert_eq!(Purl::parse("pkg:deb/debian/g++@1%3A2-3").unwrap().version.unwrap(), "1:2-3");
    }
}
