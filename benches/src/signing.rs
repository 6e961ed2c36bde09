//! Signatures: what one adds to a build, and what deciding about one costs, against cosign in the same run.
//!
//! By key the file is that of `examples/hello`, built here; by certificate it is the one that the vectors of
//! the attestor's tests are about.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::Bench;
use crate::measure::{Beyond, detail, faster, figure, in_blocks, in_turn, quietly, write};

const ROUNDS: usize = 20;
/// Blocks of kiln's and of the other's, and how often each runs in one.
const VERIFY_BLOCKS: (usize, usize) = (8, 6);
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

/// The same build with and without a signature: its step is run, its files are handed over anew; and one whose
/// results are found, so that the unsigned one has nothing to keep or to tell.
fn signing(bench: &Bench, folder: &Path) {
    let build = |folder: &Path, how: &[&str]| {
        let _ = std::fs::remove_dir_all(folder.join("kiln-out"));
        bench.quietly(folder, &[&["build"], how].concat());
    };
    let small = bench.scratch().join("small");
    let file = "kiln: 1\nname: small\nenvironment: {host: {}}\nsteps:\n  \
                - {name: build, run: echo small > out, outputs: {out: out}}\n\
                artifacts:\n  - {file: build.out}\n";
    write(&small.join("kiln.yaml"), file);
    bench.quietly(&small, &["lock"]);
    bench.git(&small, &["init", "-q", "."]);
    bench.git(&small, &["add", "-A"]);
    bench.git(&small, &["commit", "-q", "-m", "small"]);
    // A build takes many times what is measured, and varies by more.
    let run = Beyond::of(6 * ROUNDS, &mut || build(&small, &["--no-cache", "--sign"]), &mut || {
        build(&small, &["--no-cache", "--no-sign"])
    });
    run.told("what --sign adds to a build", "<= 5 ms");
    let both =
        |times: &Beyond| format!("{:.3?}, {:.3?}", times.with.median(), times.without.median());
    detail("that build, with and without", &both(&run));
    let found = Beyond::of(3 * ROUNDS, &mut || build(folder, &["--sign"]), &mut || {
        build(folder, &["--no-sign"])
    });
    found.told("the same where its results are found", "");
    detail("that build, with and without", &both(&found));
}

/// The signature alone: a process that holds the key, its journal, one envelope, two files.
fn alone(bench: &Bench, scratch: &Path) {
    let folder = scratch.join("alone");
    let sign = || {
        let _ = std::fs::remove_dir_all(&folder);
        write(&folder.join("spdx.json"), "{}\n");
        let predicate = ["--predicate", "spdx.json", "--type", "https://spdx.dev/Document"];
        bench.quietly(&folder, &[&["attest", "spdx.json"][..], &predicate].concat());
    };
    let nothing = || {
        let _ = std::fs::remove_dir_all(&folder);
        write(&folder.join("spdx.json"), "{}\n");
        bench.quietly(&folder, &["version", "--help"]);
    };
    Beyond::of(2 * ROUNDS, &mut { sign }, &mut { nothing })
        .told("what one signature with a key file takes", "<= 5 ms");
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
    // Warm: what the other leaves in the caches of the processor is not what kiln has to bring back.
    let times = in_blocks(VERIFY_BLOCKS, &mut || {}, &mut [&mut kiln, &mut other]);
    faster(what, &times[0], "cosign", &times[1], "<= 10 ms, >= 10 x");
}
