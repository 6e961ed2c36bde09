//! What happens during a build, as values: the one stream that every form of progress is made from.

use std::time::Duration;

use model::step::StepId;

use super::State;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Inputs are being brought into the store.
    Importing {
        /// What: `environment default`, `source src`.
        what: String,
    },
    /// They are in.
    Imported {
        /// What.
        what: String,
        /// How many files were read.
        files: u64,
        /// How long it took.
        took: Duration,
    },
    /// A step began to run.
    Started {
        /// The step.
        step: StepId,
    },
    /// A step wrote something.
    Output {
        /// The step.
        step: StepId,
        /// The bytes, untrusted.
        bytes: Vec<u8>,
    },
    /// A step came to its end, or was found not to need a run.
    Ended(Ended),
    /// Something worth a line.
    Note(String),
}

/// How a step ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The step.
    pub step: StepId,
    /// Where it stands now.
    pub state: State,
    /// More in a few words: `exit status 2`, `out of memory`.
    pub detail: Option<String>,
    /// How long it ran.
    pub took: Duration,
    /// The end of its output: for a failed step, and in CI for every one that ran.
    pub tail: Option<Tail>,
}

/// The end of a step's output.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// The last lines, untrusted bytes.
    pub bytes: Vec<u8>,
    /// How many lines these are.
    pub shown: usize,
    /// How many there were.
    pub total: usize,
}

impl Tail {
    /// Cuts the last `count` lines from a log.
    pub fn of(log: &[u8], count: usize) -> Tail {
        let text = log.strip_suffix(b"\n").unwrap_or(log);
        let total = if text.is_empty() {
            0
        } else {
            text.iter().filter(|byte| **byte == b'\n').count() + 1
        };
        let shown = total.min(count);
        let skip = total - shown;
        let from = match skip {
            0 => 0,
            _ => text
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
                .nth(skip - 1)
                .map_or(0, |(at, _)| at + 1),
        };
        Tail { bytes: text[from..].to_vec(), shown, total }
    }
}

/// Keeps the end of a log that comes in pieces, in bounded memory.
#[derive(Debug, Default)]
pub struct TailKeeper {
    kept: Vec<u8>,
    newlines: usize,
    bytes: u64,
}

impl TailKeeper {
    /// Longest end that is kept, in bytes: a line may have no end.
    const BYTES_MAX: usize = 64 << 10;

    /// Takes the next piece.
    pub fn put(&mut self, bytes: &[u8]) {
        self.newlines += bytes.iter().filter(|byte| **byte == b'\n').count();
        self.bytes += bytes.len() as u64;
        let end = &bytes[bytes.len().saturating_sub(Self::BYTES_MAX)..];
        self.kept.extend_from_slice(end);
        // Moved only when twice as much is there, so that each byte is moved about once.
        if self.kept.len() >= 2 * Self::BYTES_MAX {
            self.kept.drain(..self.kept.len() - Self::BYTES_MAX);
        }
    }

    /// Cuts the last `count` lines.
    pub fn finish(self, count: usize) -> Tail {
        let unfinished = self.kept.last().is_some_and(|last| *last != b'\n');
        let total =
            if self.bytes > 1 || unfinished { self.newlines + usize::from(unfinished) } else { 0 };
        Tail { total, ..Tail::of(&self.kept, count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_counts_lines_with_and_without_final_newline() {
        for (log, count, bytes, shown, total) in [
            (&b""[..], 3, &b""[..], 0, 0),
            (b"a\nb\nc\n", 2, b"b\nc", 2, 3),
            (b"a\nb\nc", 2, b"b\nc", 2, 3),
            (b"a", 2, b"a", 1, 1),
            (b"\n\n", 1, b"", 1, 2),
        ] {
            let tail = Tail::of(log, count);
            assert_eq!(
                (tail.bytes.as_slice(), tail.shown, tail.total),
                (bytes, shown, total),
                "{log:?}"
            );
            let mut keeper = TailKeeper::default();
            log.chunks(2).for_each(|piece| keeper.put(piece));
            let kept = keeper.finish(count);
            assert_eq!((kept.bytes.as_slice(), kept.shown, kept.total), (bytes, shown, total));
        }
    }

    #[test]
    fn a_long_log_is_kept_in_bounded_memory() {
        let mut keeper = TailKeeper::default();
        for piece in 0..10_000 {
            keeper.put(format!("{piece:01000}\n").as_bytes());
            assert!(keeper.kept.capacity() <= 4 * TailKeeper::BYTES_MAX);
        }
        keeper.put(&[b'x'; 300_000]);
        let tail = keeper.finish(3);
        assert_eq!((tail.shown, tail.total), (1, 10_001));
        assert!(tail.bytes.len() <= 2 * TailKeeper::BYTES_MAX);
    }
}
