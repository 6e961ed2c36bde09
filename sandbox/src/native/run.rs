//! Runs one step: the build process's side of the story, in seven moves.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use model::isolation::Guarantee;
use model::limits::Bytes;
use rustix::net::{Shutdown, shutdown};

use super::around::Kills;
use super::cgroup::{Group, Host, Wanted};
use super::crowd::Crowd;
use super::enforced::enforced;
use super::error::{Doing, Failure};
use super::met::Met;
use super::order::{Ordered, order};
use super::space::Space;
use super::supervise::{Bounds, Ending, Seen, Stop, Watchers, watch};
use super::usage::{Full, Watcher};
use super::{launch, share, tell, wire};
use crate::cancel::Cancel;
use crate::error::{Cause, Error, LimitName, MountProblem};
use crate::outcome::{Exit, Outcome, Stream, Usage, Writable};
use crate::probe::cause_of;
use crate::spec::{Parts, Spec};

/// Runs a step and returns once every process of it is proven dead.
///
/// 1. takes its share of the user's processes, and decides what to mount and to limit; 2. takes a started child; 3. hands it the order;
/// 4. limits its control group, which it is in since it was started, and lets it go on;
/// 5. watches until all is dead; 6. removes the group, the second proof; 7. tells what came of it.
///
/// Output goes to `sink` as it comes. May be called from several threads at once. The calling thread
/// must live as long as the step, which a blocking call sees to.
///
/// # Errors
/// When the step did not run to its end under every guarantee, see [`Error`]. A step that failed, was
/// too slow or was cancelled is an `Outcome`.
pub fn run(
    spec: &Spec,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Outcome, Error> {
    let (parts, host) = (spec.parts(), Host::get());
    // 1.
    let share = share::take(&parts.limits, parts.waived.contains(&Guarantee::Limits), cancel)?;
    let ordered = order(parts, host, share)?;
    tell::ordered(parts, &ordered);
    // 2. to 6.
    let done = carry_out_order(parts, &ordered, cancel, sink)
        .map_err(|error| ordered.share.explain(&parts.limits, error))?;
    // 7.
    outcome(parts, host, &ordered, done)
        .map_err(|error| ordered.share.explain(&parts.limits, error))
        .inspect(tell::outcome)
}

/// A run that is over, every process of it dead.
pub struct Done {
    /// What was seen.
    pub seen: Seen,
    /// Processes that were killed because memory ran out.
    pub killed_for_memory: u64,
    /// Whether that was by the step's own limit.
    pub by_own_limit: bool,
    /// Processes that could not be started because there were too many.
    pub refused_processes: u64,
    /// Most memory held at once.
    pub memory_peak: Option<Bytes>,
}

/// What a child is sent, and how its run is bounded and ended.
pub struct Dispatch<'a> {
    /// What kind of order it is.
    pub word: &'static [u8],
    /// The packed order first, and what belongs to it.
    pub fds: &'a [BorrowedFd<'a>],
    /// What its control group limits.
    pub wanted: Wanted,
    /// How it is killed.
    pub ending: Ending,
    /// Who watches what it writes to a disk.
    pub disk: Option<Watcher>,
    /// Who watches how many processes the user has.
    pub crowd: Option<Crowd>,
}

/// Moves 2 to 6 of [`run`], for a step in namespaces of its own.
pub fn carry_out_order(
    parts: &Parts,
    ordered: &Ordered,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Done, Error> {
    let bodies: Vec<&[u8]> = parts.files.iter().map(|file| file.bytes.as_slice()).collect();
    let disk = match &ordered.work {
        Space::Memory { .. } => None,
        Space::Folder { path, bytes, .. } => {
            Some(Watcher::start(path, *bytes).map_err(setup(Doing::Watch))?)
        }
    };
    let packed = wire::pack(&ordered.order, &bodies).map_err(setup(Doing::Talk))?;
    // The slot's lock goes along, so that it outlives this process if the step does.
    let outer = ordered.order.outer;
    let showing = outer.and_then(|outer| outer.showing());
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(packed.as_fd())
        .chain(ordered.slot.iter().map(AsFd::as_fd))
        .chain(showing.iter().map(AsFd::as_fd))
        .collect();
    let (wanted, ending) = (ordered.wanted, Ending::FirstProcess);
    let crowd = ordered.share.watch(ordered.order.program.processes.is_some());
    let dispatch = Dispatch { word: wire::ORDER, fds: &fds, wanted, ending, disk, crowd };
    let mut done = carry_out(parts, dispatch, cancel, sink)?;
    if let (Some(outer), Some(made)) = (outer, done.seen.showing.take()) {
        outer.keep(made);
    }
    Ok(done)
}

/// Moves 2 to 6 of [`run`], whatever the order.
pub fn carry_out(
    parts: &Parts,
    dispatch: Dispatch<'_>,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Done, Error> {
    // Where it has no group of its own for memory it lies in ours.
    let around = if Host::get().limits_memory() { Ok(None) } else { Kills::begin() };
    let around = around.map_err(setup(Doing::Watch))?;
    // 2.
    let mut launched = launch::take()?;
    launch::prepare_ahead();
    // 3. A child that is gone already says why, or shows by its silence that it is.
    let _ = wire::send(launched.socket.as_fd(), dispatch.word, dispatch.fds);
    // 4. It starts nothing before it is told to go on, so whatever it starts is limited.
    let grouped = std::mem::replace(&mut launched.group, Ok(None)).and_then(|group| {
        let limit = |mut group: Group| group.limit(dispatch.wanted, launched.pid).map(|()| group);
        group.map(limit).transpose()
    });
    let _ = match &grouped {
        Ok(_) => wire::send(launched.socket.as_fd(), wire::GO_ON, &[]),
        Err(_) => shutdown(&launched.socket, Shutdown::Write).map_err(io::Error::from),
    };
    // 5.
    let bounds = Bounds {
        timeout: parts.timeout,
        idle: parts.limits.idle.map(|limit| limit.value),
        log: parts.limits.log.value,
        ending: dispatch.ending,
    };
    let group = grouped.as_ref().ok().and_then(Option::as_ref);
    let watchers = Watchers { disk: dispatch.disk, crowd: dispatch.crowd };
    let seen = watch(launched, &bounds, group, watchers, cancel, sink)?;
    let mut group = match (grouped, &seen.failure) {
        (Ok(group), _) => group,
        (Err(source), _) if source.kind() == io::ErrorKind::OutOfMemory => {
            return Err(Error::TooLow { limit: LimitName::Memory, source });
        }
        // It failed by itself, before it could have been admitted.
        (Err(_), Some(failure)) if failure.doing != Doing::Talk => {
            return Err(explain(failure.clone()));
        }
        (Err(cause), _) => return Err(setup(Doing::ControlGroup)(cause)),
    };
    // 6.
    let killed_in_ours = around.map_or(Ok(0), |kills| kills.since());
    let killed_in_own = group.as_ref().map_or(0, Group::killed_for_memory);
    let by_own_limit = group.as_ref().is_some_and(Group::met_memory_limit);
    let refused_processes = group.as_ref().map_or(0, Group::refused_processes);
    let memory_peak = group.as_ref().and_then(Group::memory_peak);
    if let Some(group) = &mut group {
        group.remove().map_err(|pids| Error::StillAlive { pids })?;
    }
    launch::prepare();
    let killed_for_memory = killed_in_own + killed_in_ours.map_err(setup(Doing::Watch))?;
    Ok(Done { seen, killed_for_memory, by_own_limit, refused_processes, memory_peak })
}

/// Tells how the step ended, or why it did not run to its end.
pub fn exit(done: &Done) -> Result<Exit, Error> {
    let Done { seen, killed_for_memory, by_own_limit, .. } = done;
    let cancelled = seen.stop == Some(Stop::Cancelled);
    if let Some(failure) = seen.failure.clone().filter(|_| !cancelled) {
        return Err(too_low(done, &failure).unwrap_or_else(|| explain(failure)));
    }
    Ok(match (seen.stop, seen.ended) {
        (Some(Stop::Cancelled), _) => Exit::Cancelled,
        (Some(Stop::TimeOut), _) => Exit::TimedOut { idle: false },
        (Some(Stop::Idle), _) => Exit::TimedOut { idle: true },
        (Some(Stop::Disk(Full::Limit)), _) => Exit::OutOfDisk,
        (Some(Stop::Disk(Full::Reserve)), _) => Exit::OutOfHostDisk,
        (Some(Stop::Disk(Full::Depth)), _) => Exit::TooDeep,
        (Some(Stop::Stuck), _) => return Err(Error::ChildLost),
        (None, _) if *killed_for_memory > 0 && *by_own_limit => Exit::OutOfMemory,
        (None, _) if *killed_for_memory > 0 => Exit::OutOfMemoryAround,
        (None, None) => return Err(Error::ChildLost),
        (None, Some((_, _, Met { over: true, .. }))) => Exit::OutOfDisk,
        (None, Some((0, _, _))) => Exit::Exited(0),
        (None, Some((_, _, Met { full: true, .. }))) => Exit::OutOfDisk,
        (None, Some((code @ 0.., _, _))) => Exit::Exited(code),
        (None, Some((signal, _, _))) => Exit::Signaled(-signal),
    })
}

fn outcome(parts: &Parts, host: &Host, ordered: &Ordered, done: Done) -> Result<Outcome, Error> {
    let exit = exit(&done)?;
    let limits_hit = limits_hit(&done);
    let Done { seen, memory_peak, .. } = done;
    let network_heard = seen.facts.as_ref().is_some_and(|facts| facts.network_heard);
    // Stopped before the seal: nothing ran, and nothing is claimed.
    let held = seen.facts.map(|facts| enforced(&facts, parts, host, ordered));
    let views = ordered.places.iter().cloned().zip(seen.places);
    Ok(Outcome {
        exit,
        enforced: held.unwrap_or_default(),
        usage: Usage { wall: seen.wall, cpu: seen.cpu, memory_peak },
        left_processes: seen.ended.map_or(0, |(_, left, _)| left),
        log_cut: seen.log_cut,
        limits_hit,
        network_attempts: seen.attempts.into_iter().collect(),
        network_heard,
        views: views.map(|(at, dir)| Writable { at, dir }).collect(),
        staging: None,
        _place: None,
    })
}

/// Returns the limits that refused the step something, also where it went on without a word of it.
pub fn limits_hit(done: &Done) -> Vec<LimitName> {
    let met = done.seen.ended.map(|(_, _, met)| met).unwrap_or_default();
    let full = met.over || met.full || matches!(done.seen.stop, Some(Stop::Disk(_)));
    let hit = [
        (done.killed_for_memory > 0 && done.by_own_limit, LimitName::Memory),
        (full, LimitName::Disk),
        (done.refused_processes > 0 || met.processes || done.seen.crowded, LimitName::Pids),
    ];
    hit.into_iter().filter_map(|(hit, limit)| hit.then_some(limit)).collect()
}

/// Returns the error of a child that one of the step's own limits kept from starting it.
fn too_low(done: &Done, failure: &Failure) -> Option<Error> {
    // Sources that show their owners as the step are made by a process of their own.
    let starting =
        matches!(failure.doing, Doing::OpenSource | Doing::FirstProcess | Doing::StepProcess);
    let limit = match failure.errno {
        libc::EAGAIN if starting && done.refused_processes > 0 => LimitName::Pids,
        libc::ENOMEM if done.killed_for_memory > 0 && done.by_own_limit => LimitName::Memory,
        _ => return None,
    };
    Some(Error::TooLow { limit, source: io::Error::from_raw_os_error(failure.errno) })
}

/// Turns a failure of the child's into an error that says what it means.
pub fn explain(failure: Failure) -> Error {
    let Failure { doing, operand, errno } = failure;
    let source = std::io::Error::from_raw_os_error(errno);
    let place = |problem| {
        let inside = operand.strip_prefix("root").unwrap_or(&operand);
        model::AbsPath::new(inside).ok().map(|at| Error::Place { at, problem })
    };
    let placed = match doing {
        Doing::PointKind => place(MountProblem::NotAFolder),
        Doing::PointOccupied => place(MountProblem::Occupied),
        _ => None,
    };
    if let Some(error) = placed {
        return error;
    }
    match (doing, doing.guarantee()) {
        (Doing::Execute, _) => Error::Program { program: operand, source },
        // No kernel call to seal a source with: nothing is wrong with the source.
        (Doing::OpenSource, _) if errno == libc::ENOSYS => {
            let cause = cause_of(doing, &source);
            Error::Missing { guarantee: Guarantee::Files, doing, cause, source }
        }
        (Doing::OpenSource, _) => Error::Source { path: operand.into(), source },
        (_, Some(guarantee)) => {
            let cause = match doing {
                Doing::TryDevice => Cause::DeviceRules { refused: operand },
                Doing::TryLoopback => Cause::SocketRules { refused: operand },
                _ => cause_of(doing, &source),
            };
            Error::Missing { guarantee, doing, cause, source }
        }
        (Doing::ReadBack, None) => match operand.parse::<Guarantee>() {
            Ok(guarantee) => {
                let cause = cause_of(doing, &source);
                Error::Missing { guarantee, doing, cause, source }
            }
            Err(_) => Error::Setup { doing, operand, source },
        },
        (_, None) => Error::Setup { doing, operand, source },
    }
}

fn setup(doing: Doing) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Setup { doing, operand: String::new(), source }
}
