//! The patterns of artifact rules: `*`, `?`, `[seq]`, `[!seq]`, as Python's fnmatch has them.
//!
//! A star matches a slash as well, and nothing is special in a name. Patterns come from a layout that
//! its owner signed; names come from links. Matching is quadratic at most.
//!
//! Pure. Source: Python 3.12, `fnmatch.translate`, which in-toto's own verifier uses.

/// One element of a pattern.
enum Part {
    One(char),
    Any,
    Star,
    Set { negated: bool, letters: Vec<char>, ranges: Vec<(char, char)> },
}

/// Says whether a pattern matches the whole of a name.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let parts = parse(&pattern.chars().collect::<Vec<_>>());
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut here) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while here < name.len() {
        match parts.get(at) {
            Some(Part::Star) => {
                retry = Some((at, here));
                at += 1;
                continue;
            }
            Some(part) if name.get(here).is_some_and(|letter| part.takes(*letter)) => {
                (at, here) = (at + 1, here + 1);
                continue;
            }
            Some(_) | None => {}
        }
        // The last star takes one letter more.
        let Some((star, from)) = retry else { return false };
        retry = Some((star, from + 1));
        (at, here) = (star + 1, from + 1);
    }
    parts.iter().skip(at).all(|part| matches!(part, Part::Star))
}

impl Part {
    fn takes(&self, letter: char) -> bool {
        match self {
            Part::One(own) => *own == letter,
            Part::Any => true,
            Part::Star => false,
            Part::Set { negated, letters, ranges } => {
                let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter));
                (letters.contains(&letter) || within) != *negated
            }
        }
    }
}

fn parse(pattern: &[char]) -> Vec<Part> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(letter) = pattern.get(at) {
        at += 1;
        match letter {
            '*' => parts.push(Part::Star),
            '?' => parts.push(Part::Any),
            '[' => match end_of_set(pattern, at) {
                Some(end) => {
                    parts.push(set(pattern.get(at..end).unwrap_or_default()));
                    at = end + 1;
                }
                None => parts.push(Part::One('[')),
            },
            other => parts.push(Part::One(*other)),
        }
    }
    parts
}

/// Returns where the bracket closes; one that comes first is a letter of the set.
fn end_of_set(pattern: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    if pattern.get(at) == Some(&'!') {
        at += 1;
    }
    if pattern.get(at) == Some(&']') {
        at += 1;
    }
    pattern.iter().skip(at).position(|letter| *letter == ']').map(|found| found + at)
}

fn set(inner: &[char]) -> Part {
    let (negated, inner) = match inner.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, inner),
    };
    let (mut letters, mut ranges, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(letter) = inner.get(at) {
        match (inner.get(at + 1), inner.get(at + 2)) {
            // A range that runs backwards holds nothing.
            (Some('-'), Some(high)) => {
                ranges.push((*letter, *high));
                at += 3;
            }
            _ => {
                letters.push(*letter);
                at += 1;
            }
        }
    }
    Part::Set { negated, letters, ranges }
}

#[cfg(test)]
mod tests {
    use super::matches;

    /// Each answer is that of Python 3.11's `fnmatch.fnmatchcase`.
    #[test]
    fn patterns_match_as_pythons_do() {
        for (pattern, name, wanted) in [
            ("*", "a/b", true),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("*.py", ".py", true),
            ("a?c", "a/c", true),
            ("a?c", "ac", false),
            ("[ab]", "b", true),
            ("[!ab]", "b", false),
            ("[!ab]", "c", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[^a]", "^", true),
            ("a**b*", "aXb", true),
            ("", "", true),
            ("", "a", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"b".repeat(60)));
    }
}
