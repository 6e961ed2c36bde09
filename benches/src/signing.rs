//! Signatures: what one adds to a build, and what deciding about one costs, against cosign in the same run.
//!
//! By key the file is that of `examples/hello`, built here; by certificate it is the one that the vectors of
//! the attestor's tests are about.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::commands::Bench;
use crate::measure::{Times, detail, faster, figure, in_turn, quietly, write};

const ROUNDS: usize = 20;
/// Whom that bundle names, and who vouches for it.
const IDENTITY: &str = "builder@kiln.example";
const ISSUER: &str = "http://127.0.0.1:46411";

/// Measures both with the kiln beside this program.
pub fn measure(scratch: &Path) {
    println!("\n== signatures");
    let bench = Bench::new(scratch);
    if !scratch.join("home/config/kiln/key.pem").exists() {
        bench.quietly(scratch, &["key", "generate"]);
    }
    let folder = scratch.join("hello");
    quietly(Command::new("cp").arg("-R").arg(top().join("examples/hello")).arg(&folder));
    bench.git(&folder, &["init", "-q", "."]);
    bench.git(&folder, &["add", "-A"]);
    bench.git(&folder, &["commit", "-q", "-m", "hello"]);
    bench.quietly(&folder, &["build", "--sign"]);
    signing(&bench, &folder);
    alone(&bench, scratch);
    bench.quietly(&folder, &["build", "--sign"]);
    verifying(&bench, &folder);
}

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the benches are a folder of the repository").to_owned()
}

/// The same build with and without a signature: its steps are found, its files handed over anew.
fn signing(bench: &Bench, folder: &Path) {
    let build = |how: &str| {
        std::fs::remove_dir_all(folder.join("kiln-out")).expect("it was built");
        bench.quietly(folder, &["build", how]);
    };
    let mut with = || build("--sign");
    let mut without = || build("--no-sign");
    let times = in_turn(ROUNDS, &mut [&mut with, &mut without]);
    let added = |of: fn(&Times) -> Duration| of(&times[0]).saturating_sub(of(&times[1]));
    let told = format!("{:.3?} ({:.3?} by the best)", added(Times::median), added(Times::best));
    figure("what --sign adds to a build: evidence and all", &told, "");
    let both = format!("{:.3?}, {:.3?}", times[0].median(), times[1].median());
    detail("that build, with and without", &both);
}

/// The signature alone: a process that holds the key, its journal, one envelope, two files.
fn alone(bench: &Bench, scratch: &Path) {
    let folder = scratch.join("alone");
    let mut sign = || {
        let _ = std::fs::remove_dir_all(&folder);
        write(&folder.join("spdx.json"), "{}\n");
        let predicate = ["--predicate", "spdx.json", "--type", "https://spdx.dev/Document"];
        bench.quietly(&folder, &[&["attest", "spdx.json"][..], &predicate].concat());
    };
    let mut nothing = || bench.quietly(scratch, &["help"]);
    let times = in_turn(ROUNDS, &mut [&mut sign, &mut nothing]);
    let added = |of: fn(&Times) -> Duration| of(&times[0]).saturating_sub(of(&times[1]));
    let told = format!("{:.3?} ({:.3?} by the best)", added(Times::median), added(Times::best));
    figure("what one signature with a key file takes", &told, "<= 5 ms");
}

fn verifying(bench: &Bench, folder: &Path) {
    let out = folder.join("kiln-out");
    let key = bench.command(folder, &["key", "export"]).output().expect("kiln starts").stdout;
    write(&out.join("kiln.pem"), key);
    let cosign = top().join("target/tools/bin/cosign");
    let by_key = ["verify", "hello", "--key", "kiln.pem"];
    let bundle = ["--bundle", "hello.sigstore.json", "--key", "kiln.pem", "--insecure-ignore-tlog"];
    compared(bench, &out, &cosign, "verify by key", &by_key, &bundle);

    let vectors = top().join("attestor/tests/vectors");
    let folder = vectors.join("keyless");
    let (root, signed) = (folder.join("trusted_root.json"), folder.join("hello.sigstore.json"));
    let (root, signed) = (root.to_str().expect("UTF-8"), signed.to_str().expect("UTF-8"));
    let named = ["--trusted-root", root, "--bundle", signed];
    let ours =
        [&["verify", "hello", "--identity", IDENTITY, "--issuer", ISSUER][..], &named].concat();
    let theirs = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];
    let theirs = [&named[..], &theirs].concat();
    compared(bench, &vectors, &cosign, "verify by certificate", &ours, &theirs);
}

/// Times kiln, and cosign where it was built, on the same bundle.
fn compared(bench: &Bench, out: &Path, cosign: &Path, what: &str, ours: &[&str], theirs: &[&str]) {
    let mut kiln = || bench.quietly(out, ours);
    if !cosign.exists() {
        let times = in_turn(ROUNDS, &mut [&mut kiln]);
        let told = format!("{:.3?} (best {:.3?})", times[0].median(), times[0].best());
        figure(what, &told, "<= 10 ms");
        detail("cosign", "is absent: `make interop-go` builds it");
        return;
    }
    let mut other = || {
        let mut command = Command::new(cosign);
        command.arg("verify-blob-attestation").args(theirs);
        command.args(["--type", "slsaprovenance1", "hello"]).current_dir(out);
        quietly(command.env("HOME", bench.scratch()));
    };
    let times = in_turn(ROUNDS, &mut [&mut kiln, &mut other]);
    faster(what, &times[0], "cosign", &times[1], "<= 10 ms, >= 10 x");
}
