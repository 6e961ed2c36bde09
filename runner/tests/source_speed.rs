//! How a scan with a warm cache compares with `git status`, on 10,000 files in 500 folders.
//!
//! Run by hand: `cargo test --release -p runner --test source_speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use model::{Ident, RelPath};
use runner::source::{Exclude, GitIdentity, LocalSource, Scan, StatCache, UserGit, scan};

const ROUNDS: usize = 31;

fn git(at: &Path, args: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(args)
        .current_dir(at)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// Returns the ticks used so far by this process and by its finished children, user and system.
fn processor_ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    let field =
        |number: usize| -> u64 { after_name.split(' ').nth(number - 3).unwrap().parse().unwrap() };
    (field(14) + field(15), field(16) + field(17))
}

#[test]
#[ignore = "measures; only means something in a release build on a quiet machine"]
fn a_scan_takes_no_longer_than_git_status() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for number in 0..10_000 {
        let below = root.join(format!("module{:02}/part{:03}", number % 25, number % 500));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("source_{number}.c")), format!("int f{number};\n")).unwrap();
    }
    fs::write(root.join("kiln.yaml"), "").unwrap();
    fs::write(root.join(".gitignore"), "*.o\n/build/\ntarget/\n").unwrap();
    git(root, &["init", "-q"]);
    git(root, &["add", "-A"]);
    git(root, &["config", "gc.auto", "0"]);
    git(root, &["commit", "-qm", "all"]);
    git(root, &["repack", "-adq"]);
    let exclude = Exclude::parse(&["target/"]).unwrap();
    let name = Ident::new("src").unwrap();
    let sources = [LocalSource { name, path: RelPath::here(), exclude }];
    let user = UserGit::default();
    let store = tempfile::tempdir().unwrap();
    let cache_file = store.path().join("cache");
    let run = |now: SystemTime| {
        let began = Instant::now();
        let mut cache = StatCache::read(&cache_file).unwrap();
        let found = scan(&Scan { project: root, sources: &sources, user: &user, now }, &mut cache);
        let found = found.unwrap();
        if let Some(bytes) = cache.changed_bytes() {
            fs::write(&cache_file, bytes).unwrap();
        }
        let GitIdentity::Git(checkout) = found.git else { panic!() };
        assert_eq!((checkout.dirty.len(), found.sources.len()), (0, 1));
        began.elapsed()
    };
    let now = SystemTime::now() + Duration::from_secs(3600);
    println!("cold: {:.1} ms", run(now).as_secs_f64() * 1000.0);
    git(root, &["status", "--porcelain"]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let before = processor_ticks();
    for _ in 0..ROUNDS {
        ours.push(run(now));
        let began = Instant::now();
        git(root, &["status", "--porcelain"]);
        theirs.push(began.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let after = processor_ticks();
    println!("processor ticks: scan {}, git {}", after.0 - before.0, after.1 - before.1);
    println!("scan {ours:.1} ms, git status {theirs:.1} ms, ratio {:.2}", ours / theirs);
}
