//! Times two things in turn and prints how they stand to each other.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Times of one thing, sorted.
pub struct Times(Vec<Duration>);

impl Times {
    /// Returns the one in the middle.
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// Returns the shortest.
    pub fn best(&self) -> Duration {
        self.0[0]
    }
}

/// Runs each of `actions` `rounds` times, in turn, after one round that does not count.
pub fn in_turn(rounds: usize, actions: &mut [&mut dyn FnMut()]) -> Vec<Times> {
    let mut times = vec![Vec::new(); actions.len()];
    for round in 0..=rounds {
        for (action, times) in actions.iter_mut().zip(&mut times) {
            let start = Instant::now();
            action();
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    let sorted = |mut times: Vec<Duration>| {
        times.sort_unstable();
        Times(times)
    };
    times.into_iter().map(sorted).collect()
}

/// Prints a line of the report: kiln against another, by their medians.
pub fn ratio(what: &str, kiln: &Times, other: &str, times: &Times, aim: &str) {
    let ratio = kiln.median().as_secs_f64() / times.median().as_secs_f64();
    println!(
        "{what:<44} {ratio:>6.3} x   {:>10.3?} (best {:.3?}) against {other} {:.3?} (best {:.3?})   aim {aim}",
        kiln.median(),
        kiln.best(),
        times.median(),
        times.best()
    );
}

/// Prints a figure that stands alone.
pub fn figure(what: &str, value: &str, aim: &str) {
    println!(
        "{what:<44} {value:<50} {}",
        if aim.is_empty() { String::new() } else { format!("aim {aim}") }
    );
}

/// Prints a detail below a figure.
pub fn detail(what: &str, value: &str) {
    println!("    {what:<40} {value}");
}

/// Says whether a program can be started at all.
pub fn present(program: &str) -> bool {
    let quiet = (Stdio::null(), Stdio::null());
    let status = Command::new(program).arg("--version").stdout(quiet.0).stderr(quiet.1).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a program quietly and stops the benchmark where it fails.
pub fn quietly(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Writes a file, with the folders above it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("below the scratch folder")).expect("a folder");
    std::fs::write(path, content).expect("it can be written");
}
