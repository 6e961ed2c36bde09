//! Reads relations between packages: `Depends`, `Pre-Depends`, `Provides`, `Replaces`.
//!
//! Does no I/O. Keeps slices of the field; the version is compared only when there is a choice.
//! Does not read restriction lists (`[amd64]`, `<stage1>`): they are gone once a package is built.
//!
//! Format: Debian Policy, section 7.1; the architecture qualifier of deb-control(5).

use std::cmp::Ordering;

use super::version;

/// One alternative: a package name and what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relation<'a> {
    /// The name, real or virtual.
    pub(super) name: &'a str,
    /// The text after the name's colon: `any`, `native` or an architecture.
    pub(super) qualifier: Option<&'a str>,
    /// The version asked for.
    pub(super) version: Option<(Operator, &'a str)>,
}

/// How a version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the old `<`
    AtMost,
    /// `=`
    Exactly,
    /// `>=`, and the old `>`
    AtLeast,
    /// `>>`
    Later,
}

/// The text of a relation field cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the relation `{}`", model::text::escape(.text.as_bytes()))]
pub struct RelationError {
    text: Box<str>,
}

impl Relation<'_> {
    /// Says whether a version is one that is asked for.
    pub(super) fn accepts(&self, found: &str) -> bool {
        let Some((operator, wanted)) = self.version else { return true };
        let order = version::compare(found, wanted);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::AtMost => order != Ordering::Greater,
            Operator::Exactly => order == Ordering::Equal,
            Operator::AtLeast => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }
}

/// Reads a field: all groups must hold, of each group one alternative.
pub(super) fn groups(field: &str) -> Result<Vec<Vec<Relation<'_>>>, RelationError> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| group.split('|').map(relation).collect()).collect()
}

fn relation(text: &str) -> Result<Relation<'_>, RelationError> {
    read(text.trim()).ok_or_else(|| RelationError { text: text.trim().into() })
}

fn read(text: &str) -> Option<Relation<'_>> {
    let (target, rest) = text.split_at(
        text.find(|letter: char| letter.is_whitespace() || letter == '(').unwrap_or(text.len()),
    );
    let (name, qualifier) = match target.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (target, None),
    };
    let name_is_good = name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte));
    if !name_is_good || qualifier == Some("") {
        return None;
    }
    let rest = rest.trim();
    let version = if rest.is_empty() { None } else { Some(constraint(rest)?) };
    Some(Relation { name, qualifier, version })
}

fn constraint(text: &str) -> Option<(Operator, &str)> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    let (sign, version) =
        inside.split_at(inside.find(|letter| !matches!(letter, '<' | '=' | '>'))?);
    let operator = match sign {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::AtMost,
        "=" => Operator::Exactly,
        ">=" | ">" => Operator::AtLeast,
        ">>" => Operator::Later,
        _ => return None,
    };
    let version = version.trim();
    (!version.is_empty() && !version.contains(char::is_whitespace)).then_some((operator, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_shape_of_a_relation_is_read() {
        let plain = |name| Relation { name, qualifier: None, version: None };
        let found = groups("libc6 (>= 2.34), a | b:any ( << 1:2~ ) | c:i386(= 3),, g++,").unwrap();
        assert_eq!(
            found,
            [
                vec![Relation { version: Some((Operator::AtLeast, "2.34")), ..plain("libc6") }],
                vec![
                    plain("a"),
                    Relation {
                        qualifier: Some("any"),
                        version: Some((Operator::Earlier, "1:2~")),
                        ..plain("b")
                    },
                    Relation {
                        qualifier: Some("i386"),
                        version: Some((Operator::Exactly, "3")),
                        ..plain("c")
                    },
                ],
                vec![plain("g++")],
            ]
        );
        assert_eq!(groups(""), Ok(vec![]));
    }

    #[test]
    fn unreadable_relations_are_refused() {
        for bad in
            ["a (", "a (1)", "a (>=)", "a: ", "(>= 1)", "a b", "a | | b", "-a", "a (>= 1 2)", "é"]
        {
            assert!(groups(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn operators_mean_what_they_say() {
        for (field, good, bad) in [
            ("a (<< 2)", "1", "2"),
            ("a (<= 2)", "2", "3"),
            ("a (= 2)", "2", "1"),
            ("a (>= 2)", "2", "1"),
            ("a (>> 2)", "3", "2"),
        ] {
            let relation = groups(field).unwrap()[0][0];
            assert!(relation.accepts(good) && !relation.accepts(bad), "{field}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = groups(&text);
        }

        #[test]
        fn nearly_good_text_does_not_either(text in "[a-c:|,() <>=1]{0,60}") {
            let _ = groups(&text);
        }
    }
}
