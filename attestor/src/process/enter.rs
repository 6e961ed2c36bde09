//! `enter`: from the command line of `kiln attestor` to the loop that serves requests.
//!
//! 1. The process is closed to others: not dumpable, no core file, umask 077, no new privileges,
//!    no further process.
//! 2. The arguments are read.
//! 3. Requests are served until the other side closes the socket.
//!
//! The starter hands over an empty environment; no variable is read here in any case. Every failure
//! is told on standard error, which is the starter's.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::channel::{Channel, ChannelError};
use super::serve::{Places, answer};

/// Done.
const EXIT_OK: u8 = 0;
/// Wrong arguments.
const EXIT_USAGE: u8 = 2;
/// The pipe broke, or the process could not be closed to others.
const EXIT_INTERNAL: u8 = 70;

/// Why the process ends early.
#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error("usage: kiln attestor serve --config-dir DIR --state-dir DIR")]
    Usage,
    #[error("close the attestor to other processes")]
    Harden(#[source] Errno),
    #[error("serve the pipe")]
    Channel(#[source] ChannelError),
}

/// Runs the attestor until its standard input is closed. `args` is what follows `kiln attestor`.
/// Returns the process' exit code: 0, 2 for wrong arguments, 70 when the pipe broke.
///
/// Changes process-wide state, so it is entered by `main` alone and nothing comes after it.
pub fn enter(args: &[OsString]) -> u8 {
    let Err(error) = run(args) else { return EXIT_OK };
    let mut text = String::from("kiln attestor: ");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut separator = "";
    while let Some(one) = cause {
        text.push_str(separator);
        text.push_str(&one.to_string());
        separator = ": ";
        cause = one.source();
    }
    text.push('\n');
    // Nobody is left to be told if this fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
    match error {
        EnterError::Usage => EXIT_USAGE,
        EnterError::Harden(_) | EnterError::Channel(_) => EXIT_INTERNAL,
    }
}

fn run(args: &[OsString]) -> Result<(), EnterError> {
    // 1. Close the process to others, before anything secret is in it.
    harden().map_err(EnterError::Harden)?;
    // 2. Where its files are.
    let places = places(args).ok_or(EnterError::Usage)?;
    // 3. Serve.
    let input = std::io::stdin();
    let mut channel = Channel::new(input.as_fd());
    while let Some(request) = channel.receive().map_err(EnterError::Channel)? {
        let reply = answer(&places, request, now());
        channel.reply(&reply).map_err(EnterError::Channel)?;
    }
    Ok(())
}

fn harden() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    for resource in [Resource::Core, Resource::Nproc] {
        // A limit that is lowered can not be raised again by this process, unless it is root.
        rustix::process::setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) })?;
    }
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

fn places(args: &[OsString]) -> Option<Places> {
    let [verb, config_flag, config, state_flag, state] = args else { return None };
    let flags = verb == "serve" && config_flag == "--config-dir" && state_flag == "--state-dir";
    let (config, state) = (PathBuf::from(config), PathBuf::from(state));
    (flags && config.is_absolute() && state.is_absolute()).then_some(Places { config, state })
}

/// Returns seconds since 1970. Before that year everything is too late, so nothing is signed.
#[expect(clippy::disallowed_methods, reason = "the attestor's process has a clock of its own")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX)
}
