//! What a policy still asks where a summary was accepted in the provenance's place.
//!
//! Two things are judged here, by what the summary says and by whom it is believed: the level and the
//! times. All else only the verifier saw, so its word stands for it, and that is for a verifier that a trust
//! entry names by its id. Who was named by hand is believed for nobody's policy: anyone can write a summary.
//!
//! Pure.

use model::text::escape;

use super::check::{CLOCK_SLACK_SECONDS, Findings};
use super::rules::{Policy, shown};
use crate::trust::Level;
use crate::verdict::Reason;
use crate::verify::Expected;
use crate::vsa::VerifiedSummary;

/// Refuses a verifier that was named by hand.
pub(super) fn by_entry(expected: &Expected<'_>, summary: &VerifiedSummary) -> Result<(), Reason> {
    let Some(who) = expected.key.map(|_| "key").or(expected.identity.map(|_| "identity")) else {
        return Ok(());
    };
    let verifier = escape(summary.summary().verifier.as_bytes());
    let got = format!("one {who}, named by hand");
    Err(Reason::SummaryByHand { expected: format!("a trust entry for {verifier}"), got })
}

/// Judges what can be judged of a summary. Returns the level that is left.
pub(super) fn check(
    policy: &Policy,
    summary: &VerifiedSummary,
    now: i64,
    out: &mut Findings<'_>,
) -> Level {
    let level = level(policy, summary.level(), out);
    times(policy, summary, now, out);
    level
}

/// Which builder it was is not known, so no more is asked than of the one of whom least is.
fn level(policy: &Policy, believed: Level, out: &mut Findings<'_>) -> Level {
    let most = policy.builders.iter().map(|one| one.max_level).max();
    let level = most.map_or(believed, |most| most.min(believed));
    let help = "raise max-level of this verifier's entry in trust.toml, if you mean it, or give provenance";
    let mut judge = |rule: &str, span, wanted: Level| {
        if level < wanted {
            out.broken(rule, span, format!("{wanted} or higher"), level.to_string(), help);
        } else {
            out.held(rule, level.to_string());
        }
    };
    if let Some(least) = policy.builders.iter().min_by_key(|one| one.min_level) {
        judge("builders.min-level", least.span, least.min_level);
    }
    if let Some(wanted) = &policy.level {
        judge("level", wanted.span, wanted.value);
    }
    level
}

/// The one time that a summary says is that of the verdict, which is later than the build's.
fn times(policy: &Policy, summary: &VerifiedSummary, now: i64, out: &mut Findings<'_>) {
    let said = summary.summary().time_verified.as_deref();
    let time = said.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let seconds = time.map(|time| time.as_second());
    let told = format!("verified {}", said.map_or_else(|| "at no time".to_owned(), shown));
    let help = "have it verified again, or give provenance of a newer build";
    if let Some(most) = &policy.age_seconds_max {
        let age = seconds.map(|time| now.saturating_sub(time));
        if age.is_some_and(|age| (-CLOCK_SLACK_SECONDS..=most.value).contains(&age)) {
            out.held("max-age", format!("{told}, says the verifier"));
        } else {
            let expected = format!("verified at most {} s ago and not in the future", most.value);
            out.broken("max-age", most.span, expected, told.clone(), help);
        }
    }
    if let Some(least) = &policy.not_before {
        if seconds.is_some_and(|time| time >= least.value) {
            out.held("not-before", format!("{told}, says the verifier"));
        } else {
            let from = jiff::Timestamp::from_second(least.value).map(|time| time.to_string());
            let expected = format!("verified {} or later", from.unwrap_or_default());
            out.broken("not-before", least.span, expected, told, help);
        }
    }
}

/// Returns the rules that only the verifier's word stands for.
pub(super) fn left(policy: &Policy) -> Vec<String> {
    let source = &policy.source;
    let rules = [
        ("builders", !policy.builders.is_empty()),
        ("source.uri", source.uris.is_some()),
        ("source.ref", source.reference.is_some()),
        ("source.commit", source.commit.is_some()),
        ("source.dirty", true),
        ("build-type", policy.build_types.is_some()),
        ("parameters", policy.parameters.is_some()),
        ("dependencies.allow", policy.dependencies.allow.is_some()),
        ("dependencies.deny", !policy.dependencies.deny.is_empty()),
        ("dependencies.roles", policy.dependencies.roles.is_some()),
        ("hermetic", policy.hermetic.is_some()),
        ("waivers", true),
        ("enforce", policy.enforce.is_some()),
        ("backend", policy.backends.is_some()),
        ("max-age of the build", policy.age_seconds_max.is_some()),
        ("not-before of the build", policy.not_before.is_some()),
        ("reproduced-by", policy.reproduced_by.is_some()),
    ];
    let fixed = rules.into_iter().filter(|(_, asked)| *asked).map(|(rule, _)| rule.to_owned());
    let required = policy.require.iter().map(|one| &one.predicate_type);
    let required = required.map(|kind| format!("require {}", escape(kind.as_bytes())));
    let named = policy.expressions.iter().map(|one| &one.name);
    let named = named.map(|name| format!("rules.{}", escape(name.as_bytes())));
    fixed.chain(required).chain(named).collect()
}
