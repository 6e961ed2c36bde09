//! What a step writes, on its way into the store: memory holds a first piece and the last lines.
//!
//! Most logs are short and become an object in one go. A longer one is written through to a temporary
//! file of the store as it comes and hashed on the way, so a step that prints without end costs disk
//! up to its limit and no memory. The first failure to write is kept and told when the step is over:
//! the step itself is not to be disturbed, and its time limits go on meanwhile.
//!
//! Does not cut: the sandbox has done that where the bytes come from. A log that was cut gets a last line
//! of kiln's own. A step can write such a line too: what counts is the Record's own word on it.

use model::digest::Blob;
use model::limits::Bytes;

use crate::report::{Tail, TailKeeper};
use crate::store::{self, ObjectWriter, Store};

/// Longest log that is kept in memory until it is complete, in bytes.
const MEMORY_BYTES_MAX: usize = 256 << 10;

/// A log in the making.
pub struct StepLog<'store> {
    store: &'store Store,
    first: Vec<u8>,
    rest: Option<ObjectWriter<'store>>,
    failed: Option<store::Error>,
    tail: TailKeeper,
}

impl<'store> StepLog<'store> {
    /// Begins an empty one.
    pub fn new(store: &'store Store) -> StepLog<'store> {
        let (first, tail) = (Vec::new(), TailKeeper::default());
        StepLog { store, first, rest: None, failed: None, tail }
    }

    /// Takes the next piece.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.put(bytes);
        if self.rest.is_none() && self.first.len() + bytes.len() <= MEMORY_BYTES_MAX {
            self.first.extend_from_slice(bytes);
        } else if self.failed.is_none() {
            self.failed = self.write(bytes).err();
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), store::Error> {
        if self.rest.is_none() {
            let mut rest = self.store.writer()?;
            rest.put(&std::mem::take(&mut self.first))?;
            self.rest = Some(rest);
        }
        match &mut self.rest {
            Some(rest) => rest.put(bytes),
            None => Ok(()),
        }
    }

    /// Makes it an object, with a mark if it was `cut` at that limit; returns that and the last lines.
    ///
    /// # Errors
    /// [`store::Error::Full`] and what else kept it from being written.
    pub fn finish(mut self, cut: Option<Bytes>) -> Result<(Blob, Tail), store::Error> {
        if let Some(limit) = cut {
            self.put(&mark(limit));
        }
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let blob = match self.rest {
            Some(rest) => rest.finish()?,
            None => self.store.import_bytes(&self.first)?,
        };
        Ok((blob, self.tail.finish(crate::report::TAIL_LINES)))
    }
}

/// Returns the last line of a log that was cut, for the object and for whoever reads along.
pub fn mark(limit: Bytes) -> Vec<u8> {
    format!("\n[kiln: {}]\n", cut_at(limit)).into_bytes()
}

/// Says that a log was cut.
pub fn cut_at(limit: Bytes) -> String {
    format!("log cut at its limit of {limit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_the_same_object_however_long_it_is_and_however_it_comes() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        for (pieces, length) in [(0, 0), (1, 10), (3, MEMORY_BYTES_MAX / 3), (9, MEMORY_BYTES_MAX)]
        {
            let mut log = StepLog::new(&store);
            let mut whole = Vec::new();
            for piece in 0..pieces {
                let mut bytes = vec![b'a' + piece; length];
                bytes.push(b'\n');
                log.put(&bytes);
                assert!(log.first.capacity() <= 2 * MEMORY_BYTES_MAX, "memory is bounded");
                whole.extend(bytes);
            }
            let (blob, tail) = log.finish(None).unwrap();
            assert_eq!((blob, tail.total), (Blob::of(&whole), usize::from(pieces)));
            assert_eq!(store.read(&blob.digest, u64::MAX).unwrap(), whole);
        }
    }

    #[test]
    fn a_log_that_was_cut_ends_with_a_mark_in_its_object_and_its_last_lines() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        for length in [1, 2 * MEMORY_BYTES_MAX] {
            let mut log = StepLog::new(&store);
            log.put(&vec![b'a'; length]);
            let (blob, tail) = log.finish(Some(Bytes(1 << 20))).unwrap();
            let mark = b"\n[kiln: log cut at its limit of 1Mi]";
            assert!(tail.bytes.ends_with(mark), "{length}");
            let whole = store.read(&blob.digest, u64::MAX).unwrap();
            assert_eq!(whole.strip_suffix(b"\n").unwrap()[length..], mark[..]);
        }
    }
}
