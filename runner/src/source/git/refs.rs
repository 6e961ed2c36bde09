//! Finds the commit that `HEAD` names.
//!
//! A reference is a small file, or a line in `packed-refs`. Its name is checked before it becomes a
//! path, so no reference leads out of the repository.
//!
//! Source: gitrepository-layout(5) `HEAD`, `refs`, `packed-refs`; git-check-ref-format(1).

use std::path::Path;

use super::error::GitError;
use super::id::{GitFormat, GitId};
use super::repository::read_file;

/// Longest chain of symbolic references; git itself stops at 5.
const CHAIN_MAX: usize = 5;

/// Largest reference file that is read, in bytes: a path and a few words.
const REF_BYTES_MAX: u64 = 64 << 10;

/// Largest `packed-refs` that is read, in bytes: about two million references.
const PACKED_BYTES_MAX: u64 = 256 << 20;

/// What is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Head {
    /// The commit; none before the first commit of a branch.
    pub(in crate::source) commit: Option<GitId>,
    /// The branch's full name, such as `refs/heads/main`; none when detached.
    pub(in crate::source) branch: Option<String>,
}

/// Follows `HEAD` of one work tree whose shared part is in `common_dir`.
pub(super) fn head(git_dir: &Path, common_dir: &Path, format: GitFormat) -> Result<Head, GitError> {
    let head_path = git_dir.join("HEAD");
    let damaged = |what| GitError::Damaged { path: head_path.clone(), what };
    let mut name = "HEAD".to_owned();
    for _ in 0..=CHAIN_MAX {
        let branch = (name != "HEAD").then(|| name.clone());
        let folder = if name == "HEAD" || is_per_worktree(&name) { git_dir } else { common_dir };
        let Some(bytes) = read_ref(&folder.join(&name))? else {
            if name == "HEAD" {
                return Err(damaged("it is missing"));
            }
            return Ok(Head { commit: packed(common_dir, &name, format)?, branch });
        };
        let text = bytes.trim_ascii_end();
        if let Some(next) = text.strip_prefix(b"ref:") {
            let next = std::str::from_utf8(next.trim_ascii()).ok();
            name = next
                .filter(|next| is_safe(next))
                .map(str::to_owned)
                .ok_or_else(|| damaged("it leads to something that is no reference"))?;
            continue;
        }
        let commit = format.hex(text).ok_or_else(|| damaged("it leads to no object name"))?;
        return Ok(Head { commit: Some(commit), branch });
    }
    Err(damaged("it leads through too many references"))
}

/// A folder of that name (`refs/heads/a` beside a packed `refs/heads/a/b`) is no reference.
fn read_ref(path: &Path) -> Result<Option<Vec<u8>>, GitError> {
    if path.is_dir() {
        return Ok(None);
    }
    read_file(path, REF_BYTES_MAX)
}

fn packed(common_dir: &Path, name: &str, format: GitFormat) -> Result<Option<GitId>, GitError> {
    let path = common_dir.join("packed-refs");
    let Some(bytes) = read_file(&path, PACKED_BYTES_MAX)? else { return Ok(None) };
    for line in bytes.split(|&byte| byte == b'\n') {
        let Some(space) = line.iter().position(|&byte| byte == b' ') else { continue };
        if line[space + 1..] == *name.as_bytes() && !line.starts_with(b"#") {
            let id = format.hex(&line[..space]);
            return id
                .map(Some)
                .ok_or(GitError::Damaged { path, what: "a line has no object name" });
        }
    }
    Ok(None)
}

fn is_per_worktree(name: &str) -> bool {
    ["refs/worktree/", "refs/bisect/", "refs/rewritten/"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn is_safe(name: &str) -> bool {
    name.starts_with("refs/")
        && !name.contains('\0')
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_leads_out_is_refused() {
        for (name, safe) in [
            ("refs/heads/main", true),
            ("refs/heads/a/b", true),
            ("refs/../../etc/passwd", false),
            ("/etc/passwd", false),
            ("refs//x", false),
            ("refs/x\0", false),
        ] {
            assert_eq!(is_safe(name), safe, "{name}");
        }
    }
}
