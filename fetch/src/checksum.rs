//! Other people's checksums: checked where bytes arrive, and kept nowhere.
//!
//! A package database or a lock file names its files by digests of its own choosing. They say
//! whether the bytes are the ones that were published, so they are compared once, in the same pass
//! that computes kiln's own digest; after that only [`model::Digest`] names the bytes.
//!
//! Never used to identify anything, and never a reason to trust: MD5 finds accidents and careless
//! edits, not an attacker who can choose both files.
//!
//! Formats: RFC 1321 (MD5).

use std::fmt;

use md5::Digest as _;

/// An MD5 sum, 16 bytes, printed as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Md5Sum([u8; 16]);

/// Computes an [`Md5Sum`] from bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Md5(md5::Md5);

/// The text is no MD5 sum: it must be 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not 32 hex digits")]
pub struct ParseMd5Error;

impl Md5 {
    /// Starts with no bytes.
    pub fn new() -> Md5 {
        Md5::default()
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the sum of all bytes added.
    pub fn finish(self) -> Md5Sum {
        Md5Sum(self.0.finalize().into())
    }
}

impl Md5Sum {
    /// Returns the sum of `bytes`.
    pub fn of(bytes: &[u8]) -> Md5Sum {
        let mut sum = Md5::new();
        sum.update(bytes);
        sum.finish()
    }

    /// Reads 32 hex digits.
    ///
    /// # Errors
    /// Refuses any other text.
    pub fn from_hex(hex: &str) -> Result<Md5Sum, ParseMd5Error> {
        let digits = hex.as_bytes();
        if digits.len() != 32 {
            return Err(ParseMd5Error);
        }
        let mut raw = [0; 16];
        for (byte, pair) in raw.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0]).ok_or(ParseMd5Error)? << 4
                | nibble(pair[1]).ok_or(ParseMd5Error)?;
        }
        Ok(Md5Sum(raw))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for Md5Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Md5Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_specification() {
        for (bytes, hex) in [
            (&b""[..], "d41d8cd98f00b204e9800998ecf8427e"),
            (b"abc", "900150983cd24fb0d6963f7d28e17f72"),
            (b"message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ] {
            assert_eq!(Md5Sum::of(bytes).to_string(), hex);
            assert_eq!(Md5Sum::from_hex(hex), Ok(Md5Sum::of(bytes)));
            let mut pieces = Md5::new();
            bytes.chunks(2).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish(), Md5Sum::of(bytes));
        }
    }

    #[test]
    fn anything_but_32_hex_digits_is_refused() {
        for bad in [
            "",
            "d41d8cd98f00b204e9800998ecf8427",
            "d41d8cd98f00b204e9800998ecf8427g",
            "+41d8cd98f00b204e9800998ecf8427e",
            &"é".repeat(16),
        ] {
            assert_eq!(Md5Sum::from_hex(bad), Err(ParseMd5Error), "{bad}");
        }
    }
}
