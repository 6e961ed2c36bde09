//! Test result v0.1: what the tests that gated a build came to.
//!
//! A test is a step; its exit code alone decides. A report that tells of failures beside an exit code
//! of 0 makes the result `WARNED`: it is told, never believed over the exit code. A build without a
//! test gets no such statement, since "no test failed" would then be said of nothing.
//!
//! Pure. Does not catch: tests that test nothing. Source: in-toto attestation, predicates/test-result.md.

use model::record::{Record, Role, StepRecord};
use serde::Serialize;

use super::dependencies::{self, Descriptor, sha256};
use super::run_details;
use crate::order::{PLAN, Refused};

/// The predicate type.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// The predicate.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestResult {
    result: Outcome,
    configuration: Vec<Descriptor>,
    passed_tests: Vec<String>,
    warned_tests: Vec<String>,
    failed_tests: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Outcome {
    Passed,
    Warned,
    Failed,
}

/// Returns the predicate.
///
/// # Errors
/// [`Refused::NoTest`] for a build without one; else none in practice.
pub(crate) fn test_result(record: &Record) -> Result<TestResult, Refused> {
    let tests: Vec<&StepRecord> = record.observed.run.steps.iter().filter(|one| one.test).collect();
    if tests.is_empty() {
        return Err(Refused::NoTest);
    }
    let (mut passed, mut warned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for test in tests {
        let name = test.id.to_string();
        match of_step(test) {
            Outcome::Passed => passed.push(name),
            Outcome::Failed => failed.push(name),
            Outcome::Warned => {
                let named = test.cases.iter().flat_map(|cases| &cases.not_passed);
                let named: Vec<String> = named.map(|case| format!("{name}: {case}")).collect();
                warned.push(name);
                warned.extend(named);
            }
        }
    }
    let result = match (failed.is_empty(), warned.is_empty()) {
        (false, _) => Outcome::Failed,
        (true, false) => Outcome::Warned,
        (true, true) => Outcome::Passed,
    };
    Ok(TestResult {
        result,
        configuration: configuration(record)?,
        passed_tests: passed,
        warned_tests: warned,
        failed_tests: failed,
    })
}

fn of_step(test: &StepRecord) -> Outcome {
    let told = test.cases.as_ref().is_some_and(|cases| cases.failures > 0 || cases.errors > 0);
    match (test.exit_code, told) {
        (0, false) => Outcome::Passed,
        (0, true) => Outcome::Warned,
        _ => Outcome::Failed,
    }
}

/// What the tests were: the build file, the lock, and the plan that names each test's Action.
fn configuration(record: &Record) -> Result<Vec<Descriptor>, Refused> {
    let role = |one: &&Descriptor| {
        let role = one.annotations.get("role").map(String::as_str);
        [Role::BuildFile, Role::Lock].iter().any(|wanted| role == Some(wanted.as_str()))
    };
    let listed = dependencies::list(record).map_err(Refused::Write)?;
    let mut found: Vec<Descriptor> = listed.entries.iter().filter(role).cloned().collect();
    let plan = record.observed.run.byproducts.iter().find(|one| one.name == PLAN);
    found.extend(plan.map(|plan| run_details::plain(&plan.name, sha256(&plan.digest))));
    Ok(found)
}
