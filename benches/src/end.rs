//! What it costs to end a step: from its last word to every process of it proven dead and its output
//! captured into the store, with the writable space in memory and on the disk.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use model::RelPath;
use model::step::OutputKind;
use runner::execute::capture::{Caps, Taking, capture};
use runner::store::{self, Owner, Store};
use sandbox::{Backend, Cancel, Exit, Parts, Scratch, Spec};

use crate::measure::{figure, quietly, write};

const ROUNDS: usize = 60;

/// Writes a file of a page, says a word, and ends.
const PROGRAM: &str = "#include <fcntl.h>\n#include <unistd.h>\n\
    int main(void) { static char page[4096]; int out = open(\"/build/out\", O_CREAT | O_WRONLY, 0644);\n\
    if (write(out, page, sizeof page) < 0 || write(1, \"x\", 1) < 0) return 1; return 0; }\n";

/// Measures the end of a step in a prepared root.
pub fn measure(scratch: &Path, root: &Path, parts: &Parts) {
    let source = scratch.join("last.c");
    write(&source, PROGRAM);
    quietly(
        Command::new("cc").args(["-O2", "-static", "-o"]).arg(root.join("bin/last")).arg(&source),
    );
    let store = store::open(&scratch.join("end-store")).expect("a store");
    for (on_disk, what) in [(false, "in memory"), (true, "on the disk")] {
        let mut times: Vec<Duration> = (0..ROUNDS).map(|_| one(&store, parts, on_disk)).collect();
        times.sort_unstable();
        let (median, ninetieth) = (times[ROUNDS / 2], times[ROUNDS * 9 / 10]);
        let what = format!("end of a step to dead and captured, {what}");
        figure(&what, &format!("{median:.3?} (90th {ninetieth:.3?})"), "< 20 ms");
    }
}

fn one(store: &Store, parts: &Parts, on_disk: bool) -> Duration {
    let owner = sandbox::outer_owner().map(|(uid, gid)| Owner { uid, gid });
    let space = on_disk.then(|| store.scratch(owner).expect("a folder"));
    let mut parts = parts.clone();
    parts.argv = vec!["/bin/last".to_owned()];
    parts.scratch =
        space.as_ref().map(|space| Scratch { folder: space.path().to_owned(), always: true });
    let spec = Spec::check(parts).expect("nothing is wrong with it");
    let cancel = Cancel::new().expect("descriptors are left");
    let mut last = Instant::now();
    let outcome = sandbox::run(&spec, &Backend::Native, &cancel, &mut |_, _| last = Instant::now());
    let outcome = outcome.expect("this host can sandbox");
    assert_eq!(outcome.exit, Exit::Exited(0));
    let path = RelPath::new("out").expect("a plain path");
    let view = outcome.views.first().expect("the work folder");
    let taking = Taking::begin(store, &cancel, Caps::default());
    capture(&taking, view.dir.as_fd(), &path, OutputKind::File).expect("an output");
    last.elapsed()
}
