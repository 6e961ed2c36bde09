//! Reads git configuration as text, for the few keys that matter here.
//!
//! Those are the object format, the remote's address and the place of an ignore file. Everything
//! else in it (fsmonitor, hooks, filters, a work tree elsewhere) is not even looked up, so it
//! cannot act. `include` sections are not followed.
//!
//! Does not catch: a setting that stands only in an included file.
//!
//! Source: git-config(1), section "Syntax".

/// The settings of one configuration file, in order.
#[derive(Debug, Default)]
pub(in crate::source) struct Config {
    settings: Vec<(String, String)>,
}

impl Config {
    /// Reads what can be read: a line that is no setting is passed over, as is text that is no UTF-8.
    pub(in crate::source) fn parse(bytes: &[u8]) -> Config {
        let text = String::from_utf8_lossy(bytes);
        let mut config = Config::default();
        let mut section = String::new();
        let mut lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines();
        while let Some(line) = lines.next() {
            let mut line = line.trim_start();
            if let Some(header) = line.strip_prefix('[') {
                let Some((name, rest)) = section_name(header) else { continue };
                section = name;
                line = rest.trim_start();
            }
            if !line.starts_with(|first: char| first.is_ascii_alphabetic()) {
                continue;
            }
            let (key, rest) = line.split_once('=').unwrap_or((line, "true"));
            let key = format!("{section}.{}", key.trim().to_ascii_lowercase());
            config.settings.push((key, value(rest, &mut lines)));
        }
        config
    }

    /// Returns the last value of `key`, written as `section.subsection.name`: section and name in
    /// lower case.
    pub(in crate::source) fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Reads `core]`, `remote "origin"]` or the old `remote.origin]`; returns what follows the bracket.
fn section_name(header: &str) -> Option<(String, &str)> {
    let end = header.find([']', '"'])?;
    let plain = header[..end].trim().to_ascii_lowercase();
    let (subsection, rest) = match header[end..].strip_prefix('"') {
        None => return Some((plain, &header[end + 1..])),
        Some(quoted) => quoted_text(quoted)?,
    };
    Some((format!("{plain}.{subsection}"), rest.trim_start().strip_prefix(']')?))
}

fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            _ => out.push(char),
        }
    }
    None
}

/// Reads a value: quotes, escapes, comments, and lines continued by a final backslash.
fn value(first: &str, more: &mut std::str::Lines<'_>) -> String {
    let mut out = String::new();
    let mut kept = 0;
    let mut quoted = false;
    let mut line = first.trim_start();
    'lines: loop {
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => quoted = !quoted,
                '#' | ';' if !quoted => break 'lines,
                '\\' => match chars.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some(other) => out.push(other),
                    None => match more.next() {
                        Some(next) => {
                            line = next;
                            continue 'lines;
                        }
                        None => break 'lines,
                    },
                },
                _ => out.push(char),
            }
            // Blanks at the end count only inside quotes.
            if quoted || !char.is_ascii_whitespace() {
                kept = out.len();
            }
        }
        break;
    }
    out.truncate(kept);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_git_writes_them() {
        let text = b"# c\n[core]\n\tbare = false ; no\n\tExcludesFile = \"~/a b#c\" # x\n\
            [remote \"Ori\\\"gin\"]\n url = https://h/p\\\n/q  \n[remote.x] url=y\n[extensions]\n\
            objectFormat=sha1\nobjectFormat = sha256\n[broken\nflag\n";
        let config = Config::parse(text);
        for (key, expected) in [
            ("core.bare", Some("false")),
            ("core.excludesfile", Some("~/a b#c")),
            ("remote.Ori\"gin.url", Some("https://h/p/q")),
            ("remote.x.url", Some("y")),
            ("extensions.objectformat", Some("sha256")),
            ("extensions.flag", Some("true")),
            ("core.fsmonitor", None),
        ] {
            assert_eq!(config.get(key), expected, "{key}");
        }
    }
}
