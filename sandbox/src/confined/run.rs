//! Runs one confined step, in seven moves.

use std::os::fd::AsFd;

use model::isolation::{Enforced, Guarantee};
use model::limits::Limits;

use super::enforced::enforced;
use super::preflight;
use super::slot::Slots;
use super::used::Used;
use super::warden::Order;
use crate::cancel::Cancel;
use crate::error::{Error, LimitName};
use crate::native::cgroup::{Host, Wanted};
use crate::native::error::Doing;
use crate::native::run::{Dispatch, Done, carry_out, exit, explain, limits_hit};
use crate::native::setup::place;
use crate::native::share::{self, Share};
use crate::native::supervise::Ending;
use crate::native::trial::Trial;
use crate::native::wire::{self, Program};
use crate::native::{order, seccomp, tell};
use crate::outcome::{Outcome, Stream, Usage, Writable};
use crate::spec::{Parts, Spec};

/// Runs a step and returns once every process of its user is proven dead.
///
/// 1. asks whether it can be done here, and which limits can be kept;
/// 2. takes a slot, its prepared root, and makes in it what the step gets;
/// 3. hands the order to a started child, the step's warden;
/// 4. watches until the warden has killed and reaped all;
/// 5. proves that nobody of that user lives and that the root is as it was;
/// 6. tells what came of it;
/// 7. wipes the slot once the outcome is let go.
///
/// # Errors
/// When the step did not run to its end under every guarantee, see [`Error`].
pub fn run(
    spec: &Spec,
    slots: &Slots,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Outcome, Error> {
    let (parts, host) = (spec.parts(), Host::get());
    // 1.
    let share = share::take(&parts.limits, parts.waived.contains(&Guarantee::Limits), cancel)?;
    let wanted = judge(parts, host, &share)?;
    // 2.
    let (used, views) = Used::take(slots, parts)?;
    // 3. and 4.
    let done = carry_out_order(parts, wanted, &used, &views, cancel, sink)?;
    // 5.
    used.prove()?;
    // 6.
    let exit = exit(&done)?;
    let limits_hit = limits_hit(&done);
    let Done { seen, memory_peak, .. } = done;
    let held =
        seen.facts.map(|facts| enforced(&facts, parts, host, (wanted, &share), used.users()));
    let outcome = Outcome {
        exit,
        enforced: held.unwrap_or_default(),
        usage: Usage { wall: seen.wall, cpu: seen.cpu, memory_peak },
        left_processes: seen.ended.map_or(0, |(_, left, _)| left),
        log_cut: seen.log_cut,
        limits_hit,
        network_attempts: Vec::new(),
        network_heard: false,
        views,
        // 7.
        staging: None,
        _place: Some(used),
    };
    tell::outcome(&outcome);
    Ok(outcome)
}

/// Rehearses a step that has no environment and no program; returns what held.
///
/// # Errors
/// What this host lacks, see [`Error`].
pub fn rehearse(slots: &Slots) -> Result<Enforced, Error> {
    let failed = |source| Error::Setup { doing: Doing::Watch, operand: String::new(), source };
    let cancel = Cancel::new().map_err(failed)?;
    let (parts, host) = (crate::native::rehearse::parts(), Host::get());
    let share = share::take(&parts.limits, true, &cancel)?;
    let wanted = judge(&parts, host, &share)?;
    let (used, views) = Used::take(slots, &parts)?;
    let done = carry_out_order(&parts, wanted, &used, &views, &cancel, &mut |_, _| {})?;
    used.prove()?;
    match (done.seen.failure, done.seen.facts) {
        (Some(failure), Some(facts)) if failure.doing == Doing::Execute => {
            Ok(enforced(&facts, &parts, host, (wanted, &share), used.users()))
        }
        (Some(failure), _) => Err(explain(failure)),
        (None, _) => Err(Error::ChildLost),
    }
}

fn judge(parts: &Parts, host: &Host, share: &Share) -> Result<Wanted, Error> {
    preflight::check()?;
    let Limits { disk, .. } = &parts.limits;
    if disk.asked && !parts.waived.contains(&Guarantee::Limits) {
        return Err(Error::Unenforceable { limit: LimitName::Disk });
    }
    order::wanted(parts, host, share)
}

fn carry_out_order(
    parts: &Parts,
    wanted: Wanted,
    used: &Used,
    views: &[Writable],
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Done, Error> {
    let mut writable: Vec<_> = views.iter().map(|view| view.at.clone()).collect();
    writable.extend([place("tmp"), place("dev/shm")]);
    let order = Order {
        users: used.users(),
        processors: order::processors(parts.cpus)?,
        writable,
        program: Program {
            argv: parts.argv.clone(),
            env: parts.env.clone(),
            cwd: parts.cwd.clone(),
            files: parts.limits.files.value.0,
            // No other process has the step's user, so this counts the step's and no others.
            processes: Some(wanted.pids.0),
            file_bytes: Some(parts.limits.disk.value.0),
            may_randomize: true,
            trial: if parts.root.as_os_str().is_empty() { Trial::Devices } else { Trial::None },
        },
        filter: seccomp::confined_program(used.users().step),
    };
    let failed = |source| Error::Setup { doing: Doing::Talk, operand: String::new(), source };
    let packed = wire::pack(&order, &[]).map_err(failed)?;
    let fds = [packed.as_fd(), used.root().as_fd()];
    let (word, ending) = (wire::CONFINED, Ending::Word);
    let dispatch = Dispatch { word, fds: &fds, wanted, ending, disk: None, crowd: None };
    carry_out(parts, dispatch, cancel, sink)
}
