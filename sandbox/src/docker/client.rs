//! Speaks to the engine: connects, asks what it is, takes the image.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};
use bollard::query_parameters::CreateImageOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use model::Digest;
use rustix::fs::{Access, CWD, FlockOperation, Mode, OFlags, access, flock, openat};
use rustix::io::Errno;

use super::error::{Asking, EngineError, own, refused};
use super::{Engine, image};

/// Longest wait for the engine to begin an answer, in seconds; making a container takes it longest.
const ANSWER_SECONDS: u64 = 120;
/// Bytes of the image that are sent at once.
const PIECE: usize = 256 << 10;
/// Pieces that are made ahead of the engine.
const PIECES_AHEAD: usize = 8;

/// What an engine said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where it answers.
    pub socket: PathBuf,
    /// Whether it is Podman.
    pub podman: bool,
    /// Its version.
    pub version: String,
    /// The version of its interface that is spoken.
    pub api: String,
    /// What starts its containers.
    pub runtime: String,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Whether it maps every container's users by default.
    pub maps_users: bool,
    /// Whether it can filter system calls.
    pub filters: bool,
    /// Whether it limits memory.
    pub limits_memory: bool,
    /// Whether it counts swap as memory.
    pub limits_swap: bool,
    /// Whether it limits processes.
    pub limits_pids: bool,
    /// Whether it limits processor time.
    pub limits_cpu: bool,
    /// Which control groups it uses.
    pub cgroup: &'static str,
}

impl Facts {
    /// Returns the engine in words: `Docker 20.10.24, API 1.41`.
    pub fn words(&self) -> String {
        let name = if self.podman { "Podman" } else { "Docker" };
        let mode = if self.rootless { ", rootless" } else { "" };
        format!("{name} {}, API {}, {}{mode}", self.version, self.api, self.runtime)
    }
}

/// An engine that answers.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The client.
    pub docker: Docker,
    /// What it is.
    pub facts: Facts,
}

/// Returns what the first engine that answers says of itself.
///
/// # Errors
/// [`EngineError::NoEngine`] where none answers.
pub fn look(engine: &Engine) -> Result<Facts, EngineError> {
    super::run::runtime(engine)?.block_on(connect(engine)).map(|connected| connected.facts)
}

/// Connects to the first socket at which an engine answers.
pub async fn connect(engine: &Engine) -> Result<Connected, EngineError> {
    let (mut last, mut forbidden) = (None, None);
    for socket in engine.sockets.iter().filter(|socket| socket.is_absolute()) {
        // To connect is to write (unix(7)). What lies in a folder that is closed to us counts as there.
        match access(socket, Access::WRITE_OK) {
            Ok(()) => {}
            Err(cause @ (Errno::ACCESS | Errno::PERM)) => {
                forbidden.get_or_insert((socket, cause));
                continue;
            }
            Err(_) => continue,
        }
        match greet(socket).await {
            Ok(connected) => return Ok(connected),
            Err(cause) => last = Some(cause),
        }
    }
    if let (None, Some((socket, cause))) = (&last, forbidden) {
        return Err(EngineError::Forbidden { socket: socket.clone(), source: cause.into() });
    }
    Err(EngineError::NoEngine { tried: engine.sockets.clone(), source: last })
}

async fn greet(socket: &Path) -> Result<Connected, bollard::errors::Error> {
    let path = socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&path, ANSWER_SECONDS, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    let version = docker.version().await?;
    let info = docker.info().await?;
    let spoken = docker.client_version();
    let api = format!("{}.{}", spoken.major_version, spoken.minor_version);
    let facts = facts(socket, version, info, api);
    Ok(Connected { docker, facts })
}

fn facts(socket: &Path, version: SystemVersion, info: SystemInfo, api: String) -> Facts {
    let components = version.components.unwrap_or_default();
    let options = info.security_options.unwrap_or_default();
    let says = |word: &str| {
        options.iter().any(|option| option.split(',').any(|part| part == format!("name={word}")))
    };
    let podman = components.iter().any(|part| part.name.starts_with("Podman"));
    // Podman 4 does not say it where Docker does. Taken for rootless by mistake, it refuses to map.
    let users = rustix::fs::stat(socket).is_ok_and(|stat| stat.st_uid != 0);
    let rootless = says("rootless") || (podman && users);
    let version_two = info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2);
    // Without root the first version's groups may not be made, whatever is said of them.
    let limits = version_two || !rootless;
    Facts {
        socket: socket.to_owned(),
        podman,
        version: version.version.unwrap_or_default(),
        api,
        runtime: info.default_runtime.unwrap_or_default(),
        rootless,
        maps_users: says("userns"),
        filters: says("seccomp"),
        limits_memory: limits && info.memory_limit.unwrap_or(false),
        limits_swap: limits && info.swap_limit.unwrap_or(false),
        limits_pids: limits && info.pids_limit.unwrap_or(false),
        limits_cpu: limits && info.cpu_cfs_quota.unwrap_or(false),
        cgroup: if version_two { "cgroup-v2" } else { "cgroup-v1" },
    }
}

/// Returns the id of the image of an environment, made if it is not there.
///
/// Two at once would make it twice and leave one without a name, so it is made under a lock.
pub async fn image(
    Connected { docker, facts }: &Connected,
    engine: &Engine,
    tree: &Digest,
    root: &Path,
) -> Result<String, EngineError> {
    let reference = image::reference(tree, facts.podman);
    if let Some(id) = known(docker, &reference).await? {
        return Ok(id);
    }
    let at = engine.staging.join("images.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = openat(CWD, &at, flags, Mode::RUSR | Mode::WUSR)
        .and_then(|lock| flock(&lock, FlockOperation::LockExclusive).map(|()| lock));
    let _lock = lock.map_err(|cause| own("lock", &at)(cause.into()))?;
    if let Some(id) = known(docker, &reference).await? {
        return Ok(id);
    }
    import(docker, &reference, root).await?;
    known(docker, &reference)
        .await?
        .ok_or(EngineError::Silent { what: "that it has the image it was given" })
}

async fn known(docker: &Docker, reference: &str) -> Result<Option<String>, EngineError> {
    match docker.inspect_image(reference).await {
        Ok(found) => Ok(found.id),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(cause) => Err(refused(Asking::Image)(cause)),
    }
}

async fn import(docker: &Docker, reference: &str, root: &Path) -> Result<(), EngineError> {
    let (pieces, stream) = tokio::sync::mpsc::channel(PIECES_AHEAD);
    let from = root.to_owned();
    let maker = std::thread::spawn(move || {
        let out = Pieces { pieces: pieces.clone(), piece: Vec::with_capacity(PIECE) };
        if let Err(error) = image::write(&from, out) {
            // A body that breaks off is no image: the engine takes none of it.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    let body = futures_util::stream::unfold(stream, |mut stream| async move {
        stream.recv().await.map(|piece| (piece, stream))
    });
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        // With the tag in it: Podman knows no field for one here.
        .repo(reference)
        .build();
    let body = bollard::body_try_stream(body);
    let mut answers = std::pin::pin!(docker.create_image(Some(options), Some(body), None));
    let mut result = Ok(());
    while let Some(answer) = answers.next().await {
        if let Err(cause) = answer {
            result = Err(refused(Asking::Image)(cause));
            break;
        }
    }
    // It has ended, or its channel is closed now.
    drop(maker);
    result
}

/// The image on its way to the engine, piece by piece.
struct Pieces {
    pieces: tokio::sync::mpsc::Sender<io::Result<bytes::Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.pieces.blocking_send(Ok(piece.into())).map_err(gone)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns what a Docker engine says that can do everything.
    pub fn facts() -> Facts {
        Facts {
            socket: PathBuf::from("/engine.sock"),
            podman: false,
            version: "20.10".to_owned(),
            api: "1.41".to_owned(),
            runtime: "runc".to_owned(),
            rootless: false,
            maps_users: false,
            filters: true,
            limits_memory: true,
            limits_swap: true,
            limits_pids: true,
            limits_cpu: true,
            cgroup: "cgroup-v2",
        }
    }

    #[test]
    fn an_engine_is_told_by_what_it_says() {
        let info = SystemInfo {
            security_options: Some(vec![
                "name=seccomp,profile=default".into(),
                "name=rootless".into(),
            ]),
            memory_limit: Some(true),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            ..SystemInfo::default()
        };
        let found =
            super::facts(Path::new("/s"), SystemVersion::default(), info, "1.41".to_owned());
        assert!(found.filters && found.rootless && !found.maps_users && !found.podman);
        assert!(found.limits_memory && !found.limits_pids && !found.limits_swap);
        assert_eq!(found.cgroup, "cgroup-v2");
    }
}
