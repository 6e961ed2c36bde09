//! Runtime trace v0.1: where the steps of a build wanted to go on a network that they did not have.
//!
//! Stated only if every step was watched from its first call to its last. An empty log then says that
//! nobody asked for a name and nobody connected or sent to an address, as far as the trace policy goes:
//! `sendmsg` with an address fails as well and is not heard. A step that was not watched, by another
//! backend or an older kiln, makes the statement impossible, not empty.
//!
//! Pure. Source: in-toto attestation, predicates/runtime-trace.md; ITE-11.

use model::record::Record;
use serde::Serialize;

use super::provenance;
use super::run_details;
use crate::builder::BuilderId;
use crate::order::Refused;

/// The predicate type.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/runtime-trace/v0.1";
/// What watched: `docs/statements.md`.
pub const MONITOR_TYPE: &str = "https://kiln.build/monitors/sandbox/v1";
/// What is heard of, each in its own word.
const HEARD: [&str; 3] = ["connect", "sendto", "name-lookup"];

/// The predicate.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trace {
    monitor: Monitor,
    monitored_process: Process,
    monitor_log: Log,
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Monitor {
    #[serde(rename = "type")]
    monitor_type: &'static str,
    trace_policy: Policy,
}

#[derive(Serialize)]
struct Policy {
    network: [&'static str; 3],
}

#[derive(Serialize)]
struct Process {
    #[serde(rename = "hostID")]
    host: String,
    #[serde(rename = "type")]
    process_type: &'static str,
    event: String,
}

#[derive(Serialize)]
struct Log {
    network: Vec<Attempt>,
}

#[derive(Serialize)]
struct Attempt {
    step: String,
    attempted: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    build_started_on: String,
    build_finished_on: String,
}

/// Returns the predicate.
///
/// # Errors
/// [`Refused::NotHeard`] for a step that was not watched; a time that no calendar has.
pub(crate) fn runtime_trace(record: &Record, builder: &BuilderId) -> Result<Trace, Refused> {
    let run = &record.observed.run;
    if let Some(step) = run.steps.iter().find(|step| !step.network_heard) {
        return Err(Refused::NotHeard { step: step.id.clone() });
    }
    let attempts = run.steps.iter().flat_map(|step| {
        let name = step.id.to_string();
        let of =
            move |attempted: &String| Attempt { step: name.clone(), attempted: attempted.clone() };
        step.network_attempts.iter().map(of)
    });
    Ok(Trace {
        monitor: Monitor { monitor_type: MONITOR_TYPE, trace_policy: Policy { network: HEARD } },
        monitored_process: Process {
            host: builder.to_string(),
            process_type: provenance::build_type(&record.order.asked),
            event: run.invocation.clone(),
        },
        monitor_log: Log { network: attempts.collect() },
        metadata: Metadata {
            build_started_on: run_details::time(run.started)?,
            build_finished_on: run_details::time(run.finished)?,
        },
    })
}
