//! The source that a verifier expects, and whether a statement names it.
//!
//! People write one repository in several ways: with `git+` or without, with `.git` or without.
//! Those differences are folded away, nothing else: another host, path or case of path is another
//! source.
//!
//! Pure. Source: SPDX download locations; RFC 3986, section 6.2.2.

use model::address::without_credentials;
use model::record::GitId;
use model::text::escape;

use crate::claims::Statement;
use crate::verdict::Reason;

/// A repository, and a commit of it if one was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedSource {
    written: String,
    folded: String,
    commit: Option<GitId>,
}

impl ExpectedSource {
    /// Reads `URI` or `URI@COMMIT`, where COMMIT is a full object id.
    pub fn parse(text: &str) -> ExpectedSource {
        let (uri, commit) = match text.rsplit_once('@') {
            Some((uri, id)) => match GitId::parse(id) {
                Ok(commit) => (uri, Some(commit)),
                Err(_) => (text, None),
            },
            None => (text, None),
        };
        ExpectedSource { written: text.to_owned(), folded: fold(uri), commit }
    }

    /// Returns the refusal of a summary, which does not say the source.
    pub(crate) fn unsaid(&self) -> Reason {
        let got = "a summary, which does not say it".to_owned();
        Reason::Source { expected: escape(without_credentials(&self.written).as_bytes()), got }
    }

    /// Says whether it accepts every source that has no name.
    pub(crate) fn pins_nothing(&self) -> bool {
        self.commit.is_none() && is_nameless(&self.folded)
    }

    /// Compares with what a statement says.
    ///
    /// # Errors
    /// Another repository, another commit, or files that differ from the commit.
    pub(crate) fn check(&self, statement: &Statement) -> Result<String, Reason> {
        let same_place = fold(statement.parameter("source")) == self.folded;
        let commit = statement.parameter("commit");
        let same_commit = self.commit.as_ref().is_none_or(|wanted| wanted.as_str() == commit);
        if !same_place || !same_commit {
            return Err(Reason::Source {
                expected: escape(without_credentials(&self.written).as_bytes()),
                got: describe(statement),
            });
        }
        if statement.parameter("dirty") != "false" {
            return Err(Reason::Dirty);
        }
        Ok(describe(statement))
    }
}

/// Returns source, commit and state, escaped.
pub(crate) fn describe(statement: &Statement) -> String {
    let state = match statement.odd_dirty() {
        Some(odd) => format!(", dirty: {}", if odd.is_empty() { "\"\"" } else { odd }),
        None if statement.is_dirty() => ", dirty".to_owned(),
        None => String::new(),
    };
    let (source, commit) = (statement.parameter("source"), statement.parameter("commit"));
    let source = without_credentials(source);
    escape(format!("{source}@{commit}{state}").as_bytes())
}

/// What is told beside a source that has no name, where it was asked for.
pub(crate) const NAMELESS: &str = "any folder without a remote, so it pins nothing";

/// Says whether an address is that of no repository: every checkout without a remote states it.
pub(crate) fn is_nameless(uri: &str) -> bool {
    matches!(fold(uri).as_str(), "local" | "")
}

/// Returns the one spelling of a repository.
pub(crate) fn fold(uri: &str) -> String {
    let uri = uri.strip_prefix("git+").unwrap_or(uri).trim_end_matches('/');
    let uri = uri.strip_suffix(".git").unwrap_or(uri);
    match uri.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
        }
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_repository_are_one_and_others_are_not() {
        let base = ExpectedSource::parse("git+https://host.example/a/repo").folded;
        for same in [
            "https://host.example/a/repo",
            "https://HOST.example/a/repo.git",
            "git+https://host.example/a/repo/",
        ] {
            assert_eq!(ExpectedSource::parse(same).folded, base, "{same}");
        }
        for other in [
            "http://host.example/a/repo",
            "https://host.example.evil.com/a/repo",
            "https://host.example/a/Repo",
            "https://host.example/fork/repo",
            "https://host.example/a/repo/x",
            "https://host.example/a/repo@refs/tags/v1",
            "local",
            "",
        ] {
            assert_ne!(ExpectedSource::parse(other).folded, base, "{other}");
        }
        let pinned = ExpectedSource::parse(&format!("https://h/r@{}", "a".repeat(40)));
        assert_eq!(pinned.folded, "https://h/r");
        assert!(pinned.commit.is_some());
    }
}
