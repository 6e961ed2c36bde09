//! Package URLs of statements, and patterns over them.
//!
//! A pattern is a package URL without version, in which `*` stands for any letters but `/`. Type and
//! namespace are compared in lower case, as the specification wants; qualifiers do not take part.
//!
//! Source: package-url specification, "rules for each component".

use super::version::Order;

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

impl Purl {
    /// Reads a package URL; none for any other text.
    pub fn parse(text: &str) -> Option<Purl> {
        let rest = text.strip_prefix("pkg:")?.trim_start_matches('/');
        let rest = rest.split('#').next().unwrap_or_default();
        let rest = rest.split('?').next().unwrap_or_default();
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) => (path, Some(decode(version)?)),
            None => (rest, None),
        };
        let parts: Option<Vec<String>> =
            path.trim_end_matches('/').split('/').map(decode).collect();
        let parts =
            parts.filter(|parts| parts.len() >= 2 && !parts.iter().any(String::is_empty))?;
        Some(Purl { path: folded(&parts), version })
    }
}

impl Pattern {
    /// Reads a pattern; none if it is none, or names a version.
    pub fn parse(text: &str) -> Option<Pattern> {
        let purl = Purl::parse(text).filter(|purl| purl.version.is_none())?;
        (!text.contains(['?', '#'])).then(|| Pattern { written: text.to_owned(), path: purl.path })
    }

    /// Says whether a package is meant.
    pub fn holds(&self, purl: &Purl) -> bool {
        matches(self.path.as_bytes(), purl.path.as_bytes())
    }

    /// Returns how versions of the packages are ordered.
    pub fn order(&self) -> Order {
        order_of(&self.path)
    }

    /// Returns it as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

fn order_of(path: &str) -> Order {
    if path.starts_with("deb/") { Order::Deb } else { Order::Plain }
}

fn folded(parts: &[String]) -> String {
    let last = parts.len() - 1;
    let fold = |(at, part): (usize, &String)| {
        if at == last { part.clone() } else { part.to_ascii_lowercase() }
    };
    parts.iter().enumerate().map(fold).collect::<Vec<_>>().join("/")
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
        let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    // A slash or an at-sign that was encoded must not become a separator.
    String::from_utf8(bytes).ok().filter(|text| !text.contains(['/', '\0']))
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
            ("pkg:deb/*", "pkg:deb/debian/gcc", false),
            ("pkg:deb/debian/*", "pkg:deb/debian/a*b", true),
            ("pkg:cargo/serde", "pkg:cargo/serde_json@1", false),
            ("pkg:DEB/debian/x", "pkg:deb/Debian/x@1", true),
            ("pkg:npm/*/*", "pkg:npm/%40scope/name@1.0.0", true),
            ("pkg:cargo/*x*y", "pkg:cargo/axbxy", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.holds(&Purl::parse(purl).unwrap()), holds, "{pattern:?} {purl}");
        }
        for bad in [
            "deb/debian/x",
            "pkg:deb",
            "pkg:deb/",
            "pkg:deb//x",
            "pkg:deb/x@1",
            "pkg:deb/x?a=b",
            "pkg:deb/%zz",
        ] {
            assert!(Pattern::parse(bad).is_none(), "{bad}");
        }
        assert!(Purl::parse("pkg:deb/debian/a%2Fb@1").is_none(), "an encoded slash");
        assert_eq!(Purl::parse("pkg:deb/debian/g++@1%3A2-3").unwrap().version.unwrap(), "1:2-3");
    }
}
