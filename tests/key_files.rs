//! Keys that others made: taken as they are, or refused with the command that makes one of ours of them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::support::{Ran, Who, World, build_file};

const PASSPHRASE: &str = "a passphrase";

/// Makes key files of these kinds with openssl and ssh-keygen.
const MAKE: &str = "set -e; umask 077
openssl ecparam -name prime256v1 -genkey -noout -out sec1.pem
openssl ecparam -name prime256v1 -genkey -out parameters.pem
openssl ec -in sec1.pem -aes256 -passout 'pass:a passphrase' -out sec1-locked.pem
openssl pkcs8 -topk8 -in sec1.pem -v2 aes-256-cbc -passout 'pass:a passphrase' -out 'it is locked.pem'
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
openssl rsa -in rsa.pem -traditional -out rsa-old.pem
openssl ecparam -name secp384r1 -genkey -noout | openssl pkey -out p384.pem
openssl genpkey -algorithm X25519 -out x25519.pem
ssh-keygen -q -t ed25519 -N '' -f openssh.pem
openssl genpkey -algorithm ED25519 -out ed25519.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.pem";

/// Runs a line of a shell that has no terminal, so that a passphrase is read from its input.
fn shell(world: &World, line: &str) -> Ran {
    let mut command = world.command(&["setsid", "-w", "sh", "-c", line], &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let typed = format!("{PASSPHRASE}\n");
    // One that asks for nothing may have ended.
    let _ = child.stdin.take().expect("it is piped").write_all(typed.as_bytes());
    Ran::of(&child.wait_with_output().expect("it ends"))
}

#[test]
fn a_key_of_another_form_is_refused_with_the_command_that_converts_it() {
    let world = World::cold(Who::all()[0]);
    shell(&world, MAKE).exits(0);
    let own = world.path("config/kiln/key.pem");
    for (file, words) in [
        ("sec1.pem", "in SEC1 form"),
        ("parameters.pem", "in SEC1 form"),
        ("sec1-locked.pem", "under a passphrase"),
        ("it is locked.pem", "under a passphrase"),
    ] {
        let told = world.kiln(&["key", "import", file]).exits(5);
        let flat = told.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.says("KILN-0703") && flat.contains(words), "{file}: {}", told.stderr);
        // What is printed is what helps, as it stands.
        let line = told.stderr.lines().find(|line| line.starts_with("help: ")).expect("help");
        let command =
            line.split_once("  (").map(|(_, rest)| format!("({rest}")).expect("a command");
        shell(&world, &command).exits(0);
        let made = format!("{file}.pkcs8");
        world.kiln(&["key", "import", &made]).exits(0);
        fs::remove_file(&own).expect("it was taken over");
        // The same where such a file was put in the key's place.
        let text = fs::read(world.path(&format!("project/{file}"))).expect("it was made");
        fs::write(&own, text).expect("it can be written");
        let who = Who::all()[0];
        who.give(&own);
        fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("ours");
        let shown = world.kiln(&["key", "show"]).exits(5);
        assert!(shown.says("KILN-0703") && shown.says("openssl pkey -in"), "{}", shown.stderr);
        fs::remove_file(&own).expect("it was put there");
    }
    for (file, words) in [
        ("rsa.pem", "is an RSA key, which is not supported: ECDSA P-256 and Ed25519 are"),
        ("rsa-old.pem", "is an RSA key, which is not supported: ECDSA P-256 and Ed25519 are"),
        ("p384.pem", "on another curve than P-256"),
        ("x25519.pem", "of a kind that is not supported"),
        ("openssh.pem", "in OpenSSH's form"),
    ] {
        let told = world.kiln(&["key", "import", file]).exits(5);
        let flat = told.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.says("KILN-0703") && flat.contains(words), "{file}: {}", told.stderr);
        assert!(!told.says("openssl"), "{file} cannot be converted: {}", told.stderr);
        assert!(!own.exists());
    }
    for file in ["ed25519.pem", "p256.pem"] {
        world.kiln(&["key", "import", file]).exits(0);
        fs::remove_file(&own).expect("it was taken over");
    }
}

/// What is said of trust is what stands in the trust file.
#[test]
fn a_new_key_is_said_to_be_trusted_only_where_it_is() {
    let world = World::cold(Who::all()[0]);
    let told = world.kiln(&["key", "generate"]).exits(0);
    assert!(told.says("trusted on this host at L1"), "{}", told.stderr);
    let [key, trust] =
        ["key.pem", "trust.toml"].map(|name| world.path(&format!("config/kiln/{name}")));
    let text = fs::read_to_string(&trust).expect("it was written");
    // Taken over again after it was revoked: whoever revoked it decides.
    let revoked =
        text.replace("max-level = 1", "max-level = 1\nrevoked = \"2026-01-01T00:00:00Z\"");
    assert_ne!(revoked, text);
    fs::write(&trust, revoked).expect("it can be written");
    fs::rename(&key, world.path("project/again.pem")).expect("it can be moved");
    let told = world.kiln(&["key", "import", "again.pem"]).exits(0);
    assert!(told.says("not trusted") && !told.says("trusted on this host"), "{}", told.stderr);
    fs::rename(&key, world.path("project/third.pem")).expect("it can be moved");
    let told = world.kiln(&["--json", "key", "import", "third.pem"]).exits(0);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("one document");
    assert_eq!(told["trusted"], false, "{told}");
}

/// A wrong key of `attestor.toml` is named with its line, in whichever table it stands.
#[test]
fn what_is_wrong_in_the_attestors_configuration_is_told_with_its_line() {
    let world = World::cold(Who::all()[0]);
    world.kiln(&["key", "generate"]).exits(0);
    let path = world.path("config/kiln/attestor.toml");
    for (text, line, words) in [
        ("# c\n\n[signer]\nkind = \"file\"\nbogus = 1\n", "line 5", "unknown field `bogus`"),
        ("[signer]\nkind = \"key\"\n", "line 2", "unknown variant `key`"),
        ("[signer]\nkind = \"pkcs11\"\nmodule = 3\n", "line 3", "expected path string"),
        (
            "[listen]\nbuild = [1]\ncontrol = [2]\nadmins = [3]\n",
            "line 4",
            "unknown field `admins`",
        ),
        ("\n[builder]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\nx = 1\n", "line 5", "`x`"),
        ("\n[builder.docker]\nid = 1\n", "line 3", "invalid type"),
        ("\n\nlevel = 3\n", "line 3", "unknown field `level`"),
        ("\n\n[verifier]\nid = \"https://a/\"\npolicy = []\n", "line 5", "unknown field `policy`"),
        // What the format allows and its kind does not is named.
        (
            "[signer]\nkind = \"file\"\ntoken = \"x\"\n",
            "",
            "`token` does not go with kind = \"file\"",
        ),
        ("[signer]\nkind = \"keyless\"\ntoken = \"githu\"\n", "", "none of github, gitlab"),
        ("[signer]\nkind = \"pkcs11\"\nkey = \"x\"\n", "", "kind = \"pkcs11\" needs `module`"),
    ] {
        fs::write(&path, text).expect("it can be written");
        Who::all()[0].give(&path);
        let told = world.kiln(&["key", "show"]).exits(5);
        let flat = told.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.says("KILN-0703") && flat.contains(words), "{text}: {}", told.stderr);
        assert!(flat.contains(line) && flat.contains("attestor.toml"), "{text}: {}", told.stderr);
    }
}

/// What `verify` does not believe, no key command makes a file of one's own out of.
#[test]
fn a_trust_file_that_others_can_write_is_not_taken_over() {
    let world = World::cold(Who::all()[0]);
    world.kiln(&["key", "generate"]).exits(0);
    let trust = world.path("config/kiln/trust.toml");
    let key = world.path("config/kiln/key.pem");
    let folder = world.path("config/kiln");
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let text = fs::read(&trust).expect("it was written");
    let first = fs::read(&key).expect("it was made");
    world.write("spare.pem", std::str::from_utf8(&first).expect("PEM"));
    set(&world.path("project/spare.pem"), 0o600);
    let elsewhere = world.path("project/trust.toml");
    fs::write(&elsewhere, &text).expect("a file");
    let flat = |ran: &Ran| ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for what in ["file", "folder", "link"] {
        match what {
            "file" => set(&trust, 0o666),
            "folder" => set(&folder, 0o777),
            _ => {
                fs::remove_file(&trust).expect("it is ours");
                std::os::unix::fs::symlink(&elsewhere, &trust).expect("it is ours");
            }
        }
        let words = match what {
            "file" => "with mode 666",
            "folder" => "with mode 777",
            _ => "is a link; give its place to a plain file",
        };
        let refused = |arguments: &[&str]| {
            // Who can write into the folder can say how to sign as well, and that is looked at first.
            let (code, exit) = if what == "folder" { ("KILN-0703", 5) } else { ("KILN-0105", 2) };
            let told = world.kiln(arguments).exits(exit);
            assert!(told.says(code), "{what}, {arguments:?}: {}", told.stderr);
            assert!(flat(&told).contains(words), "{what}, {arguments:?}: {}", told.stderr);
        };
        refused(&["key", "rotate"]);
        assert_eq!(fs::read(&key).expect("it is kept"), first, "{what}");
        fs::remove_file(&key).expect("it is ours");
        refused(&["key", "generate"]);
        refused(&["key", "import", "spare.pem"]);
        assert!(!key.exists(), "{what}: a key was made");
        fs::write(&key, &first).expect("it is ours");
        set(&key, 0o600);
        assert_eq!(fs::read(&trust).expect("it is there"), text, "{what}");
        set(&folder, 0o700);
        if what != "link" {
            let mode = fs::metadata(&trust).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, if what == "file" { 0o666 } else { 0o600 }, "{what}");
            set(&trust, 0o600);
        }
    }
    fs::remove_file(&trust).expect("it is ours");
    world.kiln(&["key", "rotate"]).exits(0);
}

/// Whoever can write there says in whose name is signed, also where it is said in no more than one table.
#[test]
fn an_attestor_that_a_build_starts_signs_by_no_configuration_that_others_can_write() {
    let who = Who::all()[0];
    let world = World::warm(who);
    world.write("src/input", &world.token);
    world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
    world.key();
    world.kiln(&["lock"]).exits(0);
    let config = world.path("config/kiln/attestor.toml");
    let folder = world.path("config/kiln");
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let write = |id: &str| {
        let text = format!("[builder]\nid = \"https://{id}/k\"\nwaived-id = \"https://{id}/w\"\n");
        fs::write(&config, text).expect("it can be written");
        who.give(&config);
    };
    let refused = |what: &str, words: &[&str]| {
        let told = world.kiln(&["build", "--sign"]).exits(5);
        assert!(told.says("KILN-0703"), "{what}: {}", told.stderr);
        let flat = told.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in words {
            assert!(flat.contains(words), "{what}: {}", told.stderr);
        }
        let evidence = world.path("project/kiln-out/out.sigstore.json");
        assert!(!evidence.exists(), "{what}: it was signed");
    };
    write("evil.example");
    set(&config, 0o666);
    refused("a file that all can write", &["with mode 666", "chmod go-w", "/attestor.toml"]);
    set(&config, 0o620);
    refused("a file that a group can write", &["with mode 620", "chmod go-w"]);
    set(&config, 0o600);
    set(&folder, 0o770);
    refused("a folder that a group can write", &["with mode 770", "chmod go-w"]);
    set(&folder, 0o700);
    if who == Who::Root {
        std::os::unix::fs::chown(&config, Some(4242), Some(4242)).expect("we are root");
        refused("a stranger's file", &["belongs to user 4242", "give it to the attestor's user"]);
        std::os::unix::fs::chown(&config, Some(0), Some(0)).expect("we are root");
    }
    let elsewhere = world.path("tmp/attestor.toml");
    fs::rename(&config, &elsewhere).expect("it is ours");
    std::os::unix::fs::symlink(&elsewhere, &config).expect("it is ours");
    refused("a link", &["is a link; give its place to a plain file"]);
    // The control.
    fs::remove_file(&config).expect("it is ours");
    write("ci.example.org");
    set(&config, 0o644);
    world.kiln(&["build", "--sign"]).exits(0);
    let id = &world.statement("out")["predicate"]["runDetails"]["builder"]["id"];
    assert_eq!(id, "https://ci.example.org/k");
}
