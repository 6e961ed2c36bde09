//! The canonical JSON of in-toto and TUF: sorted members, no space, only quote and backslash escaped.
//!
//! The bytes need not be JSON that others read: a newline stands in a string as itself. Numbers are
//! integers; any other is an error, since nobody agrees on its digits.
//!
//! Pure. Source: OLPC canonical JSON, as securesystemslib's `encode_canonical` has it.

use serde_json::Value;

/// A number that has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number that is no integer has no canonical form")]
pub struct NotCanonical;

/// Returns the canonical bytes of a value.
///
/// # Errors
/// Refuses fractions and numbers beyond 64 bits.
pub(crate) fn encode(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out.into_bytes())
}

fn write(value: &Value, out: &mut String) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            out.push_str(&number.to_string());
        }
        Value::Number(_) => return Err(NotCanonical),
        Value::String(text) => write_text(text, out),
        Value::Array(all) => {
            out.push('[');
            for (index, one) in all.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(one, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, one)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(one, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_quotes_and_backslashes_are_escaped_and_members_are_sorted() {
        let value = json!({"b": [1, -2, true, null], "a": "x\n\\\"é", "é": {}, "Z": u64::MAX});
        let bytes = encode(&value).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let wanted =
            "{\"Z\":18446744073709551615,\"a\":\"x\n\\\\\\\"é\",\"b\":[1,-2,true,null],\"é\":{}}";
        assert_eq!(text, wanted);
        assert_eq!(encode(&json!({"a": 1.5})), Err(NotCanonical));
    }
}
