//! Attacks on every guarantee of the native sandbox, run as root and as an ordinary user.
//!
//! Each attack is preceded by a control: the same act where it must succeed, so that a broken probe
//! cannot pass for a held guarantee. Started as root, the binary runs itself a second time as uid
//! 1000. It has its own harness because the sandbox child is this very program: `main` must first
//! ask whether it was started as one.
//!
//! A test is a promise in its name. A test that cannot run here says so by name and counts as
//! ignored, never as passed.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod around;
mod callers;
mod determinism;
mod disk;
mod escape;
mod harness;
mod hermetic;
mod limits;
mod options;
mod place;
mod soak;
mod together;
mod views;

fn main() -> std::process::ExitCode {
    sandbox::enter_child_if_asked();
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next().as_deref()) {
        (Some(callers::PROBE), word) => {
            callers::probe(word == Some("backwards"));
            return std::process::ExitCode::SUCCESS;
        }
        (Some(around::REHEARSE), Some(behind)) => {
            around::rehearse(behind);
            return std::process::ExitCode::SUCCESS;
        }
        (Some(around::EAT), _) => {
            around::eat();
            return std::process::ExitCode::SUCCESS;
        }
        (Some(limits::FORKS), Some(most)) => {
            limits::forks(most);
            return std::process::ExitCode::SUCCESS;
        }
        _ => {}
    }
    let tests: Vec<harness::Test> = [
        views::TESTS,
        escape::TESTS,
        options::TESTS,
        hermetic::TESTS,
        determinism::TESTS,
        callers::TESTS,
        around::TESTS,
        limits::TESTS,
        disk::TESTS,
        together::TESTS,
        soak::TESTS,
    ]
    .concat();
    harness::run(&tests)
}
