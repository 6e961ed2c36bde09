//! Whether a Record may be sworn to at all: Observed must answer its Order, and the guarantees held.
//!
//! The runner is believed about what a step did, but not against the Order and not against itself.
//! What is refused here never becomes bytes, so nothing is signed that fails one of these rules.
//!
//! Pure. Does not catch: a runner that lies consistently; that is the trust boundary.

use model::isolation::Guarantee;
use model::record::{Asked, RECORD_VERSION, Record, Role, StepRecord};
use model::relpath::{Name, PathError};
use model::step::StepId;

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
    /// It ended after the Order's deadline, or comes after it.
    #[error("it comes {late_seconds} s after the order's deadline")]
    Late {
        /// How much later, in seconds.
        late_seconds: i64,
    },
    /// It ended before it started.
    #[error("it ended before it started")]
    Times,
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
            model::text::escape(format!("{} at {commit}, {state}", source.uri).as_bytes())
        };
        return Err(Refused::Source { expected: show(&order.source), got: show(&observed.source) });
    }
    check_deadline(order.deadline, observed.run.finished)?;
    if observed.run.finished < observed.run.started {
        return Err(Refused::Times);
    }
    Name::new(&observed.subject.name).map_err(|source| Refused::SubjectName {
        name: model::text::escape(observed.subject.name.as_bytes()),
        source,
    })?;
    check_guarantees(record)?;
    check_dependencies(record)
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
    if record.order.waivers.contains(&Guarantee::Network) {
        return Err(Refused::NetworkWaived);
    }
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
    let missing = Guarantee::ALL
        .into_iter()
        .filter(|guarantee| guarantee.is_core() && !record.order.waivers.contains(guarantee))
        .find(|guarantee| !step.enforced.keeps(*guarantee));
    match missing {
        Some(guarantee) => Err(Refused::NotEnforced { guarantee, step: step.id.clone() }),
        None => Ok(()),
    }
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
