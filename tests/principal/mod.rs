//! The attestor as a principal of its own: other users ask it, and none gets what is not theirs.
//!
//! Real processes under real users: root starts the attestor as one user, builds run as another, the
//! control plane orders as a third, and somebody else looks on. Without root these tests say so and
//! do nothing: nobody can then be two users.

mod attacks;
mod closed;
mod early;
mod hoard;
mod linger;
mod log;
mod orders;
mod places;
mod queue;
mod references;
mod unit;
mod verdicts;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Ran, Who, World, build_file, kiln};

/// The user of [`Who::User`], who builds.
const BUILDER: u32 = 1000;
/// The attestor's own user.
const ATTESTOR: u32 = 1001;
/// The control plane's user.
const CONTROL: u32 = 1002;
/// Another user who builds.
const OTHER_BUILDER: u32 = 1005;
/// Somebody who has no role, and can connect all the same: by a listed group beside its own.
const OUTSIDER: u32 = 1003;
/// That group.
const GROUP: u32 = 2003;
/// Somebody else on this host.
const STRANGER: u32 = 1006;
/// Who makes keys.
const ADMIN: u32 = 1004;

/// The program that speaks with the attestor as no kiln would.
const ASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/principal/ask.py");

/// A host with an attestor that listens, and a project to build.
struct Host {
    world: World,
    attestor: Option<Running>,
}

/// Who stands between builds and the attestor.
struct Between {
    /// Where.
    socket: String,
    /// The last request for a signature.
    saved: PathBuf,
    /// There once a user had to wait.
    busy: PathBuf,
    _process: Running,
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.spawn().expect("it can be started"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says whether this process can be several users.
fn can_be_others() -> bool {
    let can = Who::all().contains(&Who::Root);
    if !can {
        eprintln!("skipped: without root nobody can be two users");
    }
    can
}

/// Returns a command of any user, with a cleared environment.
fn command_as(uid: u32, arguments: &[&str]) -> Command {
    let id = uid.to_string();
    let mut command = Command::new("setpriv");
    let groups =
        if uid == OUTSIDER { format!("--groups={GROUP}") } else { "--clear-groups".into() };
    command.args(["--reuid", &id, "--regid", &id, &groups]).args(arguments);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    command.current_dir("/").stdin(Stdio::null());
    command
}

impl Host {
    /// Makes the host, with a key and a committed project whose one artifact is `out`.
    fn new() -> Host {
        let host = Host::without_key("");
        host.kiln_as(ADMIN, &["key", "generate"]).exits(0);
        host
    }

    fn without_key(more: &str) -> Host {
        let world = World::warm(Who::User);
        world.write("src/input", "the input\n");
        let file = build_file("cat src/input > out", "{out: out}", "[{file: attack.out}]");
        world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
        world.kiln(&["lock"]).exits(0);
        world.commit();
        let mut host = Host { world, attestor: None };
        for name in ["attestor", "attestor/config", "attestor/state", "run"] {
            let path = host.world.path(name);
            fs::create_dir(&path).expect("a new folder");
            let mode = if name == "run" { 0o755 } else { 0o700 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            chown(&path, Some(ATTESTOR), Some(ATTESTOR)).expect("we are root");
        }
        host.configure(more);
        host.start();
        host
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[builder]\nid = \"https://ci.example.org/kiln/v1\"\nwaived-id = \"https://ci.example.org/waived/v1\"\n\
             [listen]\nbuild = [{BUILDER}, {OTHER_BUILDER}]\ncontrol = [{CONTROL}]\nadmin = [{ADMIN}]\nadmin-groups = [{GROUP}]\n{more}\n"
        );
        self.config(&text);
    }

    fn config(&self, text: &str) {
        fs::write(self.world.path("attestor/config/attestor.toml"), text).expect("a file");
    }

    fn places(&self) -> [String; 4] {
        let path = |name: &str| self.world.path(name).display().to_string();
        [
            "--config-dir".into(),
            path("attestor/config"),
            "--state-dir".into(),
            path("attestor/state"),
        ]
    }

    fn socket(&self) -> String {
        self.world.path("run/attestor").display().to_string()
    }

    /// Starts the attestor under its own user and waits until it answers.
    fn start(&mut self) {
        self.start_with(&[]);
    }

    fn start_with(&mut self, env: &[(&str, &str)]) {
        let places = self.places();
        let socket = self.socket();
        let mut all = vec![program(), "attestor", "listen"];
        all.extend(places.iter().map(String::as_str));
        all.extend(["--socket", &socket]);
        let mut command = command_as(ATTESTOR, &all);
        self.attestor = Some(Running::start(command.envs(env.iter().copied())));
        self.wait();
    }

    fn wait(&mut self) {
        let socket = self.socket();
        while UnixStream::connect(&socket).is_err() {
            let attestor = &mut self.attestor.as_mut().expect("it was started").0;
            let ended = attestor.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the attestor ended: {ended:?}");
            std::thread::yield_now();
        }
    }

    fn stop(&mut self) {
        self.attestor = None;
    }

    fn attestor_id(&self) -> u32 {
        self.attestor.as_ref().expect("it was started").0.id()
    }

    /// Runs any program as any user.
    fn run_as(&self, uid: u32, arguments: &[&str]) -> Ran {
        Ran::of(&command_as(uid, arguments).output().expect("it can be started"))
    }

    /// Runs kiln as any user, with this host's attestor.
    fn kiln_as(&self, uid: u32, arguments: &[&str]) -> Ran {
        let socket = format!("unix:{}", self.socket());
        let all = [&[program(), "--attestor", &socket], arguments].concat();
        let mut command = command_as(uid, &all);
        let home = self.world.path(&format!("home-of-{uid}"));
        Ran::of(&command.env("HOME", home).output().expect("it can be started"))
    }

    /// Has the control plane order the artifact for a builder; returns the file of orders.
    fn order(&self, target: &str, builder: u32) -> PathBuf {
        let commit = self.world.git(&["rev-parse", "HEAD"]);
        let wanted = serde_json::json!({
            "asked": {"build": {"build_file": "kiln.yaml", "target": target, "matrix": "", "overrides": ""}},
            "source": {"uri": "local", "commit": commit.trim(), "subfolder": ".", "dirty": false},
        });
        let ran = self.order_as(CONTROL, builder, &wanted.to_string(), &[]).exits(0);
        let path = self.world.path("orders");
        fs::write(&path, ran.stdout).expect("a file");
        path
    }

    fn order_as(&self, uid: u32, builder: u32, wanted: &str, more: &[&str]) -> Ran {
        let input = tempfile::NamedTempFile::new().expect("a file");
        fs::write(input.path(), wanted).expect("a file");
        let (socket, builder) = (self.socket(), builder.to_string());
        let all = [program(), "attestor", "order", "--socket", &socket, "--for", &builder];
        let mut command = command_as(uid, &[&all[..], more].concat());
        command.stdin(input.reopen().expect("it is there"));
        Ran::of(&command.output().expect("it can be started"))
    }

    /// Builds as the builder, by way of the attestor at `socket`.
    fn build_at(&self, socket: &str, more: &[&str]) -> Ran {
        let socket = format!("unix:{socket}");
        self.world.kiln(&[&["--attestor", &socket, "build", "--sign"], more].concat())
    }

    fn build(&self, orders: &Path) -> Ran {
        self.build_at(&self.socket(), &["--orders", orders.to_str().expect("UTF-8")])
    }

    /// Orders, builds and has signed one artifact; returns the request as the attestor got it.
    fn signed_request(&self) -> serde_json::Value {
        let orders = self.order("out", BUILDER);
        let between = self.between();
        self.build_at(&between.socket, &["--orders", orders.to_str().expect("UTF-8")]).exits(0);
        let saved = fs::read(&between.saved).expect("a request was seen");
        serde_json::from_slice(&saved).expect("a request is JSON")
    }

    /// Stands between builds and the attestor.
    fn between(&self) -> Between {
        let [ours, saved] = ["tmp/between", "tmp/saved"].map(|name| self.world.path(name));
        let (socket, shown) = (ours.display().to_string(), saved.display().to_string());
        let attestor = self.socket();
        let arguments = ["python3", ASK, "between", &attestor, &socket, &shown];
        let process = Running::start(&mut command_as(BUILDER, &arguments));
        while !ours.exists() {
            std::thread::yield_now();
        }
        let busy = PathBuf::from(format!("{shown}.busy"));
        Between { socket, saved, busy, _process: process }
    }

    /// Sends a request as any user, with descriptors of these files; returns the answer.
    fn ask(&self, uid: u32, request: &serde_json::Value, files: &[&str]) -> serde_json::Value {
        let path = self.world.path("request.json");
        fs::write(&path, request.to_string()).expect("a file");
        let socket = self.socket();
        let all = ["python3", ASK, "ask", &socket, path.to_str().expect("UTF-8")];
        let ran = self.run_as(uid, &[&all[..], files].concat()).exits(0);
        serde_json::from_str(&ran.stdout).expect("an answer is JSON")
    }

    /// Checks that a request is refused with this kind.
    #[track_caller]
    fn refuses(&self, uid: u32, request: &serde_json::Value, files: &[&str], kind: &str) {
        let answer = self.ask(uid, request, files);
        assert_eq!(answer["refused"]["kind"], kind, "{answer}");
    }

    fn artifact(&self) -> String {
        self.world.path("project/kiln-out/out").display().to_string()
    }

    fn check_log(&self) -> Ran {
        let state = self.world.path("attestor/state").display().to_string();
        let all = [program(), "attestor", "journal", "verify", "--state-dir", &state];
        self.run_as(ATTESTOR, &all)
    }
}

/// The program that nobody here but root can write.
fn program() -> &'static str {
    kiln().to_str().expect("UTF-8")
}

#[test]
fn a_build_is_signed_for_what_the_control_plane_ordered() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    // Without an order there is nothing to wait for.
    let refused = host.build_at(&host.socket(), &[]).exits(5);
    assert!(refused.says("KILN-0706") && refused.says("--orders FILE"), "{}", refused.stderr);
    let unsigned = format!("unix:{}", host.socket());
    let built = host.world.kiln(&["--attestor", &unsigned, "build"]).exits(0);
    assert!(built.says("unsigned: an attestor that listens signs only"), "{}", built.stderr);
    let orders = host.order("out", BUILDER);
    host.build(&orders).exits(0);
    // What was ordered is what the statement says, in the words of the attestor's own builder.
    let statement = host.world.statement("out");
    assert_eq!(
        statement["predicate"]["runDetails"]["builder"]["id"],
        "https://ci.example.org/kiln/v1"
    );
    let public = host.kiln_as(CONTROL, &["key", "export"]).exits(0).stdout;
    host.world.write("attestor.pem", &public);
    host.world.kiln(&["verify", "kiln-out/out", "--key", "attestor.pem"]).exits(0);
    // A build that changes nothing asks for no signature.
    fs::remove_file(host.world.path("project/attestor.pem")).expect("it is there");
    let before = host.world.read("kiln-out/out.intoto.jsonl");
    host.build(&orders).exits(0);
    assert_eq!(host.world.read("kiln-out/out.intoto.jsonl"), before);
    let log =
        fs::read_to_string(host.world.path("attestor/state/signed.log")).expect("it is there");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(&format!("\"uid\":{BUILDER},")), "{log}");
    assert!(host.check_log().exits(0).says("1 lines, the chain holds"));
    // An order for something else is none for this.
    let other = host.order("other", BUILDER);
    let refused = host.build(&other).exits(5);
    assert!(refused.says("no order of the control plane asks for this"), "{}", refused.stderr);
    // The configuration can name the socket as well.
    fs::create_dir_all(host.world.path("config/kiln")).expect("a folder");
    let text = format!("[attest]\nsocket = \"{}\"\n", host.socket());
    fs::write(host.world.path("config/kiln/config.toml"), text).expect("a file");
    let shown = host.world.kiln(&["key", "show"]).exits(0);
    assert!(shown.says("https://ci.example.org/kiln/v1"), "{}", shown.stdout);
    host.world.kiln(&["--attestor", "/no/unix/socket", "key", "show"]).exits(2);
    let gone = host.world.kiln(&["--attestor", "unix:/nonexistent", "build", "--sign"]).exits(5);
    assert!(gone.says("KILN-0706") && gone.says("cannot reach the attestor"), "{}", gone.stderr);
}

#[test]
fn sockets_of_a_service_manager_are_taken_and_tables_that_separate_nothing_refused() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    let places = host.places();
    let second = {
        let socket = host.socket();
        let mut all = vec![program(), "attestor", "listen"];
        all.extend(places.iter().map(String::as_str));
        host.run_as(ATTESTOR, &[&all[..], &["--socket", &socket]].concat())
    };
    assert_eq!(second.code, 7);
    assert!(second.says("KILN-0604"), "{}", second.stderr);
    assert!(second.says("somebody listens at"), "{}", second.stderr);
    for how in ["listen", "stdin"] {
        host.stop();
        let socket = host.socket();
        fs::remove_file(&socket).expect("it is left behind");
        let start = |mode| {
            let all =
                ["python3", ASK, "start", how, &socket, mode, program(), "attestor", "listen"];
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            command_as(ATTESTOR, &[&all[..], &places].concat())
        };
        // One that everybody may connect to keeps out nobody.
        let mut open = Running::start(start("666").stderr(Stdio::piped()));
        while open.0.try_wait().expect("it is our child").is_none() {
            // One that ends answers nobody.
            let answer = UnixStream::connect(&socket).and_then(|mut peer| peer.read(&mut [0]));
            assert!(!matches!(answer, Ok(1)), "it is listened at");
        }
        let mut told = String::new();
        open.0.stderr.take().expect("a pipe").read_to_string(&mut told).expect("text");
        assert!(told.contains("KILN-0604") && told.contains("SocketMode=0660"), "{told}");
        fs::remove_file(&socket).expect("it is left behind");
        host.attestor = Some(Running::start(&mut start("660")));
        host.wait();
        // As `SocketGroup` does it.
        chown(&socket, None, Some(CONTROL)).expect("we are root");
        host.kiln_as(CONTROL, &["key", "show"]).exits(0);
    }
    host.stop();
    for (text, code, told) in [
        ("", 2, "has no table `listen`"),
        ("[listen]\nbuild = [0]\ncontrol = [1002]\n", 2, "root can read the key"),
        ("[listen]\nbuild = [1000]\ncontrol = [1000]\n", 2, "has two roles"),
        ("[listen]\nbuild = [1000]\n", 2, "need at least one user or group"),
        ("[listen]\nbuild = [1001]\ncontrol = [1002]\n", 2, "attestor runs as that very user"),
        ("[listen]\nbuild = [1000]\ncontrol = [1002]\n", 2, "no listening Unix socket"),
    ] {
        host.config(text);
        let mut all = vec![program(), "attestor", "listen"];
        all.extend(places.iter().map(String::as_str));
        let ran = host.run_as(ATTESTOR, &all).exits(code);
        assert!(ran.says(told) && ran.says("KILN-0105"), "{told}: {}", ran.stderr);
    }
}

/// The token's module is loaded, used and left again for each request, whichever worker serves it.
#[test]
fn a_listening_attestor_signs_with_a_token() {
    if !can_be_others() {
        return;
    }
    let mut host = Host::new();
    host.stop();
    let module = crate::signers::token::module();
    let [tokens, settings, pin] = ["attestor/tokens", "attestor/softhsm2.conf", "attestor/pin"]
        .map(|name| host.world.path(name).display().to_string());
    fs::create_dir(&tokens).expect("a new folder");
    let text = format!("directories.tokendir = {tokens}\nlog.level = ERROR\n");
    fs::write(&settings, text).expect("a file");
    fs::write(&pin, "4711-pin\n").expect("a file");
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).expect("it is ours");
    for path in [&tokens, &settings, &pin] {
        chown(path, Some(ATTESTOR), Some(ATTESTOR)).expect("we are root");
    }
    let run = |arguments: &[&str]| {
        let mut command = command_as(ATTESTOR, arguments);
        let output = command.env("SOFTHSM2_CONF", &settings).output();
        Ran::of(&output.expect("it can be started")).exits(0);
    };
    let officer = ["softhsm2-util", "--init-token", "--free", "--so-pin", "officer-77"];
    run(&[&officer[..], &["--label", "release", "--pin", "4711-pin"]].concat());
    let tool = ["pkcs11-tool", "--module", module, "--token-label", "release", "--login"];
    let key =
        ["--pin", "4711-pin", "--keypairgen", "--key-type", "EC:prime256v1", "--label", "kiln"];
    run(&[&tool[..], &key[..], &["--id", "01"]].concat());
    host.configure(&format!(
        "[signer]\nkind = \"pkcs11\"\nmodule = \"{module}\"\ntoken = \"release\"\nkey = \"kiln\"\npin-file = \"{pin}\""
    ));
    host.start_with(&[("SOFTHSM2_CONF", &settings)]);
    for _ in 0..10 {
        let shown = host.kiln_as(CONTROL, &["key", "show"]).exits(0);
        assert!(shown.says("pkcs11 token release"), "{}", shown.stdout);
    }
    host.build(&host.order("out", BUILDER)).exits(0);
    let refused = host.kiln_as(ADMIN, &["key", "generate"]).exits(2);
    assert!(refused.says("KILN-0105"), "{}", refused.stderr);
}
