//! Finds addresses with a credential in them, so that none is ever signed and published.
//!
//! Looks at every text of a statement, not at a list of fields: a password in a command line is as
//! public as one in a source's address. `git@` without a password is let through for ssh, where it
//! names an account that everybody shares.
//!
//! Does not catch: a secret that is not part of an address. Source: RFC 3986, section 3.2.1.

use serde_json::Value;

/// Returns where the first address with a credential stands, as a path of members.
pub(crate) fn find(value: &Value) -> Option<String> {
    let mut path = Vec::new();
    walk(value, &mut path).then(|| path.join("."))
}

fn walk<'a>(value: &'a Value, path: &mut Vec<std::borrow::Cow<'a, str>>) -> bool {
    match value {
        Value::String(text) => holds_credential(text),
        Value::Array(items) => items.iter().enumerate().any(|(index, item)| {
            path.push(index.to_string().into());
            step_out(walk(item, path), path)
        }),
        Value::Object(members) => members.iter().any(|(name, member)| {
            path.push(model::text::escape(name.as_bytes()).into());
            let found = holds_credential(name) || walk(member, path);
            step_out(found, path)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Keeps the path when something was found there.
fn step_out(found: bool, path: &mut Vec<std::borrow::Cow<'_, str>>) -> bool {
    if !found {
        path.pop();
    }
    found
}

fn holds_credential(text: &str) -> bool {
    let mut scheme_end = 0;
    while let Some(at) = text[scheme_end..].find("://") {
        let scheme = text[..scheme_end + at]
            .rsplit(|letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter)))
            .next()
            .unwrap_or_default();
        scheme_end += at + 3;
        let rest = &text[scheme_end..];
        let end = rest
            .find(|letter: char| "/?#\\\"'<>".contains(letter) || letter.is_whitespace())
            .unwrap_or(rest.len());
        if let Some((user, _)) = rest[..end].rsplit_once('@') {
            let is_ssh = scheme == "ssh" || scheme.ends_with("+ssh");
            if !(is_ssh && user == "git") {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_with_credentials_are_found_wherever_they_stand() {
        for text in [
            "https://u:p@host/x",
            "git+https://token@host/x",
            "curl -H x https://a/b 'https://u:p@h'",
            "ssh://git:pw@host/x",
            "x://a@b@c",
        ] {
            assert!(holds_credential(text), "{text}");
        }
        for text in [
            "https://host/a@b",
            "git+ssh://git@host/x",
            "pkg:npm/%40scope/name@1.0",
            "git+https://host/repo@refs/tags/v1",
            "a@b",
            "https://",
            "",
        ] {
            assert!(!holds_credential(text), "{text}");
        }
        let found = find(&json!({"a": [{"b": "x"}, {"c": "https://u:p@h"}]}));
        assert_eq!(found.as_deref(), Some("a.1.c"));
        assert!(find(&json!({"https://u:p@h": 1})).is_some());
    }
}
