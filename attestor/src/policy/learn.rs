//! `learn`: a policy from one statement that is known to be good.
//!
//! What comes out accepts exactly what was seen, with a comment at each rule on what to widen: a policy that
//! began too narrow refuses and says why, one that began too wide is never looked at again.
//!
//! What stands in the text as a bare word is one of the words that a policy knows; every other word of the
//! statement is quoted, or left out, so that no statement writes a rule. A policy without a word that it
//! would need refuses the statement that it was learned from.
//!
//! Pure; the same statement gives the same text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use model::address::{holds_query, without_credentials, without_queries};
use model::record::GitId;
use model::text::escape;

use super::purl::{Purl, Read};
use super::read::{BACKENDS, ROLES};
use crate::claims::{Dependency, Statement};
use crate::expected_source::is_nameless;
use crate::sigstore::Identity;
use crate::verify::{SignedBy, Verified};

/// Most packages that a learned policy names one by one.
const NAMED_MAX: usize = 40;
/// Most digests that fit the expression that holds the project's own files.
const FILES_MAX: usize = 12;

/// Returns what of a statement no policy can be learned from, since a query or fragment of its address could hold a
/// token: its name, and the address without that. Rules compare letter by letter, so it cannot just be left out.
pub fn queried(verified: &Verified<Statement>) -> Option<(String, String)> {
    let statement = verified.value();
    let identity = match verified.signer() {
        SignedBy::Key(_) => None,
        SignedBy::Identity(Identity { subject, .. }) => Some(("identity", subject.as_str())),
    };
    let parameters = statement.external_parameters.iter();
    let parameters =
        parameters.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    let (what, found) = parameters.chain(identity).find(|(_, text)| holds_query(text))?;
    let clean = without_credentials(&without_queries(found));
    Some((escape(what.as_bytes()), escape(clean.as_bytes())))
}

/// Returns the text of a policy that accepts what this statement says.
pub fn learn(artifact: &str, verified: &Verified<Statement>, manifest: Option<&[u8]>) -> String {
    let statement = verified.value();
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_head(&mut out, artifact, verified);
    let _ = write_source(&mut out, statement);
    let _ = write_parameters(&mut out, statement);
    let _ = write_isolation(&mut out, statement);
    let listed = match (statement.manifest(), manifest) {
        (Some(_), Some(bytes)) => crate::claims::read_manifest(bytes).unwrap_or_default(),
        _ => statement.dependencies.clone(),
    };
    let _ = write_dependencies(&mut out, &listed);
    let _ = write_files(&mut out, statement, &listed);
    out.push_str(
        "\n# More that can be asked for (docs/policy.md): not-before, reproduced-by, require, rules.\n",
    );
    out
}

/// Holds the project's own files by digest, where neither an address nor a commit names them.
fn write_files(out: &mut String, statement: &Statement, listed: &[Dependency]) -> std::fmt::Result {
    let named = GitId::parse(statement.parameter("commit")).is_ok() && !statement.is_dirty();
    let (place, _) = model::address::split_reference(statement.parameter("source"));
    if named || !is_nameless(place) {
        return Ok(());
    }
    let own = |one: &&Dependency| {
        one.annotation("role").is_some_and(|role| ["build-file", "source"].contains(&role))
    };
    let digests: Vec<String> = listed
        .iter()
        .filter(own)
        .map(|one| one.sha256().map(|digest| digest.hex()).unwrap_or_default())
        .collect();
    if digests.is_empty() || digests.len() > FILES_MAX {
        return writeln!(
            out,
            "\n# Nothing here says what it was built from: {} files and folders are too few or too many for a rule.",
            digests.len()
        );
    }
    writeln!(
        out,
        "\n# The build file and the sources, as they were seen.\nrules:\n  - name: files-as-seen"
    )?;
    writeln!(
        out,
        "    expr: 'dependencies.filter(d, d.annotations.role in [\"build-file\", \"source\"]).map(d, d.digest.sha256) == [{}]'",
        digests.iter().map(|digest| format!("\"{digest}\"")).collect::<Vec<_>>().join(", ")
    )?;
    writeln!(out, "    why: a folder without a remote has no name, and no commit names these files")
}

fn write_head(
    out: &mut String,
    artifact: &str,
    verified: &Verified<Statement>,
) -> std::fmt::Result {
    let level = verified.level().number();
    writeln!(
        out,
        "# Learned from {}, which was verified. Look at each rule before you rely on it:",
        escape(artifact.as_bytes())
    )?;
    writeln!(out, "# it accepts what was seen once, and a comment says what to widen.")?;
    writeln!(out, "policy: 1")?;
    writeln!(out, "name: {}", quoted(artifact))?;
    writeln!(
        out,
        "# uri: https://…   where others can read this file; a signed summary needs it\n"
    )?;
    let (note, signer) = match verified.signer() {
        SignedBy::Key(key) => (
            "The key is the one that signed; after a rotation add the new one.",
            quoted(&key.to_string()),
        ),
        SignedBy::Identity(Identity { subject, issuer }) => (
            "The identity is the one that the certificate named; none but exactly this.",
            format!("{{identity: {}, issuer: {}}}", quoted(subject), quoted(issuer)),
        ),
    };
    writeln!(out, "# Who may have built it. {note}")?;
    writeln!(out, "builders:")?;
    writeln!(out, "  - id: {}", quoted(&verified.value().builder))?;
    writeln!(out, "    signer: {signer}")?;
    writeln!(out, "    max-level: {level}\n    min-level: {level}\n")?;
    writeln!(out, "build-type: {}\n", quoted(&verified.value().build_type))
}

fn write_source(out: &mut String, statement: &Statement) -> std::fmt::Result {
    let source = statement.parameter("source");
    let (place, reference) = model::address::split_reference(source);
    let commit = statement.parameter("commit");
    let nameless = is_nameless(place);
    let is_commit = GitId::parse(commit).is_ok();
    match (nameless, is_commit && !statement.is_dirty()) {
        (false, _) => {
            let commit = escape(clean(commit).as_bytes());
            writeln!(out, "# Any commit of this source. Pin one with  commit: {commit}")?;
        }
        (true, true) => {
            writeln!(
                out,
                "# It was built from a folder without a remote, and every such folder is called \"local\": that pins"
            )?;
            writeln!(
                out,
                "# nothing, so the commit does. List the others that are meant, or give the repository a remote."
            )?;
        }
        (true, false) => {
            writeln!(
                out,
                "# It was built from a folder without a remote, and every such folder is called \"local\": that pins"
            )?;
            writeln!(
                out,
                "# nothing, and no commit names its files, so `rules` below hold them by digest."
            )?;
        }
    }
    writeln!(out, "source:\n  uri: {}", quoted(place))?;
    if nameless && is_commit {
        writeln!(out, "  commit: {}", quoted(commit))?;
    }
    if !reference.is_empty() {
        writeln!(out, "  ref: {}   # or  {{pattern: \"refs/tags/v[0-9.]+\"}}", quoted(reference))?;
    }
    if statement.is_dirty() {
        writeln!(
            out,
            "  dirty: true   # it was built from changed files; better not to allow that"
        )?;
    }
    writeln!(out)
}

fn write_parameters(out: &mut String, statement: &Statement) -> std::fmt::Result {
    writeln!(
        out,
        "# What whoever asked for the build chose. A value may be a list, or {{pattern: …}}; a parameter that"
    )?;
    writeln!(out, "# is not named here must be empty.\nparameters:")?;
    let own = ["commit", "dirty", "source", "waivers"];
    let mut named = false;
    for (name, value) in &statement.external_parameters {
        let value = value.as_deref().unwrap_or_default();
        if !own.contains(&name.as_str()) && !value.is_empty() {
            named = true;
            writeln!(out, "  {name}: {}", quoted(value))?;
        }
    }
    writeln!(out, "{}", if named { "" } else { "  {}\n" })
}

fn write_isolation(out: &mut String, statement: &Statement) -> std::fmt::Result {
    writeln!(out, "hermetic: true")?;
    let is_guarantee =
        |name: &&str| model::isolation::Guarantee::ALL.iter().any(|one| one.as_str() == *name);
    let waived: Vec<&str> =
        statement.parameter("waivers").split(',').filter(is_guarantee).collect();
    let note = if waived.is_empty() { "" } else { "   # guarantees that were waived; better none" };
    writeln!(out, "waivers: [{}]{note}", waived.join(", "))?;
    let enforced: BTreeSet<&str> = statement
        .enforced
        .iter()
        .filter(|one| !one.mechanism.is_empty())
        .map(|one| one.guarantee.as_str())
        .filter(is_guarantee)
        .collect();
    let enforced: Vec<&str> = enforced.into_iter().collect();
    if !enforced.is_empty() {
        writeln!(
            out,
            "# Held in every step. Take out what an older host can not enforce (limits, landlock)."
        )?;
        writeln!(out, "enforce: [{}]", enforced.join(", "))?;
    }
    if let Some(backend) =
        statement.run_details.get("kiln_backend").and_then(serde_json::Value::as_str)
        && BACKENDS.contains(&backend)
    {
        writeln!(out, "backend: {}", quoted(backend))?;
    }
    writeln!(out, "# max-age: 90d   the time is what the builder says; no other is known\n")
}

fn write_dependencies(out: &mut String, listed: &[Dependency]) -> std::fmt::Result {
    let roles: BTreeSet<&str> = listed.iter().filter_map(|one| one.annotation("role")).collect();
    let roles: Vec<&str> = roles.into_iter().filter(|one| ROLES.contains(one)).collect();
    writeln!(out, "dependencies:\n  roles: [{}]", roles.join(", "))?;
    let foreign = ["environment", "fetched"];
    let is_foreign =
        |one: &&Dependency| one.annotation("role").is_some_and(|role| foreign.contains(&role));
    let (mut packages, mut others, mut digests) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for one in listed.iter().filter(is_foreign) {
        match one.uri.as_deref().map_or(Read::Other, Purl::read) {
            Read::Package(purl) => packages.insert(purl.path),
            // A name with an asterisk would be a pattern, one with a query could hold a token, and one in doubt is not
            // allowed by name.
            Read::Other if !one.name.contains('*') && !holds_query(&one.name) => {
                others.insert(one.name.clone())
            }
            Read::Other | Read::InDoubt => match one.sha256() {
                Some(digest) => digests.insert(digest.to_string()),
                None => false,
            },
        };
    }
    if packages.is_empty() && others.is_empty() && digests.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<String> = if packages.len() > NAMED_MAX {
        writeln!(
            out,
            "  # {} packages went in; these patterns take any of their kind. Write them out to be stricter.",
            packages.len()
        )?;
        packages
            .iter()
            .map(|path| format!("{}/*", path.rsplit_once('/').map_or("", |(kind, _)| kind)))
            .collect()
    } else {
        writeln!(out, "  # Any version of these. Narrow one with  version: \">=1.2, <2\"")?;
        packages
    };
    writeln!(out, "  allow:")?;
    for name in names {
        writeln!(out, "    - purl: {}", quoted(&Purl::pattern(&name)))?;
    }
    for name in others {
        writeln!(out, "    - name: {}", quoted(&name))?;
    }
    for digest in digests {
        writeln!(out, "    - digest: {}", quoted(&digest))?;
    }
    writeln!(
        out,
        "  # deny:\n  #   - {{purl: pkg:deb/debian/xz-utils, version: \">=5.6.0, <5.6.2\", why: CVE-2024-3094}}"
    )
}

/// Writes a string that YAML reads back as the same string: JSON's form is one of YAML's. The password of an address
/// is left out and so is its query, so what has one is refused by what was learned from it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(clean(text)).to_string()
}

fn clean(text: &str) -> String {
    without_queries(&without_credentials(text))
}
