//! What a whole policy may cost, attacked: many expressions, each within its own bound.

use attestor::policy::{Policy, Wrong};
use attestor::verdict::Reason;
use serde_json::json;

use crate::forger::{Forger, statement};
use crate::policy::{ask, bundle, rules};

/// Rules that each loop over all inputs within all inputs.
fn costly(count: usize) -> String {
    let rule = |number| {
        format!(
            "  - {{name: r{number}, expr: \"dependencies.all(x, dependencies.exists(y, x.name == y.name))\"}}\n"
        )
    };
    format!("policy: 1\nrules:\n{}", (0..count).map(rule).collect::<String>())
}

/// A statement with so many inputs, by this forger.
fn inputs(forger: &Forger, count: usize) -> String {
    let mut statement = statement();
    let one = |number: usize| json!({"name": format!("input-{number}"), "digest": {"sha256": "0".repeat(64)}, "annotations": {"role": "environment"}});
    statement["predicate"]["buildDefinition"]["resolvedDependencies"] =
        (0..count).map(one).collect();
    bundle(forger, &statement)
}

#[test]
fn a_policy_has_few_expressions_and_the_first_too_many_is_named() {
    assert!(Policy::parse(costly(100).as_bytes()).is_ok());
    let required = "require:\n  - {type: \"https://a.example/v1\", where: \"true\"}\n";
    for (text, line) in [
        (costly(1000), 103),
        (format!("{}{required}", costly(100)), 104),
        (costly(100).replace("rules:", &format!("{required}rules:")), 104),
        (format!("policy: 1\nrules: [{}]\n", "{name: a, expr: \"(\"}, ".repeat(200)), 2),
    ] {
        let found = Policy::parse(text.as_bytes()).unwrap_err();
        let [one] = &found[..] else { panic!("{found:?}") };
        let Wrong::Value { expected, .. } = &one.wrong else { panic!("{one:?}") };
        assert!(expected.starts_with("at most 100 "), "{expected}");
        assert_eq!(text[..one.span.start].matches('\n').count() + 1, line, "{one:?}");
    }
}

#[test]
fn all_rules_together_take_no_more_than_a_policy_may_for_one_file() {
    let many = inputs(&Forger::p256(1), 200);
    assert!(ask(&costly(100), &[inputs(&Forger::p256(1), 5)]).is_ok());
    assert!(ask(&costly(2), std::slice::from_ref(&many)).is_ok());
    let refusal = ask(&costly(100), std::slice::from_ref(&many)).unwrap_err();
    let broken: Vec<_> = refusal.reasons().collect();
    assert!((80..99).contains(&broken.len()), "{}", broken.len());
    for reason in broken {
        let Reason::Policy(broken) = reason else { panic!("{reason:?}") };
        assert!(broken.got.contains("more than 40000000 steps for this file"), "{}", broken.got);
        assert!(broken.line > 10 && broken.help.contains("in fewer rules"), "{broken:?}");
    }
    let met = 100 - rules(ask(&costly(100), std::slice::from_ref(&many))).len();
    // Conditions take of the same, and another attestation of the file brings nothing along.
    let loops = "predicate.buildDefinition.resolvedDependencies";
    let condition = format!("{loops}.all(x, {loops}.exists(y, x.name == y.name))");
    let required = format!(
        "require:\n  - {{type: \"https://slsa.dev/provenance/v1\", where: \"{condition}\"}}\n"
    );
    let asked = format!("{}{required}", costly(90));
    assert!(90 - rules(ask(&asked, std::slice::from_ref(&many))).len() < met);
    let few = inputs(&Forger::p256(2), 5);
    assert!(!rules(ask(&costly(100), &[many, few])).is_empty());
}
