//! Checks of URLs, image references, checksums and package names, as far as the build file goes.
//!
//! A URL ends as an argument or a request of another program, so its scheme comes from a short
//! list and nothing that starts with `-` passes. Credentials are refused wherever they stand:
//! they would be in the lock, the record and the provenance, and are never repeated in a message.
//!
//! Does not catch: a credential that looks like a plain word.

use std::collections::BTreeSet;

use fetch::host::AskedPackage;
use model::address::holds_credential;

use super::node::Node;
use super::reader::{At, Problems, brief, text, wrong_value};
use crate::diagnostic::{Code, Diagnostic, Span};

/// What a URL may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One file: `https`, or `file` or a path as the build file itself writes it.
    File,
    /// A mirror of one: `https` only.
    Mirror,
    /// A git repository: `https`, `ssh`, or `file` or a path as the build file itself writes it.
    Repository,
}

/// Checks a URL or, where allowed, a path.
pub(super) fn url(
    node: &Node,
    label: &str,
    purpose: Purpose,
    problems: &mut Problems<'_>,
) -> Option<()> {
    let url = text(node, label, problems)?;
    if holds_credential(url) {
        problems.add(node.span, credential(&format!("{label} holds a credential")));
        return None;
    }
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let host = url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let clean = !url.is_empty()
        && !url.starts_with('-')
        && !host.starts_with('-')
        && !url.contains("::")
        && !url.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    let legal = match (scheme, purpose) {
        (Some("https"), _) => !host.is_empty() && !host.starts_with('/'),
        (Some("file"), Purpose::File | Purpose::Repository) => host.starts_with('/'),
        (Some("ssh"), Purpose::Repository) => !host.is_empty() && !host.starts_with('/'),
        (Some(_), _) | (None, Purpose::Mirror) => false,
        (None, Purpose::Repository) => true,
        (None, Purpose::File) => !url.contains(':'),
    };
    if clean && legal {
        return Some(());
    }
    let expected = match purpose {
        Purpose::File => "an https:// URL, a file:// URL or a path",
        Purpose::Mirror => "an https:// URL",
        Purpose::Repository => "an https:// or ssh:// URL, a file:// URL or a path",
    };
    wrong_value(node, label, expected, problems);
    None
}

/// Checks an image reference: it names its registry.
pub(super) fn image(node: &Node, label: &str, problems: &mut Problems<'_>) -> Option<()> {
    let reference = text(node, label, problems)?;
    let (registry, rest) = reference.split_once('/').unwrap_or(("", reference));
    let named = registry.contains(['.', ':']) || registry == "localhost";
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let clean = !reference.starts_with(['-', '.', ':']) && reference.bytes().all(legal);
    if named && clean && !rest.is_empty() && !rest.contains("//") {
        return Some(());
    }
    let expected = "a reference that names its registry: registry.example.org/name:tag";
    wrong_value(node, label, expected, problems);
    None
}

/// Checks a SHA-256 as 64 lower-case hex digits.
pub(super) fn sha256(
    node: &Node,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<model::Digest> {
    let found = node.scalar_text().and_then(|text| model::Digest::from_hex(text).ok());
    if found.is_none() {
        wrong_value(node, label, "64 lower-case hex digits", problems);
    }
    found
}

/// Checks a list of package names.
pub(super) fn packages(
    node: &Node,
    label: &str,
    problems: &mut Problems<'_>,
) -> Option<Vec<At<AskedPackage>>> {
    let mut found: Vec<At<AskedPackage>> = Vec::new();
    let mut seen = BTreeSet::new();
    for item in super::reader::list(node, label, problems)? {
        let Some(name) = text(item, &format!("an item of {label}"), problems) else { continue };
        match AskedPackage::new(name) {
            Ok(package) if !seen.insert(package.clone()) => {
                let headline = format!("{label} has `{}` twice", brief(name));
                problems
                    .add(item.span, Diagnostic::new(Code::Duplicate, headline).help("keep one"));
            }
            Ok(package) => found.push(At::new(package, item.span)),
            Err(_) => {
                let label = format!("an item of {label}");
                wrong_value(item, &label, "the name of a package, without version", problems);
            }
        }
    }
    Some(found)
}

/// Notes a credential in the value of a variable.
pub(super) fn refuse_secret(
    name: &str,
    value: &str,
    span: Span,
    owner: &str,
    problems: &mut Problems<'_>,
) {
    if !value.is_empty() && (looks_secret(name) || is_secret(value) || holds_credential(value)) {
        let headline = format!("variable `{}` of {owner} holds a credential", brief(name));
        problems.add(span, credential(&headline));
    }
}

fn credential(headline: &str) -> Diagnostic {
    Diagnostic::new(Code::Credential, headline)
        .why("it would stand in logs, the record and the provenance, and others could not rebuild")
        .help("remove it: credentials for fetching stay with the host's own clients, and no step has any")
        .help("if it was ever committed, revoke it")
}

/// Says whether the name of a variable promises a secret.
fn looks_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(['_', '-', '.']).collect();
    matches!(
        words.as_slice(),
        [
            ..,
            "TOKEN"
                | "SECRET"
                | "PASSWORD"
                | "PASSWD"
                | "PASSPHRASE"
                | "CREDENTIAL"
                | "CREDENTIALS"
        ] | [.., "APIKEY"]
            | [.., "API" | "ACCESS" | "PRIVATE" | "SECRET" | "SIGNING", "KEY"]
    )
}

/// Says whether a value has the form of a private key or of a well-known kind of token.
fn is_secret(value: &str) -> bool {
    const TOKENS: [(&str, usize); 8] = [
        ("ghp_", 40),
        ("gho_", 40),
        ("ghs_", 40),
        ("github_pat_", 40),
        ("glpat-", 26),
        ("xoxb-", 30),
        ("AKIA", 20),
        ("npm_", 40),
    ];
    let key = value.contains("-----BEGIN ") && value.contains("PRIVATE KEY-----");
    let token = value.split(|letter: char| letter.is_whitespace() || "=:\"'".contains(letter));
    key || token.into_iter().any(|word| {
        TOKENS.iter().any(|(start, least)| word.starts_with(start) && word.len() >= *least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_seen_and_plain_texts_are_not() {
        for text in [
            "https://user:pass@example.org/x",
            "https://token@example.org/x",
            "see https://u:p@h",
            "ssh://u:p@h/x",
        ] {
            assert!(holds_credential(text), "{text}");
        }
        for text in
            ["https://example.org/a@b", "ssh://git@example.org/x", "a@b", "://", "https://@h"]
        {
            assert!(!holds_credential(text), "{text}");
        }
        for name in ["GITHUB_TOKEN", "db_password", "API_KEY", "AWS_SECRET_ACCESS_KEY", "token"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["TOKEN_COUNT", "KEY", "PUBLIC_KEY", "SECRETARY", "PATH"] {
            assert!(!looks_secret(name), "{name}");
        }
        assert!(is_secret("-----BEGIN EC PRIVATE KEY-----\nMH"));
        assert!(is_secret(&format!("x=ghp_{}", "a".repeat(36))));
        assert!(!is_secret("ghp_short"));
    }
}
