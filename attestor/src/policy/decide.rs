//! `decide`: verification and policy together, over all evidence there is for one file.
//!
//! 1. Every envelope is judged alone, as `kiln verify` does.
//! 2. Each that verifies is compared with the policy, rule by rule. One and the same must meet all.
//! 3. What needs several is counted: independent rebuilds, and other attestations that are asked for.
//! 4. Where no provenance is accepted, a summary may be, if the caller said for which address.
//!
//! None of it is a pass by being absent: no evidence, no envelope and no rule that could be read are all
//! refusals. Pure.

use model::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Policy;
use super::check::{self, Facts, Findings, Held};
use super::expression::Meter;
use super::other::Others;
use super::standing;
use crate::bundle::Attestation;
use crate::claims::Statement;
use crate::trust::Level;
use crate::verdict::{Check, Outcome, Reason, Refusal, Subject};
use crate::verify::{self, Artifact, Evidence, Expected, Verified};
use crate::vsa::{self, VerifiedSummary, Wanted};

/// What is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The file.
    pub artifact: Artifact<'a>,
    /// All that speaks for it.
    pub evidence: &'a [Evidence<'a>],
    /// Who is believed.
    pub expected: Expected<'a>,
    /// What is expected.
    pub policy: Option<&'a Policy>,
    /// What a summary has to say, where one may take the provenance's place.
    pub summary: Option<&'a Wanted>,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// What was accepted.
#[derive(Debug)]
pub enum Accepted {
    /// Provenance.
    Provenance(Box<Verified<Statement>>),
    /// Somebody else's verdict.
    Summary(Box<VerifiedSummary>),
}

/// A file that may be used, and why.
#[derive(Debug)]
pub struct Decision {
    /// What spoke for it.
    pub accepted: Accepted,
    /// The level that is left after the policy.
    pub level: Level,
    /// The rules that are met.
    pub held: Vec<Held>,
    /// How many independent builders built the same.
    pub reproduced: usize,
    /// What of the policy only the word of a summary's verifier stands for.
    pub stood_for: Vec<String>,
    /// Why the provenance beside an accepted summary was refused, where some was, escaped.
    pub beside: Option<String>,
}

impl Decision {
    /// Returns one that no policy was asked about.
    fn of(accepted: Accepted, level: Level) -> Decision {
        let (held, stood_for) = (Vec::new(), Vec::new());
        Decision { accepted, level, held, reproduced: 1, stood_for, beside: None }
    }
}

/// One envelope that verifies, with what it came with.
struct Sound<'a> {
    verified: Verified<Statement>,
    manifest: Option<&'a [u8]>,
}

/// Decides about one file.
///
/// # Errors
/// A refusal with a reason for each check that failed; of several envelopes, that of the one that came
/// furthest.
pub fn decide(question: &Question<'_>) -> Result<Decision, Refusal> {
    // 1. Each alone.
    let (mut sound, mut others, mut summaries) = (Vec::new(), Vec::new(), Vec::new());
    let mut furthest = None;
    for evidence in question.evidence {
        let judged =
            verify::judge_each(&question.artifact, evidence, &question.expected, question.now)?;
        for (attestation, judged) in judged {
            match judged {
                Ok(verified) => sound.push(Sound { verified, manifest: evidence.manifest }),
                Err(_) if vsa::is_summary(&attestation) => summaries.push(attestation),
                Err(refusal) => {
                    furthest = Some(verify::further(furthest, refusal));
                    others.push(attestation);
                }
            }
        }
    }
    // 2 and 3. The policy.
    match by_policy(question, sound, &others) {
        Some(Ok(decision)) => return Ok(decision),
        Some(Err(refusal)) => furthest = Some(refusal),
        None => {}
    }
    // 4. A summary.
    by_summary(question, &summaries, furthest)
}

/// Returns the decision by provenance, or none if no provenance verifies.
fn by_policy(
    question: &Question<'_>,
    mut sound: Vec<Sound<'_>>,
    others: &[Attestation],
) -> Option<Result<Decision, Refusal>> {
    let Some(policy) = question.policy else {
        let first = if sound.is_empty() { None } else { Some(sound.swap_remove(0)) };
        return first.map(|one| {
            let level = one.verified.level();
            Ok(Decision::of(provenance(one), level))
        });
    };
    let mut all = Others::default();
    if !policy.require.is_empty() {
        all = Others::read(others, &question.artifact, &question.expected, question.now);
        sound.iter().for_each(|one| all.add(&one.verified));
    }
    let (meter, mut asked) = (Meter::default(), Findings::of(policy));
    check::required(policy, &all, &meter, &mut asked);
    let findings: Vec<(Level, Findings<'_>)> =
        sound.iter().map(|one| alone(question, policy, one, &asked, &meter)).collect();
    let met: Vec<bool> = findings.iter().map(|(_, out)| out.broken.is_empty()).collect();
    let counts: Vec<usize> =
        (0..sound.len()).map(|index| reproduced(&sound, &met, index)).collect();
    let mut best: Option<(usize, Level, Findings<'_>)> = None;
    for (index, (level, mut out)) in findings.into_iter().enumerate() {
        if let Some(wanted) = &policy.reproduced_by {
            let told = format!("{} independent builders", counts[index]);
            if counts[index] >= wanted.value {
                out.held("reproduced-by", told);
            } else {
                let expected = format!(
                    "{} builders, each with a key or identity of its own, of equal build definitions",
                    wanted.value
                );
                let help = "give the other builders' evidence too:  --bundle F --bundle G";
                out.broken("reproduced-by", wanted.span, expected, told, help);
            }
        }
        if best.as_ref().is_none_or(|(_, _, known)| out.broken.len() < known.broken.len()) {
            best = Some((index, level, out));
        }
    }
    let (index, level, out) = best?;
    let one = sound.swap_remove(index);
    if out.broken.is_empty() {
        let (held, reproduced) = (out.held, counts[index]);
        return Some(Ok(Decision { held, reproduced, ..Decision::of(provenance(one), level) }));
    }
    Some(Err(broken(one.verified.into_checks(), out)))
}

/// Compares one attestation with all rules that it can meet alone; what was asked of others stands after them.
fn alone<'p>(
    question: &Question<'_>,
    policy: &'p Policy,
    one: &Sound<'_>,
    asked: &Findings<'p>,
    meter: &Meter,
) -> (Level, Findings<'p>) {
    let mut out = Findings::of(policy);
    let facts = Facts {
        verified: &one.verified,
        manifest: one.manifest,
        artifact: question.artifact.name,
        digest: question.artifact.digest,
        now: question.now,
        meter,
    };
    let level = check::check(policy, &facts, &mut out);
    out.held.extend_from_slice(&asked.held);
    out.broken.extend_from_slice(&asked.broken);
    (level, out)
}

/// Returns the refusal by rules that are not met, after the checks that are.
fn broken(mut checks: Vec<Check>, out: Findings<'_>) -> Refusal {
    checks.extend(out.held.into_iter().map(|held| {
        let detail = format!("{}: {}", held.rule, held.detail);
        let outcome = if held.idle { Outcome::NotApplicable } else { Outcome::Ok };
        Check { subject: Subject::Policy, outcome, detail }
    }));
    checks.extend(out.broken.into_iter().map(|broken| {
        let detail = format!("{}: expected {}, got {}", broken.rule, broken.expected, broken.got);
        Check { subject: Subject::Policy, outcome: Outcome::Failed(Reason::Policy(broken)), detail }
    }));
    Refusal { checks }
}

fn provenance(one: Sound<'_>) -> Accepted {
    Accepted::Provenance(Box::new(one.verified))
}

fn by_summary(
    question: &Question<'_>,
    summaries: &[Attestation],
    furthest: Option<Refusal>,
) -> Result<Decision, Refusal> {
    let beside = furthest.as_ref().and_then(|refusal| refusal.reasons().next().map(Reason::whole));
    let mut refused = None;
    let judged = match question.summary {
        Some(wanted) => {
            vsa::judge(&question.artifact, summaries, &question.expected, wanted, question.now)
        }
        None => summaries.iter().map(|_| Err(no_address())).collect(),
    };
    for judged in judged {
        match judged.and_then(|summary| standing_in(question, summary)) {
            Ok(decision) => return Ok(Decision { beside, ..decision }),
            Err(refusal) => refused = Some(verify::further(refused, refusal)),
        }
    }
    Err(match (furthest, refused) {
        (Some(other), Some(summary)) => both(other, summary),
        (other, summary) => other.or(summary).unwrap_or(Refusal { checks: Vec::new() }),
    })
}

/// Returns the refusal that came further. What a believed verifier said is told beside any other.
fn both(other: Refusal, summary: Refusal) -> Refusal {
    if verify::passed(&summary) > verify::passed(&other) {
        return summary;
    }
    let said = |check: &Check| matches!(check.outcome, Outcome::Failed(Reason::Summary { .. }));
    let checks = other.checks.into_iter().chain(summary.checks.into_iter().filter(said));
    Refusal { checks: checks.collect() }
}

/// Returns the refusal of a summary where no address was asked for.
fn no_address() -> Refusal {
    let reason = Reason::Summary {
        what: "is no provenance, and counts only about an address that is named",
        expected: "provenance, or --resource-uri URI without --vsa".to_owned(),
        got: "a summary".to_owned(),
    };
    let detail = reason.to_string();
    let outcome = Outcome::Failed(reason);
    Refusal { checks: vec![Check { subject: Subject::Summary, outcome, detail }] }
}

/// Asks of a summary that holds what the policy still asks.
fn standing_in(question: &Question<'_>, summary: VerifiedSummary) -> Result<Decision, Refusal> {
    let Some(policy) = question.policy else {
        let level = summary.level();
        return Ok(Decision::of(Accepted::Summary(Box::new(summary)), level));
    };
    if let Err(reason) = standing::by_entry(&question.expected, &summary) {
        let (detail, mut checks) = (reason.to_string(), summary.into_checks());
        let outcome = Outcome::Failed(reason);
        checks.push(Check { subject: Subject::Summary, outcome, detail });
        return Err(Refusal { checks });
    }
    let mut out = Findings::of(policy);
    let level = standing::check(policy, &summary, question.now, &mut out);
    if !out.broken.is_empty() {
        return Err(broken(summary.into_checks(), out));
    }
    let (held, stood_for) = (out.held, standing::left(policy));
    let accepted = Accepted::Summary(Box::new(summary));
    Ok(Decision { held, stood_for, ..Decision::of(accepted, level) })
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    subject: &'a RawValue,
    #[serde(borrow)]
    predicate: RawPredicate<'a>,
}

#[derive(Deserialize)]
struct RawPredicate<'a> {
    #[serde(borrow, rename = "buildDefinition")]
    build_definition: &'a RawValue,
}

/// Counts the independent builders that met all rules and say, byte for byte, the same of what was built
/// and how: no builder and no key counts twice, whichever way they are combined.
fn reproduced(sound: &[Sound<'_>], met: &[bool], index: usize) -> usize {
    let said = |one: &Sound<'_>| -> Option<(Digest, Digest)> {
        let raw: Raw<'_> = serde_json::from_slice(one.verified.payload()).ok()?;
        let of = |value: &RawValue| Digest::of(value.get().as_bytes());
        Some((of(raw.subject), of(raw.predicate.build_definition)))
    };
    let wanted = said(&sound[index]);
    if wanted.is_none() {
        return 0;
    }
    let alike = sound.iter().zip(met).filter(|(one, met)| **met && said(one) == wanted);
    let pairs: Vec<(String, String)> = alike
        .map(|(one, _)| (one.verified.value().builder.clone(), one.verified.signer().to_string()))
        .collect();
    independent(&pairs)
}

/// Returns how many pairs can be picked so that no left and no right side is picked twice: a matching, by
/// augmenting paths.
fn independent(pairs: &[(String, String)]) -> usize {
    fn place<'a>(
        left: &'a str,
        pairs: &'a [(String, String)],
        taken: &mut std::collections::BTreeMap<&'a str, &'a str>,
        tried: &mut std::collections::BTreeSet<&'a str>,
    ) -> bool {
        for (_, right) in pairs.iter().filter(|(one, _)| one == left) {
            if !tried.insert(right) {
                continue;
            }
            let free = match taken.get(right.as_str()).copied() {
                None => true,
                Some(other) => place(other, pairs, taken, tried),
            };
            if free {
                taken.insert(right, left);
                return true;
            }
        }
        false
    }
    let lefts: std::collections::BTreeSet<&str> =
        pairs.iter().map(|(left, _)| left.as_str()).collect();
    let mut taken = std::collections::BTreeMap::new();
    let mut count = 0;
    for left in lefts {
        if place(left, pairs, &mut taken, &mut std::collections::BTreeSet::new()) {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::independent;

    #[test]
    fn neither_a_builder_nor_a_key_counts_twice() {
        for (pairs, count) in [
            (&[][..], 0),
            (&[("a", "1")], 1),
            (&[("a", "1"), ("a", "2")], 1),
            (&[("a", "1"), ("b", "1")], 1),
            (&[("a", "1"), ("b", "2")], 2),
            (&[("a", "1"), ("a", "2"), ("b", "1")], 2),
            (&[("a", "1"), ("b", "1"), ("b", "2"), ("c", "2")], 2),
            (&[("a", "1"), ("a", "2"), ("b", "2"), ("b", "3"), ("c", "1")], 3),
        ] {
            let pairs: Vec<(String, String)> =
                pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(independent(&pairs), count, "{pairs:?}");
        }
    }
}
