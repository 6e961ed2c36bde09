//! Watches a started container: output, time, silence, disk, interruption, and its end.
//!
//! The times are kiln's own, of the monotonic clock, as on the native backend: TERM, a grace, KILL.
//! The engine is believed about the end only after it has said so twice: by the answer to the wait,
//! and by a look at the container, which must not be running any more.

use std::future::{Future, poll_fn};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::ContainerWaitResponse;
use bollard::query_parameters::KillContainerOptionsBuilder;
use futures_util::{Stream, StreamExt};
use model::limits::{Bytes, Millis};
use tokio::net::unix::pipe::Receiver;

use super::error::{Asking, EngineError, refused};
use super::layout::Layout;
use super::staging::{Over, Staging};
use crate::cancel::Cancel;
use crate::outcome::Stream as From;

/// Time that an engine has for each answer about a container once the step is to stop: a busy one needs some, and what
/// is left behind has to be removed by others.
pub const STOPPING: Duration = Duration::from_secs(20);
/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// Longest wait for the dead to be gone and for the last output.
const PROOF_WAIT: Duration = Duration::from_secs(30);
/// How often the writable places are measured: what a step writes meanwhile can go over the limit.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Measuring takes at most one part in so many of the time.
const MEASURE_SHARE: u32 = 20;

/// Why the step was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The whole time was over.
    TimeOut,
    /// The time without output was over.
    Idle,
    /// The writable places hold more than they may.
    Disk(Over),
    /// The button.
    Cancelled,
}

/// What bounds a run.
pub struct Bounds<'a> {
    /// Whole time.
    pub timeout: Millis,
    /// Time without output.
    pub idle: Option<Millis>,
    /// Output kept.
    pub log: Bytes,
    /// Bytes in the writable places.
    pub disk: Bytes,
    /// Those places.
    pub places: (&'a Staging, &'a Layout),
}

/// What was seen of a container that has ended.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the wait answered; none where it said nothing.
    pub code: Option<i64>,
    /// Why we stopped it, if we did.
    pub stop: Option<Stop>,
    /// Whether output was dropped.
    pub log_cut: bool,
    /// From the start to the end.
    pub wall: Duration,
}

/// The answers to the question for a container's end.
pub type Waited =
    Pin<Box<dyn Stream<Item = Result<ContainerWaitResponse, bollard::errors::Error>>>>;

/// The streams of a container, made before it starts.
pub struct Streams {
    /// What it writes.
    pub output: AttachContainerResults,
    /// Its end.
    pub waited: Waited,
}

enum Event {
    Output(Option<Result<LogOutput, bollard::errors::Error>>),
    Ended(Option<Result<ContainerWaitResponse, bollard::errors::Error>>),
    Button,
    Tick,
}

/// Watches until the container has ended and its output with it.
pub async fn watch(
    docker: &Docker,
    id: &str,
    mut streams: Streams,
    bounds: &Bounds<'_>,
    cancel: &Cancel,
    sink: &mut dyn FnMut(From, &[u8]),
) -> Result<Seen, EngineError> {
    let now = Instant::now();
    let mut run = Run {
        started: now,
        last_output: now,
        measure_at: now + MEASURE_EVERY,
        kill_at: None,
        ended: None,
        quiet: false,
        kept: 0,
        seen: Seen::default(),
    };
    let button = button(cancel)?;
    while !(run.quiet && run.ended.is_some()) {
        match run.next(&mut streams, &button, bounds).await {
            Event::Output(Some(Ok(output))) => run.take(output, bounds, sink),
            Event::Output(Some(Err(cause))) => return Err(refused(Asking::Attach)(cause)),
            Event::Output(None) => run.quiet = true,
            Event::Ended(answer) => run.end(answer)?,
            Event::Button => {
                run.seen.stop = Some(Stop::Cancelled);
                answered(cancel, STOPPING, kill(docker, id, "KILL")).await?;
                run.kill_at = Some(Instant::now() + PROOF_WAIT);
            }
            Event::Tick => answered(cancel, STOPPING, run.keep_time(docker, id, bounds)).await?,
        }
    }
    Ok(run.seen)
}

/// Waits for an answer of the engine's, and once the button was pressed no longer than `patience`: one that says
/// nothing must not keep whoever wants to stop.
///
/// # Errors
/// [`EngineError::Interrupted`], and what came instead of an answer.
pub async fn answered<T, E: std::convert::From<EngineError>>(
    cancel: &Cancel,
    patience: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let button = button(cancel)?;
    let answer = std::pin::pin!(answer);
    let pressed = std::pin::pin!(async {
        // An end of the pipe that cannot be watched is one that nobody presses.
        if button.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(patience).await;
    });
    match futures_util::future::select(answer, pressed).await {
        futures_util::future::Either::Left((answer, _)) => answer,
        futures_util::future::Either::Right(_) => Err(EngineError::Interrupted.into()),
    }
}

/// Returns a descriptor that is readable once the button was pressed.
pub fn button(cancel: &Cancel) -> Result<Receiver, EngineError> {
    let own = super::error::own("watch for an interruption of", std::path::Path::new("the step"));
    cancel.as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd).map_err(own)
}

/// Sends a signal to the container's first process; one that is gone needs none.
pub async fn kill(docker: &Docker, id: &str, signal: &str) -> Result<(), EngineError> {
    let options = KillContainerOptionsBuilder::default().signal(signal).build();
    match docker.kill_container(id, Some(options)).await {
        Ok(())
        | Err(bollard::errors::Error::DockerResponseServerError {
            status_code: 404 | 409 | 500,
            ..
        }) => Ok(()),
        Err(cause) => Err(refused(Asking::Kill)(cause)),
    }
}

struct Run {
    started: Instant,
    last_output: Instant,
    measure_at: Instant,
    /// When TERM has had its time; then, when a killed container should be gone.
    kill_at: Option<Instant>,
    ended: Option<Instant>,
    quiet: bool,
    kept: u64,
    seen: Seen,
}

impl Run {
    /// Sleeps until something happens or the next moment that matters.
    async fn next(&self, streams: &mut Streams, button: &Receiver, bounds: &Bounds<'_>) -> Event {
        let mut sleep = Box::pin(tokio::time::sleep_until(self.until(bounds).into()));
        let cancellable = self.ended.is_none() && self.seen.stop != Some(Stop::Cancelled);
        poll_fn(|context: &mut Context<'_>| {
            if cancellable && button.poll_read_ready(context).is_ready() {
                return Poll::Ready(Event::Button);
            }
            if !self.quiet
                && let Poll::Ready(output) = streams.output.output.poll_next_unpin(context)
            {
                return Poll::Ready(Event::Output(output));
            }
            if self.ended.is_none()
                && let Poll::Ready(answer) = streams.waited.poll_next_unpin(context)
            {
                return Poll::Ready(Event::Ended(answer));
            }
            sleep.as_mut().poll(context).map(|()| Event::Tick)
        })
        .await
    }

    fn until(&self, bounds: &Bounds<'_>) -> Instant {
        if let Some(ended) = self.ended {
            return ended + PROOF_WAIT;
        }
        if let Some(kill_at) = self.kill_at {
            return kill_at;
        }
        let idle = bounds.idle.map(|idle| self.last_output + idle.duration());
        let deadline = self.started + bounds.timeout.duration();
        [Some(deadline), idle, Some(self.measure_at)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(deadline)
    }

    async fn keep_time(
        &mut self,
        docker: &Docker,
        id: &str,
        bounds: &Bounds<'_>,
    ) -> Result<(), EngineError> {
        let now = Instant::now();
        if self.ended.is_some_and(|ended| now >= ended + PROOF_WAIT) {
            // It is dead; an engine that does not end its output is not waited for.
            self.quiet = true;
            return Ok(());
        }
        if self.ended.is_some() {
            return Ok(());
        }
        if let Some(kill_at) = self.kill_at {
            if now < kill_at {
                return Ok(());
            }
            if now >= kill_at + PROOF_WAIT {
                return Err(EngineError::Silent { what: "that the killed container is gone" });
            }
            kill(docker, id, "KILL").await?;
            self.kill_at = Some(now + GRACE);
            return Ok(());
        }
        let idle = bounds.idle.is_some_and(|idle| now >= self.last_output + idle.duration());
        let stop = if now >= self.started + bounds.timeout.duration() {
            Some(Stop::TimeOut)
        } else if idle {
            Some(Stop::Idle)
        } else if now >= self.measure_at {
            self.measure(bounds)?.map(Stop::Disk)
        } else {
            None
        };
        if let Some(stop) = stop {
            self.seen.stop = Some(stop);
            // No grace for who would go on writing.
            let full = matches!(stop, Stop::Disk(_));
            kill(docker, id, if full { "KILL" } else { "TERM" }).await?;
            self.kill_at = Some(Instant::now() + GRACE);
        }
        Ok(())
    }

    fn measure(&mut self, bounds: &Bounds<'_>) -> Result<Option<Over>, EngineError> {
        let begun = Instant::now();
        let (staging, layout) = bounds.places;
        let over = staging.over(layout, bounds.disk)?;
        self.measure_at = Instant::now() + MEASURE_EVERY.max(begun.elapsed() * MEASURE_SHARE);
        Ok(over)
    }

    fn take(&mut self, output: LogOutput, bounds: &Bounds<'_>, sink: &mut dyn FnMut(From, &[u8])) {
        let (stream, bytes) = match &output {
            LogOutput::StdErr { message } => (From::Stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (From::Stdout, message)
            }
            LogOutput::StdIn { .. } => return,
        };
        self.last_output = Instant::now();
        let room = usize::try_from(bounds.log.0.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let kept = bytes.len().min(room);
        if kept > 0 {
            sink(stream, &bytes[..kept]);
        }
        self.kept += kept as u64;
        self.seen.log_cut |= kept < bytes.len();
    }

    fn end(
        &mut self,
        answer: Option<Result<ContainerWaitResponse, bollard::errors::Error>>,
    ) -> Result<(), EngineError> {
        self.seen.code = match answer {
            Some(Ok(answer)) => Some(answer.status_code),
            // The client's way to tell of a status that is not zero.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Some(code),
            Some(Err(cause)) => return Err(refused(Asking::Wait)(cause)),
            None => None,
        };
        self.ended = Some(Instant::now());
        self.seen.wall = self.started.elapsed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_come_is_waited_for_until_the_button_is_pressed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("an event loop");
        let cancel = Cancel::new().expect("a pipe");
        let ask = |answer: Option<u8>| {
            let engine = async move {
                match answer {
                    Some(answer) => Ok::<_, EngineError>(answer),
                    None => std::future::pending().await,
                }
            };
            runtime.block_on(answered(&cancel, Duration::ZERO, engine))
        };
        assert!(matches!(ask(Some(1)), Ok(1)));
        cancel.trigger();
        // What is there is taken all the same.
        assert!(matches!(ask(Some(2)), Ok(2)));
        assert!(matches!(ask(None), Err(EngineError::Interrupted)));
    }
}
