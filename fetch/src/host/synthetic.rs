//! The files of `/etc` that are kiln's own in every environment.
//!
//! They would tell steps about the machine, its people and its network, and make a build differ from
//! host to host. So they are the same bytes everywhere: names for the three ids a step can meet, its
//! own host name, and a resolver on the step's own loopback, where asking for any other name fails at
//! once instead of after half a minute.
//!
//! Absent on purpose: machine-id, localtime, timezone, shadow, ld.so.preload, ld.so.cache. The loader
//! finds the folders of the C library without a cache; the host's would name files that are not in
//! the environment.
//!
//! Does not cover: folders that packages add through `/etc/ld.so.conf.d` beyond the default ones
//! (fakeroot's library, some variants of BLAS). Without a cache the loader does not search them; a
//! step that needs one names it in `LD_LIBRARY_PATH`.
//!
//! Formats: passwd(5), group(5), hosts(5), nsswitch.conf(5), resolv.conf(5).

use model::RelPath;
use model::relpath::PathError;

use super::entry::{Entry, EntryKind};

/// Place and text of each file, sorted by place.
const FILES: [(&str, &str); 6] = [
    ("etc/group", "root:x:0:\nbuild:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hostname", "localhost\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
         protocols: files\nservices: files\nethers: files\nrpc: files\n",
    ),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000:build:/build:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
];

/// Places that no environment has, even where a package brings them.
pub(super) const ABSENT: [&str; 7] = [
    "etc/gshadow",       // secrets
    "etc/ld.so.cache",   // names files outside the environment
    "etc/ld.so.preload", // foreign code in every program
    "etc/localtime",     // the step's time zone is UTC
    "etc/machine-id",    // tells hosts apart
    "etc/shadow",        // secrets
    "etc/timezone",      // the step's time zone is UTC
];

/// Returns the files.
///
/// # Errors
/// None in practice: the places are constants, and a test reads them all.
pub(super) fn entries() -> Result<Vec<Entry>, PathError> {
    let file = |text: &str| EntryKind::Synthetic { bytes: text.into(), executable: false };
    FILES.iter().map(|(at, text)| Ok(Entry { at: RelPath::new(at)?, kind: file(text) })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_good_and_sorted() {
        let found = entries().unwrap();
        assert_eq!(found.len(), FILES.len());
        assert!(found.is_sorted() && ABSENT.is_sorted());
        assert!(FILES.iter().all(|(_, text)| text.ends_with('\n')));
    }
}
