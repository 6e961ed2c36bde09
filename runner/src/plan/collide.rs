//! Inputs of a step that would hide one another, as far as that can be told before anything runs.
//!
//! The same grafting that makes an Action is done with what is known: the sources' own folders, and the
//! kind of what other steps will leave. Whatever lies in an output is taken to be out of the way, so
//! nothing is refused here that could still go well; the rest is told when the step's turn comes.
//!
//! Does no I/O: folders are asked of a function.

use model::digest::Blob;
use model::relpath::AbsPath;
use model::step::{Input, OutputKind, Step, WORK_FOLDER};
use model::tree::Directory;

use super::Plan;
use super::action::{self, ActionError, Known};

/// Stands for a folder that a step will leave: its digest is nobody's.
const TO_COME: &[u8] = b"kiln: a folder that a step will leave";

/// Returns the collision of a step's inputs below the work folder, where there is one.
pub fn without_environment<E: std::error::Error + 'static>(
    plan: &Plan,
    step: &Step,
    load: &dyn Fn(&Blob) -> Result<Directory, E>,
) -> Option<ActionError<E>> {
    // One input alone meets nothing: the work folder is kiln's own.
    if step.mounts.len() < 2 {
        return None;
    }
    collision(plan, step, Blob::of(b""), load)
}

/// Returns the collision of a step's inputs with its environment, where there is one.
pub fn with_environment<E: std::error::Error + 'static>(
    plan: &Plan,
    step: &Step,
    load: &dyn Fn(&Blob) -> Result<Directory, E>,
) -> Option<ActionError<E>> {
    let work = AbsPath::new(WORK_FOLDER).unwrap_or_default();
    let elsewhere = step.mounts.iter().any(|mount| mount.at.strip_prefix(&work).is_none());
    match step.environment {
        Input::Tree(root) if elsewhere => collision(plan, step, root, load),
        Input::Tree(_) | Input::File { .. } | Input::Output { .. } => None,
    }
}

fn collision<E: std::error::Error + 'static>(
    plan: &Plan,
    step: &Step,
    environment: Blob,
    load: &dyn Fn(&Blob) -> Result<Directory, E>,
) -> Option<ActionError<E>> {
    let to_come = Blob::of(TO_COME);
    let known = |input: &Input| match input {
        Input::Tree(blob) => Some(Known::Tree(*blob)),
        Input::File { blob, executable } => {
            Some(Known::File { blob: *blob, executable: *executable })
        }
        Input::Output { step, output } => match plan.steps.get(step)?.outputs.get(output)?.kind {
            OutputKind::File => Some(Known::File { blob: to_come, executable: false }),
            OutputKind::Dir | OutputKind::Root => Some(Known::Tree(to_come)),
        },
    };
    let mounts: Vec<Known> =
        step.mounts.iter().map(|mount| known(&mount.input)).collect::<Option<_>>()?;
    let load = |blob: &Blob| match *blob == to_come {
        true => Ok(Directory::default()),
        false => load(blob),
    };
    action::seal(step, environment, &mounts, None, &load).err()
}
