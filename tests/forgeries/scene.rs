//! One file, what speaks for it, and the one who is asked to believe it.
//!
//! A scene is good as it is made: a real artifact of a real build, its statement signed by the builder's
//! key, and a receiver who trusts that key. A forgery changes one thing about it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::authority::{self, Authority, IDENTITY, ISSUER, Wrong, base64};
use crate::support::{Ran, Who, World, build_file};

/// The payload type that is believed.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The builder of the builds here.
pub const BUILDER: &str = "https://kiln.build/builders/local/v1";
/// Another, whom the receiver knows too, with a key of its own.
pub const OTHER_BUILDER: &str = "https://other.example/kiln/v1";
/// A verifier whose summaries are believed.
pub const VERIFIER: &str = "https://verifier.example/v1";
/// Where the file was to be had.
pub const ADDRESS: &str = "https://dl.example.org/out";

/// All that forgeries have in common: one build, and keys.
pub struct Site {
    pub world: World,
    /// The statement that was signed.
    pub statement: Value,
    /// The file.
    pub artifact: Vec<u8>,
    pub authority: Authority,
    folder: PathBuf,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The builder, whose key the receiver trusts.
    Builder,
    /// The second builder, trusted too.
    Second,
    /// A builder with an Ed25519 key, trusted.
    Edwards,
    /// Nobody knows him.
    Stranger,
    /// A verifier, trusted to pass judgement.
    Judge,
}

impl Signer {
    const ALL: [Signer; 5] =
        [Signer::Builder, Signer::Second, Signer::Edwards, Signer::Stranger, Signer::Judge];

    fn name(self) -> &'static str {
        match self {
            Signer::Builder => "builder",
            Signer::Second => "second",
            Signer::Edwards => "edwards",
            Signer::Stranger => "stranger",
            Signer::Judge => "judge",
        }
    }
}

impl Site {
    /// Builds and signs one file and makes the keys.
    pub fn new() -> Site {
        let world = World::warm(Who::all()[0]);
        world.write("src/input", "the input\n");
        let file = build_file("cp src/input out", "{out: out}", "[{file: attack.out}]");
        world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.key();
        world.kiln(&["build", "--sign"]).exits(0);
        let folder = world.path("tmp/keys");
        fs::create_dir(&folder).expect("a folder");
        for signer in Signer::ALL {
            authority::key(&folder, signer.name(), signer == Signer::Edwards);
        }
        fs::copy(world.path("config/kiln/key.pem"), folder.join("builder.key")).expect("a key");
        Site {
            statement: world.statement("out"),
            artifact: world.read("kiln-out/out").into_bytes(),
            authority: Authority::new(&folder),
            folder,
            world,
        }
    }

    /// Signs bytes as they are.
    pub fn sign(&self, signer: Signer, bytes: &[u8]) -> Vec<u8> {
        let key = self.folder.join(format!("{}.key", signer.name()));
        authority::sign(&self.folder, &key, bytes, signer == Signer::Edwards)
    }

    /// Returns the public half of a key, PEM.
    pub fn public(&self, signer: Signer) -> String {
        authority::public(&self.folder, &self.folder.join(format!("{}.key", signer.name())))
    }

    /// Returns a public key of a kind that is not offered.
    pub fn strange_key(&self, algorithm: &[&str]) -> String {
        let name = format!("strange-{}.key", algorithm.join("-").replace([':', '_'], "-"));
        let make = [&["genpkey", "-out", &name, "-algorithm"], algorithm].concat();
        authority::openssl(&self.folder, &make);
        authority::public(&self.folder, &self.folder.join(name))
    }

    /// Returns what a bundle names a key by: the SHA-256 of it.
    pub fn hint(&self, signer: Signer) -> String {
        let key = self.folder.join(format!("{}.key", signer.name()));
        let key = key.to_str().expect("UTF-8");
        let der =
            authority::openssl(&self.folder, &["pkey", "-in", key, "-pubout", "-outform", "DER"]);
        base64(model::Digest::of(&der).as_bytes())
    }

    /// Returns an entry of a trust file.
    pub fn trust(&self, signer: Signer, what: &str, level: u8) -> String {
        let key = self.public(signer);
        let name = signer.name();
        format!(
            "[[trust]]\nname = \"{name}\"\nkey = \"\"\"\n{key}\"\"\"\n{what}\nmax-level = {level}\n\n"
        )
    }
}

/// Returns the bytes that an envelope's signature is over.
pub fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// In which form the evidence comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A bundle, by a key.
    Bundle,
    /// The older spelling of its media type.
    OldBundle,
    /// A bundle, by a certificate.
    Certificate,
    /// An envelope without a bundle, under a bundle's name.
    Bare,
    /// A line file.
    Line,
    /// A line file with another file's statement before it.
    Lines,
}

impl Form {
    /// Every one.
    pub const ALL: [Form; 6] =
        [Form::Bundle, Form::OldBundle, Form::Certificate, Form::Bare, Form::Line, Form::Lines];
}

/// A file, its evidence, and the receiver.
#[derive(Clone)]
pub struct Scene<'s> {
    pub site: &'s Site,
    /// What is signed, unless `payload` says other bytes.
    pub statement: Value,
    pub payload: Option<Vec<u8>>,
    pub payload_type: String,
    pub signer: Signer,
    pub form: Form,
    /// Signed by a certificate in the key's place, with this wrong about it.
    pub certificate: Option<Wrong>,
    /// The receiver's trusted root, where there is one.
    pub root: Option<Value>,
    /// The evidence, once it is made.
    pub evidence: Option<Vec<u8>>,
    /// What its file is called.
    pub name: &'static str,
    pub artifact: Vec<u8>,
    pub trust: String,
    /// Other files of the folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The command, in that folder.
    pub args: Vec<String>,
    /// Most memory that kiln may take, in KiB.
    pub memory_kib: Option<u64>,
}

impl<'s> Scene<'s> {
    /// Returns the good one: `kiln verify out`, a bundle beside it.
    pub fn new(site: &'s Site) -> Scene<'s> {
        let builder = format!("builder-id = \"{BUILDER}\"");
        let trust = [
            site.trust(Signer::Builder, &builder, 2),
            site.trust(Signer::Edwards, &builder, 1),
            site.trust(Signer::Second, &format!("builder-id = \"{OTHER_BUILDER}\""), 2),
            site.trust(Signer::Judge, &format!("verifier-id = \"{VERIFIER}\""), 2),
        ];
        Scene {
            site,
            statement: site.statement.clone(),
            payload: None,
            payload_type: PAYLOAD_TYPE.to_owned(),
            signer: Signer::Builder,
            form: Form::Bundle,
            certificate: None,
            root: None,
            evidence: None,
            name: "out.sigstore.json",
            artifact: site.artifact.clone(),
            trust: trust.concat(),
            files: BTreeMap::new(),
            args: ["verify", "out"].map(str::to_owned).to_vec(),
            memory_kib: None,
        }
    }

    /// Adds arguments.
    pub fn with(&mut self, arguments: &[&str]) {
        self.args.extend(arguments.iter().map(|one| (*one).to_owned()));
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), content.into());
    }

    /// Has the evidence come in another form.
    pub fn come_as(&mut self, form: Form) {
        self.form = form;
        match form {
            Form::Bundle | Form::OldBundle | Form::Bare => {}
            Form::Certificate => self.by_certificate(),
            Form::Line | Form::Lines => self.name = "out.intoto.jsonl",
        }
    }

    /// Has a certificate sign, and names its holder to the receiver.
    pub fn by_certificate(&mut self) {
        self.certificate = Some(Wrong::default());
        self.root = Some(self.site.authority.root());
        self.with(&["--trusted-root", "root.json", "--identity", IDENTITY, "--issuer", ISSUER]);
    }

    /// Changes an external parameter.
    pub fn parameter(&mut self, name: &str, value: &str) {
        self.statement["predicate"]["buildDefinition"]["externalParameters"][name] = json!(value);
    }

    fn payload(&self) -> Vec<u8> {
        self.payload.clone().unwrap_or_else(|| self.statement.to_string().into_bytes())
    }

    /// Returns the envelope, signed now.
    pub fn envelope(&self) -> Value {
        let signed = pae(&self.payload_type, &self.payload());
        self.envelope_with(&self.site.sign(self.signer, &signed))
    }

    fn envelope_with(&self, signature: &[u8]) -> Value {
        json!({
            "payload": base64(&self.payload()),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": "", "sig": base64(signature)}],
        })
    }

    /// Returns the bundle, signed now.
    pub fn bundle(&self) -> Value {
        let signed = pae(&self.payload_type, &self.payload());
        let (signature, material) = match &self.certificate {
            Some(wrong) => self.site.authority.sign(&signed, wrong),
            None => (
                self.site.sign(self.signer, &signed),
                json!({"publicKey": {"hint": self.site.hint(self.signer)}}),
            ),
        };
        let mut envelope = self.envelope_with(&signature);
        envelope["signatures"] = json!([{"sig": base64(&signature)}]);
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        })
    }

    /// Returns the evidence in its form, signed now.
    fn made(&self) -> Vec<u8> {
        let old = "application/vnd.dev.sigstore.bundle+json;version=0.3";
        let text = match self.form {
            Form::Bundle | Form::Certificate => self.bundle().to_string(),
            Form::OldBundle => {
                let mut bundle = self.bundle();
                bundle["mediaType"] = json!(old);
                bundle.to_string()
            }
            Form::Bare => self.envelope().to_string(),
            Form::Line => format!("{}\n", self.envelope()),
            Form::Lines => {
                let mut other = self.clone();
                other.statement = self.site.statement.clone();
                other.statement["subject"][0]["digest"]["sha256"] =
                    json!(model::Digest::of(b"other").hex());
                other.payload_type = PAYLOAD_TYPE.to_owned();
                format!("{}\n{}\n", other.envelope(), self.envelope())
            }
        };
        text.into_bytes()
    }

    /// Changes the bundle after it was signed.
    pub fn after(&mut self, change: impl FnOnce(&mut Value)) {
        let mut bundle = self.bundle();
        change(&mut bundle);
        self.evidence = Some(bundle.to_string().into_bytes());
    }

    /// Changes the bundle's text after it was signed.
    pub fn rewrite(&mut self, from: &str, to: &str) {
        let text = self.bundle().to_string();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from} is not there");
        self.evidence = Some(changed.into_bytes());
    }

    /// Has another payload signed as it stands: the statement's text, changed.
    pub fn payload_text(&mut self, from: &str, to: &str) {
        let text = self.statement.to_string();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from} is not there");
        self.payload = Some(changed.into_bytes());
    }

    /// Lays everything into a folder of its own and runs the command there.
    pub fn run(&self, place: &str) -> Ran {
        let world = &self.site.world;
        let top = world.path("project").join(place);
        if top.exists() {
            fs::remove_dir_all(&top).expect("it is ours");
        }
        let config = top.join("config/kiln");
        fs::create_dir_all(&config).expect("a folder");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o700)).expect("ours");
        let write = |name: &str, bytes: &[u8]| {
            let path = top.join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
            fs::write(path, bytes).expect("it is written");
        };
        write("out", &self.artifact);
        write("config/kiln/trust.toml", self.trust.as_bytes());
        if !self.name.is_empty() {
            write(self.name, &self.evidence.clone().unwrap_or_else(|| self.made()));
        }
        if let Some(root) = &self.root {
            write("root.json", root.to_string().as_bytes());
        }
        for (name, bytes) in &self.files {
            write(name, bytes);
        }
        world.who.give(&top);
        let program = world.path("bin/kiln");
        let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
        let mut all = Vec::new();
        if let Some(kib) = self.memory_kib {
            let limit = format!("ulimit -v {kib} && exec \"$@\"");
            all.extend(["sh".to_owned(), "-c".to_owned(), limit, "sh".to_owned()]);
        }
        all.extend([text(&program), "-C".to_owned(), text(&top), "--json".to_owned()]);
        all.extend(self.args.iter().cloned());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        world.run(&all, &[("XDG_CONFIG_HOME", &text(&top.join("config")))])
    }
}
