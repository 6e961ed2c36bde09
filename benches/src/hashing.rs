//! Hashing: a tree of 2 GiB against openssl on all cores, and how much memory one large file takes.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use model::{Ident, RelPath};
use runner::source::{Exclude, LocalSource, Scan, StatCache, UserGit, scan};

use crate::measure::{detail, figure, in_turn};

const FILES: u64 = 64;
const FILE_BYTES: u64 = 32 << 20;
const LARGE_BYTES: u64 = 4 << 30;

/// Measures both.
pub fn measure(scratch: &Path) {
    println!("\n== hashing");
    tree(scratch);
    one_file(scratch);
}

fn tree(scratch: &Path) {
    let folder = scratch.join("tree");
    std::fs::create_dir_all(folder.join("src")).expect("a folder");
    let mut noise = File::open("/dev/urandom").expect("it is there");
    let mut block = vec![0_u8; 1 << 20];
    for number in 0..FILES {
        let mut file = File::create(folder.join(format!("src/file-{number}"))).expect("a new file");
        for _ in 0..FILE_BYTES >> 20 {
            noise.read_exact(&mut block).expect("noise does not end");
            file.write_all(&block).expect("there is room");
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let bytes = (FILES * FILE_BYTES) as f64;
    let mut ours = || hash(&folder);
    let mut theirs = || {
        let first = folder.join("src/file-0");
        let status = Command::new("openssl").args(["dgst", "-sha256"]).arg(&first).output();
        assert!(status.expect("openssl starts").status.success());
    };
    let times = in_turn(3, &mut [&mut ours, &mut theirs]);
    let kiln = bytes / times[0].median().as_secs_f64();
    let openssl = FILE_BYTES as f64 / times[1].median().as_secs_f64() * cores as f64;
    figure(
        "hashing 2 GiB in 64 files, against openssl",
        &format!("{:.3} of openssl x {cores} cores", kiln / openssl),
        ">= 0.9",
    );
    detail("kiln", &format!("{:.0} MB/s, {:.3?}", kiln / 1e6, times[0].median()));
    detail(&format!("openssl x {cores}"), &format!("{:.0} MB/s", openssl / 1e6));
    std::fs::remove_dir_all(folder).expect("it is ours");
}

fn hash(folder: &Path) {
    let source = LocalSource {
        name: Ident::new("src").expect("a name"),
        path: RelPath::new("src").expect("a path"),
        exclude: Exclude::parse::<&str>(&[]).expect("no glob"),
    };
    let wanted = Scan {
        project: folder,
        sources: &[source],
        user: &UserGit::default(),
        now: SystemTime::now(),
    };
    scan(&wanted, &mut StatCache::parse(Vec::new())).expect("it can be hashed");
}

fn one_file(scratch: &Path) {
    let folder = scratch.join("large");
    std::fs::create_dir_all(folder.join("src")).expect("a folder");
    let mut file = File::create(folder.join("src/file")).expect("a new file");
    // Sparse: what counts is the memory, and the hashing reads every byte all the same.
    file.seek(std::io::SeekFrom::Start(LARGE_BYTES - 1)).expect("a large file");
    file.write_all(&[1]).expect("there is room");
    let here = std::env::current_exe().expect("this program has a path");
    let output = Command::new(here).arg("hash-one").arg(&folder).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kilobytes = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().unwrap_or(0);
    figure(
        "peak memory hashing a file of 4 GiB",
        &format!("{:.1} MiB", kilobytes as f64 / 1024.0),
        "<= 64 MiB",
    );
    std::fs::remove_dir_all(folder).expect("it is ours");
}

/// Hashes the sources below a folder in this process and prints the most memory it held, in KiB.
pub fn hash_one(folder: &Path) {
    hash(folder);
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    println!("{}", line.trim().trim_end_matches(" kB"));
}
