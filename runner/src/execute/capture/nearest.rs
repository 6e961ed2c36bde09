//! What may have been meant by an output that is not there.
//!
//! Entries with the same last name elsewhere come first: most missing outputs lie one folder away.
//! Then the names beside the missing one that need the fewest edits. The search is bounded, since the
//! folder is the step's, and it is only a hint: what cannot be read is left out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::{Name, RelPath};
use rustix::fs::{FileType, Mode, OFlags};

/// Most entries that are looked at.
const ENTRIES_MAX: usize = 20_000;
/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 8;
/// Most letters by which a name may differ: farther than that a guess is more likely to mislead.
const EDITS_MAX: usize = 3;
/// Most names that are shown.
const SHOWN_MAX: usize = 5;

/// Returns the paths nearest to `wanted`, best first.
pub(super) fn nearest(view: BorrowedFd<'_>, wanted: &RelPath) -> Vec<RelPath> {
    let Some((_, last)) = wanted.split_last() else { return Vec::new() };
    // By the last name alone: of a long path, a third would be another name in the same folder.
    let reach = (last.as_str().chars().count() / 3).min(EDITS_MAX);
    let mut ranked: Vec<_> = entries(view)
        .into_iter()
        .filter_map(|path| {
            let (_, name) = path.split_last()?;
            let far = if name == last { 0 } else { distance(wanted.as_str(), path.as_str()) };
            (far <= reach).then_some((far, path))
        })
        .collect();
    ranked.sort();
    ranked.truncate(SHOWN_MAX);
    ranked.into_iter().map(|(_, path)| path).collect()
}

/// Returns the paths below `view`, level by level, up to the caps.
fn entries(view: BorrowedFd<'_>) -> Vec<RelPath> {
    let mut found = Vec::new();
    let Ok(top) = open(view, ".") else { return found };
    let mut level = vec![(RelPath::here(), top)];
    for _ in 0..DEPTH_MAX {
        let mut below = Vec::new();
        for (at, folder) in level {
            let Ok(listing) = rustix::fs::Dir::read_from(&folder) else { continue };
            for entry in listing.flatten() {
                if found.len() >= ENTRIES_MAX {
                    return found;
                }
                let Ok(name) = entry.file_name().to_str() else { continue };
                let Ok(checked) = Name::new(name) else { continue };
                let path = at.child(&checked);
                // Few folders stay open at once: the rest of a wide level is not looked into.
                if entry.file_type() == FileType::Directory
                    && below.len() < 64
                    && let Ok(folder) = open(folder.as_fd(), name)
                {
                    below.push((path.clone(), folder));
                }
                found.push(path);
            }
        }
        level = below;
    }
    found
}

fn open(above: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

/// Returns how many letters must be added, dropped or changed to get from one text to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut corner = line;
        row[0] = line + 1;
        for (column, against) in other.iter().enumerate() {
            let changed = corner + usize::from(letter != *against);
            corner = row[column + 1];
            row[column + 1] = changed.min(corner + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files of their own")]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (one, other, far) in [("", "abc", 3), ("kiln", "kiln", 0), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), far, "{one} {other}");
        }
    }

    #[test]
    fn the_same_name_elsewhere_comes_first() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("src")).unwrap();
        for name in ["src/hello", "helo", "unrelated-name"] {
            std::fs::write(scratch.path().join(name), "").unwrap();
        }
        let view = std::fs::File::open(scratch.path()).unwrap();
        let found = nearest(view.as_fd(), &RelPath::new("hello").unwrap());
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["src/hello", "helo"]);
    }

    #[test]
    fn another_name_in_the_same_long_folder_is_not_near() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("target/release")).unwrap();
        std::fs::write(scratch.path().join("target/release/zzz"), "").unwrap();
        let view = std::fs::File::open(scratch.path()).unwrap();
        assert_eq!(nearest(view.as_fd(), &RelPath::new("target/release/app").unwrap()), []);
    }
}
