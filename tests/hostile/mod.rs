//! The catalogue of hostile cases: each attack is made from inside a step, as root and as an
//! unprivileged user, preceded by its control and followed by the after-check.
//!
//! The attacks are the Python files of `attacks/`, mounted as the step's source and named by the
//! case's id. A control runs the same attack where it must get through (outside, or with the one
//! thing changed), so that an attack which does nothing anywhere fails the test.
//!
//! A case that cannot run for somebody says so by name and is counted as skipped. `KILN_CASE=S-A01`
//! picks cases by the start of their id.

mod cases;
mod images;

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Canaries, Ran, Who, World};

/// What has to come of an attack.
#[derive(Clone, Copy)]
pub enum Expect {
    /// The step passes and finds nothing.
    Contained,
    /// The build ends with exit 1 and one of these codes; there is no artifact.
    Refused(&'static [&'static str]),
    /// The build ends with exit 1 and this code, and the report holds these words.
    Says(&'static str, &'static str),
}

/// Where the same attack must get through.
#[derive(Clone, Copy)]
pub enum Control {
    /// On the host, started with these words before it.
    Outside(&'static [&'static str]),
    /// As [`Control::Outside`], but only root can do it at all.
    OutsideAsRoot(&'static [&'static str]),
    /// In a step, this harmless relative must pass.
    Sealed(&'static str),
    /// There is none, for this reason.
    None(&'static str),
}

/// One row of the catalogue.
pub struct Case {
    /// Its id; it keeps it for ever.
    pub id: &'static str,
    /// More keys of the step.
    pub more: &'static str,
    /// Its outputs and its artifacts.
    pub outputs: (&'static str, &'static str),
    /// Whether kiln is started on a terminal.
    pub terminal: bool,
    /// Longest time it may take, in seconds.
    pub seconds_max: u64,
    /// Where it gets through.
    pub control: Control,
    /// What has to come of it.
    pub expect: Expect,
}

/// The files of `attacks/`.
pub const ATTACKS: [(&str, &str); 6] = [
    ("attack.py", include_str!("attacks/attack.py")),
    ("escape.py", include_str!("attacks/escape.py")),
    ("leak.py", include_str!("attacks/leak.py")),
    ("determinism.py", include_str!("attacks/determinism.py")),
    ("exhaustion.py", include_str!("attacks/exhaustion.py")),
    ("capture.py", include_str!("attacks/capture.py")),
];

/// A world with the attacks in it, and things of the host that they look for.
pub struct Arena {
    /// The world.
    pub world: World,
    canaries: Canaries,
    env: Vec<(String, String)>,
    #[allow(clippy::disallowed_types, reason = "the service that no step may reach")]
    _services: (std::net::TcpListener, std::net::TcpListener, UnixListener, UnixListener),
}

impl Arena {
    /// Opens one for a user.
    pub fn open(who: Who) -> Arena {
        let world = World::cold(who);
        for (name, text) in ATTACKS {
            world.write(&format!("src/{name}"), text);
        }
        world.write("src/victim", "as it was\n");
        world.write("undeclared/file", "not for the step\n");
        world.commit();
        let canaries = Canaries::plant(&world);
        let socket = world.path("canary.sock");
        let unix = UnixListener::bind(&socket).expect("a socket");
        world.who.give(&socket);
        let name = format!("abstract-{}", world.token);
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let hidden = UnixListener::bind_addr(&address).expect("an abstract socket");
        #[allow(clippy::disallowed_types, reason = "the service that no step may reach")]
        let (four, six) = loop {
            let four = std::net::TcpListener::bind("127.0.0.1:0").expect("a service");
            let port = four.local_addr().expect("it is bound").port();
            match std::net::TcpListener::bind(("::1", port)) {
                Ok(six) => break (four, six),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                // A host without IPv6: nothing to reach there.
                Err(_) => break (four.try_clone().expect("a copy"), four),
            }
        };
        let port = four.local_addr().expect("it is bound").port().to_string();
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let env = vec![
            ("CANARY".to_owned(), text(canaries.file())),
            ("SERVICE_PORT".to_owned(), port),
            ("SOCKET".to_owned(), text(socket)),
            ("ABSTRACT".to_owned(), name),
            ("KILN_TEST".to_owned(), world.token.clone()),
        ];
        Arena { world, canaries, env, _services: (four, six, unix, hidden) }
    }

    fn write_build_file(&self, id: &str, case: &Case) {
        let env: Vec<String> =
            self.env.iter().map(|(name, value)| format!("{name}: \"{value}\"")).collect();
        let (outputs, artifacts) = case.outputs;
        let artifacts =
            if artifacts.is_empty() { String::new() } else { format!("artifacts: {artifacts}\n") };
        // The verdict is the output, and is shown as well when the attack ends badly.
        let run = if outputs.contains("out: out") {
            format!("{id} > out || {{ cat out; exit 1; }}")
        } else {
            id.to_owned()
        };
        let text = format!(
            "kiln: 1\nname: hostile\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: \
             {{packages: [python3]}}\nsteps:\n  - name: attack\n    env: {{{}}}\n    run: |\n      \
             python3 attack.py {run}\n    outputs: {outputs}\n{}{artifacts}",
            env.join(", "),
            case.more,
        );
        self.world.write("kiln.yaml", &text);
    }

    /// Builds with variables of the caller that no step may see.
    fn build(&self, terminal: bool) -> Ran {
        let secret = self.canaries.secret.as_str();
        let env = [
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("GITHUB_TOKEN", secret),
            ("HTTPS_PROXY", secret),
            ("http_proxy", secret),
            ("no_proxy", secret),
            ("GIT_AUTHOR_NAME", secret),
            ("PYTHONPATH", secret),
            ("PYTHONSTARTUP", secret),
            ("LD_LIBRARY_PATH", "/nonexistent"),
            ("SSH_AUTH_SOCK", "/nonexistent/agent"),
        ];
        if !self.world.path("project/kiln.lock").exists() {
            self.world.kiln(&["lock"]).exits(0);
        }
        if terminal {
            let kiln = self.world.path("bin/kiln");
            let command = format!("{} build --no-sign", kiln.display());
            return self.world.run(&["script", "-qec", &command, "/dev/null"], &env);
        }
        self.world.kiln_with(&["build", "--no-sign"], &env)
    }

    fn outside(&self, before: &[&str], id: &str) -> Ran {
        let mut all = before.to_vec();
        // Relative: some controls mount over the folder that the world lies in.
        all.extend(["/usr/bin/python3", "attack.py", id]);
        let mut env: Vec<(&str, &str)> =
            self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        env.push(("GITHUB_TOKEN", &self.canaries.secret));
        env.push(("PYTHONDONTWRITEBYTECODE", "1"));
        let mut command = self.world.command(&all, &env);
        Ran::of(&command.current_dir(self.world.path("project/src")).output().expect("it starts"))
    }

    /// Runs the control; returns what is wrong with it, or why it was skipped.
    fn control(&self, case: &Case) -> Result<(), String> {
        let ran = match case.control {
            Control::OutsideAsRoot(_) if self.world.who != Who::Root => return Ok(()),
            Control::Outside(before) | Control::OutsideAsRoot(before) => {
                self.outside(before, case.id)
            }
            Control::None(_) => return Ok(()),
            Control::Sealed(id) => {
                self.write_build_file(id, &Case { expect: Expect::Contained, ..*case });
                let ran = self.build(false);
                return if ran.code == 0 {
                    Ok(())
                } else {
                    Err(format!("the control {id}: {ran:?}"))
                };
            }
        };
        if ran.says("BREACH") { Ok(()) } else { Err(format!("the control shows nothing: {ran:?}")) }
    }

    /// Runs one case; returns what is wrong.
    fn run(&self, case: &Case) -> Vec<String> {
        let mut wrong: Vec<String> = self.control(case).err().into_iter().collect();
        self.write_build_file(case.id, case);
        let _ = std::fs::remove_dir_all(self.world.path("project/kiln-out"));
        let (start, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let back = self.knock_back(stop.clone());
        let ran = self.build(case.terminal);
        stop.store(true, Ordering::Relaxed);
        if back.join().unwrap_or(true) {
            wrong.push("the host could connect to a socket of the step".to_owned());
        }
        if start.elapsed() > Duration::from_secs(case.seconds_max) {
            wrong.push(format!("it took {:?}", start.elapsed()));
        }
        wrong.extend(self.judge(case, &ran));
        wrong.extend(self.canaries.aftermath(&self.world));
        if self.world.read("src/victim") != "as it was\n" {
            wrong.push("a source of the project was changed".to_owned());
        }
        if ran.says(&self.canaries.secret) {
            wrong.push("the secret was printed".to_owned());
        }
        wrong
    }

    fn judge(&self, case: &Case, ran: &Ran) -> Option<String> {
        let artifacts = self.world.path("project/kiln-out");
        let none =
            std::fs::read_dir(&artifacts).map_or(true, |mut entries| entries.next().is_none());
        let good = match case.expect {
            Expect::Contained if !case.outputs.0.contains("out: out") => ran.code == 0,
            Expect::Contained => {
                let out = std::fs::read_to_string(artifacts.join("out")).unwrap_or_default();
                ran.code == 0 && out.ends_with("contained\n")
            }
            Expect::Refused(codes) => {
                ran.code == 1 && none && codes.iter().any(|code| ran.says(code))
            }
            Expect::Says(code, words) => ran.code == 1 && none && ran.says(code) && ran.says(words),
        };
        if good {
            return None;
        }
        let out = std::fs::read_to_string(artifacts.join("out")).unwrap_or_default();
        Some(format!("exit {}, out {out:?}\n{}\n{}", ran.code, ran.stdout, ran.stderr))
    }

    /// Tries, as long as the step runs, to connect to the abstract socket that a step listens on.
    fn knock_back(&self, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<bool> {
        let name = format!("abstract-{}-back", self.world.token);
        std::thread::spawn(move || {
            let address = SocketAddr::from_abstract_name(name).expect("a name");
            while !stop.load(Ordering::Relaxed) {
                if UnixStream::connect_addr(&address).is_ok() {
                    return true;
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            false
        })
    }
}

/// Runs the cases of one group for everybody and fails with a list of what is wrong.
fn run_group(cases: &[Case]) {
    let picked = std::env::var("KILN_CASE").unwrap_or_default();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for who in Who::all() {
        let arena = Arena::open(who);
        for case in cases.iter().filter(|case| case.id.starts_with(&picked)) {
            let found = arena.run(case);
            count += 1;
            println!(
                "{} as {who:?}: {}",
                case.id,
                if found.is_empty() { "held" } else { "FAILED" }
            );
            if let Control::None(reason) = case.control {
                println!("{}: no control: {reason}", case.id);
            }
            wrong.extend(found.into_iter().map(|line| format!("{} as {who:?}: {line}", case.id)));
        }
    }
    println!("{count} cases ran");
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_step_escapes() {
    run_group(&cases::ESCAPE);
}

#[test]
fn no_step_sees_reaches_or_remembers_what_is_not_its_own() {
    run_group(&cases::LEAK);
}

#[test]
fn no_step_takes_more_than_its_share() {
    run_group(&cases::EXHAUSTION);
}

#[test]
fn no_output_is_captured_that_is_not_what_it_seems() {
    run_group(&cases::CAPTURE);
}
