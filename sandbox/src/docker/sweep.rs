//! Removes what kiln processes left that were killed: containers and staging folders.
//!
//! A staging folder is locked while its maker lives, and the container carries the folder's name. So
//! what is left is told from what is in use by the lock, not by process numbers, which are used
//! again and differ between containers. Only what belongs to this folder of staging folders is
//! looked at: another store's kiln removes its own.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::client::connect;
use super::error::{Asking, EngineError, own, refused};
use super::request::{LABEL_PLACE, LABEL_STAGING, place};
use super::{Engine, staging};

/// Sweeps where a staging folder of a dead kiln is there; else no engine is asked.
pub fn sweep_up(engine: &Engine) -> Result<(), EngineError> {
    if !engine.staging.exists() {
        return Ok(());
    }
    let looked = |source| own("look for what was left in", &engine.staging)(source);
    let parent = staging::open_parent(&engine.staging)?;
    let names = staging::names(parent.as_fd()).map_err(looked)?;
    let dead = |name: &String| staging::is_dead(parent.as_fd(), name).unwrap_or(true);
    if !names.iter().any(dead) {
        return Ok(());
    }
    super::run::runtime(engine)?.block_on(async {
        let connected = connect(engine).await?;
        sweep(&connected.docker, engine).await
    })
}

/// Sweeps once in a process: what is left behind later is somebody else's who died, and waits.
pub async fn sweep(docker: &Docker, engine: &Engine) -> Result<(), EngineError> {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let new = SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(engine.staging.clone());
    if !new {
        return Ok(());
    }
    let parent = staging::open_parent(&engine.staging)?;
    let filters =
        HashMap::from([("label".to_owned(), vec![format!("{LABEL_PLACE}={}", place(engine))])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.map_err(refused(Asking::Sweep))?;
    let looked = |source| own("look for what was left in", &engine.staging)(source);
    for container in found {
        let name = container.labels.unwrap_or_default().remove(LABEL_STAGING).unwrap_or_default();
        if let (Some(id), true) =
            (container.id, staging::is_dead(parent.as_fd(), &name).map_err(looked)?)
        {
            tracing::info!(container = %id, "removing a container whose kiln is gone");
            remove(docker, &id).await?;
        }
    }
    staging::remove_dead(parent.as_fd()).map_err(looked)?;
    Ok(())
}

/// Removes a container, running or not, with its volumes. One that is gone is removed.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        Ok(())
        | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(cause) => Err(refused(Asking::Remove)(cause)),
    }
}
