//! A certificate authority, a timestamp authority and a transparency log, made of openssl's commands: as
//! little of a Sigstore as a bundle with a certificate needs, and anything about it can be made wrong.
//!
//! It has no log of certificates, so nothing here is about SCTs; the vectors of the attestor's own tests are.
//!
//! Source: RFC 3161; Fulcio's OID list; C2SP signed-note and tlog-checkpoint; rekor-tiles, hashedrekord 0.0.2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Digest;
use serde_json::{Value, json};

/// Whom a good certificate names, and who vouches for it.
pub const IDENTITY: &str = "builder@kiln.example";
pub const ISSUER: &str = "https://issuer.kiln.example";
/// Where no certificate of these tests is valid yet, and where none is any more.
const LONG_AGO: (&str, &str) = ("20200101000000Z", "20200102000000Z");
/// A time that holds now, in openssl's spelling.
const ALWAYS: (&str, &str) = ("20190101000000Z", "20490101000000Z");
const ORIGIN: &str = "log.kiln.example";

/// What is wrong with a certificate bundle; nothing in a default one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wrong {
    /// Another subject.
    pub identity: Option<&'static str>,
    /// Another issuer.
    pub issuer: Option<&'static str>,
    /// The certificate ended before the signature was made.
    pub ended: bool,
    /// It is no certificate for signing code.
    pub purpose: bool,
    /// An authority of the same name with another key signed it.
    pub authority: bool,
    /// Its authority's own certificate had ended.
    pub authority_ended: bool,
    /// The timestamp is by an authority that nobody lists.
    pub stamp_authority: bool,
    /// The timestamp is about other bytes.
    pub stamp_other: bool,
    /// The log's entry is about another digest, signature, or certificate.
    pub entry: Option<Entry>,
    /// The checkpoint is signed by another key.
    pub checkpoint: bool,
}

/// Which part of the log's entry is another's.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    Digest,
    Signature,
    Certificate,
}

/// The instance: its folder holds keys and certificates by name.
pub struct Authority {
    folder: PathBuf,
}

/// Encodes base64, standard with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Runs openssl in a folder and returns what it wrote to standard output.
pub fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output();
    let output = output.expect("openssl can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    output.stdout
}

/// Signs bytes with a key in PEM: ECDSA with SHA-256 in DER, or Ed25519.
pub fn sign(folder: &Path, key: &Path, bytes: &[u8], edwards: bool) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new_in(folder).expect("a file");
    fs::write(file.path(), bytes).expect("it is written");
    let (key, file) = (key.to_str().expect("UTF-8"), file.path().to_str().expect("UTF-8"));
    match edwards {
        true => openssl(folder, &["pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", file]),
        false => openssl(folder, &["dgst", "-sha256", "-sign", key, file]),
    }
}

/// Makes a private key of either kind.
pub fn key(folder: &Path, name: &str, edwards: bool) -> PathBuf {
    let file = format!("{name}.key");
    let kind: &[&str] = if edwards {
        &["-algorithm", "ed25519"]
    } else {
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    };
    openssl(folder, &[&["genpkey", "-out", &file], kind].concat());
    folder.join(file)
}

/// Returns the public half of a key, PEM.
pub fn public(folder: &Path, key: &Path) -> String {
    let told = openssl(folder, &["pkey", "-pubout", "-in", key.to_str().expect("UTF-8")]);
    String::from_utf8(told).expect("PEM is text")
}

const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n";
const STAMPS: &str = "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n";

impl Authority {
    /// Makes the instance's lasting parts.
    pub fn new(folder: &Path) -> Authority {
        let authority = Authority { folder: folder.to_owned() };
        for name in ["ca", "false-ca", "tsa-ca", "false-tsa-ca", "tsa", "leaf"] {
            key(folder, name, false);
        }
        for name in ["log", "false-log"] {
            key(folder, name, true);
        }
        for (name, key, subject, span) in [
            ("ca", "ca", "kiln authority", ALWAYS),
            ("ended-ca", "ca", "kiln authority", LONG_AGO),
            ("false-ca", "false-ca", "kiln authority", ALWAYS),
            ("tsa-ca", "tsa-ca", "kiln clock authority", ALWAYS),
            ("false-tsa-ca", "false-tsa-ca", "kiln clock authority", ALWAYS),
        ] {
            authority.issue(name, key, subject, CA, span, (key, None));
        }
        let purpose = STAMPS.replace("timeStamping", "codeSigning");
        for (name, extensions, span, ca) in [
            ("tsa", STAMPS, ALWAYS, "tsa-ca"),
            ("ended-tsa", STAMPS, LONG_AGO, "tsa-ca"),
            ("purpose-tsa", &purpose, ALWAYS, "tsa-ca"),
            ("again-tsa", STAMPS, ALWAYS, "tsa-ca"),
            ("false-tsa", STAMPS, ALWAYS, "false-tsa-ca"),
        ] {
            authority.issue(name, "tsa", "kiln clock", extensions, span, (ca, Some(ca)));
        }
        authority
    }

    /// Issues `NAME.pem` for a key; by itself, where no authority is named.
    fn issue(
        &self,
        name: &str,
        key: &str,
        subject: &str,
        extensions: &str,
        (start, end): (&str, &str),
        (by_key, by): (&str, Option<&str>),
    ) {
        // Those of the clock have one number, so that a timestamp says by its certificate's hash alone whose
        // it is.
        let number = match name.ends_with("tsa") {
            true => format!("serial={name}.number"),
            false => "rand_serial=yes".to_owned(),
        };
        fs::write(self.folder.join(format!("{name}.number")), "1234\n").expect("a file");
        let config = format!(
            "[ca]\ndefault_ca=it\n[it]\ndatabase={name}.index\nnew_certs_dir=.\nunique_subject=no\n\
             {number}\ndefault_md=sha256\npolicy=any\nemail_in_dn=no\n[any]\ncommonName=optional\n\
             [req]\ndistinguished_name=dn\n[dn]\n[extensions]\n{extensions}"
        );
        fs::write(self.folder.join(format!("{name}.cnf")), config).expect("a file");
        fs::write(self.folder.join(format!("{name}.index")), "").expect("a file");
        let (cnf, csr, pem) = (format!("{name}.cnf"), format!("{name}.csr"), format!("{name}.pem"));
        let (key, by_key) = (format!("{key}.key"), format!("{by_key}.key"));
        let subject = format!("/CN={subject}");
        let new = ["req", "-new", "-key", &key, "-subj", &subject, "-config", &cnf, "-out", &csr];
        openssl(&self.folder, &new);
        let by = by.map(|by| format!("{by}.pem"));
        let mut all = vec!["ca", "-batch", "-notext", "-config", &cnf, "-in", &csr, "-out", &pem];
        all.extend(["-keyfile", &by_key, "-extensions", "extensions"]);
        all.extend(["-startdate", start, "-enddate", end]);
        match &by {
            Some(by) => all.extend(["-cert", by]),
            None => all.push("-selfsign"),
        }
        openssl(&self.folder, &all);
    }

    fn der(&self, name: &str) -> Vec<u8> {
        openssl(&self.folder, &["x509", "-in", &format!("{name}.pem"), "-outform", "DER"])
    }

    /// Returns the log's public key, SPKI in DER, and the name that it has in bundles and roots.
    fn log(&self, key: &str) -> (Vec<u8>, Digest) {
        let file = format!("{key}.key");
        let spki = openssl(&self.folder, &["pkey", "-pubout", "-in", &file, "-outform", "DER"]);
        let named = [ORIGIN.as_bytes(), b"\n\x01", &spki[spki.len() - 32..]].concat();
        (spki, Digest::of(&named))
    }

    /// Returns the trusted root.
    pub fn root(&self) -> Value {
        self.root_with("ca", "tsa")
    }

    /// Returns a root that lists these certificates of the authority and of its clock: `ended-ca`,
    /// `false-ca`; `ended-tsa`, `purpose-tsa`, which is of the same key and for signing code, `again-tsa`,
    /// which differs from `tsa` in its signature alone.
    pub fn root_with(&self, ca: &str, tsa: &str) -> Value {
        let (spki, id) = self.log("log");
        let valid = json!({"start": "2019-06-01T00:00:00Z"});
        let raw = |name: &str| json!({"rawBytes": base64(&self.der(name))});
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [{
                "baseUrl": format!("https://{ORIGIN}"),
                "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": base64(&spki), "keyDetails": "PKIX_ED25519", "validFor": valid},
                "logId": {"keyId": base64(id.as_bytes())},
            }],
            "certificateAuthorities": [{
                "subject": {"organization": "", "commonName": "kiln authority"},
                "uri": "https://ca.kiln.example",
                "certChain": {"certificates": [raw(ca)]},
                "validFor": valid,
            }],
            "ctlogs": [],
            "timestampAuthorities": [{
                "subject": {"organization": "", "commonName": "kiln clock authority"},
                "uri": "https://tsa.kiln.example",
                "certChain": {"certificates": [raw(tsa), raw("tsa-ca")]},
                "validFor": valid,
            }],
        })
    }

    /// Returns a signature by a fresh certificate over these bytes, and what a bundle says of it.
    pub fn sign(&self, signed: &[u8], wrong: &Wrong) -> (Vec<u8>, Value) {
        // One of a name of its own: forgeries are made side by side.
        let name = tempfile::Builder::new().prefix("leaf-").tempdir_in(&self.folder);
        let name = name.expect("a folder");
        let name = name.path().file_name().expect("a name").to_string_lossy().into_owned();
        let usage = if wrong.purpose { "serverAuth" } else { "codeSigning" };
        let extensions = format!(
            "keyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n\
             subjectAltName=critical,email:{}\n1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{}\n",
            wrong.identity.unwrap_or(IDENTITY),
            wrong.issuer.unwrap_or(ISSUER),
        );
        let span = if wrong.ended { LONG_AGO } else { ALWAYS };
        let by = match (wrong.authority, wrong.authority_ended) {
            (true, _) => ("false-ca", Some("false-ca")),
            (false, true) => ("ca", Some("ended-ca")),
            (false, false) => ("ca", Some("ca")),
        };
        self.issue(&name, "leaf", "", &extensions, span, by);
        let certificate = base64(&self.der(&name));
        let signature = sign(&self.folder, &self.folder.join("leaf.key"), signed, false);
        let material = json!({
            "certificate": {"rawBytes": certificate},
            "tlogEntries": [self.entry(signed, &signature, &certificate, wrong)],
            "timestampVerificationData": {"rfc3161Timestamps": [
                {"signedTimestamp": base64(&self.stamp(&name, &signature, wrong))},
            ]},
        });
        (signature, material)
    }

    fn stamp(&self, name: &str, signature: &[u8], wrong: &Wrong) -> Vec<u8> {
        let signer = if wrong.stamp_authority { "false-tsa.pem" } else { "tsa.pem" };
        let config = format!(
            "[tsa]\ndefault_tsa=it\n[it]\nserial={name}.serial\ndefault_policy=1.2.3.4.1\ndigests=sha256\n\
             signer_digest=sha256\naccuracy=secs:1\ness_cert_id_alg=sha256\n"
        );
        let data = if wrong.stamp_other { b"other".as_slice() } else { signature };
        let file = |end: &str| format!("{name}.{end}");
        fs::write(self.folder.join(file("ts.cnf")), config).expect("a file");
        fs::write(self.folder.join(file("signed")), data).expect("a file");
        let (cnf, data, query) = (file("ts.cnf"), file("signed"), file("tsq"));
        let ask = ["ts", "-query", "-data", &data, "-sha256", "-no_nonce", "-out", &query];
        openssl(&self.folder, &ask);
        let all = ["ts", "-reply", "-queryfile", &query, "-signer", signer, "-inkey", "tsa.key"];
        openssl(&self.folder, &[&all[..], &["-config", &cnf]].concat())
    }

    fn entry(&self, signed: &[u8], signature: &[u8], certificate: &str, wrong: &Wrong) -> Value {
        let mut digest = Digest::of(signed);
        let (mut content, mut holder) = (base64(signature), certificate.to_owned());
        match wrong.entry {
            Some(Entry::Digest) => digest = Digest::of(b"other"),
            Some(Entry::Signature) => {
                content =
                    base64(&sign(&self.folder, &self.folder.join("leaf.key"), b"other", false))
            }
            Some(Entry::Certificate) => holder = base64(&self.der("ca")),
            None => {}
        }
        let body = json!({
            "apiVersion": "0.0.2", "kind": "hashedrekord",
            "spec": {"hashedRekordV002": {
                "data": {"algorithm": "SHA2_256", "digest": base64(digest.as_bytes())},
                "signature": {"content": content, "verifier": {
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "x509Certificate": {"rawBytes": holder},
                }},
            }},
        })
        .to_string();
        let leaf = Digest::of(&[b"\0", body.as_bytes()].concat());
        let root = base64(leaf.as_bytes());
        let note = format!("{ORIGIN}\n1\n{root}\n");
        let by = if wrong.checkpoint { "false-log" } else { "log" };
        let by = self.folder.join(format!("{by}.key"));
        let (_, id) = self.log("log");
        let made = sign(&self.folder, &by, note.as_bytes(), true);
        let line = base64(&[&id.as_bytes()[..4], &made].concat());
        json!({
            "logId": {"keyId": base64(id.as_bytes())},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "rootHash": root, "treeSize": "1",
                "checkpoint": {"envelope": format!("{note}\n— {ORIGIN} {line}\n")},
            },
            "canonicalizedBody": base64(body.as_bytes()),
        })
    }
}
