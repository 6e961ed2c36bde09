//! Times `sandbox::run` of a program on a prepared root: `start_up ROOT COUNT [disk=FOLDER] PROGRAM…`.
//! With a folder the writable space lies in one beneath it, made within the time and removed after it,
//! as the runner does.
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
    let mut words = words.peekable();
    let disk = words.next_if(|word| word.starts_with("disk="));
    let disk = disk.map(|word| std::path::PathBuf::from(&word["disk=".len()..]));
    let mut parts = sandbox::Parts {
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
        scratch: None,
    };
    let cancel = sandbox::Cancel::new()?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let start = std::time::Instant::now();
        parts.scratch = match &disk {
            None => None,
            Some(disk) => Some(space(&disk.join("space"))?),
        };
        let spec = sandbox::Spec::check(parts.clone())?;
        let outcome = sandbox::run(&spec, &sandbox::Backend::Native, &cancel, &mut |_, _| {})?;
        let exit = outcome.exit;
        drop(outcome);
        spans.push(start.elapsed());
        if let Some(scratch) = &parts.scratch {
            std::fs::remove_dir_all(&scratch.folder)?;
        }
        if exit != sandbox::Exit::Exited(0) {
            return Err(format!("{exit:?}").into());
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

fn space(folder: &std::path::Path) -> std::io::Result<sandbox::Scratch> {
    std::fs::create_dir(folder)?;
    if let Some((uid, gid)) = sandbox::outer_owner() {
        std::os::unix::fs::chown(folder, Some(uid), Some(gid))?;
    }
    Ok(sandbox::Scratch { folder: folder.to_owned(), always: true })
}
