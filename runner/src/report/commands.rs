//! Lines of talk that a CI system would take as commands to itself.
//!
//! GitHub's runner takes `##[…]` anywhere in a line and `::…::` at its start; Azure's agent takes
//! `##vso[…]` and `##[…]` anywhere. A step chooses what stands in its log, in the names of its files,
//! tests and processes, and all of these are quoted. So the `[` is shown as `\x5b`, in the form of all
//! our escapes, and a line that starts with `::` gets a bar before it.
//!
//! This is done to all talk, whether or not a CI system is known: a container inside a job has none of
//! its variables, and its output is read all the same. Only kiln's own marks pass beside it.
//!
//! Does not touch: what the user asks to see raw on stdout.

/// Returns talk of one or more lines without the power to command.
pub fn broken(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let bar = if line.trim_start().starts_with("::") { "| " } else { "" };
        format!("{bar}{}", with_bracket(line, "\\x5b"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns a JSON text of the same meaning without the power to command. No line of it starts with a
/// colon, and no bracket of its own follows a `#`.
pub fn broken_json(text: &str) -> String {
    with_bracket(text, "\\u005b")
}

/// Replaces each `[` after `##` and a word. Letters outside ASCII count as part of the word: an agent
/// that compares by culture overlooks some of them.
fn with_bracket(text: &str, shown: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut hashes = 0;
    for letter in text.chars() {
        match letter {
            '[' if hashes >= 2 => out.push_str(shown),
            _ => out.push(letter),
        }
        hashes = match letter {
            '#' => hashes + 1,
            _ if letter.is_ascii_alphanumeric() || !letter.is_ascii() => hashes,
            _ => 0,
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_talk_commands_a_ci_system() {
        for (text, shown) in [
            ("##[error]x", "##\\x5berror]x"),
            (" note: a ##vso[task.x]y", " note: a ##vso\\x5btask.x]y"),
            ("a ##VSO[x] ##[y]", "a ##VSO\\x5bx] ##\\x5by]"),
            ("#\u{ad}#v\u{ad}so[x]", "#\u{ad}#v\u{ad}so\\x5bx]"),
            ("| ##[group]x", "| ##\\x5bgroup]x"),
            ("a\n  ::error::b\n::c", "a\n|   ::error::b\n| ::c"),
            ("a::b [c] #[d] ## [e]", "a::b [c] #[d] ## [e]"),
        ] {
            assert_eq!(broken(text), shown);
        }
    }

    #[test]
    fn a_json_text_keeps_its_meaning() {
        let value = serde_json::json!({"a": ["##[error]x", [], "a\\##vso[b]", {"##[": ["##"]}]});
        let text = broken_json(&value.to_string());
        assert!(!text.contains("##[") && !text.contains("##vso["), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
