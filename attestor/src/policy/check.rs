//! Compares one verified statement with a policy: every rule, and for each that is not met what was
//! expected and what was got.
//!
//! Pure. Judges one attestation alone; what needs several is in `decide`.

use model::address::without_credentials;
use model::text::escape;
use serde_json::{Value, json};

use super::expression::{ExpressionError, Meter};
use super::node::Span;
use super::other::Others;
use super::purl::{self, Purl, Read};
use super::rules::{
    Accept, BuilderRule, DependencyRule, Policy, Rule, Which, may_sign, shown, signed_by,
};
use crate::claims::{self, Dependency, Statement};
use crate::coherent;
use crate::expected_source::{NAMELESS, fold, is_nameless};
use crate::trust::Level;
use crate::verify::Verified;

/// How far a builder's clock may be ahead, in seconds.
pub(super) const CLOCK_SLACK_SECONDS: i64 = 300;
/// What is the project's own, and not for `allow` to judge.
const OWN_ROLES: [&str; 5] = ["build-file", "lock", "manifest", "script", "source"];
/// What to do about an attestation that is there and says something else.
const UNMET: &str = "look at what it says:  kiln inspect FILE. Take a file whose attestation says what `where` asks for, or \
    change that";
/// Most things that one message lists.
const LISTED_MAX: usize = 4;

/// A rule that is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The rule.
    pub rule: String,
    /// What was found, escaped.
    pub detail: String,
    /// Whether anybody's statement would meet it, so that it holds nothing off.
    pub idle: bool,
}

/// A rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}` of the policy is not met")]
pub struct Broken {
    /// The rule, such as `source.uri`.
    pub rule: String,
    /// Where it stands in the policy.
    pub span: Span,
    /// The same as a line, from 1.
    pub line: usize,
    /// The same as a column, from 1.
    pub column: usize,
    /// What the rule wants.
    pub expected: String,
    /// What the statement says, escaped.
    pub got: String,
    /// What to do about it.
    pub help: &'static str,
}

/// What the rules look at.
pub(super) struct Facts<'a> {
    pub verified: &'a Verified<Statement>,
    pub manifest: Option<&'a [u8]>,
    pub artifact: &'a str,
    pub digest: model::Digest,
    pub now: i64,
    pub meter: &'a Meter,
}

/// What came of all rules.
pub(super) struct Findings<'a> {
    policy: &'a Policy,
    pub held: Vec<Held>,
    pub broken: Vec<Broken>,
}

impl<'a> Findings<'a> {
    pub fn of(policy: &'a Policy) -> Findings<'a> {
        Findings { policy, held: Vec::new(), broken: Vec::new() }
    }

    pub fn held(&mut self, rule: &str, detail: impl Into<String>) {
        let detail = without_credentials(&detail.into());
        self.held.push(Held { rule: rule.to_owned(), detail, idle: false });
    }

    /// Notes a rule that is met and that would be by anybody's statement.
    fn idle(&mut self, rule: &str, detail: String) {
        self.held.push(Held { rule: rule.to_owned(), detail, idle: true });
    }

    pub fn broken(
        &mut self,
        rule: &str,
        span: Span,
        expected: impl Into<String>,
        got: impl Into<String>,
        help: &'static str,
    ) {
        let (line, column) = self.policy.position(span);
        // Whatever a statement says: no word about it shows the password of an address.
        let [expected, got] = [expected.into(), got.into()].map(|text| without_credentials(&text));
        self.broken.push(Broken { rule: rule.to_owned(), span, line, column, expected, got, help });
    }

    /// Notes a text that a rule accepts or not.
    fn accept(&mut self, rule: &str, accept: &Rule<Accept>, got: &str, help: &'static str) {
        if accept.value.holds(got) {
            self.held(rule, shown(got));
        } else {
            self.broken(rule, accept.span, accept.value.told(), shown(got), help);
        }
    }

    /// Notes a text that has to be in a list.
    fn one_of(&mut self, rule: &str, list: &Rule<Vec<String>>, got: &str, help: &'static str) {
        if list.value.iter().any(|one| one == got) {
            self.held(rule, shown(got));
        } else {
            self.broken(rule, list.span, list.value.join(" or "), shown(got), help);
        }
    }
}

/// Checks all rules that one statement can meet alone. Returns the level that is left.
pub(super) fn check(policy: &Policy, facts: &Facts<'_>, out: &mut Findings<'_>) -> Level {
    let statement = facts.verified.value();
    let level = builders(policy, facts, out);
    source(policy, statement, out);
    if let Some(types) = &policy.build_types {
        out.one_of(
            "build-type",
            types,
            &statement.build_type,
            "take a file that was built this way",
        );
    }
    parameters(policy, statement, out);
    isolation(policy, statement, out);
    times(policy, statement, facts.now, out);
    let listed = dependencies(policy, facts, out);
    expressions(policy, facts, level, &listed, out);
    level
}

fn builders(policy: &Policy, facts: &Facts<'_>, out: &mut Findings<'_>) -> Level {
    let builder = &facts.verified.value().builder;
    let (signer, trusted) = (facts.verified.signer(), facts.verified.level());
    let mut level = trusted;
    if !policy.builders.is_empty() {
        let of_id = || policy.builders.iter().filter(|one| one.id == *builder);
        let found = of_id().filter(|one| may_sign(&one.signers, signer));
        let Some(rule) = found.max_by_key(|one| one.max_level.min(trusted) >= one.min_level) else {
            let told = |one: &BuilderRule| format!("{}{}", one.id, signed_by(&one.signers));
            let expected: Vec<String> = policy.builders.iter().map(told).collect();
            // Where the builder is the right one, its signer is to blame.
            let blamed = of_id().find_map(|one| one.signers.as_ref()).map(|signers| signers.span);
            let span = blamed.unwrap_or(policy.builders[0].span);
            let got = format!("{}, signed by {signer}", escape(builder.as_bytes()));
            let help = "take a file of an allowed builder, or add this builder and its signer to the policy";
            out.broken("builders", span, expected.join(" or "), got, help);
            return level;
        };
        level = trusted.min(rule.max_level);
        if level < rule.min_level {
            let (expected, got) = (format!("{} or higher", rule.min_level), level.to_string());
            let help = "raise max-level of this builder's entry in trust.toml, if you mean it";
            out.broken("builders.min-level", rule.span, expected, got, help);
        } else {
            out.held(
                "builders",
                format!("{} up to {}", escape(builder.as_bytes()), rule.max_level),
            );
        }
    }
    if let Some(wanted) = &policy.level {
        if level < wanted.value {
            let help = "take a file from a builder of that level; a bare --key gives L1 at most";
            out.broken(
                "level",
                wanted.span,
                format!("{} or higher", wanted.value),
                level.to_string(),
                help,
            );
        } else {
            out.held("level", level.to_string());
        }
    }
    level
}

fn source(policy: &Policy, statement: &Statement, out: &mut Findings<'_>) {
    let rules = &policy.source;
    let help = "take a file that was built from this source";
    let written = statement.parameter("source");
    let (place, reference) = model::address::split_reference(written);
    if let Some(uris) = &rules.uris {
        let same = uris.value.iter().any(|uri| fold(uri) == fold(place));
        if same && is_nameless(place) {
            out.idle("source.uri", format!("{}: {NAMELESS}", shown(place)));
        } else if same {
            out.held("source.uri", shown(place));
        } else {
            out.broken("source.uri", uris.span, uris.value.join(" or "), shown(place), help);
        }
    }
    if let Some(wanted) = &rules.reference {
        out.accept("source.ref", wanted, reference, help);
    }
    if let Some(wanted) = &rules.commit {
        out.accept("source.commit", wanted, statement.parameter("commit"), help);
    }
    match (statement.parameter("dirty"), rules.dirty.value) {
        ("false", _) | ("true", true) => out.held("source.dirty", statement.parameter("dirty")),
        (got, _) => {
            let help = "build from a commit as it is, or allow it:  source: {dirty: true}";
            out.broken("source.dirty", rules.dirty.span, "false", shown(got), help);
        }
    }
}

/// Every parameter must be accepted by name. What no rule speaks of has to be empty: a parameter that
/// nobody thought of must not pass because nobody thought of it.
fn parameters(policy: &Policy, statement: &Statement, out: &mut Findings<'_>) {
    let Some(rules) = &policy.parameters else { return };
    let help = "accept this value under `parameters`, if it is meant";
    for (name, value) in &statement.external_parameters {
        let rule = format!("parameters.{}", escape(name.as_bytes()));
        let text = value.as_deref();
        match (rules.value.get(name), name.as_str()) {
            (Some(accept), _) => match text {
                Some(text) => out.accept(&rule, accept, text, help),
                None => out.broken(&rule, accept.span, accept.value.told(), "no text", help),
            },
            // These have rules of their own, which always speak.
            (None, "dirty" | "waivers") => {}
            (None, "source") if policy.source.uris.is_some() => {}
            (None, "commit") if policy.source.commit.is_some() || policy.source.uris.is_some() => {}
            (None, _) if text == Some("") => out.held(&rule, "empty"),
            (None, _) => {
                let got = text.map_or_else(|| "no text".to_owned(), shown);
                out.broken(&rule, rules.span, "a rule for this parameter, or \"\"", got, help);
            }
        }
    }
    let has = |name: &String| statement.external_parameters.contains_key(name);
    for (name, accept) in rules.value.iter().filter(|(name, _)| !has(name)) {
        let rule = format!("parameters.{name}");
        out.broken(&rule, accept.span, accept.value.told(), "no such parameter", help);
    }
}

fn isolation(policy: &Policy, statement: &Statement, out: &mut Findings<'_>) {
    let waived = statement.waivers();
    let allowed = |word: &&str| policy.waivers.value.iter().any(|one| one == word);
    if waived.iter().all(allowed) {
        out.held(
            "waivers",
            if waived.is_empty() { "none".to_owned() } else { shown(&waived.join(",")) },
        );
    } else {
        let expected = match policy.waivers.value.as_slice() {
            [] => "none".to_owned(),
            all => format!("none but {}", all.join(", ")),
        };
        let help = "build with every guarantee, or allow it by name:  waivers: [NAME]";
        out.broken("waivers", policy.waivers.span, expected, shown(&waived.join(",")), help);
    }
    for wanted in policy.enforce.iter().flat_map(|rule| &rule.value) {
        let span = policy.enforce.as_ref().map(|rule| rule.span).unwrap_or_default();
        let kept = |one: &&claims::Enforced| one.guarantee == *wanted && !one.mechanism.is_empty();
        match statement.enforced.iter().find(kept) {
            Some(one) => out.held("enforce", format!("{wanted} by {}", shown(&one.mechanism))),
            None => {
                let help = "build where kiln doctor says that this holds";
                out.broken(
                    "enforce",
                    span,
                    format!("{wanted} in every step"),
                    "not enforced",
                    help,
                );
            }
        }
    }
    if let Some(backends) = &policy.backends {
        let got = statement.run_details.get("kiln_backend").and_then(Value::as_str);
        out.one_of("backend", backends, got.unwrap_or_default(), "build with an allowed backend");
    }
}

/// The times are the builder's claim: with a plain key there is no other.
fn times(policy: &Policy, statement: &Statement, now: i64, out: &mut Findings<'_>) {
    let finished: Option<jiff::Timestamp> =
        statement.finished.as_ref().and_then(|text| text.parse().ok());
    let told = statement.finished.as_deref().map_or_else(|| "no time".to_owned(), shown);
    let help = "take a newer build; the time is what the builder says, and no other is known";
    if let Some(most) = &policy.age_seconds_max {
        let age = finished.map(|time| now.saturating_sub(time.as_second()));
        match age {
            Some(age) if (-CLOCK_SLACK_SECONDS..=most.value).contains(&age) => {
                out.held("max-age", format!("finished {told}, says the builder"));
            }
            _ => {
                let expected =
                    format!("finished at most {} s ago and not in the future", most.value);
                out.broken("max-age", most.span, expected, format!("finished {told}"), help);
            }
        }
    }
    if let Some(least) = &policy.not_before {
        match finished {
            Some(time) if time.as_second() >= least.value => {
                out.held("not-before", format!("finished {told}, says the builder"));
            }
            _ => {
                let from = jiff::Timestamp::from_second(least.value).map(|time| time.to_string());
                let expected = format!("finished {} or later", from.unwrap_or_default());
                out.broken("not-before", least.span, expected, format!("finished {told}"), help);
            }
        }
    }
}

/// Returns all inputs, and checks them.
fn dependencies(policy: &Policy, facts: &Facts<'_>, out: &mut Findings<'_>) -> Vec<Dependency> {
    let statement = facts.verified.value();
    let rules = &policy.dependencies;
    let asked = rules.allow.is_some() || !rules.deny.is_empty() || rules.roles.is_some();
    let listed = match (statement.manifest(), facts.manifest) {
        (None, _) => statement.dependencies.clone(),
        // Verified already: the digest is the one that the statement names.
        (Some(_), Some(bytes)) => claims::read_manifest(bytes).unwrap_or_default(),
        (Some(entry), None) => {
            let span = rules.allow.as_ref().map(|rule| rule.span);
            let span = span.or(rules.roles.as_ref().map(|rule| rule.span));
            let span = span.or(rules.deny.first().map(|rule| rule.span)).or(policy.hermetic);
            if let Some(span) = span.filter(|_| asked || policy.hermetic.is_some()) {
                let expected =
                    format!("the list {} beside the file", escape(entry.name.as_bytes()));
                let help = "get the list from where the file was published";
                out.broken("dependencies", span, expected, "no list", help);
            }
            return statement.dependencies.clone();
        }
    };
    if let Some(span) = policy.hermetic {
        match coherent::guarantees(statement) {
            Ok(held) => out.held("hermetic", format!("{held}, {} inputs by digest", listed.len())),
            Err(reason) => {
                let (expected, got) = reason.compared().unwrap_or_default();
                out.broken("hermetic", span, expected, got, reason.help().unwrap_or_default());
            }
        }
    }
    if let Some(roles) = &rules.roles {
        let known = |one: &&Dependency| {
            one.annotation("role").is_some_and(|role| roles.value.iter().any(|r| r == role))
        };
        match listed.iter().find(|one| !known(one)) {
            None => out.held("dependencies.roles", format!("{} inputs", listed.len())),
            Some(one) => {
                let got = format!(
                    "{} as {}",
                    name(one),
                    shown(one.annotation("role").unwrap_or_default())
                );
                let help = "allow the role, if it is meant";
                out.broken("dependencies.roles", roles.span, roles.value.join(" or "), got, help);
            }
        }
    }
    deny(&rules.deny, &listed, out);
    if let Some(allow) = &rules.allow {
        allow_only(allow, &listed, out);
    }
    listed
}

fn deny(rules: &[DependencyRule], listed: &[Dependency], out: &mut Findings<'_>) {
    for rule in rules {
        let found: Vec<String> =
            listed.iter().filter(|one| means(rule, one, true)).map(name).collect();
        let what = told(rule);
        if found.is_empty() {
            out.held("dependencies.deny", format!("no {what}"));
            continue;
        }
        let expected = if rule.why.is_empty() {
            format!("no {what}")
        } else {
            format!("no {what}: {}", rule.why)
        };
        let help = "build with another version, or take the rule away if it is wrong";
        out.broken("dependencies.deny", rule.span, expected, few(&found), help);
    }
}

fn allow_only(allow: &Rule<Vec<DependencyRule>>, listed: &[Dependency], out: &mut Findings<'_>) {
    let own =
        |one: &&Dependency| one.annotation("role").is_some_and(|role| OWN_ROLES.contains(&role));
    let foreign: Vec<&Dependency> = listed.iter().filter(|one| !own(one)).collect();
    let allowed = |one: &&&Dependency| allow.value.iter().any(|rule| means(rule, one, false));
    let others: Vec<String> =
        foreign.iter().filter(|one| !allowed(one)).map(|one| name(one)).collect();
    if others.is_empty() {
        out.held("dependencies.allow", format!("{} inputs from elsewhere", foreign.len()));
        return;
    }
    let expected = format!("only what {} rules of `allow` name", allow.value.len());
    let help = "add a rule for it, if it is meant";
    out.broken("dependencies.allow", allow.span, expected, few(&others), help);
}

/// Says whether a rule means a dependency. Where package or version is not known, `if_unsure` decides: what is
/// denied is denied in doubt, and what is allowed is not.
fn means(rule: &DependencyRule, one: &Dependency, if_unsure: bool) -> bool {
    let in_role = |role: &String| one.annotation("role") == Some(role);
    if !rule.role.as_ref().is_none_or(in_role) {
        return false;
    }
    let package = one.uri.as_deref().map_or(Read::Other, Purl::read);
    match &rule.what {
        Which::Digest(digest) => one.sha256() == Some(*digest),
        Which::Name(pattern) => {
            let is_no_package = match package {
                Read::Package(_) => false,
                Read::InDoubt => if_unsure,
                Read::Other => true,
            };
            is_no_package && purl::matches(pattern.as_bytes(), one.name.as_bytes())
        }
        Which::Package(pattern, range) => {
            let package = match package {
                Read::Package(package) if pattern.holds(&package) => package,
                Read::Package(_) | Read::Other => return false,
                Read::InDoubt => return if_unsure,
            };
            match (range, &package.version) {
                (None, _) => true,
                (Some(_), None) => if_unsure,
                (Some(range), Some(version)) => {
                    range.holds(version, package.order()).unwrap_or(if_unsure)
                }
            }
        }
    }
}

fn told(rule: &DependencyRule) -> String {
    match &rule.what {
        Which::Package(pattern, None) => pattern.written().to_owned(),
        Which::Package(pattern, Some(range)) => {
            format!("{} {}", pattern.written(), range.written())
        }
        Which::Name(name) => name.clone(),
        Which::Digest(digest) => digest.to_string(),
    }
}

fn name(one: &Dependency) -> String {
    shown(one.uri.as_deref().unwrap_or(&one.name))
}

fn few(all: &[String]) -> String {
    let more = all.len().saturating_sub(LISTED_MAX);
    let mut text = all.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn expressions(
    policy: &Policy,
    facts: &Facts<'_>,
    level: Level,
    listed: &[Dependency],
    out: &mut Findings<'_>,
) {
    if policy.expressions.is_empty() {
        return;
    }
    let statement: Value = serde_json::from_slice(facts.verified.payload()).unwrap_or(Value::Null);
    let predicate = statement.get("predicate").cloned().unwrap_or(Value::Null);
    let value = facts.verified.value();
    let descriptor = |one: &Dependency| {
        json!({"name": one.name, "uri": one.uri.clone().unwrap_or_default(), "digest": one.digests,
            "annotations": one.annotations})
    };
    let dependencies = Value::Array(listed.iter().map(descriptor).collect());
    let parameters = json!(value.external_parameters);
    let artifact =
        json!({"name": facts.artifact.rsplit('/').next(), "digest": facts.digest.to_string()});
    let (builder, signer) = (json!(value.builder), json!(facts.verified.signer().to_string()));
    let (level, now) = (json!(level.number()), json!(facts.now));
    let all = [
        ("statement", &statement),
        ("predicate", &predicate),
        ("dependencies", &dependencies),
        ("parameters", &parameters),
        ("artifact", &artifact),
        ("builder", &builder),
        ("signer", &signer),
        ("level", &level),
        ("now", &now),
    ];
    for rule in &policy.expressions {
        let name = format!("rules.{}", escape(rule.name.as_bytes()));
        let expected = if rule.why.is_empty() { rule.expression.text() } else { &rule.why };
        let help = "look at what the statement says:  kiln inspect --raw FILE";
        match rule.expression.holds(&all, facts.meter) {
            Ok(true) => out.held(&name, rule.expression.text()),
            Ok(false) => out.broken(&name, rule.span, expected, "false", help),
            Err(error) => {
                let help = too_costly(&error).unwrap_or(help);
                out.broken(&name, rule.span, expected, error.to_string(), help);
            }
        }
    }
}

/// Returns what to do about an expression that takes too much.
fn too_costly(error: &ExpressionError) -> Option<&'static str> {
    match error {
        ExpressionError::TooCostly { .. } | ExpressionError::TooCostlyTogether => Some(
            "loop over less in it, such as `dependencies` in place of `statement`, or ask for the same in fewer rules",
        ),
        _ => None,
    }
}

/// Checks that the other attestations that the policy asks for are there.
pub(super) fn required(policy: &Policy, others: &Others, meter: &Meter, out: &mut Findings<'_>) {
    for rule in &policy.require {
        let name = format!("require {}", escape(rule.predicate_type.as_bytes()));
        let (mut met, mut got, mut remedy) = (None, None, None);
        for one in others.sound.iter().filter(|one| one.predicate_type == rule.predicate_type) {
            if !may_sign(&rule.signers, &one.signer) {
                got = got.or_else(|| Some(format!("one signed by {}", one.signer)));
                continue;
            }
            let predicate = one.value.get("predicate").cloned().unwrap_or(Value::Null);
            let signer = json!(one.signer.to_string());
            let all = [("statement", &one.value), ("predicate", &predicate), ("signer", &signer)];
            match rule.condition.as_ref().map(|condition| condition.holds(&all, meter)) {
                None | Some(Ok(true)) => met = Some(&one.signer),
                Some(Ok(false)) => {
                    remedy = remedy.or(Some(UNMET));
                    got = Some("one that does not meet the condition".to_owned());
                }
                Some(Err(error)) => {
                    remedy = remedy.or(too_costly(&error)).or(Some(UNMET));
                    got = Some(error.to_string());
                }
            }
        }
        let Some(signer) = met else {
            let mut expected = format!("an attestation of this type{}", signed_by(&rule.signers));
            if let Some(condition) = &rule.condition {
                expected.push_str(&format!(" where {}", condition.text()));
            }
            let refused =
                others.refused.iter().find(|(claimed, _)| *claimed == rule.predicate_type);
            let got = got.unwrap_or_else(|| match refused {
                Some((_, why)) => format!("one that is not believed: {why}"),
                None => "none".to_owned(),
            });
            let help = "put it beside the file as NAME.*.sigstore.json or NAME.*.intoto.jsonl, or name all that count:  \
                        --bundle F --bundle G";
            out.broken(&name, rule.span, expected, got, remedy.unwrap_or(help));
            continue;
        };
        out.held(&name, format!("by {signer}"));
    }
}
