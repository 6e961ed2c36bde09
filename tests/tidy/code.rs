//! Just enough of Rust's grammar to look at code without its comments, strings and tests.

/// Returns the text with comments and the insides of string and character literals blanked out, so
/// that every line keeps its number.
pub fn without_words(text: &str) -> String {
    let source: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < source.len() {
        let (end, keep) = token(&source, at);
        for (index, &letter) in source[at..end].iter().enumerate() {
            let edge = keep > 0 && (index < keep || at + index >= end - keep);
            out.push(if letter == '\n' || keep == usize::MAX || edge { letter } else { ' ' });
        }
        at = end;
    }
    out
}

/// Returns where the token ends and how many of its letters at each end are kept; `usize::MAX` for
/// plain code.
fn token(source: &[char], at: usize) -> (usize, usize) {
    let next = source.get(at + 1).copied().unwrap_or(' ');
    match source[at] {
        '/' if next == '/' => (find(source, at, &['\n']), 0),
        '/' if next == '*' => (block_comment(source, at), 0),
        '"' => (string(source, at + 1), 1),
        'r' if matches!(next, '"' | '#') && !is_word(source, at) => {
            raw_string(source, at).map_or((at + 1, usize::MAX), |end| (end, 1))
        }
        '\'' if next == '\\' => (find(source, at + 3, &['\'']) + 1, 1),
        '\'' if source.get(at + 2) == Some(&'\'') => (at + 3, 1),
        _ => (at + 1, usize::MAX),
    }
}

fn is_word(source: &[char], at: usize) -> bool {
    at > 0 && (source[at - 1].is_alphanumeric() || source[at - 1] == '_')
}

fn find(source: &[char], from: usize, what: &[char]) -> usize {
    (from..source.len()).find(|&at| what.contains(&source[at])).unwrap_or(source.len())
}

fn block_comment(source: &[char], at: usize) -> usize {
    let ends = |at: &usize| source[*at] == '*' && source.get(at + 1) == Some(&'/');
    (at + 2..source.len()).find(ends).map_or(source.len(), |at| at + 2)
}

fn string(source: &[char], mut at: usize) -> usize {
    while at < source.len() && source[at] != '"' {
        at += if source[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(source.len())
}

fn raw_string(source: &[char], at: usize) -> Option<usize> {
    let hashes = source[at + 1..].iter().take_while(|&&letter| letter == '#').count();
    let open = at + 1 + hashes;
    if source.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        source[*at] == '"'
            && source[at + 1..].iter().take(hashes).filter(|&&l| l == '#').count() == hashes
    };
    Some((open + 1..source.len()).find(closes).map_or(source.len(), |at| at + 1 + hashes))
}

/// Returns code (as [`without_words`] gives it) with every item under `#[cfg(test)]` blanked out.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let open = out[start..].find(['{', ';']).map_or(out.len(), |at| start + at);
        let end = if out[open..].starts_with('{') { closing(&out, open) } else { open };
        let blank: String =
            out[start..end].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Returns the byte after the brace that closes the one at `open`.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text = "let a = \"un//wrap\"; // x\nlet c = '\"'; let r = r#\"q\"q\"#;\n/* y\n */ z\n";
    let code = without_words(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for gone in ["wrap", "// x", "q", "y"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    assert!(code.contains("let r = r") && code.contains('z'));
    let tests = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n";
    let kept = without_tests(tests);
    assert!(kept.contains("fn a") && kept.contains("fn c") && !kept.contains("fn b"));
}
