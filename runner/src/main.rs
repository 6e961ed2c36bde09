//! The binary `kiln`: sandbox child, attestor, or command line. The first lines decide.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Stack of the thread that does the work, in bytes.
const STACK_BYTES: usize = 8 << 20;
/// How kiln ends when it broke a promise to itself.
const INTERNAL: u8 = 70;

fn main() -> ExitCode {
    // The sandbox child holds one spec and nothing else; it never returns from here.
    sandbox::enter_child_if_asked();
    // The attestor holds the key; it shares no code path with a command.
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if let Some((role, rest)) = arguments.split_first()
        && role == runner::sign::ATTESTOR
    {
        return ExitCode::from(attestor::process::enter(rest, keep_to));
    }
    // Whatever stack the caller left to the first thread.
    let command = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(runner::cli::main);
    // A panic has told itself; without a thread there is the first one.
    let code = command.map_or_else(|_| runner::cli::main(), |it| it.join().unwrap_or(INTERNAL));
    // No child waits for a step that will not come.
    sandbox::cool_down();
    ExitCode::from(code)
}

/// Keeps the attestor from sockets: it has no unsafe code, and may not import what has.
fn keep_to(reach: attestor::process::Reach) -> std::io::Result<()> {
    sandbox::keep_to(match reach {
        attestor::process::Reach::Host => sandbox::Reach::Host,
        attestor::process::Reach::Network => sandbox::Reach::Network,
    })
}
