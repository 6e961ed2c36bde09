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
        && !runner::cli::asks_for_help(rest)
    {
        take_interrupts();
        let means =
            attestor::process::Means { seal: keep_to, interrupt: sandbox::interrupt_thread };
        let ended = attestor::process::enter(rest, means);
        return ExitCode::from(ended.map_or_else(|failure| runner::sign::ended(&failure), |()| 0));
    }
    let code = if is_short(&arguments) && has_stack() {
        // A panic has told itself.
        std::panic::catch_unwind(runner::cli::main).unwrap_or(INTERNAL)
    } else {
        // Whatever stack the caller left to the first thread; it takes the signals, too.
        let command = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(runner::cli::main);
        // Without a thread there is the first one.
        command.map_or_else(|_| runner::cli::main(), |it| it.join().unwrap_or(INTERNAL))
    };
    // No child waits for a step that will not come.
    sandbox::cool_down();
    ExitCode::from(code)
}

/// Says whether the command reads, decides and ends: then a thread of its own, with its own heap, is a tenth
/// of all that it takes.
fn is_short(arguments: &[std::ffi::OsString]) -> bool {
    let short = ["attest", "inspect", "verify"];
    arguments.first().is_some_and(|first| short.iter().any(|name| first == name))
}

/// Says whether the first thread may use as much stack as another would be given.
fn has_stack() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack);
    limit.current.is_none_or(|bytes| bytes >= STACK_BYTES as u64)
}

/// Has the attestor take the signal that ends the wait of a thread; it does nothing else.
fn take_interrupts() {
    // Where it is not taken it is ignored, and a wait goes on.
    let taken = std::sync::Arc::default();
    let _ = signal_hook::flag::register(sandbox::INTERRUPT, taken);
}

/// Keeps the attestor from sockets: it has no unsafe code, and may not import what has.
fn keep_to(reach: attestor::process::Reach) -> std::io::Result<()> {
    sandbox::keep_to(match reach {
        attestor::process::Reach::Host => sandbox::Reach::Host,
        attestor::process::Reach::Network => sandbox::Reach::Network,
    })
}
