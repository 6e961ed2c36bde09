//! Remembers digests of files by what `lstat` says of them, so that a no-op build opens none.
//!
//! A file is taken for unchanged if device, inode, size, both times to the nanosecond and the
//! executable bit are what they were. A digest is remembered only if both times lay a minute before the
//! scan began: a file written in the same tick as it was hashed looks the same afterwards (git's "racy"
//! rule), and so does one that is mapped and was just written. On file systems whose times do not tell of
//! the latter at all nothing is remembered: see [`crate::file_times`], which the caller asks.
//!
//! The content is a hint and never evidence: a file that goes into the store is hashed again on the
//! way. Damaged content is thrown away as a whole. Does no I/O but reading; the caller writes the
//! bytes, by temporary file and rename, only when they changed.
//!
//! ```text
//! "kilnstat" version:u32 count:u32 │ record … sorted by device, inode │ SHA-256 of all before
//! record: dev ino size mtime_s ctime_s: u64 │ mtime_ns ctime_ns: u32 │ digest 32 │ git id 32 │ flags 8
//! ```
//! Numbers are little endian. Flags: bit 0 executable, bits 1–2 git id (0 none, 1 SHA-1, 2 SHA-256).
//!
//! Does not catch: a file system that does not keep its change times, or a clock set back by
//! hand between two changes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Digest;

use super::git::{GitFormat, GitId};
use crate::file_times::SETTLED_SECONDS;

const MAGIC: &[u8; 8] = b"kilnstat";
const VERSION: u32 = 2;
const HEADER: usize = 16;
const RECORD: usize = 120;
const TRAILER: usize = 32;

/// Largest cache that is read, in bytes: about four million files.
const CACHE_BYTES_MAX: u64 = 512 << 20;

/// How long before the scan a file must have changed last, so that its digest is remembered.
const RACY: Duration = Duration::from_secs(SETTLED_SECONDS as u64);

/// Unused records are kept up to this many, so that targets with other sources share one cache.
const UNUSED_MAX: usize = 20_000;

/// What `lstat` says of a regular file, as far as it tells one content from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mtime: (i64, u32),
    pub(super) ctime: (i64, u32),
    pub(super) executable: bool,
}

/// What is remembered of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) digest: Digest,
    pub(super) git: Option<GitId>,
}

/// The remembered digests of one project.
#[derive(Debug, Default)]
pub struct StatCache {
    /// The records as read: sorted, checked.
    records: Vec<u8>,
    /// The keys of the records alone, close together: the search touches nothing else.
    keys: Vec<(u64, u64)>,
    used: Vec<AtomicBool>,
    fresh: Vec<(Stamp, Remembered)>,
}

impl StatCache {
    /// Reads a cache; a missing, foreign or damaged one is empty.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn read(path: &Path) -> io::Result<StatCache> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                let len = usize::try_from(file.metadata()?.len().min(CACHE_BYTES_MAX));
                bytes.reserve_exact(len.unwrap_or(0) + 1);
                file.take(CACHE_BYTES_MAX).read_to_end(&mut bytes)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(StatCache::parse(bytes))
    }

    /// Takes a cache from its bytes; foreign or damaged ones are an empty cache.
    pub fn parse(mut bytes: Vec<u8>) -> StatCache {
        if !is_sound(&bytes) {
            return StatCache::default();
        }
        bytes.truncate(bytes.len() - TRAILER);
        let count = (bytes.len() - HEADER) / RECORD;
        let used = (0..count).map(|_| AtomicBool::new(false)).collect();
        let (records, _) = bytes[HEADER..].as_chunks();
        let keys = records.iter().map(key).collect();
        StatCache { records: bytes, keys, used, fresh: Vec::new() }
    }

    /// Returns the bytes to write, or none if the file that was read is still good.
    pub fn changed_bytes(&self) -> Option<Vec<u8>> {
        let in_use = self.used.iter().filter(|used| used.load(Ordering::Relaxed)).count();
        let unused = self.used.len() - in_use;
        let forget = unused > UNUSED_MAX && unused > in_use + self.fresh.len();
        if self.fresh.is_empty() && !forget {
            return None;
        }
        let mut records: Vec<[u8; RECORD]> =
            self.fresh.iter().map(|(stamp, what)| encode(stamp, what)).collect();
        records.sort_unstable_by_key(key);
        records.dedup_by_key(|record| key(record));
        let fresh = records.len();
        for (position, used) in self.used.iter().enumerate() {
            let Some(record) = self.record(position) else { continue };
            let replaced = records[..fresh].binary_search_by_key(&key(record), key).is_ok();
            if !replaced && (used.load(Ordering::Relaxed) || !forget) {
                records.push(*record);
            }
        }
        records.sort_unstable_by_key(key);
        let mut out = Vec::with_capacity(HEADER + records.len() * RECORD + TRAILER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(records.len()).ok()?.to_le_bytes());
        records.iter().for_each(|record| out.extend_from_slice(record));
        let sum = Digest::of(&out);
        out.extend_from_slice(sum.as_bytes());
        Some(out)
    }

    /// Returns what is known of a file with that stamp, if it has the git id that is needed.
    ///
    /// `near` is where the last record was found: files of one folder mostly have inodes of one
    /// neighbourhood, so the search widens from there.
    pub(super) fn look_up(
        &self,
        stamp: &Stamp,
        need: Option<GitFormat>,
        near: &mut usize,
    ) -> Option<Remembered> {
        let wanted = (stamp.device, stamp.inode);
        let (mut low, mut high) = self.around(*near, wanted);
        while low < high {
            let middle = low.midpoint(high);
            match self.keys[middle].cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let found = decode(self.record(middle)?).filter(|(known, _)| known == stamp)?.1;
                    if need.is_some() && found.git.map(|id| id.format()) != need {
                        return None;
                    }
                    self.used[middle].store(true, Ordering::Relaxed);
                    *near = middle;
                    return Some(found);
                }
            }
        }
        None
    }

    /// Remembers what was just hashed, if a change after hashing could not go unseen.
    pub(super) fn remember(&mut self, stamp: &Stamp, what: Remembered, scan_began: SystemTime) {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let limit = since(scan_began).saturating_sub(RACY);
        let limit = (limit.as_secs().cast_signed(), limit.subsec_nanos());
        if stamp.mtime < limit && stamp.ctime < limit {
            self.fresh.push((*stamp, what));
        }
    }

    /// Returns a range of positions outside of which the key is not, by doubling steps.
    fn around(&self, near: usize, wanted: (u64, u64)) -> (usize, usize) {
        let end = self.used.len();
        let is_before = |position: usize| self.keys.get(position).is_some_and(|k| *k < wanted);
        let mut step = 1;
        if is_before(near) {
            let mut low = near;
            while low + step < end && is_before(low + step) {
                low += step;
                step *= 2;
            }
            return (low, end.min(low + step + 1));
        }
        let mut high = end.min(near + 1);
        while high > step && !is_before(high - step) {
            high -= step - 1;
            step *= 2;
        }
        (high.saturating_sub(step), high)
    }

    fn record(&self, position: usize) -> Option<&[u8; RECORD]> {
        self.records.get(HEADER + position * RECORD..)?.first_chunk()
    }
}

fn is_sound(bytes: &[u8]) -> bool {
    let Some(body) = bytes.len().checked_sub(TRAILER) else { return false };
    let (body, sum) = bytes.split_at(body);
    body.len() >= HEADER
        && body[..8] == *MAGIC
        && body[8..12] == VERSION.to_le_bytes()
        && body[12..16] == (((body.len() - HEADER) / RECORD) as u32).to_le_bytes()
        && (body.len() - HEADER).is_multiple_of(RECORD)
        && Digest::of(body).as_bytes() == sum
}

fn encode(stamp: &Stamp, what: &Remembered) -> [u8; RECORD] {
    let mut record = [0_u8; RECORD];
    record[..8].copy_from_slice(&stamp.device.to_le_bytes());
    record[8..16].copy_from_slice(&stamp.inode.to_le_bytes());
    record[16..24].copy_from_slice(&stamp.size.to_le_bytes());
    record[24..32].copy_from_slice(&stamp.mtime.0.to_le_bytes());
    record[32..40].copy_from_slice(&stamp.ctime.0.to_le_bytes());
    record[40..44].copy_from_slice(&stamp.mtime.1.to_le_bytes());
    record[44..48].copy_from_slice(&stamp.ctime.1.to_le_bytes());
    record[48..80].copy_from_slice(what.digest.as_bytes());
    let kind = match &what.git {
        None => 0,
        Some(id @ GitId::Sha1(_)) => {
            record[80..100].copy_from_slice(id.as_bytes());
            1
        }
        Some(id @ GitId::Sha256(_)) => {
            record[80..112].copy_from_slice(id.as_bytes());
            2
        }
    };
    record[112] = u8::from(stamp.executable) | kind << 1;
    record
}

fn decode(record: &[u8; RECORD]) -> Option<(Stamp, Remembered)> {
    let git = match record[112] >> 1 {
        0 => None,
        1 => GitFormat::Sha1.raw(&record[80..]),
        _ => GitFormat::Sha256.raw(&record[80..]),
    };
    let stamp = Stamp {
        device: word(record, 0),
        inode: word(record, 8),
        size: word(record, 16),
        mtime: (word(record, 24).cast_signed(), half(record, 40)),
        ctime: (word(record, 32).cast_signed(), half(record, 44)),
        executable: record[112] & 1 == 1,
    };
    let digest = Digest::from_bytes(*record[48..].first_chunk()?);
    Some((stamp, Remembered { digest, git }))
}

fn key(record: &[u8; RECORD]) -> (u64, u64) {
    (word(record, 0), word(record, 8))
}

fn word(record: &[u8; RECORD], at: usize) -> u64 {
    record[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn half(record: &[u8; RECORD], at: usize) -> u32 {
    record[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp {
            device: 1,
            inode,
            size: 3,
            mtime: (100, 5),
            ctime: (100, 7),
            executable: inode.is_multiple_of(2),
        }
    }

    fn remembered(inode: u64) -> Remembered {
        let git = match inode % 3 {
            0 => None,
            1 => Some(GitId::Sha1([7; 20])),
            _ => Some(GitId::Sha256([8; 32])),
        };
        Remembered { digest: Digest::of(&inode.to_le_bytes()), git }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn filled() -> StatCache {
        let mut cache = StatCache::default();
        (0..50).rev().for_each(|inode| cache.remember(&stamp(inode), remembered(inode), at(200)));
        cache
    }

    #[test]
    fn what_was_remembered_is_found_again_and_not_rewritten() {
        let cache = StatCache::parse(filled().changed_bytes().unwrap());
        for (inode, near) in (0..50).flat_map(|inode| (0..60).map(move |near| (inode, near))) {
            let found = cache.look_up(&stamp(inode), None, &mut near.clone());
            assert_eq!(found, Some(remembered(inode)), "{inode} from {near}");
        }
        assert_eq!(cache.look_up(&stamp(50), None, &mut 0), None);
        assert_eq!(cache.look_up(&stamp(3), Some(GitFormat::Sha1), &mut 0), None);
        assert!(cache.changed_bytes().is_none());
    }

    #[test]
    fn any_difference_in_the_stamp_is_a_miss() {
        let cache = StatCache::parse(filled().changed_bytes().unwrap());
        let good = stamp(4);
        for bad in [
            Stamp { size: 4, ..good },
            Stamp { mtime: (100, 6), ..good },
            Stamp { ctime: (101, 7), ..good },
            Stamp { executable: !good.executable, ..good },
            Stamp { device: 2, ..good },
        ] {
            assert_eq!(cache.look_up(&bad, None, &mut 0), None, "{bad:?}");
        }
    }

    #[test]
    fn a_file_changed_within_a_minute_is_not_believed() {
        for (now, expected) in [(100, 0), (102, 0), (160, 0), (161, 1), (50, 0)] {
            let mut cache = StatCache::default();
            cache.remember(&stamp(1), remembered(1), at(now));
            assert_eq!(cache.fresh.len(), expected, "{now}");
        }
    }

    #[test]
    fn a_newer_record_replaces_the_older() {
        let mut cache = StatCache::parse(filled().changed_bytes().unwrap());
        let changed = Stamp { size: 9, ..stamp(4) };
        cache.remember(&changed, remembered(9), at(200));
        let cache = StatCache::parse(cache.changed_bytes().unwrap());
        assert_eq!(cache.look_up(&changed, None, &mut 0), Some(remembered(9)));
        assert_eq!(cache.look_up(&stamp(4), None, &mut 0), None);
        assert_eq!(cache.used.len(), 50);
    }

    #[test]
    fn a_damaged_cache_is_empty() {
        let good = filled().changed_bytes().unwrap();
        for at in [0, 9, 13, 40, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(StatCache::parse(bad).used.is_empty(), "{at}");
        }
        for len in [0, 1, 47, good.len() - 1] {
            assert!(StatCache::parse(good[..len].to_vec()).used.is_empty(), "{len}");
        }
    }
}
