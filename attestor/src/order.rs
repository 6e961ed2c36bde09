//! Whether a Record may be sworn to at all: Observed must answer its Order, and the guarantees held.
//!
//! The runner is believed about what a step did, but not against the Order and not against itself.
//! What is refused here never becomes bytes, so nothing is signed that fails one of these rules.
//!
//! Pure. Does not catch: a runner that lies consistently; that is the trust boundary.

use model::address;
use model::isolation::Guarantee;
use model::record::{Asked, Order, RECORD_VERSION, Record, Role, StepRecord};
use model::relpath::{Name, PathError};
use model::step::StepId;

use crate::statement::refuse_credentials;

/// Why a Record is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A Record of another format.
    #[error("the record has version {got}, not {RECORD_VERSION}")]
    Version {
        /// Its version.
        got: u32,
    },
    /// Observed is about another request.
    #[error("what was observed answers another request than the order's")]
    Nonce,
    /// Observed is about another source, commit or state.
    #[error("what was observed is another source than the order's: expected {expected}, got {got}")]
    Source {
        /// The Order's.
        expected: String,
        /// Observed.
        got: String,
    },
    /// Observed is about another target or other parameters.
    #[error(
        "what was observed has another `{parameter}` than the order: expected `{expected}`, got `{got}`"
    )]
    Parameter {
        /// Which.
        parameter: &'static str,
        /// The Order's, escaped.
        expected: String,
        /// Observed, escaped.
        got: String,
    },
    /// It ended after the Order's deadline, or comes after it.
    #[error("it comes {late_seconds} s after the order's deadline")]
    Late {
        /// How much later, in seconds.
        late_seconds: i64,
    },
    /// An address that is no plain one.
    #[error(
        "`{got}` is no source's address: `local`, or a URI of plain letters without user, password, query and fragment"
    )]
    Address {
        /// What stands there, without the credentials, escaped.
        got: String,
    },
    /// A reference that no control plane ordered.
    #[error("`{got}` names a reference, which only the order of a control plane can")]
    Reference {
        /// The address, escaped.
        got: String,
    },
    /// It ended before it started.
    #[error("it ended before it started")]
    Times,
    /// It claims to have ended later than this attestor's clock, or long before it.
    #[error("it ended {seconds} s {direction} this attestor's clock")]
    Clock {
        /// How far away, in seconds.
        seconds: i64,
        /// `after` or `before`.
        direction: &'static str,
    },
    /// A step ran outside the run.
    #[error("step `{step}` ran outside the time of its run")]
    StepTimes {
        /// The step.
        step: StepId,
    },
    /// A time that no calendar has.
    #[error("{seconds} s since 1970 is no time that can be written")]
    Calendar {
        /// The time.
        seconds: i64,
    },
    /// The network guarantee was waived.
    #[error("the network guarantee can not be waived in an attested build")]
    NetworkWaived,
    /// A core guarantee was neither enforced nor waived.
    #[error("guarantee `{guarantee}` was not enforced in step `{step}`, nor waived by name")]
    NotEnforced {
        /// The guarantee.
        guarantee: Guarantee,
        /// The step.
        step: StepId,
    },
    /// No step ran, so nothing is known about isolation.
    #[error("the record names no step")]
    NoStep,
    /// The steps belong to no plan that is named.
    #[error("the record names no plan")]
    NoPlan,
    /// Two stories of one step.
    #[error("step `{step}` is told twice")]
    SameStep {
        /// The step.
        step: StepId,
    },
    /// Something is said of a step that is not told.
    #[error("`{what}` is of no step of the record")]
    UnknownStep {
        /// What, escaped.
        what: String,
    },
    /// A log among the byproducts is not that of its step.
    #[error("the log of step `{step}` is named with two digests")]
    OtherLog {
        /// The step.
        step: StepId,
    },
    /// A report that contradicts itself, or is of no test.
    #[error("the report of step `{step}` counts otherwise than a report can")]
    Cases {
        /// The step.
        step: StepId,
    },
    /// A test result of a build without tests.
    #[error("no test is told, so there is no test result")]
    NoTest,
    /// A trace of a step that was not watched.
    #[error("step `{step}` was not watched, so nothing is known of what it wanted of a network")]
    NotHeard {
        /// The step.
        step: StepId,
    },
    /// A classic link by another key than Ed25519.
    #[error("a classic link is signed by an Ed25519 key, and the signer's is another")]
    LinkKey,
    /// A classic link that could not be written.
    #[error("write the classic link: {0}")]
    Link(String),
    /// An attestor without classic links.
    #[error("this attestor was built without classic links")]
    NoLinks,
    /// A step failed.
    #[error("step `{step}` ended with {exit_code}")]
    StepFailed {
        /// The step.
        step: StepId,
        /// Its exit code.
        exit_code: i32,
    },
    /// A backend that this attestor has no builder.id for.
    #[error("no builder.id is configured for backend `{backend}`")]
    Backend {
        /// The backend, escaped.
        backend: String,
    },
    /// The artifact's name is no file name.
    #[error("the artifact's name `{name}`")]
    SubjectName {
        /// The name, escaped.
        name: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// The artifact's name hides letters, or is one of kiln's own files.
    #[error("the artifact's name `{name}` is not plain")]
    OddName {
        /// The name, escaped.
        name: String,
    },
    /// A build of which no build file is named.
    #[error("the record names no build file")]
    NoBuildFile,
    /// Two dependencies of one role and name.
    #[error("two dependencies are named `{name}` in role {role}")]
    SameName {
        /// The role.
        role: &'static str,
        /// The name, escaped.
        name: String,
    },
    /// Something that looks like a credential.
    #[error("`{place}` holds an address with a credential in it")]
    Credential {
        /// Where, as a path of members.
        place: String,
    },
    /// A statement that no log or registry would take.
    #[error("the statement would have {got} bytes, more than {most}")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The cap in bytes.
        most: usize,
    },
    /// The statement could not be written.
    #[error("write the statement")]
    Write(#[source] serde_json::Error),
}

/// How far two clocks of one run may be apart, in seconds: a clock that was set meanwhile, or those of
/// two machines.
const CLOCK_SLACK_SECONDS: i64 = 300;
/// How long after its end a run is still signed for, in seconds: one day.
const AGE_SECONDS_MAX: i64 = 24 * 60 * 60;
/// What stands for the address of a source that has none.
const LOCAL: &str = "local";
/// Longest address of a source, in bytes: far above what a forge gives out.
const ADDRESS_BYTES_MAX: usize = 4096;
/// The byproduct that is the plan.
pub(crate) const PLAN: &str = "plan.json";
/// The file of kiln's own that lists the artifacts.
const SUMS: &str = "SHA256SUMS";

/// Checks that a Record hangs together.
///
/// # Errors
/// The first rule that does not hold.
pub(crate) fn check(record: &Record) -> Result<(), Refused> {
    let (order, observed) = (&record.order, &record.observed);
    if record.version != RECORD_VERSION {
        return Err(Refused::Version { got: record.version });
    }
    if observed.nonce != order.nonce {
        return Err(Refused::Nonce);
    }
    if observed.source != order.source {
        let show = |source: &model::record::SourceRef| {
            let commit = source.commit.as_ref().map_or("none", |commit| commit.as_str());
            let state = if source.dirty { "dirty" } else { "clean" };
            let uri = address::without_credentials(&source.uri);
            model::text::escape(format!("{uri} at {commit}, {state}").as_bytes())
        };
        return Err(Refused::Source { expected: show(&order.source), got: show(&observed.source) });
    }
    check_alone(order)?;
    let sources = observed.dependencies.iter().filter(|one| one.role == Role::Source);
    sources.filter_map(|one| one.uri.as_deref()).try_for_each(check_address)?;
    check_parameters(record)?;
    check_deadline(order.deadline, observed.run.finished)?;
    if observed.run.finished < observed.run.started {
        return Err(Refused::Times);
    }
    check_artifact_name(&observed.subject.name)?;
    check_guarantees(record)?;
    check_steps(record)?;
    check_dependencies(record)
}

/// Checks what an Order alone decides: one that fails here is answered by no Record that would be signed.
///
/// # Errors
/// The first rule that does not hold.
pub(crate) fn check_alone(order: &Order) -> Result<(), Refused> {
    check_address(&order.source.uri)?;
    if order.waivers.contains(&Guarantee::Network) {
        return Err(Refused::NetworkWaived);
    }
    let (Asked::Build { target, .. } | Asked::Run { target, .. }) = &order.asked;
    check_artifact_name(target)?;
    // All that is asked stands in the statement.
    refuse_credentials(&serde_json::to_vec(&order.asked).map_err(Refused::Write)?)
}

/// Checks that a Record's times are near this attestor's own clock, in seconds since 1970.
///
/// # Errors
/// [`Refused::Clock`] for one from the future, and for one that was kept for long: a build is signed
/// when it ends, and building it again finds every result.
pub(crate) fn check_clock(record: &Record, now: i64) -> Result<(), Refused> {
    let finished = record.observed.run.finished;
    let (ahead, age) = (finished.saturating_sub(now), now.saturating_sub(finished));
    if ahead > CLOCK_SLACK_SECONDS {
        return Err(Refused::Clock { seconds: ahead, direction: "after" });
    }
    if age > AGE_SECONDS_MAX {
        return Err(Refused::Clock { seconds: age, direction: "before" });
    }
    Ok(())
}

/// Checks that no address names a reference, `ADDRESS@refs/…`. A checkout knows none, and its remote's address
/// is whatever its owner wrote; `ordered` is the source of an Order that a control plane opened, which may.
///
/// # Errors
/// [`Refused::Reference`].
pub(crate) fn check_reference(record: &Record, ordered: Option<&str>) -> Result<(), Refused> {
    let sources = record.observed.dependencies.iter().filter(|one| one.role == Role::Source);
    let all = [&record.order.source.uri, &record.observed.source.uri].into_iter();
    let named = |uri: &&String| {
        !address::split_reference(uri).1.is_empty() && ordered != Some(uri.as_str())
    };
    match all.chain(sources.filter_map(|one| one.uri.as_ref())).find(named) {
        Some(uri) => {
            let got = address::without_credentials(uri);
            Err(Refused::Reference { got: model::text::escape(got.as_bytes()) })
        }
        None => Ok(()),
    }
}

/// Checks that a source's address is `local`, or one that shows all of its letters and holds no credential: no user,
/// and no query or fragment, in which a token could stand.
///
/// # Errors
/// [`Refused::Address`].
pub(crate) fn check_address(address: &str) -> Result<(), Refused> {
    let fits = |text: &str| {
        text.len() <= ADDRESS_BYTES_MAX && address::is_plain(text) && !text.contains(['?', '#'])
    };
    if address == LOCAL || fits(address) {
        return Ok(());
    }
    // What a query holds may be a token.
    let plain = address.split(['?', '#']).next().unwrap_or(address);
    let cut = if plain.len() < address.len() { "…" } else { "" };
    let got = address::without_credentials(plain) + cut;
    Err(Refused::Address { got: model::text::escape(got.as_bytes()) })
}

/// Checks that a name is a plain file name, which nobody can mistake for another.
///
/// # Errors
/// [`Refused::SubjectName`], [`Refused::OddName`].
pub(crate) fn check_name(name: &str) -> Result<(), Refused> {
    let shown = model::text::escape(name.as_bytes());
    match Name::new(name) {
        Err(source) => Err(Refused::SubjectName { name: shown, source }),
        Ok(_) if shown == name && name.trim() == name => Ok(()),
        Ok(_) => Err(Refused::OddName { name: shown }),
    }
}

/// Checks the name of an artifact: plain, and not that of the list beside it.
fn check_artifact_name(name: &str) -> Result<(), Refused> {
    check_name(name)?;
    if name == SUMS {
        return Err(Refused::OddName { name: model::text::escape(name.as_bytes()) });
    }
    Ok(())
}

fn check_parameters(record: &Record) -> Result<(), Refused> {
    let (order, observed) = (&record.order, &record.observed);
    let differs = |parameter, expected: &str, got: &str| {
        let [expected, got] = [expected, got].map(|text| model::text::escape(text.as_bytes()));
        Err(Refused::Parameter { parameter, expected, got })
    };
    let (expected, got) = (parameters(&order.asked), parameters(&observed.asked));
    for ((parameter, expected), (other, got)) in expected.iter().zip(&got) {
        if parameter != other {
            return differs("kind", parameter, other);
        }
        if expected != got {
            return differs(parameter, expected, got);
        }
    }
    if order.waivers != observed.waivers {
        let told = |waivers: &std::collections::BTreeSet<Guarantee>| {
            waivers.iter().map(Guarantee::to_string).collect::<Vec<_>>().join(", ")
        };
        return differs("waivers", &told(&order.waivers), &told(&observed.waivers));
    }
    match expected.iter().find(|(parameter, _)| *parameter == "target") {
        Some((_, target)) if *target != observed.subject.name => {
            differs("target", target, &observed.subject.name)
        }
        _ => Ok(()),
    }
}

/// Returns what was asked, each parameter by its name. The first tells the kinds apart.
fn parameters(asked: &Asked) -> Vec<(&'static str, String)> {
    match asked {
        Asked::Build { build_file, target, matrix, overrides } => vec![
            ("build file", build_file.to_string()),
            ("target", target.clone()),
            ("matrix", matrix.clone()),
            ("overrides", overrides.clone()),
        ],
        Asked::Run { command, inputs, outputs, packages, environment, target } => vec![
            ("command", command.clone()),
            ("inputs", inputs.clone()),
            ("outputs", outputs.clone()),
            ("packages", packages.clone()),
            ("environment", environment.clone()),
            ("target", target.clone()),
        ],
    }
}

/// Checks that the steps are those of a plan, each told once and within the run's time.
fn check_steps(record: &Record) -> Result<(), Refused> {
    let run = &record.observed.run;
    if run.byproducts.iter().filter(|one| one.name == PLAN).count() != 1 {
        return Err(Refused::NoPlan);
    }
    let mut logs = std::collections::BTreeMap::new();
    let latest = run.finished.saturating_add(CLOCK_SLACK_SECONDS);
    let earliest = run.started.saturating_sub(CLOCK_SLACK_SECONDS);
    for step in &run.steps {
        if logs.insert(format!("{}.log", step.id), step).is_some() {
            return Err(Refused::SameStep { step: step.id.clone() });
        }
        let seconds = i64::try_from(step.wall_ms / 1000).unwrap_or(i64::MAX);
        let ended = step.started.saturating_add(seconds);
        // One that was found instead of run did so at any earlier time.
        let early = step.cached_from.is_none() && step.started < earliest;
        if early || step.started < 0 || ended > latest {
            return Err(Refused::StepTimes { step: step.id.clone() });
        }
    }
    for byproduct in &run.byproducts {
        if let Some(step) = logs.get(&byproduct.name)
            && step.log.digest != byproduct.digest
        {
            return Err(Refused::OtherLog { step: step.id.clone() });
        }
    }
    // `STEP.LIMIT`; a matrix value in the step's name may hold a dot.
    for asked in record.observed.asked_limits.keys() {
        let step = asked.rsplit_once('.').map(|(step, _)| format!("{step}.log"));
        if !step.is_some_and(|step| logs.contains_key(&step)) {
            return Err(Refused::UnknownStep { what: model::text::escape(asked.as_bytes()) });
        }
    }
    Ok(())
}

/// Checks the Order's deadline at a given time, in seconds since 1970.
///
/// # Errors
/// [`Refused::Late`] after it.
pub(crate) fn check_deadline(deadline: i64, now: i64) -> Result<(), Refused> {
    let late_seconds = now.saturating_sub(deadline);
    if late_seconds > 0 { Err(Refused::Late { late_seconds }) } else { Ok(()) }
}

fn check_guarantees(record: &Record) -> Result<(), Refused> {
    let run = &record.observed.run;
    if run.steps.is_empty() {
        return Err(Refused::NoStep);
    }
    for step in &run.steps {
        check_step(record, step)?;
    }
    Ok(())
}

fn check_step(record: &Record, step: &StepRecord) -> Result<(), Refused> {
    if step.exit_code != 0 {
        return Err(Refused::StepFailed { step: step.id.clone(), exit_code: step.exit_code });
    }
    if !check_cases(step) {
        return Err(Refused::Cases { step: step.id.clone() });
    }
    let missing = step.enforced.missing(|guarantee| record.order.waivers.contains(&guarantee));
    match missing.into_iter().next() {
        Some(guarantee) => Err(Refused::NotEnforced { guarantee, step: step.id.clone() }),
        None => Ok(()),
    }
}

/// Says whether the counts of a report are such as one can have.
fn check_cases(step: &StepRecord) -> bool {
    let Some(cases) = &step.cases else { return true };
    let bad = cases.failures.checked_add(cases.errors);
    let sum = bad.and_then(|bad| bad.checked_add(cases.skipped));
    let named = u64::try_from(cases.not_passed.len()).ok();
    step.test && sum.is_some_and(|sum| sum <= cases.tests) && named <= bad && named.is_some()
}

fn check_dependencies(record: &Record) -> Result<(), Refused> {
    let dependencies = &record.observed.dependencies;
    let build_file = dependencies.iter().any(|dependency| dependency.role == Role::BuildFile);
    if matches!(record.order.asked, Asked::Build { .. }) && !build_file {
        return Err(Refused::NoBuildFile);
    }
    let mut seen = std::collections::BTreeSet::new();
    for dependency in dependencies {
        if !seen.insert((dependency.role, dependency.name.as_str())) {
            return Err(Refused::SameName {
                role: dependency.role.as_str(),
                name: model::text::escape(dependency.name.as_bytes()),
            });
        }
    }
    Ok(())
}
