//! Times `sandbox::run` of a program on a prepared root: `start_up ROOT COUNT PROGRAM…`.
//!
//! It prints the median and the 90th percentile in microseconds. The root must belong to
//! `sandbox::outer_owner()` if this runs as root.
use std::collections::{BTreeMap, BTreeSet};

use model::AbsPath;
use model::limits::{Limits, Millis};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sandbox::enter_child_if_asked();
    let mut words = std::env::args().skip(1);
    let root = words.next().ok_or("ROOT is missing")?.into();
    let count: usize = words.next().ok_or("COUNT is missing")?.parse()?;
    let parts = sandbox::Parts {
        root,
        tree: model::Digest::of(b""),
        mounts: Vec::new(),
        files: Vec::new(),
        folders: Vec::new(),
        argv: words.collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: AbsPath::new("/build")?,
        limits: Limits::default(),
        timeout: Millis(60_000),
        cpus: None,
        widen: sandbox::Widen::default(),
        waived: BTreeSet::new(),
    };
    let spec = sandbox::Spec::check(parts)?;
    let cancel = sandbox::Cancel::new()?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let start = std::time::Instant::now();
        let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {})?;
        spans.push(start.elapsed());
        if outcome.exit != sandbox::Exit::Exited(0) {
            return Err(format!("{:?}", outcome.exit).into());
        }
    }
    spans.sort();
    println!(
        "median {:?}, 90th {:?}, least {:?}",
        spans[count / 2],
        spans[count * 9 / 10],
        spans[0]
    );
    Ok(())
}
