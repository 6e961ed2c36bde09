//! The artifact rules of a step: a queue of names, and rules that take names off it or refuse.
//!
//! A rule that takes nothing is no failure; only `DISALLOW` and `REQUIRE` refuse. What no rule took is
//! allowed, so a layout that means it ends with `DISALLOW *`.
//!
//! Pure. Source: in-toto specification 0.9, 4.3.3.

use std::collections::{BTreeMap, BTreeSet};

use model::text::escape;

use super::glob;
use super::metadata::{Artifacts, Link};

/// Which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What went in.
    Materials,
    /// What came out.
    Products,
}

/// Why a rule refuses.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// No rule of in-toto.
    #[error("`{rule}` is no artifact rule")]
    Form {
        /// The rule, escaped.
        rule: String,
    },
    /// `DISALLOW` found one.
    #[error("`{rule}` refuses `{name}`")]
    Disallowed {
        /// The rule, escaped.
        rule: String,
        /// The name, escaped.
        name: String,
    },
    /// `REQUIRE` did not find it.
    #[error("`{rule}`: it is not there")]
    Required {
        /// The rule, escaped.
        rule: String,
    },
}

impl RuleError {
    /// Returns what was expected and what was got.
    pub fn compared(&self) -> (String, String) {
        match self {
            RuleError::Form { rule } => ("rules of in-toto 0.9".to_owned(), format!("`{rule}`")),
            RuleError::Disallowed { rule, name } => (format!("`{rule}`"), format!("`{name}`")),
            RuleError::Required { rule } => (format!("`{rule}`"), "no such file".to_owned()),
        }
    }
}

/// A rule as it was read.
enum Rule<'a> {
    Create(&'a str),
    Delete(&'a str),
    Modify(&'a str),
    Allow(&'a str),
    Disallow(&'a str),
    Require(&'a str),
    Match { pattern: &'a str, from: &'a str, with: Side, prefixes: [&'a str; 2] },
}

fn read(words: &[String]) -> Result<Rule<'_>, RuleError> {
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let keywords: Vec<&str> = lower.iter().map(String::as_str).collect();
    let side = |word: &str| match word {
        "materials" => Some(Side::Materials),
        "products" => Some(Side::Products),
        _ => None,
    };
    let text: Vec<&str> = words.iter().map(String::as_str).collect();
    let rule = match (text.as_slice(), keywords.as_slice()) {
        ([_, pattern], ["create", _]) => Some(Rule::Create(pattern)),
        ([_, pattern], ["delete", _]) => Some(Rule::Delete(pattern)),
        ([_, pattern], ["modify", _]) => Some(Rule::Modify(pattern)),
        ([_, pattern], ["allow", _]) => Some(Rule::Allow(pattern)),
        ([_, pattern], ["disallow", _]) => Some(Rule::Disallow(pattern)),
        ([_, pattern], ["require", _]) => Some(Rule::Require(pattern)),
        ([_, pattern, .., from], ["match", _, middle @ .., "from", _]) => {
            let at = |index: usize| text.get(2 + index).copied().unwrap_or_default();
            let read = match middle {
                ["with", with] => Some((*with, ["", ""])),
                ["in", _, "with", with] => Some((*with, [at(1), ""])),
                ["with", with, "in", _] => Some((*with, ["", at(3)])),
                ["in", _, "with", with, "in", _] => Some((*with, [at(1), at(5)])),
                _ => None,
            };
            read.and_then(|(with, prefixes)| {
                Some(Rule::Match { pattern, from, with: side(with)?, prefixes })
            })
        }
        _ => None,
    };
    rule.ok_or_else(|| RuleError::Form { rule: shown(words) })
}

fn shown(words: &[String]) -> String {
    escape(words.join(" ").as_bytes())
}

/// Says whether all rules are of a form that is known.
pub(super) fn check_form(rules: &[Vec<String>]) -> Result<(), RuleError> {
    rules.iter().try_for_each(|words| read(words).map(|_| ()))
}

/// Applies the rules of one side of a step.
pub(super) fn apply(
    rules: &[Vec<String>],
    side: Side,
    link: &Link,
    links: &BTreeMap<String, Link>,
) -> Result<(), RuleError> {
    let own = of(link, side);
    let mut queue: BTreeSet<&str> = own.keys().map(String::as_str).collect();
    for words in rules {
        let taken: BTreeSet<&str> = {
            let matching = |pattern: &str| {
                queue
                    .iter()
                    .copied()
                    .filter(|name| glob::matches(pattern, name))
                    .collect::<Vec<_>>()
            };
            let made = |name: &&str| link.products.contains_key(*name);
            let used = |name: &&str| link.materials.contains_key(*name);
            match read(words)? {
                Rule::Create(pattern) => {
                    matching(pattern).into_iter().filter(|name| made(name) && !used(name)).collect()
                }
                Rule::Delete(pattern) => {
                    matching(pattern).into_iter().filter(|name| used(name) && !made(name)).collect()
                }
                Rule::Modify(pattern) => {
                    let differs = |name: &&str| {
                        let (before, after) = (link.materials.get(*name), link.products.get(*name));
                        before.is_some() && after.is_some() && before != after
                    };
                    matching(pattern).into_iter().filter(differs).collect()
                }
                Rule::Allow(pattern) => matching(pattern).into_iter().collect(),
                Rule::Disallow(pattern) => match matching(pattern).first() {
                    Some(name) => {
                        let name = escape(name.as_bytes());
                        return Err(RuleError::Disallowed { rule: shown(words), name });
                    }
                    None => BTreeSet::new(),
                },
                // A file's name, not a pattern.
                Rule::Require(name) if queue.contains(name) => BTreeSet::new(),
                Rule::Require(_) => return Err(RuleError::Required { rule: shown(words) }),
                Rule::Match { pattern, from, with, prefixes } => {
                    let Some(other) = links.get(from) else { continue };
                    let other = of(other, with);
                    let same = |name: &&str| is_same(name, own, other, pattern, prefixes);
                    queue.iter().copied().filter(same).collect()
                }
            }
        };
        queue.retain(|name| !taken.contains(name));
    }
    Ok(())
}

fn of(link: &Link, side: Side) -> &Artifacts {
    match side {
        Side::Materials => &link.materials,
        Side::Products => &link.products,
    }
}

/// Says whether the other step has the same bytes under the matching name.
fn is_same(
    name: &str,
    own: &Artifacts,
    other: &Artifacts,
    pattern: &str,
    [source, target]: [&str; 2],
) -> bool {
    let folder = |prefix: &str| {
        if prefix.is_empty() || prefix.ends_with('/') {
            prefix.to_owned()
        } else {
            format!("{prefix}/")
        }
    };
    let Some(rest) = name.strip_prefix(&folder(source)) else { return false };
    // An absolute name would leave the folder.
    if (!source.is_empty() || !target.is_empty()) && rest.starts_with('/') {
        return false;
    }
    let there = format!("{}{rest}", folder(target));
    glob::matches(pattern, rest)
        && own.get(name).is_some_and(|digests| other.get(&there) == Some(digests))
}
