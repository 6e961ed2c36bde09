//! From a tree of nodes to a `Policy`: every key, its type and its bounds, and whether all can hold at
//! once.
//!
//! What is not understood is a problem, never a rule less.

use std::collections::{BTreeMap, BTreeSet};

use model::Digest;
use model::isolation::Guarantee;

use super::expression::{Expression, REQUIRED_VARIABLES, RULE_VARIABLES};
use super::fields::{Fields, Problems};
use super::node::{Node, Span, Value};
use super::parse;
use super::problem::{Problem, Wrong};
use super::purl::Pattern;
use super::rules::{
    Accept, BuilderRule, DependencyRule, DependencyRules, Named, Policy, Required, Rule, Signers,
    SourceRule, Which,
};
use super::version::{Order, Range};
use crate::builder::BuilderId;
use crate::predicate::provenance::{
    BUILD_PARAMETERS, BUILD_TYPE_BUILD, BUILD_TYPE_RUN, RUN_PARAMETERS,
};
use crate::signed_by::SignedBy;
use crate::sigstore::Identity;
use crate::trust::{Level, is_exact};

const KEYS: &[&str] = &[
    "backend",
    "build-type",
    "builders",
    "dependencies",
    "enforce",
    "hermetic",
    "level",
    "max-age",
    "name",
    "not-before",
    "parameters",
    "policy",
    "reproduced-by",
    "require",
    "rules",
    "source",
    "uri",
    "waivers",
];
const BUILDER: &[&str] = &["id", "max-level", "min-level", "signer"];
const SIGNER: &[&str] = &["identity", "issuer"];
const SOURCE: &[&str] = &["commit", "dirty", "ref", "uri"];
const DEPENDENCIES: &[&str] = &["allow", "deny", "roles"];
const DEPENDENCY: &[&str] = &["digest", "name", "purl", "role", "version", "why"];
const REQUIRED: &[&str] = &["signer", "type", "where"];
const EXPRESSION: &[&str] = &["expr", "name", "why"];
const ACCEPT: &[&str] = &["any", "pattern"];
/// The parts that a dependency can play, and the manifest's own.
pub(super) const ROLES: &[&str] =
    &["build-file", "environment", "fetched", "lock", "manifest", "script", "source"];
/// What can run steps.
pub(super) const BACKENDS: &[&str] = &["confined", "docker", "native"];
/// Most independent rebuilds that can be asked for: what one line file holds is 32.
const REPRODUCED_MAX: u64 = 16;
/// Most rules and required attestations of a policy, together: what each may cost has a bound of its own.
const EXPRESSIONS_MAX: usize = 100;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// Largest compiled pattern, in bytes.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// Reads a policy.
pub(super) fn policy(bytes: &[u8]) -> Result<Policy, Vec<Problem>> {
    let text = parse::text_of(bytes).map_err(|problem| vec![problem])?;
    let root = parse::tree_of(text).map_err(|problem| vec![problem])?;
    let mut problems = Problems::default();
    let read = whole(&root, bytes, text, &mut problems);
    problems.0.sort_by_key(|problem| problem.span.start);
    match read {
        Some(policy) if problems.0.is_empty() => Ok(policy),
        _ if problems.0.is_empty() => {
            let wrong = Wrong::Unreadable { why: "the policy can not be read".to_owned() };
            Err(vec![Problem { span: Span::default(), wrong }])
        }
        _ => Err(problems.0),
    }
}

fn whole(root: &Node, bytes: &[u8], text: &str, problems: &mut Problems) -> Option<Policy> {
    let fields = problems.fields(root, "the policy", KEYS)?;
    let version = fields.require("policy", problems)?;
    problems.number(version, "`policy`", 1, 1)?;
    let digest = Digest::of(bytes);
    let mut text_of =
        |key: &str| fields.get(key).and_then(|node| problems.text(node, &format!("`{key}`")));
    let (name, uri) = (text_of("name"), text_of("uri"));
    if let (Some(uri), Some(node)) = (&uri, fields.get("uri"))
        && BuilderId::new(uri).is_err()
    {
        problems.wrong_value(
            node,
            "`uri`",
            "an absolute https URI without credentials, query or fragment",
        );
    }
    few_enough(&fields, problems)?;
    let none = || Rule { value: Vec::new(), span: fields.span };
    let guarantees: Vec<&str> = Guarantee::ALL.iter().map(|one| one.as_str()).collect();
    let waivable: Vec<&str> =
        guarantees.iter().copied().filter(|one| *one != Guarantee::Network.as_str()).collect();
    let policy = Policy {
        digest,
        text: text.to_owned(),
        name: name.unwrap_or_else(|| digest.short().to_string()),
        uri,
        level: fields.get("level").and_then(|node| rule(level(node, "`level`", problems), node)),
        builders: builders(&fields, problems),
        source: source(&fields, problems),
        build_types: list(&fields, "build-type", &[BUILD_TYPE_BUILD, BUILD_TYPE_RUN], problems),
        parameters: parameters(&fields, problems),
        dependencies: dependencies(&fields, problems),
        hermetic: hermetic(&fields, problems),
        waivers: words(&fields, "waivers", &waivable, problems).unwrap_or_else(none),
        enforce: words(&fields, "enforce", &guarantees, problems),
        backends: list(&fields, "backend", BACKENDS, problems),
        age_seconds_max: fields.get("max-age").and_then(|node| rule(age(node, problems), node)),
        not_before: fields.get("not-before").and_then(|node| rule(moment(node, problems), node)),
        reproduced_by: fields.get("reproduced-by").and_then(|node| {
            let count = problems.number(node, "`reproduced-by`", 2, REPRODUCED_MAX)?;
            rule(usize::try_from(count).ok(), node)
        }),
        require: each(&fields, "require", problems, required),
        expressions: each(&fields, "rules", problems, expression),
    };
    reachable(&policy, problems);
    Some(policy)
}

/// Refuses more expressions than are evaluated, before any is compiled.
fn few_enough(fields: &Fields<'_>, problems: &mut Problems) -> Option<()> {
    let lists = ["require", "rules"].into_iter().filter_map(|key| match &fields.get(key)?.value {
        Value::List(items) => Some(items.as_slice()),
        _ => None,
    });
    let mut all: Vec<&Node> = lists.flatten().collect();
    all.sort_by_key(|node| node.span.start);
    let Some(first) = all.get(EXPRESSIONS_MAX) else { return Some(()) };
    let got = format!("{}, of which this is the first too many", all.len());
    let expected = format!(
        "at most {EXPRESSIONS_MAX} `rules` and `require` together; join some by &&, or use the typed keys"
    );
    let label = "the number of expressions".to_owned();
    problems.add(first.blame(), Wrong::Value { label, expected, got });
    None
}

fn rule<T>(value: Option<T>, node: &Node) -> Option<Rule<T>> {
    value.map(|value| Rule { value, span: node.blame() })
}

fn each<T>(
    fields: &Fields<'_>,
    key: &str,
    problems: &mut Problems,
    read: fn(&Node, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some(node) = fields.get(key) else { return Vec::new() };
    let Value::List(items) = &node.value else {
        problems.wrong_type(node, &format!("`{key}`"), "a list");
        return Vec::new();
    };
    items.iter().filter_map(|item| read(item, problems)).collect()
}

/// Reads a list of known words that is not empty; one alone is a list of one.
fn list(
    fields: &Fields<'_>,
    key: &str,
    known: &[&str],
    problems: &mut Problems,
) -> Option<Rule<Vec<String>>> {
    let node = fields.get(key)?;
    let label = format!("`{key}`");
    let items = problems.items(node, &label)?;
    let words: Vec<Option<String>> =
        items.iter().map(|item| problems.word(item, &label, known)).collect();
    rule(words.into_iter().collect(), node)
}

fn words(
    fields: &Fields<'_>,
    key: &str,
    known: &[&str],
    problems: &mut Problems,
) -> Option<Rule<Vec<String>>> {
    let node = fields.get(key)?;
    rule(problems.words(node, &format!("`{key}`"), known), node)
}

fn level(node: &Node, label: &str, problems: &mut Problems) -> Option<Level> {
    let number = problems.number(node, label, 1, 3)?;
    u8::try_from(number).ok().and_then(Level::from_number)
}

fn builders(fields: &Fields<'_>, problems: &mut Problems) -> Vec<BuilderRule> {
    if let Some(Node { value: Value::List(items), .. }) = fields.get("builders")
        && items.is_empty()
    {
        let why = "no builder is allowed".to_owned();
        problems.add(
            fields.span_of("builders"),
            Wrong::Unreachable { rule: "`builders`".to_owned(), why },
        );
    }
    each(fields, "builders", problems, |node, problems| {
        let fields = problems.fields(node, "a builder", BUILDER)?;
        let id_node = fields.require("id", problems)?;
        let id = problems.text(id_node, "`id` of a builder")?;
        if BuilderId::new(&id).is_err() {
            problems.wrong_value(id_node, "`id` of a builder", "an absolute https URI");
        }
        let mut bound = |key: &'static str, default| match fields.get(key) {
            Some(node) => level(node, &format!("`{key}`"), problems),
            None => Some(default),
        };
        let (max_level, min_level) =
            (bound("max-level", Level::L3)?, bound("min-level", Level::L1)?);
        if min_level > max_level {
            let why = format!("min-level {min_level} is above max-level {max_level}");
            let rule = format!("builder {id}");
            problems.add(fields.span_of("min-level"), Wrong::Unreachable { rule, why });
        }
        let signers = signers(&fields, problems)?;
        Some(BuilderRule { id, signers, max_level, min_level, span: node.blame() })
    })
}

/// Reads who may sign: fingerprints, and identities each with its issuer.
fn signers(fields: &Fields<'_>, problems: &mut Problems) -> Option<Signers> {
    let Some(node) = fields.get("signer") else { return Some(None) };
    let all: Vec<Option<SignedBy>> =
        problems.items(node, "`signer`")?.iter().map(|item| signer(item, problems)).collect();
    all.into_iter().collect::<Option<_>>().map(|all| rule(Some(all), node))
}

fn signer(node: &Node, problems: &mut Problems) -> Option<SignedBy> {
    if let Value::Map(_) = node.value {
        let fields = problems.fields(node, "`signer`", SIGNER)?;
        let mut exact = |key: &'static str| {
            let label = format!("`{key}` of `signer`");
            let node = fields.require(key, problems)?;
            let text = problems.text(node, &label)?;
            if is_exact(&text) {
                return Some(text);
            }
            let expected = "it letter by letter, without quotes, backslashes or control characters";
            problems.wrong_value(node, &label, expected);
            None
        };
        let (subject, issuer) = (exact("identity"), exact("issuer"));
        return Some(SignedBy::Identity(Identity { subject: subject?, issuer: issuer? }));
    }
    let text = problems.text(node, "`signer`")?;
    let key = text.parse().ok();
    if key.is_none() {
        let expected =
            "a key's fingerprint, SHA256: and base64 of 32 bytes, or {identity: …, issuer: …}";
        problems.wrong_value(node, "`signer`", expected);
    }
    key.map(SignedBy::Key)
}

fn source(fields: &Fields<'_>, problems: &mut Problems) -> SourceRule {
    let mut out = SourceRule::default();
    out.dirty.span = fields.span;
    let Some(node) = fields.get("source") else { return out };
    let Some(fields) = problems.fields(node, "`source`", SOURCE) else { return out };
    if let Some(node) = fields.get("uri") {
        let label = "`uri` of `source`";
        out.uris = rule(problems.texts(node, label), node);
        if out.uris.iter().flat_map(|uris| &uris.value).any(|uri| uri.trim().is_empty()) {
            problems.wrong_value(node, label, "an address, such as https://git.example.org/hello");
        }
    }
    out.commit =
        fields.get("commit").and_then(|node| rule(accept(node, "source.commit", problems), node));
    out.reference =
        fields.get("ref").and_then(|node| rule(accept(node, "source.ref", problems), node));
    if let Some(node) = fields.get("dirty") {
        let value = problems.boolean(node, "`dirty` of `source`").unwrap_or_default();
        out.dirty = Rule { value, span: node.blame() };
    }
    out
}

/// Reads what a text may be: one text, a list of them, `{pattern: …}` or `{any: true}`.
fn accept(node: &Node, rule: &str, problems: &mut Problems) -> Option<Accept> {
    let label = format!("`{rule}`");
    if !matches!(node.value, Value::Map(_)) {
        return problems.texts(node, &label).map(Accept::OneOf);
    }
    let fields = problems.fields(node, &label, ACCEPT)?;
    match (fields.get("pattern"), fields.get("any")) {
        (Some(pattern), None) => {
            let text = problems.text(pattern, &label)?;
            compile(&text, &label, pattern.blame(), problems)
        }
        (None, Some(any)) if any.boolean() == Some(true) => Some(Accept::Any),
        _ => {
            problems.wrong_value(
                node,
                &label,
                "a text, a list of texts, {pattern: …} or {any: true}",
            );
            None
        }
    }
}

/// Compiles a pattern that holds for a whole text, never for a part of it.
fn compile(text: &str, label: &str, span: Span, problems: &mut Problems) -> Option<Accept> {
    let anchored = format!(r"\A(?:{text})\z");
    let alone = regex::RegexBuilder::new(text).size_limit(PATTERN_SIZE_MAX).build();
    let whole = regex::RegexBuilder::new(&anchored).size_limit(PATTERN_SIZE_MAX).build();
    if text.len() > PATTERN_BYTES_MAX {
        let why = format!("a pattern has at most {PATTERN_BYTES_MAX} bytes");
        problems.add(span, Wrong::Unreadable { why });
        return None;
    }
    // Alone as well: `a)|(?:b` would close the anchoring group.
    match alone.and(whole) {
        Ok(regex) => Some(Accept::Pattern(regex, text.to_owned())),
        Err(error) => {
            problems.add(span, Wrong::Pattern { rule: label.to_owned(), error });
            None
        }
    }
}

fn parameters(
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<Rule<BTreeMap<String, Rule<Accept>>>> {
    let node = fields.get("parameters")?;
    let known: BTreeSet<&str> = BUILD_PARAMETERS.into_iter().chain(RUN_PARAMETERS).collect();
    let mut all = BTreeMap::new();
    for (key, value) in problems.map(node, "`parameters`")? {
        if !known.contains(key.text.as_str()) {
            let label = format!("parameter `{}`", key.text);
            let expected = known.iter().copied().collect::<Vec<_>>().join(", ");
            let (expected, got) = (format!("one of {expected}"), key.text.clone());
            problems.add(key.span, Wrong::Value { label, expected, got });
        }
        if let Some(accepted) = accept(value, &format!("parameters.{}", key.text), problems) {
            all.insert(key.text.clone(), Rule { value: accepted, span: key.span });
        }
    }
    rule(Some(all), node)
}

fn dependencies(fields: &Fields<'_>, problems: &mut Problems) -> DependencyRules {
    let mut out = DependencyRules::default();
    let Some(node) = fields.get("dependencies") else { return out };
    let Some(fields) = problems.fields(node, "`dependencies`", DEPENDENCIES) else { return out };
    if let Some(node) = fields.get("allow") {
        let value = each(&fields, "allow", problems, dependency);
        out.allow = rule(Some(value), node);
    }
    out.deny = each(&fields, "deny", problems, dependency);
    out.roles = words(&fields, "roles", ROLES, problems);
    out
}

fn dependency(node: &Node, problems: &mut Problems) -> Option<DependencyRule> {
    let fields = problems.fields(node, "a dependency", DEPENDENCY)?;
    let what = match (fields.get("purl"), fields.get("name"), fields.get("digest")) {
        (Some(purl), None, None) => package(&fields, purl, problems)?,
        (None, Some(name), None) => Which::Name(problems.text(name, "`name` of a dependency")?),
        (None, None, Some(digest)) => {
            let text = problems.text(digest, "`digest` of a dependency")?;
            let Ok(digest) = text.parse() else {
                problems.wrong_value(
                    digest,
                    "`digest` of a dependency",
                    "sha256: and 64 hex digits",
                );
                return None;
            };
            Which::Digest(digest)
        }
        _ => {
            problems.wrong_value(node, "a dependency", "exactly one of purl, name and digest");
            return None;
        }
    };
    if let (Some(version), Which::Name(_) | Which::Digest(_)) = (fields.get("version"), &what) {
        problems.wrong_value(version, "`version` of a dependency", "nothing: it belongs to a purl");
    }
    let role = match fields.get("role") {
        Some(node) => Some(problems.word(node, "`role` of a dependency", ROLES)?),
        None => None,
    };
    let why = fields.get("why").and_then(|node| problems.text(node, "`why` of a dependency"));
    Some(DependencyRule { what, role, why: why.unwrap_or_default(), span: node.blame() })
}

fn package(fields: &Fields<'_>, purl: &Node, problems: &mut Problems) -> Option<Which> {
    let text = problems.text(purl, "`purl` of a dependency")?;
    if let Some(expected) = Pattern::idle(&text) {
        problems.wrong_value(purl, "`purl` of a dependency", expected);
        return None;
    }
    let Some(pattern) = Pattern::parse(&text) else {
        let expected =
            "pkg:TYPE/NAMESPACE/NAME without version; * stands for letters within one part";
        problems.wrong_value(purl, "`purl` of a dependency", expected);
        return None;
    };
    let Some(node) = fields.get("version") else { return Some(Which::Package(pattern, None)) };
    let label = "`version` of a dependency";
    let text = problems.text(node, label)?;
    match Range::parse(&text, pattern.order()) {
        Some(range) if range.is_empty() => {
            let why = format!("no version is within {text}");
            problems.add(node.blame(), Wrong::Unreachable { rule: label.to_owned(), why });
            None
        }
        Some(range) => Some(Which::Package(pattern, Some(range))),
        None => {
            let expected = match pattern.order() {
                Order::Deb | Order::SemVer => "comparisons such as \">=1.2, <2\"",
                Order::Numbers => "comparisons with dotted numbers such as \">=1.2, <2\"",
            };
            problems.wrong_value(node, label, expected);
            None
        }
    }
}

fn hermetic(fields: &Fields<'_>, problems: &mut Problems) -> Option<Span> {
    let node = fields.get("hermetic")?;
    if problems.boolean(node, "`hermetic`")? {
        return Some(node.blame());
    }
    problems.wrong_value(node, "`hermetic`", "true: kiln verify always asks for it");
    None
}

fn age(node: &Node, problems: &mut Problems) -> Option<i64> {
    let text = problems.text(node, "`max-age`")?;
    let unit = |letter: &str| match letter {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        "w" => Some(604_800),
        _ => None,
    };
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, letter) = text.split_at(split);
    let seconds = number
        .parse::<i64>()
        .ok()
        .zip(unit(letter))
        .and_then(|(number, unit)| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds > 0);
    if seconds.is_none() {
        problems.wrong_value(
            node,
            "`max-age`",
            "a number with its unit s, m, h, d or w, such as 90d",
        );
    }
    seconds
}

fn moment(node: &Node, problems: &mut Problems) -> Option<i64> {
    let text = problems.text(node, "`not-before`")?;
    let time: Option<jiff::Timestamp> = text.parse().ok();
    if time.is_none() {
        problems.wrong_value(node, "`not-before`", "a time such as 2026-01-01T00:00:00Z");
    }
    time.map(jiff::Timestamp::as_second)
}

fn required(node: &Node, problems: &mut Problems) -> Option<Required> {
    let fields = problems.fields(node, "a required attestation", REQUIRED)?;
    let kind = fields.require("type", problems)?;
    let predicate_type = problems.text(kind, "`type` of a required attestation")?;
    // It stands in the provenance's place, for an address that no rule names.
    if predicate_type == crate::vsa::PREDICATE_TYPE {
        let (label, got) = ("`type` of a required attestation".to_owned(), predicate_type);
        let expected = "no summary: one stands in for provenance, with --resource-uri".to_owned();
        problems.add(kind.blame(), Wrong::Value { label, expected, got });
        return None;
    }
    let condition = match fields.get("where") {
        Some(node) => Some(compiled(
            node,
            &format!("require {predicate_type}"),
            REQUIRED_VARIABLES,
            problems,
        )?),
        None => None,
    };
    let signers = signers(&fields, problems)?;
    Some(Required { predicate_type, signers, condition, span: node.blame() })
}

fn expression(node: &Node, problems: &mut Problems) -> Option<Named> {
    let fields = problems.fields(node, "a rule", EXPRESSION)?;
    let name = fields.require("name", problems)?;
    let name = problems.text(name, "`name` of a rule")?;
    let source = fields.require("expr", problems)?;
    let expression = compiled(source, &format!("rule `{name}`"), RULE_VARIABLES, problems)?;
    let why = fields.get("why").and_then(|node| problems.text(node, "`why` of a rule"));
    Some(Named { name, expression, why: why.unwrap_or_default(), span: source.blame() })
}

fn compiled(
    node: &Node,
    rule: &str,
    variables: &'static [&'static str],
    problems: &mut Problems,
) -> Option<Expression> {
    let text = problems.text(node, &format!("the expression of {rule}"))?;
    Expression::compile(&text, variables)
        .map_err(|source| {
            problems.add(node.blame(), Wrong::Expression { rule: rule.to_owned(), source });
        })
        .ok()
}

/// Checks that the rules can hold together: a threshold that nothing can reach refuses everything, and
/// that is told when the policy is read, not when a file is refused.
fn reachable(policy: &Policy, problems: &mut Problems) {
    let mut add = |span, rule: &str, why: String| {
        problems.add(span, Wrong::Unreachable { rule: rule.to_owned(), why });
    };
    let ids: BTreeSet<&str> = policy.builders.iter().map(|one| one.id.as_str()).collect();
    let mut known = BTreeSet::new();
    for one in &policy.builders {
        if !known.insert(&one.id) {
            let rule = format!("builder {}", one.id);
            add(one.span, &rule, "another entry has this id; write the two as one".to_owned());
        }
    }
    let highest = policy.builders.iter().map(|one| one.max_level).max();
    if let (Some(level), Some(highest)) = (&policy.level, highest)
        && level.value > highest
    {
        add(level.span, "`level`", format!("no builder is allowed above {highest}"));
    }
    if let Some(count) = &policy.reproduced_by
        && !ids.is_empty()
        && count.value > ids.len()
    {
        let why = format!("{} builders are allowed, and each counts once", ids.len());
        add(count.span, "`reproduced-by`", why);
    }
    let mut names = BTreeSet::new();
    for one in &policy.expressions {
        if !names.insert(&one.name) {
            add(one.span, &format!("rule `{}`", one.name), "another rule has this name".to_owned());
        }
    }
    let allowed = policy.dependencies.allow.iter().flat_map(|allow| &allow.value);
    for allow in allowed {
        let Which::Package(pattern, _) = &allow.what else { continue };
        let denied = policy.dependencies.deny.iter().any(|deny| {
            let same = matches!(&deny.what, Which::Package(other, None) if other.written() == pattern.written());
            same && (deny.role.is_none() || deny.role == allow.role)
        });
        if denied {
            let rule = format!("allow {}", pattern.written());
            add(allow.span, &rule, "`deny` names the same packages".to_owned());
        }
    }
    if let (Some(types), Some(parameters)) = (&policy.build_types, &policy.parameters) {
        for (name, rule) in &parameters.value {
            let has = |kind: &String| match kind.as_str() {
                BUILD_TYPE_BUILD => BUILD_PARAMETERS.contains(&name.as_str()),
                _ => RUN_PARAMETERS.contains(&name.as_str()),
            };
            if !types.value.iter().any(has) {
                add(
                    rule.span,
                    &format!("parameter `{name}`"),
                    "no allowed build type has it".to_owned(),
                );
            }
        }
    }
}
