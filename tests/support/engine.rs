//! A container engine for the tests: found, or started, and spoken to through a socket of our own.
//!
//! `KILN_TESTS_ENGINE` names the socket of the engine to test with, such as Podman's. Without it the
//! usual one of Docker is asked, and where none answers and the tests run as root, `dockerd` is
//! started for as long as they run; `KILN_TESTS_ENGINE=own` starts it in any case. Where there is no
//! engine, a test says so by name.
//!
//! kiln speaks to a [`Proxy`], which any user may use, writes down what is asked, and can change an
//! answer on its way: the engine behind it is real.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;

use serde_json::Value;

use super::{World, base, uid};

/// How often a starting engine is asked whether it is there.
const ASKED_MAX: u32 = 600;

/// Returns the engine's socket, or says on screen that there is none.
pub fn engine(test: &str) -> Option<&'static Path> {
    static ENGINE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = ENGINE.get_or_init(|| {
        let named = std::env::var_os("KILN_TESTS_ENGINE");
        if named.as_deref() == Some("own".as_ref()) {
            return Some(start().expect("an engine of our own was asked for"));
        }
        if let Some(named) = named {
            let named = PathBuf::from(named);
            assert!(answers(&named), "no engine answers at {}", named.display());
            return Some(named);
        }
        let usual = PathBuf::from("/var/run/docker.sock");
        if answers(&usual) { Some(usual) } else { start() }
    });
    if found.is_none() {
        super::skipped(test, "no engine");
    }
    found.as_deref()
}

/// Says whether an engine answers at a socket.
fn answers(socket: &Path) -> bool {
    let asked = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

/// Starts an engine with folders of its own, which ends with this process.
fn start() -> Option<PathBuf> {
    if uid() != 0
        || !["/usr/sbin/dockerd", "/usr/bin/dockerd"].iter().any(|at| Path::new(at).exists())
    {
        return None;
    }
    let folder = base().join("dockerd");
    fs::create_dir_all(&folder).expect("a folder for the engine");
    let socket = folder.join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let path = |name: &str| folder.join(name).display().to_string();
    let log = fs::File::create(folder.join("log")).expect("a log");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "dockerd", "--host", &host]);
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
    command.args(["--pidfile", &path("pid"), "--bridge=none", "--iptables=false"]);
    command.arg("--ip6tables=false");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let (tell, ended) = mpsc::channel();
    // The signal comes at the end of the thread that started it: with this process, or after it.
    thread::spawn(move || tell.send(command.status()));
    for _ in 0..ASKED_MAX {
        if answers(&socket) {
            println!("an engine was started: {}", socket.display());
            return Some(socket);
        }
        if let Ok(end) = ended.recv_timeout(std::time::Duration::from_millis(100)) {
            println!("dockerd ended: {end:?}");
            break;
        }
    }
    println!(
        "dockerd does not start: {}",
        fs::read_to_string(folder.join("log")).unwrap_or_default()
    );
    None
}

/// A socket before the engine's.
pub struct Proxy {
    /// Where it listens.
    pub socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    changed: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens in a world, for its user, and puts `with` in the place of each `what` of the answers.
    /// Both have one length, so that the answers keep theirs.
    pub fn listen(world: &World, engine: &'static Path, what: &str, with: &str) -> Proxy {
        assert_eq!(what.len(), with.len());
        let socket = world.path("engine.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let changed = Arc::new(AtomicBool::new(false));
        let (seen, change) = (Arc::clone(&asked), (what.to_owned(), with.to_owned()));
        let done = Arc::clone(&changed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, change, done) = (Arc::clone(&seen), change.clone(), Arc::clone(&done));
                thread::spawn(move || carry(client, engine, &seen, &change, &done));
            }
        });
        Proxy { socket, asked, changed }
    }

    /// Returns the value of `DOCKER_HOST` that leads here.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Says whether something of an answer was changed.
    pub fn changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst)
    }

    /// Returns the bodies of all requests for a container.
    pub fn created(&self) -> Vec<Value> {
        let asked = self.asked.lock().expect("no thread panicked");
        let creates = asked.iter().filter(|request| {
            request.lines().next().is_some_and(|line| line.contains("/containers/create"))
        });
        let body = |request: &String| {
            let (_, body) = request.split_once("\r\n\r\n").expect("a body");
            let (start, end) = (body.find('{').expect("JSON"), body.rfind('}').expect("JSON"));
            serde_json::from_str(&body[start..=end]).expect("JSON")
        };
        creates.map(body).collect()
    }
}

fn carry(
    client: UnixStream,
    engine: &Path,
    seen: &Arc<Mutex<Vec<String>>>,
    (what, with): &(String, String),
    changed: &AtomicBool,
) {
    let Ok(server) = UnixStream::connect(engine) else { return };
    let (mut from, mut to) =
        (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
    let seen = Arc::clone(seen);
    let up = thread::spawn(move || {
        let (mut buffer, mut request) = (vec![0; 64 << 10], Vec::new());
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // An image is not kept.
            if request.len() < 1 << 20 {
                request.extend_from_slice(&buffer[..count]);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
        seen.lock()
            .expect("no thread panicked")
            .push(String::from_utf8_lossy(&request).into_owned());
    });
    let (mut from, mut to) = (server, client);
    let (mut buffer, mut held) = (vec![0; 64 << 10], Vec::new());
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        held.extend_from_slice(&buffer[..count]);
        while let Some(at) = find(&held, what.as_bytes()).filter(|_| what != with) {
            held[at..at + with.len()].copy_from_slice(with.as_bytes());
            changed.store(true, Ordering::SeqCst);
        }
        // The beginning of what is looked for waits for its end.
        let kept = (1..what.len().min(held.len() + 1))
            .rev()
            .find(|length| held.ends_with(&what.as_bytes()[..*length]))
            .filter(|_| what != with)
            .unwrap_or(0);
        let ready = held.len() - kept;
        if to.write_all(&held[..ready]).is_err() {
            break;
        }
        held.drain(..ready);
    }
    let _ = to.write_all(&held);
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    (!what.is_empty())
        .then(|| bytes.windows(what.len()).position(|window| window == what))
        .flatten()
}

/// Returns the containers, running or not, that a store's kiln made and that the engine still has.
pub fn containers(engine: &Path, world: &World) -> Vec<String> {
    let place = model::Digest::of(world.store.join("staging").as_os_str().as_encoded_bytes());
    let filters = format!("%7B%22label%22%3A%5B%22build.kiln.place%3D{}%22%5D%7D", place.hex());
    let list = get(engine, &format!("/containers/json?all=true&filters={filters}"));
    let ids = list.as_array().expect("a list").iter();
    ids.map(|one| one["Id"].as_str().expect("an id").to_owned()).collect()
}

/// Returns what an engine says of itself.
pub fn info(engine: &Path) -> Value {
    get(engine, "/info")
}

/// Says whether an engine is Podman.
pub fn is_podman(engine: &Path) -> bool {
    get(engine, "/version")["Components"].to_string().contains("Podman")
}

fn get(engine: &Path, what: &str) -> Value {
    let mut stream = UnixStream::connect(engine).expect("the engine is there");
    let request = format!("GET {what} HTTP/1.0\r\nHost: d\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// Returns the staging folders that are left in a world's store.
pub fn staging(world: &World) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.store.join("staging")) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "images.lock").collect()
}
