//! Versions and ranges of them.
//!
//! `deb` versions compare as dpkg does: epoch, upstream version, revision, with `~` before everything.
//! Those of `cargo`, `npm` and `golang` compare as SemVer does, a pre-release (`1.0.0-rc.1`) before its release,
//! and what follows `+` does not count. Of all other types only dotted numbers are compared: what a letter
//! or another sign means there differs from type to type, so such a version can not be compared. Numbers
//! that are missing count as 0, but for `deb`. A range is a conjunction, `>=1.2, <2`.
//!
//! Source: deb-version(7); SemVer 2.0.0, section 11.

use std::cmp::Ordering;

/// Most comparisons in one range.
const COMPARISONS_MAX: usize = 8;
/// Longest version, in bytes.
const VERSION_BYTES_MAX: usize = 256;

/// How versions are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As dpkg does.
    Deb,
    /// As SemVer does.
    SemVer,
    /// Dotted numbers; all else is in doubt.
    Numbers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Unequal,
}

/// A range: all comparisons must hold.
#[derive(Clone, Debug)]
pub(super) struct Range {
    order: Order,
    all: Vec<(Operator, String)>,
    written: String,
}

impl Range {
    /// Reads `>=1.2, <2`; none if it is no range, or has a bound that can not be compared in this order.
    pub fn parse(text: &str, order: Order) -> Option<Range> {
        let all: Option<Vec<_>> = text.split(',').map(|part| comparison(part.trim())).collect();
        let all = all.filter(|all| all.len() <= COMPARISONS_MAX)?;
        let good = all.iter().all(|(_, bound)| is_comparable(bound, order));
        good.then(|| Range { order, all, written: text.to_owned() })
    }

    /// Says whether a version of a package that is ordered so lies in it; nothing for what is no version that
    /// could be compared.
    pub fn holds(&self, version: &str, order: Order) -> Option<bool> {
        let all = |version: &str| {
            self.all.iter().all(|(operator, bound)| {
                let order = compare(version, bound, order);
                match operator {
                    Operator::Less => order.is_lt(),
                    Operator::AtMost => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    Operator::AtLeast => order.is_ge(),
                    Operator::Equal => order.is_eq(),
                    Operator::Unequal => order.is_ne(),
                }
            })
        };
        is_comparable(version, order).then(|| all(version))
    }

    /// Says whether no version at all can lie in it, as far as its bounds show.
    pub fn is_empty(&self) -> bool {
        use Operator as O;
        let with = |wanted: &[Operator]| {
            self.all.iter().filter(|(operator, _)| wanted.contains(operator)).collect::<Vec<_>>()
        };
        let lower = with(&[O::Greater, O::AtLeast, O::Equal]);
        let upper = with(&[O::Less, O::AtMost, O::Equal]);
        lower.iter().any(|(low, from)| {
            upper.iter().any(|(high, to)| match compare(from, to, self.order) {
                Ordering::Less => false,
                Ordering::Equal => *low == O::Greater || *high == O::Less,
                Ordering::Greater => true,
            })
        })
    }

    /// Returns it as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

fn comparison(text: &str) -> Option<(Operator, String)> {
    let table = [
        (">=", Operator::AtLeast),
        ("<=", Operator::AtMost),
        ("!=", Operator::Unequal),
        (">", Operator::Greater),
        ("<", Operator::Less),
        ("=", Operator::Equal),
    ];
    let (sign, operator) = table.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let version = text[sign.len()..].trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:_".contains(&byte);
    let good =
        !version.is_empty() && version.len() <= VERSION_BYTES_MAX && version.bytes().all(plain);
    good.then(|| (operator, version.to_owned()))
}

/// Says whether a text has the form of a version: it begins with a number, has no foreign letter, and an epoch
/// of a size that there is.
fn is_comparable(version: &str, order: Order) -> bool {
    let signs = |text: &str, signs: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
    };
    let good = match order {
        Order::Deb => {
            let (epoch, bare) = version.split_once(':').unwrap_or(("0", version));
            epoch.parse::<u32>().is_ok()
                && bare.starts_with(|first: char| first.is_ascii_digit())
                && signs(bare, b".+-~")
        }
        Order::SemVer => {
            let (release, pre, build) = semver_parts(version);
            let identifiers =
                |text: &str| text.split('.').all(|one| !one.is_empty() && signs(one, b"-"));
            is_dotted(release) && pre.is_none_or(identifiers) && build.is_none_or(identifiers)
        }
        Order::Numbers => is_dotted(version),
    };
    version.len() <= VERSION_BYTES_MAX && good
}

/// Says whether a text is numbers with single dots between.
fn is_dotted(text: &str) -> bool {
    text.split('.').all(|one| !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()))
}

fn compare(left: &str, right: &str, order: Order) -> Ordering {
    match order {
        Order::Deb => deb(left, right),
        Order::SemVer => semver(left, right),
        Order::Numbers => dotted(left, right),
    }
}

fn deb(left: &str, right: &str) -> Ordering {
    let parts = |version: &str| -> (u64, String, String) {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse().unwrap_or(u64::MAX), upstream.to_owned(), revision.to_owned())
    };
    let (left, right) = (parts(left), parts(right));
    left.0.cmp(&right.0).then(pieces(&left.1, &right.1)).then(pieces(&left.2, &right.2))
}

/// Returns release, pre-release and build of a version. Modules of Go begin with `v`.
fn semver_parts(version: &str) -> (&str, Option<&str>, Option<&str>) {
    let version = version.strip_prefix('v').unwrap_or(version);
    let (version, build) = halves(version, '+');
    let (release, pre) = halves(version, '-');
    (release, pre, build)
}

fn halves(text: &str, sign: char) -> (&str, Option<&str>) {
    text.split_once(sign).map_or((text, None), |(left, right)| (left, Some(right)))
}

fn semver(left: &str, right: &str) -> Ordering {
    let ((left, left_pre, _), (right, right_pre, _)) = (semver_parts(left), semver_parts(right));
    dotted(left, right).then_with(|| match (left_pre, right_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => pre_release(left, right),
    })
}

/// Compares dotted numbers; those that are missing are 0.
fn dotted(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => {
                numbers(one.unwrap_or_default().as_bytes(), other.unwrap_or_default().as_bytes())
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Compares identifier by identifier: numbers before words, and what ends first is less.
fn pre_release(left: &str, right: &str) -> Ordering {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(other)) => match (is_number(one), is_number(other)) {
                (true, true) => numbers(one.as_bytes(), other.as_bytes()),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => one.cmp(other),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Compares runs of digits as numbers and what stands between letter by letter: `~` before the end,
/// letters before other signs.
fn pieces(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        let (words, rest) = split(left, |byte| !byte.is_ascii_digit());
        let (others, after) = split(right, |byte| !byte.is_ascii_digit());
        let order = letters(words, others);
        if order.is_ne() {
            return order;
        }
        let (number, rest) = split(rest, |byte| byte.is_ascii_digit());
        let (other, after) = split(after, |byte| byte.is_ascii_digit());
        let order = numbers(number, other);
        if order.is_ne() || (rest.is_empty() && after.is_empty()) {
            return order;
        }
        (left, right) = (rest, after);
    }
}

fn split(text: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !belongs(*byte)).unwrap_or(text.len()))
}

fn letters(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let most = left.len().max(right.len());
    let all = (0..most).map(|at| weight(left.get(at)).cmp(&weight(right.get(at))));
    all.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn numbers(left: &[u8], right: &[u8]) -> Ordering {
    let bare = |digits: &[u8]| {
        digits.iter().copied().skip_while(|byte| *byte == b'0').collect::<Vec<u8>>()
    };
    let (left, right) = (bare(left), bare(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_their_kind_orders_them() {
        for (order, ascending) in [
            (
                Order::Deb,
                &["1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-2", "1.0.1-1", "1.10-1", "1:0.9-1"][..],
            ),
            (Order::Deb, &["5.6.0-0.2", "5.6.1+really5.4.5-1"]),
            (
                Order::SemVer,
                &[
                    "1.0.0-1",
                    "1.0.0-alpha",
                    "1.0.0-alpha.1",
                    "1.0.0-alpha.beta",
                    "1.0.0-beta",
                    "1.0.0-beta.2",
                    "1.0.0-beta.11",
                    "1.0.0",
                    "1.0.1",
                    "1.9",
                    "1.10",
                    "2-0",
                    "2",
                ],
            ),
            (Order::Numbers, &["0", "0.1", "1.0", "1.0.1", "1.9", "1.10", "2", "2024.1"]),
        ] {
            for pair in ascending.windows(2) {
                assert_eq!(compare(pair[0], pair[1], order), Ordering::Less, "{pair:?}");
                assert_eq!(compare(pair[1], pair[0], order), Ordering::Greater, "{pair:?}");
            }
        }
        for (left, right) in [("1.0", "1.0+x"), ("v1.0", "1.0"), ("01", "1"), ("1-a", "1.0.0-a")] {
            assert_eq!(compare(left, right, Order::SemVer), Ordering::Equal, "{left}");
        }
        for (left, right) in [("1.2", "1.2.0"), ("2", "2.0.0.0"), ("0.0", "0")] {
            for order in [Order::SemVer, Order::Numbers] {
                assert_eq!(compare(left, right, order), Ordering::Equal, "{left}");
            }
        }
    }

    #[test]
    fn ranges_hold_where_all_their_comparisons_hold() {
        let range = Range::parse(">=5.6.0, <5.6.2", Order::Numbers).unwrap();
        for (version, holds) in [
            ("5.6", true),
            ("5.6.0", true),
            ("5.6.1", true),
            ("5.6.2", false),
            ("5.6.2.0", false),
            ("5.5.9", false),
        ] {
            for order in [Order::SemVer, Order::Numbers] {
                assert_eq!(range.holds(version, order), Some(holds), "{version}");
            }
        }
        for version in ["5.6.1rc1", "5.6.2-rc1", "v5.6.1", "5.6.1+x", "5.6.1_1", "1!5.6", "5.6."] {
            assert_eq!(range.holds(version, Order::Numbers), None, "{version}");
        }
        for version in ["5.6.1rc1", "5.6.2-", "5.6.2-a..b", "5.6.1~1", "5.6.1_1", "5.6.1+x+y"] {
            assert_eq!(range.holds(version, Order::SemVer), None, "{version}");
        }
        assert_eq!(range.holds("5.6.2-rc.1", Order::SemVer), Some(true));
        assert_eq!(range.holds("5.6.0-rc.1", Order::SemVer), Some(false));
        let long = "9".repeat(VERSION_BYTES_MAX + 1);
        for version in
            [&long, "", "latest", "V5.6.0", "vv5", "5.6.0 ", "5,6", "1:5.6", "5.6.0@1", "é"]
        {
            assert_eq!(range.holds(version, Order::SemVer), None, "{version}");
        }
        let range = Range::parse(">=5.6.0, <5.6.2", Order::Deb).unwrap();
        for version in ["v5.6.0", "99999999999:5.6.0", ":5.6.0", "0:", "5_6", "0:0:5"] {
            assert_eq!(range.holds(version, Order::Deb), None, "{version}");
        }
        assert_eq!(range.holds("0:5.6.1+really5.4.5-1", Order::Deb), Some(true));
        for bad in ["", "1.0", "~>1", ">=", ">=1,", ">= 1 2", "^1", ">=$(x)", "<vv2", "<2rc1"] {
            assert!(Range::parse(bad, Order::SemVer).is_none(), "{bad}");
        }
        assert!(Range::parse("<2-rc1", Order::SemVer).is_some());
        assert!(Range::parse("<2-rc1", Order::Numbers).is_none());
        for (text, empty) in [
            (">=2, <1", true),
            (">1, <1", true),
            (">=1, <=1", false),
            ("=1, >1", true),
            (">=1.0, <1", true),
            ("<1", false),
        ] {
            assert_eq!(Range::parse(text, Order::Numbers).unwrap().is_empty(), empty, "{text}");
        }
    }
}
