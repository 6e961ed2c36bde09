//! Units as types, and the limits of a step with their defaults.
//!
//! A limit that the build file writes is a promise: a host that cannot keep it refuses the build.
//! A default is kept where the host can. So each limit knows whether somebody asked for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A count of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// Thousandths of one processor's time: 1500 is one and a half cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpus(pub u64);

/// A count of processes and threads, or of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(pub u64);

/// One limit: its value, and whether the build file wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit<T> {
    /// The value in force.
    pub value: T,
    /// Whether the build file asked for it: then a host that cannot keep it is refused (exit 7).
    pub asked: bool,
}

/// The limits of one step. `None` where there is no limit by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Processor time per wall time; none means all processors.
    pub cpu: Option<Limit<MilliCpus>>,
    /// Memory; none means half of the host's, which the backend finds out.
    pub memory: Option<Limit<Bytes>>,
    /// Writable space.
    pub disk: Limit<Bytes>,
    /// Processes and threads.
    pub pids: Limit<Count>,
    /// Open files of one process.
    pub files: Limit<Count>,
    /// Bytes of output kept; the rest is cut with a mark.
    pub log: Limit<Bytes>,
    /// Time without output.
    pub idle: Option<Limit<Millis>>,
}

/// Longest time a step may ask for: 24 hours.
pub const TIMEOUT_MAX: Millis = Millis(24 * 60 * 60 * 1000);
/// Time a step has if it asks for none: one hour.
pub const TIMEOUT_DEFAULT: Millis = Millis(60 * 60 * 1000);

/// A text that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a number of bytes.
    #[error("is not a size such as 512Mi or 4Gi")]
    Size,
    /// Not a span of time.
    #[error("is not a time such as 90s, 20m or 2h")]
    Time,
    /// Zero, or more than can be counted.
    #[error("is out of range")]
    Range,
}

impl<T> Limit<T> {
    /// Returns a limit that nobody wrote.
    pub fn default_of(value: T) -> Limit<T> {
        Limit { value, asked: false }
    }

    /// Returns a limit that the build file wrote.
    pub fn asked(value: T) -> Limit<T> {
        Limit { value, asked: true }
    }
}

impl Default for Limits {
    /// The defaults of the build file's reference, section 5.
    fn default() -> Limits {
        Limits {
            cpu: None,
            memory: None,
            disk: Limit::default_of(Bytes(20 << 30)),
            pids: Limit::default_of(Count(4096)),
            files: Limit::default_of(Count(1024)),
            log: Limit::default_of(Bytes(256 << 20)),
            idle: None,
        }
    }
}

impl Bytes {
    /// Reads a size: digits, then nothing, `Ki`, `Mi`, `Gi` or `Ti`.
    ///
    /// # Errors
    /// Refuses other units, signs, fractions, zero and what does not fit 64 bits.
    pub fn parse(text: &str) -> Result<Bytes, AmountError> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let shift = match &text[digits.len()..] {
            "" => 0,
            "Ki" => 10,
            "Mi" => 20,
            "Gi" => 30,
            "Ti" => 40,
            _ => return Err(AmountError::Size),
        };
        let number = whole(digits).ok_or(AmountError::Size)?;
        let bytes = number.checked_mul(1 << shift).ok_or(AmountError::Range)?;
        if bytes == 0 { Err(AmountError::Range) } else { Ok(Bytes(bytes)) }
    }
}

impl Millis {
    /// Reads a span of time: digits and one of `ms`, `s`, `m`, `h`.
    ///
    /// # Errors
    /// Refuses a number without unit, other units, signs, fractions, zero and overflow.
    pub fn parse(text: &str) -> Result<Millis, AmountError> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let factor = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(AmountError::Time),
        };
        let number = whole(digits).ok_or(AmountError::Time)?;
        let millis = number.checked_mul(factor).ok_or(AmountError::Range)?;
        if millis == 0 { Err(AmountError::Range) } else { Ok(Millis(millis)) }
    }

    /// Returns the same span for the standard library.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

fn whole(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl fmt::Display for Bytes {
    /// Prints the largest unit that divides the amount.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(out, "{}{unit}", self.0 >> shift);
            }
        }
        write!(out, "{}", self.0)
    }
}

impl fmt::Display for Millis {
    /// Prints the largest unit that divides the span.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if self.0 != 0 && self.0.is_multiple_of(factor) {
                return write!(out, "{}{unit}", self.0 / factor);
            }
        }
        write!(out, "{}ms", self.0)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl fmt::Display for MilliCpus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 1000 {
            0 => write!(out, "{}", self.0 / 1000),
            part => write!(out, "{}.{}", self.0 / 1000, format!("{part:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_printed_alike() {
        for text in ["1", "512Mi", "4Gi", "1Ti", "3Ki"] {
            assert_eq!(Bytes::parse(text).map(|bytes| bytes.to_string()), Ok(text.to_owned()));
        }
        for text in ["90s", "20m", "2h", "5ms"] {
            assert_eq!(Millis::parse(text).map(|span| span.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "1Q", "-1", "1.5Gi", "Gi", "1 Gi", "0", "99999999999Ti", "+1"] {
            assert!(Bytes::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "10", "-1s", "1e30s", "NaN", "0s", "1d", "s", "99999999999999999999h"] {
            assert!(Millis::parse(text).is_err(), "{text:?}");
        }
    }
}
