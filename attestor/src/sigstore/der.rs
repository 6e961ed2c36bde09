//! A reader of DER that takes one encoding of a value and no other.
//!
//! Only what a timestamp needs: definite lengths of the shortest form, tags of one byte, sets in their
//! order. A reader that is laxer would let two sequences of bytes pass for one timestamp.
//!
//! Spec: X.690, sections 8 and 10 and 11.6.

/// Tags that are read.
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const OCTETS: u8 = 0x04;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    /// `[0]`, of parts.
    pub(in super::super) const FIRST: u8 = 0xa0;
    /// `[0]`, of bytes.
    pub(in super::super) const FIRST_BYTES: u8 = 0x80;
    /// What marks a value of parts.
    pub(super) const PARTS: u8 = 0x20;
    /// A tag that goes on in the next byte.
    pub(super) const LONG: u8 = 0x1f;
}

/// Most levels of a value: a timestamp has some fifteen.
const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// What it is.
    pub(super) tag: u8,
    /// What it holds.
    pub(super) value: &'a [u8],
    /// Tag, length and value.
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads one value that fills the bytes.
    pub(super) fn only(bytes: &'a [u8]) -> Option<Element<'a>> {
        let (element, rest) = first(bytes)?;
        rest.is_empty().then_some(element)
    }

    /// Returns itself if it is of this kind.
    pub(super) fn of(self, tag: u8) -> Option<Element<'a>> {
        (self.tag == tag).then_some(self)
    }

    /// Reads the values that it consists of.
    pub(super) fn parts(self) -> Option<Vec<Element<'a>>> {
        let mut parts = Vec::new();
        let mut rest = self.value;
        while !rest.is_empty() {
            let (element, after) = first(rest)?;
            parts.push(element);
            rest = after;
        }
        Some(parts)
    }

    /// Reads the one value that it consists of.
    pub(super) fn part(self) -> Option<Element<'a>> {
        Element::only(self.value)
    }

    /// Decides whether all below it is DER too, and its sets are in order.
    pub(super) fn is_strict(self) -> bool {
        self.is_strict_at(0)
    }

    fn is_strict_at(self, depth: usize) -> bool {
        if self.tag & tag::PARTS == 0 {
            return true;
        }
        let Some(parts) = self.parts() else { return false };
        let ordered = || parts.windows(2).all(|pair| pair[0].whole < pair[1].whole);
        depth < DEPTH_MAX
            && (self.tag != tag::SET || ordered())
            && parts.iter().all(|part| part.is_strict_at(depth + 1))
    }
}

/// Reads the first value, and returns what follows it.
fn first(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    if tag & tag::LONG == tag::LONG {
        return None;
    }
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..0x80 => (usize::from(short), rest),
        // The form without an end, and lengths that nobody has.
        0x80 | 0x84.. => return None,
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let shortest = *length.first()? > 0 && (length.len() > 1 || length[0] >= 0x80);
            let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            (shortest.then_some(length)?, rest)
        }
    };
    let (value, after) = rest.split_at_checked(length)?;
    Some((Element { tag, value, whole: &bytes[..bytes.len() - after.len()] }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(bytes: &[u8]) -> bool {
        Element::only(bytes).is_some_and(Element::is_strict)
    }

    #[test]
    fn one_encoding_is_read_and_no_other() {
        assert!(strict(&[0x30, 0x03, 0x02, 0x01, 0x00]));
        assert!(strict(&[0x31, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x01]));
        let mut long = vec![0x04, 0x81, 0x80];
        long.resize(3 + 0x80, 0);
        assert!(strict(&long));
        for (what, bytes) in [
            ("nothing", &[][..]),
            ("no length", &[0x30]),
            ("too short", &[0x30, 0x04, 0x02, 0x01, 0x00]),
            ("something behind it", &[0x30, 0x03, 0x02, 0x01, 0x00, 0x00]),
            ("a long length of a short value", &[0x30, 0x81, 0x03, 0x02, 0x01, 0x00]),
            ("a length with a zero", &[0x30, 0x82, 0x00, 0x03, 0x02, 0x01, 0x00]),
            ("no end", &[0x30, 0x80, 0x02, 0x01, 0x00, 0x00, 0x00]),
            ("a long tag", &[0x1f, 0x03, 0x02, 0x01, 0x00]),
            ("a set in disorder", &[0x31, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x00]),
            ("a set with one value twice", &[0x31, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]),
            ("a long length within", &[0x30, 0x04, 0x02, 0x81, 0x01, 0x00]),
        ] {
            assert!(!strict(bytes), "{what}");
        }
        let mut deep = vec![0x02, 0x01, 0x00];
        for _ in 0..40 {
            deep = [&[0x30, u8::try_from(deep.len()).unwrap()], &deep[..]].concat();
        }
        assert!(!strict(&deep), "forty levels");
    }
}
