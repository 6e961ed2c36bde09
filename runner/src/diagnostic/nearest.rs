//! Finds what was probably meant: names that differ by few letters.
//!
//! Distance is counted in letters inserted, left out, changed, or swapped with their neighbour
//! (optimal string alignment). A third of the length may differ, at least one, at most three:
//! farther than that a guess is more likely to mislead than to help. A word of two letters or less has
//! no near names, since a third of all short names would be. The beginning of a name, of three letters
//! or more, is near to it however much is left out.

/// Longest word that is compared, in bytes: identifiers have at most 63. It bounds the work that
/// a hostile file can ask for.
const WORD_BYTES_MAX: usize = 64;
/// Fewest letters of a word whose near names are looked for, and of a beginning that is near.
const WORD_CHARS_MIN: usize = 3;
/// Most names that are looked at for one question.
const NAMES_MAX: usize = 2000;
/// Most names that [`one_of`] lists.
const LISTED_MAX: usize = 24;

/// Returns the names nearest to `word`, nearest first, at most three; none if all are far.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let letters = word.chars().count();
    if letters < WORD_CHARS_MIN || word.len() > WORD_BYTES_MAX {
        return Vec::new();
    }
    let reach = (letters / 3).clamp(1, 3);
    let word = word.to_lowercase();
    let steps_to = |name: &str| {
        let name = name.to_lowercase();
        match distance(&word, &name) {
            steps if steps <= reach => Some(steps),
            // After all that are near by their letters.
            _ if name.starts_with(&word) => Some(reach + 1),
            _ => None,
        }
    };
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .take(NAMES_MAX)
        .filter(|name| name.len() <= WORD_BYTES_MAX)
        .filter_map(|name| Some((steps_to(name)?, name)))
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Returns `one of a, b, c` for sorted, unique names; long lists are cut with a count.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    match (names.as_slice(), more) {
        ([], _) => "nothing: there is none".to_owned(),
        ([only], _) => (*only).to_owned(),
        (names, 0) => format!("one of {}", names.join(", ")),
        (names, more) => format!("one of {} and {more} more", names.join(", ")),
    }
}

fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut earlier: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let change = above[j] + usize::from(a != b);
            let mut least = change.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(earlier[j - 1] + 1);
            }
            row.push(least);
        }
        earlier = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["outputs", "name", "needs", "from", "env", "environment"];
        for (word, found) in [
            ("output", &["outputs"][..]),
            ("Outputs", &["outputs"]),
            ("nmae", &["name"]),
            ("environmnet", &["environment"]),
            ("form", &["from"]),
            ("script", &[]),
            ("out", &["outputs"]),
            ("environ", &["environment"]),
            ("environment-variables", &[]),
            ("en", &[]),
            ("xyz", &[]),
            ("", &[]),
        ] {
            assert_eq!(nearest(word, names), found, "{word}");
        }
        assert!(nearest(&"a".repeat(1 << 20), names).is_empty());
    }

    #[test]
    fn lists_are_sorted_and_bounded() {
        assert_eq!(one_of(["b", "a", "b"]), "one of a, b");
        assert_eq!(one_of(["a"]), "a");
        assert_eq!(one_of([]), "nothing: there is none");
        let many: Vec<String> = (10..60).map(|number| number.to_string()).collect();
        assert!(one_of(many.iter().map(String::as_str)).ends_with("33 and 26 more"));
    }
}
