//! Log groups of CI systems.
//!
//! A group folds the output of one step. What a step writes is escaped before it gets here, so a step
//! can neither open nor close a group. Commands that count anywhere in a line are broken where all lines
//! leave, in `report::line`.

use crate::context::Context;

/// A CI system whose log groups kiln knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiSystem {
    /// GitHub, Gitea and Forgejo Actions.
    Actions,
    /// GitLab CI.
    GitLab,
    /// Azure Pipelines.
    Azure,
    /// Buildkite.
    Buildkite,
    /// Any other: a plain rule.
    Other,
}

impl CiSystem {
    /// Detects the system from its variables. Forgejo and Gitea set GitHub's, so one form serves all.
    pub fn detect(context: &Context) -> Option<CiSystem> {
        let set = |name: &str, value: &str| {
            context.variable(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        if set("FORGEJO_ACTIONS", "true")
            || set("GITEA_ACTIONS", "true")
            || set("GITHUB_ACTIONS", "true")
        {
            Some(CiSystem::Actions)
        } else if set("GITLAB_CI", "true") {
            Some(CiSystem::GitLab)
        } else if set("TF_BUILD", "true") {
            Some(CiSystem::Azure)
        } else if set("BUILDKITE", "true") {
            Some(CiSystem::Buildkite)
        } else if context.in_ci() {
            Some(CiSystem::Other)
        } else {
            None
        }
    }

    /// Returns the line that opens a group. `open` asks that it be shown unfolded.
    pub fn open(self, title: &str, id: &str, open: bool, now: i64) -> String {
        let id: String = id
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
            .collect();
        match self {
            CiSystem::Actions if open => format!("--- {title}"),
            CiSystem::Actions => format!("::group::{title}"),
            CiSystem::GitLab => {
                let collapsed = if open { "" } else { "[collapsed=true]" };
                format!("\x1b[0Ksection_start:{now}:kiln_{id}{collapsed}\r\x1b[0K{title}")
            }
            CiSystem::Azure if open => format!("--- {title}"),
            CiSystem::Azure => format!("##[group]{title}"),
            CiSystem::Buildkite if open => format!("+++ {title}"),
            CiSystem::Buildkite => format!("--- {title}"),
            CiSystem::Other => format!("---- {title}"),
        }
    }

    /// Returns the line that closes a group, if the system has one.
    pub fn close(self, id: &str, open: bool, now: i64) -> Option<String> {
        let id: String = id
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
            .collect();
        match self {
            CiSystem::Actions if !open => Some("::endgroup::".to_owned()),
            CiSystem::GitLab => Some(format!("\x1b[0Ksection_end:{now}:kiln_{id}\r\x1b[0K")),
            CiSystem::Azure if !open => Some("##[endgroup]".to_owned()),
            CiSystem::Actions | CiSystem::Azure | CiSystem::Buildkite | CiSystem::Other => None,
        }
    }

    /// Escapes a line of step output: one that starts as a command of a CI system does loses its power.
    pub fn harmless(self, line: &str) -> String {
        let start = line.trim_start();
        let command = start.starts_with("::")
            || start.starts_with("section_")
            || start.starts_with("--- ")
            || start.starts_with("+++ ")
            || start.starts_with("~~~ ");
        if command { format!("| {line}") } else { line.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_output_cannot_open_or_close_a_group() {
        for system in [
            CiSystem::Actions,
            CiSystem::GitLab,
            CiSystem::Azure,
            CiSystem::Buildkite,
            CiSystem::Other,
        ] {
            for line in [
                "::endgroup::",
                "  ::set-output name=a::b",
                "section_end:1:kiln_x",
                "--- x",
                "+++ x",
            ] {
                assert!(system.harmless(line).starts_with("| "), "{line}");
            }
            assert_eq!(system.harmless("plain"), "plain");
        }
    }
}
