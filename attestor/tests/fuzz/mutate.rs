//! Chance, and changes made by it: of bytes, and of what bytes stand for.

/// A sequence of numbers that its seed fixes: splitmix64.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `bound`; none is below zero, so zero then.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap().max(1);
        usize::try_from(self.next() % bound).unwrap()
    }

    fn of<'a, T: ?Sized>(&mut self, all: &'a [&'a T]) -> Option<&'a T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Longest input, in bytes: several times a seed.
const BYTES_MAX: usize = 256 << 10;

/// Words that any text format may trip over.
const WORDS: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "9007199254740993",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\0",
    "\n",
    "\r\n",
    " ",
    "../",
    "\u{202e}",
    "é",
    "\"a\":1,",
    "[[[[[[[[[[[[[[[[",
    "]]]]",
    "{\"a\":",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
];

/// Lengths and tags that a reader of DER may trip over.
const DER: [&[u8]; 12] = [
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x00",
    b"\x02\x01\x00",
    b"\x05\x00",
    b"\xa0\x03",
    b"\x04\x82",
    b"\x06\x00",
    b"\x17\x0d",
    b"\x18\x0f",
    b"\x00\x00",
    b"\x7f\xff",
];

/// Makes one input out of a seed and another, by one to four changes.
pub fn mutate(chance: &mut Chance, seed: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        change(chance, &mut bytes, other, words);
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn change(chance: &mut Chance, bytes: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let (at, long) = (chance.below(bytes.len()), chance.below(24));
    let end = (at + long).min(bytes.len());
    match chance.below(20) {
        0 | 1 => flip(chance, bytes, at),
        2 => replace(bytes, at, (at + 1).min(bytes.len()), &[chance.next().to_le_bytes()[0]]),
        3 => replace(bytes, at, end, &[]),
        4 => {
            let again = bytes[at..end].to_vec();
            replace(bytes, at, at, &again);
        }
        5 => bytes.truncate(at),
        6 | 7 => {
            let word = chance.of(words).unwrap_or_default();
            let end = if chance.below(2) == 0 { at } else { end };
            match known(bytes, word) {
                Some((start, end)) => replace(bytes, start, end, word.as_bytes()),
                None => replace(bytes, at, end, word.as_bytes()),
            }
        }
        8 | 9 => {
            let word = chance.of(WORDS).unwrap_or_default().as_bytes();
            replace(bytes, at, at, word);
        }
        10 => {
            let word = chance.of(&DER).unwrap_or_default();
            replace(bytes, at, (at + word.len()).min(bytes.len()), word);
        }
        11 => {
            let from = chance.below(other.len());
            let piece = &other[from..(from + chance.below(200)).min(other.len())];
            replace(bytes, at, end, piece);
        }
        12 => number(chance, bytes, at),
        13 => member(chance, bytes),
        14..=17 => value(chance, bytes),
        _ => escaped(bytes, at),
    }
}

fn replace(bytes: &mut Vec<u8>, from: usize, to: usize, with: &[u8]) {
    bytes.splice(from..to, with.iter().copied());
}

/// Turns one bit.
pub fn flip(chance: &mut Chance, bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance.below(8);
    }
}

/// Writes another number in the next number's place.
fn number(chance: &mut Chance, bytes: &mut Vec<u8>, from: usize) {
    let Some(start) = (from..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else { return };
    let end = (start..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
    let new = match chance.below(5) {
        0 => "0".to_owned(),
        1 => "-1".to_owned(),
        2 => u64::MAX.to_string(),
        3 => "1.5".to_owned(),
        _ => chance.next().to_string(),
    };
    replace(bytes, start, end, new.as_bytes());
}

/// Returns where the member stands that a word such as `"name":value` gives another value to.
fn known(bytes: &[u8], word: &str) -> Option<(usize, usize)> {
    let (name, value) = word.split_once("\":")?;
    let name = format!("{name}\":");
    let at = bytes.windows(name.len()).position(|part| part == name.as_bytes())?;
    let (start, _, end) = member_at(bytes, at + name.len() - 2)?;
    (!value.is_empty()).then_some((start, end))
}

/// Returns where one member of all objects stands, each as likely as another.
fn any_member(chance: &mut Chance, bytes: &[u8]) -> Option<(usize, usize, usize)> {
    let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"\":")).collect();
    member_at(bytes, *ends.get(chance.below(ends.len()))?)
}

/// Returns a member's name's quote, its value, and the comma or bracket after it; `colon` is where its name
/// ends.
fn member_at(bytes: &[u8], colon: usize) -> Option<(usize, usize, usize)> {
    let start = bytes[..colon].iter().rposition(|byte| *byte == b'"')?;
    let (mut depth, mut quoted, mut at) = (0_usize, false, colon + 2);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted && depth == 0 => break,
            b'}' | b']' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    Some((start, colon + 2, at.min(bytes.len())))
}

/// Writes a member twice.
fn member(chance: &mut Chance, bytes: &mut Vec<u8>) {
    let Some((start, _, end)) = any_member(chance, bytes) else { return };
    let again = [&bytes[start..end], b","].concat();
    replace(bytes, start, start, &again);
}

/// Gives a member another value: nothing, a word, or itself in brackets.
fn value(chance: &mut Chance, bytes: &mut Vec<u8>) {
    let Some((start, value, end)) = any_member(chance, bytes) else { return };
    let old = bytes[value..end].to_vec();
    match chance.below(4) {
        0 => replace(bytes, value, end, b"null"),
        1 => replace(bytes, value, end, &[b"[", old.as_slice(), b"]"].concat()),
        2 => replace(bytes, value, end, chance.of(WORDS).unwrap_or_default().as_bytes()),
        _ => {
            let rest = if bytes.get(end) == Some(&b',') { end + 1 } else { end };
            replace(bytes, start, rest, b"");
        }
    }
}

/// Writes a letter of a name or text as an escape: another spelling, the same meaning.
fn escaped(bytes: &mut Vec<u8>, from: usize) {
    let is_letter = |at: &usize| bytes[*at].is_ascii_alphabetic() && bytes[*at - 1] != b'\\';
    if let Some(at) = (from.max(1)..bytes.len()).find(is_letter) {
        let text = format!("\\u{:04x}", bytes[at]);
        replace(bytes, at, at + 1, text.as_bytes());
    }
}
