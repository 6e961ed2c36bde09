//! What CI variables claim about a job. Claims, never facts.
//!
//! Anyone who can edit a job can set its variables, so nothing is decided by them: source and commit
//! are computed from the files. They are told in the run's details, each under its own name. One
//! thing they can do is disagree: a commit that is not the one checked out stops signing, since
//! somebody is mistaken (KILN-0704). Variables that can carry a credential are not in the table, so
//! they are never read.

use std::collections::{BTreeMap, BTreeSet};

use model::record::GitId;

use crate::context::Context;
use crate::diagnostic::{Code, Diagnostic};

/// A CI system's variables: what tells it, where the commit stands, and what else is told.
struct System {
    name: &'static str,
    detect: (&'static str, Option<&'static str>),
    commit: Option<&'static str>,
    others: &'static [&'static str],
}

/// In the order of detection: Forgejo and Gitea set GitHub's variables too.
const SYSTEMS: &[System] = &[
    System {
        name: "forgejo",
        detect: ("FORGEJO_ACTIONS", Some("true")),
        commit: Some("GITHUB_SHA"),
        others: ACTIONS,
    },
    System {
        name: "gitea",
        detect: ("GITEA_ACTIONS", Some("true")),
        commit: Some("GITHUB_SHA"),
        others: ACTIONS,
    },
    System {
        name: "github",
        detect: ("GITHUB_ACTIONS", Some("true")),
        commit: Some("GITHUB_SHA"),
        others: ACTIONS,
    },
    System {
        name: "gitlab",
        detect: ("GITLAB_CI", Some("true")),
        commit: Some("CI_COMMIT_SHA"),
        others: &[
            "CI_PROJECT_URL",
            "CI_PROJECT_ID",
            "CI_COMMIT_REF_NAME",
            "CI_COMMIT_TAG",
            "CI_JOB_URL",
            "CI_PIPELINE_URL",
            "CI_PIPELINE_SOURCE",
        ],
    },
    System {
        name: "jenkins",
        detect: ("JENKINS_URL", None),
        commit: Some("GIT_COMMIT"),
        others: &["BRANCH_NAME", "TAG_NAME", "BUILD_URL", "BUILD_TAG", "BUILD_NUMBER", "JOB_NAME"],
    },
    System {
        name: "buildkite",
        detect: ("BUILDKITE", Some("true")),
        commit: Some("BUILDKITE_COMMIT"),
        others: &[
            "BUILDKITE_ORGANIZATION_SLUG",
            "BUILDKITE_PIPELINE_SLUG",
            "BUILDKITE_BRANCH",
            "BUILDKITE_BUILD_URL",
            "BUILDKITE_BUILD_ID",
            "BUILDKITE_JOB_ID",
        ],
    },
    System {
        name: "circleci",
        detect: ("CIRCLECI", Some("true")),
        commit: Some("CIRCLE_SHA1"),
        others: &[
            "CIRCLE_PROJECT_ID",
            "CIRCLE_BRANCH",
            "CIRCLE_BUILD_URL",
            "CIRCLE_WORKFLOW_ID",
            "CIRCLE_PIPELINE_ID",
        ],
    },
    System {
        name: "woodpecker",
        detect: ("CI", Some("woodpecker")),
        commit: Some("CI_COMMIT_SHA"),
        others: &[
            "CI_REPO",
            "CI_COMMIT_REF",
            "CI_COMMIT_BRANCH",
            "CI_COMMIT_TAG",
            "CI_PIPELINE_NUMBER",
            "CI_PIPELINE_EVENT",
            "CI_STEP_URL",
        ],
    },
    System {
        name: "azure",
        detect: ("TF_BUILD", Some("true")),
        commit: Some("BUILD_SOURCEVERSION"),
        others: &["BUILD_SOURCEBRANCH", "SYSTEM_TEAMPROJECT", "BUILD_BUILDID", "SYSTEM_JOBID"],
    },
];

const ACTIONS: &[&str] = &[
    "GITHUB_SERVER_URL",
    "GITHUB_REPOSITORY",
    "GITHUB_REPOSITORY_ID",
    "GITHUB_REF",
    "GITHUB_RUN_ID",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_WORKFLOW_REF",
    "GITHUB_WORKFLOW_SHA",
    "GITHUB_EVENT_NAME",
    "RUNNER_ENVIRONMENT",
];

/// Longest value that is told, in bytes; longer ones are left out.
const VALUE_BYTES_MAX: usize = 1024;

/// Returns what the first system that is detected claims; nothing outside CI.
pub fn read(context: &Context) -> BTreeMap<String, String> {
    let mut claims = BTreeMap::new();
    if let Some(system) = detect(context) {
        claims.insert("ci".to_owned(), system.name.to_owned());
        for name in system.commit.iter().chain(system.others) {
            if let Some(value) = context.variable(name).filter(|value| {
                value.len() <= VALUE_BYTES_MAX && !value.contains("://") || is_plain_url(value)
            }) {
                claims.insert((*name).to_owned(), value.to_owned());
            }
        }
    }
    claims
}

/// Returns the names of all that is read.
pub fn variables() -> BTreeSet<&'static str> {
    let of = |system: &'static System| {
        [system.detect.0].into_iter().chain(system.commit).chain(system.others.iter().copied())
    };
    SYSTEMS.iter().flat_map(of).collect()
}

/// Refuses a claimed commit that is not the one checked out.
///
/// # Errors
/// KILN-0704, with both.
pub fn check(context: &Context, commit: Option<&GitId>) -> Result<(), Diagnostic> {
    let claimed = detect(context)
        .and_then(|system| system.commit)
        .and_then(|name| context.variable(name).map(|value| (name, value)));
    match (claimed, commit) {
        (Some((name, value)), Some(commit))
            if GitId::parse(value).is_ok() && value != commit.as_str() =>
        {
            Err(Diagnostic::new(
                Code::ClaimsDisagree,
                format!("{name} names another commit than the one checked out"),
            )
            .expected(commit.to_string())
            .got(value.to_owned())
            .help("check out the commit that the job is about, or unset the variable")
            .help("build without signing:  kiln build --no-sign"))
        }
        _ => Ok(()),
    }
}

fn detect(context: &Context) -> Option<&'static System> {
    SYSTEMS.iter().find(|system| {
        let (name, wanted) = system.detect;
        context
            .variable(name)
            .is_some_and(|value| wanted.is_none_or(|wanted| value.eq_ignore_ascii_case(wanted)))
    })
}

/// Says whether an address carries neither user nor password, nor letters that nobody sees.
fn is_plain_url(value: &str) -> bool {
    value.len() <= VALUE_BYTES_MAX && model::address::is_plain(value)
}
