//! A key in a token: SoftHSM, spoken to by its own module.

use std::fs;
use std::path::Path;

use super::{accepted_by_all, build, configure, keys_are_not_made_here, refused, secret, world};
use crate::support::{Who, World};

/// Where Debian and others put SoftHSM's module.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
];
/// The user's PIN: a word that is nowhere else.
const PIN: &str = "pin-8b1f44c0";
const LABEL: &str = "release";

/// A token of a world's own.
struct Token<'a> {
    world: &'a World,
    settings: String,
}

pub fn module() -> &'static str {
    MODULES.into_iter().find(|path| Path::new(path).exists()).expect("softhsm2 is installed")
}

impl<'a> Token<'a> {
    fn new(world: &'a World) -> Token<'a> {
        let tokens = world.path("tokens");
        fs::create_dir(&tokens).expect("a new folder");
        let settings = world.path("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(&settings, text).expect("a file");
        for path in [&tokens, &settings] {
            world.who.give(path);
        }
        let token = Token { world, settings: settings.to_str().expect("UTF-8").to_owned() };
        token.make(LABEL);
        token
    }

    fn env(&self) -> [(&str, &str); 1] {
        [("SOFTHSM2_CONF", &self.settings)]
    }

    fn make(&self, label: &str) {
        let arguments = ["softhsm2-util", "--init-token", "--free", "--so-pin", "officer-77"];
        let all = [&arguments[..], &["--label", label, "--pin", PIN]].concat();
        self.world.run(&all, &self.env()).exits(0);
    }

    fn tool(&self, arguments: &[&str]) {
        let login =
            ["pkcs11-tool", "--module", module(), "--token-label", LABEL, "--login", "--pin", PIN];
        self.world.run(&[&login[..], arguments].concat(), &self.env()).exits(0);
    }

    fn key(&self, kind: &str, label: &str, id: &str) {
        self.tool(&["--keypairgen", "--key-type", kind, "--label", label, "--id", id]);
    }

    /// Names a key of the token in the configuration.
    fn configure(&self, which: &str) {
        let pin = secret(self.world, "pin", &format!("{PIN}\n"));
        self.configure_with(which, &format!("pin-file = \"{pin}\""));
    }

    fn configure_with(&self, which: &str, pin: &str) {
        let module = module();
        let text = format!(
            "[signer]\nkind = \"pkcs11\"\nmodule = \"{module}\"\ntoken = \"{LABEL}\"\n{which}\n{pin}\n"
        );
        configure(self.world, &text);
    }
}

#[test]
fn a_key_in_a_token_signs_what_all_accept() {
    for who in Who::all() {
        for (kind, id) in [("EC:prime256v1", "01"), ("EC:edwards25519", "02")] {
            let world = world(who);
            let token = Token::new(&world);
            token.key(kind, "kiln", id);
            token.configure("key = \"kiln\"");
            accepted_by_all(&world, &token.env());
            keys_are_not_made_here(&world, &token.env());
            let shown = world.kiln_with(&["key", "show"], &token.env()).exits(0);
            assert!(shown.stdout.contains("pkcs11 token release"), "{}", shown.stdout);
        }
    }
}

#[test]
fn a_token_that_cannot_sign_is_told_with_the_remedy() {
    for who in Who::all() {
        let world = world(who);
        let token = Token::new(&world);
        let env = token.env();
        let told = |code, words: &[&str]| refused(&world, &env, code, 5, words);
        token.configure("key = \"kiln\"");
        told("KILN-0701", &["has no private key `kiln`; there are: none", "make the key"]);
        token.key("EC:secp384r1", "wide", "03");
        token.key("rsa:2048", "old", "04");
        told("KILN-0701", &["there are: old, wide"]);
        token.configure("key = \"wide\"");
        told("KILN-0703", &["is on another curve; offered are ECDSA P-256 and Ed25519"]);
        token.configure("key = \"old\"");
        told("KILN-0703", &["is an RSA key; offered are"]);
        token.key("EC:prime256v1", "twin", "05");
        token.key("EC:prime256v1", "twin", "06");
        token.configure("key = \"twin\"");
        told("KILN-0703", &["2 private keys `twin`, so none is taken", "id = \"01\""]);
        token.configure("key = \"twin\"\nid = \"06\"");
        build(&world, &env).exits(0);
        // A private key alone says nothing of its public half.
        token.tool(&["--delete-object", "--type", "pubkey", "--id", "06"]);
        told("KILN-0701", &["no public half beside the private key"]);
        token.make(LABEL);
        told("KILN-0703", &["2 tokens are labelled `release`, so none is taken"]);
        let missing = world.path("tokens-elsewhere.conf");
        fs::write(&missing, "directories.tokendir = /nonexistent\n").expect("a file");
        let elsewhere = [("SOFTHSM2_CONF", missing.to_str().expect("UTF-8"))];
        refused(&world, &elsewhere, "KILN-0703", 5, &["initialise of module"]);
        let nothing = module().replace(".so", ".gone.so");
        let text =
            fs::read_to_string(world.path("config/kiln/attestor.toml")).expect("it is there");
        configure(&world, &text.replace(module(), &nothing));
        told("KILN-0701", &["load the module", "install the token's module"]);
        configure(&world, &text.replace(LABEL, "nobody"));
        told("KILN-0701", &["no token is labelled `nobody`; there are: release, release"]);
    }
}

/// The PIN is read from a closed file or a descriptor, and is told nowhere.
#[test]
fn the_pin_is_in_no_argument_no_variable_no_error_and_no_log() {
    for who in Who::all() {
        let world = world(who);
        let token = Token::new(&world);
        token.key("EC:prime256v1", "kiln", "01");
        token.configure("key = \"kiln\"");
        let trace = world.path("tmp/trace").display().to_string();
        let kiln = world.path("bin/kiln").display().to_string();
        let traced =
            ["strace", "-f", "-v", "-s", "9999", "-e", "trace=execve", "-o", &trace, &kiln];
        let command = [
            "-vvv", "run", "--sign", "--input", "data", "--output", "made", "--", "cp", "data/a",
            "made",
        ];
        let ran = world.run(&[&traced[..], &command].concat(), &token.env()).exits(0);
        assert!(!ran.says(PIN), "the PIN is told");
        let trace = fs::read_to_string(&trace).expect("strace wrote it");
        assert!(trace.contains("\"attestor\""), "the attestor was not traced");
        assert!(!trace.contains(PIN), "the PIN is an argument or a variable");
        let grep = ["grep", "-rlF", PIN];
        let places = ["kiln-out", "../home", "../config", "../cache"];
        let found = world.run(&[&grep[..], &places].concat(), &[]);
        assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{}", found.stderr);
        // Errors about it do not hold it either.
        secret(&world, "pin", "pin-of-somebody-else\n");
        let wrong = build(&world, &token.env()).exits(5);
        assert!(
            wrong.says("KILN-0703") && wrong.says("the PIN is not that of"),
            "{}",
            wrong.stderr
        );
        assert!(!wrong.says("pin-of-somebody-else"), "{}", wrong.stderr);
        secret(&world, "pin", "");
        refused(&world, &token.env(), "KILN-0703", 5, &["there is no PIN in"]);
        // A file that others can read is not used.
        let pin = secret(&world, "pin", PIN);
        world.run(&["chmod", "640", &pin], &[]).exits(0);
        let told = ["can be read by others", "mode 0600, and name it: pin-file"];
        refused(&world, &token.env(), "KILN-0703", 5, &told);
        // A PIN on a descriptor, of a file that was opened by whoever started kiln.
        world.run(&["chmod", "600", &pin], &[]).exits(0);
        token.configure_with("key = \"kiln\"", "pin-descriptor = 7");
        let script = format!("exec {kiln} {} 7<{pin}", command[1..].join(" "));
        world.run(&["rm", "-r", "kiln-out"], &[]).exits(0);
        world.run(&["sh", "-c", &script], &token.env()).exits(0);
        refused(&world, &token.env(), "KILN-0703", 5, &["/proc/self/fd/7"]);
        token.configure_with("key = \"kiln\"", "");
        refused(&world, &token.env(), "KILN-0703", 5, &["wants a PIN"]);
    }
}

/// A token whose halves do not belong together signs with a key that nobody would find.
#[test]
fn a_signature_that_the_public_half_does_not_confirm_never_leaves() {
    for who in Who::all() {
        let world = world(who);
        let token = Token::new(&world);
        token.key("EC:prime256v1", "kiln", "01");
        token.key("EC:prime256v1", "other", "02");
        let public = world.path("tmp/other.der").display().to_string();
        token.tool(&["--read-object", "--type", "pubkey", "--id", "02", "-o", &public]);
        token.tool(&["--delete-object", "--type", "pubkey", "--id", "01"]);
        let write = ["--write-object", &public, "--type", "pubkey", "--id", "01"];
        token.tool(&[&write[..], &["--label", "kiln"]].concat());
        token.configure("key = \"kiln\"");
        refused(
            &world,
            &token.env(),
            "KILN-0703",
            5,
            &["is no signature by the key that was asked for", "two halves"],
        );
        assert!(!world.path("project/kiln-out/made.intoto.jsonl").exists());
    }
}
