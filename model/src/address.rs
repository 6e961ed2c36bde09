//! Addresses of others: what of them may be shown, kept and signed.
//!
//! A remote's address can hold a password, a token or letters that a reader does not see. It is written
//! by whoever set up the checkout, so what enters a Record is made anew here: scheme, host and path, each
//! letter that RFC 3986 does not allow as `%XX`, and nothing else. The `@` of `@refs/` is written so as well:
//! after an address it begins a reference, which no remote can state. What is only shown goes through
//! [`without_credentials`] and then, as all text of others, through [`crate::text::escape`].
//!
//! Does not catch: a secret that is part of a path. Source: RFC 3986, sections 2.1 and 3.2.1.

use std::ops::Range;

/// Returns a git remote's address in the form that provenance uses, `git+SCHEME://HOST/PATH`, without
/// user, password, query and fragment; none for one that is a path of this machine, or that has no plain host.
pub fn published(remote: &str) -> Option<String> {
    let (scheme, rest) = match remote.split_once("://") {
        Some((scheme @ ("https" | "http" | "ssh" | "git"), rest)) => (scheme, rest.to_owned()),
        Some(_) => return None,
        None => {
            // The short form of SSH: `user@host:path`. A path with a user in it is a password that was
            // written in the wrong place.
            let (host, path) = remote.split_once(':')?;
            if host.contains('/') || path.contains('@') {
                return None;
            }
            ("ssh", format!("{host}/{}", path.trim_start_matches('/')))
        }
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority).to_ascii_lowercase();
    if !is_host(&host) {
        return None;
    }
    // A query can hold a token; no forge needs one to name a repository.
    let path = path.split(['?', '#']).next().unwrap_or(path).trim_start_matches('/');
    Some(format!("git+{scheme}://{host}/{}", encoded(path)))
}

/// Splits `ADDRESS@refs/…` into the address and the reference, empty where none is stated.
pub fn split_reference(source: &str) -> (&str, &str) {
    match source.rfind("@refs/") {
        Some(at) => (&source[..at], &source[at + 1..]),
        None => (source, ""),
    }
}

/// Says whether an address can stand in a Record and be compared by eye: an absolute URI of letters that
/// RFC 3986 allows, without user and password.
pub fn is_plain(address: &str) -> bool {
    let scheme = address.split_once("://").map_or("", |(scheme, _)| scheme);
    let named = scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    named && address.bytes().all(is_uri_byte) && !holds_credential(address)
}

/// Says whether a text names an address with a user, or with user and password. `git@` without a password
/// is let through for ssh, where it names an account that everybody shares.
pub fn holds_credential(text: &str) -> bool {
    userinfo(text).next().is_some()
}

/// Returns a text with every user and password of its addresses taken out.
pub fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    for Range { start, end } in userinfo(text) {
        out.push_str(&text[kept..start]);
        kept = end;
    }
    out.push_str(&text[kept..]);
    out
}

/// Says whether a text names an address with a query or fragment, in which a token could stand.
pub fn holds_query(text: &str) -> bool {
    queries(text).next().is_some()
}

/// Returns a text with every query and fragment of its addresses taken out.
pub fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    for Range { start, end } in queries(text) {
        // What stands in the query of another is gone with it.
        if start >= kept {
            out.push_str(&text[kept..start]);
            kept = end;
        }
    }
    out.push_str(&text[kept..]);
    out
}

/// Returns where the query or fragment of an address stands in a text, from its sign on.
fn queries(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, separator)| {
        let start = at + separator.len();
        let rest = &text[start..];
        let ends = |letter: char| "\\\"'<>`".contains(letter) || letter.is_whitespace();
        let end = rest.find(ends).unwrap_or(rest.len());
        let query = rest[..end].find(['?', '#'])?;
        Some(start + query..start + end)
    })
}

/// Returns where `user:password@` stands in a text, each with its `@`.
fn userinfo(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, _)| {
        let scheme = text[..at]
            .rsplit(|letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter)))
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let start = at + "://".len();
        let rest = &text[start..];
        let end = rest
            .find(|letter: char| "/?#\\\"'<>`".contains(letter) || letter.is_whitespace())
            .unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let shared = user == "git" && (scheme == "ssh" || scheme.ends_with("+ssh"));
        let found = start..start + user.len() + 1;
        (!user.is_empty() && !shared).then_some(found)
    })
}

/// Says whether this is a name or number of a host, with a port or without.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((number, port)) => {
                (number, port.strip_prefix(':').or(port.is_empty().then_some("0")))
            }
            None => return false,
        },
        None => text.split_once(':').map_or((text, Some("0")), |(host, port)| (host, Some(port))),
    };
    let letters: &[u8] = if text.starts_with('[') { b"-._:%" } else { b"-._" };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || letters.contains(&byte);
    let number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty() && host.bytes().all(plain) && port.is_some_and(number)
}

fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if is_uri_byte(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.replace("@refs/", "%40refs/")
}

/// Says whether a byte may stand in a URI as it is; `%` is what stands for those that may not.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_query_of_an_address_is_left() {
        for (text, plain) in [
            ("https://h.example/r?token=x", "https://h.example/r"),
            ("https://h.example/r#token=x", "https://h.example/r"),
            ("git+https://h.example?a", "git+https://h.example"),
            ("see https://h.example/r?token=x, and", "see https://h.example/r and"),
            ("\"https://h/r?a\" 'ssh://h/r?b'", "\"https://h/r\" 'ssh://h/r'"),
            ("https://h/r?u=https://g/s?c=d e", "https://h/r e"),
            ("https://h/r?", "https://h/r"),
        ] {
            assert_eq!(without_queries(text), plain);
            assert!(holds_query(text), "{text}");
        }
        for text in ["", "what?", "a#b ://", "https://h.example/r ?", "pkg:deb/debian/x?arch=amd64"]
        {
            assert_eq!(without_queries(text), text);
            assert!(!holds_query(text), "{text}");
        }
    }

    #[test]
    fn a_remote_is_published_without_users_queries_and_paths_of_this_machine() {
        for (remote, told) in [
            (
                "https://user:secret@Git.example.org/a/b.git",
                Some("git+https://git.example.org/a/b.git"),
            ),
            ("https://u:p%40x@host/a@b.git", Some("git+https://host/a@b.git")),
            ("https://token@host", Some("git+https://host/")),
            ("https://a@b@host/x", Some("git+https://host/x")),
            ("https://host/x?token=y", Some("git+https://host/x")),
            ("https://host?token=a@b/c", Some("git+https://host/")),
            ("https://host:8443/x#y", Some("git+https://host:8443/x")),
            ("https://[2001:db8::1]:8443/x", Some("git+https://[2001:db8::1]:8443/x")),
            ("https://host/a@refs/tags/v9", Some("git+https://host/a%40refs/tags/v9")),
            ("https://host/a@refs/b@refs/c", Some("git+https://host/a%40refs/b%40refs/c")),
            ("https://host/@refs/tags/v9", Some("git+https://host/%40refs/tags/v9")),
            ("https://u@refs/tags/v9", Some("git+https://refs/tags/v9")),
            ("host:a@refs/tags/v9", None),
            ("git@git.example.org:a/b.git", Some("git+ssh://git.example.org/a/b.git")),
            ("ssh://git@git.example.org/a", Some("git+ssh://git.example.org/a")),
            // A slash within a password ends the host for whoever reads the address.
            ("https://user:pass/word@host/x", None),
            ("user:password@host:a/b", None),
            ("/srv/git/a.git", None),
            ("file:///srv/git/a.git", None),
            ("../a", None),
            ("../up:stream", None),
            ("https://", None),
        ] {
            assert_eq!(published(remote).as_deref(), told, "{remote}");
            assert!(published(remote).is_none_or(|address| is_plain(&address)), "{remote}");
            let stated = published(remote).map(|address| split_reference(&address).1.to_owned());
            assert!(stated.is_none_or(|reference| reference.is_empty()), "{remote}");
        }
    }

    #[test]
    fn what_a_reader_would_not_see_is_written_in_plain_letters() {
        for (hidden, told) in [
            ("\u{202e}", "%E2%80%AE"),
            ("\u{200b}", "%E2%80%8B"),
            ("\n", "%0A"),
            ("\0", "%00"),
            ("\x1b[31m", "%1B[31m"),
            (" ", "%20"),
            ("é", "%C3%A9"),
            ("\\", "%5C"),
        ] {
            let remote = format!("https://host/a{hidden}b");
            assert_eq!(published(&remote), Some(format!("git+https://host/a{told}b")));
            assert!(!is_plain(&remote), "{remote:?}");
            for host in [format!("https://h{hidden}st/a"), format!("git@h{hidden}st:a")] {
                assert_eq!(published(&host), None, "{host:?}");
            }
        }
    }

    #[test]
    fn credentials_are_found_and_taken_out_wherever_they_stand() {
        for (text, clean) in [
            ("https://u:p@host/x", "https://host/x"),
            ("git+https://token@host/x", "git+https://host/x"),
            ("curl https://a/b 'https://u:p@h'", "curl https://a/b 'https://h'"),
            ("see HTTPS://u:p@h and ssh://git:pw@i/x", "see HTTPS://h and ssh://i/x"),
            ("x://a@b@c", "x://c"),
        ] {
            assert!(holds_credential(text) && !is_plain(text), "{text}");
            assert_eq!(without_credentials(text), clean, "{text}");
            assert!(!holds_credential(clean), "{clean}");
        }
        for text in [
            "https://host/a@b",
            "git+ssh://git@host/x",
            "pkg:npm/%40scope/name@1.0",
            "git+https://host/repo@refs/tags/v1",
            "a@b",
            "https://@h",
            "https://",
            "://",
            "",
        ] {
            assert!(!holds_credential(text), "{text}");
            assert_eq!(without_credentials(text), text);
        }
    }
}
