//! Finds addresses with a credential in them, so that none is ever signed and published.
//!
//! Looks at every text of a statement, not at a list of fields: a password in a command line is as
//! public as one in a source's address. What a credential is: [`model::address`].
//!
//! Does not catch: a secret that is not part of an address.

use model::address::holds_credential;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_with_credentials_are_found_wherever_they_stand() {
        let found = find(&json!({"a": [{"b": "x"}, {"c": "https://u:p@h"}]}));
        assert_eq!(found.as_deref(), Some("a.1.c"));
        assert!(find(&json!({"https://u:p@h": 1})).is_some());
    }
}
