//! What a pattern of `matches` costs: the language compiles it anew each time it is used.
//!
//! A short pattern can stand for a large machine, as `(a{200}){200}` does. So a pattern is compiled once
//! within narrowing bounds when the policy is read, and counts by the smallest bound that it fits.

/// Longest pattern, in bytes.
pub(super) const PATTERN_BYTES_MAX: usize = 256;
/// What a compiled pattern may take, in bytes, the smallest first. `\w` and `\pL` take some ten thousand.
const MACHINES: [usize; 4] = [1 << 12, 1 << 14, 1 << 16, 1 << 18];
/// How much of a machine, in bytes, is compiled in one step.
const BYTES_A_STEP: u64 = 16;
/// How much of a machine, in bytes, is walked for one letter in one step, where it is slowest.
const SEARCH_A_STEP: u64 = 4096;

/// Why a pattern is refused.
#[derive(Debug)]
pub(super) enum PatternError {
    TooLong(usize),
    TooLarge,
    Syntax,
}

/// Checks a pattern.
pub(super) fn check(text: &str) -> Result<(), PatternError> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong(text.len()));
    }
    machine(text).map(|_| ())
}

/// Returns the steps of matching so many letters once.
pub(super) fn steps(text: &str, letters: u64) -> u64 {
    let Ok(machine) = machine(text) else { return u64::MAX };
    let machine = machine as u64;
    (machine / BYTES_A_STEP).saturating_add(letters.saturating_mul(machine) / SEARCH_A_STEP)
}

fn machine(text: &str) -> Result<usize, PatternError> {
    for machine in MACHINES {
        match regex::RegexBuilder::new(text).size_limit(machine).build() {
            Ok(_) => return Ok(machine),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(_) => return Err(PatternError::Syntax),
        }
    }
    Err(PatternError::TooLarge)
}
