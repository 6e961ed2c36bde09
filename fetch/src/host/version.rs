//! Compares Debian version numbers.
//!
//! Only used to choose between alternatives of a dependency: `a (>= 2) | b` means `b` on a host
//! that has `a` at version 1.
//!
//! Does no I/O and refuses nothing: any two texts have an order, as in dpkg itself.
//!
//! Format: deb-version(7), "Sorting algorithm".

use std::cmp::Ordering;

/// Orders two versions `[epoch:]upstream[-revision]`.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_upstream, left_revision) = parts(left);
    let (right_epoch, right_upstream, right_revision) = parts(right);
    numbers(left_epoch, right_epoch)
        .then_with(|| texts(left_upstream, right_upstream))
        .then_with(|| texts(left_revision, right_revision))
}

fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Alternates between a run of other letters and a run of digits, on both sides at once.
fn texts(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_run, left_rest) = cut(left, |letter| !letter.is_ascii_digit());
        let (right_run, right_rest) = cut(right, |letter| !letter.is_ascii_digit());
        let (left_number, left_rest) = cut(left_rest, |letter| letter.is_ascii_digit());
        let (right_number, right_rest) = cut(right_rest, |letter| letter.is_ascii_digit());
        let order = letters(left_run, right_run).then_with(|| numbers(left_number, right_number));
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn cut(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !belongs(letter)).unwrap_or(text.len()))
}

/// Letters sort before all other signs, `~` before even the end.
fn letters(left: &str, right: &str) -> Ordering {
    let weight = |letter: Option<char>| match letter {
        Some('~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i64::from(u32::from(letter)),
        Some(letter) => i64::from(u32::from(letter)) + 0x11_0000,
    };
    let (mut left, mut right) = (left.chars(), right.chars());
    loop {
        let (one, other) = (left.next(), right.next());
        let order = weight(one).cmp(&weight(other));
        if order != Ordering::Equal || (one.is_none() && other.is_none()) {
            return order;
        }
    }
}

/// Numbers of any length, without leading zeros; none is zero.
fn numbers(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_order_as_the_manual_says() {
        for (smaller, larger) in [
            ("1.0", "1.1"),
            ("1.9", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0", "1.0+b1"),
            ("1.0a", "1.0+"),
            ("9", "1:0"),
            ("1.0-1", "1.0-2"),
            ("1.0-1", "1.0-1.1"),
            ("2.36-9", "2.36-9+deb12u14"),
            ("1.0-1-1", "1.0-2-1"),
        ] {
            assert_eq!(compare(smaller, larger), Ordering::Less, "{smaller} < {larger}");
            assert_eq!(compare(larger, smaller), Ordering::Greater, "{larger} > {smaller}");
        }
        for (one, other) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1"), ("", "0")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} = {other}");
        }
    }

    proptest! {
        #[test]
        fn any_two_texts_have_one_order(left in "[0-9a-c~+.:-]{0,12}", right in "[0-9a-c~+.:-]{0,12}") {
            prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
            prop_assert_eq!(compare(&left, &left), Ordering::Equal);
        }
    }
}
