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
    alone(rounds, &mut || {}, actions)
}

/// The same, but before each it waits with `settle`.
pub fn alone(
    rounds: usize,
    settle: &mut dyn FnMut(),
    actions: &mut [&mut dyn FnMut()],
) -> Vec<Times> {
    let mut times = vec![Vec::new(); actions.len()];
    for round in 0..=rounds {
        for (action, times) in actions.iter_mut().zip(&mut times) {
            settle();
            let start = Instant::now();
            action();
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    sorted(times)
}

/// What one thing takes beyond another, in milliseconds: each pair is run in a row, every other one in reverse
/// order, so that what slows a machine down for a while changes both.
pub struct Beyond {
    pub with: Times,
    pub without: Times,
    pairs: Vec<f64>,
}

impl Beyond {
    /// Runs `rounds` pairs after one that does not count.
    pub fn of(rounds: usize, with: &mut dyn FnMut(), without: &mut dyn FnMut()) -> Beyond {
        let time = |action: &mut dyn FnMut()| {
            let start = Instant::now();
            action();
            start.elapsed()
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let (one, other) = if round % 2 == 0 {
                let one = time(with);
                (one, time(without))
            } else {
                let other = time(without);
                (time(with), other)
            };
            if round > 0 {
                first.push(one);
                second.push(other);
            }
        }
        let pair = |(one, other): (&Duration, &Duration)| one.as_secs_f64() - other.as_secs_f64();
        let mut pairs: Vec<f64> = first.iter().zip(&second).map(pair).collect();
        pairs.sort_unstable_by(f64::total_cmp);
        let mut times = sorted(vec![first, second]).into_iter();
        let (with, without) = (times.next().expect("the first"), times.next().expect("the second"));
        Beyond { with, without, pairs }
    }

    /// Prints the difference of the pair in the middle, and that of the best of each.
    pub fn told(&self, what: &str, aim: &str) {
        let middle = self.pairs[self.pairs.len() / 2] * 1e3;
        let best = (self.with.best().as_secs_f64() - self.without.best().as_secs_f64()) * 1e3;
        figure(what, &format!("{middle:.3} ms ({best:.3} ms by the best)"), aim);
    }
}

fn sorted(times: Vec<Vec<Duration>>) -> Vec<Times> {
    let sort = |mut times: Vec<Duration>| {
        times.sort_unstable();
        Times(times)
    };
    times.into_iter().map(sort).collect()
}

/// Runs each of `actions` in `blocks` blocks of `rounds`, every other time in reverse order. Before each
/// block it waits with `settle`, and the first round of a block does not count.
pub fn in_blocks(
    (blocks, rounds): (usize, usize),
    settle: &mut dyn FnMut(),
    actions: &mut [&mut dyn FnMut()],
) -> Vec<Times> {
    let mut times = vec![Vec::new(); actions.len()];
    for block in 0..blocks {
        let mut order: Vec<usize> = (0..actions.len()).collect();
        if block % 2 == 1 {
            order.reverse();
        }
        for which in order {
            settle();
            for round in 0..=rounds {
                let start = Instant::now();
                actions[which]();
                if round > 0 {
                    times[which].push(start.elapsed());
                }
            }
        }
    }
    sorted(times)
}

/// Prints how many times faster kiln is than another, by medians and by the best of each.
pub fn faster(what: &str, kiln: &Times, other: &str, times: &Times, aim: &str) {
    let over = |kiln: Duration, other: Duration| other.as_secs_f64() / kiln.as_secs_f64();
    println!(
        "{what:<44} {:>6.1} x faster ({:.1} by the best) than {other}: {:.3?} (best {:.3?}), {other} {:.3?} (best {:.3?})   aim {aim}",
        over(kiln.median(), times.median()),
        over(kiln.best(), times.best()),
        kiln.median(),
        kiln.best(),
        times.median(),
        times.best()
    );
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
