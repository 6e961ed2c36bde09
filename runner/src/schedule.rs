//! What is ready runs; what fails blocks those that wait for it.
//!
//! Steps that do not depend on a failed one still run, so one build tells all that is wrong. Workers
//! are plain threads; the main thread alone talks and decides. The order in which steps end changes
//! nothing but the order of lines: results are kept by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use model::step::{Step, StepId};

use crate::diagnostic::{Code, Diagnostic};
use crate::execute::{Ran, StepFailure, refused_before};
use crate::plan::Plan;
use crate::report::{Ended, Event, State, Talk};

/// What became of the steps of a plan.
#[derive(Debug, Default)]
pub struct Ends {
    /// Steps with a result, run now or found.
    pub ran: BTreeMap<StepId, Ran>,
    /// Steps that failed, with their reasons.
    pub failed: BTreeMap<StepId, StepFailure>,
    /// Steps that did not start: `Blocked` because something before them failed, `Cancelled` because
    /// everything was stopped.
    pub unstarted: BTreeMap<StepId, State>,
}

/// How the workers see what has been done so far.
pub type Done = Arc<Mutex<BTreeMap<StepId, Ran>>>;

/// Most messages on their way to the main thread, each with at most a pipe full of output. A step waits
/// when they are not taken: a terminal that stands still must not cost memory.
const MESSAGES_MAX: usize = 64;

/// Stack of a worker, in bytes. Left alone, the library takes the number from a variable of whoever calls.
const STACK_BYTES: usize = 8 << 20;

enum Message {
    Event(Event),
    Ended(StepId, Box<Result<Ran, StepFailure>>, Duration),
}

/// Runs the steps of `plan`, at most `jobs` at once, with `work`; stops starting more once
/// `stopped` says so.
pub fn run<W, S>(plan: &Plan, jobs: usize, talk: &mut Talk, stopped: S, work: W) -> Ends
where
    W: Fn(&Step, &Done, &dyn Fn(Event)) -> Result<Ran, StepFailure> + Sync,
    S: Fn() -> bool,
{
    let mut ends = Ends::default();
    let mut waiting: BTreeMap<&StepId, BTreeSet<&StepId>> =
        plan.steps.iter().map(|(id, step)| (id, step.waits_for())).collect();
    let done: Done = Arc::default();
    let (messages, inbox) = sync_channel(MESSAGES_MAX);
    let done_here = Arc::clone(&done);
    thread::scope(|scope| {
        let mut running = 0_usize;
        loop {
            while running < jobs && !stopped() {
                let Some(next) =
                    waiting.iter().find(|(_, before)| before.is_empty()).map(|(id, _)| *id)
                else {
                    break;
                };
                waiting.remove(next);
                let Some(step) = plan.steps.get(next) else { break };
                running += 1;
                let (messages, done, work) = (messages.clone(), Arc::clone(&done), &work);
                let worker = thread::Builder::new().stack_size(STACK_BYTES);
                let started = worker.spawn_scoped(scope, move || one(step, &done, &messages, work));
                if let Err(error) = started {
                    running -= 1;
                    let failed = (next.clone(), Err(no_worker(next, &error)), Duration::ZERO);
                    settle(&mut ends, &mut waiting, &done_here, talk, failed);
                }
            }
            if running == 0 {
                break;
            }
            if let Some((id, result, took)) = next_end(&inbox, talk) {
                running -= 1;
                settle(&mut ends, &mut waiting, &done, talk, (id, result, took));
            }
        }
    });
    for (id, state) in unstarted(&waiting, &ends.failed) {
        talk.event(Event::Ended(Ended {
            step: id.clone(),
            state,
            detail: None,
            took: Duration::ZERO,
            tail: None,
        }));
        ends.unstarted.insert(id, state);
    }
    ends
}

/// Says why each waiting step did not start: something before it failed, at any distance, or nothing
/// did and all was stopped.
fn unstarted(
    waiting: &BTreeMap<&StepId, BTreeSet<&StepId>>,
    failed: &BTreeMap<StepId, StepFailure>,
) -> BTreeMap<StepId, State> {
    let did_fail =
        |id: &StepId| failed.get(id).is_some_and(|failure| failure.state != State::Cancelled);
    let mut blocked: BTreeSet<&StepId> = BTreeSet::new();
    loop {
        let known = blocked.len();
        for (id, before) in waiting {
            if before.iter().any(|before| did_fail(before) || blocked.contains(before)) {
                blocked.insert(id);
            }
        }
        if blocked.len() == known {
            break;
        }
    }
    let state = |id| if blocked.contains(id) { State::Blocked } else { State::Cancelled };
    waiting.keys().map(|id| ((*id).clone(), state(*id))).collect()
}

/// A step for which there is no thread.
fn no_worker(id: &StepId, error: &std::io::Error) -> StepFailure {
    let told = Diagnostic::new(Code::SandboxFailed, format!("step `{id}`: cannot start a thread"));
    let help = "let kiln have more processes or memory:  ulimit -u, ulimit -v; or run fewer steps at once:  -j 1";
    refused_before(vec![told.caused_by(error).help(help)])
}

fn one<W>(step: &Step, done: &Done, messages: &SyncSender<Message>, work: &W)
where
    W: Fn(&Step, &Done, &dyn Fn(Event)) -> Result<Ran, StepFailure> + Sync,
{
    let began = Instant::now();
    let tell = |event: Event| {
        // The main thread outlives every worker of its scope; a lost event would only be a lost line.
        messages.send(Message::Event(event)).unwrap_or_default();
    };
    let result = work(step, done, &tell);
    messages
        .send(Message::Ended(step.id.clone(), Box::new(result), began.elapsed()))
        .unwrap_or_default();
}

fn next_end(
    inbox: &Receiver<Message>,
    talk: &mut Talk,
) -> Option<(StepId, Result<Ran, StepFailure>, Duration)> {
    match inbox.recv_timeout(Duration::from_millis(100)) {
        Ok(Message::Event(event)) => {
            talk.event(event);
            None
        }
        Ok(Message::Ended(id, result, took)) => Some((id, *result, took)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            talk.tick();
            None
        }
    }
}

fn settle<'a>(
    ends: &mut Ends,
    waiting: &mut BTreeMap<&'a StepId, BTreeSet<&'a StepId>>,
    done: &Done,
    talk: &mut Talk,
    (id, result, took): (StepId, Result<Ran, StepFailure>, Duration),
) {
    match result {
        Ok(ran) => {
            let state = if ran.cached { State::Cached } else { State::Passed };
            let tail = (!ran.cached).then(|| ran.tail.clone()).flatten();
            talk.event(Event::Ended(Ended {
                step: id.clone(),
                state,
                detail: ran.note.clone(),
                took,
                tail,
            }));
            for before in waiting.values_mut() {
                before.retain(|waited| **waited != id);
            }
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(id.clone(), ran.clone());
            ends.ran.insert(id, ran);
        }
        Err(failure) => {
            talk.event(Event::Ended(Ended {
                step: id.clone(),
                state: failure.state,
                detail: failure.detail.clone(),
                took,
                tail: failure.tail.clone(),
            }));
            ends.failed.insert(id, failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> StepId {
        StepId::parse(name).unwrap()
    }

    fn failure(state: State) -> StepFailure {
        let (detail, tail, log_blob, action, cases) = (None, None, None, None, None);
        StepFailure {
            state,
            detail,
            diagnostics: Vec::new(),
            tail,
            log_blob,
            action,
            cases,
            wall_ms: 0,
        }
    }

    #[test]
    fn a_step_is_blocked_by_a_failure_at_any_distance_and_cancelled_by_a_stop() {
        let names = ["a", "b", "c", "d", "failed", "stopped"].map(id);
        let [a, b, c, d, failed, stopped] = &names;
        let waiting: BTreeMap<&StepId, BTreeSet<&StepId>> =
            [(a, [b].into()), (b, [failed].into()), (c, [stopped].into()), (d, BTreeSet::new())]
                .into();
        let ends = [
            (failed.clone(), failure(State::Failed)),
            (stopped.clone(), failure(State::Cancelled)),
        ]
        .into();
        let states: Vec<State> = unstarted(&waiting, &ends).into_values().collect();
        assert_eq!(states, [State::Blocked, State::Blocked, State::Cancelled, State::Cancelled]);
    }
}
