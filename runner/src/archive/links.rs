//! Whether a link inside an archive can lead out of it.
//!
//! The text alone does not tell: `a/..` is not the folder of `a` when `a` is itself a link. So a
//! target is followed through the archive's own links, as the machine that unpacks it would, and
//! refused at the first step above the top. What dangles or goes round in a circle stays text.

use super::entries::{Entry, Folder};

/// Most links that one target is followed through: the kernel's own limit (path_resolution(7)).
const HOPS_MAX: usize = 40;

/// Says whether the link `target`, lying in the folder `above`, stays at or below `top`.
pub(super) fn stays_inside(top: &Folder, above: &[&str], target: &str) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut at: Vec<String> = above.iter().map(|part| (*part).to_owned()).collect();
    let mut left: Vec<String> = parts(target);
    let mut hops = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            if at.pop().is_none() {
                return false;
            }
            continue;
        }
        at.push(part);
        if let Some(Entry::Link { target, .. }) = find(top, &at) {
            hops += 1;
            if hops > HOPS_MAX {
                return true;
            }
            if target.starts_with('/') {
                return false;
            }
            at.pop();
            left.extend(parts(target));
        }
    }
    true
}

/// Returns the parts of a target, last first.
fn parts(target: &str) -> Vec<String> {
    target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .rev()
        .map(str::to_owned)
        .collect()
}

fn find<'a>(top: &'a Folder, path: &[String]) -> Option<&'a Entry> {
    let (last, above) = path.split_last()?;
    let mut folder = top;
    for part in above {
        match folder.entries.get(&model::Name::new(part).ok()?)? {
            Entry::Folder(below) => folder = below,
            Entry::File { .. } | Entry::Link { .. } => return None,
        }
    }
    folder.entries.get(&model::Name::new(last).ok()?)
}
